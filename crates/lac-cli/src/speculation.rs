//! Options of speculation, and its report.

use std::fmt;

use anyhow::{Context, Result, ensure};
use clap::Args;
use lac_core::{
    CausalLm, LayerStack,
    plan::{ModelFingerprint, PhasePlan},
    speculation::{
        DraftCost, DraftLength, Drafter, FollowConfig, NgramDrafter, NgramMemory, PlanDrafter,
        SpeculationConfig, SpeculationStats, Speculator, Ties,
    },
};
use lac_models::{Decoder, Quantization, WeightDtype};
use serde::Serialize;

use crate::args::PolicyArgs;
use crate::numbers::whole;
use crate::one_of::{one_of, one_of_explained};
use crate::second_weights::{Asked, SecondWeights};

/// Options that say how tokens are drafted and verified.
#[derive(Args)]
#[command(next_help_heading = "Speculation")]
pub struct SpeculationArgs {
    /// What drafts, several with commas between them: in every round the one that pays most drafts, or none [default: auto]
    #[arg(
        long,
        value_name = "KINDS",
        value_delimiter = ',',
        value_parser = one_of_explained(DraftKind::ALL, DraftKind::name, DraftKind::explain)
    )]
    draft: Vec<DraftKind>,
    /// What the weights are quantised to that draft
    #[arg(
        long,
        value_name = "TYPE",
        value_parser = one_of(Quantization::ALL, Quantization::name),
        default_value = Quantization::Q8_0.name()
    )]
    draft_type: Quantization,
    /// Draft at most this many tokens at a time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = whole(0..=usize::MAX))]
    draft_tokens: usize,
    /// Draft --draft-tokens each time; by default, as many as save time
    #[arg(long)]
    fixed_draft: bool,
    /// Let the drafting layers follow the text: usage says which are skipped, acceptance how many
    #[arg(long)]
    follow: bool,
    /// Where noise could decide between two tokens: replay makes plain passes decide, which keeps
    /// the text exact (the default in f32); accept lets the verifying pass decide (in f16 and bf16,
    /// where every text would be replayed). On the CPU there is no such noise
    #[arg(long, value_parser = one_of(Ties::ALL, Ties::name))]
    ties: Option<Ties>,
}

/// What drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftKind {
    Auto,
    Ngram,
    Plan,
    Quantized,
}

impl DraftKind {
    pub const ALL: &'static [Self] = &[Self::Auto, Self::Ngram, Self::Plan, Self::Quantized];

    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ngram => "ngram",
            Self::Plan => "plan",
            Self::Quantized => "quantized",
        }
    }

    pub fn explain(self) -> Option<&'static str> {
        Some(match self {
            Self::Auto => {
                "All of these: layers only with --plan or --follow, quantised weights on the CPU where the model's are \
                 not quantised and memory is free for them"
            }
            Self::Ngram => "What the prompt and the text have said before, which costs no pass",
            Self::Plan => {
                "The layers that --plan keeps; without --plan, layers that follow the text"
            }
            Self::Quantized => {
                "The model's own weights, quantised to --draft-type; with --plan also without the layers that it leaves out"
            }
        })
    }
}

/// Tokens of earlier texts that n-grams are looked for in, where a run has several texts.
const NGRAM_TOKENS: usize = 1 << 17;

/// Whether the full model's passes are gated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Gated {
    /// For what the command reports.
    Always,
    /// Only where drafting layers follow the text.
    ForFollowing,
}

/// What speculation has to know of the full model.
#[derive(Clone, Copy)]
pub struct Verifier {
    pub dtype: WeightDtype,
    pub n_layers: usize,
    /// Whether tokens are chosen greedily; otherwise they are drawn.
    pub is_greedy: bool,
    /// Whether a verifying pass decides as plain passes do, to the bit.
    pub is_exact: bool,
}

impl Verifier {
    /// Describes a model that was loaded in a data type.
    pub fn new(model: &Decoder, dtype: WeightDtype, is_greedy: bool) -> Self {
        Self {
            dtype,
            n_layers: model.n_layers(),
            is_greedy,
            is_exact: model.computes_tokens_alone(),
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

    /// Returns whether a flag names what drafts.
    pub fn is_asked_for(&self) -> bool {
        !self.draft.is_empty()
    }

    /// Returns what drafts, the costly ones first, so that drafts of a fixed length are theirs.
    fn kinds(&self, has_plan: bool) -> Vec<DraftKind> {
        let is_auto = self.draft.is_empty() || self.draft.contains(&DraftKind::Auto);
        let has_layers = has_plan || self.follow;
        [DraftKind::Plan, DraftKind::Quantized, DraftKind::Ngram]
            .into_iter()
            .filter(|&kind| {
                self.draft.contains(&kind)
                    || is_auto && (kind != DraftKind::Plan || has_layers)
                    || kind == DraftKind::Plan && self.follow
            })
            .collect()
    }

    /// Loads the weights that draft quantised, if such weights draft. `load` is given their type, and whether they were
    /// asked for by name.
    pub fn second_weights(
        &self,
        load: impl FnOnce(Quantization, Asked) -> Result<Option<SecondWeights>>,
    ) -> Result<Option<SecondWeights>> {
        let asked = if self.draft.contains(&DraftKind::Quantized) {
            Asked::ByName
        } else {
            Asked::WhereTheyServe
        };
        if !self.kinds(false).contains(&DraftKind::Quantized) {
            return Ok(None);
        }
        load(self.draft_type, asked)
    }

    /// Makes the speculator, for a model with `second` beside it; `fingerprint` is called to check the plan against the model. Without a plan, drafting layers
    /// follow the text.
    pub fn speculator(
        &self,
        gate: &PolicyArgs,
        gated: Gated,
        verifier: Verifier,
        second: Option<&SecondWeights>,
        fingerprint: impl FnOnce() -> Result<ModelFingerprint>,
    ) -> Result<Speculator> {
        let plan = match gate.read_plan()? {
            Some((path, plan)) => {
                let is_for_this = plan.check(&fingerprint()?);
                is_for_this.with_context(|| path.display().to_string())?;
                Some(plan.response)
            }
            None => None,
        };
        let has_plan = plan.is_some();
        let layers = plan.unwrap_or_else(|| PhasePlan::full(verifier.n_layers));
        let mut drafters: Vec<Box<dyn Drafter>> = Vec::new();
        for kind in self.kinds(has_plan) {
            match (kind, second) {
                (DraftKind::Plan, _) => {
                    let drafter = PlanDrafter::new(layers.clone());
                    drafters.push(Box::new(if self.follow || !has_plan {
                        drafter.following(FollowConfig::default())?
                    } else {
                        drafter
                    }));
                }
                (DraftKind::Quantized, Some(second)) => {
                    let quantised = |name: &str, layers: PhasePlan| {
                        PlanDrafter::new(layers).with_second_weights(name, second.cost)
                    };
                    let all = PhasePlan::full(verifier.n_layers);
                    drafters.push(Box::new(quantised("quantized", all)));
                    if has_plan {
                        let drafter = quantised("quantized-plan", layers.clone());
                        drafters.push(Box::new(drafter));
                    }
                }
                (DraftKind::Ngram, _) => {
                    let at_most = NGRAM_TOKENS;
                    let memory = NgramMemory::Texts { at_most };
                    drafters.push(Box::new(NgramDrafter::new(memory)));
                }
                (DraftKind::Auto | DraftKind::Quantized, _) => {}
            }
        }
        let needs_gate =
            gated == Gated::Always || drafters.iter().any(|drafter| drafter.needs_readings());
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
                DraftCost::Expected
            })
            .with_ties(self.ties(verifier.dtype))
            .with_gate(if needs_gate { Some(gate.gate()?) } else { None });
        Ok(Speculator::with_drafters(drafters, config)?)
    }

    /// Returns how near ties are decided: replayed in f32, where that is exact and rarely needed.
    fn ties(&self, dtype: WeightDtype) -> Ties {
        self.ties.unwrap_or(match dtype {
            WeightDtype::F32 => Ties::default(),
            _ => Ties::Accept,
        })
    }

    /// Returns the settings of drafting that results depend on, in words; `None` where they depend on none, since every
    /// text is the full model's.
    pub fn details(&self, gate: &PolicyArgs, verifier: Verifier) -> Result<Option<String>> {
        let ties = self.ties(verifier.dtype);
        if verifier.is_greedy && (verifier.is_exact || ties != Ties::Accept) {
            return Ok(None);
        }
        let plan = gate.plan_digest()?;
        let kinds = self.kinds(plan.is_some());
        let kinds: Vec<&str> = kinds.into_iter().map(DraftKind::name).collect();
        let fixed = if self.fixed_draft {
            "always"
        } else {
            "at most"
        };
        let follows = self.follow || plan.is_none();
        let mut details = plan.unwrap_or_else(|| "no plan".to_owned());
        details.push_str(&format!(
            ", drafts of {}, {fixed} {} drafted",
            kinds.join(" and "),
            self.draft_tokens
        ));
        if follows {
            details.push_str(", following");
        }
        if ties == Ties::Accept {
            details.push_str(", ties accepted");
        }
        Ok(Some(details))
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
    /// The plan that drafts at the end, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<PhasePlan>,
}

impl SpeculationReport {
    pub fn new(stats: SpeculationStats, speculator: &Speculator) -> Self {
        Self {
            accepted_share: stats.accepted_share(),
            acceptance_rate: stats.acceptance_rate(),
            tokens_per_pass: stats.tokens_per_pass(),
            draft_cost: stats.draft_cost(),
            speed_up_bound: stats.bound(),
            plan: speculator.plan().cloned(),
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
        if let Some(plan) = plan {
            writeln!(
                f,
                "drafting layers   {} of {}, changed {} times",
                plan.executed_layers(),
                plan.n_layers(),
                stats.n_plan_changes
            )?;
        }
        writeln!(
            f,
            "drafted           {} tokens, {} accepted ({}; of those judged {})",
            stats.n_drafted,
            stats.n_accepted,
            percent(self.accepted_share),
            percent(self.acceptance_rate)
        )?;
        let full_pass = stats.full_pass().unwrap_or_default();
        for drafter in &stats.drafters {
            writeln!(
                f,
                "  by {:<14} {} drafted, {} accepted (of those judged {}), a token costs {} of a full pass",
                drafter.name,
                drafter.n_drafted,
                drafter.n_accepted,
                percent(drafter.acceptance_rate()),
                number(drafter.cost(full_pass))
            )?;
        }
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
