//! Cuts questions into batches.

use std::collections::BTreeMap;

use crate::request::{Feed, Request};

/// Questions that go through the model side by side.
pub(super) struct Batch<'a> {
    pub(super) requests: Vec<&'a Request>,
    /// Number of tokens of their common prefix; 0 where feeding it by itself does not pay.
    pub(super) prefix_len: usize,
}

/// The smallest length of a common prefix that is fed by itself.
const MIN_PREFIX: usize = 48;

/// Returns whether feeding a common prefix by itself saves more than the smaller batches of grouping
/// by it cost: there are enough questions for a batch, or the prefix is most of every prompt.
fn pays(requests: &[&Request], prefix_len: usize, batch_size: usize) -> bool {
    let n_tokens: usize = requests.iter().map(|request| request.n_tokens()).sum();
    prefix_len >= MIN_PREFIX
        && (requests.len() >= batch_size || 2 * prefix_len * requests.len() >= n_tokens)
}

/// Cuts questions into batches: those of a subject with a long common prefix by themselves, the
/// others all together. The longest come first, so that a batch that does not fit into memory fails
/// at once, and the time left is over- rather than underestimated.
pub(super) fn batches<'a>(requests: &[&'a Request], batch_size: usize) -> Vec<Batch<'a>> {
    let mut by_subject: BTreeMap<&str, Vec<&'a Request>> = BTreeMap::new();
    for request in requests {
        by_subject
            .entry(&request.subject)
            .or_default()
            .push(request);
    }
    let mut rest: Vec<&'a Request> = Vec::new();
    let mut batches = Vec::new();
    for requests in by_subject.into_values() {
        // A context that was cut at its beginning has no prefix in common with the others.
        let (prefixed, others, prefix_len) = split(requests);
        rest.extend(others);
        if pays(&prefixed, prefix_len, batch_size) {
            batches.extend(cut(prefixed, prefix_len, batch_size));
        } else {
            rest.extend(prefixed);
        }
    }
    batches.extend(cut(rest, 0, batch_size));
    batches
}

/// Cuts questions into batches in their order.
pub(super) fn in_order<'a>(requests: &[&'a Request], batch_size: usize) -> Vec<Batch<'a>> {
    let chunks = requests.chunks(batch_size.max(1));
    chunks
        .map(|chunk| Batch {
            requests: chunk.to_vec(),
            prefix_len: 0,
        })
        .collect()
}

fn cut(mut requests: Vec<&Request>, prefix_len: usize, batch_size: usize) -> Vec<Batch<'_>> {
    // A stable sort, so that the batches are the same in every run, and with them every number.
    requests.sort_by_key(|request| std::cmp::Reverse(request.n_tokens()));
    requests
        .chunks(batch_size)
        .map(|chunk| Batch {
            requests: chunk.to_vec(),
            prefix_len,
        })
        .collect()
}

/// Returns the questions with a long common prefix, the others, and the prefix's length.
fn split(requests: Vec<&Request>) -> (Vec<&Request>, Vec<&Request>, usize) {
    let key = |request: &Request| match &request.feed {
        Feed::Score(options) => {
            let context = &options[0].context;
            (context.len() > MIN_PREFIX).then(|| context[..MIN_PREFIX].to_vec())
        }
        Feed::Generate(_) => None,
    };
    let mut counts: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
    for start in requests.iter().filter_map(|request| key(request)) {
        *counts.entry(start).or_insert(0) += 1;
    }
    let Some((start, n)) = counts.into_iter().max_by_key(|(_, n)| *n) else {
        return (Vec::new(), requests, 0);
    };
    if n < 2 {
        return (Vec::new(), requests, 0);
    }
    let (prefixed, others): (Vec<&Request>, Vec<&Request>) = requests
        .into_iter()
        .partition(|request| key(request).as_ref() == Some(&start));
    let prefix_len = common_len(&prefixed);
    (prefixed, others, prefix_len)
}

/// Returns the number of tokens with which all contexts of all requests begin, at least one token
/// less than the shortest context, because a row needs a token of its own.
fn common_len(requests: &[&Request]) -> usize {
    let contexts = || {
        requests.iter().flat_map(|request| match &request.feed {
            Feed::Score(options) => &options[..],
            Feed::Generate(_) => &[],
        })
    };
    let Some(first) = contexts().next() else {
        return 0;
    };
    contexts()
        .map(|option| {
            let pairs = option.context.iter().zip(&first.context);
            let common = pairs.take_while(|(a, b)| a == b).count();
            common.min(option.context.len() - 1)
        })
        .min()
        .unwrap_or(0)
}
