//! Everything that is counted of a trace.

use lac_core::PerPhase;
use serde::{Deserialize, Serialize};

use super::phase::PhaseStatistics;
use super::sweep::{AlphaSweep, default_alphas};
use crate::error::{Error, Result};
use crate::file::TraceReader;
use crate::info::TraceInfo;
use crate::token::Token;

/// Everything that is counted of a trace, the two phases apart.
///
/// ```
/// use lac_core::{GateConfig, Phase, Trace};
/// use lac_trace::{Statistics, Token, TraceInfo};
///
/// let info = TraceInfo::new("my-model", 3, &Trace::new(GateConfig::new(0.8)))?;
/// let token = Token {
///     sequence: 0,
///     phase: Phase::Prompt,
///     position: 0,
///     token_id: Some(7),
///     piece: Some("Once"),
///     embedding_norm: 5.0,
///     norms: &[10.0, 5.0, 7.5],
///     deltas: &[5.0, -5.0, 2.5],
///     thresholds: &[0.0, 0.0, 8.0],
///     active: &[true, false, false],
///     executed: &[true; 3],
///     measures: None,
///     lens: None,
///     routing: None,
/// };
/// let mut statistics = Statistics::new(&info);
/// statistics.push(&token);
/// let mut shard = Statistics::new(&info);
/// shard.push(&token);
/// statistics.merge(&shard)?;
///
/// assert_eq!(statistics.phases.prompt.active, [2, 0, 0]);
/// // Both tokens have one run of two voids.
/// assert_eq!(statistics.phases.prompt.runs, [0, 0, 2, 0]);
/// # Ok::<(), lac_trace::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// What the trace says of itself.
    pub info: TraceInfo,
    /// The tokens of each phase.
    #[serde(flatten)]
    pub phases: PerPhase<PhaseStatistics>,
    /// Usage under other α; `None` where the policy changes states, so that deltas depend on α.
    pub sweep: Option<AlphaSweep>,
}

impl Statistics {
    /// Starts with nothing counted, for a trace with this description.
    pub fn new(info: &TraceInfo) -> Self {
        Self {
            info: info.clone(),
            phases: PerPhase {
                prompt: PhaseStatistics::new(info.n_layers),
                response: PhaseStatistics::new(info.n_layers),
            },
            sweep: info
                .can_sweep_alpha()
                .then(|| AlphaSweep::new(info, default_alphas())),
        }
    }

    /// Sets the α to sweep over.
    pub fn with_alphas(mut self, alphas: Vec<f32>) -> Self {
        if self.sweep.is_some() {
            self.sweep = Some(AlphaSweep::new(&self.info, alphas));
        }
        self
    }

    /// Counts a whole trace.
    ///
    /// # Errors
    /// What reading it reports.
    pub fn of(trace: &TraceReader) -> Result<Self> {
        let mut statistics = Self::new(trace.info());
        trace.for_each(|token| statistics.push(&token))?;
        Ok(statistics)
    }

    /// Counts a token.
    pub fn push(&mut self, token: &Token<'_>) {
        let n_experts = self.info.experts.map_or(0, |experts| experts.n_experts);
        self.phases.get_mut(token.phase).push(token, n_experts);
        if let Some(sweep) = &mut self.sweep {
            sweep.push(token);
        }
    }

    /// Adds what was counted of another shard of the same run.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the shards are of different models, policies or gates.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let same = |what: &str, left: &dyn ToString, right: &dyn ToString| {
            let (left, right) = (left.to_string(), right.to_string());
            if left == right {
                return Ok(());
            }
            Err(Error::Mismatch {
                left: self.info.title(),
                right: other.info.title(),
                reason: format!("{what} is {left} in one and {right} in the other"),
            })
        };
        let (mine, others) = (&self.info, &other.info);
        same("the model", &mine.model, &others.model)?;
        same("the number of layers", &mine.n_layers, &others.n_layers)?;
        same("the policy", &mine.policy, &others.policy)?;
        same("alpha", &mine.gate.alpha, &others.gate.alpha)?;
        same("the data type", &mine.dtype, &others.dtype)?;
        if mine.gate != others.gate || !same_alphas(&self.sweep, &other.sweep) {
            return Err(Error::Mismatch {
                left: mine.title(),
                right: others.title(),
                reason: "the gate's rounding or the swept alphas differ".to_owned(),
            });
        }
        for (phase, others) in other.phases.iter() {
            self.phases.get_mut(phase).merge(others);
        }
        if let (Some(mine), Some(others)) = (&mut self.sweep, &other.sweep) {
            mine.merge(others);
        }
        Ok(())
    }
}

fn same_alphas(left: &Option<AlphaSweep>, right: &Option<AlphaSweep>) -> bool {
    left.as_ref().map(|sweep| &sweep.alphas) == right.as_ref().map(|sweep| &sweep.alphas)
}
