//! Which rows a batch of questions is fed as, and what is read where.

use crate::request::ScoredOption;

/// What a batch is fed as.
pub(super) struct Plan<'a> {
    /// The beginning that every row shares, fed once; empty for none.
    pub(super) prefix: &'a [u32],
    /// The rows of the first pass.
    pub(super) first: Rows,
    /// The rows that go on from the first pass's, if options are fed apart from their contexts:
    /// for each the row of the first pass.
    pub(super) second: Option<(Vec<usize>, Rows)>,
}

/// The rows of one pass.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) ids: Vec<Vec<u32>>,
    pub(super) counted: Vec<Counted>,
    pub(super) targets: Vec<Target>,
}

/// What of a row counts for its question's usage.
#[derive(Clone, Copy)]
pub(super) struct Counted {
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
    /// Whose log-probability.
    pub(super) id: u32,
}

/// The options of one question that share a context.
struct Context<'a> {
    question: usize,
    ids: &'a [u32],
    options: Vec<(usize, &'a [u32])>,
    is_first: bool,
}

impl<'a> Plan<'a> {
    /// Plans a batch whose contexts share their first `prefix_len` tokens. Texts are fed in parts
    /// only where `parts` allows it.
    pub(super) fn new(questions: &[&'a [ScoredOption]], prefix_len: usize, parts: bool) -> Self {
        let contexts = contexts(questions);
        let has_long_options = contexts
            .iter()
            .flat_map(|context| &context.options)
            .any(|(_, continuation)| continuation.len() > 1);
        let n_context_tokens: usize = contexts.iter().map(|context| context.ids.len()).sum();
        // Whole rows after a prefix repeat the rest of a context per option; options fed apart
        // repeat the prefix per question. The longer part decides.
        let prefix_pays = prefix_len > 0 && 2 * prefix_len * contexts.len() >= n_context_tokens;
        if parts && has_long_options && !prefix_pays {
            return Self::apart(&contexts);
        }
        let prefix = contexts.first().map_or(&[][..], |context| context.ids);
        Self {
            prefix: &prefix[..prefix_len],
            first: whole_rows(&contexts, prefix_len),
            second: None,
        }
    }

    /// Contexts first, then the options from the contexts' cache.
    fn apart(contexts: &[Context<'a>]) -> Self {
        let (mut first, mut second) = (Rows::default(), Rows::default());
        let mut sources = Vec::new();
        for (row, context) in contexts.iter().enumerate() {
            let question = context.question;
            first.ids.push(context.ids.to_vec());
            first.counted.push(Counted {
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
                second.counted.push(Counted {
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

/// A row per context and different beginning of an option.
fn whole_rows(contexts: &[Context<'_>], prefix_len: usize) -> Rows {
    let mut rows = Rows::default();
    for context in contexts {
        let own = &context.ids[prefix_len..];
        let first_row = rows.ids.len();
        for &(option, continuation) in &context.options {
            let fed = &continuation[..continuation.len() - 1];
            let is_there = |ids: &Vec<u32>| ids[own.len()..] == *fed;
            let found = rows.ids[first_row..].iter().position(is_there);
            let row = found.map_or(rows.ids.len(), |i| first_row + i);
            if found.is_none() {
                rows.counted.push(Counted {
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
