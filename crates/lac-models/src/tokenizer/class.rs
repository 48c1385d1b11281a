//! The tokenizer classes of transformers, and the version whose rules a folder follows.

use std::path::Path;

use serde_json::{Map, Value};

use super::configs::{CONFIG, EdgeTokens, ModelConfig, TokenizerConfig};
use super::error::TokenizerError;

/// The line of transformers versions whose rules decide what a folder's files mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rules {
    /// 4.x: `tokenizer.json` is used as it is, and some classes put their own post-processor in it.
    Four,
    /// 5.x: some classes take the vocabulary alone from `tokenizer.json` and have the steps around it themselves.
    Five,
}

impl Rules {
    /// Finds out which line wrote a folder. Version 5 always leaves a sign: the field `backend`, a class that earlier
    /// versions lack, or its number in `config.json`. A folder without one is older.
    pub(super) fn of(config: &TokenizerConfig, model: &ModelConfig) -> Self {
        let has_new_field = ["backend", "model_specific_special_tokens"]
            .iter()
            .any(|name| config.rest.contains_key(*name))
            || config
                .rest
                .get("extra_special_tokens")
                .is_some_and(Value::is_array);
        let has_new_class = matches!(
            config.tokenizer_class.as_deref(),
            Some("TokenizersBackend" | "MistralCommonBackend" | "PythonBackend")
        );
        let major = model
            .transformers_version
            .as_deref()
            .and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        if has_new_field || has_new_class || major >= Some(5) {
            Self::Five
        } else {
            Self::Four
        }
    }
}

/// The tokenizer classes of transformers, as far as they differ here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Class {
    Generic,
    Llama,
    CodeLlama,
    Qwen2,
    Gpt2,
    GptNeoX,
    Gemma,
    Cohere,
}

/// The tokens that code models are filled in with; the class makes them special.
pub(super) const INFILLING_TOKENS: [(&str, &str); 5] = [
    ("prefix_token", "▁<PRE>"),
    ("middle_token", "▁<MID>"),
    ("suffix_token", "▁<SUF>"),
    ("eot_token", "▁<EOT>"),
    ("fill_token", "<FILL_ME>"),
];

impl Class {
    pub(super) fn of(
        rules: Rules,
        config: &TokenizerConfig,
        model: &ModelConfig,
        folder: &Path,
    ) -> Result<Self, TokenizerError> {
        let (file, named) = match (&config.tokenizer_class, &model.tokenizer_class) {
            (Some(name), _) => (CONFIG, Some(name)),
            (None, name) => ("config.json", name.as_ref()),
        };
        let model_type = model.model_type.as_deref();
        if rules == Rules::Five {
            // Version 5 distrusts what these models' folders say.
            match model_type {
                Some("mistral") => return Ok(Self::Generic),
                Some("qwen2") => return Ok(Self::Qwen2),
                _ => {}
            }
        }
        let class = match named.map(|name| name.strip_suffix("Fast").unwrap_or(name)) {
            // Llama 3's folders name this class, which has no byte-level steps.
            Some("LlamaTokenizer") if rules == Rules::Five && is_byte_level(folder) => {
                Self::Generic
            }
            Some("LlamaTokenizer") => Self::Llama,
            Some("CodeLlamaTokenizer") => Self::CodeLlama,
            Some("Qwen2Tokenizer") => Self::Qwen2,
            Some("GPT2Tokenizer") => Self::Gpt2,
            Some("GPTNeoXTokenizer") => Self::GptNeoX,
            Some("GemmaTokenizer") => Self::Gemma,
            Some("CohereTokenizer") => Self::Cohere,
            Some(
                "PreTrainedTokenizer"
                | "TokenizersBackend"
                | "PythonBackend"
                | "MistralCommonBackend"
                | "MistralCommonTokenizer"
                | "BloomTokenizer",
            ) => Self::Generic,
            Some(name) => {
                return Err(TokenizerError::Inconsistent {
                    file: folder.join(file),
                    message: format!(
                        "\"tokenizer_class\" is {name:?}, whose rules are not known here; if the tokenizer needs none \
                         beyond tokenizer.json, write \"PreTrainedTokenizerFast\""
                    ),
                });
            }
            // Without a name, the architecture decides.
            None => match (rules, model_type) {
                (Rules::Four, Some("llama" | "mistral")) => Self::Llama,
                (Rules::Four, Some("qwen2")) | (_, Some("qwen3")) => Self::Qwen2,
                _ => Self::Generic,
            },
        };
        if rules == Rules::Five && matches!(class, Self::GptNeoX | Self::Gemma | Self::Cohere) {
            return Err(TokenizerError::Inconsistent {
                file: folder.join(file),
                message: format!(
                    "\"tokenizer_class\" is {:?}, which transformers 5 builds anew from its parts; that is not \
                     supported: save the tokenizer as \"TokenizersBackend\"",
                    named.map_or("", String::as_str)
                ),
            });
        }
        Ok(class)
    }

    /// Returns the special tokens that the class has where no file says otherwise.
    pub(super) fn default_tokens(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Generic => &[],
            Self::Llama | Self::CodeLlama => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
            ],
            Self::Qwen2 => &[
                ("eos_token", "<|endoftext|>"),
                ("unk_token", "<|endoftext|>"),
                ("pad_token", "<|endoftext|>"),
            ],
            Self::Gpt2 | Self::GptNeoX => &[
                ("bos_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
                ("unk_token", "<|endoftext|>"),
            ],
            Self::Gemma => &[
                ("bos_token", "<bos>"),
                ("eos_token", "<eos>"),
                ("unk_token", "<unk>"),
                ("pad_token", "<pad>"),
            ],
            Self::Cohere => &[
                ("bos_token", "<BOS_TOKEN>"),
                ("eos_token", "<|END_OF_TURN_TOKEN|>"),
                ("unk_token", "<UNK>"),
            ],
        }
    }

    /// Returns what the class puts around a text. Only some classes of version 4 take `add_bos_token` into account; the
    /// others leave the decision to the post-processor of `tokenizer.json`.
    pub(super) fn edge_tokens(
        self,
        rules: Rules,
        config: &TokenizerConfig,
        special_tokens: &Map<String, Value>,
        folder: &Path,
    ) -> Result<Option<EdgeTokens>, TokenizerError> {
        let adds_bos = match (rules, self) {
            (Rules::Five, Self::CodeLlama) => {
                return Ok(Some(EdgeTokens {
                    bos: special_tokens
                        .get("bos_token")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                    eos: None,
                }));
            }
            (Rules::Four, Self::Llama | Self::CodeLlama | Self::Gemma | Self::Cohere) => true,
            (Rules::Four, Self::GptNeoX) => false,
            _ => return Ok(None),
        };
        let token = |wanted: bool, name: &str| match special_tokens.get(name) {
            _ if !wanted => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            _ => Err(TokenizerError::Inconsistent {
                file: folder.join(CONFIG),
                message: format!("\"add_{name}\" is set but there is no \"{name}\""),
            }),
        };
        Ok(Some(EdgeTokens {
            bos: token(config.add_bos_token.unwrap_or(adds_bos), "bos_token")?,
            eos: token(config.add_eos_token.unwrap_or(false), "eos_token")?,
        }))
    }
}

/// Returns whether `tokenizer.json` has a byte-level step.
fn is_byte_level(folder: &Path) -> bool {
    crate::file::read_to_string(&folder.join("tokenizer.json"))
        .is_ok_and(|text| text.contains("\"ByteLevel\""))
}
