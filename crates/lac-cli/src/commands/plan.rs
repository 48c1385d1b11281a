//! `lac plan`: which layers are not worth running, learned from traces.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use lac_core::{
    CausalLm, GenerateArgs, GenerationConfig, Observed, Phase, SkippedKeys, Trace, generate,
    plan::{
        Granularity, Keep, PhasePlan, PlanLearner, Provenance, Ranking, Selection, SplitLayers,
        VoidPlan,
    },
    speculation::{AgreementSearch, AgreementSearcher, CalibrationText},
};
use lac_models::Decoder;

use crate::args::PolicyArgs;
use crate::interrupt;
use crate::memory::Rows;
use crate::model::ModelArgs;
use crate::numbers::{number, whole};
use crate::one_of::one_of_explained;
use crate::out_file;
use crate::output::{note, print_line, write_json_readable};
use crate::progress;
use crate::prompts::PromptsArgs;
use crate::sampling::SamplingArgs;

/// Learn from traces of prompts which layers need not be run, and write them as a plan
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac plan --model DIR --prompts prompts.txt --keep-share 0.7 --out plan.json\n  lac plan --model DIR --prompts prompts.txt --alpha 0.4 --keep-at-least 0.5 --parts --out plan.json\n  lac plan --model DIR --prompts prompts.txt --by agreement --out draft.json\n  lac plan --model DIR --by random --seed 3 --keep-layers 20 --out random.json\n\n--policy planned runs only what a plan keeps; --speculative drafts with what it keeps."
)]
pub struct Plan {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompts: PromptsArgs,
    /// Trace at most this many new tokens for each prompt
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = whole(0..=usize::MAX))]
    max_new_tokens: usize,
    /// α of the gate that traces
    #[arg(long, default_value_t = lac_core::gate::DEFAULT_ALPHA, value_parser = number::<f32>)]
    alpha: f32,
    #[command(flatten)]
    choice: ChoiceArgs,
    /// Where the plan goes (- for stdout)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Which layers are kept.
#[derive(Args)]
#[command(next_help_heading = "Choice")]
struct ChoiceArgs {
    /// What layers are ranked by
    #[arg(long, value_enum, default_value_t = By::Usage)]
    by: By,
    /// The seed of --by random
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole(0..=u64::MAX))]
    seed: u64,
    /// Keep the layers that reach this rank
    #[arg(long, value_name = "X", group = "keep", value_parser = number::<f64>)]
    keep_at_least: Option<f64>,
    /// Keep this many layers
    #[arg(long, value_name = "N", group = "keep", value_parser = whole(0..=usize::MAX))]
    keep_layers: Option<usize>,
    /// Keep this share of the layers, from 0 to 1 [default: 0.7]
    #[arg(long, value_name = "S", group = "keep", value_parser = number::<f64>)]
    keep_share: Option<f64>,
    /// Choose attention and MLP apart
    #[arg(long)]
    parts: bool,
    /// The phase whose layers are skipped; the other runs them all
    #[arg(long, value_enum, default_value_t = SkippedIn::Both)]
    phase: SkippedIn,
    /// What happens to the keys and values of skipped layers
    #[arg(
        long,
        value_parser = one_of_explained(SkippedKeys::ALL, SkippedKeys::name, explain_skipped_keys),
        default_value = SkippedKeys::Fill.name()
    )]
    skipped_keys: SkippedKeys,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// The share of tokens for which the gate finds a layer active
    Usage,
    /// The mean change of the norm
    MeanDelta,
    /// The mean block influence, 1 less the cosine of a layer's input and output
    Influence,
    /// How much nearer a layer brings what a logit lens sees to the final distribution
    Lens,
    /// An order drawn with --seed; needs no prompts
    Random,
    /// The last layers are left out; needs no prompts
    Last,
    /// For drafting: take out layers one by one, each time the one without which drafts are expected
    /// to be fastest, by the time that they take and by how often their next token is the full
    /// model's. Says first how long it takes; concerns the response alone
    Agreement,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SkippedIn {
    Both,
    Prompt,
    Response,
}

fn explain_skipped_keys(keys: SkippedKeys) -> Option<&'static str> {
    Some(match keys {
        SkippedKeys::Fill => "Computed from the state that passes by",
        SkippedKeys::Omit => "Left out, and not attended to",
    })
}

/// The share of layers that is kept by default.
const DEFAULT_SHARE: f64 = 0.7;

/// What an interrupted command says.
const NO_PLAN: &str = "no plan was written, and a plan that was there is as it was";

/// Places of each response at which a draft is tried.
const POSITIONS_PER_TEXT: usize = 16;

impl Plan {
    pub fn run(&self) -> Result<()> {
        let gate = self.gate()?;
        out_file::check(("--out", &self.out), &[self.prompts.file()])?;
        let open = self.model.open()?;
        let folder = &open.folder;
        let tokenizer = folder.tokenizer()?;
        let n_layers = folder.config().decoder.n_layers;
        let max_context = open.max_context();
        let units = if self.choice.parts {
            Granularity::Sublayers
        } else {
            Granularity::Layers
        };
        self.choice.check(n_layers, units)?;
        // An order needs no evidence.
        let prompts = if self.choice.needs_prompts() {
            self.prompts.resolve(&tokenizer, max_context)?
        } else {
            Vec::new()
        };
        let rows = Rows {
            batch: 1,
            n_slots: self.max_new_tokens,
        };
        let lower = "lower --max-new-tokens";
        let model = open.load(rows, lower)?;
        let fingerprint = open.fingerprint()?;
        let greedy = SamplingArgs::greedy();
        let config = greedy
            .choose(folder)?
            .generation(self.max_new_tokens, tokenizer.stop_ids());

        let mut policy = match self.choice.ranking() {
            Some(ranking) => ranking.observed(Trace::new(gate)),
            None => Observed::new(Trace::new(gate)),
        };
        let mut learner = PlanLearner::default();
        let mut trace = |prompt: &Vec<u32>| {
            let args = GenerateArgs::new(&mut policy).observer(&mut learner);
            match units {
                Granularity::Layers => texts(&model, prompt, &config, args),
                Granularity::Sublayers => texts(&SplitLayers::new(&model)?, prompt, &config, args),
            }
        };
        let bar = progress::counting("tracing", prompts.len());
        let mut calibration = Vec::new();
        interrupt::listen("the prompt or the search's step under way")?;
        for prompt in &prompts {
            interrupt::check().context(NO_PLAN)?;
            calibration.push(trace(prompt)?);
            bar.inc(1);
        }
        bar.finish_and_clear();

        let (prompt, response, chosen_by) = match self.choice.by {
            By::Agreement => self.by_agreement(&model, &calibration, units)?,
            _ => {
                let selection = self.choice.selection()?;
                let choose = |phase, other| {
                    if self.choice.phase == other {
                        Ok(PhasePlan::full(n_layers))
                    } else if selection.by.needs_evidence() {
                        learner.choose(phase, selection, units)
                    } else {
                        selection.without_evidence(n_layers, units)
                    }
                };
                (
                    choose(Phase::Prompt, SkippedIn::Response)?,
                    choose(Phase::Response, SkippedIn::Prompt)?,
                    selection.to_string(),
                )
            }
        };
        let summary = format!(
            "executed layers: prompt {} of {n_layers}, response {} of {n_layers}",
            prompt.executed_layers(),
            response.executed_layers()
        );
        let plan = VoidPlan::new(
            fingerprint,
            prompt,
            response,
            self.choice.skipped_keys,
            Provenance {
                made_by: format!("lac {}", env!("CARGO_PKG_VERSION")),
                chosen_by,
                traced_under: "trace".to_owned(),
                alpha: self.alpha,
                n_prompts: learner.n_prompts(),
                prompt: learner.evidence(Phase::Prompt).rounded(),
                response: learner.evidence(Phase::Response).rounded(),
            },
        )?;
        write_json_readable(&self.out, &plan)?;
        if self.out != std::path::Path::new("-") {
            print_line(&summary)?;
        }
        Ok(())
    }

    fn gate(&self) -> Result<lac_core::GateConfig> {
        PolicyArgs::with_alpha(self.alpha).gate()
    }

    /// Searches for layers to draft with; the prompt's are all run.
    fn by_agreement(
        &self,
        model: &Decoder,
        texts: &[CalibrationText],
        units: Granularity,
    ) -> Result<(PhasePlan, PhasePlan, String)> {
        let n_layers = model.config().n_layers;
        let keep = self.choice.keep();
        let n_kept = match keep {
            Some(keep) => keep.n_units(n_layers, units)?,
            None => None,
        };
        let least_agreement = self.choice.keep_at_least.unwrap_or(match n_kept {
            Some(_) => 0.0,
            None => LEAST_AGREEMENT,
        });
        let search = AgreementSearch::new(units)
            .with_positions_per_text(POSITIONS_PER_TEXT)
            .with_least_agreement(least_agreement)
            .with_least_units(n_kept.unwrap_or(0));
        let mut searcher = AgreementSearcher::new(model, texts, &search)?;
        let n_units = searcher.n_units();
        note!(
            "searching among {n_units} {}, with drafts at {} places: about {}",
            match units {
                Granularity::Layers => "layers",
                Granularity::Sublayers => "attentions and MLPs",
            },
            searcher.n_places(),
            duration(searcher.estimate()?)
        );
        let bar = progress::counting("taking out", n_units - n_kept.unwrap_or(0).min(n_units));
        let steps = searcher.run(&mut |_| {
            bar.inc(1);
            interrupt::flow()
        })?;
        bar.finish_and_clear();
        interrupt::check().context(NO_PLAN)?;
        for step in &steps {
            note!(
                "{:5.1} of {n_layers} layers: {:5.1} % of next tokens are the full model's, at {:4.1} % of its time: a \
                 speed-up of at most {:.2}",
                step.plan.executed_layers(),
                100.0 * step.agreement,
                100.0 * step.cost,
                step.speed_up_bound()
            );
        }
        let chosen = match n_kept {
            Some(n_kept) => steps.iter().find(|step| {
                let n_units = step.plan.executed_layers() * units.per_layer() as f64;
                n_units <= n_kept as f64 + 1e-9
            }),
            None if keep.is_some() => steps.last(),
            None => steps
                .iter()
                .max_by(|a, b| a.speed_up_bound().total_cmp(&b.speed_up_bound())),
        };
        let Some(chosen) = chosen else {
            bail!("no plan of so few layers was found");
        };
        let chosen_by = format!(
            "agreement with the full model's next token, {:.4} at {} of {n_layers} layers",
            chosen.agreement,
            chosen.plan.executed_layers()
        );
        Ok((PhasePlan::full(n_layers), chosen.plan.clone(), chosen_by))
    }
}

/// The search ends at this agreement by default: drafts that are accepted less often never save time.
const LEAST_AGREEMENT: f64 = 0.3;

/// Writes a time that is known roughly.
fn duration(time: std::time::Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        0.0..10.0 => format!("{seconds:.1} s"),
        10.0..120.0 => format!("{seconds:.0} s"),
        120.0..7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

impl ChoiceArgs {
    /// Finds mistakes in these flags: called before the model's weights are read.
    fn check(&self, n_layers: usize, units: Granularity) -> Result<()> {
        ensure!(
            self.by != By::Agreement || self.phase != SkippedIn::Prompt,
            "--by agreement chooses layers of the response: it cannot choose the prompt's"
        );
        ensure!(
            self.needs_prompts() || self.keep_at_least.is_none(),
            "--keep-at-least: an order has no ranks to reach; give --keep-layers or --keep-share"
        );
        if let Some(keep) = self.keep() {
            let flag = match (self.keep_at_least, self.keep_layers) {
                (Some(_), _) => "--keep-at-least",
                (None, Some(_)) => "--keep-layers",
                (None, None) => "--keep-share",
            };
            keep.n_units(n_layers, units).context(flag)?;
        }
        Ok(())
    }

    /// Returns whether layers are chosen by what prompts show.
    fn needs_prompts(&self) -> bool {
        self.ranking().is_none_or(Ranking::needs_evidence)
    }

    /// Returns the ranking; `None` for agreement, which is a search.
    fn ranking(&self) -> Option<Ranking> {
        Some(match self.by {
            By::Usage => Ranking::Usage,
            By::MeanDelta => Ranking::MeanDelta,
            By::Influence => Ranking::Influence,
            By::Lens => Ranking::Lens,
            By::Random => Ranking::Random(self.seed),
            By::Last => Ranking::Last,
            By::Agreement => return None,
        })
    }

    fn selection(&self) -> Result<Selection> {
        Ok(Selection {
            by: self.ranking().context("agreement is not a ranking")?,
            keep: self.keep().unwrap_or(Keep::Share(DEFAULT_SHARE)),
        })
    }

    /// Returns how many layers are kept, if a flag says so.
    fn keep(&self) -> Option<Keep> {
        let at_least = self.keep_at_least.map(Keep::AtLeast);
        let layers = self.keep_layers.map(Keep::Layers);
        at_least.or(layers).or(self.keep_share.map(Keep::Share))
    }
}

/// Continues a prompt and returns both.
fn texts(
    model: &impl CausalLm,
    prompt: &Vec<u32>,
    config: &GenerationConfig,
    args: GenerateArgs<'_>,
) -> Result<CalibrationText> {
    let output = generate(model, std::slice::from_ref(prompt), config, args)?;
    let mut ids = prompt.clone();
    ids.extend(&output.rows[0].ids);
    Ok(CalibrationText {
        ids,
        n_prompt: prompt.len(),
    })
}
