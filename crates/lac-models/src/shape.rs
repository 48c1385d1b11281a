//! Shapes of well-known models, for measurements without their weights.

use std::path::Path;

use crate::architecture::{ConfigError, ModelConfig};

/// The shape of a well-known model: its configuration, without weights. [`dummy_model`](crate::dummy_model)
/// fills it with random ones.
///
/// ```
/// use lac_models::ModelShape;
///
/// let shape: ModelShape = "qwen2.5-0.5b".parse()?;
/// let config = shape.config()?.decoder;
/// assert_eq!((config.n_layers, config.hidden_size), (24, 896));
/// assert_eq!(config.n_parameters(), 494_032_768);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModelShape {
    /// Qwen2.5-0.5B.
    Qwen2_5_0_5b,
    /// Qwen2.5-1.5B.
    Qwen2_5_1_5b,
    /// Qwen2.5-7B.
    Qwen2_5_7b,
    /// Qwen3-0.6B.
    Qwen3_0_6b,
    /// Qwen3-8B.
    Qwen3_8b,
    /// Gemma 3 1B.
    Gemma3_1b,
    /// Llama-3-8B.
    Llama3_8b,
    /// Mistral-7B-v0.3.
    Mistral7b,
    /// Mixtral-8x7B.
    Mixtral8x7b,
    /// Qwen3-30B-A3B.
    Qwen3_30bA3b,
}

impl ModelShape {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Qwen2_5_0_5b,
        Self::Qwen2_5_1_5b,
        Self::Qwen2_5_7b,
        Self::Qwen3_0_6b,
        Self::Qwen3_8b,
        Self::Gemma3_1b,
        Self::Llama3_8b,
        Self::Mistral7b,
        Self::Mixtral8x7b,
        Self::Qwen3_30bA3b,
    ];

    /// Returns the name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qwen2_5_0_5b => "qwen2.5-0.5b",
            Self::Qwen2_5_1_5b => "qwen2.5-1.5b",
            Self::Qwen2_5_7b => "qwen2.5-7b",
            Self::Qwen3_0_6b => "qwen3-0.6b",
            Self::Qwen3_8b => "qwen3-8b",
            Self::Gemma3_1b => "gemma-3-1b",
            Self::Llama3_8b => "llama-3-8b",
            Self::Mistral7b => "mistral-7b",
            Self::Mixtral8x7b => "mixtral-8x7b",
            Self::Qwen3_30bA3b => "qwen3-30b-a3b",
        }
    }

    /// Returns the configuration, read as a checkpoint's is.
    ///
    /// # Errors
    /// Never for these texts, which the tests read.
    pub fn config(self) -> Result<ModelConfig, ConfigError> {
        let text = match self {
            Self::Qwen2_5_0_5b => QWEN_2_5_0_5B,
            Self::Qwen2_5_1_5b => QWEN_2_5_1_5B,
            Self::Qwen2_5_7b => QWEN_2_5_7B,
            Self::Qwen3_0_6b => QWEN_3_0_6B,
            Self::Qwen3_8b => QWEN_3_8B,
            Self::Gemma3_1b => GEMMA_3_1B,
            Self::Llama3_8b => LLAMA_3_8B,
            Self::Mistral7b => MISTRAL_7B,
            Self::Mixtral8x7b => MIXTRAL_8X7B,
            Self::Qwen3_30bA3b => QWEN_3_30B_A3B,
        };
        ModelConfig::from_json(text, Path::new(self.name()))
    }
}

impl std::str::FromStr for ModelShape {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let shape = Self::ALL.into_iter().find(|shape| shape.name() == name);
        shape.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown shape {name:?}: expected one of {names}")
        })
    }
}

impl std::fmt::Display for ModelShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

const QWEN_2_5_0_5B: &str = r#"{
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu",
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "tie_word_embeddings": true,
    "use_sliding_window": false, "vocab_size": 151936, "eos_token_id": 151645
}"#;

const QWEN_2_5_1_5B: &str = r#"{
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu",
    "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
    "num_attention_heads": 12, "num_key_value_heads": 2, "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "tie_word_embeddings": true,
    "use_sliding_window": false, "vocab_size": 151936, "eos_token_id": 151643
}"#;

const QWEN_2_5_7B: &str = r#"{
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu",
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "tie_word_embeddings": false,
    "use_sliding_window": false, "vocab_size": 152064, "eos_token_id": 151645
}"#;

const QWEN_3_0_6B: &str = r#"{
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu",
    "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
    "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 151936,
    "eos_token_id": 151645
}"#;

const QWEN_3_8B: &str = r#"{
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu",
    "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
    "tie_word_embeddings": false, "use_sliding_window": false, "vocab_size": 151936,
    "eos_token_id": 151645
}"#;

const GEMMA_3_1B: &str = r#"{
    "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text",
    "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152, "intermediate_size": 6912,
    "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
    "max_position_embeddings": 32768, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "sliding_window": 512,
    "sliding_window_pattern": 6, "vocab_size": 262144, "eos_token_id": [1, 106]
}"#;

const LLAMA_3_8B: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": false,
    "vocab_size": 128256, "eos_token_id": 128009
}"#;

const MISTRAL_7B: &str = r#"{
    "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_act": "silu",
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-5, "rope_theta": 1000000.0, "tie_word_embeddings": false,
    "sliding_window": null, "vocab_size": 32768, "eos_token_id": 2
}"#;

const MIXTRAL_8X7B: &str = r#"{
    "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_act": "silu",
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 8,
    "num_experts_per_tok": 2, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5,
    "rope_theta": 1000000.0, "tie_word_embeddings": false, "sliding_window": null,
    "vocab_size": 32000, "eos_token_id": 2
}"#;

const QWEN_3_30B_A3B: &str = r#"{
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_act": "silu",
    "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768,
    "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
    "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": true,
    "decoder_sparse_step": 1, "mlp_only_layers": [], "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "tie_word_embeddings": false,
    "use_sliding_window": false, "vocab_size": 151936, "eos_token_id": 151645
}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_has_the_size_of_its_model() {
        for (shape, (n_parameters, n_per_token)) in ModelShape::ALL.into_iter().zip([
            (494_032_768, 494_032_768),
            (1_543_714_304, 1_543_714_304),
            (7_615_616_512, 7_615_616_512),
            (596_049_920, 596_049_920),
            (8_190_735_360, 8_190_735_360),
            (999_885_952, 999_885_952),
            (8_030_261_248, 8_030_261_248),
            (7_248_023_552, 7_248_023_552),
            (46_702_792_704, 12_879_925_248),
            (30_532_122_624, 3_353_032_704),
        ]) {
            let config = shape.config().unwrap().decoder;
            assert_eq!(config.n_parameters(), n_parameters, "{shape}");
            assert_eq!(config.n_parameters_per_token(), n_per_token, "{shape}");
            assert_eq!(shape.name().parse(), Ok(shape));
        }
        assert!(
            "gpt-5"
                .parse::<ModelShape>()
                .unwrap_err()
                .contains("mistral-7b")
        );
    }
}
