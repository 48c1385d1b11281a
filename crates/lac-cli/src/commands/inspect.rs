//! `lac inspect`: what a model folder holds, without loading its weights.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use lac_models::{
    DecoderConfig, ModelFolder,
    decoder::{HeadKind, ProjectionBias, RopeScaling},
};
use serde::Serialize;

use crate::model_path::LocalModel;
use crate::output::{print_line, write_json};

/// Show a model's shape, its weights and its tokenizer, without loading the weights
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac inspect --model ./Qwen2.5-0.5B-Instruct\n  lac inspect --model DIR --json | jq .layers"
)]
pub struct Inspect {
    /// Folder in Hugging Face layout, an id on the Hugging Face hub, or demo
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    architecture: &'static str,
    parameters: u64,
    layers: usize,
    hidden_size: usize,
    intermediate_size: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    vocab_size: usize,
    max_context: usize,
    rope: String,
    sliding_window: Option<usize>,
    tied_head: bool,
    biases: String,
    weights: Weights,
    tokenizer: Option<TokenizerReport>,
}

#[derive(Serialize)]
struct Weights {
    files: usize,
    tensors: usize,
    bytes: u64,
    dtypes: BTreeMap<String, usize>,
}

#[derive(Serialize)]
struct TokenizerReport {
    tokens: usize,
    bos: Option<String>,
    stop: Vec<String>,
    chat_template: bool,
}

impl Inspect {
    pub fn run(&self) -> Result<()> {
        let local = LocalModel::find(&self.model)?;
        let folder = ModelFolder::open(local.path())?;
        let checkpoint = folder.checkpoint()?;
        // A folder without a tokenizer can still be run by token ids.
        let tokenizer = if folder.path().join("tokenizer.json").exists() {
            Some(folder.tokenizer()?)
        } else {
            None
        };
        let config = &folder.config().decoder;
        let report = Report {
            architecture: folder.config().architecture.model_type(),
            parameters: config.n_parameters(),
            layers: config.n_layers,
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            heads: config.n_heads,
            kv_heads: config.n_kv_heads,
            head_dim: config.head_dim,
            vocab_size: config.vocab_size,
            max_context: config.max_position_embeddings,
            rope: rope(config),
            sliding_window: config.sliding_window,
            tied_head: config.head == HeadKind::Tied,
            biases: biases(config),
            weights: Weights {
                files: checkpoint.n_shards(),
                tensors: checkpoint.n_tensors(),
                bytes: checkpoint.n_bytes(),
                dtypes: checkpoint.dtypes(),
            },
            tokenizer: tokenizer.map(|tokenizer| TokenizerReport {
                tokens: tokenizer.vocab_size(),
                bos: tokenizer.bos_id().and_then(|id| tokenizer.id_to_piece(id)),
                stop: tokenizer.pieces(tokenizer.stop_ids()),
                chat_template: tokenizer.has_chat_template(),
            }),
        };
        if self.json {
            return write_json("-".as_ref(), &report);
        }
        print(&report)
    }
}

fn print(report: &Report) -> Result<()> {
    let dtypes: Vec<String> = report
        .weights
        .dtypes
        .iter()
        .map(|(dtype, count)| format!("{count} {dtype}"))
        .collect();
    let mut lines = vec![
        ("architecture", report.architecture.to_owned()),
        ("parameters", report.parameters.to_string()),
        ("layers", report.layers.to_string()),
        (
            "hidden",
            format!("{} (MLP {})", report.hidden_size, report.intermediate_size),
        ),
        (
            "heads",
            format!(
                "{} of {}, {} for keys and values",
                report.heads, report.head_dim, report.kv_heads
            ),
        ),
        ("vocabulary", report.vocab_size.to_string()),
        ("context", report.max_context.to_string()),
        ("positions", report.rope.clone()),
        (
            "window",
            report
                .sliding_window
                .map_or("none".to_owned(), |window| window.to_string()),
        ),
        (
            "head",
            if report.tied_head {
                "the embedding"
            } else {
                "its own"
            }
            .to_owned(),
        ),
        ("biases", report.biases.clone()),
        (
            "weights",
            format!(
                "{} tensors in {} file(s), {} bytes ({})",
                report.weights.tensors,
                report.weights.files,
                report.weights.bytes,
                dtypes.join(", ")
            ),
        ),
    ];
    match &report.tokenizer {
        None => lines.push(("tokenizer", "none".to_owned())),
        Some(tokenizer) => lines.push((
            "tokenizer",
            format!(
                "{} tokens, begins with {}, ends at {}, {} chat template",
                tokenizer.tokens,
                tokenizer.bos.as_deref().unwrap_or("nothing"),
                tokenizer.stop.join(" "),
                if tokenizer.chat_template { "a" } else { "no" },
            ),
        )),
    }
    for (name, value) in lines {
        print_line(&format!("{name:<13}{value}"))?;
    }
    Ok(())
}

fn rope(config: &DecoderConfig) -> String {
    let theta = config.rope.theta;
    match &config.rope.scaling {
        RopeScaling::None => format!("rotary, theta {theta}"),
        RopeScaling::Linear { factor } => format!("rotary, theta {theta}, linear by {factor}"),
        RopeScaling::Llama3 { factor, .. } => format!("rotary, theta {theta}, llama3 by {factor}"),
        other => format!("rotary, theta {theta}, {other:?}"),
    }
}

fn biases(config: &DecoderConfig) -> String {
    let parts = [
        (config.qkv_bias, "q k v"),
        (config.o_bias, "o"),
        (config.mlp_bias, "mlp"),
    ];
    let present: Vec<&str> = parts
        .into_iter()
        .filter(|(bias, _)| *bias == ProjectionBias::Present)
        .map(|(_, name)| name)
        .collect();
    if present.is_empty() {
        "none".to_owned()
    } else {
        present.join(" ")
    }
}
