//! The rows that a batch of questions is fed as, and the places where log-probabilities are read.

use crate::request::ScoredOption;

/// The passes that a batch is fed in.
pub(super) struct FeedPlan<'a> {
    /// The tokens with which every row begins, fed once; empty if they are not fed apart.
    pub(super) prefix: &'a [u32],
    /// The rows of the first pass.
    pub(super) first: PassRows,
    /// The rows of the second pass, if options are fed apart from their contexts, and for each of
    /// them the row of the first pass that it continues.
    pub(super) second: Option<(Vec<usize>, PassRows)>,
}

/// The rows of one pass.
#[derive(Default)]
pub(super) struct PassRows {
    pub(super) ids: Vec<Vec<u32>>,
    pub(super) counted: Vec<CountedRow>,
    pub(super) targets: Vec<Target>,
}

/// The tokens of a row that count for its question's usage.
#[derive(Clone, Copy)]
pub(super) struct CountedRow {
    pub(super) question: usize,
    /// Tokens before this one have been counted with another row.
    pub(super) from: usize,
    /// Whether it is its question's first row: the pass counts once.
    pub(super) is_first: bool,
}

/// A log-probability to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) question: usize,
    pub(super) option: usize,
    /// Row, and token of the row counted from 0, padding not counted.
    pub(super) slot: (usize, usize),
    /// The token whose log-probability is read.
    pub(super) id: u32,
}

/// The options of one question that share a context.
struct Context<'a> {
    question: usize,
    ids: &'a [u32],
    options: Vec<(usize, &'a [u32])>,
    is_first: bool,
}

impl<'a> FeedPlan<'a> {
    /// Plans a batch whose contexts share their first `prefix_len` tokens. Options are fed apart
    /// from their contexts only if `can_repeat` allows it.
    pub(super) fn new(
        questions: &[&'a [ScoredOption]],
        prefix_len: usize,
        can_repeat: bool,
    ) -> Self {
        let contexts = contexts(questions);
        let has_long_options = contexts
            .iter()
            .flat_map(|context| &context.options)
            .any(|(_, continuation)| continuation.len() > 1);
        let n_context_tokens: usize = contexts.iter().map(|context| context.ids.len()).sum();
        // Whole rows after a prefix repeat the rest of a context per option; options fed apart
        // repeat the prefix per question. The longer part decides.
        let prefix_pays = prefix_len > 0 && 2 * prefix_len * contexts.len() >= n_context_tokens;
        if can_repeat && has_long_options && !prefix_pays {
            return Self::apart(&contexts);
        }
        let prefix = contexts.first().map_or(&[][..], |context| context.ids);
        Self {
            prefix: &prefix[..prefix_len],
            first: whole_rows(&contexts, prefix_len),
            second: None,
        }
    }

    /// Plans the contexts first, then the options from the contexts' cache.
    fn apart(contexts: &[Context<'a>]) -> Self {
        let (mut first, mut second) = (PassRows::default(), PassRows::default());
        let mut sources = Vec::new();
        for (row, context) in contexts.iter().enumerate() {
            let question = context.question;
            first.ids.push(context.ids.to_vec());
            first.counted.push(CountedRow {
                question,
                from: 0,
                is_first: context.is_first,
            });
            for &(option, continuation) in &context.options {
                let target = |slot, id| Target {
                    question,
                    option,
                    slot,
                    id,
                };
                let last = (row, context.ids.len() - 1);
                first.targets.push(target(last, continuation[0]));
                let (fed, rest) = (&continuation[..continuation.len() - 1], &continuation[1..]);
                if fed.is_empty() {
                    continue;
                }
                let is_first = !second.counted.iter().any(|row| row.question == question);
                let row_idx = second.ids.len();
                let targets = rest.iter().enumerate();
                second
                    .targets
                    .extend(targets.map(|(i, &id)| target((row_idx, i), id)));
                second.ids.push(fed.to_vec());
                second.counted.push(CountedRow {
                    question,
                    from: 0,
                    is_first,
                });
                sources.push(row);
            }
        }
        Self {
            prefix: &[],
            first,
            second: Some((sources, second)),
        }
    }
}

/// Plans a row for each context and each different beginning of an option.
fn whole_rows(contexts: &[Context<'_>], prefix_len: usize) -> PassRows {
    let mut rows = PassRows::default();
    for context in contexts {
        let own = &context.ids[prefix_len..];
        let first_row = rows.ids.len();
        for &(option, continuation) in &context.options {
            let fed = &continuation[..continuation.len() - 1];
            let is_there = |ids: &Vec<u32>| ids[own.len()..] == *fed;
            let found = rows.ids[first_row..].iter().position(is_there);
            let row = found.map_or(rows.ids.len(), |i| first_row + i);
            if found.is_none() {
                rows.counted.push(CountedRow {
                    question: context.question,
                    // The context counts once, however many rows repeat it.
                    from: if row == first_row { 0 } else { own.len() },
                    is_first: context.is_first && row == first_row,
                });
                rows.ids.push([own, fed].concat());
            }
            let targets = continuation.iter().enumerate();
            rows.targets.extend(targets.map(|(i, &id)| Target {
                question: context.question,
                option,
                slot: (row, own.len() - 1 + i),
                id,
            }));
        }
    }
    rows
}

fn contexts<'a>(questions: &[&'a [ScoredOption]]) -> Vec<Context<'a>> {
    let mut contexts: Vec<Context<'a>> = Vec::new();
    for (question, options) in questions.iter().enumerate() {
        let start = contexts.len();
        for (option, scored) in options.iter().enumerate() {
            let entry = (option, &scored.continuation[..]);
            let is_there = |context: &&mut Context<'_>| context.ids == scored.context;
            match contexts[start..].iter_mut().find(is_there) {
                Some(context) => context.options.push(entry),
                None => contexts.push(Context {
                    question,
                    ids: &scored.context,
                    options: vec![entry],
                    is_first: contexts.len() == start,
                }),
            }
        }
    }
    contexts
}
