//! What the prompt and the text have said before.

use super::ngram_index::{LONGEST_MATCH, Match, NgramIndex};
use crate::error::BoxError;
use crate::generation::Flow;
use crate::speculation::{DraftRound, Drafter};

/// Proposes what followed when the prompt or the text said its last tokens before: the longest match first, the latest of
/// equally long ones. It costs no pass, and pays where a text repeats what it was given: in summaries, corrections, code.
///
/// Sources: prompt lookup decoding (Saxena 2023, <https://github.com/apoorvumang/prompt-lookup-decoding>), LLMA (Yang et
/// al. 2023, arXiv 2304.04487).
///
/// Time and memory per token are bounded, however long a text is: a step looks at no more than some dozens of places.
#[derive(Clone, Debug)]
pub struct NgramDrafter {
    memory: NgramMemory,
    index: NgramIndex,
    /// Where this text begins in the index.
    start: usize,
}

/// Which texts tokens are looked for in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NgramMemory {
    /// The prompt and the text that is being continued.
    #[default]
    Text,
    /// Those, and earlier ones of the same drafter. Once these have this many tokens together, they are forgotten.
    Texts {
        /// The number of tokens.
        at_most: usize,
    },
}

impl NgramDrafter {
    /// Makes a drafter that has seen no text.
    pub fn new(memory: NgramMemory) -> Self {
        Self {
            memory,
            index: NgramIndex::new(),
            start: 0,
        }
    }

    /// Adds what the text has grown by.
    fn follow(&mut self, text: &[u32]) {
        let n_known = self.index.tokens().len() - self.start;
        for &id in text.get(n_known..).unwrap_or_default() {
            self.index.push(id);
        }
    }
}

impl Default for NgramDrafter {
    fn default() -> Self {
        Self::new(NgramMemory::default())
    }
}

impl Drafter for NgramDrafter {
    fn name(&self) -> &str {
        "ngram"
    }

    fn begin(&mut self, prompt: &[u32], _n_slots: usize) -> Result<(), BoxError> {
        match self.memory {
            NgramMemory::Texts { at_most } if self.index.tokens().len() < at_most => {
                self.index.end_text();
            }
            _ => self.index.clear(),
        }
        self.start = self.index.tokens().len();
        self.follow(prompt);
        Ok(())
    }

    fn draft(&mut self, round: &mut DraftRound<'_>) -> Result<(), BoxError> {
        let n_text = round.text().len() - round.n_drafted();
        self.follow(&round.text()[..n_text]);
        let Some(Match { mut next, mut len }) = self.index.longest_match(&round.text()[n_text..])
        else {
            return Ok(());
        };
        let n_indexed = self.index.tokens().len();
        while round.wants_more() {
            // A match that reaches the end goes on with what it has proposed itself: the text turns in a circle.
            let id = match self.index.tokens().get(next) {
                Some(&id) => id,
                None => round.text()[n_text + next - n_indexed],
            };
            if id == u32::MAX || round.propose(id, confidence(len))? == Flow::Stop {
                break;
            }
            next += 1;
            len = (len + 1).min(LONGEST_MATCH);
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.index.clear();
        self.start = 0;
    }
}

/// The confidence in what follows a match of so many tokens.
fn confidence(len: usize) -> f32 {
    match len {
        0..=2 => 0.25,
        3 => 0.75,
        4 => 1.5,
        5..=7 => 2.5,
        8..=15 => 4.0,
        16..LONGEST_MATCH => 6.0,
        _ => 9.0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_remembered_up_to_a_number_of_tokens() {
        let at_most = 1000;
        let text: Vec<u32> = (0..300).collect();
        let mut drafter = NgramDrafter::new(NgramMemory::Texts { at_most });
        let mut most = 0;
        for _ in 0..20 {
            drafter.begin(&text, 0).unwrap();
            most = most.max(drafter.index.tokens().len());
        }
        assert!(
            (at_most..at_most + text.len() + 1).contains(&most),
            "{most}"
        );
        let mut drafter = NgramDrafter::default();
        for _ in 0..2 {
            drafter.begin(&text, 0).unwrap();
            assert_eq!(drafter.index.tokens().len(), text.len());
        }
    }
}
