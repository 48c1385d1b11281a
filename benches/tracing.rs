//! What the gate costs a whole model: decode and prefill with and without it, in pairs.
//!
//! `cargo bench -p lac-benches --bench tracing` runs a model of Qwen2.5-0.5B's shape with random
//! weights and prints, per policy, the median over pairs of `time with the gate / time without`.
//! Within a pair the two runs follow each other in changing order, so that whatever else the
//! machine does falls on both.
//!
//! `LAC_BENCH_SHAPE=mistral-7b` takes that shape instead, `LAC_BENCH_DEVICE=wgpu|cuda` another
//! device, `LAC_BENCH_PAIRS` another number of pairs, `LAC_BENCH_DTYPE=bf16` another data type.

use std::error::Error;
use std::time::Duration;

use lac_benches::{env_device, env_dtype, env_number, env_shape, is_test};
use lac_core::{
    Bypass, GateConfig, GenerateArgs, GenerationConfig, LastActive, LayerPolicy, Off, Trace,
    generate,
};
use lac_models::{Decoder, dummy_model};

const PROMPT_TOKENS: usize = 256;
const NEW_TOKENS: usize = 24;

fn main() -> Result<(), Box<dyn Error>> {
    if is_test() {
        return Ok(());
    }
    let n_pairs = env_number("LAC_BENCH_PAIRS", 15)?;
    let dtype = env_dtype()?;
    let config = env_shape()?;
    let device = env_device()?;
    let model = dummy_model(&config, dtype, &device, 1)?;

    println!("policy        decode ms/token off, on, ratio      prefill ms off, on, ratio");
    let gate = GateConfig::default();
    let policies: [Box<dyn LayerPolicy>; 4] = [
        Box::new(Off),
        Box::new(Trace::new(gate)),
        Box::new(LastActive::new(gate)),
        Box::new(Bypass::new(gate)),
    ];
    for mut policy in policies {
        let mut decode = Pairs::default();
        let mut prefill = Pairs::default();
        time(&model, &mut *policy)?;
        for pair in 0..n_pairs {
            let (off, on) = if pair % 2 == 0 {
                let off = time(&model, &mut Off)?;
                (off, time(&model, &mut *policy)?)
            } else {
                let on = time(&model, &mut *policy)?;
                (time(&model, &mut Off)?, on)
            };
            prefill.push(off.0, on.0);
            decode.push(off.1, on.1);
        }
        println!("{:<12}  {decode}      {prefill}", policy.name());
    }
    Ok(())
}

/// The time of the prompt's pass, and of a generated token.
fn time(
    model: &Decoder,
    policy: &mut dyn LayerPolicy,
) -> Result<(Duration, Duration), lac_core::Error> {
    let prompt: Vec<u32> = (1..=PROMPT_TOKENS as u32).collect();
    let config = GenerationConfig::greedy(NEW_TOKENS);
    let out = generate(model, &[prompt], &config, GenerateArgs::new(policy))?;
    Ok((
        out.prefill_time,
        out.decode_time / out.n_decode_passes as u32,
    ))
}

/// Times without and with the gate, taken one right after the other.
#[derive(Default)]
struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    fn push(&mut self, off: Duration, on: Duration) {
        self.0
            .push((1e3 * off.as_secs_f64(), 1e3 * on.as_secs_f64()));
    }

    fn median(&self, value: impl Fn(&(f64, f64)) -> f64) -> f64 {
        let mut values: Vec<f64> = self.0.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }
}

impl std::fmt::Display for Pairs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let off = self.median(|pair| pair.0);
        let on = self.median(|pair| pair.1);
        let ratio = self.median(|pair| pair.1 / pair.0);
        write!(f, "{off:9.2} {on:9.2} {ratio:7.4}")
    }
}
