//! The same numbers, however the work is cut.

use burn::tensor::{Tensor, TensorData};
use lac_core::{
    BoxError, Bypass, CausalLm, GateConfig, Halt, LastActive, LayerPolicy, LayerStep, NextState,
    Off, Pass, Trace,
    generation::{Flow, Sampling, SamplingConfig},
};
use lac_eval::released_code::Quirk;
use lac_eval::results::Record;
use lac_eval::{
    Benchmark, HarnessTask, ItemSelection, PolicyRun, PromptSettings, ResultLog, evaluate, requests,
};
use lac_models::AddSpecialTokens;

use crate::{Plain, evaluation, limit, load, model, policy_run, settings};

/// Batches and padding change the order of sums, and with it the last bits.
const TOLERANCE: f64 = 2e-4;

fn run<M: CausalLm>(
    model: &M,
    benchmark: Benchmark,
    prompt: &PromptSettings,
    selection: &ItemSelection,
    runs: &mut [PolicyRun],
    batch_size: usize,
) -> Vec<Record> {
    let (_, tokenizer) = crate::model();
    let data = load(benchmark);
    let requests = requests(&data, selection, prompt, &tokenizer, Some(512)).unwrap();
    let mut log = ResultLog::in_memory(settings(&data, prompt, runs));
    let evaluation = evaluation(&requests, prompt, &tokenizer, batch_size);
    evaluate(model, &evaluation, runs, &mut log, &mut |_| Flow::Continue).unwrap();
    let mut records = log.into_results().records;
    records.sort_by(|a, b| (&a.settings, a.row).cmp(&(&b.settings, b.row)));
    records
}

fn same(a: &[Record], b: &[Record], name: &str) {
    assert_eq!(a.len(), b.len(), "{name}");
    for (a, b) in a.iter().zip(b) {
        assert_eq!(
            (&a.item, a.answer, &a.order),
            (&b.item, b.answer, &b.order),
            "{name}"
        );
        assert_eq!(
            (a.predicted, &a.text),
            (b.predicted, &b.text),
            "{name}, row {}",
            a.row
        );
        for (phase_a, phase_b) in [
            (&a.usage.prompt, &b.usage.prompt),
            (&a.usage.response, &b.usage.response),
        ] {
            assert_eq!(phase_a.tokens, phase_b.tokens, "{name}, row {}", a.row);
            // A delta may lie within rounding of its threshold.
            for (count_a, count_b) in phase_a.active.iter().zip(&phase_b.active) {
                assert!(
                    count_a.abs_diff(*count_b) <= 1,
                    "{name}: {phase_a:?}, {phase_b:?}"
                );
            }
        }
        let values = |record: &Record| record.log_likelihoods.clone().unwrap_or_default();
        for (x, y) in values(a).iter().zip(values(b)) {
            assert!(
                (x - y).abs() < TOLERANCE,
                "{name}, row {}: {x} against {y}",
                a.row
            );
        }
    }
}

fn policies() -> Vec<PolicyRun> {
    let gate = GateConfig::new(0.3);
    vec![
        policy_run(Off),
        policy_run(Bypass::new(gate)),
        policy_run(Halt::new(gate)),
    ]
}

/// Letters (one token each), with and without examples before them, and texts of several tokens.
#[test]
fn batches_caches_and_padding_change_nothing() {
    let (model, _) = model();
    let (plain, _) = crate::model();
    let plain = Plain(plain);
    for (task, few_shot) in [
        (HarnessTask::Mmlu, 2),
        (HarnessTask::MmluContinuation, 2),
        (HarnessTask::GpqaZeroshot, 0),
    ] {
        let prompt = PromptSettings::lm_eval(task, few_shot);
        let benchmark = task.benchmark();
        let name = format!("{task:?}, {few_shot}-shot");
        // Two subjects only: so that questions share their examples.
        let subjects = match benchmark {
            Benchmark::Mmlu => vec!["jobs".to_owned(), "reading".to_owned()],
            _ => Vec::new(),
        };
        let selection = ItemSelection {
            subjects,
            ..limit(3)
        };
        let records = |batch_size| {
            run(
                &model,
                benchmark,
                &prompt,
                &selection,
                &mut policies(),
                batch_size,
            )
        };
        let one = records(1);
        assert_eq!(one.len(), 3 * 3, "{name}");
        same(&records(16), &one, &name);
        let whole = run(&plain, benchmark, &prompt, &selection, &mut policies(), 4);
        same(&whole, &one, &format!("{name}, without repeated contexts"));
    }
}

#[test]
fn several_alphas_from_one_pass_are_those_of_one_pass_each() {
    let (model, _) = model();
    let alphas = [0.0, 0.2, 0.4, 0.8];
    for task in [HarnessTask::Mmlu, HarnessTask::GpqaZeroshot] {
        let prompt = PromptSettings::lm_eval(task, 0);
        let benchmark = task.benchmark();
        let records = |runs: &mut [PolicyRun]| run(&model, benchmark, &prompt, &limit(4), runs, 3);
        let apart = |make: &dyn Fn(GateConfig) -> PolicyRun| {
            let runs = alphas.iter().map(|&alpha| make(GateConfig::new(alpha)));
            records(&mut runs.collect::<Vec<_>>())
        };
        let last_active = apart(&|gate| policy_run(LastActive::new(gate)));
        same(
            &records(&mut [PolicyRun::last_active(&alphas)]),
            &last_active,
            "last-active",
        );
        let traced = apart(&|gate| policy_run(Trace::new(gate)));
        same(
            &records(&mut [PolicyRun::traced(&alphas)]),
            &traced,
            "trace",
        );
        let shares: Vec<Option<f64>> = alphas
            .iter()
            .zip(settings(
                &load(benchmark),
                &prompt,
                &[PolicyRun::traced(&alphas)],
            ))
            .map(|(_, settings)| {
                let hash = settings.hash();
                let of = traced.iter().filter(|record| record.settings == hash);
                of.map(|record| record.usage.prompt.share()).sum()
            })
            .collect();
        assert!(
            shares.windows(2).all(|pair| pair[0] > pair[1]),
            "{shares:?}"
        );
    }
}

/// Texts: greedy, and drawn from streams that belong to the questions.
#[test]
fn generated_answers_do_not_depend_on_batches() {
    let (model, _) = model();
    for (prompt, n_right) in [
        (PromptSettings::generative(), 6..=6),
        (PromptSettings::paper(7), 2..=6),
    ] {
        // Texts that voids have spoilt go on to the limit.
        let prompt = PromptSettings {
            max_new_tokens: Some(6),
            ..prompt
        };
        let records = |batch_size| {
            let gate = GateConfig::new(0.3);
            let mut runs = [
                policy_run(Off),
                policy_run(LastActive::new(gate)),
                policy_run(Halt::new(gate)),
            ];
            run(
                &model,
                Benchmark::Mmlu,
                &prompt,
                &limit(6),
                &mut runs,
                batch_size,
            )
        };
        let one = records(1);
        same(&records(6), &one, prompt.protocol.name());
        let off = settings(&load(Benchmark::Mmlu), &prompt, &[policy_run(Off)])[0].hash();
        let right = one
            .iter()
            .filter(|record| record.settings == off && record.is_right());
        let right = right.count();
        assert!(n_right.contains(&right), "{} right of 6", right);
        assert!(one.iter().any(|record| record.usage.response.tokens > 0));
    }
    // The same seed gives the same texts, another one others.
    let texts = |seed| {
        // Hot enough for a model that is sure of its answers.
        let prompt = PromptSettings {
            sampling: Some(Sampling::Random(SamplingConfig::new(2.0, seed))),
            max_new_tokens: Some(4),
            ..PromptSettings::paper(seed)
        };
        let records = run(
            &model,
            Benchmark::Boolq,
            &prompt,
            &limit(6),
            &mut [policy_run(Off)],
            6,
        );
        records
            .into_iter()
            .map(|record| record.text.unwrap())
            .collect::<Vec<_>>()
    };
    let first = texts(1);
    assert_eq!(texts(1), first);
    assert!((2..10).any(|seed| texts(seed) != first));
}

/// The released code stores an answer without its first token.
#[test]
fn the_lost_first_token_comes_by_name_only() {
    let (model, tokenizer) = model();
    let texts = |quirks: &[Quirk]| -> Vec<Vec<u32>> {
        let prompt = PromptSettings {
            quirks: quirks.iter().copied().collect(),
            ..PromptSettings::paper(3)
        };
        let mut runs = [policy_run(Off)];
        let records = run(&model, Benchmark::Boolq, &prompt, &limit(3), &mut runs, 3);
        let encode =
            |record: Record| tokenizer.encode(&record.text.unwrap(), AddSpecialTokens::Never);
        records
            .into_iter()
            .map(|record| encode(record).unwrap())
            .collect()
    };
    let (whole, lost) = (texts(&[]), texts(&[Quirk::FirstTokenLost]));
    for (whole, lost) in whole.iter().zip(&lost) {
        assert_eq!(lost.len(), whole.len() - 1, "{whole:?} and {lost:?}");
    }
}

/// Moves every token away from the mean of its text, so that a token's result depends on the tokens after it. It has
/// no gate, and says nothing about itself but its name.
#[derive(Default)]
struct AwayFromMean {
    /// 1 where a slot counts and 0 elsewhere, `[batch, seq, 1]`.
    counted: Option<Tensor<3>>,
}

impl LayerPolicy for AwayFromMean {
    fn name(&self) -> &str {
        "away-from-mean"
    }

    fn begin(&mut self, pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
        let slots = (0..pass.batch()).flat_map(|row| (0..pass.seq()).map(move |slot| (row, slot)));
        let counted: Vec<f32> = slots
            .map(|(row, slot)| f32::from(u8::from(pass.counts(row, slot))))
            .collect();
        let data = TensorData::new(counted, [pass.batch(), pass.seq(), 1]);
        self.counted = Some(Tensor::from_data(data, &embedding.device()));
        Ok(())
    }

    fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
        let counted = self.counted.clone().unwrap();
        let sum = (step.output.clone() * counted.clone()).sum_dim(1);
        let mean = sum / counted.sum_dim(1);
        Ok(NextState::State(step.output.clone() - mean * 0.3))
    }
}

/// A text is fed in pieces only where the policy says that a token's result depends on earlier tokens alone.
#[test]
fn a_policy_that_judges_a_whole_text_is_given_the_whole_text() {
    let (model, _) = model();
    let (plain, _) = crate::model();
    let plain = Plain(plain);
    for (task, few_shot) in [
        (HarnessTask::Mmlu, 2),
        (HarnessTask::MmluContinuation, 2),
        (HarnessTask::MmluContinuation, 0),
    ] {
        let prompt = PromptSettings::lm_eval(task, few_shot);
        let name = format!("{task:?}, {few_shot}-shot");
        let selection = ItemSelection {
            subjects: vec!["jobs".to_owned(), "reading".to_owned()],
            ..limit(4)
        };
        let mut runs = [policy_run(AwayFromMean::default())];
        let benchmark = Benchmark::Mmlu;
        let whole = run(&plain, benchmark, &prompt, &selection, &mut runs, 1);
        for batch_size in [1, 16] {
            let seen = run(
                &model, benchmark, &prompt, &selection, &mut runs, batch_size,
            );
            same(&seen, &whole, &format!("{name}, batches of {batch_size}"));
        }
        // The policy changes something.
        let full = run(
            &model,
            benchmark,
            &prompt,
            &selection,
            &mut [policy_run(Off)],
            1,
        );
        assert_ne!(full[0].log_likelihoods, whole[0].log_likelihoods, "{name}");
    }
}
