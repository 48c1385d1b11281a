//! The main job: answer with the full model and with its voids skipped, and say what that did to
//! the text, to the accuracy, to the layers and to the time.
//!
//! ```text
//! cargo run --example skip_voids
//! cargo run --example skip_voids -- --prompt "Which tool does a baker use?"
//! cargo run --release --example skip_voids -- --model DIR --prompt "Why is the sky blue?"
//! cargo run --release --example skip_voids -- --model DIR --raw --prompt "Once upon a time" --alpha 0.5
//! ```
//!
//! Without `--model` it runs the small trained model that lac carries, and scores it on the
//! benchmark sets that lac carries, with and without voids. What it prints is the same in every
//! run; times, which never are, go to stderr.
//!
//! Expect the answer under every policy (nonsense where voids are bypassed or layers not run, and in
//! its first words under last-active), a picture of the layers for each phase, the layers executed and
//! flagged, and after some seconds the right answers to a hundred questions of each set: at α = 0.4
//! last-active keeps nearly all of them, at 0.8 it loses half or more, and bypass loses nearly all at
//! either. Plans that run 11, 9 and 6 of the 12 layers lie between.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use burn::tensor::Device;
use clap::Parser;
use lac_core::{
    Bypass, GateConfig, GenerateArgs, GenerationConfig, Halt, LastActive, LayerPolicy, Off, Phase,
    Planned, SkippedKeys, Trace, Usage, generate,
    generation::GenerationOutput,
    plan::{Granularity, Keep, PlanLearner, Ranking, Selection},
    usage::PhaseUsage,
};
use lac_eval::exact_match::{ExactMatch, Exercise, exact_match};
use lac_examples::{chat_prompt, demo_model};
use lac_models::{
    AddSpecialTokens, DecodedSpecialTokens, Decoder, ModelFolder, Tokenizer, WeightDtype,
};
use lac_trace::{Recorder, Style, heat_map};

/// What the embedded model is asked: a person of its world.
const DEMO_PROMPT: &str = "Tell me about Kodo.";

/// How many questions of each embedded set are answered under each policy.
const N_QUESTIONS: usize = 100;

/// Answer with the full model and with its voids skipped.
#[derive(Parser)]
struct Args {
    /// Folder in Hugging Face layout, in place of the embedded model
    #[arg(long, value_name = "DIR", requires = "prompt")]
    model: Option<PathBuf>,
    /// The prompt; the embedded model knows only its small world
    #[arg(long)]
    prompt: Option<String>,
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
    let (model, tokenizer) = load(args.model.as_ref())?;
    let prompt = args.prompt.as_deref().unwrap_or(DEMO_PROMPT);
    answer(&model, &tokenizer, prompt, &args)?;
    if args.model.is_none() {
        score(&model, &tokenizer)?;
    }
    let mut out = anstream::stdout();
    writeln!(
        out,
        "\nMasking (last-active, bypass) runs every layer: it saves no time by construction."
    )?;
    Ok(())
}

/// Loads the model and its tokenizer from a folder, or the embedded ones.
fn load(folder: Option<&PathBuf>) -> Result<(Decoder, Tokenizer)> {
    let Some(path) = folder else {
        return demo_model();
    };
    let folder = ModelFolder::open(path)?;
    let model = folder.load(WeightDtype::F32, &Device::flex(), &mut |_| {})?;
    Ok((model, folder.tokenizer()?))
}

/// Everything that can be done with a gate's verdict, the full model first.
fn policies(alpha: f32) -> Vec<Box<dyn LayerPolicy>> {
    let gate = GateConfig::new(alpha);
    vec![
        Box::new(Off),
        Box::new(Trace::new(gate)),
        Box::new(LastActive::new(gate)),
        Box::new(Bypass::new(gate)),
        Box::new(Halt::new(gate)),
    ]
}

/// One prompt: the texts, the picture, the layers and the times.
fn answer(model: &Decoder, tokenizer: &Tokenizer, prompt: &str, args: &Args) -> Result<()> {
    let ids = if args.raw || !tokenizer.has_chat_template() {
        tokenizer.encode(prompt, AddSpecialTokens::Once)?
    } else {
        chat_prompt(tokenizer, prompt)?
    };
    let config = GenerationConfig::greedy(args.max_new_tokens)
        .with_stop_tokens(tokenizer.stop_ids().to_vec());
    // The first run pays for cold caches and thread pools: it is not counted.
    Run::new(model, &ids, &config, &mut Off)?;
    let runs = policies(args.alpha)
        .iter_mut()
        .map(|policy| Run::new(model, &ids, &config, policy.as_mut()))
        .collect::<Result<Vec<_>>>()?;

    let mut out = anstream::stdout();
    writeln!(out, "== prompt\n{prompt}\n")?;
    for run in runs.iter().filter(|run| run.policy != "trace") {
        let title = match run.policy.as_str() {
            "off" => "full model".to_owned(),
            policy => format!("voids skipped by {policy} at alpha {}", args.alpha),
        };
        let text = tokenizer.decode(&run.output.rows[0].ids, DecodedSpecialTokens::Skip)?;
        writeln!(out, "== {title}\n{text}\n")?;
    }
    let traced = runs
        .iter()
        .find(|run| run.policy == "trace")
        .context("trace was run")?;
    for (phase, trace) in [
        ("prompt", &traced.trace.phases.prompt),
        ("response", &traced.trace.phases.response),
    ] {
        let pieces = tokenizer.pieces(&trace.token_ids);
        let picture = heat_map(trace, &pieces, Style::Coloured);
        writeln!(
            out,
            "== {phase}: which layers work on which token (█ active, · void)\n{picture}"
        )?;
    }

    // Three different numbers: a flagged layer may have been run, and a run layer costs its time
    // whatever its flag.
    writeln!(out, "== layers for this prompt\n{:18}{HEADER}", "policy")?;
    for run in &runs {
        writeln!(out, "{:18}{}", run.policy, layers(&run.usage))?;
    }
    writeln!(out)?;
    eprintln!("== time for this prompt, ms: the prompt, and each new token");
    for run in &runs {
        let n_passes = run.output.n_decode_passes.max(1) as f64;
        eprintln!(
            "{:12} {:9.2} {:9.3}",
            run.policy,
            1e3 * run.output.prefill_time.as_secs_f64(),
            1e3 * run.output.decode_time.as_secs_f64() / n_passes,
        );
    }
    eprintln!();
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
        let hooks = GenerateArgs::new(policy).observer(&mut observer);
        let output = generate(model, &[prompt.to_vec()], config, hooks)?;
        let (usage, trace) = observer;
        Ok(Self {
            policy: policy.name().to_owned(),
            output,
            usage,
            trace,
        })
    }
}

/// The α under which the embedded sets are answered.
const ALPHAS: [f32; 2] = [0.4, 0.8];

/// How many of its twelve layers the planned model runs.
const PLANNED_LAYERS: [usize; 3] = [11, 9, 6];

/// The embedded benchmark sets under every policy.
fn score(model: &Decoder, tokenizer: &Tokenizer) -> Result<()> {
    let sets = sets(tokenizer)?;
    let mut out = anstream::stdout();
    writeln!(
        out,
        "== right answers to {N_QUESTIONS} questions of each set, and the layers they took"
    )?;
    write!(out, "{:18}", "policy, alpha")?;
    for (name, _) in &sets {
        write!(out, "{name:>12}")?;
    }
    writeln!(out, "  {HEADER}")?;
    eprintln!("== time for all these questions, s");
    let mut rows: Vec<(String, Box<dyn LayerPolicy>)> = vec![("off".into(), Box::new(Off))];
    for alpha in ALPHAS {
        for policy in policies(alpha) {
            // Neither the full model nor a trace depends on alpha.
            if !["off", "trace"].contains(&policy.name()) {
                rows.push((format!("{}, {alpha}", policy.name()), policy));
            }
        }
    }
    rows.sort_by_key(|(name, _)| name.split(',').next().map(order));
    let learner = learn(model, tokenizer)?;
    for n_layers in PLANNED_LAYERS {
        let name = format!("planned, {n_layers} layers");
        rows.push((name, Box::new(planned(&learner, n_layers)?)));
    }
    for (name, policy) in &mut rows {
        write!(out, "{name:18}")?;
        let mut usage = Usage::default();
        let mut seconds = 0.0;
        for (_, exercises) in &sets {
            let result: ExactMatch = exact_match(
                model,
                exercises,
                tokenizer.stop_ids(),
                BATCH_SIZE,
                policy.as_mut(),
            )?;
            write!(out, "{:>12}", result.n_right())?;
            usage.merge(&result.usage);
            seconds += (result.prefill_time + result.decode_time).as_secs_f64();
        }
        writeln!(out, "  {}", layers(&usage))?;
        eprintln!("{name:18} {seconds:9.2}");
    }
    Ok(())
}

/// Traces answers to questions that are not scored.
fn learn(model: &Decoder, tokenizer: &Tokenizer) -> Result<PlanLearner> {
    let choices = lac_demo::choices()?;
    let yes_no = lac_demo::yes_no_questions()?;
    let prompts = choices
        .iter()
        .map(|item| item.prompt())
        .skip(1)
        .step_by(40)
        .chain(yes_no.iter().map(|item| item.prompt()).skip(1).step_by(30));
    let mut learner = PlanLearner::default();
    let mut policy = Trace::new(GateConfig::new(ALPHAS[0]));
    let config = GenerationConfig::greedy(4).with_stop_tokens(tokenizer.stop_ids().to_vec());
    for prompt in prompts {
        let hooks = GenerateArgs::new(&mut policy).observer(&mut learner);
        generate(model, &[chat_prompt(tokenizer, &prompt)?], &config, hooks)?;
    }
    Ok(learner)
}

/// Runs the layers that were most used, and no others.
fn planned(learner: &PlanLearner, n_layers: usize) -> Result<Planned> {
    let selection = Selection {
        by: Ranking::Usage,
        keep: Keep::Layers(n_layers),
    };
    let [prompt, response] = [Phase::Prompt, Phase::Response]
        .map(|phase| learner.choose(phase, selection, Granularity::Layers));
    let gate = GateConfig::new(ALPHAS[0]);
    Ok(Planned::from_phases(prompt?, response?, SkippedKeys::Fill).with_gate(gate))
}

/// The place of a policy in the table.
fn order(policy: &str) -> usize {
    ["off", "last-active", "bypass", "halt"]
        .iter()
        .position(|name| *name == policy)
        .unwrap_or(usize::MAX)
}

/// Questions answered side by side.
const BATCH_SIZE: usize = 20;

/// A set's name and its questions.
type NamedSet = (&'static str, Vec<Exercise>);

/// An evenly spaced selection of each embedded set.
fn sets(tokenizer: &Tokenizer) -> Result<[NamedSet; 3]> {
    let exercises = |all: Vec<(String, String)>| -> Result<Vec<Exercise>> {
        let step = (all.len() / N_QUESTIONS).max(1);
        all.iter()
            .step_by(step)
            .take(N_QUESTIONS)
            .map(|(prompt, answer)| {
                Ok(Exercise {
                    prompt: chat_prompt(tokenizer, prompt)?,
                    answer: tokenizer.encode(answer, AddSpecialTokens::Never)?,
                })
            })
            .collect()
    };
    let choice = |item: &lac_demo::Choice| (item.prompt(), item.letter().to_string());
    let yes_no = |item: &lac_demo::YesNo| (item.prompt(), item.word().to_owned());
    Ok([
        (
            "mmlu-like",
            exercises(lac_demo::choices()?.iter().map(choice).collect())?,
        ),
        (
            "gpqa-like",
            exercises(lac_demo::hard_choices()?.iter().map(choice).collect())?,
        ),
        (
            "boolq-like",
            exercises(lac_demo::yes_no_questions()?.iter().map(yes_no).collect())?,
        ),
    ])
}

const HEADER: &str = "executed: prompt, response  active: prompt, response";

/// Layers that were run per pass, and the share flagged active, per phase.
fn layers(usage: &Usage) -> String {
    let executed = |phase: &PhaseUsage| {
        phase
            .executed_per_pass()
            .map_or("–".to_owned(), |n| format!("{n:.1}"))
    };
    let active = |phase: &PhaseUsage| {
        phase
            .mean()
            .map_or("–".to_owned(), |share| format!("{:.0} %", 100.0 * share))
    };
    let Usage { prompt, response } = usage;
    format!(
        "{:>16} {:>9} {:>15} {:>9}",
        executed(prompt),
        executed(response),
        active(prompt),
        active(response)
    )
}
