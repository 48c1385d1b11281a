//! What the gate and the policies cost on top of the layers, on the CPU.

use std::hint::black_box;

use burn::tensor::{Device, Tensor, TensorData};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lac_core::{
    Bypass, Gate, GateConfig, GenerateArgs, GenerationConfig, LastActive, LayerPolicy, Off, Trace,
    generate,
};
use lac_models::{Decoder, ModelConfig, WeightDtype, dummy_model};

/// The gate's verdict on one layer, for one token and for a prompt of 512.
fn gate(criterion: &mut Criterion) {
    let device = Device::flex();
    let mut group = criterion.benchmark_group("gate_measure");
    for (batch, seq, hidden) in [(1, 1, 896), (1, 1, 4096), (1, 512, 896)] {
        let values: Vec<f32> = (0..batch * seq * hidden)
            .map(|idx| (idx as f32).sin())
            .collect();
        let data = TensorData::new(values, [batch, seq, hidden]);
        let state = Tensor::<3>::from_data(data, &device);
        group.throughput(Throughput::Bytes((batch * seq * hidden * 4) as u64));
        let id = BenchmarkId::from_parameter(format!("{batch}x{seq}x{hidden}"));
        group.bench_function(id, |bencher| {
            let start = Gate::start(GateConfig::default(), &state).expect("alpha is valid");
            bencher.iter(|| black_box(start.clone().measure(black_box(&state))));
        });
    }
    group.finish();
}

/// Twelve layers of a small model of random weights.
fn small_model(device: &Device) -> Decoder {
    let config = r#"{"model_type": "qwen2", "vocab_size": 1024, "hidden_size": 256,
        "intermediate_size": 768, "num_hidden_layers": 12, "num_attention_heads": 8,
        "num_key_value_heads": 4, "max_position_embeddings": 512, "tie_word_embeddings": true}"#;
    let config = ModelConfig::from_json(config, "bench".as_ref()).expect("the shape is valid");
    dummy_model(&config.decoder, WeightDtype::F32, device, 1).expect("the CPU has f32")
}

/// A prompt of 64 tokens and 32 new ones, under each policy.
fn policies(criterion: &mut Criterion) {
    let model = small_model(&Device::flex());
    let prompt: Vec<u32> = (0..64).collect();
    let config = GenerationConfig::greedy(32);
    let gate = GateConfig::default();
    let mut policies: [Box<dyn LayerPolicy>; 4] = [
        Box::new(Off),
        Box::new(Trace::new(gate)),
        Box::new(LastActive::new(gate)),
        Box::new(Bypass::new(gate)),
    ];
    let mut group = criterion.benchmark_group("generate_32_of_64");
    group.throughput(Throughput::Elements(32));
    group.sample_size(20);
    for policy in &mut policies {
        group.bench_function(policy.name().to_owned(), |bencher| {
            bencher.iter(|| {
                let prompts = std::slice::from_ref(&prompt);
                generate(&model, prompts, &config, GenerateArgs::new(policy.as_mut()))
                    .expect("the prompt is valid")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, gate, policies);
criterion_main!(benches);
