//! Drafters of every kind, good and bad: none of them changes a text.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::Device;
use lac_core::{
    BoxError, Error, GenerateArgs, GenerationConfig, Off, generate,
    generation::{Flow, Sampling, SamplingConfig},
    plan::PhasePlan,
    speculation::{
        DraftCost, DraftLength, DraftRound, Drafter, ModelDrafter, NgramDrafter, NgramMemory,
        PlanDrafter, SpeculateArgs, SpeculationConfig, SpeculationOutput, Speculator,
        WithSecondWeights, generate_speculative,
    },
};
use proptest::prelude::*;

use crate::chain::Chain;

/// What a scripted drafter does in each round.
#[derive(Clone, Debug)]
enum Script {
    /// Proposes tokens, one after the other, whether more are wanted or not.
    Proposes(Vec<(u32, f32)>),
    /// Proposes by logits that have nothing to do with the model's.
    ByLogits(Vec<Vec<f32>>),
    Fails,
    Panics,
}

struct Scripted {
    rounds: Vec<Script>,
    n_rounds: usize,
    cost: f64,
}

impl Scripted {
    fn boxed(rounds: Vec<Script>, cost: f64) -> Box<dyn Drafter> {
        Box::new(Self {
            rounds,
            n_rounds: 0,
            cost,
        })
    }
}

impl Drafter for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn expected_cost(&self) -> f64 {
        self.cost
    }

    fn draft(&mut self, round: &mut DraftRound<'_>) -> Result<(), BoxError> {
        let script = &self.rounds[self.n_rounds % self.rounds.len()];
        self.n_rounds += 1;
        match script {
            Script::Proposes(tokens) => {
                for &(id, confidence) in tokens {
                    round.propose(id, confidence)?;
                }
            }
            Script::ByLogits(rows) => {
                for logits in rows {
                    round.propose_by_logits(logits)?;
                }
            }
            Script::Fails => return Err("out of paper".into()),
            Script::Panics => panic!("the drafter has a bug"),
        }
        Ok(())
    }
}

/// Proposes what it knows the text to be.
struct Knows(Vec<u32>);

impl Drafter for Knows {
    fn name(&self) -> &str {
        "knows"
    }

    fn draft(&mut self, round: &mut DraftRound<'_>) -> Result<(), BoxError> {
        while round.wants_more() {
            let n_new = round.text().len() - round.n_prompt();
            let Some(&id) = self.0.get(n_new) else { break };
            if round.propose(id, 9.0)? == Flow::Stop {
                break;
            }
        }
        Ok(())
    }
}

const VOCAB: usize = 12;

fn model() -> Chain {
    Chain::new(3, VOCAB, &Device::flex())
}

fn plain(model: &Chain, prompt: &[u32], config: &GenerationConfig) -> Vec<u32> {
    let mut policy = Off;
    let args = GenerateArgs::new(&mut policy);
    let output = generate(model, &[prompt.to_vec()], config, args).unwrap();
    output.rows[0].ids.clone()
}

fn with(
    model: &Chain,
    prompt: &[u32],
    config: &GenerationConfig,
    speculator: &mut Speculator,
) -> Result<SpeculationOutput, Error> {
    generate_speculative(
        model,
        &[prompt.to_vec()],
        config,
        SpeculateArgs::new(speculator),
    )
}

fn speculator(drafters: Vec<Box<dyn Drafter>>, length: DraftLength) -> Speculator {
    let config = SpeculationConfig::default()
        .with_draft_length(length)
        .with_draft_cost(DraftCost::Expected);
    Speculator::with_drafters(drafters, config).unwrap()
}

fn scripts() -> impl Strategy<Value = Script> {
    let token = (0..VOCAB as u32, 0.0..12f32);
    let logits = proptest::collection::vec(-4.0..4f32, VOCAB..VOCAB + 3);
    prop_oneof![
        proptest::collection::vec(token, 0..6).prop_map(Script::Proposes),
        proptest::collection::vec(logits, 0..4).prop_map(Script::ByLogits),
    ]
}

fn lengths() -> impl Strategy<Value = DraftLength> {
    prop_oneof![
        (0..5usize).prop_map(DraftLength::Fixed),
        (0..8usize).prop_map(|at_most| DraftLength::Adaptive { at_most }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_drafter_changes_a_greedy_text(
        first in proptest::collection::vec(scripts(), 1..5),
        second in proptest::collection::vec(scripts(), 1..5),
        costs in (0..3u8, 0..3u8),
        length in lengths(),
        prompt in proptest::collection::vec(0..VOCAB as u32, 1..6),
        stop in proptest::option::of(0..VOCAB as u32),
    ) {
        let model = model();
        let config = GenerationConfig::greedy(20).with_stop_tokens(Vec::from_iter(stop));
        let drafters = vec![
            Scripted::boxed(first, 0.2 * f64::from(costs.0)),
            Box::new(NgramDrafter::default()) as Box<dyn Drafter>,
            Scripted::boxed(second, 0.2 * f64::from(costs.1)),
            Box::new(PlanDrafter::new(PhasePlan::keeping(&[true, true, false]))),
        ];
        let mut speculator = speculator(drafters, length);
        for _ in 0..2 {
            let output = with(&model, &prompt, &config, &mut speculator).unwrap();
            prop_assert_eq!(&output.generation.rows[0].ids, &plain(&model, &prompt, &config));
            let stats = output.stats;
            let sum = |count: fn(&lac_core::speculation::DrafterStats) -> usize| {
                stats.drafters.iter().map(count).sum::<usize>()
            };
            prop_assert_eq!(sum(|drafter| drafter.n_drafted), stats.n_drafted);
            prop_assert_eq!(sum(|drafter| drafter.n_accepted), stats.n_accepted);
            prop_assert!(stats.n_accepted + stats.n_rejections <= stats.n_drafted);
        }
    }
}

/// χ² of short texts over many seeds against the product of their probabilities, whatever is drafted, and with a token
/// that ends a text.
#[test]
fn no_drafter_changes_the_distribution_of_sampled_text() {
    let (vocab, temperature, stop, n_new) = (3, 4.0, 1u32, 3);
    let model = Chain::new(2, vocab, &Device::flex());
    let rows = |n| Script::ByLogits(vec![vec![1.5, 0.0, -0.5]; n]);
    let certain = |n| Script::Proposes((0..n).map(|idx| (idx as u32 % 3, 9.0)).collect());
    let stops = Script::ByLogits(vec![vec![0.0, 1.0, 0.0]; 3]);
    let adaptive = DraftLength::Adaptive { at_most: 3 };
    let kinds: Vec<(&str, Vec<Script>, f64, DraftLength)> = vec![
        ("certain", vec![certain(3)], 0.0, DraftLength::Fixed(3)),
        ("drawn", vec![rows(3)], 0.3, DraftLength::Fixed(3)),
        ("drawn, free", vec![rows(3), stops.clone()], 0.0, adaptive),
        ("stops, paid", vec![stops], 0.05, adaptive),
        ("certain, free", vec![certain(3), certain(1)], 0.0, adaptive),
    ];
    for (name, rounds, cost, length) in kinds {
        let mut speculator = speculator(vec![Scripted::boxed(rounds, cost)], length);
        let mut counts = std::collections::BTreeMap::<Vec<u32>, f64>::new();
        let n_runs = 3000;
        let mut n_drafted = 0;
        for seed in 0..n_runs {
            let sampling = Sampling::Random(SamplingConfig::new(temperature, seed));
            let config = GenerationConfig::greedy(n_new)
                .with_sampling(sampling)
                .with_stop_tokens([stop]);
            let output = with(&model, &[0], &config, &mut speculator).unwrap();
            *counts
                .entry(output.generation.rows[0].ids.clone())
                .or_default() += 1.0;
            n_drafted += output.stats.n_drafted;
        }
        assert!(n_drafted > 1000, "{name}: {n_drafted}");
        // Every text that can be, with its probability.
        let mut texts = vec![(vec![], 1.0)];
        for _ in 0..n_new {
            texts = texts
                .into_iter()
                .flat_map(|(text, p): (Vec<u32>, f64)| {
                    if text.last() == Some(&stop) {
                        return vec![(text, p)];
                    }
                    let last = text.last().copied().unwrap_or(0) as usize;
                    let next = model.probabilities(last, temperature);
                    (0..vocab)
                        .map(|id| ([&text[..], &[id as u32]].concat(), p * next[id]))
                        .collect()
                })
                .collect();
        }
        let mut statistic = 0.0;
        for (text, p) in &texts {
            let expected = n_runs as f64 * p;
            assert!(expected > 5.0, "too rare for the statistic: {expected}");
            let count = counts.remove(text).unwrap_or(0.0);
            statistic += (count - expected).powi(2) / expected;
        }
        assert!(counts.is_empty(), "{name}: {counts:?}");
        // One stop, two of two, and four times three of three tokens: 14 degrees of freedom, significance 0.001.
        assert_eq!(texts.len(), 15);
        assert!(statistic < 36.12, "{name}: {statistic}");
    }
}

#[test]
fn a_drafter_that_is_always_right_is_believed_and_one_that_never_is_soon_ignored() {
    let model = model();
    let config = GenerationConfig::greedy(36);
    let prompt = [4, 9];
    let text = plain(&model, &prompt, &config);
    let adaptive = DraftLength::Adaptive { at_most: 8 };
    let right = Box::new(Knows(text.clone()));
    let output = with(
        &model,
        &prompt,
        &config,
        &mut speculator(vec![right], adaptive),
    )
    .unwrap();
    assert_eq!(output.generation.rows[0].ids, text);
    assert_eq!(output.stats.n_rejections, 0);
    assert!(output.stats.n_full_passes() <= 5, "{:?}", output.stats);

    let other = text.iter().map(|id| (id + 1) % VOCAB as u32).collect();
    let wrong = Box::new(Knows(other));
    let mut speculator = speculator(vec![wrong], adaptive);
    let mut n_drafted = 0;
    for _ in 0..10 {
        let output = with(&model, &prompt, &config, &mut speculator).unwrap();
        assert_eq!(output.generation.rows[0].ids, text);
        assert_eq!(output.stats.n_accepted, 0);
        n_drafted += output.stats.n_drafted;
    }
    assert!(n_drafted < 70, "{n_drafted} in 350 rounds");
}

#[test]
fn bad_drafters_end_a_text_or_leave_it_as_it_is() {
    let model = model();
    let config = GenerationConfig::greedy(12);
    let text = plain(&model, &[3], &config);
    let run = |script: Script, length| {
        let drafter = Scripted::boxed(vec![script], 0.0);
        with(
            &model,
            &[3],
            &config,
            &mut speculator(vec![drafter], length),
        )
    };
    let beyond = run(
        Script::Proposes(vec![(1, 1.0), (VOCAB as u32, 1.0)]),
        DraftLength::Fixed(4),
    );
    let error = beyond.unwrap_err();
    assert!(
        matches!(
            error,
            Error::DraftedBeyondVocabulary {
                id: 12,
                vocab_size: 12
            }
        ),
        "{error}"
    );
    let error = run(Script::Fails, DraftLength::Fixed(4)).unwrap_err();
    assert_eq!(error.to_string(), "the drafter \"scripted\" failed");
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "out of paper");

    // More than was asked for is not taken.
    let many = (0..100).map(|idx| (idx % 12, 9.0)).collect();
    let output = run(Script::Proposes(many), DraftLength::Fixed(2)).unwrap();
    assert_eq!(output.generation.rows[0].ids, text);
    assert!(output.stats.n_drafted <= 2 * output.stats.n_verify_passes);
    // Logits for more tokens than there are, and logits without a number.
    let mut wide = vec![0.0; VOCAB];
    wide.extend([50.0, 60.0]);
    for logits in [wide, vec![f32::NAN; VOCAB], vec![]] {
        let script = Script::ByLogits(vec![logits]);
        let output = run(script, DraftLength::Fixed(2)).unwrap();
        assert_eq!(output.generation.rows[0].ids, text);
    }

    // A panic passes through, and the speculator can be used again.
    let rounds = vec![Script::Proposes(vec![(1, 1.0)]), Script::Panics];
    let drafter = Scripted::boxed(rounds, 0.0);
    let mut speculator = speculator(vec![drafter], DraftLength::Fixed(2));
    let attempt = || with(&model, &[3], &config, &mut speculator);
    assert!(catch_unwind(AssertUnwindSafe(attempt)).is_err());
    let config = GenerationConfig::greedy(2);
    let output = with(&model, &[3], &config, &mut speculator).unwrap();
    assert_eq!(output.generation.rows[0].ids, text[..2]);
}

#[test]
fn impossible_costs_are_refused() {
    for cost in [-1.0, f64::NAN, f64::INFINITY] {
        let drafters = vec![Scripted::boxed(vec![Script::Fails], cost)];
        let error = Speculator::with_drafters(drafters, SpeculationConfig::default());
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("expected_cost is"), "{error}");
        let error = ModelDrafter::new("second", model(), cost).unwrap_err();
        assert!(error.to_string().starts_with("expected_cost is"));
    }
    assert!(ModelDrafter::new("second", model(), 0.0).is_err());
}

/// What a prompt or an earlier text has said is proposed again.
#[test]
fn repetitions_are_found_in_prompts_and_in_earlier_texts() {
    let model = model();
    let config = GenerationConfig::greedy(16);
    let prompt = [2, 7];
    let text = plain(&model, &prompt, &config);
    let accepted = |prompts: &[Vec<u32>], memory| {
        let drafter: Box<dyn Drafter> = Box::new(NgramDrafter::new(memory));
        let mut speculator = speculator(vec![drafter], DraftLength::Fixed(4));
        let mut n_accepted = 0;
        for prompt in prompts {
            let output = with(&model, prompt, &config, &mut speculator).unwrap();
            assert_eq!(
                output.generation.rows[0].ids,
                plain(&model, prompt, &config)
            );
            n_accepted = output.stats.n_accepted;
        }
        n_accepted
    };
    let alone = accepted(&[prompt.to_vec()], NgramMemory::Text);
    let told = [&prompt[..], &text, &prompt].concat();
    assert!(accepted(&[told], NgramMemory::Text) > alone);
    let twice = [prompt.to_vec(), prompt.to_vec()];
    let shared = |at_most| accepted(&twice, NgramMemory::Texts { at_most });
    assert!(shared(1000) > alone);
    assert_eq!(shared(4), alone, "a memory that is full forgets");
}

/// Prompts of 32,768 tokens: one token over and over, a circle of five, and one that never repeats three tokens.
#[test]
fn repetitions_are_found_in_long_prompts() {
    let mut model = model();
    model.max_context = 40_000;
    let config = GenerationConfig::greedy(24);
    let digits = |mut idx: usize| {
        // Counting in eleven digits, with the last token between numbers.
        let mut word = vec![VOCAB as u32 - 1];
        while idx > 0 {
            word.push((idx % (VOCAB - 1)) as u32);
            idx /= VOCAB - 1;
        }
        word
    };
    let prompts: Vec<Vec<u32>> = vec![
        vec![7; 32_768],
        (0..32_768).map(|idx| idx % 5).collect(),
        (1..).flat_map(digits).take(32_768).collect(),
    ];
    let memory = NgramMemory::Texts { at_most: 1 << 16 };
    let drafter: Box<dyn Drafter> = Box::new(NgramDrafter::new(memory));
    let adaptive = DraftLength::Adaptive { at_most: 8 };
    let mut speculator = speculator(vec![drafter], adaptive);
    let mut n_accepted = 0;
    for prompt in prompts.iter().chain(&prompts) {
        let output = with(&model, prompt, &config, &mut speculator).unwrap();
        let text = plain(&model, prompt, &config);
        assert_eq!(output.generation.rows[0].ids, text);
        n_accepted += output.stats.n_accepted;
    }
    assert!(n_accepted > 24, "{n_accepted}");
}

/// A second model with a cache of its own, second weights on the model's cache, and the same with layers left out.
#[test]
fn second_models_draft() {
    let model = model();
    let config = GenerationConfig::greedy(24);
    // Two layers of three are the model's.
    let mut near = Chain::new(3, VOCAB, &Device::flex());
    for row in &mut near.layers[2] {
        row.reverse();
    }
    let second = |name: &str, plan: PhasePlan| -> Box<dyn Drafter> {
        Box::new(PlanDrafter::new(plan).with_second_weights(name, 0.2))
    };
    let own: Box<dyn Drafter> = Box::new(ModelDrafter::new("model", near.clone(), 0.2).unwrap());
    let drafters = vec![
        own,
        second("second", PhasePlan::full(3)),
        second("second-plan", PhasePlan::keeping(&[true, false, true])),
    ];
    let both = WithSecondWeights::new(&model, &near);
    for drafter in drafters {
        let name = drafter.name().to_owned();
        let mut speculator = speculator(vec![drafter], DraftLength::Fixed(3));
        let (mut n_accepted, mut n_rejections) = (0, 0);
        for first in 0..VOCAB as u32 {
            let prompt = vec![first, (first + 3) % VOCAB as u32];
            let args = SpeculateArgs::new(&mut speculator);
            let output = generate_speculative(&both, std::slice::from_ref(&prompt), &config, args);
            let output = output.unwrap();
            let ids = &output.generation.rows[0].ids;
            assert_eq!(*ids, plain(&model, &prompt, &config), "{name}");
            n_accepted += output.stats.n_accepted;
            n_rejections += output.stats.n_rejections;
        }
        assert!(
            n_accepted > 0 && n_rejections > 0,
            "{name}: {n_accepted}, {n_rejections}"
        );
    }
    let mut without = speculator(
        vec![second("second", PhasePlan::full(3))],
        DraftLength::Fixed(2),
    );
    let error = with(&model, &[1], &config, &mut without).unwrap_err();
    assert!(matches!(error, Error::NoSecondWeights), "{error}");
}
