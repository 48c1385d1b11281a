//! What follows from the counts, as it is printed, drawn and written.

use lac_core::PerPhase;
use serde::{Deserialize, Serialize};

use super::counts::Statistics;
use super::experts::ExpertSummary;
use super::moments::{Interval, Moments, NORMAL_95, Share, spearman};
use super::phase::{PhaseStatistics, PositionBucket, TRANSITIONS};
use super::relations::RelationSummary;
use super::sweep::{AlphaSweep, SweepCounts};
use super::token_class::{self, ClassUsage};
use super::token_use::TokenActivity;
use crate::info::TraceInfo;

/// Everything that follows from a trace's counts. docs/traces.md describes its JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// What the trace says of itself.
    pub info: TraceInfo,
    /// The tokens of each phase; `None` for a phase without tokens.
    #[serde(flatten)]
    pub phases: PerPhase<Option<PhaseSummary>>,
    /// Prompt against response; `None` unless there are both.
    pub comparison: Option<PhaseComparison>,
    /// Usage under other α; `None` where deltas depend on α.
    pub alpha_sweep: Option<SweepSummary>,
}

/// One phase; `L` is the number of layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PhaseSummary {
    /// Number of tokens.
    pub n_tokens: u64,
    /// Mean share of active layers, over tokens and layers.
    pub usage: f64,
    /// The mean's 95 % interval, from the spread of the tokens' own shares.
    pub usage_interval: Interval,
    /// `[L]`: share of tokens for which each layer was active.
    pub usage_per_layer: Vec<Share>,
    /// Mean number of layers run per token's pass.
    pub executed_layers: f64,
    /// Voids per token.
    pub voids: Distribution,
    /// Lengths of runs of voids in successive layers.
    pub void_runs: Distribution,
    /// Each token's longest run.
    pub longest_void_run: Distribution,
    /// `[L − 1]`: tokens by the states of a layer and of the next.
    pub transitions: Vec<Transition>,
    /// `[L + 1]`: norms of the embedding and after each layer.
    pub norms: Vec<Spread>,
    /// `[L]`: deltas.
    pub deltas: Vec<Spread>,
    /// `[L]`: cosines between input and output, when the run was probed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cosines: Vec<Spread>,
    /// `[L]`: relative contributions, when the run was probed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub contributions: Vec<Spread>,
    /// `[L]`: the layers with experts; `None` for the others. Empty for a model without experts.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub experts: Vec<Option<ExpertSummary>>,
    /// How masks, block influence and what a lens saw relate; `None` where neither of the two was recorded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub relations: Option<RelationSummary>,
    /// Usage by the kind of token.
    #[serde(default)]
    pub classes: Vec<ClassUsage>,
    /// Usage by position in the sequence.
    pub positions: Vec<PositionUsage>,
    /// Ids seen at least this often are ranked.
    pub ranked_from: u64,
    /// The ids with most active layers.
    #[serde(rename = "most_worked")]
    pub most_active: Vec<TokenActivity>,
    /// The ids with fewest active layers, the fewest first.
    #[serde(rename = "least_worked")]
    pub least_active: Vec<TokenActivity>,
}

/// Counts of whole numbers, and what follows from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Distribution {
    /// How often each number occurs, from 0.
    pub counts: Vec<u64>,
    /// The mean; 0 when nothing was counted.
    pub mean: f64,
    /// The standard deviation.
    pub deviation: f64,
    /// The smallest number that at least half of all do not exceed.
    pub median: u64,
}

/// A layer and the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Transition {
    /// Both were voids.
    pub void_void: u64,
    /// Only the next was active.
    pub void_active: u64,
    /// Only the first was active.
    pub active_void: u64,
    /// Both were active.
    pub active_active: u64,
}

/// Mean, spread and extremes of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub deviation: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// Tokens at positions from `first` to `last`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PositionUsage {
    /// The first position.
    pub first: u64,
    /// The last position.
    pub last: u64,
    /// Number of tokens.
    pub n_tokens: u64,
    /// Mean share of active layers.
    pub usage: f64,
    /// `[L]`: share of tokens for which each layer was active.
    pub usage_per_layer: Vec<f64>,
}

/// Prompt processing against response generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PhaseComparison {
    /// `[L]`: usage in the response minus usage in the prompt.
    pub difference: Vec<f64>,
    /// Jaccard index of the sets of layers that are active for at least half of a phase's tokens;
    /// `None` when both are empty.
    pub jaccard: Option<f64>,
    /// `Σ min / Σ max` of the usages: the Jaccard index of weighted sets.
    pub weighted_jaccard: Option<f64>,
    /// Spearman's rank correlation of the usages.
    pub spearman: Option<f64>,
}

/// Usage under other α; the arrays are `[α]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SweepSummary {
    /// The α.
    pub alphas: Vec<f32>,
    /// Mean usage of the prompt's tokens; empty without such tokens.
    pub prompt: Vec<f64>,
    /// Mean usage of the response's tokens; empty without such tokens.
    pub response: Vec<f64>,
    /// Share of the prompt's flags that are as they were recorded.
    pub prompt_agreement: Vec<f64>,
    /// Share of the response's flags that are as they were recorded.
    pub response_agreement: Vec<f64>,
    /// `[α][L]`: usage per layer of the prompt's tokens.
    pub prompt_per_layer: Vec<Vec<f64>>,
    /// `[α][L]`: usage per layer of the response's tokens.
    pub response_per_layer: Vec<Vec<f64>>,
}

/// Number of entries in the lists of most and least active ids.
const N_RANKED: usize = 15;

impl Statistics {
    /// Returns what follows from the counts: shares, intervals, comparisons.
    pub fn summary(&self) -> Summary {
        Summary::new(self)
    }
}

impl Summary {
    fn new(statistics: &Statistics) -> Self {
        let Statistics {
            info,
            phases,
            sweep,
        } = statistics;
        Self {
            info: info.clone(),
            phases: phases.as_ref().map(PhaseSummary::new),
            comparison: PhaseComparison::new(phases),
            alpha_sweep: sweep.as_ref().map(SweepSummary::new),
        }
    }

    /// Iterates over the phases that have tokens, with their names.
    pub fn seen_phases(&self) -> impl Iterator<Item = (&'static str, &PhaseSummary)> {
        let phases = self.phases.iter();
        phases.filter_map(|(phase, summary)| Some((phase.name(), summary.as_ref()?)))
    }
}

impl PhaseSummary {
    fn new(phase: &PhaseStatistics) -> Option<Self> {
        let n = phase.n_tokens;
        if n == 0 {
            return None;
        }
        let n_layers = phase.active.len();
        let voids = Distribution::new(&phase.voids);
        let usage = 1.0 - voids.mean / n_layers as f64;
        let half = NORMAL_95 * voids.deviation / n_layers as f64 / (n as f64).sqrt();
        let ranked_from = rank_from(n);
        let ranking = phase.tokens.ranking(ranked_from);
        Some(Self {
            n_tokens: n,
            usage,
            usage_interval: Interval {
                low: (usage - half).max(0.0),
                high: (usage + half).min(1.0),
            },
            usage_per_layer: phase
                .active
                .iter()
                .map(|&count| Share::of(count, n))
                .collect(),
            executed_layers: phase.executed.iter().sum::<u64>() as f64 / n as f64,
            voids,
            void_runs: Distribution::new(&phase.runs),
            longest_void_run: Distribution::new(&phase.longest_run),
            transitions: phase.transitions.iter().map(Transition::new).collect(),
            norms: phase.norms.iter().map(Spread::new).collect(),
            deltas: phase.deltas.iter().map(Spread::new).collect(),
            cosines: phase.cosines.iter().map(Spread::new).collect(),
            contributions: phase.contributions.iter().map(Spread::new).collect(),
            experts: phase
                .experts
                .iter()
                .map(|layer| layer.as_ref().map(ExpertSummary::new))
                .collect(),
            relations: phase.relations.summary(),
            classes: token_class::summary(&phase.classes),
            positions: positions(&phase.positions),
            ranked_from,
            most_active: ranking.iter().take(N_RANKED).cloned().collect(),
            least_active: ranking.iter().rev().take(N_RANKED).cloned().collect(),
        })
    }
}

/// Returns how often an id must have been seen to be ranked: once in a short trace, more often in a long one, so that
/// the lists do not fill with single occurrences.
fn rank_from(n_tokens: u64) -> u64 {
    (n_tokens / 1000).clamp(1, 20)
}

fn positions(buckets: &[PositionBucket]) -> Vec<PositionUsage> {
    let seen = buckets
        .iter()
        .enumerate()
        .filter(|(_, bucket)| bucket.n_tokens > 0);
    seen.map(|(idx, bucket)| {
        let n = bucket.n_tokens as f64;
        let usage_per_layer: Vec<f64> = bucket
            .active
            .iter()
            .map(|&count| count as f64 / n)
            .collect();
        PositionUsage {
            first: PositionBucket::first(idx),
            last: PositionBucket::first(idx + 1) - 1,
            n_tokens: bucket.n_tokens,
            usage: mean(&usage_per_layer),
            usage_per_layer,
        }
    })
    .collect()
}

impl Distribution {
    fn new(counts: &[u64]) -> Self {
        let total: u64 = counts.iter().sum();
        let n = total.max(1) as f64;
        let moment = |f: &dyn Fn(f64) -> f64| -> f64 {
            let terms = counts.iter().enumerate();
            terms
                .map(|(value, &count)| count as f64 * f(value as f64))
                .sum::<f64>()
                / n
        };
        let mean = moment(&|value| value);
        let mut below = 0;
        let median = counts.iter().position(|&count| {
            below += count;
            2 * below >= total
        });
        Self {
            counts: counts.to_vec(),
            mean,
            deviation: moment(&|value| (value - mean) * (value - mean)).sqrt(),
            median: median.unwrap_or_default() as u64,
        }
    }
}

impl Transition {
    fn new(counts: &[u64; TRANSITIONS.len()]) -> Self {
        let [void_void, void_active, active_void, active_active] = *counts;
        Self {
            void_void,
            void_active,
            active_void,
            active_active,
        }
    }
}

impl Spread {
    fn new(moments: &Moments) -> Self {
        Self {
            mean: moments.mean,
            deviation: moments.deviation(),
            min: moments.min,
            max: moments.max,
        }
    }
}

impl PhaseComparison {
    fn new(phases: &PerPhase<PhaseStatistics>) -> Option<Self> {
        let (prompt, response) = (phases.prompt.usage()?, phases.response.usage()?);
        let pairs = || prompt.iter().zip(&response);
        let is_in_use = |usage: f64| usage >= 0.5;
        let count = |holds: &dyn Fn(bool, bool) -> bool| {
            pairs()
                .filter(|(p, r)| holds(is_in_use(**p), is_in_use(**r)))
                .count() as f64
        };
        let ratio = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        Some(Self {
            difference: pairs().map(|(p, r)| r - p).collect(),
            jaccard: ratio(count(&|p, r| p && r), count(&|p, r| p || r)),
            weighted_jaccard: ratio(
                pairs().map(|(p, r)| p.min(*r)).sum(),
                pairs().map(|(p, r)| p.max(*r)).sum(),
            ),
            spearman: spearman(&prompt, &response),
        })
    }
}

impl SweepSummary {
    fn new(sweep: &AlphaSweep) -> Self {
        let each = |counts: &[SweepCounts], f: fn(&SweepCounts) -> Option<f64>| -> Vec<f64> {
            counts.iter().filter_map(f).collect()
        };
        let per_layer = |counts: &[SweepCounts]| -> Vec<Vec<f64>> {
            counts
                .iter()
                .filter(|counts| counts.n_tokens > 0)
                .map(|counts| {
                    let n = counts.n_tokens as f64;
                    counts
                        .active
                        .iter()
                        .map(|&count| count as f64 / n)
                        .collect()
                })
                .collect()
        };
        Self {
            alphas: sweep.alphas.clone(),
            prompt: each(&sweep.phases.prompt, SweepCounts::mean_usage),
            response: each(&sweep.phases.response, SweepCounts::mean_usage),
            prompt_agreement: each(&sweep.phases.prompt, SweepCounts::agreement),
            response_agreement: each(&sweep.phases.response, SweepCounts::agreement),
            prompt_per_layer: per_layer(&sweep.phases.prompt),
            response_per_layer: per_layer(&sweep.phases.response),
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
