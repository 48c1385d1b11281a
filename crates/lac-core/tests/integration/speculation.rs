//! Speculation on models small enough to know every probability of.

use burn::tensor::Device;
use lac_core::{
    BoxError, Error, GateConfig, GenerateArgs, GenerationConfig, Observer, Off, PassRecord, Trace,
    Usage, generate,
    generation::{Flow, LogitsProcessors, Sampling, SamplingConfig, StopReason, TokenSink},
    plan::PhasePlan,
    speculation::{
        DraftCost, DraftLength, FollowConfig, PlanUpdates, SpeculateArgs, SpeculationConfig,
        Speculator, Ties, generate_speculative, verify_speculation,
    },
};

use crate::chain::Chain;
use crate::devices::devices;

/// Drafts with all layers but the last.
fn without_last(n_layers: usize) -> PhasePlan {
    let mut kept = vec![true; n_layers];
    kept[n_layers - 1] = false;
    PhasePlan::keeping(&kept)
}

fn speculator(plan: PhasePlan, draft_length: DraftLength) -> Speculator {
    let config = SpeculationConfig::default()
        .with_draft_length(draft_length)
        .with_draft_cost(DraftCost::Ratio(0.3));
    Speculator::new(plan, config).unwrap()
}

#[test]
fn greedy_text_is_the_full_models() {
    for (backend, device) in devices() {
        let model = Chain::new(3, 12, &device);
        let lengths = [
            DraftLength::Fixed(1),
            DraftLength::Fixed(5),
            DraftLength::Adaptive { at_most: 6 },
        ];
        let all_processors = LogitsProcessors::default()
            .with_repetition_penalty(1.3)
            .with_no_repeat_ngram_size(3)
            .with_bad_words(vec![vec![3, 4], vec![7]])
            .with_suppressed_at_begin(vec![1, 2]);
        let processors = [LogitsProcessors::default(), all_processors];
        for (length, processors) in lengths.iter().flat_map(|length| {
            processors
                .iter()
                .map(move |processors| (*length, processors))
        }) {
            let mut speculator = speculator(without_last(3), length);
            let (mut n_accepted, mut n_rejections) = (0, 0);
            for token in 0..12 {
                let prompt = [vec![token, (token + 5) % 12]];
                let config = GenerationConfig::greedy(20).with_processors(processors.clone());
                let plain =
                    generate(&model, &prompt, &config, GenerateArgs::new(&mut Off)).unwrap();
                let out = generate_speculative(
                    &model,
                    &prompt,
                    &config,
                    SpeculateArgs::new(&mut speculator),
                )
                .unwrap();
                assert_eq!(
                    out.generation.rows, plain.rows,
                    "{backend}, {length:?}, {processors:?}"
                );
                assert_eq!(out.stats.n_tokens, 20);
                let verified =
                    verify_speculation(&model, &prompt, &config, &mut speculator).unwrap();
                assert_eq!(verified.divergence, None);
                n_accepted += out.stats.n_accepted;
                n_rejections += out.stats.n_rejections;
            }
            assert!(
                n_accepted > 0 && n_rejections > 0,
                "{n_accepted}, {n_rejections}"
            );
        }
    }
}

/// Logits processors see each row's own text: a row of a batch goes on as it does alone.
#[test]
fn processors_act_on_each_row_alone() {
    for (_, device) in devices() {
        let model = Chain::new(3, 12, &device);
        let processors = LogitsProcessors::default()
            .with_repetition_penalty(1.5)
            .with_no_repeat_ngram_size(2)
            .with_min_new_tokens(4);
        let config = GenerationConfig::greedy(20)
            .with_processors(processors)
            .with_stop_tokens([5, 6]);
        let plain = GenerationConfig::greedy(20).with_stop_tokens([5, 6]);
        let rows = |prompts: &[Vec<u32>], config: &GenerationConfig| {
            generate(&model, prompts, config, GenerateArgs::new(&mut Off))
                .unwrap()
                .rows
        };
        let prompts = vec![vec![1, 2, 3], vec![4], vec![5, 6]];
        let together = rows(&prompts, &config);
        for (prompt, row) in prompts.iter().zip(&together) {
            assert_eq!(rows(std::slice::from_ref(prompt), &config)[0], *row);
            assert!(row.ids.len() >= 4);
            let text = [&prompt[..], &row.ids].concat();
            let pairs: Vec<&[u32]> = text.windows(2).collect();
            let mut distinct = pairs.clone();
            distinct.sort();
            distinct.dedup();
            assert_eq!(distinct.len(), pairs.len(), "{text:?} repeats a pair");
        }
        assert_ne!(together, rows(&prompts, &plain));
    }
}

/// A tie between the two most probable tokens is decided by a pass over one token.
#[test]
fn ties_are_decided_by_plain_passes() {
    let device = Device::flex();
    let mut model = Chain::new(2, 4, &device);
    for layer in &mut model.layers {
        for row in layer {
            // Two tokens share the first place everywhere.
            row[1] = 9.0;
            row[2] = 9.0;
        }
    }
    let config = GenerationConfig::greedy(10);
    let with = |ties| {
        let config_of = SpeculationConfig::default()
            .with_draft_length(DraftLength::Fixed(3))
            .with_ties(ties);
        let mut speculator = Speculator::new(without_last(2), config_of).unwrap();
        verify_speculation(&model, &[vec![0]], &config, &mut speculator).unwrap()
    };
    let replayed = with(Ties::default());
    assert_eq!(replayed.divergence, None);
    assert_eq!(replayed.n_equal, 10);
    assert_eq!(replayed.plain.ids, [1; 10]);
    // Every token but the prompt's and those of plain passes was a tie.
    assert_eq!(
        replayed.stats.n_near_ties,
        9 - replayed.stats.n_plain_passes
    );
    assert_eq!(replayed.stats.n_near_ties, replayed.stats.n_replay_passes);
    assert_eq!(with(Ties::Accept).stats.n_near_ties, 0);
}

/// Where a verifying pass would choose another token than a plain one, plain passes decide; where
/// they are not asked, the difference is found and described.
#[test]
fn noise_decides_nothing_and_would_be_found() {
    let device = Device::flex();
    let mut model = Chain::new(2, 4, &device);
    for row in model.layers.iter_mut().flatten() {
        row[1] = 9.0;
        row[2] = 9.0 - 2e-5;
    }
    model.noise = 1e-4;
    let config = GenerationConfig::greedy(10);
    let with = |ties| {
        let config_of = SpeculationConfig::default()
            .with_draft_length(DraftLength::Fixed(3))
            .with_ties(ties);
        let mut speculator = Speculator::new(without_last(2), config_of).unwrap();
        verify_speculation(&model, &[vec![0]], &config, &mut speculator).unwrap()
    };
    let exact = with(Ties::default());
    assert_eq!(exact.divergence, None);
    assert!(exact.stats.n_near_ties > 0);
    // 1e-4 in steps of f32 at 18, and the margin of 4e-5.
    let steps = f32::EPSILON * 18.0;
    assert!((exact.largest_noise / (1e-4 / steps) - 1.0).abs() < 0.1);
    assert!((exact.smallest_margin / (4e-5 / steps) - 1.0).abs() < 0.1);

    let divergence = with(Ties::Accept).divergence.unwrap();
    assert_eq!(
        (divergence.plain_id, divergence.speculative_id),
        (Some(1), Some(2))
    );
    assert_eq!(
        divergence.index, 1,
        "the first token that a verifying pass chose"
    );
    assert!(divergence.margin > 0.0 && divergence.margin < 1e-4);
    assert_eq!(divergence.bound, None);
    let [plain, other] = divergence.plain_logits.unwrap();
    assert!(plain > other);
    let [plain, other] = divergence.speculative_logits.unwrap();
    assert!(plain < other);
}

/// χ² of the triples of tokens that follow a prompt, over many seeds, against the product of their
/// probabilities.
#[test]
fn sampled_text_has_the_full_models_distribution() {
    let device = Device::flex();
    let (vocab, temperature) = (3, 4.0);
    let model = Chain::new(2, vocab, &device);
    let first = model.probabilities(0, temperature);
    let mut counts = vec![0usize; vocab * vocab * vocab];
    let n_runs = 3000;
    let mut stats = lac_core::speculation::SpeculationStats::default();
    let mut speculator = speculator(without_last(2), DraftLength::Fixed(2));
    for seed in 0..n_runs {
        let sampling = Sampling::Random(SamplingConfig::new(temperature, seed));
        let config = GenerationConfig::greedy(3).with_sampling(sampling);
        let out = generate_speculative(
            &model,
            &[vec![0]],
            &config,
            SpeculateArgs::new(&mut speculator),
        )
        .unwrap();
        let ids = &out.generation.rows[0].ids;
        counts[ids.iter().fold(0, |code, &id| vocab * code + id as usize)] += 1;
        stats.merge(&out.stats);
    }
    let mut statistic = 0.0;
    for a in 0..vocab {
        for b in 0..vocab {
            for c in 0..vocab {
                let p = first[a]
                    * model.probabilities(a, temperature)[b]
                    * model.probabilities(b, temperature)[c];
                let expected = n_runs as f64 * p;
                assert!(expected > 5.0, "too rare for the statistic: {expected}");
                let count = counts[vocab * (vocab * a + b) + c] as f64;
                statistic += (count - expected).powi(2) / expected;
            }
        }
    }
    // 26 degrees of freedom, significance 0.001.
    assert!(statistic < 54.05, "{statistic}: {counts:?}");
    let rate = stats.acceptance_rate().unwrap();
    assert!((0.2..0.98).contains(&rate), "nothing to see at {rate}");
}

#[test]
fn the_same_seed_gives_the_same_text_at_a_given_cost() {
    let model = Chain::new(3, 12, &Device::flex());
    let sampled = |seed| {
        let mut speculator = speculator(without_last(3), DraftLength::Adaptive { at_most: 4 });
        let sampling =
            Sampling::Random(SamplingConfig::new(1.0, seed).with_top_k(8).with_top_p(0.9));
        let config = GenerationConfig::greedy(25).with_sampling(sampling);
        generate_speculative(
            &model,
            &[vec![3]],
            &config,
            SpeculateArgs::new(&mut speculator),
        )
        .unwrap()
        .generation
        .rows
    };
    assert_eq!(sampled(1), sampled(1));
    assert_ne!(sampled(1), sampled(2));
}

/// Collects what a plain run's observer sees, pass by pass.
#[derive(Default)]
struct Seen(Vec<u32>, Vec<f32>);

impl Observer for Seen {
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        self.0.extend(record.pass.token_ids());
        if let Some(gate) = &record.gate {
            // The norms of the last layer, one per token.
            let n_tokens = record.pass.seq();
            self.1.extend(&gate.norms[gate.norms.len() - n_tokens..]);
        }
        Ok(())
    }
}

/// Every fed token is observed once, with the full model's numbers; rejected ones never.
#[test]
fn observers_see_the_text_and_nothing_else() {
    let model = Chain::new(3, 12, &Device::flex());
    let gate = GateConfig::new(0.5);
    let config = GenerationConfig::greedy(15);
    let prompt = [vec![1, 2]];
    let mut plain = (Seen::default(), Usage::default());
    let traced = &mut Trace::new(gate);
    generate(
        &model,
        &prompt,
        &config,
        GenerateArgs::new(traced).observer(&mut plain),
    )
    .unwrap();
    let mut seen = (Seen::default(), Usage::default());
    let config_of = SpeculationConfig::default()
        .with_draft_length(DraftLength::Fixed(4))
        .with_gate(gate);
    let mut speculator = Speculator::new(without_last(3), config_of).unwrap();
    generate_speculative(
        &model,
        &prompt,
        &config,
        SpeculateArgs::new(&mut speculator).observer(&mut seen),
    )
    .unwrap();
    assert_eq!(seen.0.0, plain.0.0);
    assert_eq!(seen.0.1, plain.0.1);
    assert_eq!(seen.1.response.n_tokens(), plain.1.response.n_tokens());
    assert_eq!(seen.1.response.per_layer(), plain.1.response.per_layer());
    assert!(seen.1.response.n_passes() < plain.1.response.n_passes());
}

/// Ends a row after its third token.
struct ThreeTokens(usize);

impl TokenSink for ThreeTokens {
    fn token(&mut self, _row: usize, _id: u32) -> Result<Flow, BoxError> {
        self.0 += 1;
        Ok(if self.0 < 3 {
            Flow::Continue
        } else {
            Flow::Stop
        })
    }
}

#[test]
fn rows_end_where_plain_rows_end() {
    let model = Chain::new(3, 12, &Device::flex());
    let plain_ids = |config: &GenerationConfig| {
        let plain = generate(&model, &[vec![4]], config, GenerateArgs::new(&mut Off)).unwrap();
        plain.rows.into_iter().next().unwrap()
    };
    let greedy = GenerationConfig::greedy(12);
    let stop = plain_ids(&greedy).ids[5];
    for config in [
        greedy.clone().with_stop_tokens([stop]),
        GenerationConfig::greedy(0),
        GenerationConfig::greedy(1),
        // More than the context of 40 holds.
        GenerationConfig::greedy(100),
    ] {
        for length in [DraftLength::Fixed(4), DraftLength::Fixed(0)] {
            let mut speculator = speculator(PhasePlan::full(3), length);
            let out = generate_speculative(
                &model,
                &[vec![4]],
                &config,
                SpeculateArgs::new(&mut speculator),
            )
            .unwrap();
            assert_eq!(out.generation.rows[0], plain_ids(&config), "{config:?}");
        }
    }
    let mut speculator = speculator(PhasePlan::full(3), DraftLength::Fixed(4));
    let mut sink = ThreeTokens(0);
    let out = generate_speculative(
        &model,
        &[vec![4]],
        &greedy,
        SpeculateArgs::new(&mut speculator).sink(&mut sink),
    )
    .unwrap();
    assert_eq!(out.generation.rows[0].ids, plain_ids(&greedy).ids[..3]);
    assert_eq!(out.generation.rows[0].stop_reason, StopReason::Sink);
}

#[test]
fn what_cannot_be_is_refused() {
    let model = Chain::new(3, 12, &Device::flex());
    let greedy = GenerationConfig::greedy(4);
    let mut good = speculator(PhasePlan::full(3), DraftLength::Fixed(2));
    let two = [vec![1], vec![2]];
    let error = generate_speculative(&model, &two, &greedy, SpeculateArgs::new(&mut good));
    assert!(matches!(
        error,
        Err(Error::SpeculationBatch { n_prompts: 2 })
    ));
    let mut deep = speculator(PhasePlan::full(4), DraftLength::Fixed(2));
    let error = generate_speculative(&model, &[vec![1]], &greedy, SpeculateArgs::new(&mut deep));
    assert!(matches!(error, Err(Error::Plan(_))));
    let sampling = Sampling::Random(SamplingConfig::new(1.0, 0));
    let error = verify_speculation(
        &model,
        &[vec![1]],
        &greedy.with_sampling(sampling),
        &mut good,
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("sampling is random")
    );

    let with = |change: fn(&mut SpeculationConfig)| {
        let mut config = SpeculationConfig::default();
        change(&mut config);
        Speculator::new(PhasePlan::full(3), config)
            .unwrap_err()
            .to_string()
    };
    assert!(with(|c| c.draft_cost = DraftCost::Ratio(0.0)).starts_with("draft_cost is 0"));
    assert!(with(|c| c.ties = Ties::Replay { factor: -1.0 }).starts_with("ties is -1"));
    let follow = |c: &mut SpeculationConfig| {
        c.plan_updates = PlanUpdates::Follow(FollowConfig::default());
    };
    assert!(with(follow).starts_with("gate is absent"));
}

/// Without any calibration: from the full plan to one that the text itself suggests.
#[test]
fn a_plan_follows_the_text() {
    let model = Chain::new(6, 12, &Device::flex());
    let config_of = SpeculationConfig::default()
        .with_draft_length(DraftLength::Fixed(2))
        .with_gate(GateConfig::new(0.3))
        .with_plan_updates(PlanUpdates::Follow(FollowConfig {
            judged_per_change: 4,
            ..FollowConfig::default()
        }));
    let mut speculator = Speculator::new(PhasePlan::full(6), config_of).unwrap();
    let config = GenerationConfig::greedy(30);
    let prompt = [vec![7, 3]];
    let plain = generate(&model, &prompt, &config, GenerateArgs::new(&mut Off)).unwrap();
    let out = generate_speculative(
        &model,
        &prompt,
        &config,
        SpeculateArgs::new(&mut speculator),
    )
    .unwrap();
    assert_eq!(out.generation.rows, plain.rows);
    assert!(out.stats.n_plan_changes > 0);
    assert!(out.stats.draft_layers < 6.0 * out.stats.n_drafted as f64);
}
