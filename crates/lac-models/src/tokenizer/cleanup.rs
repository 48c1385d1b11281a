//! The clean-up of spaces after decoding, which some checkpoints ask for.

/// What transformers' `clean_up_tokenization` replaces, in its order.
const REPLACEMENTS: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// Removes the spaces that word-level tokenizers leave before punctuation.
pub(super) fn clean_up(text: &str) -> String {
    REPLACEMENTS
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Returns the length of the part of a text that later text cannot change.
///
/// Cleaning up the two parts of a text that is cut there gives the same as cleaning up the whole. Every pattern starts
/// with a space and has at most four characters, and only spaces are removed. So no pattern reaches across a cut if the
/// three characters before it are not spaces, or if a character that occurs in no pattern stands between the last space
/// and the cut.
pub(super) fn settled_len(text: &str) -> usize {
    let mut cut = text.len();
    while cut > 0 && !is_settled(&text[..cut]) {
        cut -= text[..cut].chars().next_back().map_or(1, char::len_utf8);
    }
    cut
}

fn is_settled(before: &str) -> bool {
    for c in before.chars().rev().take(3) {
        match c {
            ' ' => return false,
            '.' | '?' | '!' | ',' | '\'' | 'n' | 't' | 'm' | 's' | 'v' | 'r' | 'e' => {}
            _ => return true,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn a_settled_part_is_independent(text in "[ .,'ntmsvrexé]{0,24}", len in 0usize..24) {
            let head: String = text.chars().take(len).collect();
            let (before, after) = text.split_at(settled_len(&head));
            prop_assert_eq!(clean_up(before) + &clean_up(after), clean_up(&text));
        }
    }
}
