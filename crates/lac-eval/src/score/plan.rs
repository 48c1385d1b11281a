//! Plans the rows that a batch of questions is fed as, and where log-probabilities are read.

use crate::item_usage::CountedRow;
use crate::request::ScoredOption;

/// The rows of the passes in which a batch is fed.
pub(super) struct FeedPlan<'a> {
    /// The prefix of every row, fed once before the first pass; empty if it is not fed by itself.
    pub(super) prefix: &'a [u32],
    /// The rows of the first pass.
    pub(super) first: PassRows,
    /// The second pass, if options are fed after their contexts: for each of its rows the row of the
    /// first pass that it continues, and the rows.
    pub(super) second: Option<(Vec<usize>, PassRows)>,
}

/// The rows of one pass.
#[derive(Default)]
pub(super) struct PassRows {
    pub(super) ids: Vec<Vec<u32>>,
    pub(super) counted: Vec<CountedRow>,
    pub(super) targets: Vec<Target>,
}

/// The place of a log-probability.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) question: usize,
    pub(super) option: usize,
    /// The row of the pass.
    pub(super) row: usize,
    /// The token of the row after which it is read, counted from 0, padding not counted.
    pub(super) token_idx: usize,
    /// The token whose log-probability is read.
    pub(super) id: u32,
}

/// The options of one question that share a context.
struct Context<'a> {
    question: usize,
    ids: &'a [u32],
    options: Vec<(usize, &'a [u32])>,
    /// Whether it is its question's first context.
    is_first: bool,
}

impl<'a> FeedPlan<'a> {
    /// Plans a batch whose contexts share their first `prefix_len` tokens. Options are fed after their
    /// contexts, in a pass of their own, only if `can_repeat`.
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
        // With the prefix fed first, each option's row repeats the rest of its context. With the
        // options fed apart, each question's context repeats the prefix. The longer one decides.
        let prefix_pays = prefix_len > 0 && 2 * prefix_len * contexts.len() >= n_context_tokens;
        if can_repeat && has_long_options && !prefix_pays {
            return Self::options_apart(&contexts);
        }
        let prefix = contexts.first().map_or(&[][..], |context| context.ids);
        Self {
            prefix: &prefix[..prefix_len],
            first: joined_rows(&contexts, prefix_len),
            second: None,
        }
    }

    /// Plans a pass over the contexts, and one over the options that continues from its cache.
    fn options_apart(contexts: &[Context<'a>]) -> Self {
        let (mut first, mut second) = (PassRows::default(), PassRows::default());
        let mut sources = Vec::new();
        for (row, context) in contexts.iter().enumerate() {
            let question = context.question;
            first.ids.push(context.ids.to_vec());
            first.counted.push(CountedRow {
                question,
                from: 0,
                counts_pass: context.is_first,
            });
            for &(option, continuation) in &context.options {
                let target = |row, token_idx, id| Target {
                    question,
                    option,
                    row,
                    token_idx,
                    id,
                };
                let last = context.ids.len() - 1;
                first.targets.push(target(row, last, continuation[0]));
                let (fed, rest) = (&continuation[..continuation.len() - 1], &continuation[1..]);
                if fed.is_empty() {
                    continue;
                }
                let is_first = !second.counted.iter().any(|row| row.question == question);
                let row_idx = second.ids.len();
                let targets = rest.iter().enumerate();
                second
                    .targets
                    .extend(targets.map(|(i, &id)| target(row_idx, i, id)));
                second.ids.push(fed.to_vec());
                second.counted.push(CountedRow {
                    question,
                    from: 0,
                    counts_pass: is_first,
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

/// Plans rows of a context with an option. Options of a context that differ in the last token alone,
/// which is not fed, share a row.
fn joined_rows(contexts: &[Context<'_>], prefix_len: usize) -> PassRows {
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
                    // A context counts once, even if several rows repeat it.
                    from: if row == first_row { 0 } else { own.len() },
                    counts_pass: context.is_first && row == first_row,
                });
                rows.ids.push([own, fed].concat());
            }
            let targets = continuation.iter().enumerate();
            rows.targets.extend(targets.map(|(i, &id)| Target {
                question: context.question,
                option,
                row,
                token_idx: own.len() - 1 + i,
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
