//! `lac bench`: how fast a model prefills and decodes, against the speed of the memory.

mod mode;
mod report;
mod source;
mod table;
mod texts;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use lac_core::{
    CausalLm, GenerateArgs, GenerationConfig, Usage, generate,
    generation::GenerationOutput,
    speculation::{SpeculateArgs, SpeculationStats, WithSecondWeights, generate_speculative},
};
use lac_models::{Decoder, DecoderConfig, LoadConfig, WeightDtype, bandwidth::read_bandwidth};
use lac_session::dtype::note_dequantised;
use lac_session::memory::{self, Rows};
use lac_session::{DeviceName, DtypeName};

use crate::args::{PolicyArgs, PolicyName};
use crate::interrupt;
use crate::numbers::whole;
use crate::one_of::one_of_explained;
use crate::output::{print_line, tell, write_json};
use crate::phase_pair::PhasePair;
use crate::progress;
use crate::prompts::prompts_of_file;
use crate::second_weights::{FirstWeights, SecondWeights};
use crate::speculation::{Gated, SpeculationArgs, SpeculationReport, Verifier};
use mode::Mode;
use report::{Case, Report, Summary};
use source::{BenchModel, Source};
use texts::{Texts, TextsReport};

/// Measure prefill and decode in tokens a second, as a share of what the memory's speed allows
///
/// Every case is run once to warm up and then --repeats times; within a repeat the cases take turns, so that
/// what else the machine does falls on all of them.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac bench --shape qwen2.5-0.5b --dtype f32,bf16\n  lac bench --model DIR --policy off,trace,last-active --batch 1,8 --json > bench.json\n  lac bench --model DIR --policy off,planned,speculative --plan plan.json\n  lac bench --model DIR --policy speculative --prompts prompts.jsonl\n  lac bench --shape qwen2.5-7b --dtype bf16 --device cuda --batch 1,8,64"
)]
pub struct Bench {
    #[command(flatten)]
    model: BenchModel,
    /// Data types to compute in
    #[arg(
        long,
        value_parser = one_of_explained(DtypeName::ALL, DtypeName::name, DtypeName::explain),
        value_delimiter = ',',
        default_value = DtypeName::Auto.name()
    )]
    dtype: Vec<DtypeName>,
    /// Device to compute on: cpu, wgpu, vulkan or cuda, with a number after a colon where there are several
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// Policies to measure
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "off",
        help_heading = "Gate and policy"
    )]
    policy: Vec<PolicyName>,
    #[command(flatten)]
    gate: PolicyArgs,
    #[command(flatten)]
    speculation: SpeculationArgs,
    /// Rows that are prompted at once
    #[arg(long, value_delimiter = ',', value_name = "N", default_value = "1", value_parser = whole(1..=u32::MAX))]
    batch: Vec<u32>,
    /// Tokens of each prompt
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = whole(1..=usize::MAX))]
    prompt_tokens: usize,
    /// New tokens of each row, 2 or more: the first one comes out of the prompt's pass
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = whole(2..=usize::MAX))]
    new_tokens: usize,
    /// Continue the prompts of a file in place of random tokens, and measure every policy beside plain generation of the
    /// same text; needs --model. Forms as for lac generate --prompts: a prompt a line, or .jsonl
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt_tokens", "batch"])]
    prompts: Option<PathBuf>,
    /// Measured runs of each case
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = whole(1..=u32::MAX))]
    repeats: u32,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Markdown,
    Json,
}

/// A policy or speculation and a number of rows, with the times of its runs.
struct Runs {
    mode: Mode,
    batch: u32,
    prefill: Vec<f64>,
    decode: Vec<f64>,
    usage: Usage,
    stats: SpeculationStats,
}

/// What the weights are, and what reading them takes.
struct Weights {
    name: String,
    bytes_per_parameter: f64,
    /// Of keys and values.
    bytes_per_cached: f64,
}

impl Bench {
    pub fn run(&self) -> Result<()> {
        let device = self.device.open()?;
        let source = self.model.open()?;
        for &policy in &self.policy {
            self.gate.check(policy)?;
            if policy == PolicyName::Speculative {
                self.speculation.check()?;
            }
            let may_follow_a_plan = matches!(policy, PolicyName::Planned | PolicyName::Speculative);
            if may_follow_a_plan && self.gate.plan.is_some() {
                source.check_takes_plan()?;
            }
        }
        if self.policy.contains(&PolicyName::Speculative) && self.batch != [1] {
            bail!("--policy speculative continues one row at a time: leave --batch at 1");
        }
        if let Some(prompts) = &self.prompts {
            return self.on_texts(&source, prompts);
        }
        let config = source.config()?;
        let room = config.max_context();
        if self.n_slots() > room {
            bail!(
                "--prompt-tokens {} and --new-tokens {}: together they may be 3 to {room}, the model's context",
                self.prompt_tokens,
                self.new_tokens
            );
        }

        let rows = Rows {
            batch: self.batch.iter().copied().max().unwrap_or(1) as usize,
            n_slots: self.n_slots(),
        };
        // All data types beforehand: a refusal of the last one would throw the others' times away.
        let load_configs = source.load_configs(&self.dtype, &self.device)?;
        for load_config in &load_configs {
            let lower = "lower --batch or --prompt-tokens";
            let dtype = load_config.dtype;
            let n_bytes = self.loaded_bytes(&source, dtype)?;
            let weights = memory::Weights { n_bytes, dtype };
            memory::check(&self.device, &config, weights, rows, lower, &mut tell)?;
        }

        let mut cases = Vec::new();
        let mut read_bandwidths = Vec::new();
        for &load_config in &load_configs {
            let types = source.quantized_types();
            note_dequantised(&types, load_config, &self.device, &config, &mut tell);
            let model = source.load(load_config, &device)?;
            interrupt::listen("the run under way")?;
            let second = self.second_weights(&source, load_config, self.n_slots())?;
            let models = Models {
                first: &model,
                second: second.as_ref(),
            };
            cases.extend(self.measure(models, &source, load_config, &mut read_bandwidths)?);
        }
        let read_bandwidth = Summary::of(&read_bandwidths).mean;
        let report = Report {
            model: source.name(),
            parameters: config.n_parameters(),
            layers: config.n_layers,
            device: self.device.to_string(),
            threads: n_threads(&self.device),
            read_bandwidth,
            prompt_tokens: self.prompt_tokens,
            new_tokens: self.new_tokens,
            repeats: self.repeats,
            alpha: self.gate.gate()?.alpha,
            cases,
        };
        if self.json || self.format == Format::Json {
            return write_json("-".as_ref(), &report);
        }
        print_line(table::markdown(&report).trim_end())
    }

    /// Measures on the prompts of a file.
    fn on_texts(&self, source: &Source, path: &Path) -> Result<()> {
        let config = source.config()?;
        let tokenizer = source.tokenizer()?;
        let prompts = prompts_of_file(path, &tokenizer, config.max_context())?;
        let texts = Texts::new(prompts, self.new_tokens, &tokenizer);
        let rows = Rows {
            batch: 1,
            n_slots: texts.longest().saturating_add(self.new_tokens),
        };
        let load_configs = source.load_configs(&self.dtype, &self.device)?;
        for load_config in &load_configs {
            let dtype = load_config.dtype;
            let n_bytes = self.loaded_bytes(source, dtype)?;
            let weights = memory::Weights { n_bytes, dtype };
            memory::check(
                &self.device,
                &config,
                weights,
                rows,
                "lower --new-tokens",
                &mut tell,
            )?;
        }
        let device = self.device.open()?;
        let mut cases = Vec::new();
        for &load_config in &load_configs {
            let types = source.quantized_types();
            note_dequantised(&types, load_config, &self.device, &config, &mut tell);
            let model = source.load(load_config, &device)?;
            interrupt::listen("the run under way")?;
            let modes = self.policy.iter().filter(|&&name| name != PolicyName::Off);
            let second = self.second_weights(source, load_config, rows.n_slots)?;
            let models = Models {
                first: &model,
                second: second.as_ref(),
            };
            let modes = modes
                .map(|&name| self.mode(name, load_config.dtype, source, models))
                .collect::<Result<_>>()?;
            let dtype = load_config.weights_name(&types);
            cases.extend(texts.measure(&models.drafted(), modes, self.repeats, &dtype)?);
        }
        let report = TextsReport {
            model: source.name(),
            device: self.device.to_string(),
            threads: n_threads(&self.device),
            repeats: self.repeats,
            cases,
        };
        if self.json || self.format == Format::Json {
            return write_json("-".as_ref(), &report);
        }
        print_line(texts::markdown(&report.cases, &report.title(path)).trim_end())
    }

    /// Returns the tokens of a row.
    fn n_slots(&self) -> usize {
        self.prompt_tokens.saturating_add(self.new_tokens)
    }

    /// Returns how many bytes the weights take on the device: the CPU alone keeps quantised ones as they are.
    fn loaded_bytes(&self, source: &Source, dtype: WeightDtype) -> Result<u64> {
        if self.device.is_cpu() {
            source.loaded_bytes(dtype)
        } else {
            Ok(dtype.n_bytes(&source.config()?))
        }
    }

    fn measure(
        &self,
        models: Models<'_>,
        source: &Source,
        load_config: LoadConfig,
        read_bandwidths: &mut Vec<f64>,
    ) -> Result<Vec<Case>> {
        let mut cases: Vec<Runs> = self
            .policy
            .iter()
            .flat_map(|&policy| self.batch.iter().map(move |&batch| (policy, batch)))
            .map(|(policy, batch)| {
                Ok(Runs::new(
                    self.mode(policy, load_config.dtype, source, models)?,
                    batch,
                ))
            })
            .collect::<Result<_>>()?;
        let n_runs = (self.repeats as usize + 1) * cases.len();
        let bar = progress::counting("measuring", n_runs);
        let mut own_bandwidths = Vec::new();
        for repeat in 0..=self.repeats {
            // The memory is measured in turns with the cases, because other programs slow it down too.
            own_bandwidths.push(read_bandwidth(&models.first.device())?);
            for case in &mut cases {
                interrupt::check().context("nothing is reported of runs that were not all made")?;
                let (output, usage, stats) = self.generate(models, case)?;
                // The first round is the warm-up.
                if repeat > 0 {
                    let n_rows = f64::from(case.batch);
                    let n_prompt = n_rows * self.prompt_tokens as f64;
                    let n_new = n_rows * (self.new_tokens - 1) as f64;
                    case.prefill
                        .push(n_prompt / output.prefill_time.as_secs_f64());
                    case.decode.push(n_new / output.decode_time.as_secs_f64());
                    case.usage.merge(&usage);
                    case.stats.merge(&stats);
                }
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        let bandwidth = Summary::of(&own_bandwidths).mean;
        read_bandwidths.extend(own_bandwidths);
        let weights = Weights {
            name: load_config.weights_name(&source.quantized_types()),
            bytes_per_parameter: self.loaded_bytes(source, load_config.dtype)? as f64
                / models.first.config().n_parameters() as f64,
            bytes_per_cached: load_config.dtype.to_burn().size() as f64,
        };
        let cases = cases.into_iter();
        Ok(cases
            .map(|runs| self.case(runs, models.first.config(), &weights, bandwidth))
            .collect())
    }

    /// Makes one run of a case.
    fn generate(
        &self,
        models: Models<'_>,
        case: &mut Runs,
    ) -> Result<(GenerationOutput, Usage, SpeculationStats)> {
        let model = &models.drafted();
        let vocab_size = model.vocab_size() as u32;
        let prompts: Vec<Vec<u32>> = (0..case.batch)
            .map(|row| {
                let ids = (0..self.prompt_tokens as u32).map(|position| {
                    // Knuth's multiplicative hash: ids from all over the vocabulary.
                    (position * 31 + row + 1).wrapping_mul(2_654_435_761) % vocab_size
                });
                ids.collect()
            })
            .collect();
        let mut usage = Usage::default();
        let config = GenerationConfig::greedy(self.new_tokens);
        let (output, stats) = match &mut case.mode {
            // The observer makes every pass end with a read of the gate's numbers; without a gate there are none.
            Mode::Policy(policy) => {
                let args = GenerateArgs::new(policy.as_mut()).observer(&mut usage);
                let output = generate(model, &prompts, &config, args)?;
                (output, SpeculationStats::default())
            }
            Mode::Speculation(speculator) => {
                let speculator = speculator.as_mut();
                let output = generate_speculative(
                    model,
                    &prompts,
                    &config,
                    SpeculateArgs::new(speculator).observer(&mut usage),
                )?;
                (output.generation, output.stats)
            }
        };
        Ok((output, usage, stats))
    }

    fn case(
        &self,
        runs: Runs,
        config: &DecoderConfig,
        weights: &Weights,
        read_bandwidth: f64,
    ) -> Case {
        let mut executed = PhasePair::executed(&runs.usage);
        // Passes for each token of a row.
        let mut n_passes = 1.0;
        if let Mode::Speculation(_) = runs.mode {
            let n_tokens = f64::from(self.repeats) * (self.new_tokens - 1) as f64;
            executed.response = Some(runs.stats.executed_layers(config.n_layers) / n_tokens);
            n_passes = (runs.stats.n_full_passes() + runs.stats.n_draft_passes) as f64 / n_tokens;
        }
        let n_layers = config.n_layers as f64;
        // Every pass reads the weights outside the layers again.
        let n_read = config.n_parameters_read(executed.response.unwrap_or(n_layers))
            + (n_passes - 1.0) * config.n_parameters_read(0.0);
        let n_slots = self.prompt_tokens as f64 + self.new_tokens as f64 / 2.0;
        let cached = 2.0
            * executed.response.unwrap_or(n_layers)
            * f64::from(runs.batch)
            * n_slots
            * (config.n_kv_heads * config.head_dim) as f64;
        // Only the last position goes through the head.
        let head = (config.vocab_size * config.hidden_size) as f64;
        let n_multiplied = config.n_parameters_read(executed.prompt.unwrap_or(n_layers)) - head;
        let prefill = Summary::of(&runs.prefill);
        let decode = Summary::of(&runs.decode);
        let bytes_per_pass =
            weights.bytes_per_parameter * n_read + weights.bytes_per_cached * cached;
        let bytes_per_second = bytes_per_pass * decode.mean / f64::from(runs.batch);
        Case {
            dtype: weights.name.clone(),
            policy: runs.mode.name().to_owned(),
            batch: runs.batch,
            prefill_flops: 2.0 * n_multiplied * prefill.mean,
            prefill,
            decode,
            bytes_per_pass,
            bytes_per_second,
            share_of_bandwidth: bytes_per_second / read_bandwidth,
            active: PhasePair::active(&runs.usage),
            executed,
            speculation: match &runs.mode {
                Mode::Policy(_) => None,
                Mode::Speculation(speculator) => {
                    Some(SpeculationReport::new(runs.stats, speculator))
                }
            },
        }
    }

    /// Loads quantised weights that draft, if they do.
    fn second_weights(
        &self,
        source: &Source,
        load_config: LoadConfig,
        n_slots: usize,
    ) -> Result<Option<SecondWeights>> {
        if !self.policy.contains(&PolicyName::Speculative) {
            return Ok(None);
        }
        let config = source.config()?;
        let first = FirstWeights {
            device: &self.device,
            config: &config,
            dtype: load_config.dtype,
            n_bytes: self.loaded_bytes(source, load_config.dtype)?,
            is_quantised: !source.quantized_types().is_empty(),
            n_slots,
        };
        self.speculation.second_weights(|quantization, asked| {
            SecondWeights::load(&first, quantization, asked, |load_config| {
                source.load_quantised(quantization, load_config, &self.device.open()?)
            })
        })
    }

    fn mode(
        &self,
        name: PolicyName,
        dtype: WeightDtype,
        source: &Source,
        models: Models<'_>,
    ) -> Result<Mode> {
        let fingerprint = || source.fingerprint();
        if name != PolicyName::Speculative {
            return Ok(Mode::Policy(self.gate.policy_on(name, fingerprint)?));
        }
        let verifier = Verifier::new(models.first, dtype, true);
        let gated = Gated::ForFollowing;
        let speculator =
            self.speculation
                .speculator(&self.gate, gated, verifier, models.second, fingerprint)?;
        Ok(Mode::Speculation(Box::new(speculator)))
    }
}

/// The model that is measured, with what drafts for it.
#[derive(Clone, Copy)]
struct Models<'a> {
    first: &'a Decoder,
    second: Option<&'a SecondWeights>,
}

impl<'a> Models<'a> {
    fn drafted(self) -> WithSecondWeights<'a, Decoder, Decoder> {
        WithSecondWeights::new(self.first, self.second.map(|second| &second.model))
    }
}

impl Runs {
    fn new(mode: Mode, batch: u32) -> Self {
        Self {
            mode,
            batch,
            prefill: Vec::new(),
            decode: Vec::new(),
            usage: Usage::default(),
            stats: SpeculationStats::default(),
        }
    }
}

/// Returns how many threads compute, if the device is the CPU.
fn n_threads(device: &DeviceName) -> Option<usize> {
    #[cfg(feature = "flex")]
    if device.is_cpu() {
        return Some(rayon::current_num_threads());
    }
    let _ = device;
    None
}
