//! The tokens that most and fewest layers work on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::token::Token;

/// Active layers by token id.
///
/// JSON has text for its keys, which serde turns into numbers only where it reads a map directly, and the phases' statistics
/// are flattened into those of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Count>")]
pub struct TokenUse(BTreeMap<u32, Count>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    piece: Option<String>,
    n: u64,
    n_active: u64,
}

/// A vocabulary entry and how many layers work on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TokenActivity {
    /// Its id.
    pub token_id: u32,
    /// The vocabulary's spelling of it, when the recorder was told.
    pub piece: Option<String>,
    /// How often it occurs.
    pub n: u64,
    /// Mean number of active layers.
    pub mean_active: f64,
}

impl TryFrom<BTreeMap<String, Count>> for TokenUse {
    type Error = String;

    fn try_from(counts: BTreeMap<String, Count>) -> Result<Self, String> {
        let ids = counts.into_iter().map(|(key, count)| {
            let id = key.parse();
            let id = id.map_err(|error| format!("\"{key}\" is not a token id: {error}"))?;
            Ok((id, count))
        });
        ids.collect::<Result<_, _>>().map(Self)
    }
}

impl TokenUse {
    pub(super) fn push(&mut self, token: &Token<'_>, n_active: usize) {
        let Some(id) = token.token_id else { return };
        let count = self.0.entry(id).or_insert_with(|| Count {
            piece: token.piece.map(str::to_owned),
            ..Count::default()
        });
        count.n += 1;
        count.n_active += n_active as u64;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (&id, others) in &other.0 {
            let count = self.0.entry(id).or_insert_with(|| Count {
                piece: others.piece.clone(),
                ..Count::default()
            });
            count.n += others.n;
            count.n_active += others.n_active;
        }
    }

    /// Returns the number of different ids.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether no id was seen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns all ids that occur at least `min_n` times, the most active first; of equally active ones
    /// the more frequent first, then the smaller id.
    pub fn ranking(&self, min_n: u64) -> Vec<TokenActivity> {
        let mut ranking: Vec<TokenActivity> = self
            .0
            .iter()
            .filter(|(_, count)| count.n >= min_n)
            .map(|(&token_id, count)| TokenActivity {
                token_id,
                piece: count.piece.clone(),
                n: count.n,
                mean_active: count.n_active as f64 / count.n as f64,
            })
            .collect();
        ranking.sort_by(|a, b| {
            b.mean_active
                .total_cmp(&a.mean_active)
                .then(b.n.cmp(&a.n))
                .then(a.token_id.cmp(&b.token_id))
        });
        ranking
    }
}
