//! What is counted of one phase.

use lac_core::measures::Measure;
use serde::{Deserialize, Serialize};

use super::add::add;
use super::experts::{self, ExpertStatistics};
use super::moments::Moments;
use super::relations::Relations;
use super::token_class::{self, ClassCounts};
use super::token_use::TokenUse;
use crate::token::Token;

/// The order of a layer's and the next one's states in [`PhaseStatistics::transitions`].
pub const TRANSITIONS: [&str; 4] = ["void_void", "void_active", "active_void", "active_active"];

/// What is counted of one phase; `L` is the number of layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseStatistics {
    /// Number of tokens.
    pub n_tokens: u64,
    /// `[L]`: tokens for which the layer was active.
    pub active: Vec<u64>,
    /// `[L]`: tokens in whose pass the layer was run.
    pub executed: Vec<u64>,
    /// `[L + 1]`: tokens with this many voids.
    pub voids: Vec<u64>,
    /// `[L + 1]`: runs of this many voids in successive layers of a token, none longer around
    /// them. There is no run of length 0.
    pub runs: Vec<u64>,
    /// `[L + 1]`: tokens whose longest run has this length.
    pub longest_run: Vec<u64>,
    /// `[L − 1]`: tokens by the states of a layer and of the next one, in the order of
    /// [`TRANSITIONS`].
    pub transitions: Vec<[u64; 4]>,
    /// `[L + 1]`: norms of the embedding and after each layer.
    pub norms: Vec<Moments>,
    /// `[L]`: deltas.
    pub deltas: Vec<Moments>,
    /// `[L]`: cosines between input and output; empty when the run was not probed.
    pub cosines: Vec<Moments>,
    /// `[L]`: relative contributions; empty when the run was not probed.
    pub contributions: Vec<Moments>,
    /// `[L]`: layers with experts; empty for a model without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub experts: Vec<Option<ExpertStatistics>>,
    /// Masks, influence and what a lens saw; empty where neither was recorded.
    #[serde(default)]
    pub relations: Relations,
    /// Tokens by their kind, in the order of [`TokenClass::ALL`](super::TokenClass::ALL).
    #[serde(default)]
    pub classes: Vec<ClassCounts>,
    /// Tokens by their position in the sequence.
    pub positions: Vec<PositionBucket>,
    /// Tokens by their id.
    pub tokens: TokenUse,
}

/// Tokens at positions that begin with one power of two and end before the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionBucket {
    /// Number of tokens.
    pub n_tokens: u64,
    /// `[L]`: tokens for which the layer was active.
    pub active: Vec<u64>,
}

impl PositionBucket {
    /// Returns the first position of a bucket: 0, 1, 2, 4, 8, …
    pub fn first(bucket_idx: usize) -> u64 {
        match bucket_idx {
            0 => 0,
            idx => 1 << (idx - 1),
        }
    }

    /// Returns the bucket of a position.
    fn of(position: u32) -> usize {
        (u32::BITS - position.leading_zeros()) as usize
    }
}

impl PhaseStatistics {
    pub(super) fn new(n_layers: usize) -> Self {
        Self {
            n_tokens: 0,
            active: vec![0; n_layers],
            executed: vec![0; n_layers],
            voids: vec![0; n_layers + 1],
            runs: vec![0; n_layers + 1],
            longest_run: vec![0; n_layers + 1],
            transitions: vec![[0; 4]; n_layers.saturating_sub(1)],
            norms: vec![Moments::default(); n_layers + 1],
            deltas: vec![Moments::default(); n_layers],
            cosines: Vec::new(),
            contributions: Vec::new(),
            experts: Vec::new(),
            relations: Relations::default(),
            classes: Vec::new(),
            positions: Vec::new(),
            tokens: TokenUse::default(),
        }
    }

    /// Counts a token; `n_experts` is the number of experts of a layer, 0 without them.
    pub(super) fn push(&mut self, token: &Token<'_>, n_experts: usize) {
        let flags = token.active;
        let n_active = token.n_active();
        self.n_tokens += 1;
        count(&mut self.active, flags);
        count(&mut self.executed, token.executed);
        self.voids[flags.len() - n_active] += 1;

        let mut longest = 0;
        for run in flags.split(|&active| active).map(<[bool]>::len) {
            if run > 0 {
                self.runs[run] += 1;
            }
            longest = longest.max(run);
        }
        self.longest_run[longest] += 1;
        for (counts, pair) in self.transitions.iter_mut().zip(flags.windows(2)) {
            counts[2 * usize::from(pair[0]) + usize::from(pair[1])] += 1;
        }

        self.norms[0].push(f64::from(token.embedding_norm));
        push_all(&mut self.norms[1..], token.norms);
        push_all(&mut self.deltas, token.deltas);
        for (moments, values) in [
            (&mut self.cosines, Measure::Cosine),
            (&mut self.contributions, Measure::Contribution),
        ] {
            let measures = token.measures.as_ref();
            if let Some(values) = measures.and_then(|measures| measures.get(values)) {
                moments.resize(values.len(), Moments::default());
                push_all(moments, values);
            }
        }

        experts::push(&mut self.experts, n_experts, token);
        self.relations.push(token);
        token_class::push(&mut self.classes, token);

        let bucket = PositionBucket::of(token.position);
        if self.positions.len() <= bucket {
            self.positions
                .resize(bucket + 1, PositionBucket::empty(flags.len()));
        }
        self.positions[bucket].n_tokens += 1;
        count(&mut self.positions[bucket].active, flags);
        self.tokens.push(token, n_active);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.n_tokens += other.n_tokens;
        add(&mut self.active, &other.active);
        add(&mut self.executed, &other.executed);
        add(&mut self.voids, &other.voids);
        add(&mut self.runs, &other.runs);
        add(&mut self.longest_run, &other.longest_run);
        for (mine, others) in self.transitions.iter_mut().zip(&other.transitions) {
            add(mine, others);
        }
        for (mine, others) in [
            (&mut self.norms, &other.norms),
            (&mut self.deltas, &other.deltas),
            (&mut self.cosines, &other.cosines),
            (&mut self.contributions, &other.contributions),
        ] {
            mine.resize(mine.len().max(others.len()), Moments::default());
            for (mine, others) in mine.iter_mut().zip(others) {
                mine.merge(others);
            }
        }
        experts::merge(&mut self.experts, &other.experts);
        self.relations.merge(&other.relations);
        token_class::merge(&mut self.classes, &other.classes);
        if self.positions.len() < other.positions.len() {
            self.positions.resize(
                other.positions.len(),
                PositionBucket::empty(self.active.len()),
            );
        }
        for (mine, others) in self.positions.iter_mut().zip(&other.positions) {
            mine.n_tokens += others.n_tokens;
            add(&mut mine.active, &others.active);
        }
        self.tokens.merge(&other.tokens);
    }

    /// Returns the share of tokens for which each layer was active, `[L]`; `None` when there is no token.
    pub fn usage(&self) -> Option<Vec<f64>> {
        let share = |&count: &u64| count as f64 / self.n_tokens as f64;
        (self.n_tokens > 0).then(|| self.active.iter().map(share).collect())
    }
}

impl PositionBucket {
    fn empty(n_layers: usize) -> Self {
        Self {
            n_tokens: 0,
            active: vec![0; n_layers],
        }
    }
}

fn count(totals: &mut [u64], flags: &[bool]) {
    for (total, &flag) in totals.iter_mut().zip(flags) {
        *total += u64::from(flag);
    }
}

fn push_all(moments: &mut [Moments], values: &[f32]) {
    for (moments, &value) in moments.iter_mut().zip(values) {
        moments.push(f64::from(value));
    }
}
