//! Prefill and decode of candle on the CPU, for a Qwen2 checkpoint:
//!
//! `python ../transformers_bench.py --save DIR --dtype f32`, then `cargo run --release -- DIR f32`.
//! Prints one JSON line: tokens a second, mean and standard deviation over the repeats.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::qwen2::{Config, ModelForCausalLM};

const PROMPT_TOKENS: usize = 512;
const NEW_TOKENS: usize = 64;
const REPEATS: usize = 5;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().context("candle-bench DIR f32|f16|bf16")?;
    let dtype_name = args.next().unwrap_or_else(|| "f32".to_owned());
    let dtype = match dtype_name.as_str() {
        "f32" => DType::F32,
        "f16" => DType::F16,
        "bf16" => DType::BF16,
        other => anyhow::bail!("no data type {other}"),
    };
    let device = Device::Cpu;
    let folder = Path::new(&folder);
    let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
    let weights = std::fs::read(folder.join("model.safetensors"))?;
    let weights = VarBuilder::from_buffered_safetensors(weights, dtype, &device)?;
    let mut model = ModelForCausalLM::new(&config, weights)?;

    let prompt: Vec<u32> = (1..=PROMPT_TOKENS as u32).collect();
    let prompt = Tensor::new(prompt, &device)?.unsqueeze(0)?;
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for repeat in 0..=REPEATS {
        model.clear_kv_cache();
        let start = Instant::now();
        let mut token = most_probable(&model.forward(&prompt, 0)?)?;
        let prefilled = Instant::now();
        for step in 0..NEW_TOKENS {
            token = most_probable(&model.forward(&token, PROMPT_TOKENS + step)?)?;
        }
        let end = Instant::now();
        // The first round is the warm-up.
        if repeat > 0 {
            prefill.push(PROMPT_TOKENS as f64 / (prefilled - start).as_secs_f64());
            decode.push(NEW_TOKENS as f64 / (end - prefilled).as_secs_f64());
        }
    }
    println!(
        "{}",
        serde_json::json!({
            "peer": "candle 0.9.2",
            "dtype": dtype_name,
            "prompt_tokens": PROMPT_TOKENS,
            "new_tokens": NEW_TOKENS,
            "prefill": summary(&prefill),
            "decode": summary(&decode),
        })
    );
    Ok(())
}

fn most_probable(logits: &Tensor) -> Result<Tensor> {
    Ok(logits.flatten_all()?.argmax(0)?.reshape((1, 1))?)
}

fn summary(values: &[f64]) -> serde_json::Value {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    serde_json::json!({ "mean": mean, "sd": (squares / (n - 1.0)).sqrt() })
}
