//! What a lens saw of a pass, read back to the host.

use crate::pass::first_of_each;

/// What a lens saw of a pass, read back to the host. State 0 is the embedding, state `l + 1` the one after layer `l`.
///
/// The arrays are laid out `[state][row][slot]`, those of tokens with `n_top` values for each.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LensRecord {
    /// Number of tokens that are named after each state.
    pub n_top: usize,
    /// Number of slots of the pass, `batch * seq`.
    pub n_slots: usize,
    /// The most probable tokens, the most probable one first; of equally probable ones the one with the lowest id.
    pub ids: Vec<u32>,
    /// Their log-probabilities.
    pub logprobs: Vec<f32>,
    /// The entropy of the distribution, in nats.
    pub entropy: Vec<f32>,
    /// The Kullback-Leibler divergence `KL(p_last ‖ p_state)` of the distribution from that after the last layer, in nats.
    pub kl: Vec<f32>,
}

/// What a lens saw of one token after one state.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct LensAt<'a> {
    /// The most probable tokens.
    pub ids: &'a [u32],
    /// Their log-probabilities.
    pub logprobs: &'a [f32],
    /// The entropy, in nats.
    pub entropy: f32,
    /// The divergence from the distribution after the last layer, in nats.
    pub kl: f32,
}

impl LensRecord {
    /// Returns the number of states, one more than there are layers.
    pub fn n_states(&self) -> usize {
        self.entropy.len() / self.n_slots.max(1)
    }

    /// Returns what was seen of a slot, `row * seq + slot`, after a state, of which 0 is the embedding.
    pub fn at(&self, state_idx: usize, slot: usize) -> LensAt<'_> {
        let at = state_idx * self.n_slots + slot;
        let top = at * self.n_top..(at + 1) * self.n_top;
        LensAt {
            ids: &self.ids[top.clone()],
            logprobs: &self.logprobs[top],
            entropy: self.entropy[at],
            kl: self.kl[at],
        }
    }

    /// Returns the layer after which the most probable token of a slot is the last layer's, and stays so: an answer that the
    /// embedding has already counts as the first layer's. 0 without layers.
    pub fn decided_at(&self, slot: usize) -> usize {
        let answers: Vec<u32> = (1..self.n_states())
            .map(|state_idx| self.at(state_idx, slot).ids[0])
            .collect();
        decided_at(&answers)
    }

    /// Keeps the first `n_slots` of every row's `seq` slots.
    pub(crate) fn keep_first_slots(&mut self, seq: usize, n_slots: usize) {
        let (len, kept) = (seq * self.n_top, n_slots * self.n_top);
        self.ids = first_of_each(&self.ids, len, kept);
        self.logprobs = first_of_each(&self.logprobs, len, kept);
        self.entropy = first_of_each(&self.entropy, seq, n_slots);
        self.kl = first_of_each(&self.kl, seq, n_slots);
        self.n_slots = self.n_slots / seq.max(1) * n_slots;
    }
}

/// Returns the first layer from which on all answers are the last one, for the answers after each layer in turn; 0 without
/// any.
pub fn decided_at(answers: &[u32]) -> usize {
    let before = answers
        .iter()
        .rposition(|answer| Some(answer) != answers.last());
    before.map_or(0, |layer_idx| layer_idx + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_decided_where_it_last_changes() {
        for (answers, expected) in [
            (&[7, 7, 7][..], 0),
            (&[5, 7, 7], 1),
            (&[5, 6, 7], 2),
            (&[7, 6, 7, 7], 2),
            (&[7], 0),
            (&[], 0),
        ] {
            assert_eq!(decided_at(answers), expected, "{answers:?}");
        }
    }
}
