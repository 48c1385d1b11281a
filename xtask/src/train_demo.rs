//! `cargo xtask train-demo`: trains the embedded model from nothing, in burn.

mod evaluate;
mod model;
mod schedule;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use burn::module::{Module, ParamGroup};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::Device;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lac_demo::batches::{Plan, batches};
use lac_demo::split::Split;
use lac_demo::tokenizer::{configs, train};
use lac_demo::world::World;
use lac_models::{Decoder, ModelConfig, ModelFolder, WeightDtype};
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use evaluate::evaluate;
use schedule::Schedule;

/// The norm that gradients are clipped to.
const CLIP: f32 = 1.0;

/// How many steps lie between two reports of the loss by kind.
const REPORT_EVERY: usize = 50;

/// The settings of a training run.
#[derive(Args, Clone, Debug)]
pub struct TrainDemo {
    /// Where the model folder, the checkpoints and the log are written.
    #[arg(long, default_value = "target/train-demo")]
    out: PathBuf,
    /// The seed of the world, the data and the first weights.
    #[arg(long, default_value_t = lac_demo::SEED)]
    seed: u64,
    /// How many steps the schedule has.
    #[arg(long, default_value_t = 2600)]
    steps: usize,
    /// Stop after this step, as if interrupted; the schedule stays the same.
    #[arg(long)]
    until: Option<usize>,
    /// About how many tokens a step has.
    #[arg(long, default_value_t = 1024)]
    tokens: usize,
    /// The highest learning rate.
    #[arg(long, default_value_t = 1.2e-3)]
    lr: f64,
    /// How many steps lie between two checkpoints.
    #[arg(long, default_value_t = 250)]
    checkpoint_every: usize,
    /// Begin anew even if there is a checkpoint.
    #[arg(long)]
    fresh: bool,
    /// Train on CUDA; needs the feature `cuda`.
    #[arg(long)]
    cuda: bool,
}

/// What is scored.
#[derive(Args, Clone, Debug)]
pub struct ScoreDemo {
    /// A model folder.
    #[arg(long, default_value = "crates/lac-demo/assets/model")]
    model: PathBuf,
    /// The seed of the world.
    #[arg(long, default_value_t = lac_demo::SEED)]
    seed: u64,
}

/// Scores a model as it was written to disk, in bf16 widened to f32.
pub fn score(args: &ScoreDemo) -> Result<()> {
    let world = World::new(args.seed);
    let folder = ModelFolder::open(&args.model)?;
    let tokenizer =
        Tokenizer::from_file(args.model.join("tokenizer.json")).map_err(|e| anyhow!("{e}"))?;
    let model = folder.load(WeightDtype::F32, &Device::flex(), &mut |_| {})?;
    for (group, (right, n)) in evaluate(&model, &tokenizer, &world, Split::Test)? {
        println!("{group}\t{right}/{n}\t{:.3}", right as f64 / n as f64);
    }
    Ok(())
}

/// What a checkpoint remembers besides weights and moments.
#[derive(Serialize, Deserialize)]
struct State {
    step: usize,
    seconds: f64,
}

/// Trains, or goes on training from the last checkpoint.
pub fn run(args: &TrainDemo) -> Result<()> {
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let world = World::new(args.seed);
    let tokenizer = train(&world)?;
    let folder = args.out.join("model");
    fs::create_dir_all(&folder)?;
    tokenizer
        .save(folder.join("tokenizer.json"), true)
        .map_err(|e| anyhow!("{e}"))?;
    for (name, value) in configs(&tokenizer) {
        fs::write(
            folder.join(name),
            serde_json::to_string_pretty(&value)? + "\n",
        )?;
    }
    let config = ModelConfig::from_file(&folder.join("config.json"))?;
    let device = device(args)?.autodiff();
    let mut model = model::untrained(&config.decoder, args.seed, &device);
    let mut optimizer = optimizer();
    let mut state = State {
        step: 0,
        seconds: 0.0,
    };
    if !args.fresh && args.out.join("state.json").exists() {
        (model, optimizer, state) = resume(&args.out, model, optimizer)?;
        eprintln!("going on after step {}", state.step);
    }

    let plan = Plan {
        seed: args.seed,
        tokens_per_step: args.tokens,
        n_groups: (args.tokens / 512).clamp(1, 4),
    };
    let schedule = Schedule {
        peak: args.lr,
        floor: 0.05,
        n_warmup: 150.min(args.steps / 5),
        n_steps: args.steps,
    };
    let last = args.until.unwrap_or(args.steps).min(args.steps);
    let mut log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(args.out.join("log.jsonl"))?;
    let progress = ProgressBar::new(last as u64).with_style(ProgressStyle::with_template(
        "{bar:30} {pos}/{len} {msg} [{elapsed} < {eta}]",
    )?);
    progress.set_position(state.step as u64);
    progress.reset_eta();
    let before = state.seconds;
    let start = Instant::now();
    let mut smooth = None;
    let mut by_kind = model::ByKind::new();
    while state.step < last {
        let batches = batches(&world, &tokenizer, &plan, state.step)?;
        let loss = model::loss(&model, &batches, &mut by_kind)?;
        let value = loss.clone().into_scalar::<f32>();
        let mut grads = GradientsParams::from_grads(loss.backward(), &model);
        let norm = model::clip(&model, &mut grads, CLIP);
        let rate = schedule.at(state.step);
        model = optimizer.step(rate, model, grads);
        state.step += 1;
        state.seconds = before + start.elapsed().as_secs_f64();
        let mean = smooth.map_or(value, |s: f32| 0.95 * s + 0.05 * value);
        smooth = Some(mean);
        progress.inc(1);
        progress.set_message(format!("loss {mean:.4} norm {norm:.2} rate {rate:.5}"));
        let line = serde_json::json!({"step": state.step, "loss": value, "norm": norm, "rate": rate,
            "seconds": state.seconds});
        writeln!(log, "{line}")?;
        if state.step.is_multiple_of(REPORT_EVERY) {
            let parts: Vec<String> = std::mem::take(&mut by_kind)
                .iter()
                .map(|(kind, (sum, n))| format!("{kind} {:.3}", sum / *n as f64))
                .collect();
            writeln!(
                log,
                "{}",
                serde_json::json!({"step": state.step, "mean": mean, "kinds": parts})
            )?;
        }
        if state.step.is_multiple_of(args.checkpoint_every) || state.step == last {
            checkpoint(&args.out, &model, &optimizer, &state)?;
            model::save_bf16(&model, &folder.join("model.safetensors"))?;
            // Settings are chosen on the validation split; the test split is
            // looked at once, at the end.
            let split = if state.step == args.steps {
                Split::Test
            } else {
                Split::Validation
            };
            let scores = evaluate(&model.valid(), &tokenizer, &world, split)?;
            let scores: Vec<String> = scores
                .iter()
                .map(|(k, (right, n))| format!("{k} {:.3}", *right as f64 / *n as f64))
                .collect();
            progress.println(format!(
                "step {} loss {mean:.4} {split:?}: {}",
                state.step,
                scores.join(", ")
            ));
            writeln!(
                log,
                "{}",
                serde_json::json!({"step": state.step, "split": format!("{split:?}"), "scores": scores})
            )?;
        }
    }
    progress.finish();
    Ok(())
}

fn device(args: &TrainDemo) -> Result<Device> {
    #[cfg(feature = "cuda")]
    if args.cuda {
        return Ok(Device::cuda(0));
    }
    if args.cuda {
        return Err(anyhow!("this xtask was built without the feature cuda"));
    }
    Ok(Device::flex())
}

/// AdamW that lets norms and biases alone when it decays weights.
fn optimizer() -> ModuleOptimizer {
    let config = AdamWConfig::new()
        .with_beta_2(0.95)
        .with_epsilon(1e-8)
        .with_weight_decay(0.1);
    let vectors = ParamGroup::from_any_predicates(vec!["norm", "bias"]);
    let gentle = config.clone().with_weight_decay(0.0).build();
    config.init().with_group(vectors, gentle, None)
}

fn checkpoint(
    out: &Path,
    model: &Decoder,
    optimizer: &ModuleOptimizer,
    state: &State,
) -> Result<()> {
    model
        .clone()
        .save_file(out.join("weights.bpk"))
        .map_err(|e| anyhow!("{e}"))?;
    optimizer
        .save(out.join("moments.bpk"))
        .map_err(|e| anyhow!("{e}"))?;
    // The step is written last, so that an interruption leaves an older step
    // rather than one without weights.
    let text = serde_json::to_string(state)?;
    fs::write(out.join("state.json"), text)?;
    Ok(())
}

fn resume(
    out: &Path,
    model: Decoder,
    optimizer: ModuleOptimizer,
) -> Result<(Decoder, ModuleOptimizer, State)> {
    let model = model
        .try_load_file(out.join("weights.bpk"))
        .map_err(|e| anyhow!("{e}"))?;
    let optimizer = optimizer
        .load(out.join("moments.bpk"))
        .map_err(|e| anyhow!("{e}"))?;
    let state = serde_json::from_str(&fs::read_to_string(out.join("state.json"))?)?;
    Ok((model, optimizer, state))
}
