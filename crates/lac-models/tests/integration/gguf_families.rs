//! Families of models in GGUF, laid out as llama.cpp's converter lays them out, against what transformers computes for the
//! folders that they are made from.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use lac_core::CausalLm;
use lac_models::{Decoder, ModelFolder, WeightDtype};
use safetensors::tensor::Dtype;
use serde_json::Value;
use tempfile::TempDir;

use crate::families::{check_with, folder};
use crate::gguf::{Stored, config, in_pairs, tensors};
use crate::gguf_builder::GgufBuilder;
use crate::gguf_experts::stack_experts;

/// A family as the converter knows it.
struct Converter {
    /// The architecture's name in files.
    name: &'static str,
    config: Value,
    builder: GgufBuilder,
    experts: ExpertTensors,
}

/// How a converter writes experts.
#[derive(Clone, Copy, PartialEq)]
enum ExpertTensors {
    /// One tensor for all experts of a layer.
    Stacked,
    /// One for each, as the first converters did.
    Each,
}

impl Converter {
    fn new(name: &'static str, config: Value) -> Self {
        let builder = GgufBuilder::default().text("general.architecture", name);
        Self {
            name,
            config,
            builder,
            experts: ExpertTensors::Stacked,
        }
    }

    fn size(&self, field: &str) -> u32 {
        self.config[field].as_u64().unwrap() as u32
    }

    fn number(&self, field: &str) -> f32 {
        self.config[field].as_f64().unwrap() as f32
    }

    fn u32(self, key: &str, value: u32) -> Self {
        let builder = self.builder.u32(&format!("{}.{key}", self.name), value);
        Self { builder, ..self }
    }

    fn f32(self, key: &str, value: f32) -> Self {
        let builder = self.builder.f32(&format!("{}.{key}", self.name), value);
        Self { builder, ..self }
    }

    fn text(self, key: &str, value: &str) -> Self {
        let builder = self.builder.text(&format!("{}.{key}", self.name), value);
        Self { builder, ..self }
    }

    fn flags(self, key: &str, values: &[bool]) -> Self {
        let builder = self.builder.flags(&format!("{}.{key}", self.name), values);
        Self { builder, ..self }
    }

    /// The keys of every family.
    fn sizes(self) -> Self {
        let sizes = [
            ("block_count", "num_hidden_layers"),
            ("context_length", "max_position_embeddings"),
            ("embedding_length", "hidden_size"),
            ("feed_forward_length", "intermediate_size"),
            ("attention.head_count", "num_attention_heads"),
            ("attention.head_count_kv", "num_key_value_heads"),
        ];
        let mut all = self;
        for (key, field) in sizes {
            let size = all.size(field);
            all = all.u32(key, size);
        }
        if let Some(n_experts) = all.experts() {
            let n_chosen = all.size("num_experts_per_tok");
            all = all.u32("expert_count", n_experts);
            all = all.u32("expert_used_count", n_chosen);
            if all.config["moe_intermediate_size"].is_u64() {
                let width = all.size("moe_intermediate_size");
                all = all.u32("expert_feed_forward_length", width);
            }
            if all.config["shared_expert_intermediate_size"].is_u64() {
                let width = all.size("shared_expert_intermediate_size");
                all = all.u32("expert_shared_feed_forward_length", width);
            }
        }
        if all.config["head_dim"].is_u64() {
            let head_dim = all.size("head_dim");
            all = all.u32("attention.key_length", head_dim);
            all = all.u32("attention.value_length", head_dim);
        }
        let epsilon = all.number("rms_norm_eps");
        let tokens: Vec<String> = (0..all.size("vocab_size"))
            .map(|id| format!("t{id}"))
            .collect();
        all.builder = all.builder.texts("tokenizer.ggml.tokens", &tokens);
        all.f32("attention.layer_norm_rms_epsilon", epsilon)
    }

    /// The number of experts, by either name.
    fn experts(&self) -> Option<u32> {
        let names = ["num_local_experts", "num_experts"];
        let counts = names.map(|name| self.config[name].as_u64());
        counts
            .into_iter()
            .flatten()
            .next()
            .map(|count| count as u32)
    }

    fn head_dim(&self) -> usize {
        let quotient = self.size("hidden_size") / self.size("num_attention_heads");
        self.config["head_dim"].as_u64().unwrap_or(quotient.into()) as usize
    }

    /// The keys that the family alone has.
    fn own_keys(self) -> Self {
        let config = self.config.clone();
        let scaling = &config["rope_scaling"];
        let number = |value: &Value| value.as_f64().unwrap() as f32;
        let parameters = &config["rope_parameters"];
        let theta = match config["rope_theta"].as_f64() {
            Some(theta) => theta as f32,
            None if parameters["rope_theta"].is_number() => number(&parameters["rope_theta"]),
            None => number(&parameters["full_attention"]["rope_theta"]),
        };
        let all = match self.name {
            // It leaves the base to the default.
            "gemma2" => self,
            _ => self.f32("rope.freq_base", theta),
        };
        // A scale is written for Granite alone; the published Gemmas are known by their sizes, these small ones are not.
        let query_scale = || number(&config["query_pre_attn_scalar"]).powf(-0.5);
        let all = match all.name {
            "gemma2" => all
                .f32("attention.scale", query_scale())
                .f32(
                    "attn_logit_softcapping",
                    number(&config["attn_logit_softcapping"]),
                )
                .f32(
                    "final_logit_softcapping",
                    number(&config["final_logit_softcapping"]),
                ),
            "gemma3" => {
                let sliding = [
                    &config["rope_local_base_freq"],
                    &parameters["sliding_attention"]["rope_theta"],
                ];
                let sliding = sliding.into_iter().find_map(Value::as_f64).unwrap() as f32;
                all.f32("attention.scale", query_scale())
                    .f32("rope.freq_base_swa", sliding)
                    .text("rope.scaling.type", "linear")
                    .f32("rope.scaling.factor", 8.0)
            }
            "granite" => all
                .f32("attention.scale", number(&config["attention_multiplier"]))
                .f32("embedding_scale", number(&config["embedding_multiplier"]))
                .f32("residual_scale", number(&config["residual_multiplier"]))
                .f32("logit_scale", number(&config["logits_scaling"])),
            "mistral3" => {
                let original = &parameters["original_max_position_embeddings"];
                return all
                    .text("rope.scaling.type", "yarn")
                    .f32("rope.scaling.factor", number(&parameters["factor"]))
                    .f32(
                        "rope.scaling.yarn_beta_fast",
                        number(&parameters["beta_fast"]),
                    )
                    .f32(
                        "rope.scaling.yarn_beta_slow",
                        number(&parameters["beta_slow"]),
                    )
                    .u32(
                        "rope.scaling.original_context_length",
                        original.as_u64().unwrap() as u32,
                    )
                    .f32(
                        "rope.scaling.yarn_log_multiplier",
                        number(&parameters["mscale_all_dim"]),
                    )
                    .f32(
                        "attention.temperature_scale",
                        number(&parameters["llama_4_scaling_beta"]),
                    );
            }
            "phi3" => {
                let (hidden, n_heads) = (all.size("hidden_size"), all.size("num_attention_heads"));
                let part = config["partial_rotary_factor"].as_f64().unwrap();
                let n_rotated = (part * f64::from(hidden)) as u32 / n_heads;
                let positions = all.size("max_position_embeddings");
                let original = config["original_max_position_embeddings"].as_u64();
                let original = original.unwrap_or(positions.into()) as u32;
                let mut all = all
                    .u32("rope.dimension_count", n_rotated)
                    .u32("rope.scaling.original_context_length", original)
                    .u32(
                        "attention.sliding_window",
                        config["sliding_window"].as_u64().unwrap_or(0) as u32,
                    );
                if scaling.is_object() {
                    let ratio = f64::from(positions) / f64::from(original);
                    let factor = (1.0 + ratio.ln() / f64::from(original).ln()).sqrt();
                    all = all.f32("rope.scaling.attn_factor", factor as f32);
                    for (name, field) in [
                        ("rope_factors_short.weight", "short_factor"),
                        ("rope_factors_long.weight", "long_factor"),
                    ] {
                        let factors = scaling[field].as_array().unwrap().iter();
                        let factors: Vec<f32> = factors.map(number).collect();
                        all.builder = all.builder.f32_tensor(name, &[factors.len()], &factors);
                    }
                }
                return all;
            }
            _ => all,
        };
        let all = match scaling["rope_type"].as_str() {
            Some("yarn") => {
                let original = scaling["original_max_position_embeddings"]
                    .as_u64()
                    .unwrap();
                let mut all = all
                    .text("rope.scaling.type", "yarn")
                    .f32("rope.scaling.factor", number(&scaling["factor"]))
                    .u32("rope.scaling.original_context_length", original as u32);
                for (key, field) in [
                    ("rope.scaling.yarn_attn_factor", "attention_factor"),
                    ("rope.scaling.yarn_beta_slow", "beta_slow"),
                ] {
                    if scaling[field].is_number() {
                        all = all.f32(key, number(&scaling[field]));
                    }
                }
                all
            }
            _ => all,
        };
        let Some(window) = config["sliding_window"].as_u64() else {
            return all;
        };
        let all = all.u32("attention.sliding_window", window as u32);
        let slides = |layer_type: &Value| layer_type == "sliding_attention";
        match (all.name, config["layer_types"].as_array()) {
            (_, Some(types)) => {
                let slides: Vec<bool> = types.iter().map(slides).collect();
                all.flags("attention.sliding_window_pattern", &slides)
            }
            ("gemma3", None) => {
                let period = all.size("sliding_window_pattern");
                all.u32("attention.sliding_window_pattern", period)
            }
            // Gemma 2 and OLMo 3 have the pattern that their names stand for.
            _ => all,
        }
    }

    /// The converter's name of a tensor.
    fn tensor_name(&self, name: &str) -> String {
        let has_four_norms = self.name.starts_with("gemma");
        let has_norms_behind = has_four_norms || self.name == "olmo2";
        let name = name.strip_prefix("model.").unwrap_or(name);
        if name == "norm.weight" {
            return "output_norm.weight".to_owned();
        }
        let second = if has_norms_behind {
            "post_attention_norm"
        } else {
            "ffn_norm"
        };
        let named = [
            ("embed_tokens", "token_embd"),
            ("lm_head", "output"),
            ("layers", "blk"),
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", second),
            ("pre_feedforward_layernorm", "ffn_norm"),
            ("post_feedforward_layernorm", "post_ffw_norm"),
            ("self_attn.qkv_proj", "attn_qkv"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
            ("self_attn.q_norm", "attn_q_norm"),
            ("self_attn.k_norm", "attn_k_norm"),
            ("block_sparse_moe.gate", "ffn_gate_inp"),
            ("mlp.gate.", "ffn_gate_inp."),
            ("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
            ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
            ("mlp.shared_expert.up_proj", "ffn_up_shexp"),
            ("mlp.shared_expert.down_proj", "ffn_down_shexp"),
            ("block_sparse_moe.experts", "mlp.experts"),
            ("w1.weight", "ffn_gate"),
            ("w2.weight", "ffn_down"),
            ("w3.weight", "ffn_up"),
            ("mlp.gate_up_proj", "ffn_up"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        ]
        .iter()
        .fold(name.to_owned(), |name, (from, to)| name.replace(from, to));
        let Some((layer, of_expert)) = named.split_once(".mlp.experts.") else {
            return named;
        };
        let (expert, part) = of_expert.split_once('.').unwrap();
        format!("{layer}.{part}.{expert}.weight")
    }

    /// Adds the tensors of a folder and writes the file.
    fn write(mut self, folder: &Path, path: &Path) {
        let is_permuted = ["llama", "granite", "mistral3", "smollm3"].contains(&self.name);
        let tensors = match self.experts {
            ExpertTensors::Stacked => stack_experts(tensors(folder)),
            ExpertTensors::Each => tensors(folder),
        };
        for (name, stored) in tensors {
            let Stored {
                dtype,
                shape,
                mut bytes,
                mut values,
            } = stored;
            // The converter squeezes it.
            let shape = match shape[..] {
                [1, width] => vec![width],
                _ => shape,
            };
            if is_permuted && (name.contains("q_proj") || name.contains("k_proj")) {
                bytes = in_pairs(&bytes, shape[0], self.head_dim());
                values = in_pairs(&values, shape[0], self.head_dim());
            }
            if self.name.starts_with("gemma") && name.ends_with("norm.weight") {
                values.iter_mut().for_each(|value| *value += 1.0);
            }
            let name = self.tensor_name(&name);
            self.builder = match dtype {
                Dtype::BF16 if shape.len() > 1 && !name.contains("_inp") => {
                    self.builder.tensor(&name, &shape, 30, bytes)
                }
                _ => self.builder.f32_tensor(&name, &shape, &values),
            };
        }
        self.builder.write(path);
    }
}

/// Converts a folder, and checks that no key is left unread.
fn convert(architecture: &'static str, folder: &Path, path: &Path) -> ModelFolder {
    let converter = Converter::new(architecture, config(folder));
    converter.sizes().own_keys().write(folder, path);
    let gguf = ModelFolder::open(path).unwrap();
    assert_eq!(gguf.config().unknown_fields, [""; 0], "{architecture}");
    gguf
}

fn load(folder: &ModelFolder, device: &Device) -> Decoder {
    folder.load(WeightDtype::F32, device, &mut |_| {}).unwrap()
}

/// The first files of Mixtral have a tensor for each matrix of each expert.
#[test]
fn mixtral_in_a_tensor_for_each_expert() {
    let converted = TempDir::new().unwrap();
    let path = converted.path().join("m.gguf");
    let converter = Converter::new("llama", config(&folder("mixtral")));
    let converter = Converter {
        experts: ExpertTensors::Each,
        ..converter.sizes().own_keys()
    };
    converter.write(&folder("mixtral"), &path);
    let gguf = ModelFolder::open(&path).unwrap();
    check_with("mixtral", |device| load(&gguf, device));
}

fn check(architecture: &'static str, name: &str) {
    let converted = TempDir::new().unwrap();
    let gguf = convert(
        architecture,
        &folder(name),
        &converted.path().join("m.gguf"),
    );
    check_with(name, |device| load(&gguf, device));
}

macro_rules! families {
    ($($test:ident: $architecture:literal, $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check($architecture, $name);
            }
        )*
    };
}

families! {
    qwen3: "qwen3", "qwen3",
    gemma2: "gemma2", "gemma2",
    gemma3: "gemma3", "gemma3",
    gemma3_with_a_list_of_layers: "gemma3", "gemma3-saved",
    granite: "granite", "granite",
    olmo2: "olmo2", "olmo2",
    olmo3_is_an_olmo2_with_a_window: "olmo2", "olmo3",
    phi3_with_partial_rotation: "phi3", "phi3",
    phi3_with_longrope: "phi3", "phi3-longrope",
    llama_with_yarn: "llama", "llama-yarn",
    ministral3: "mistral3", "ministral3",
    mixtral_is_a_llama_with_experts: "llama", "mixtral",
    qwen3_moe: "qwen3moe", "qwen3-moe-stacked",
    qwen2_moe: "qwen2moe", "qwen2-moe-gguf",
}

/// Of a SmolLM3 files say nothing of the layers that are not rotated: it is every fourth.
#[test]
fn smollm3_leaves_out_every_fourth_rotation() {
    let original = TempDir::new().unwrap();
    let mut config = config(&folder("smollm3"));
    let object = config.as_object_mut().unwrap();
    object.remove("no_rope_layers");
    fs::write(original.path().join("config.json"), config.to_string()).unwrap();
    let weights = "model.safetensors";
    fs::copy(
        folder("smollm3").join(weights),
        original.path().join(weights),
    )
    .unwrap();
    let gguf = convert("smollm3", original.path(), &original.path().join("m.gguf"));
    let original = ModelFolder::open(original.path()).unwrap();
    assert_eq!(gguf.config().decoder, original.config().decoder);
    assert_eq!(gguf.config().decoder.unrotated_layers, [3]);
    let device = Device::flex();
    let [found, expected] = [&gguf, &original].map(|folder| {
        let model = load(folder, &device);
        let ids: Vec<i32> = (0..20)
            .map(|idx| idx * 7 % model.vocab_size() as i32)
            .collect();
        let ids = burn::tensor::Tensor::<1, burn::tensor::Int>::from_data(&ids[..], &device);
        model.forward(ids.reshape([1, 20])).into_data()
    });
    assert_eq!(found, expected);
}
