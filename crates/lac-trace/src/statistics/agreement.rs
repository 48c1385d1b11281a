//! Two traces of the same tokens held against each other: data types, α values, devices, models.

use std::collections::{HashMap, HashSet};

use lac_core::{PerPhase, Phase};
use serde::{Deserialize, Serialize};

use super::add::add;
use super::moments::Moments;
use crate::error::{Error, Result};
use crate::file::TraceReader;
use crate::token::{Token, TokenBatch};

/// How far two traces agree where they saw the same tokens.
///
/// A sequence is compared up to the first position at which its tokens differ: what follows was
/// computed from another text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Agreement {
    /// The tokens of each phase.
    #[serde(flatten)]
    pub phases: PerPhase<PhaseAgreement>,
    /// Tokens of the first trace that were not compared.
    pub left_only: u64,
    /// Tokens of the second trace that were not compared.
    pub right_only: u64,
}

/// How far two traces agree in one phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PhaseAgreement {
    /// Number of tokens compared.
    pub n_tokens: u64,
    /// Tokens with the same flags at every layer.
    pub equal_masks: u64,
    /// `[L]`: tokens with the same flag.
    pub equal: Vec<u64>,
    /// `[L]`: tokens with the layer active in both traces.
    pub both: Vec<u64>,
    /// `[L]`: tokens with the layer active in at least one.
    pub either: Vec<u64>,
    /// Distance between the deltas, over all layers and tokens.
    pub delta_distance: Moments,
}

impl PhaseAgreement {
    fn new(n_layers: usize) -> Self {
        Self {
            n_tokens: 0,
            equal_masks: 0,
            equal: vec![0; n_layers],
            both: vec![0; n_layers],
            either: vec![0; n_layers],
            delta_distance: Moments::default(),
        }
    }

    fn push(&mut self, left: &Token<'_>, right: &Token<'_>) {
        self.n_tokens += 1;
        self.equal_masks += u64::from(left.active == right.active);
        for (layer_idx, (&l, &r)) in left.active.iter().zip(right.active).enumerate() {
            self.equal[layer_idx] += u64::from(l == r);
            self.both[layer_idx] += u64::from(l && r);
            self.either[layer_idx] += u64::from(l || r);
        }
        for (l, r) in left.deltas.iter().zip(right.deltas) {
            self.delta_distance
                .push((f64::from(*l) - f64::from(*r)).abs());
        }
    }

    /// Returns the share of flags that agree; `None` when nothing was compared.
    pub fn flags(&self) -> Option<f64> {
        let n = self.n_tokens * self.equal.len() as u64;
        (n > 0).then(|| self.equal.iter().sum::<u64>() as f64 / n as f64)
    }

    /// Returns the share of tokens with the same flags at every layer.
    pub fn masks(&self) -> Option<f64> {
        (self.n_tokens > 0).then(|| self.equal_masks as f64 / self.n_tokens as f64)
    }

    /// Returns the Jaccard index of the active flags of all tokens and layers.
    pub fn jaccard(&self) -> Option<f64> {
        let either: u64 = self.either.iter().sum();
        (either > 0).then(|| self.both.iter().sum::<u64>() as f64 / either as f64)
    }

    fn merge(&mut self, other: &Self) {
        self.n_tokens += other.n_tokens;
        self.equal_masks += other.equal_masks;
        add(&mut self.equal, &other.equal);
        add(&mut self.both, &other.both);
        add(&mut self.either, &other.either);
        self.delta_distance.merge(&other.delta_distance);
    }
}

impl Agreement {
    fn new(n_layers: usize) -> Self {
        Self {
            phases: PerPhase {
                prompt: PhaseAgreement::new(n_layers),
                response: PhaseAgreement::new(n_layers),
            },
            left_only: 0,
            right_only: 0,
        }
    }

    /// Returns the number of tokens compared.
    pub fn n_tokens(&self) -> u64 {
        let phases = self.phases.iter();
        phases.map(|(_, agreement)| agreement.n_tokens).sum()
    }

    /// Adds the comparison of another pair of shards.
    pub fn merge(&mut self, other: &Self) {
        for (phase, others) in other.phases.iter() {
            self.phases.get_mut(phase).merge(others);
        }
        self.left_only += other.left_only;
        self.right_only += other.right_only;
    }
}

/// Holds two traces against each other, token by token.
///
/// Both are streamed side by side; what one has and the other has not yet waits in memory, which
/// is nothing for runs in the same order.
///
/// # Errors
/// [`Error::Mismatch`] when the models have different numbers of layers; what reading reports.
pub fn agreement(left: &TraceReader, right: &TraceReader) -> Result<Agreement> {
    if left.info().n_layers != right.info().n_layers {
        return Err(Error::Mismatch {
            left: left.path().display().to_string(),
            right: right.path().display().to_string(),
            reason: format!(
                "one has {} layers, the other {}",
                left.info().n_layers,
                right.info().n_layers
            ),
        });
    }
    let mut pairs = Pairs {
        agreement: Agreement::new(left.info().n_layers),
        waiting: [HashMap::new(), HashMap::new()],
        diverged: HashSet::new(),
    };
    let (mut left, mut right) = (left.batches(), right.batches());
    loop {
        let (l, r) = (left.next().transpose()?, right.next().transpose()?);
        if l.is_none() && r.is_none() {
            break;
        }
        for (side, batch) in [(0, l), (1, r)] {
            for token in batch.iter().flat_map(TokenBatch::tokens) {
                pairs.push(side, &token);
            }
        }
    }
    let Pairs {
        mut agreement,
        waiting,
        ..
    } = pairs;
    agreement.left_only += waiting[0].len() as u64;
    agreement.right_only += waiting[1].len() as u64;
    Ok(agreement)
}

/// Where a token stands: its sequence and position.
type Place = (u32, u32);

struct Pairs {
    agreement: Agreement,
    waiting: [HashMap<Place, Waiting>; 2],
    /// Sequences whose tokens have been found to differ.
    diverged: HashSet<u32>,
}

/// A token that waits for its counterpart.
struct Waiting {
    phase: Phase,
    token_id: Option<u32>,
    active: Vec<bool>,
    deltas: Vec<f32>,
}

impl Pairs {
    fn push(&mut self, side: usize, token: &Token<'_>) {
        let place = (token.sequence, token.position);
        let Some(other) = self.waiting[1 - side].remove(&place) else {
            let waiting = Waiting {
                phase: token.phase,
                token_id: token.token_id,
                active: token.active.to_vec(),
                deltas: token.deltas.to_vec(),
            };
            self.waiting[side].insert(place, waiting);
            return;
        };
        // The places of a sequence come in their order in both traces, so what follows the first
        // difference comes after it.
        if self.diverged.contains(&token.sequence)
            || (other.token_id, other.phase) != (token.token_id, token.phase)
        {
            self.diverged.insert(token.sequence);
            self.agreement.left_only += 1;
            self.agreement.right_only += 1;
            return;
        }
        let other = Token {
            active: &other.active,
            deltas: &other.deltas,
            ..*token
        };
        let (left, right) = if side == 0 {
            (token, &other)
        } else {
            (&other, token)
        };
        let agreement = self.agreement.phases.get_mut(token.phase);
        agreement.push(left, right);
    }
}
