//! Options of speculation, and its report.

use std::fmt;

use anyhow::{Context, Result, ensure};
use clap::Args;
use lac_core::{
    plan::{ModelFingerprint, PhasePlan},
    speculation::{
        DraftCost, DraftLength, FollowConfig, PlanUpdates, SpeculationConfig, SpeculationStats,
        Speculator, Ties,
    },
};
use lac_models::WeightDtype;
use serde::Serialize;

use crate::args::PolicyArgs;
use crate::model::OpenModel;
use crate::numbers::whole;
use crate::one_of::one_of;

/// Options that say how tokens are drafted and verified.
#[derive(Args)]
#[command(next_help_heading = "Speculation")]
pub struct SpeculationArgs {
    /// Draft at most this many tokens at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = whole(0..=usize::MAX))]
    draft_tokens: usize,
    /// Draft --draft-tokens each time; by default, as many as save time
    #[arg(long)]
    fixed_draft: bool,
    /// Let the drafting layers follow the text: usage says which are skipped, acceptance how many
    #[arg(long)]
    follow: bool,
    /// Where noise could decide between two tokens: replay makes plain passes decide, which keeps
    /// the text exact (the default in f32); accept lets the verifying pass decide (in f16 and bf16,
    /// where every text would be replayed)
    #[arg(long, value_parser = one_of(Ties::ALL, Ties::name))]
    ties: Option<Ties>,
}

/// What speculation has to know of the full model.
#[derive(Clone, Copy)]
pub struct Verifier {
    pub dtype: WeightDtype,
    pub n_layers: usize,
    /// Whether tokens are chosen greedily; otherwise they are drawn.
    pub is_greedy: bool,
}

impl Verifier {
    /// Describes an open model.
    pub fn new(model: &OpenModel<'_>, is_greedy: bool) -> Self {
        Self {
            dtype: model.load_config.dtype,
            n_layers: model.folder.config().decoder.n_layers,
            is_greedy,
        }
    }
}

impl SpeculationArgs {
    /// Finds mistakes in these flags: called before the model's weights are read.
    pub fn check(&self) -> Result<()> {
        ensure!(
            !self.fixed_draft || self.draft_tokens > 0,
            "--draft-tokens 0 --fixed-draft would draft nothing"
        );
        Ok(())
    }

    /// Makes the speculator. It drafts with the response layers that --plan keeps, and `fingerprint` is called to check
    /// the plan against the model; without a plan, the drafting layers follow the text.
    pub fn speculator(
        &self,
        gate: &PolicyArgs,
        verifier: Verifier,
        fingerprint: impl FnOnce() -> Result<ModelFingerprint>,
    ) -> Result<Speculator> {
        let plan = gate.read_plan()?;
        let follows = self.follow || plan.is_none();
        let ties = self.ties(verifier.dtype);
        let share = plan
            .as_ref()
            .map_or(FollowConfig::default().first_share, |(_, plan)| {
                plan.response.executed_share()
            });
        let config = SpeculationConfig::default()
            .with_draft_length(if self.fixed_draft {
                DraftLength::Fixed(self.draft_tokens)
            } else {
                DraftLength::Adaptive {
                    at_most: self.draft_tokens,
                }
            })
            // Drawn texts must depend on the seed alone, not on the clock.
            .with_draft_cost(if verifier.is_greedy {
                DraftCost::Measured
            } else {
                DraftCost::Ratio(share.max(0.01))
            })
            .with_ties(ties)
            .with_gate(gate.gate()?)
            .with_plan_updates(if follows {
                PlanUpdates::Follow(FollowConfig::default())
            } else {
                PlanUpdates::Fixed
            });
        match plan {
            Some((path, plan)) => Speculator::from_plan(&plan, &fingerprint()?, config)
                .with_context(|| path.display().to_string()),
            None => Ok(Speculator::new(PhasePlan::full(verifier.n_layers), config)?),
        }
    }

    /// Returns how near ties are decided: replayed in f32, where that is exact and rarely needed.
    fn ties(&self, dtype: WeightDtype) -> Ties {
        self.ties.unwrap_or(match dtype {
            WeightDtype::F32 => Ties::default(),
            _ => Ties::Accept,
        })
    }

    /// Returns the settings that results depend on, in words: the plan's hash, and the length of drafts where texts
    /// are drawn or near ties are not replayed.
    pub fn details(&self, gate: &PolicyArgs, verifier: Verifier) -> Result<String> {
        let plan = gate.plan_digest()?;
        let follows = self.follow || plan.is_none();
        let mut details = plan.unwrap_or_else(|| "no plan".to_owned());
        if self.ties(verifier.dtype) == Ties::Accept || !verifier.is_greedy {
            let fixed = if self.fixed_draft {
                "always"
            } else {
                "at most"
            };
            details.push_str(&format!(", {fixed} {} drafted", self.draft_tokens));
            if follows {
                details.push_str(", following");
            }
            if self.ties(verifier.dtype) == Ties::Accept {
                details.push_str(", ties accepted");
            }
        }
        Ok(details)
    }
}

/// Counts and rates of drafting and verifying.
#[derive(Serialize)]
pub struct SpeculationReport {
    #[serde(flatten)]
    stats: SpeculationStats,
    accepted_share: Option<f64>,
    acceptance_rate: Option<f64>,
    tokens_per_pass: Option<f64>,
    draft_cost: Option<f64>,
    speed_up_bound: Option<f64>,
    /// The plan that drafts at the end.
    plan: PhasePlan,
}

impl SpeculationReport {
    pub fn new(stats: SpeculationStats, speculator: &Speculator) -> Self {
        Self {
            accepted_share: stats.accepted_share(),
            acceptance_rate: stats.acceptance_rate(),
            tokens_per_pass: stats.tokens_per_pass(),
            draft_cost: stats.draft_cost(),
            speed_up_bound: stats.bound(),
            plan: speculator.plan().clone(),
            stats,
        }
    }
}

impl fmt::Display for SpeculationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stats, plan, .. } = self;
        let percent = |share: Option<f64>| match share {
            Some(share) => format!("{:.1} %", 100.0 * share),
            None => "none".to_owned(),
        };
        let number = |value: Option<f64>| match value {
            Some(value) => format!("{value:.2}"),
            None => "unknown".to_owned(),
        };
        writeln!(
            f,
            "drafting layers   {} of {}, changed {} times",
            plan.executed_layers(),
            plan.n_layers(),
            stats.n_plan_changes
        )?;
        writeln!(
            f,
            "drafted           {} tokens, {} accepted ({}; of those judged {})",
            stats.n_drafted,
            stats.n_accepted,
            percent(self.accepted_share),
            percent(self.acceptance_rate)
        )?;
        writeln!(
            f,
            "full passes       {} verifying, {} plain, {} to decide {} near ties; {} tokens a pass",
            stats.n_verify_passes,
            stats.n_plain_passes,
            stats.n_replay_passes,
            stats.n_near_ties,
            number(self.tokens_per_pass)
        )?;
        writeln!(
            f,
            "draft cost        {} of a full pass: a speed-up of at most {}",
            number(self.draft_cost),
            number(self.speed_up_bound)
        )
    }
}
