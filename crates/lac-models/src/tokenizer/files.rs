//! The files beside the weights that say how text becomes token ids.
//!
//! They are read as transformers reads them, so that a folder gives the same ids in both: which file has precedence
//! over which, what a tokenizer class implies, and what is added to the vocabulary on loading.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::error::TokenizerError;
use super::optional_file::read_json;
use super::stop_tokens::StopTokens;
use super::template_files;
use crate::chat_template::ChatTemplate;

/// What a folder says about its tokenizer, apart from `tokenizer.json`.
#[derive(Debug)]
pub(super) struct TokenizerFiles {
    /// Template variables: `bos_token`, `eos_token`, …, `additional_special_tokens`.
    pub(super) special_tokens: Map<String, Value>,
    /// Tokens with their flags, by id. They are added to a vocabulary that lacks them or describes them otherwise.
    pub(super) added_tokens: BTreeMap<u32, AddedToken>,
    /// What the class itself puts around a text; `None` leaves that to the post-processor of `tokenizer.json`.
    pub(super) edge_tokens: Option<EdgeTokens>,
    /// The class's value for a byte-level pre-tokenizer's leading space.
    pub(super) add_prefix_space: Option<bool>,
    /// Whether special tokens in a text are read as plain text.
    pub(super) split_special_tokens: bool,
    /// Whether decoding removes spaces before punctuation.
    pub(super) clean_up_spaces: bool,
    pub(super) chat_template: Option<ChatTemplate>,
    /// What the generation and model configs call the end of a text.
    pub(super) stop_tokens: StopTokens,
}

/// The special tokens that a Llama-like class puts around a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EdgeTokens {
    pub(super) bos: Option<String>,
    pub(super) eos: Option<String>,
}

/// The names of special tokens in transformers, in its order.
const SPECIAL_TOKENS: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
const ADDITIONAL: &str = "additional_special_tokens";

const CONFIG: &str = "tokenizer_config.json";

#[derive(Default, Deserialize)]
struct TokenizerConfig {
    tokenizer_class: Option<String>,
    added_tokens_decoder: Option<BTreeMap<u32, TokenFlags>>,
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
    // A null differs from an absent field here, hence the two levels.
    #[serde(default, deserialize_with = "present")]
    add_prefix_space: Option<Option<bool>>,
    split_special_tokens: Option<bool>,
    clean_up_tokenization_spaces: Option<bool>,
    chat_template: Option<Value>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct TokenFlags {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    #[serde(default)]
    special: bool,
}

/// The fields of `config.json` that matter here.
#[derive(Default, Deserialize)]
struct ModelConfig {
    tokenizer_class: Option<String>,
    model_type: Option<String>,
}

impl TokenizerFiles {
    pub(super) fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let config: TokenizerConfig = read_json(folder, CONFIG)?.unwrap_or_default();
        let model: ModelConfig = read_json(folder, "config.json")?.unwrap_or_default();
        let class = Class::of(&config, &model);

        let special_tokens = special_tokens(folder, &config, class)?;
        Ok(Self {
            edge_tokens: class.edge_tokens(&config, &special_tokens, folder)?,
            special_tokens,
            add_prefix_space: match (class, config.add_prefix_space) {
                (_, Some(given)) => given,
                (Class::Llama, None) => None,
                (_, None) => Some(false),
            },
            split_special_tokens: config.split_special_tokens.unwrap_or(false),
            clean_up_spaces: config.clean_up_tokenization_spaces.unwrap_or(false),
            chat_template: template_files::read(folder, CONFIG, config.chat_template)?,
            added_tokens: config
                .added_tokens_decoder
                .unwrap_or_default()
                .into_iter()
                .map(|(id, flags)| (id, flags.into()))
                .collect(),
            stop_tokens: StopTokens::of_configs(folder)?,
        })
    }

    /// The text of a special token such as `bos_token`.
    pub(super) fn special(&self, name: &str) -> Option<&str> {
        self.special_tokens.get(name).and_then(Value::as_str)
    }

    /// The texts of all special tokens, in the order transformers adds them.
    pub(super) fn all_special(&self) -> impl Iterator<Item = &str> {
        let additional = self
            .special_tokens
            .get(ADDITIONAL)
            .and_then(Value::as_array);
        SPECIAL_TOKENS
            .iter()
            .filter_map(|name| self.special(name))
            .chain(additional.into_iter().flatten().filter_map(Value::as_str))
    }
}

/// The tokenizer classes of transformers, as far as they differ here.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    Generic,
    Llama,
    Qwen2,
    Gpt2,
}

impl Class {
    fn of(config: &TokenizerConfig, model: &ModelConfig) -> Self {
        let named = config
            .tokenizer_class
            .as_ref()
            .or(model.tokenizer_class.as_ref());
        match named.map(|name| name.trim_end_matches("Fast")) {
            Some("LlamaTokenizer" | "CodeLlamaTokenizer") => Self::Llama,
            Some("Qwen2Tokenizer") => Self::Qwen2,
            Some("GPT2Tokenizer") => Self::Gpt2,
            Some(_) => Self::Generic,
            // Without a name, the architecture decides.
            None => match model.model_type.as_deref() {
                Some("llama" | "mistral") => Self::Llama,
                Some("qwen2") => Self::Qwen2,
                _ => Self::Generic,
            },
        }
    }

    fn default_tokens(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Generic => &[],
            Self::Llama => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
            ],
            Self::Qwen2 => &[
                ("eos_token", "<|endoftext|>"),
                ("unk_token", "<|endoftext|>"),
                ("pad_token", "<|endoftext|>"),
            ],
            Self::Gpt2 => &[
                ("bos_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
                ("unk_token", "<|endoftext|>"),
            ],
        }
    }

    /// Returns what the class puts around a text. Only the Llama classes take `add_bos_token` into account; the others
    /// leave the decision to the post-processor of `tokenizer.json`.
    fn edge_tokens(
        self,
        config: &TokenizerConfig,
        special_tokens: &Map<String, Value>,
        folder: &Path,
    ) -> Result<Option<EdgeTokens>, TokenizerError> {
        if self != Self::Llama {
            return Ok(None);
        }
        let token = |wanted: bool, name: &str| match special_tokens.get(name) {
            _ if !wanted => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            _ => Err(TokenizerError::Inconsistent {
                file: folder.join(CONFIG),
                message: format!("\"add_{name}\" is set but there is no \"{name}\""),
            }),
        };
        Ok(Some(EdgeTokens {
            bos: token(config.add_bos_token.unwrap_or(true), "bos_token")?,
            eos: token(config.add_eos_token.unwrap_or(false), "eos_token")?,
        }))
    }
}

impl From<TokenFlags> for AddedToken {
    fn from(flags: TokenFlags) -> Self {
        AddedToken::from(flags.content, flags.special)
            .single_word(flags.single_word)
            .lstrip(flags.lstrip)
            .rstrip(flags.rstrip)
            .normalized(flags.normalized.unwrap_or(!flags.special))
    }
}

/// Returns the special tokens: the class's, replaced by those of the config, replaced by those of the special tokens
/// map, which is not read where the config describes its added tokens (the newer convention).
fn special_tokens(
    folder: &Path,
    config: &TokenizerConfig,
    class: Class,
) -> Result<Map<String, Value>, TokenizerError> {
    const MAP: &str = "special_tokens_map.json";
    let map: Map<String, Value> = read_json(folder, MAP)?.unwrap_or_default();
    let is_map_read = config.added_tokens_decoder.is_none();

    let mut tokens = Map::new();
    for name in SPECIAL_TOKENS {
        let default = class.default_tokens().iter().find(|(key, _)| *key == name);
        let text = match (map.get(name), config.rest.get(name)) {
            (Some(token), _) if is_map_read => token_text(token, &folder.join(MAP), name)?,
            (_, Some(token)) => token_text(token, &folder.join(CONFIG), name)?,
            _ => default.map(|(_, text)| (*text).to_owned()),
        };
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            tokens.insert(name.to_owned(), Value::String(text));
        }
    }
    let mut additional: Vec<Value> = Vec::new();
    let sources = [(CONFIG, &config.rest), (MAP, &map)];
    for (file, source) in sources.into_iter().take(if is_map_read { 2 } else { 1 }) {
        let listed = source.get(ADDITIONAL).and_then(Value::as_array);
        for token in listed.into_iter().flatten() {
            let text = token_text(token, &folder.join(file), ADDITIONAL)?.map(Value::String);
            additional.extend(text.filter(|text| !additional.contains(text)));
        }
    }
    if !additional.is_empty() {
        tokens.insert(ADDITIONAL.to_owned(), Value::Array(additional));
    }
    Ok(tokens)
}

/// Returns the text of a token, which is written as a string, as an object with a `content`, or as null.
fn token_text(token: &Value, file: &Path, name: &str) -> Result<Option<String>, TokenizerError> {
    match token {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Object(fields) if fields.get("content").is_some_and(Value::is_string) => {
            Ok(fields["content"].as_str().map(str::to_owned))
        }
        _ => Err(TokenizerError::Inconsistent {
            file: file.to_owned(),
            message: format!("\"{name}\" is neither a text nor a token with a \"content\""),
        }),
    }
}

fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
