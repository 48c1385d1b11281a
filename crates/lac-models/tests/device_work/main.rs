//! What a decoded token costs a GPU beside arithmetic, counted by cubecl's own logger: launches, allocations, reads back
//! to the host, and kernels compiled. A program of its own, because the counts are those of a whole process.
//!
//! `cargo test -p lac-models --features wgpu --test device_work -- --nocapture` prints the table of docs/benchmarks.md.

#![allow(clippy::unwrap_used)]

mod counts;
mod log;

use burn::tensor::Device;
use lac_core::{
    Bypass, GateConfig, GenerateArgs, GenerationConfig, Halt, LastActive, LayerPolicy, Off,
    Planned, SkippedKeys, Trace, Usage, generate, plan::PhasePlan,
};
use lac_models::{Decoder, DecoderConfig};

use counts::Counts;
use log::DeviceLog;

const N_LAYERS: usize = 4;

/// A decoder of few and small layers: what is counted depends on their number alone.
fn decoder(device: &Device) -> Decoder {
    DecoderConfig::new(256, 64, N_LAYERS, 4)
        .with_n_kv_heads(2)
        .with_max_position_embeddings(2048)
        .init(device)
}

fn decode(model: &Decoder, n_new: usize, policy: &mut dyn LayerPolicy) {
    let mut usage = Usage::default();
    let prompt: Vec<u32> = (1..=24).collect();
    let args = GenerateArgs::new(policy).observer(&mut usage);
    let output = generate(model, &[prompt], &GenerationConfig::greedy(n_new), args).unwrap();
    assert_eq!(output.rows[0].ids.len(), n_new);
}

/// Counts what `n_more` further tokens cost, each.
fn per_token(
    log: &mut DeviceLog,
    model: &Decoder,
    new_policy: &dyn Fn() -> Box<dyn LayerPolicy>,
) -> Counts {
    let (n_few, n_more) = (4, 8);
    // Kernels are compiled at their first use.
    decode(model, n_few + n_more, new_policy().as_mut());
    let mut of = |n_new| log.of(|| decode(model, n_new, new_policy().as_mut()));
    let few = of(n_few);
    let many = of(n_few + n_more);
    (many - few) / n_more
}

#[test]
fn what_a_token_costs() {
    let mut log = DeviceLog::open();
    let device = log.device();
    let model = decoder(&device);
    let gate = GateConfig::default();
    let half: Vec<bool> = (0..N_LAYERS).map(|layer_idx| layer_idx % 2 == 0).collect();
    type NewPolicy = Box<dyn Fn() -> Box<dyn LayerPolicy>>;
    // With each policy how often it may wait for the device: for the token, and where a decision is taken on the host.
    let policies: Vec<(&str, f64, NewPolicy)> = vec![
        ("off", 1.0, Box::new(|| Box::new(Off))),
        ("trace", 1.0, Box::new(move || Box::new(Trace::new(gate)))),
        (
            "last-active",
            1.0,
            Box::new(move || Box::new(LastActive::new(gate))),
        ),
        ("bypass", 1.0, Box::new(move || Box::new(Bypass::new(gate)))),
        ("planned, half of the layers", 1.0, {
            let half = half.clone();
            Box::new(move || {
                let plan = || PhasePlan::keeping(&half);
                Box::new(Planned::from_phases(plan(), plan(), SkippedKeys::Fill))
            })
        }),
        (
            "halt",
            1.0 + N_LAYERS as f64,
            Box::new(move || Box::new(Halt::new(gate))),
        ),
    ];
    println!("| policy | launches | allocations | tensors read | waits |");
    for (name, most_waits, new_policy) in &policies {
        let counts = per_token(&mut log, &model, new_policy.as_ref());
        println!("| {name} | {counts} |");
        assert!(counts.waits <= *most_waits, "{name}: {counts:?}");
    }
}

#[test]
fn kernels_compiled_do_not_grow_with_the_text() {
    let mut log = DeviceLog::open();
    let model = decoder(&log.device());
    let mut compiled_for = |n_new| log.of(|| decode(&model, n_new, &mut Off)).compiled;
    // The first text meets the kernels of the prompt and of short texts.
    let (first, longer, longest) = (compiled_for(40), compiled_for(500), compiled_for(700));
    println!("compiled: {first} for 40 tokens, {longer} more for 500, {longest} more for 700");
    assert!(first > 0.0, "the log names kernels otherwise");
    // Those of other sizes of the cache, and of masks; not one for each of 460 tokens.
    assert!(longer <= 16.0, "{longer} more for 500 tokens");
    assert_eq!(longest, 0.0, "for 700 tokens");
}
