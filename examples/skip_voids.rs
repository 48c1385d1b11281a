//! The main job: answer a prompt with the full model and with its voids skipped, and say what that
//! did to the text, to the layers and to the time.
//!
//! ```text
//! cargo run --release --example skip_voids
//! cargo run --release --example skip_voids -- --model DIR --prompt "Why is the sky blue?"
//! cargo run --release --example skip_voids -- --model DIR --raw --prompt "Once upon a time" --alpha 0.5
//! ```
//!
//! Without `--model` it runs a small model of random weights that reads and writes bytes: its text
//! is noise, but its layers, flags and times are real.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use burn::tensor::Device;
use clap::Parser;
use lac_core::{
    Bypass, CausalLm, GateConfig, GenerationConfig, GenerationOutput, Halt, Hooks, LastActive,
    LayerPolicy, Off, Trace, Usage, generate,
};
use lac_models::{
    ChatOptions, Decoder, Message, ModelConfig, ModelFolder, PromptKind, SpecialTokensInText,
    Tokenizer, WeightDtype, dummy_model,
};
use lac_trace::{PhaseTrace, Recorder, Style, heat_map};

/// Answer a prompt with the full model and with its voids skipped.
#[derive(Parser)]
struct Args {
    /// Folder in Hugging Face layout
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// The prompt
    #[arg(long, default_value = "Once upon a time")]
    prompt: String,
    /// Leave the chat template out
    #[arg(long)]
    raw: bool,
    /// The share of the range of earlier deltas that a layer's delta has to reach
    #[arg(long, default_value_t = 0.8)]
    alpha: f32,
    /// At most this many new tokens
    #[arg(long, default_value_t = 40)]
    max_new_tokens: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let device = Device::flex();
    let (model, text) = match &args.model {
        Some(path) => load(path, &device)?,
        None => (random_model(&device)?, Text::Bytes),
    };
    let prompt = text.prompt(&args.prompt, args.raw)?;
    let stop_tokens = text.stop_tokens();
    let config = GenerationConfig::greedy(args.max_new_tokens).with_stop_tokens(stop_tokens);
    let gate = GateConfig::new(args.alpha);
    let mut out = anstream::stdout();

    let mut policies: Vec<Box<dyn LayerPolicy>> = vec![
        Box::new(Off),
        Box::new(Trace::new(gate)),
        Box::new(LastActive::new(gate)),
        Box::new(Bypass::new(gate)),
        Box::new(Halt::new(gate)),
    ];
    // The first run pays for cold caches and thread pools: it is not counted.
    Run::new(&model, &prompt, &config, &mut Off)?;
    let runs = policies
        .iter_mut()
        .map(|policy| Run::new(&model, &prompt, &config, policy.as_mut()))
        .collect::<Result<Vec<_>>>()?;

    for run in runs.iter().filter(|run| run.policy != "trace") {
        let title = match run.policy.as_str() {
            "off" => "full model".to_owned(),
            policy => format!("voids skipped by {policy} at alpha {}", args.alpha),
        };
        let ids = &run.output.rows[0].ids;
        writeln!(out, "== {title}\n{}\n", text.decode(ids)?)?;
    }

    let traced = runs
        .iter()
        .find(|run| run.policy == "trace")
        .context("trace was run")?;
    for (phase, trace) in [
        ("prompt", &traced.trace.prompt),
        ("response", &traced.trace.response),
    ] {
        writeln!(
            out,
            "== {phase}: which layers work on which token (█ active, · void)"
        )?;
        writeln!(
            out,
            "{}",
            heat_map(trace, &text.pieces(trace), Style::Coloured)
        )?;
    }

    // Three different numbers: a flagged layer may have been run, and a run layer costs its time
    // whatever its flag.
    writeln!(
        out,
        "{:12} {:>18} {:>18} {:>12} {:>14}",
        "policy", "layers executed", "layers active", "prompt", "per new token"
    )?;
    writeln!(
        out,
        "{:12} {:>9}{:>9} {:>9}{:>9} {:>12} {:>14}",
        "", "prompt", "response", "prompt", "response", "ms", "ms"
    )?;
    for run in &runs {
        writeln!(out, "{}", run.row())?;
    }
    writeln!(
        out,
        "\nMasking (last-active, bypass) runs every layer: it saves no time by construction."
    )?;
    Ok(())
}

/// One generation under one policy.
struct Run {
    policy: String,
    output: GenerationOutput,
    usage: Usage,
    trace: Recorder,
}

impl Run {
    fn new(
        model: &Decoder,
        prompt: &[u32],
        config: &GenerationConfig,
        policy: &mut dyn LayerPolicy,
    ) -> Result<Self> {
        let mut observer = (Usage::default(), Recorder::new(0));
        let hooks = Hooks::new(policy).observer(&mut observer);
        let output = generate(model, &[prompt.to_vec()], config, hooks)?;
        let (usage, trace) = observer;
        Ok(Self {
            policy: policy.name().to_owned(),
            output,
            usage,
            trace,
        })
    }

    fn row(&self) -> String {
        let layers = |layers: Option<f64>| layers.map_or("–".to_owned(), |n| format!("{n:.1}"));
        let percent = |share: Option<f64>| {
            share.map_or("–".to_owned(), |share| format!("{:.0} %", 100.0 * share))
        };
        let passes = self.output.n_decode_passes.max(1) as f64;
        let Usage { prompt, response } = &self.usage;
        format!(
            "{:12} {:>9}{:>9} {:>9}{:>9} {:>12.2} {:>14.3}",
            self.policy,
            layers(prompt.executed_per_pass()),
            layers(response.executed_per_pass()),
            percent(prompt.mean()),
            percent(response.mean()),
            1e3 * self.output.prefill_time.as_secs_f64(),
            1e3 * self.output.decode_time.as_secs_f64() / passes,
        )
    }
}

/// How text becomes tokens and back.
enum Text {
    Tokenizer(Box<Tokenizer>),
    /// Every byte is a token: the random model needs no more.
    Bytes,
}

impl Text {
    fn prompt(&self, prompt: &str, raw: bool) -> Result<Vec<u32>> {
        match self {
            Text::Bytes => Ok(prompt.bytes().map(u32::from).collect()),
            Text::Tokenizer(tokenizer) if raw || !tokenizer.has_chat_template() => {
                Ok(tokenizer.encode_prompt(prompt, PromptKind::Raw)?)
            }
            Text::Tokenizer(tokenizer) => {
                let messages = [Message::new("user", prompt)];
                let rendered = tokenizer.render_chat(&messages, &ChatOptions::default())?;
                Ok(tokenizer.encode_prompt(&rendered, PromptKind::Rendered)?)
            }
        }
    }

    fn stop_tokens(&self) -> Vec<u32> {
        match self {
            Text::Bytes => Vec::new(),
            Text::Tokenizer(tokenizer) => tokenizer.stop_ids().to_vec(),
        }
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        Ok(match self {
            Text::Bytes => bytes(ids).escape_ascii().to_string(),
            Text::Tokenizer(tokenizer) => tokenizer.decode(ids, SpecialTokensInText::Skip)?,
        })
    }

    fn pieces(&self, trace: &PhaseTrace) -> Vec<String> {
        match self {
            Text::Bytes => bytes(&trace.token_ids)
                .iter()
                .map(|byte| byte.escape_ascii().to_string())
                .collect(),
            Text::Tokenizer(tokenizer) => tokenizer.pieces(&trace.token_ids),
        }
    }
}

fn bytes(ids: &[u32]) -> Vec<u8> {
    ids.iter().map(|&id| id as u8).collect()
}

fn load(path: &PathBuf, device: &Device) -> Result<(Decoder, Text)> {
    let folder = ModelFolder::open(path)?;
    let tokenizer = folder.tokenizer()?;
    let model = folder.load(WeightDtype::F32, device, &mut |_| {})?;
    Ok((model, Text::Tokenizer(Box::new(tokenizer))))
}

/// Twelve layers of random weights over 256 byte tokens, with a head of its own: a tied one would
/// repeat its input for ever.
fn random_model(device: &Device) -> Result<Decoder> {
    let config = ModelConfig::from_json(
        r#"{"model_type": "qwen2", "vocab_size": 256, "hidden_size": 128, "intermediate_size": 384,
            "num_hidden_layers": 12, "num_attention_heads": 8, "num_key_value_heads": 4,
            "max_position_embeddings": 512, "tie_word_embeddings": false}"#,
        "the built-in configuration".as_ref(),
    )?;
    let model = dummy_model(&config.decoder, WeightDtype::F32, device, 1)?;
    debug_assert_eq!(model.vocab_size(), 256);
    Ok(model)
}
