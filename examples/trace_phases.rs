//! A chat, traced into a file; then the file's statistics, and a page to look at.
//!
//! ```text
//! cargo run --release --example trace_phases
//! cargo run --release --example trace_phases -- --out FOLDER --alpha 0.8
//! cargo run --release --example trace_phases -- --model DIR "Why is the sky blue?" "And at night?"
//! ```
//!
//! Every turn of the chat is a sequence of the trace: its prompt is the conversation so far, its
//! response the answer.
//!
//! Expect, after a second, the chat, the statistics and the first turn's picture in the terminal, and the
//! paths of what was written, in `target/trace_phases` unless `--out` says otherwise: the trace, and
//! `report.html` with pictures. Open the page in a browser; it works offline.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::Device;
use clap::Parser;
use lac_core::{
    GateConfig, GenerateArgs, GenerationConfig, LayerPolicy, LayerStack, Observed, Trace, generate,
    measures::Measures,
};
use lac_models::{
    AddSpecialTokens, ChatMessage, ChatOptions, DecodedSpecialTokens, Decoder, ModelFolder,
    Tokenizer, WeightDtype,
};
use lac_trace::report::{ReportConfig, TerminalConfig};
use lac_trace::{TraceInfo, TraceReader, TraceReport, TraceWriter};

/// What the embedded model is asked: it knows only its small world.
const DEMO_CHAT: [&str; 2] = ["Tell me about Kodo.", "Which tool does a tailor use?"];

/// Trace a chat, and look at the trace.
#[derive(Parser)]
struct Args {
    /// Folder in Hugging Face layout, in place of the embedded model
    #[arg(long, value_name = "DIR", requires = "turns")]
    model: Option<PathBuf>,
    /// What the user says, turn by turn
    turns: Vec<String>,
    /// Folder for the trace and the report
    #[arg(long, value_name = "DIR", default_value = "target/trace_phases")]
    out: PathBuf,
    /// The share of the range of earlier deltas that a layer's delta has to reach
    #[arg(long, default_value_t = 0.4)]
    alpha: f32,
    /// At most this many new tokens per turn
    #[arg(long, default_value_t = 60)]
    max_new_tokens: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let (name, path) = match &args.model {
        Some(path) => (path.display().to_string(), path.as_path()),
        None => {
            lac_demo::unpack(lac_demo::model_files(), folder.path())?;
            ("demo".to_owned(), folder.path())
        }
    };
    let (model, tokenizer) = load(path)?;
    let turns = match args.turns.as_slice() {
        [] => DEMO_CHAT.map(str::to_owned).to_vec(),
        turns => turns.to_vec(),
    };

    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot create {}", args.out.display()))?;
    let file = args.out.join("trace.parquet");
    record(&model, &tokenizer, &name, &turns, &args, &file)?;

    let trace = TraceReader::open(&file)?;
    let report = TraceReport::read(&[trace], &ReportConfig::default())?;
    let mut out = anstream::stdout();
    write!(out, "{}", report.to_terminal(&TerminalConfig::default()))?;
    writeln!(out, "\nwritten: {}", file.display())?;
    for path in report.write(&args.out)? {
        writeln!(out, "written: {}", path.display())?;
    }
    Ok(())
}

fn load(path: &Path) -> Result<(Decoder, Tokenizer)> {
    let folder = ModelFolder::open(path)?;
    let model = folder.load(WeightDtype::F32, &Device::flex(), &mut |_| {})?;
    Ok((model, folder.tokenizer()?))
}

/// Answers turn after turn, and records every token's layers in both phases.
fn record(
    model: &Decoder,
    tokenizer: &Tokenizer,
    name: &str,
    turns: &[String],
    args: &Args,
    file: &Path,
) -> Result<()> {
    let mut trace = Trace::new(GateConfig::new(args.alpha));
    let info = TraceInfo::new(name, model.n_layers(), &trace)?.with_machine("f32", "cpu");
    // Beside the gate's numbers: what each layer does to the direction of the state.
    let mut policy = Observed::new(&mut trace).with_measures(Measures::Layers);
    let mut recorder = TraceWriter::create(file, info)?.with_pieces(|id| tokenizer.id_to_piece(id));

    let config = GenerationConfig::greedy(args.max_new_tokens)
        .with_stop_tokens(tokenizer.stop_ids().to_vec());
    let mut messages = Vec::new();
    for (turn_idx, turn) in turns.iter().enumerate() {
        messages.push(ChatMessage::new("user", turn.as_str()));
        let prompt = prompt(tokenizer, &messages, turn)?;
        let policy: &mut dyn LayerPolicy = &mut policy;
        let hooks = GenerateArgs::new(policy).observer(&mut recorder);
        let output = generate(model, &[prompt], &config, hooks)?;
        let ids = &output.rows[0].ids;
        if let Some(&last) = ids.last() {
            recorder.unfed(turn_idx as u32, last);
        }
        let answer = tokenizer.decode(ids, DecodedSpecialTokens::Skip)?;
        println!("> {turn}\n{answer}\n");
        messages.push(ChatMessage::new("assistant", answer.as_str()));
    }
    recorder.finish()?;
    Ok(())
}

/// The conversation in the chat template; without one, the last turn as it is.
fn prompt(tokenizer: &Tokenizer, messages: &[ChatMessage], turn: &str) -> Result<Vec<u32>> {
    if !tokenizer.has_chat_template() {
        return Ok(tokenizer.encode(turn, AddSpecialTokens::Once)?);
    }
    Ok(tokenizer
        .encode_chat(messages, &ChatOptions::default())?
        .ids)
}
