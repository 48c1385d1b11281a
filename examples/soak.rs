//! Generates for a long time and says how much memory that takes: it should be as much at the end as in the
//! beginning. Policies, speculation, greedy and drawn tokens take turns; what `trace` sees is recorded to a file.
//!
//! ```text
//! cargo run --release --example soak                      # 10,000 texts of 20 new tokens
//! cargo run --release --example soak -- --texts 1000 --batch 4
//! ```
//!
//! Expect twenty lines of texts, tokens, resident memory and seconds, and then the largest memory of either half,
//! some tens of MiB that differ by little. It needs Linux, whose `/proc` it asks. docs/reliability.md has a long run.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use clap::Parser;
use lac_core::{
    Bypass, GateConfig, GenerateArgs, GenerationConfig, Halt, LastActive, LayerPolicy, Off, Trace,
    Usage, generate,
    generation::{Sampling, SamplingConfig},
    plan::PhasePlan,
    speculation::{SpeculateArgs, SpeculationConfig, Speculator, generate_speculative},
};
use lac_models::{AddSpecialTokens, ModelFolder, WeightDtype};
use lac_trace::{TraceInfo, TraceWriter};

/// Generate for a long time and watch the memory.
#[derive(Parser)]
struct Args {
    /// Texts to generate
    #[arg(long, default_value_t = 10_000)]
    texts: usize,
    /// New tokens of each, no more and no less
    #[arg(long, default_value_t = 20)]
    new_tokens: usize,
    /// Texts side by side
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Lines that are printed
    #[arg(long, default_value_t = 20)]
    lines: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(
        args.batch > 0 && args.lines > 0,
        "--batch and --lines are at least 1"
    );
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    lac_demo::unpack(lac_demo::model_files(), folder.path())?;
    let model_folder = ModelFolder::open(folder.path())?;
    let model = model_folder.load(WeightDtype::F32, &Device::flex(), &mut |_| {})?;
    let tokenizer = model_folder.tokenizer()?;
    let stories = lac_demo::yes_no_questions()?;
    let prompts = stories
        .iter()
        .map(|story| tokenizer.encode(&story.passage, AddSpecialTokens::Once))
        .collect::<Result<Vec<_>, _>>()?;

    let gate = GateConfig::new(0.4);
    let mut policies: [Box<dyn LayerPolicy>; 5] = [
        Box::new(Off),
        Box::new(Trace::new(gate)),
        Box::new(LastActive::new(gate)),
        Box::new(Bypass::new(gate)),
        Box::new(Halt::new(gate)),
    ];
    let layers = model.config().n_layers;
    let mut speculator = Speculator::new(PhasePlan::full(layers), SpeculationConfig::default())?;
    // Everything that Trace sees is recorded to a file as well.
    let info = TraceInfo::new("demo", layers, policies[1].as_ref())?;
    let mut writer = TraceWriter::create(&folder.path().join("trace.parquet"), info)?;

    println!(
        "{:>9} {:>9} {:>10} {:>9}",
        "texts", "tokens", "RSS MiB", "seconds"
    );
    let start = Instant::now();
    let n_batches = args.texts.div_ceil(args.batch);
    let (mut n_texts, mut n_tokens) = (0, 0);
    let mut sizes = Vec::new();
    for batch_idx in 0..n_batches {
        let rows: Vec<Vec<u32>> = (0..args.batch)
            .map(|row| prompts[(batch_idx * args.batch + row) % prompts.len()].clone())
            .collect();
        let mut config = GenerationConfig::greedy(args.new_tokens);
        if batch_idx % 2 == 1 {
            config.sampling = Sampling::Random(SamplingConfig::new(0.8, batch_idx as u64));
        }
        let mut usage = Usage::default();
        let output = match batch_idx % 6 {
            5 => {
                let row = &rows[..1];
                generate_speculative(
                    &model,
                    row,
                    &config,
                    SpeculateArgs::new(&mut speculator).observer(&mut usage),
                )?
                .generation
            }
            1 => generate(
                &model,
                &rows,
                &config,
                GenerateArgs::new(policies[1].as_mut()).observer(&mut writer),
            )?,
            policy => generate(
                &model,
                &rows,
                &config,
                GenerateArgs::new(policies[policy].as_mut()).observer(&mut usage),
            )?,
        };
        n_texts += output.rows.len();
        n_tokens += output.rows.iter().map(|row| row.ids.len()).sum::<usize>();
        let line = |idx: usize| idx * args.lines / n_batches;
        if batch_idx == 0 || line(batch_idx) != line(batch_idx + 1) {
            let size =
                resident_mib().context("this system does not tell how much memory is used")?;
            sizes.push(size);
            println!(
                "{n_texts:>9} {n_tokens:>9} {size:>10.1} {:>9.0}",
                start.elapsed().as_secs_f64()
            );
        }
    }
    let half = &sizes[sizes.len() / 2..];
    let largest = |sizes: &[f64]| sizes.iter().copied().fold(0.0, f64::max);
    println!(
        "largest in the first half {:.1} MiB, in the second {:.1} MiB",
        largest(&sizes[..sizes.len() / 2]),
        largest(half)
    );
    writer.finish()?;
    Ok(())
}

/// Memory of this process that is in use.
fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib / 1024.0)
}
