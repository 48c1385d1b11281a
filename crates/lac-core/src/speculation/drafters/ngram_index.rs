//! Where a text has said before what it says now.

use std::collections::HashMap;

/// Finds the longest earlier occurrence of a text's last tokens, in time and memory that are bounded per token.
///
/// For some lengths, each sequence of that many tokens leads to the place where it last stood, and every place to the one
/// before it. A search begins with the longest of these lengths that occurs, looks at the latest places and takes the one
/// at which most tokens before are equal too.
#[derive(Clone, Debug)]
pub(super) struct NgramIndex {
    tokens: Vec<u32>,
    /// By the lengths, in their order.
    orders: Vec<Order>,
}

/// The sequences of one length.
#[derive(Clone, Debug)]
struct Order {
    len: usize,
    /// By a hash of the tokens, where such a sequence ended last: the number of tokens before its end.
    last: HashMap<u64, u32>,
    /// For each number of tokens, where a sequence with the same hash ended before; 0 for nowhere.
    before: Vec<u32>,
}

/// An earlier occurrence of a text's last tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// Where the token stands that followed.
    pub next: usize,
    /// How many tokens are equal, up to [`LONGEST_MATCH`].
    pub len: usize,
}

/// The lengths of sequences that are looked up.
const LENGTHS: [usize; 4] = [16, 6, 3, 2];

/// Longer matches are not told apart.
pub(super) const LONGEST_MATCH: usize = 32;

/// How many of the latest places are looked at.
const PLACES: usize = 32;

/// Stands between texts: no token has this id.
const BOUNDARY: u32 = u32::MAX;

impl NgramIndex {
    pub(super) fn new() -> Self {
        let order = |len| Order {
            len,
            last: HashMap::new(),
            before: vec![0],
        };
        Self {
            tokens: Vec::new(),
            orders: LENGTHS.into_iter().map(order).collect(),
        }
    }

    /// The tokens so far.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Separates what follows from what was before.
    pub(super) fn end_text(&mut self) {
        self.push(BOUNDARY);
    }

    pub(super) fn push(&mut self, id: u32) {
        self.tokens.push(id);
        let n_tokens = self.tokens.len();
        for order in &mut self.orders {
            let before = match n_tokens.checked_sub(order.len) {
                Some(start) => {
                    let hash = hash(&self.tokens[start..]);
                    order.last.insert(hash, n_tokens as u32).unwrap_or(0)
                }
                None => 0,
            };
            order.before.push(before);
        }
    }

    /// Finds the longest earlier occurrence of the last of the tokens followed by `more`, among the latest places; the
    /// latest of equally long ones. Nothing is found for less than two tokens.
    pub(super) fn longest_match(&self, more: &[u32]) -> Option<Match> {
        let n_tokens = self.tokens.len() + more.len();
        let at = |idx: usize| match idx.checked_sub(self.tokens.len()) {
            None => self.tokens[idx],
            Some(idx) => more[idx],
        };
        for order in &self.orders {
            let Some(start) = n_tokens.checked_sub(order.len) else {
                continue;
            };
            let end: Vec<u32> = (start..n_tokens).map(at).collect();
            let mut place = order.last.get(&hash(&end)).copied().unwrap_or(0);
            let mut best: Option<Match> = None;
            for _ in 0..PLACES {
                if place == 0 {
                    break;
                }
                let next = place as usize;
                place = order.before[next];
                if next == n_tokens {
                    // The end itself.
                    continue;
                }
                let len = (0..next.min(LONGEST_MATCH))
                    .take_while(|back| {
                        let id = self.tokens[next - 1 - back];
                        id != BOUNDARY && id == at(n_tokens - 1 - back)
                    })
                    .count();
                // Another sequence may have the same hash.
                if len >= order.len && best.is_none_or(|best| len > best.len) {
                    best = Some(Match { next, len });
                }
            }
            if best.is_some() {
                return best;
            }
        }
        None
    }
}

/// FNV-1a over tokens.
fn hash(tokens: &[u32]) -> u64 {
    tokens.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &id| {
        (hash ^ u64::from(id)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by comparing every place with the end.
    fn naive(tokens: &[u32]) -> Option<Match> {
        let n_tokens = tokens.len();
        let len_at = |next: usize| {
            (0..next.min(LONGEST_MATCH))
                .take_while(|back| {
                    let id = tokens[next - 1 - back];
                    id != BOUNDARY && id == tokens[n_tokens - 1 - back]
                })
                .count()
        };
        let matches = (1..n_tokens).map(|next| Match {
            next,
            len: len_at(next),
        });
        matches
            .filter(|found| found.len >= LENGTHS[LENGTHS.len() - 1])
            .max_by_key(|found| (found.len, found.next))
    }

    fn index_of(tokens: &[u32]) -> NgramIndex {
        let mut index = NgramIndex::new();
        tokens.iter().for_each(|&id| index.push(id));
        index
    }

    proptest! {
        /// Texts so short that no place is passed over.
        #[test]
        fn the_longest_match_is_found(
            tokens in proptest::collection::vec(prop_oneof![9 => 0..3u32, 1 => Just(BOUNDARY)], 0..PLACES),
            n_more in 0..4usize,
        ) {
            let n_more = n_more.min(tokens.len());
            let (indexed, more) = tokens.split_at(tokens.len() - n_more);
            prop_assume!(!more.contains(&BOUNDARY));
            let found = index_of(indexed).longest_match(more);
            // What is not indexed yet cannot be found.
            let expected = naive(&tokens).filter(|found| found.next <= indexed.len());
            match expected {
                Some(expected) => prop_assert_eq!(found, Some(expected)),
                None => prop_assert!(found.is_none_or(|found| found.next <= indexed.len())),
            }
        }

        /// Whatever the text, what is found is an occurrence of its end.
        #[test]
        fn what_is_found_is_there(tokens in proptest::collection::vec(0..40u32, 2..400)) {
            if let Some(found) = index_of(&tokens).longest_match(&[]) {
                prop_assert!(found.next < tokens.len() && found.len >= 2);
                let earlier = &tokens[found.next - found.len..found.next];
                prop_assert!(tokens.ends_with(earlier));
            }
        }
    }

    #[test]
    fn texts_end_at_boundaries() {
        let mut index = index_of(&[1, 2, 3]);
        index.end_text();
        [2, 3].into_iter().for_each(|id| index.push(id));
        assert_eq!(index.longest_match(&[]), Some(Match { next: 3, len: 2 }));
        assert_eq!(index.longest_match(&[BOUNDARY]), None);
        assert_eq!(index.tokens().len(), 6);
    }

    /// A long text of one token, and one without repetition: the work of a step stays the same.
    #[test]
    fn long_texts_are_searched_in_bounded_steps() {
        let n_tokens = 32_768;
        for id_of in [|_: u32| 7, |idx: u32| idx, |idx: u32| idx % 5] {
            let tokens: Vec<u32> = (0..n_tokens).map(id_of).collect();
            let index = index_of(&tokens);
            for order in &index.orders {
                assert!(order.last.len() <= tokens.len());
                assert_eq!(order.before.len(), tokens.len() + 1);
            }
            let found = index.longest_match(&[]);
            assert_eq!(
                found.is_some(),
                tokens[0] == tokens[5] || tokens[0] == tokens[1]
            );
            assert!(found.is_none_or(|found| found.len == LONGEST_MATCH));
        }
    }
}
