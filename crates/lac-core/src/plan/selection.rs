//! The choice of the layers that are kept.

use std::borrow::Cow;
use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::evidence::Evidence;
use super::phase_plan::PhasePlan;
use crate::error::PlanError;
use crate::lens::Lens;
use crate::measures::Measures;
use crate::policy::{LayerPolicy, Observed};

/// Which layers, or sublayers, are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Selection {
    /// What they are ranked by.
    pub by: Ranking,
    /// How many of them are kept.
    pub keep: Keep,
}

/// What layers are ranked by. Between layers of equal rank the mean delta decides, and for that the usage; of two that are
/// equal in both, the earlier one is kept first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ranking {
    /// The share of tokens for which the gate found the layer active.
    #[default]
    Usage,
    /// The mean of `Δ_l` over the tokens.
    MeanDelta,
    /// The mean block influence over the tokens (ShortGPT, arXiv 2403.03853). Passes have to be
    /// [measured](crate::measures::Measures).
    Influence,
    /// By how much a layer brings what a lens sees nearer to the final distribution: [`Evidence::lens`]. Passes have to have
    /// a [`Lens`](crate::lens::Lens).
    Lens,
    /// An order drawn with a seed: what any ranking has to do better than. It needs no evidence.
    Random(u64),
    /// The layers' order: the last layers are left out first. It needs no evidence.
    Last,
}

/// How many layers are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Keep {
    /// All layers whose rank is at least this: their usage, or mean delta, or whatever they are ranked by.
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

impl Ranking {
    /// Returns what layers are ranked by, in words.
    fn name(self) -> &'static str {
        match self {
            Ranking::Usage => "usage",
            Ranking::MeanDelta => "mean delta",
            Ranking::Influence => "influence",
            Ranking::Lens => "gain through the lens",
            Ranking::Random(_) => "place in a drawn order",
            Ranking::Last => "place before others",
        }
    }

    /// Returns whether the ranking needs traces.
    pub fn needs_evidence(self) -> bool {
        !matches!(self, Ranking::Random(_) | Ranking::Last)
    }

    /// Returns what has to be measured of every layer for this ranking.
    pub fn measures(self) -> Measures {
        match self {
            Ranking::Influence => Measures::Layers,
            _ => Measures::Off,
        }
    }

    /// Returns the lens that every layer has to be looked at through for this ranking.
    pub fn lens(self) -> Option<Lens> {
        // The ranks are of the whole distribution: how many tokens the lens names does not matter.
        matches!(self, Ranking::Lens).then(Lens::of_the_likeliest)
    }

    /// Lets a policy observe what this ranking needs.
    pub fn observed<P: LayerPolicy>(self, policy: P) -> Observed<P> {
        Observed::new(policy)
            .with_measures(self.measures())
            .with_lens(self.lens())
    }

    /// Returns the units' ranks: of a drawn or a given order, numbers that fall.
    fn ranks(self, evidence: &Evidence, n_units: usize) -> Result<Cow<'_, [f64]>, PlanError> {
        let measured = |ranks: &'_ Vec<f64>| ranks.len() == n_units;
        let ranks = match self {
            Ranking::Usage => &evidence.usage,
            Ranking::MeanDelta => &evidence.mean_delta,
            Ranking::Influence => &evidence.influence,
            Ranking::Lens => &evidence.lens,
            Ranking::Last => return Ok((0..n_units).map(|unit| -(unit as f64)).collect()),
            Ranking::Random(seed) => {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                return Ok((0..n_units).map(|_| f64::from(random.next_u32())).collect());
            }
        };
        if !measured(ranks) {
            let what = self.name();
            return Err(PlanError::NotMeasured { what });
        }
        Ok(Cow::Borrowed(ranks))
    }
}

impl Selection {
    /// Chooses what is run of a model by a ranking that needs no evidence.
    ///
    /// # Errors
    /// [`PlanError::NotMeasured`] for a ranking that needs it; [`PlanError::Selection`] for an impossible selection.
    pub fn without_evidence(
        self,
        n_layers: usize,
        units: Granularity,
    ) -> Result<PhasePlan, PlanError> {
        let n_units = n_layers * units.per_layer();
        let kept = select(&Evidence::default(), n_units, self, units)?;
        Ok(units.plan(&kept))
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.by, self.keep) {
            (Ranking::Random(seed), Keep::Layers(n_layers)) => {
                return write!(f, "{n_layers} layers, drawn with seed {seed}");
            }
            (Ranking::Random(seed), Keep::Share(share)) => {
                return write!(f, "{share} of the layers, drawn with seed {seed}");
            }
            _ => {}
        }
        let by = self.by.name();
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
    n_units: usize,
    selection: Selection,
    units: Granularity,
) -> Result<Vec<bool>, PlanError> {
    let n_layers = n_units / units.per_layer();
    let n_kept = selection.keep.n_units(n_layers, units)?;
    let rank = selection.by.ranks(evidence, n_units)?;
    let n_kept = match (selection.keep, n_kept) {
        (_, Some(n_kept)) => n_kept,
        (Keep::AtLeast(threshold), None) => {
            if !selection.by.needs_evidence() {
                return Err(PlanError::Selection {
                    what: "the rank to reach",
                    value: threshold.to_string(),
                    expected: "a number of layers or a share: an order has no ranks to reach",
                });
            }
            return Ok(rank.iter().map(|&rank| rank >= threshold).collect());
        }
        (_, None) => n_units,
    };
    let mut order: Vec<usize> = (0..n_units).collect();
    // Lists of another length are those of a ranking without evidence.
    let at = |values: &[f64], unit: usize| values.get(unit).copied().unwrap_or(0.0);
    let falling = |values: &[f64], a, b| at(values, b).total_cmp(&at(values, a));
    order.sort_by(|&a, &b| {
        falling(&rank, a, b)
            .then(falling(&evidence.mean_delta, a, b))
            .then(falling(&evidence.usage, a, b))
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
            influence: vec![0.3, 0.1, 0.3, 0.2],
            lens: vec![-0.5, 0.0, 1.0, 4.0],
        };
        let kept = select(&evidence, 4, Selection { by, keep }, Granularity::Layers).unwrap();
        let kept: Vec<u8> = kept.into_iter().map(u8::from).collect();
        assert_eq!(kept, expected, "{by:?} {keep:?}");
    }

    #[test]
    #[allow(clippy::unwrap_used)]
    fn layers_are_kept_by_rank_and_budget() {
        use Keep::{AtLeast, Layers, Share};
        use Ranking::{Influence, Last, Lens, MeanDelta, Random, Usage};
        check(Usage, AtLeast(0.5), [1, 0, 1, 0]);
        check(Usage, AtLeast(0.2), [1, 1, 1, 1]);
        // Layers 1 and 3 are used alike: the larger delta decides.
        check(Usage, Layers(3), [1, 0, 1, 1]);
        check(Usage, Share(0.5), [1, 0, 1, 0]);
        check(MeanDelta, AtLeast(0.0), [1, 0, 1, 1]);
        check(MeanDelta, Share(0.25), [0, 0, 0, 1]);
        check(MeanDelta, Layers(0), [0, 0, 0, 0]);
        check(Influence, AtLeast(0.2), [1, 0, 1, 1]);
        // Layers 0 and 2 turn states alike: the larger delta decides.
        check(Influence, Layers(1), [0, 0, 1, 0]);
        check(Lens, Layers(2), [0, 0, 1, 1]);
        check(Last, Layers(3), [1, 1, 1, 0]);
        check(Random(1), Layers(4), [1, 1, 1, 1]);
    }

    #[test]
    #[allow(clippy::unwrap_used)]
    fn orders_need_no_evidence() {
        let plan = |by, keep| {
            let selection = Selection { by, keep };
            selection.without_evidence(20, Granularity::Layers)
        };
        let drawn = |seed| plan(Ranking::Random(seed), Keep::Layers(10)).unwrap();
        assert_eq!(drawn(3), drawn(3));
        assert_ne!(drawn(3), drawn(4));
        assert_eq!(drawn(5).executed_layers(), 10.0);
        let last = plan(Ranking::Last, Keep::Share(0.75)).unwrap();
        let kept: Vec<bool> = (0..20).map(|layer_idx| layer_idx < 15).collect();
        assert_eq!(last, PhasePlan::keeping(&kept));

        let needed = plan(Ranking::Influence, Keep::Layers(1)).unwrap_err();
        assert_eq!(needed, PlanError::NotMeasured { what: "influence" });
        let error = plan(Ranking::Last, Keep::AtLeast(0.5)).unwrap_err();
        assert!(matches!(error, PlanError::Selection { .. }));
    }

    #[test]
    fn impossible_selections_are_named() {
        let evidence = Evidence {
            n_tokens: 1,
            usage: vec![1.0; 2],
            mean_delta: vec![1.0; 2],
            ..Evidence::default()
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
            let error = select(&evidence, 2, selection, Granularity::Layers)
                .err()
                .map(|e| e.to_string());
            assert!(error.is_some_and(|error| error.starts_with(message)));
        }
    }
}
