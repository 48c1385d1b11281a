//! What planned skipping saves: decode and prefill at several shares of the layers, in turns.
//!
//! `cargo bench -p lac-benches --bench skipping` runs a model of Qwen2.5-0.5B's shape with random
//! weights and prints, per share of its 24 layers, the time of a decoded token and of a prompt,
//! and the speed-up over the full model: as measured, and of the layers alone, with the time of a
//! pass that runs none of them (embedding, final norm and head) taken off both. Beside them stands
//! what the number of weights that are read lets one expect. All contenders take turns within a
//! round, in changing order; speed-ups are medians over rounds.
//!
//! `LAC_BENCH_SHAPE=mistral-7b` takes that shape, `LAC_BENCH_VOCAB` another vocabulary (the head of
//! Qwen2.5-0.5B holds a quarter of its weights), `LAC_BENCH_DEVICE=wgpu|cuda` another device,
//! `LAC_BENCH_ROUNDS` another number of rounds, `LAC_BENCH_DTYPE=bf16` another data type.

use std::error::Error;
use std::time::Duration;

use lac_benches::{env, env_device, env_dtype, env_number, env_shape, is_test};
use lac_core::{GenerateArgs, GenerationConfig, Planned, SkippedKeys, generate, plan::PhasePlan};
use lac_models::{Decoder, DecoderConfig, dummy_model};

const PROMPT_TOKENS: usize = 128;
const NEW_TOKENS: usize = 17;

/// A share of the layers that are run, and what is done with the keys and values of the others.
struct Contender {
    name: String,
    plan: PhasePlan,
    keys: SkippedKeys,
    prefill: Vec<f64>,
    decode: Vec<f64>,
}

impl Contender {
    fn new(n_layers: usize, share: f64, keys: SkippedKeys) -> Self {
        // Spread over the depth, as a plan's usually are.
        let below = |layers: usize| (layers as f64 * share + 0.5).floor();
        let kept: Vec<bool> = (0..n_layers)
            .map(|idx| below(idx + 1) > below(idx))
            .collect();
        let name = match keys {
            SkippedKeys::Fill => "fill",
            SkippedKeys::Omit => "leave out",
        };
        Self {
            name: format!("{:3.0} %, {name}", 100.0 * share),
            plan: PhasePlan::keeping(&kept),
            keys,
            prefill: Vec::new(),
            decode: Vec::new(),
        }
    }

    /// Times of the prompt's pass and of a decoded token, in milliseconds.
    fn run(&self, model: &Decoder) -> Result<(f64, f64), lac_core::Error> {
        let plans = (self.plan.clone(), self.plan.clone());
        let mut policy = Planned::from_phases(plans.0, plans.1, self.keys);
        let prompt: Vec<u32> = (1..=PROMPT_TOKENS as u32).collect();
        let config = GenerationConfig::greedy(NEW_TOKENS);
        let out = generate(model, &[prompt], &config, GenerateArgs::new(&mut policy))?;
        let ms = |time: Duration| 1e3 * time.as_secs_f64();
        Ok((
            ms(out.prefill_time),
            ms(out.decode_time) / out.n_decode_passes as f64,
        ))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if is_test() {
        return Ok(());
    }
    let n_rounds = env_number("LAC_BENCH_ROUNDS", 9)?;
    let dtype = env_dtype()?;
    let mut config = env_shape()?;
    if let Some(vocab) = env("LAC_BENCH_VOCAB") {
        config.vocab_size = vocab.parse()?;
    }
    let device = env_device()?;
    let model = dummy_model(&config, dtype, &device, 1)?;

    let n_layers = config.n_layers;
    let mut contenders: Vec<Contender> = [1.0, 0.7, 0.5, 0.3]
        .map(|share| Contender::new(n_layers, share, SkippedKeys::Fill))
        .into();
    contenders.push(Contender::new(n_layers, 0.5, SkippedKeys::Omit));
    // The last one runs no layer: what is left is not layers.
    contenders.push(Contender::new(n_layers, 0.0, SkippedKeys::Omit));
    contenders[0].run(&model)?;
    for round in 0..n_rounds {
        for turn in 0..contenders.len() {
            let idx = (turn + round) % contenders.len();
            let (prefill, decode) = contenders[idx].run(&model)?;
            contenders[idx].prefill.push(prefill);
            contenders[idx].decode.push(decode);
        }
    }

    println!(
        "{n_layers} layers, vocabulary {}, prompt of {PROMPT_TOKENS}, {} decoded, {n_rounds} rounds",
        config.vocab_size,
        NEW_TOKENS - 1
    );
    println!(
        "{:16} {:>6}  {:>9} {:>9} {:>6} {:>6} {:>6}  {:>9} {:>6} {:>6}",
        "layers",
        "run",
        "decode ms",
        "tokens/s",
        "speed",
        "layers",
        "expect",
        "prefill ms",
        "speed",
        "layers"
    );
    let (full, none) = (&contenders[0], &contenders[contenders.len() - 1]);
    for contender in &contenders {
        let decode = SpeedUp::of(&full.decode, &contender.decode, &none.decode);
        let prefill = SpeedUp::of(&full.prefill, &contender.prefill, &none.prefill);
        let (ms, prefill_ms) = (median(&contender.decode), median(&contender.prefill));
        println!(
            "{:16} {:6.1}  {ms:9.2} {:9.1} {:6.2} {:6.2} {:6.2}  {prefill_ms:9.1} {:6.2} {:6.2}",
            contender.name,
            contender.plan.executed_layers(),
            1e3 / ms,
            decode.measured,
            decode.of_layers,
            expected(&config, contender),
            prefill.measured,
            prefill.of_layers,
        );
    }
    Ok(())
}

/// Speed-ups over the full model, medians over rounds.
struct SpeedUp {
    measured: f64,
    /// With the time of a pass without layers taken off both.
    of_layers: f64,
}

impl SpeedUp {
    fn of(full: &[f64], contender: &[f64], none: &[f64]) -> Self {
        let rounds = || full.iter().zip(contender).zip(none);
        let measured: Vec<f64> = rounds().map(|((full, time), _)| full / time).collect();
        let of_layers: Vec<f64> = rounds()
            .map(|((full, time), none)| (full - none) / (time - none))
            .collect();
        Self {
            measured: median(&measured),
            of_layers: median(&of_layers),
        }
    }
}

/// The ratio of the weights that a decoded token reads.
fn expected(config: &DecoderConfig, contender: &Contender) -> f64 {
    let layers_of = |n_layers| {
        let mut config = config.clone();
        config.n_layers = n_layers;
        config.n_parameters() as f64
    };
    let rest = layers_of(0) - lookup(config);
    let layer = layers_of(1) - layers_of(0);
    let n_kept = contender.plan.executed_layers();
    let n_skipped = config.n_layers as f64 - n_kept;
    let keys = match contender.keys {
        SkippedKeys::Fill => {
            (2 * config.n_kv_heads * config.head_dim * config.hidden_size) as f64 * n_skipped
        }
        SkippedKeys::Omit => 0.0,
    };
    (rest + layer * config.n_layers as f64) / (rest + layer * n_kept + keys)
}

/// Counts the weights that a token reads one row from: an embedding that does not serve as the head too.
fn lookup(config: &DecoderConfig) -> f64 {
    match config.head {
        lac_models::decoder::HeadKind::Tied => 0.0,
        lac_models::decoder::HeadKind::Untied => (config.vocab_size * config.hidden_size) as f64,
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
