//! Which entity combinations may be trained on and which are kept for tests.

use crate::random::hash;

/// The part of the data that a question belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Seen in training.
    Train,
    /// Examples for few-shot prompts; never trained on.
    Dev,
    /// For choosing settings; never trained on.
    Validation,
    /// For the reported numbers; never trained on.
    Test,
}

impl Split {
    /// Returns the split that owns a combination of entities, such as `pet|Mira`.
    ///
    /// The key decides, not the wording: two phrasings of a question about the
    /// same combination always fall into the same split.
    pub fn of(seed: u64, key: &str) -> Self {
        match hash(seed ^ 0x5911_7000, key) % 100 {
            0..15 => Split::Test,
            15..20 => Split::Validation,
            20..24 => Split::Dev,
            _ => Split::Train,
        }
    }

    /// Returns the split of an unordered pair of names.
    pub fn of_pair(seed: u64, kind: &str, a: &str, b: &str) -> Self {
        let (first, second) = if a <= b { (a, b) } else { (b, a) };
        Self::of(seed, &format!("{kind}|{first}|{second}"))
    }
}
