//! The files beside the weights that say how text becomes token ids.
//!
//! What transformers would do with them is reproduced here, so that the same
//! folder gives the same ids: which file wins over which, what a tokenizer
//! class implies, and what is added to the vocabulary on loading.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::error::TokenizerError;
use crate::chat_template::{ChatTemplate, TemplateSource};

/// Everything a folder says about its tokenizer, apart from `tokenizer.json`.
#[derive(Debug)]
pub(super) struct TokenizerFiles {
    /// Template variables: `bos_token`, `eos_token`, …, `additional_special_tokens`.
    pub(super) special_tokens: Map<String, Value>,
    /// Tokens with their flags, by id, to be added to the vocabulary if it
    /// lacks them or describes them otherwise.
    pub(super) added_tokens: BTreeMap<u32, AddedToken>,
    /// Which markers the class itself puts around a text; none leaves that to
    /// the post-processor of `tokenizer.json`.
    pub(super) markers: Option<Markers>,
    /// The class's value for a byte-level pre-tokenizer's leading space.
    pub(super) add_prefix_space: Option<bool>,
    /// Whether special tokens in a text are read as plain text.
    pub(super) split_special_tokens: bool,
    /// Whether decoding removes spaces before punctuation.
    pub(super) clean_up_spaces: bool,
    pub(super) chat_template: Option<ChatTemplate>,
    /// Ids that end a generation, as the generation or model config names them.
    pub(super) eos_ids: Vec<u32>,
}

/// The markers that a Llama-like class adds around a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Markers {
    pub(super) bos: Option<String>,
    pub(super) eos: Option<String>,
}

/// The names under which transformers keeps special tokens, in its order.
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
    chat_template: Option<TemplateField>,
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

#[derive(Deserialize)]
#[serde(untagged)]
enum TemplateField {
    Single(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

#[derive(Deserialize)]
struct TemplateFile {
    chat_template: TemplateField,
}

/// The fields of `generation_config.json` and `config.json` that matter here.
#[derive(Default, Deserialize)]
struct ModelConfig {
    tokenizer_class: Option<String>,
    model_type: Option<String>,
    eos_token_id: Option<EosIds>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum EosIds {
    One(u32),
    Many(Vec<u32>),
}

impl TokenizerFiles {
    pub(super) fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let config: TokenizerConfig = read_json(folder, CONFIG)?.unwrap_or_default();
        let model: ModelConfig = read_json(folder, "config.json")?.unwrap_or_default();
        let generation: Option<ModelConfig> = read_json(folder, "generation_config.json")?;
        let class = Class::of(&config, &model);

        let special_tokens = special_tokens(folder, &config, class)?;
        let eos_ids = match generation
            .unwrap_or_default()
            .eos_token_id
            .or(model.eos_token_id)
        {
            Some(EosIds::One(id)) => vec![id],
            Some(EosIds::Many(ids)) => ids,
            None => Vec::new(),
        };
        Ok(Self {
            markers: class.markers(&config, &special_tokens, folder)?,
            special_tokens,
            add_prefix_space: match (class, config.add_prefix_space) {
                (_, Some(given)) => given,
                (Class::Llama, None) => None,
                (_, None) => Some(false),
            },
            split_special_tokens: config.split_special_tokens.unwrap_or(false),
            clean_up_spaces: config.clean_up_tokenization_spaces.unwrap_or(false),
            chat_template: chat_template(folder, config.chat_template)?,
            added_tokens: config
                .added_tokens_decoder
                .unwrap_or_default()
                .into_iter()
                .map(|(id, flags)| (id, flags.into()))
                .collect(),
            eos_ids,
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

/// What a tokenizer class of transformers does beyond the generic one.
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

    /// Only the Llama classes heed `add_bos_token`; the generic one ignores it
    /// and lets the post-processor of `tokenizer.json` decide.
    fn markers(
        self,
        config: &TokenizerConfig,
        special_tokens: &Map<String, Value>,
        folder: &Path,
    ) -> Result<Option<Markers>, TokenizerError> {
        if self != Self::Llama {
            return Ok(None);
        }
        let marker = |wanted: bool, name: &str| match special_tokens.get(name) {
            _ if !wanted => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            _ => Err(TokenizerError::Inconsistent {
                file: folder.join(CONFIG),
                message: format!("\"add_{name}\" is set but there is no \"{name}\""),
            }),
        };
        Ok(Some(Markers {
            bos: marker(config.add_bos_token.unwrap_or(true), "bos_token")?,
            eos: marker(config.add_eos_token.unwrap_or(false), "eos_token")?,
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

impl From<TemplateField> for TemplateSource {
    fn from(field: TemplateField) -> Self {
        match field {
            TemplateField::Single(text) => Self::Single(text),
            TemplateField::Named(templates) => Self::Named(
                templates
                    .into_iter()
                    .map(|named| (named.name, named.template))
                    .collect(),
            ),
        }
    }
}

/// Class defaults, overridden by the config, overridden by the special tokens
/// map unless the config describes its added tokens (the newer convention).
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

/// A token is written as its text, as an object with a `content`, or as null.
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

/// A template file of its own wins over the tokenizer config; the processor's
/// `chat_template.json` serves if neither has one.
fn chat_template(
    folder: &Path,
    in_config: Option<TemplateField>,
) -> Result<Option<ChatTemplate>, TokenizerError> {
    const OWN: &str = "chat_template.jinja";
    const PROCESSOR: &str = "chat_template.json";
    let processor: Option<TemplateFile> = read_json(folder, PROCESSOR)?;
    let (file, source) = if let Some(text) = read_text(&folder.join(OWN))? {
        (OWN, TemplateSource::Single(text))
    } else if let Some(field) = in_config {
        (CONFIG, field.into())
    } else if let Some(file) = processor {
        (PROCESSOR, file.chat_template.into())
    } else {
        return Ok(None);
    };
    Ok(Some(ChatTemplate::new(
        folder.join(file).display().to_string(),
        source,
    )))
}

fn read_json<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<T>, TokenizerError> {
    let file = folder.join(name);
    match read_text(&file)? {
        None => Ok(None),
        Some(text) => match serde_json::from_str(&text) {
            Ok(value) => Ok(Some(value)),
            Err(source) => Err(TokenizerError::Json { file, source }),
        },
    }
}

fn read_text(file: &Path) -> Result<Option<String>, TokenizerError> {
    match crate::file::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TokenizerError::Read {
            file: file.to_owned(),
            source,
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
