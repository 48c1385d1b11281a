//! Perplexity, against log-probabilities computed here from plain passes.

use burn::tensor::Tensor;
use lac_core::generation::{Flow, prompt_pass};
use lac_core::{Bypass, GateConfig, LastActive, LayerPolicy, Off, Phase, Trace};
use lac_eval::Error;
use lac_eval::perplexity::{ComparedWith, Perplexity, PerplexityConfig, Windows, perplexity};
use lac_models::{AddSpecialTokens, Decoder};

use crate::model;

/// Sums over a vocabulary in another order, in f32 on the device and in f64 here.
const TOLERANCE: f64 = 1e-5;

const TEXT: &str = "The capital of France is Paris. What is the colour of the sky? It is blue, and \
    the grass is green. Two and three is five. The lion lives in the savanna, the whale in the sea.";

fn config(length: usize, compared_with: ComparedWith) -> PerplexityConfig {
    PerplexityConfig {
        windows: Windows {
            length,
            first_token: None,
        },
        phase: Phase::Prompt,
        compared_with,
    }
}

fn run(
    model: &Decoder,
    ids: &[u32],
    config: &PerplexityConfig,
    policy: &mut dyn LayerPolicy,
) -> Perplexity {
    perplexity(model, ids, config, policy, &mut |_| Flow::Continue).unwrap()
}

/// The logarithms of the probabilities of every next token of a window, in f64.
fn log_probabilities(
    model: &Decoder,
    window: &[u32],
    policy: &mut dyn LayerPolicy,
) -> Vec<Vec<f64>> {
    let (hidden, _) = prompt_pass(model, &[window.to_vec()], 0, policy).unwrap();
    let logits: Tensor<2> = lac_core::CausalLm::logits(model, hidden).squeeze_dim(0);
    let [_, vocab_size] = logits.dims();
    let logits: Vec<f32> = logits.into_data().try_into_vec().unwrap();
    let rows = logits.chunks_exact(vocab_size).map(|row| {
        let largest = f64::from(row.iter().copied().fold(f32::MIN, f32::max));
        let total: f64 = row.iter().map(|&x| (f64::from(x) - largest).exp()).sum();
        row.iter()
            .map(|&x| f64::from(x) - largest - total.ln())
            .collect()
    });
    rows.collect()
}

fn top(row: &[f64]) -> usize {
    (0..row.len())
        .max_by(|&a, &b| row[a].total_cmp(&row[b]))
        .unwrap()
}

#[test]
fn perplexity_is_that_of_the_second_halves_of_windows() {
    let (model, tokenizer) = model();
    let ids = tokenizer.encode(TEXT, AddSpecialTokens::Once).unwrap();
    let gate = GateConfig::new(0.4);
    type Policies = [(&'static str, fn(GateConfig) -> Box<dyn LayerPolicy>); 4];
    let policies: Policies = [
        ("off", |_| Box::new(Off)),
        ("trace", |gate| Box::new(Trace::new(gate))),
        ("last-active", |gate| Box::new(LastActive::new(gate))),
        ("bypass", |gate| Box::new(Bypass::new(gate))),
    ];
    for (length, first_token) in [(8, None), (11, Some(3)), (ids.len(), None)] {
        for (name, policy) in policies {
            let mut config = config(length, ComparedWith::FullModel);
            config.windows.first_token = first_token;
            let result = run(&model, &ids, &config, &mut *policy(gate));

            let (mut own, mut full, mut kl, mut same) = (vec![], vec![], vec![], 0);
            for window in ids.chunks_exact(length) {
                let mut window = window.to_vec();
                window[0] = first_token.unwrap_or(window[0]);
                let q = log_probabilities(&model, &window, &mut *policy(gate));
                let p = log_probabilities(&model, &window, &mut Off);
                for slot in length / 2..length - 1 {
                    let target = window[slot + 1] as usize;
                    own.push(-q[slot][target]);
                    full.push(-p[slot][target]);
                    let pairs = p[slot].iter().zip(&q[slot]);
                    kl.push(pairs.map(|(p, q)| p.exp() * (p - q)).sum::<f64>());
                    same += usize::from(top(&p[slot]) == top(&q[slot]));
                }
            }
            let n = own.len() as f64;
            let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
            let squares = own.iter().map(|x| x * x).sum::<f64>() / n;
            let error = ((squares - mean(&own).powi(2)) / (n - 1.0)).sqrt() * mean(&own).exp();

            let case = format!("{name}, windows of {length}");
            assert_eq!(result.n_tokens, ids.len(), "{case}");
            assert_eq!(result.n_scored, own.len(), "{case}");
            assert_eq!(result.n_windows, ids.len() / length, "{case}");
            let compared = result.full.unwrap();
            let close = |what: &str, a: f64, b: f64| {
                assert!(
                    (a - b).abs() <= TOLERANCE * b.abs().max(1.0),
                    "{case}: {what} {a} {b}"
                );
            };
            close("perplexity", result.perplexity, mean(&own).exp());
            close("standard error", result.standard_error, error);
            close("full model's", compared.perplexity, mean(&full).exp());
            close("KL", compared.kl, mean(&kl));
            close(
                "KL max",
                compared.kl_max,
                kl.iter().copied().fold(f64::MIN, f64::max),
            );
            assert_eq!(
                compared.top1_agreement,
                f64::from(same as u32) / n,
                "{case}"
            );

            let is_full = matches!(name, "off" | "trace");
            assert_eq!(compared.kl == 0.0, is_full, "{case}");
            assert_eq!(
                result.usage.prompt.mean().is_some(),
                name != "off",
                "{case}"
            );
        }
    }
}

#[test]
fn without_a_comparison_the_numbers_are_the_same_and_one_pass_is_run() {
    let (model, tokenizer) = model();
    let ids = tokenizer.encode(TEXT, AddSpecialTokens::Once).unwrap();
    let policy = || LastActive::new(GateConfig::new(0.4));
    let with = run(
        &model,
        &ids,
        &config(9, ComparedWith::FullModel),
        &mut policy(),
    );
    let mut without = run(
        &model,
        &ids,
        &config(9, ComparedWith::Nothing),
        &mut policy(),
    );
    assert!(with.full.is_some() && without.full.is_none());
    without.full = with.full;
    assert_eq!(with, without);
}

#[test]
fn a_run_ends_where_it_is_told_to() {
    let (model, tokenizer) = model();
    let ids = tokenizer.encode(TEXT, AddSpecialTokens::Once).unwrap();
    let config = config(8, ComparedWith::Nothing);
    let mut n_calls = 0;
    let result = perplexity(&model, &ids, &config, &mut Off, &mut |so_far| {
        n_calls += 1;
        assert_eq!(so_far.n_windows, n_calls);
        if n_calls == 2 {
            Flow::Stop
        } else {
            Flow::Continue
        }
    });
    let expected = run(&model, &ids[..16], &config, &mut Off);
    assert_eq!(result.unwrap().perplexity, expected.perplexity);
}

#[test]
fn what_does_not_fit_is_refused() {
    let (model, tokenizer) = model();
    let ids = tokenizer.encode(TEXT, AddSpecialTokens::Once).unwrap();
    let mut beyond = ids.clone();
    beyond[9] = 1_000_000;
    let cases: [(&str, &[u32], usize); 4] = [
        (
            "the length of a window is 3, expected at least 4 tokens",
            &ids,
            3,
        ),
        ("expected at most the model's context of", &ids, 1_000_000),
        ("expected at most the 7 tokens of the text", &ids[..7], 8),
        ("window 2 of the text", &beyond, 8),
    ];
    for (expected, ids, length) in cases {
        let config = config(length, ComparedWith::Nothing);
        let result = perplexity(&model, ids, &config, &mut Off, &mut |_| Flow::Continue);
        let error = result.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(
            matches!(error, Error::Window { .. }),
            length == 8 && ids.len() > 8
        );
    }
}
