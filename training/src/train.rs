//! Trains the embedded model from nothing, in burn.

pub mod checkpoint;
pub mod export;
pub mod first_weights;
pub mod gradients;
pub mod schedule;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::module::{Module, ParamGroup};
use burn::optim::{AdamWConfig, ModuleOptimizer};
use burn::tensor::Device;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use lac_core::Off;
use lac_models::{Decoder, ModelFolder};
use serde_json::json;

use crate::batches::{Plan, batches};
use crate::prompts::Wording;
use crate::score::{Case, answer, cases, count};
use crate::split::Split;
use crate::tokenizer;
use crate::world::World;
use checkpoint::Progress;
use gradients::{ByKind, Workers, add_costs, clip};
use schedule::Schedule;

/// The norm that gradients are clipped to.
const CLIP: f32 = 1.0;
/// How many steps lie between two reports of the loss by kind.
const REPORT_EVERY: usize = 50;

/// The settings of a training run.
#[derive(Args, Clone, Debug)]
pub struct TrainArgs {
    /// Where the model folder, the checkpoint and the log are written
    #[arg(long, default_value = "target/train-demo")]
    pub out: PathBuf,
    /// The seed of the world, the data and the first weights
    #[arg(long, default_value_t = crate::SEED)]
    pub seed: u64,
    /// How many steps the schedule has
    #[arg(long, default_value_t = 5000)]
    pub steps: usize,
    /// Stop after this step, as if interrupted; the schedule stays the same
    #[arg(long)]
    pub until: Option<usize>,
    /// About how many tokens a step has
    #[arg(long, default_value_t = 2048)]
    pub tokens: usize,
    /// How many parts of a step are worked on side by side
    #[arg(long, default_value_t = 2)]
    pub workers: usize,
    /// How many batches of documents of like length each of them has in a step
    #[arg(long, default_value_t = 4)]
    pub groups: usize,
    /// The highest learning rate
    #[arg(long, default_value_t = 1.6e-3)]
    pub lr: f64,
    /// How many steps lie between two checkpoints
    #[arg(long, default_value_t = 500)]
    pub checkpoint_every: usize,
    /// When to score the model on questions that training never saw
    #[arg(long, value_enum, default_value_t = Scoring::Checkpoints)]
    pub scoring: Scoring,
    /// Where to compute: cpu, cuda (where this was compiled with the feature cuda), or auto, which
    /// takes cuda where there is one
    #[arg(long, default_value = "auto")]
    pub device: String,
}

/// When the model is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scoring {
    /// At every checkpoint: on the validation split, and at the end on the test split.
    Checkpoints,
    /// Never.
    Never,
}

/// Trains, or goes on training from the last checkpoint.
///
/// # Errors
/// Fails if a file cannot be read or written, or the device fails.
pub fn train(args: &TrainArgs) -> Result<()> {
    if args.workers == 0 || args.groups == 0 || args.checkpoint_every == 0 {
        bail!("--workers, --groups and --checkpoint-every must be at least 1");
    }
    let world = World::new(args.seed);
    let bpe = tokenizer::train(&world)?;
    let folder = args.out.join("model");
    export::write_configs(&bpe, &folder)?;
    let opened = ModelFolder::open(&folder)?;
    let device = device(&args.device)?.autodiff();
    let model = first_weights::untrained(&opened.config().decoder, args.seed, &device);
    let (mut model, mut optimizer, mut progress) = checkpoint::load(&args.out, model, optimizer())?;
    let tokenizer = opened.tokenizer()?;
    let plan = Plan {
        seed: args.seed,
        tokens_per_step: args.tokens,
        n_groups: args.workers * args.groups,
    };
    let schedule = Schedule {
        peak: args.lr,
        floor: 0.05,
        n_warmup: 150.min(args.steps / 5),
        n_steps: args.steps,
    };
    let workers = Workers::new(args.workers)?;
    let mut log = Log::open(args, progress)?;
    let last = args.until.unwrap_or(args.steps).min(args.steps);
    let (start, before) = (Instant::now(), progress.seconds);
    while progress.step < last {
        let batches = batches(&world, &bpe, &plan, progress.step)?;
        let mut step = workers.gradients(&model, &batches)?;
        let norm = clip(&model, &mut step.grads, CLIP);
        let rate = schedule.at(progress.step);
        model = optimizer.step(rate, model, step.grads);
        progress.step += 1;
        progress.seconds = before + start.elapsed().as_secs_f64();
        log.step(progress, step.loss, norm, rate, step.by_kind)?;
        if progress.step.is_multiple_of(args.checkpoint_every) || progress.step == last {
            checkpoint::save(&args.out, &model, &optimizer, progress)?;
            export::write_weights(&model, &folder.join("model.safetensors"))?;
            if args.scoring == Scoring::Never {
                continue;
            }
            // Settings are chosen on the validation split; the test split is looked at once, at
            // the end.
            let split = if progress.step == args.steps {
                Split::Test
            } else {
                Split::Validation
            };
            log.scores(
                progress,
                split,
                &scores(&model.valid(), &tokenizer, &world, split)?,
            )?;
        }
    }
    log.bar.finish();
    Ok(())
}

/// Returns AdamW that decays no norm and no bias.
fn optimizer() -> ModuleOptimizer {
    let config = AdamWConfig::new()
        .with_beta_2(0.95)
        .with_epsilon(1e-8)
        .with_weight_decay(0.1);
    let vectors = ParamGroup::from_any_predicates(vec!["norm", "bias"]);
    let gentle = config.clone().with_weight_decay(0.0).build();
    config.init().with_group(vectors, gentle, None)
}

fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::flex()),
        "auto" => Ok(cuda().unwrap_or_else(Device::flex)),
        "cuda" => cuda()
            .context("--device cuda: there is none, or this was compiled without the feature cuda"),
        other => bail!("--device {other}: expected auto, cpu or cuda"),
    }
}

#[cfg(feature = "cuda")]
fn cuda() -> Option<Device> {
    let found = Device::enumerate(burn::tensor::DeviceType::Cuda);
    (!found.is_empty()).then(|| Device::cuda(0))
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Option<Device> {
    None
}

/// Right answers and questions by group.
type Scores = BTreeMap<String, (usize, usize)>;

/// Scores in every wording; in the plain one by subject as well.
fn scores(
    model: &Decoder,
    tokenizer: &lac_models::Tokenizer,
    world: &World,
    split: Split,
) -> Result<Scores> {
    let mut all = Scores::new();
    for wording in Wording::ALL {
        let cases = cases(tokenizer, world, split, wording)?;
        let result = answer(model, tokenizer, &cases, wording, &mut Off)?;
        let set = |case: &Case| Some(format!("{} {}", case.set.name(), wording.name()));
        all.extend(count(&cases, &result, set));
        if wording == Wording::Plain {
            let subject = |case: &Case| {
                let name = format!("{} {}", case.set.name(), case.subject);
                (!case.subject.is_empty()).then_some(name)
            };
            all.extend(count(&cases, &result, subject));
        }
    }
    Ok(all)
}

/// The progress bar and the log, a JSON object a line; after an interruption the lines of
/// repeated steps stand twice, with the same numbers.
struct Log {
    bar: ProgressBar,
    file: fs::File,
    smooth: Option<f32>,
    by_kind: ByKind,
}

impl Log {
    fn open(args: &TrainArgs, progress: Progress) -> Result<Self> {
        let path = args.out.join("log.jsonl");
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let last = args.until.unwrap_or(args.steps).min(args.steps);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} [{elapsed} < {eta}]")?;
        let bar = ProgressBar::new(last as u64).with_style(style);
        bar.set_position(progress.step as u64);
        bar.reset_eta();
        if progress.step > 0 {
            bar.println(format!("going on after step {}", progress.step));
        }
        Ok(Self {
            bar,
            file,
            smooth: None,
            by_kind: ByKind::new(),
        })
    }

    fn step(
        &mut self,
        progress: Progress,
        loss: f32,
        norm: f32,
        rate: f64,
        by_kind: ByKind,
    ) -> Result<()> {
        let step = progress.step;
        let mean = self.smooth.map_or(loss, |mean| 0.95 * mean + 0.05 * loss);
        self.smooth = Some(mean);
        add_costs(&mut self.by_kind, by_kind);
        self.bar.inc(1);
        self.bar
            .set_message(format!("loss {mean:.4} norm {norm:.2} rate {rate:.5}"));
        let line = json!({"step": step, "loss": loss, "norm": norm, "rate": rate,
            "seconds": progress.seconds});
        writeln!(self.file, "{line}")?;
        if step.is_multiple_of(REPORT_EVERY) {
            let costs: BTreeMap<String, f64> = std::mem::take(&mut self.by_kind)
                .into_iter()
                .map(|(kind, (sum, n))| (kind, sum / n as f64))
                .collect();
            writeln!(
                self.file,
                "{}",
                json!({"step": step, "mean": mean, "by_kind": costs})
            )?;
        }
        Ok(())
    }

    fn scores(&mut self, progress: Progress, split: Split, scores: &Scores) -> Result<()> {
        let step = progress.step;
        let text: Vec<String> = scores
            .iter()
            .map(|(group, (right, n))| format!("{group} {right}/{n}"))
            .collect();
        self.bar
            .println(format!("step {step} {split:?}: {}", text.join(", ")));
        let line = json!({"step": step, "split": format!("{split:?}"), "scores": scores});
        writeln!(self.file, "{line}")?;
        Ok(())
    }
}
