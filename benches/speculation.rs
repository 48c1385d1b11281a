//! What speculation gives on the embedded model, by kind of prompt.
//!
//! `cargo bench -p lac-benches --bench speculation` searches for plans to draft with on some
//! prompts, then generates greedily on others with and without speculation, in turns and in
//! changing order, and prints acceptance, draft cost, the bound that follows from both, and the
//! measured speed-up of decoding. Every text is compared with the plain one: the program fails at
//! a difference.
//!
//! `LAC_BENCH_PROMPTS` sets the number of prompts of each kind, `LAC_BENCH_DEVICE` the device.

use std::error::Error;
use std::time::{Duration, Instant};

use lac_core::{
    CausalLm, GateConfig, GenerateArgs, GenerationConfig, Off, Pass, Phase, Trace, generate,
    generation::{Flow, forward_hidden},
    plan::{Granularity, Keep, PhasePlan, PlanLearner, Ranking, Selection},
    speculation::{
        AgreementSearch, CalibrationText, DraftLength, FollowConfig, PlanUpdates, SearchStep,
        SpeculateArgs, SpeculationConfig, SpeculationStats, Speculator, generate_speculative,
        search_by_agreement, speed_up_bound,
    },
};
use lac_models::{
    AddSpecialTokens, ChatMessage, ChatOptions, Decoder, ModelFolder, Tokenizer, WeightDtype,
};

type AnyResult<T> = Result<T, Box<dyn Error + Send + Sync>>;

const NEW_TOKENS: usize = 48;
const N_CALIBRATION: usize = 8;

/// α under which the embedded model keeps its answers.
const ALPHA: f32 = 0.4;

struct Kind {
    name: &'static str,
    prompts: Vec<Vec<u32>>,
    calibration: Vec<CalibrationText>,
}

fn main() -> AnyResult<()> {
    if lac_benches::is_test() {
        return Ok(());
    }
    let n_prompts = lac_benches::env_number("LAC_BENCH_PROMPTS", 70)?;
    let device = lac_benches::env_device()?;
    let unpacked = tempfile::TempDir::new()?;
    lac_demo::unpack(lac_demo::model_files(), unpacked.path())?;
    let folder = ModelFolder::open(unpacked.path())?;
    let model = folder.load(WeightDtype::F32, &device, &mut |_| {})?;
    let tokenizer = folder.tokenizer()?;
    let config =
        GenerationConfig::greedy(NEW_TOKENS).with_stop_tokens(tokenizer.stop_ids().to_vec());

    passes(&model)?;
    let kinds = kinds(&model, &tokenizer, &config, n_prompts)?;
    let calibration: Vec<CalibrationText> = kinds
        .iter()
        .flat_map(|kind| kind.calibration.clone())
        .collect();
    let plans = plans(&model, &calibration)?;
    println!();
    println!(
        "{:9} {:24} {:8} {:>6} {:>8} {:>8} {:>7} {:>6} {:>6} {:>6} {:>6}",
        "prompts",
        "drafts with",
        "length",
        "tokens",
        "drafted",
        "accepted",
        "judged",
        "a pass",
        "cost",
        "bound",
        "speed"
    );
    for kind in &kinds {
        let lengths = [DraftLength::Fixed(3), DraftLength::Adaptive { at_most: 8 }];
        for ((name, plan, is_following), draft_length) in plans
            .iter()
            .flat_map(|plan| lengths.map(|length| (plan, length)))
        {
            let config_of = SpeculationConfig::default()
                .with_draft_length(draft_length)
                .with_gate(is_following.then(|| GateConfig::new(ALPHA)))
                .with_plan_updates(if *is_following {
                    PlanUpdates::Follow(FollowConfig::default())
                } else {
                    PlanUpdates::Fixed
                });
            let mut speculator = Speculator::new(plan.clone(), config_of)?;
            let (stats, speed) = compare(&model, &kind.prompts, &config, &mut speculator)?;
            let number = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.2}"));
            println!(
                "{:9} {name:24} {:8} {:6} {:8} {:>8} {:>7} {:>6} {:>6} {:>6} {speed:6.2}",
                kind.name,
                match draft_length {
                    DraftLength::Fixed(n_tokens) => format!("always {n_tokens}"),
                    DraftLength::Adaptive { .. } => "adaptive".to_owned(),
                },
                stats.n_tokens,
                stats.n_drafted,
                number(stats.accepted_share()),
                number(stats.acceptance_rate()),
                number(stats.tokens_per_pass()),
                number(stats.draft_cost()),
                number(stats.bound()),
            );
        }
    }
    Ok(())
}

/// What a pass over several tokens costs against one over one: the ceiling of any draft.
fn passes(model: &Decoder) -> AnyResult<()> {
    const ROUNDS: usize = 60;
    let lengths = [1usize, 2, 3, 4, 5, 7, 9];
    let mut times = vec![Vec::new(); lengths.len()];
    let mut context = model.new_context(1, 128);
    let prompt: Vec<u32> = (10..100).collect();
    let step = |context: &mut _, pass: &Pass| -> AnyResult<()> {
        let out = forward_hidden(model, pass, context, &mut Off)?;
        model.logits(out.hidden).try_into_vec_as::<f32>()?;
        Ok(())
    };
    step(&mut context, &Pass::prompt(&[&prompt], 0)?)?;
    for _ in 0..ROUNDS {
        for (length, times) in lengths.iter().zip(&mut times) {
            let pass = Pass::response(prompt.len(), vec![7; *length]);
            let start = Instant::now();
            step(&mut context, &pass)?;
            times.push(start.elapsed());
        }
    }
    let times: Vec<Duration> = times.into_iter().map(lac_benches::median).collect();
    println!("tokens of a pass, µs, against one of one token, and tokens a unit of time");
    for (length, time) in lengths.iter().zip(&times) {
        let ratio = time.as_secs_f64() / times[0].as_secs_f64();
        println!(
            "{length:3} {:8.0} {ratio:6.2} {:6.2}",
            1e6 * time.as_secs_f64(),
            *length as f64 / ratio
        );
    }
    Ok(())
}

/// Plans to draft with, by name, and whether they follow the text.
fn plans(model: &Decoder, texts: &[CalibrationText]) -> AnyResult<Vec<(String, PhasePlan, bool)>> {
    let n_layers = model.config().n_layers;
    let mut plans = Vec::new();
    for (name, units) in [
        ("layers", Granularity::Layers),
        ("parts", Granularity::Sublayers),
    ] {
        let search = AgreementSearch::new(units).with_least_agreement(0.2);
        let start = Instant::now();
        let steps = search_by_agreement(model, texts, &search, &mut |_| Flow::Continue)?;
        println!("\nsearched by agreement, {name}, {:.0?}:", start.elapsed());
        for step in &steps {
            println!(
                "{:5.1} of {n_layers}: agreement {:.3}, bound {:.2}; {}",
                step.plan.executed_layers(),
                step.agreement,
                bound(step),
                picture(&step.plan)
            );
        }
        let best = steps.iter().max_by(|a, b| bound(a).total_cmp(&bound(b)));
        if let Some(best) = best {
            let name = format!("agreement, {:.1} {name}", best.plan.executed_layers());
            plans.push((name, best.plan.clone(), false));
        }
    }
    let mut learner = PlanLearner::default();
    let mut policy = Trace::new(GateConfig::new(ALPHA));
    let greedy = GenerationConfig::greedy(NEW_TOKENS);
    for text in texts {
        let hooks = GenerateArgs::new(&mut policy).observer(&mut learner);
        generate(model, &[text.ids[..text.n_prompt].to_vec()], &greedy, hooks)?;
    }
    for n_kept in [6, 9] {
        let selection = Selection {
            by: Ranking::Usage,
            keep: Keep::Layers(n_kept),
        };
        let plan = learner.choose(Phase::Response, selection, Granularity::Layers)?;
        plans.push((format!("usage, {n_kept} layers"), plan, false));
    }
    plans.push((
        "following the text".to_owned(),
        PhasePlan::full(n_layers),
        true,
    ));
    Ok(plans)
}

/// With layers taken to be all the cost there is.
fn bound(step: &SearchStep) -> f64 {
    speed_up_bound(step.agreement, step.plan.executed_share())
}

/// A mark per layer: whole, attention or MLP alone, nothing.
fn picture(plan: &PhasePlan) -> String {
    plan.decisions()
        .iter()
        .map(|decision| match decision {
            lac_core::Decision::Run => '█',
            lac_core::Decision::SkipMlp => 'A',
            lac_core::Decision::SkipAttention => 'M',
            lac_core::Decision::Skip => '·',
        })
        .collect()
}

/// Generates with and without speculation; returns what it took and the speed-up of decoding.
fn compare(
    model: &Decoder,
    prompts: &[Vec<u32>],
    config: &GenerationConfig,
    speculator: &mut Speculator,
) -> AnyResult<(SpeculationStats, f64)> {
    let mut stats = SpeculationStats::default();
    let (mut plain_time, mut speculative_time) = (Duration::ZERO, Duration::ZERO);
    for (idx, prompt) in prompts.iter().enumerate() {
        let prompt = std::slice::from_ref(prompt);
        let plain = || generate(model, prompt, config, GenerateArgs::new(&mut Off));
        let mut speculative =
            || generate_speculative(model, prompt, config, SpeculateArgs::new(speculator));
        let (plain, speculative) = if idx % 2 == 0 {
            let plain = plain()?;
            (plain, speculative()?)
        } else {
            let speculative = speculative()?;
            (plain()?, speculative)
        };
        if plain.rows != speculative.generation.rows {
            return Err(format!("the text of prompt {idx} differs").into());
        }
        plain_time += plain.decode_time;
        speculative_time += speculative.generation.decode_time;
        stats.merge(&speculative.stats);
    }
    let speed = plain_time.as_secs_f64() / speculative_time.as_secs_f64();
    Ok((stats, speed))
}

/// Prompts of each kind, and others of the same kind to calibrate on.
fn kinds(
    model: &Decoder,
    tokenizer: &Tokenizer,
    config: &GenerationConfig,
    n_prompts: usize,
) -> AnyResult<Vec<Kind>> {
    let chat = |message: &str| -> AnyResult<Vec<u32>> {
        let messages = [ChatMessage::new("user", message)];
        Ok(tokenizer
            .encode_chat(&messages, &ChatOptions::default())?
            .ids)
    };
    let n_all = n_prompts + N_CALIBRATION;
    let stories = lac_demo::yes_no_questions()?;
    let choices = lac_demo::choices()?;
    let pick = |idx: usize, len: usize| (idx * len / n_all).min(len - 1);
    let mut questions = Vec::new();
    let mut telling = Vec::new();
    let mut continued = Vec::new();
    for idx in 0..n_all {
        let story = &stories[pick(idx, stories.len())];
        let name = story.title.split_whitespace().next().unwrap_or("Modo");
        questions.push(chat(&choices[pick(idx, choices.len())].prompt())?);
        telling.push(chat(&format!("Tell me about {name}."))?);
        let half = story.passage.len() / 2;
        let half = story.passage[half..]
            .find(' ')
            .map_or(half, |space| half + space);
        continued.push(tokenizer.encode(&story.passage[..half], AddSpecialTokens::Once)?);
    }
    [
        ("questions", questions),
        ("telling", telling),
        ("stories", continued),
    ]
    .into_iter()
    .map(|(name, all)| {
        let (mut prompts, mut calibration) = (Vec::new(), Vec::new());
        for (idx, prompt) in all.into_iter().enumerate() {
            // Evenly spread over the sets, as the others are.
            let is_calibration = idx * N_CALIBRATION % n_all < N_CALIBRATION;
            if is_calibration {
                calibration.push(prompt)
            } else {
                prompts.push(prompt)
            }
        }
        let calibration = calibration
            .into_iter()
            .map(|prompt| {
                let prompts = std::slice::from_ref(&prompt);
                let out = generate(model, prompts, config, GenerateArgs::new(&mut Off))?;
                let n_prompt = prompt.len();
                let ids = [prompt, out.rows[0].ids.clone()].concat();
                Ok(CalibrationText { ids, n_prompt })
            })
            .collect::<AnyResult<_>>()?;
        Ok(Kind {
            name,
            prompts,
            calibration,
        })
    })
    .collect()
}
