//! The decoder as a burn module: made by hand, and called on a batch of token ids.

use burn::tensor::{Device, Int, Tensor, TensorData};
use lac_core::{
    CausalLm, GenerateArgs, GenerationConfig, Off, Pass, generate,
    generation::{PromptLogits, forward_hidden},
};
use lac_models::decoder::{HeadKind, ProjectionBias, RopeConfig, RopeScaling};
use lac_models::{Decoder, DecoderConfig, ModelConfig, ModelFolder};

use crate::devices::devices;
use crate::parity::{fixture, load};

const FIXTURES: [&str; 7] = [
    "llama",
    "llama-f16",
    "llama-linear",
    "llama3-scaled",
    "mistral-full",
    "mistral-window",
    "qwen2",
];

/// Texts of one length, as a decoder takes them.
fn token_tensor(texts: &[Vec<u32>], device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i64> = texts.iter().flatten().map(|&id| i64::from(id)).collect();
    Tensor::from_data(TensorData::new(ids, [texts.len(), texts[0].len()]), device)
}

fn config_of(name: &str) -> ModelConfig {
    ModelFolder::open(fixture(name)).unwrap().config().clone()
}

#[test]
fn forward_gives_every_logit_of_the_layer_loop() {
    let texts: [Vec<u32>; 2] = [(3..23).collect(), (40..60).collect()];
    for (backend, device) in devices() {
        for name in FIXTURES {
            let model = load(name, &device);
            let logits = model.forward(token_tensor(&texts, &device));
            assert_eq!(logits.dims(), [2, 20, model.vocab_size()]);

            let pass = Pass::prompt(&texts, 0).unwrap();
            let mut context = model.new_context(2, 20);
            let output = forward_hidden(&model, &pass, &mut context, &mut Off).unwrap();
            let looped = model.logits(output.hidden);
            assert_eq!(
                logits.clone().into_data(),
                looped.into_data(),
                "{name} on {backend}"
            );

            let mut policy = Off;
            let args = GenerateArgs::new(&mut policy).prompt_logits(PromptLogits::Return);
            let output = generate(&model, &texts, &GenerationConfig::greedy(1), args).unwrap();
            for (row, last) in output.prompt_logits.unwrap().iter().enumerate() {
                let row = logits.clone().narrow(0, row, 1).narrow(1, 19, 1);
                let row = row.into_data().try_to_vec::<f32>().unwrap();
                for (logit, expected) in row.iter().zip(last) {
                    assert!((logit - expected).abs() < 1e-5, "{name} on {backend}");
                }
            }
        }
    }
}

#[test]
fn a_configuration_made_by_hand_is_that_of_a_file() {
    let llama = DecoderConfig::new(96, 32, 8, 4)
        .with_intermediate_size(64)
        .with_n_kv_heads(2)
        .with_rms_norm_eps(1e-5)
        .with_max_position_embeddings(128);
    assert_eq!(llama, config_of("llama").decoder);

    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 32,
    };
    let scaled = DecoderConfig::new(96, 32, 7, 4)
        .with_intermediate_size(48)
        .with_n_kv_heads(2)
        .with_rms_norm_eps(1e-5)
        .with_max_position_embeddings(256)
        .with_rope(RopeConfig::new(100.0).with_scaling(scaling))
        .with_qkv_bias(ProjectionBias::Present)
        .with_o_bias(ProjectionBias::Present)
        .with_mlp_bias(ProjectionBias::Present)
        .with_head(HeadKind::Tied);
    assert_eq!(scaled, config_of("llama3-scaled").decoder);

    let mistral = DecoderConfig::new(96, 32, 7, 4)
        .with_intermediate_size(48)
        .with_n_kv_heads(2)
        .with_head_dim(12)
        .with_rms_norm_eps(1e-5)
        .with_max_position_embeddings(128)
        .with_sliding_window(Some(8));
    assert_eq!(mistral, config_of("mistral-window").decoder);
}

#[test]
fn a_decoder_made_by_hand_has_the_same_weights_every_time() {
    for (_, device) in devices() {
        let config = DecoderConfig::new(50, 24, 3, 3).with_mlp_bias(ProjectionBias::Present);
        let logits = |decoder: Decoder| decoder.forward(token_tensor(&[vec![7, 1, 9]], &device));
        let first = logits(config.init(&device));
        assert_eq!(first.dims(), [1, 3, 50]);
        assert_eq!(first.into_data(), logits(config.init(&device)).into_data());
    }
}

#[test]
fn sizes_that_contradict_each_other_are_named() {
    for (config, expected) in [
        (DecoderConfig::new(50, 24, 3, 0), "a size is 0"),
        (DecoderConfig::new(50, 24, 3, 8), "head_dim is odd"),
        (
            DecoderConfig::new(50, 24, 3, 4).with_n_kv_heads(3),
            "n_kv_heads does not divide n_heads",
        ),
        (
            DecoderConfig::new(50, 24, 3, 4).with_rope(RopeConfig::new(0.0)),
            "rotary angles are infinite",
        ),
    ] {
        let panic = std::panic::catch_unwind(|| config.init(&Device::default())).unwrap_err();
        let message = panic.downcast::<String>().unwrap();
        assert!(message.contains(expected), "{message}");
    }
}
