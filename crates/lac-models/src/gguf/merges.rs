//! The merges of a vocabulary: which two tokens become one, the most urgent pair first.

use std::cmp::Ordering;

use super::error::GgufError;
use super::metadata::Metadata;
use super::vocabulary::{MERGES, TOKENS, TokenKind, Vocabulary};
use crate::file::excerpt;

/// Reads the list of merges. Each is two tokens with a space between them, and a token may begin with a space.
pub(super) fn listed_merges(
    metadata: &Metadata,
    vocabulary: &Vocabulary<'_>,
) -> Result<Vec<(String, String)>, GgufError> {
    let mut merges = Vec::with_capacity(vocabulary.merges.len());
    let mut joined = String::new();
    for (merge_idx, merge) in vocabulary.merges.iter().enumerate() {
        let faulty = |problem: String| {
            let problem = format!("has {:?} as merge {merge_idx}, {problem}", excerpt(merge));
            metadata.error(MERGES, problem)
        };
        let second_char = merge.char_indices().nth(1).map(|(start, _)| start);
        let space = second_char.and_then(|start| Some(start + merge[start..].find(' ')?));
        let Some((left, right)) = space.map(|space| (&merge[..space], &merge[space + 1..])) else {
            return Err(faulty(
                "expected two tokens with a space between them".to_owned(),
            ));
        };
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        for token in [left, right, &joined] {
            if !vocabulary.ids.contains_key(token) {
                return Err(faulty(format!(
                    "expected tokens of {TOKENS}, which has no {:?}",
                    excerpt(token)
                )));
            }
        }
        merges.push((left.to_owned(), right.to_owned()));
    }
    Ok(merges)
}

/// The longest token of SentencePiece whose parts are looked for, in bytes. Real ones have some dozen.
const MAX_TOKEN_BYTES: usize = 1024;

/// Makes the merges of a SentencePiece vocabulary, which has scores in their place: any two tokens that make a third
/// are merged, those that make the one of the highest score first.
pub(super) fn merges_of_scores(
    metadata: &Metadata,
    vocabulary: &Vocabulary<'_>,
) -> Result<Vec<(String, String)>, GgufError> {
    struct Merge<'a> {
        score: f32,
        left: &'a str,
        right: &'a str,
        /// Characters of both.
        n_chars: (usize, usize),
    }

    let mut merges = Vec::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        if matches!(
            vocabulary.kinds[id],
            TokenKind::Control | TokenKind::Unknown | TokenKind::Byte
        ) {
            continue;
        }
        if token.len() > MAX_TOKEN_BYTES {
            let problem = format!(
                "has a token of {} bytes, {id}, expected at most {MAX_TOKEN_BYTES}",
                token.len()
            );
            return Err(metadata.error(TOKENS, problem));
        }
        let mut parts = Vec::new();
        for (n_left, (middle, _)) in token.char_indices().enumerate().skip(1) {
            let (left, right) = token.split_at(middle);
            let id_of = |part| vocabulary.ids.get(part).copied();
            if let (Some(left_id), Some(right_id)) = (id_of(left), id_of(right)) {
                let merge = Merge {
                    score: vocabulary.scores[id],
                    left,
                    right,
                    n_chars: (n_left, right.chars().count()),
                };
                parts.push(((left_id, right_id), merge));
            }
        }
        parts.sort_by_key(|(ids, _)| *ids);
        merges.extend(parts.into_iter().map(|(_, merge)| merge));
    }
    // Of merges with one score those of longer parts go first, in transformers' conversion as here. The sort is stable.
    merges.sort_by(|a, b| {
        let by_score = b.score.partial_cmp(&a.score).unwrap_or(Ordering::Equal);
        by_score.then(b.n_chars.cmp(&a.n_chars))
    });
    let texts = |merge: Merge<'_>| (merge.left.to_owned(), merge.right.to_owned());
    Ok(merges.into_iter().map(texts).collect())
}
