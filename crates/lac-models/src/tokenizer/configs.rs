//! The fields of `tokenizer_config.json` and `config.json` that say how text becomes token ids.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The special tokens that a Llama-like class puts around a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EdgeTokens {
    pub(crate) bos: Option<String>,
    pub(crate) eos: Option<String>,
}

pub(super) const CONFIG: &str = "tokenizer_config.json";

#[derive(Default, Deserialize)]
pub(super) struct TokenizerConfig {
    pub(super) tokenizer_class: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) added_tokens_decoder: Option<Value>,
    pub(super) add_bos_token: Option<bool>,
    pub(super) add_eos_token: Option<bool>,
    // A null differs from an absent field here, hence the two levels.
    #[serde(default, deserialize_with = "present")]
    pub(super) add_prefix_space: Option<Option<bool>>,
    pub(super) legacy: Option<bool>,
    pub(super) split_special_tokens: Option<bool>,
    pub(super) clean_up_tokenization_spaces: Option<bool>,
    pub(super) clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output:
        Option<bool>,
    /// Whether the pattern that Mistral's folders were written with is replaced by the right one.
    pub(super) fix_mistral_regex: Option<bool>,
    pub(super) chat_template: Option<Value>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// The fields of `config.json` that matter here.
#[derive(Default, Deserialize)]
pub(super) struct ModelConfig {
    pub(super) tokenizer_class: Option<String>,
    pub(super) model_type: Option<String>,
    pub(super) transformers_version: Option<String>,
}

fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
