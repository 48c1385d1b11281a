//! Texts that are scored: padded on the right, and fed in parts that share their beginnings.

use burn::tensor::{Device, Tensor};
use lac_core::{
    CausalLm, GateConfig, GenerateArgs, GenerationConfig, LayerPolicy, Off, Pass, PassRecord,
    Trace, generate,
    generation::{Generated, Sampling, SamplingConfig, forward_hidden},
};
use lac_models::{Decoder, decoder::DecoderContext};

use crate::devices::devices;
use crate::parity::load;

fn step(
    model: &Decoder,
    pass: &Pass,
    context: &mut DecoderContext,
    policy: &mut dyn LayerPolicy,
) -> (Tensor<3>, PassRecord) {
    let out = forward_hidden(model, pass, context, policy).unwrap();
    (out.hidden, out.readings.read(pass).unwrap())
}

/// The states of a row's tokens, and its deltas, layer by layer.
fn row(
    (hidden, record): &(Tensor<3>, PassRecord),
    row: usize,
    n_tokens: usize,
) -> (Tensor<3>, Vec<f32>) {
    let pass = &record.pass;
    let slots: Vec<usize> = (0..pass.seq())
        .filter(|&slot| pass.position(row, slot).is_some())
        .collect();
    assert_eq!(slots.len(), n_tokens);
    let states = hidden
        .clone()
        .narrow(0, row, 1)
        .narrow(1, slots[0], n_tokens);
    let gate = record.gate.as_ref().unwrap();
    let deltas = (0..record.n_layers())
        .flat_map(|layer_idx| slots.iter().map(move |&slot| (layer_idx, slot)))
        .map(|(layer_idx, slot)| gate.deltas[record.at(layer_idx, row, slot)])
        .collect();
    (states, deltas)
}

fn close(a: &(Tensor<3>, Vec<f32>), b: &(Tensor<3>, Vec<f32>), what: &str) {
    let difference = (a.0.clone() - b.0.clone()).abs().max().into_scalar::<f32>();
    assert!(difference < 1e-4, "{what}: states differ by {difference}");
    for (a, b) in a.1.iter().zip(&b.1) {
        assert!((a - b).abs() < 1e-4, "{what}: deltas {a} and {b}");
    }
}

/// Three texts with a common beginning: alone, side by side, and after the beginning; then two
/// endings each for texts that are padded on the left.
#[test]
fn texts_in_parts_are_the_texts_as_a_whole() {
    for (backend, device) in devices() {
        let names = match backend {
            "flex" => &["llama", "mistral-window", "qwen2"][..],
            _ => &["mistral-window"][..],
        };
        for name in names {
            check(&format!("{name} on {backend}"), &load(name, &device));
        }
    }
}

fn check(name: &str, model: &Decoder) {
    let mut policy = Trace::new(GateConfig::new(0.8));
    let start: Vec<u32> = (3..14).collect();
    let ends: [Vec<u32>; 3] = [vec![20], vec![21, 22, 23, 24], vec![25, 26]];
    let texts: Vec<Vec<u32>> = ends.iter().map(|end| [&start[..], end].concat()).collect();
    let fresh = |pass: &Pass| model.new_context(pass.batch(), pass.seq());

    let pass = Pass::scored(&texts, 0).unwrap();
    assert!(pass.is_padded() && !pass.is_padded_left());
    let together = step(model, &pass, &mut fresh(&pass), &mut policy);
    let n_counted = together.1.counted().count();
    assert_eq!(n_counted, texts.iter().map(Vec::len).sum::<usize>());

    let first = Pass::prompt(&[&start], 0).unwrap();
    let mut context = fresh(&first);
    step(model, &first, &mut context, &mut policy);
    let after = first.scored_after(&[0, 0, 0], &ends, 0).unwrap();
    let capacity = after.past() + after.seq();
    let mut repeated = model
        .repeat_context(&context, &[0, 0, 0], after.past(), capacity)
        .unwrap();
    let in_parts = step(model, &after, &mut repeated, &mut policy);

    for (i, text) in texts.iter().enumerate() {
        let alone = Pass::prompt(&[text], 0).unwrap();
        let alone = step(model, &alone, &mut fresh(&alone), &mut policy);
        let whole = row(&alone, 0, text.len());
        close(
            &row(&together, i, text.len()),
            &whole,
            &format!("{name}, row {i}"),
        );
        let end = row(&in_parts, i, ends[i].len());
        let states = whole.0.narrow(1, start.len(), ends[i].len());
        let difference = (end.0 - states).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-4, "{name}, end {i}: {difference}");
        let position = after.position(i, 0).unwrap();
        assert_eq!(position, start.len());
    }

    // Contexts of different lengths, the shorter one padded on the left; each is gone on from
    // twice, in another order.
    let contexts = [&start[..4], &start[..]];
    let first = Pass::prompt(&contexts, 0).unwrap();
    let mut context = fresh(&first);
    step(model, &first, &mut context, &mut policy);
    let sources = [1, 0, 0, 1];
    let ends: [&[u32]; 4] = [&[30, 31], &[32], &[30, 31, 33], &[34]];
    let after = first.scored_after(&sources, &ends, 0).unwrap();
    let capacity = after.past() + after.seq();
    let mut repeated = model
        .repeat_context(&context, &sources, after.past(), capacity)
        .unwrap();
    let seen = step(model, &after, &mut repeated, &mut policy);
    for (i, (&source, end)) in sources.iter().zip(ends).enumerate() {
        let text = [contexts[source], end].concat();
        let alone = Pass::prompt(&[&text], 0).unwrap();
        let (states, _) = step(model, &alone, &mut fresh(&alone), &mut policy);
        let states = states.narrow(1, contexts[source].len(), end.len());
        let difference = (row(&seen, i, end.len()).0 - states).abs().max();
        let difference = difference.into_scalar::<f32>();
        assert!(difference < 1e-4, "{name}, ending {i}: {difference}");
        assert_eq!(after.position(i, 0), Some(contexts[source].len()));
    }
}

#[test]
fn an_uncached_context_cannot_be_repeated() {
    let model = load("llama", &Device::flex());
    let context = model.uncached_context(4);
    assert!(model.repeat_context(&context, &[0], 0, 4).is_none());
    assert!(Pass::scored::<Vec<u32>>(&[], 0).is_err());
    assert!(Pass::scored(&[vec![1], vec![]], 0).is_err());
}

#[test]
fn streams_make_draws_independent_of_a_rows_place() {
    let model = load("llama", &Device::flex());
    let config =
        GenerationConfig::greedy(6).with_sampling(Sampling::Random(SamplingConfig::new(2.0, 3)));
    let rows = |prompts: &[Vec<u32>], streams: &[u64]| -> Vec<Generated> {
        let mut policy = Off;
        let hooks = GenerateArgs::new(&mut policy).row_seeds(streams);
        generate(&model, prompts, &config, hooks).unwrap().rows
    };
    let prompts = [vec![5, 6, 7], vec![9, 8]];
    let both = rows(&prompts, &[u64::MAX, 40]);
    assert_eq!(rows(&prompts[1..], &[40])[0], both[1]);
    assert_eq!(rows(&prompts[..1], &[u64::MAX])[0], both[0]);
    assert_ne!(rows(&prompts[..1], &[7])[0], both[0]);
}
