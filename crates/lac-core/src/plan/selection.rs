//! The choice of the layers that are kept.

use std::fmt;

use super::evidence::Evidence;
use super::phase_plan::PhasePlan;
use crate::error::PlanError;

/// Which layers, or sublayers, are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Selection {
    /// What they are ranked by.
    pub by: Ranking,
    /// How many of them are kept.
    pub keep: Keep,
}

/// What layers are ranked by. The other number decides between layers of equal rank; of two that are equal in both, the
/// earlier one is kept first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ranking {
    /// The share of tokens for which the gate found the layer active.
    #[default]
    Usage,
    /// The mean of `Δ_l` over the tokens.
    MeanDelta,
}

/// How many layers are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Keep {
    /// All layers whose usage or mean delta is at least this.
    AtLeast(f64),
    /// The layers of the highest rank, this many; of sublayers, twice as many.
    Layers(usize),
    /// The layers of the highest rank, this share of all layers, in `[0, 1]`; the number is rounded to the nearest.
    Share(f64),
}

/// Whether layers are skipped whole or their attention and MLP apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// Whole layers.
    #[default]
    Layers,
    /// Attention and MLP apart; the evidence is that of [`SplitLayers`](super::SplitLayers).
    Sublayers,
}

impl Granularity {
    /// Returns the number of units in a layer.
    pub fn per_layer(self) -> usize {
        match self {
            Granularity::Layers => 1,
            Granularity::Sublayers => 2,
        }
    }

    /// Returns the plan that runs the units that the flags keep.
    pub(crate) fn plan(self, kept: &[bool]) -> PhasePlan {
        match self {
            Granularity::Layers => PhasePlan::keeping(kept),
            Granularity::Sublayers => PhasePlan::keeping_sublayers(kept),
        }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            Ranking::Usage => "usage",
            Ranking::MeanDelta => "mean delta",
        };
        match self.keep {
            Keep::AtLeast(threshold) => write!(f, "{by} of at least {threshold}"),
            Keep::Layers(n_layers) => write!(f, "the highest {by}, {n_layers} layers"),
            Keep::Share(share) => write!(f, "the highest {by}, {share} of the layers"),
        }
    }
}

impl Keep {
    /// Returns how many units of a model are kept; `None` for [`Keep::AtLeast`], where their rank decides.
    ///
    /// # Errors
    /// [`PlanError::Selection`] for more layers than the model has, a share outside of `[0, 1]`, or a rank that is not
    /// finite.
    pub fn n_units(self, n_layers: usize, units: Granularity) -> Result<Option<usize>, PlanError> {
        let (what, value, expected) = match self {
            Keep::AtLeast(threshold) if threshold.is_finite() => return Ok(None),
            Keep::Layers(n_kept) if n_kept <= n_layers => {
                return Ok(Some(n_kept * units.per_layer()));
            }
            Keep::Share(share) if (0.0..=1.0).contains(&share) => {
                let n_units = (n_layers * units.per_layer()) as f64;
                return Ok(Some((share * n_units).round() as usize));
            }
            Keep::AtLeast(threshold) => (
                "the rank to reach",
                threshold.to_string(),
                "a finite number",
            ),
            Keep::Layers(n_kept) => (
                "the number of layers to keep",
                n_kept.to_string(),
                "at most as many as the model has",
            ),
            Keep::Share(share) => (
                "the share of layers to keep",
                share.to_string(),
                "a number from 0 to 1",
            ),
        };
        Err(PlanError::Selection {
            what,
            value,
            expected,
        })
    }
}

/// Returns, for each unit of the evidence, whether it is kept.
pub(super) fn select(
    evidence: &Evidence,
    selection: Selection,
    units: Granularity,
) -> Result<Vec<bool>, PlanError> {
    let Evidence {
        usage, mean_delta, ..
    } = evidence;
    let (rank, tie_break) = match selection.by {
        Ranking::Usage => (usage, mean_delta),
        Ranking::MeanDelta => (mean_delta, usage),
    };
    let n_units = rank.len();
    let n_kept = match (
        selection.keep,
        selection.keep.n_units(n_units / units.per_layer(), units)?,
    ) {
        (_, Some(n_kept)) => n_kept,
        (Keep::AtLeast(threshold), None) => {
            return Ok(rank.iter().map(|&rank| rank >= threshold).collect());
        }
        (_, None) => n_units,
    };
    let mut order: Vec<usize> = (0..n_units).collect();
    order.sort_by(|&a, &b| {
        rank[b]
            .total_cmp(&rank[a])
            .then(tie_break[b].total_cmp(&tie_break[a]))
    });
    let mut kept = vec![false; n_units];
    for &unit in &order[..n_kept] {
        kept[unit] = true;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(by: Ranking, keep: Keep, expected: [u8; 4]) {
        let evidence = Evidence {
            n_tokens: 10,
            usage: vec![1.0, 0.2, 0.5, 0.2],
            mean_delta: vec![0.5, -1.0, 2.0, 3.0],
        };
        let kept = select(&evidence, Selection { by, keep }, Granularity::Layers).unwrap();
        let kept: Vec<u8> = kept.into_iter().map(u8::from).collect();
        assert_eq!(kept, expected, "{by:?} {keep:?}");
    }

    #[test]
    #[allow(clippy::unwrap_used)]
    fn layers_are_kept_by_rank_and_budget() {
        use Keep::{AtLeast, Layers, Share};
        use Ranking::{MeanDelta, Usage};
        check(Usage, AtLeast(0.5), [1, 0, 1, 0]);
        check(Usage, AtLeast(0.2), [1, 1, 1, 1]);
        // Layers 1 and 3 are used alike: the larger delta decides.
        check(Usage, Layers(3), [1, 0, 1, 1]);
        check(Usage, Share(0.5), [1, 0, 1, 0]);
        check(MeanDelta, AtLeast(0.0), [1, 0, 1, 1]);
        check(MeanDelta, Share(0.25), [0, 0, 0, 1]);
        check(MeanDelta, Layers(0), [0, 0, 0, 0]);
    }

    #[test]
    fn impossible_selections_are_named() {
        let evidence = Evidence {
            n_tokens: 1,
            usage: vec![1.0; 2],
            mean_delta: vec![1.0; 2],
        };
        for (keep, message) in [
            (Keep::Share(1.5), "the share of layers to keep is 1.5"),
            (Keep::Layers(3), "the number of layers to keep is 3"),
            (
                Keep::Layers(1 << 63),
                "the number of layers to keep is 9223372036854775808",
            ),
            (Keep::AtLeast(f64::NAN), "the rank to reach is NaN"),
        ] {
            let selection = Selection {
                by: Ranking::Usage,
                keep,
            };
            let error = select(&evidence, selection, Granularity::Layers)
                .err()
                .map(|e| e.to_string());
            assert!(error.is_some_and(|error| error.starts_with(message)));
        }
    }
}
