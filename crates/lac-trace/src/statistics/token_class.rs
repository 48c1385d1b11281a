//! Kinds of tokens, by the vocabulary's spelling of them.

use serde::{Deserialize, Serialize};

use super::add::add;
use super::moments::Share;
use crate::token::Token;

/// A kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenClass {
    /// Letters at the beginning of a word: behind a space, or after nothing else.
    WordStart,
    /// Letters within a word.
    WordPart,
    /// Digits.
    Digits,
    /// Punctuation and symbols.
    Punctuation,
    /// Spaces and line ends alone.
    Space,
    /// A token that stands for no text, such as `<|im_start|>`.
    Special,
    /// Anything else, and tokens without a spelling.
    Other,
}

impl TokenClass {
    /// All kinds, in the order in which they are counted.
    pub const ALL: [TokenClass; 7] = [
        TokenClass::WordStart,
        TokenClass::WordPart,
        TokenClass::Digits,
        TokenClass::Punctuation,
        TokenClass::Space,
        TokenClass::Special,
        TokenClass::Other,
    ];

    /// Returns the kind of a token by its spelling, in byte-level vocabularies (`Ġthe`) and others (`▁the`).
    pub fn of(piece: Option<&str>) -> Self {
        let Some(piece) = piece else {
            return TokenClass::Other;
        };
        let is_special = piece.len() > 2 && piece.starts_with('<') && piece.ends_with('>');
        let is_byte = piece.starts_with("<0x");
        if is_special && !is_byte {
            return TokenClass::Special;
        }
        // How vocabularies spell spaces, tabs and line ends.
        let is_space = |c: char| c.is_whitespace() || matches!(c, 'Ġ' | '▁' | 'Ċ' | 'ĉ' | 'č');
        let text = piece.trim_start_matches(is_space);
        let mut chars = text.chars();
        if text.is_empty() || piece == "<0x0A>" {
            TokenClass::Space
        } else if text.chars().all(char::is_numeric) {
            TokenClass::Digits
        } else if text.chars().all(|c| c.is_ascii_punctuation()) {
            TokenClass::Punctuation
        } else if chars.all(|c| c.is_alphanumeric() || matches!(c, '\'' | '’' | '-' | '_')) {
            if text.len() < piece.len() {
                TokenClass::WordStart
            } else {
                TokenClass::WordPart
            }
        } else {
            TokenClass::Other
        }
    }
}

/// Tokens of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCounts {
    /// Number of tokens.
    pub n_tokens: u64,
    /// `[L]`: tokens for which the layer was active.
    pub active: Vec<u64>,
}

/// What follows of the tokens of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClassUsage {
    /// The kind.
    pub class: TokenClass,
    /// Number of tokens.
    pub n_tokens: u64,
    /// Mean share of active layers, and Wilson's interval over tokens and layers.
    pub usage: Share,
    /// `[L]`: share of tokens for which each layer was active.
    pub usage_per_layer: Vec<f64>,
}

/// Counts a token; `classes` grows to all kinds.
pub(super) fn push(classes: &mut Vec<ClassCounts>, token: &Token<'_>) {
    let empty = ClassCounts {
        n_tokens: 0,
        active: vec![0; token.n_layers()],
    };
    classes.resize(TokenClass::ALL.len(), empty);
    let class = &mut classes[TokenClass::of(token.piece) as usize];
    class.n_tokens += 1;
    for (count, &active) in class.active.iter_mut().zip(token.active) {
        *count += u64::from(active);
    }
}

pub(super) fn merge(mine: &mut Vec<ClassCounts>, others: &[ClassCounts]) {
    if mine.is_empty() {
        mine.extend_from_slice(others);
        return;
    }
    for (mine, others) in mine.iter_mut().zip(others) {
        mine.n_tokens += others.n_tokens;
        add(&mut mine.active, &others.active);
    }
}

/// Returns the kinds that there were tokens of.
pub(super) fn summary(classes: &[ClassCounts]) -> Vec<ClassUsage> {
    let seen = TokenClass::ALL.into_iter().zip(classes);
    let seen = seen.filter(|(_, counts)| counts.n_tokens > 0);
    seen.map(|(class, counts)| {
        let n = counts.n_tokens;
        let share = |&count: &u64| count as f64 / n as f64;
        ClassUsage {
            class,
            n_tokens: n,
            usage: Share::of(counts.active.iter().sum(), n * counts.active.len() as u64),
            usage_per_layer: counts.active.iter().map(share).collect(),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_the_kind_that_they_look_like() {
        for (piece, class) in [
            ("Ġthe", TokenClass::WordStart),
            ("▁été", TokenClass::WordStart),
            ("ing", TokenClass::WordPart),
            ("Ġdon't", TokenClass::WordStart),
            ("42", TokenClass::Digits),
            ("Ġ7", TokenClass::Digits),
            (".", TokenClass::Punctuation),
            ("Ġ(", TokenClass::Punctuation),
            ("Ċ", TokenClass::Space),
            ("Ġ", TokenClass::Space),
            ("<0x0A>", TokenClass::Space),
            ("<|im_start|>", TokenClass::Special),
            ("</s>", TokenClass::Special),
            ("<", TokenClass::Punctuation),
            ("a.b", TokenClass::Other),
        ] {
            assert_eq!(TokenClass::of(Some(piece)), class, "{piece}");
        }
        assert_eq!(TokenClass::of(None), TokenClass::Other);
    }
}
