//! Tokens that the files beside `tokenizer.json` add or describe.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::class::{Class, INFILLING_TOKENS, Rules};
use super::configs::{CONFIG, TokenizerConfig};
use super::error::TokenizerError;
use super::optional_file::read_json;

const MAP: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";
const ADDITIONAL: &str = "additional_special_tokens";
const EXTRA: &str = "extra_special_tokens";
const MODEL_SPECIFIC: &str = "model_specific_special_tokens";

/// The names of special tokens in transformers, in its order.
const NAMES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// A token as a file writes it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TokenFlags {
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

impl From<TokenFlags> for AddedToken {
    fn from(flags: TokenFlags) -> Self {
        AddedToken::from(flags.content, flags.special)
            .single_word(flags.single_word)
            .lstrip(flags.lstrip)
            .rstrip(flags.rstrip)
            .normalized(flags.normalized.unwrap_or(!flags.special))
    }
}

/// A special token: a text alone, or with flags.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SpecialToken {
    Text(String),
    Flagged(AddedToken),
}

impl SpecialToken {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Flagged(token) => &token.content,
        }
    }
}

/// The special tokens of a folder.
#[derive(Debug, Default)]
pub(super) struct SpecialTokens {
    /// Those with a name, such as `bos_token`, in the order in which they are added.
    pub(super) named: Vec<(String, SpecialToken)>,
    /// Those without.
    pub(super) listed: Vec<SpecialToken>,
    /// How many of the named ones stand before those without a name.
    pub(super) n_before_listed: usize,
}

impl SpecialTokens {
    /// Reads them: the class's, replaced by those of the config, replaced by those of the special tokens map, which is
    /// not read where the config describes its added tokens (the newer convention).
    pub(super) fn read(
        folder: &Path,
        config: &TokenizerConfig,
        rules: Rules,
        class: Class,
    ) -> Result<Self, TokenizerError> {
        let map: Map<String, Value> = read_json(folder, MAP)?.unwrap_or_default();
        let map = if config.added_tokens_decoder.is_none() {
            map
        } else {
            Map::new()
        };
        // Where a field stands, the map's first.
        let field = |name: &str| match (map.get(name), config.rest.get(name)) {
            (Some(value), _) => Some((MAP, value)),
            (None, Some(value)) => Some((CONFIG, value)),
            (None, None) => None,
        };
        let mut tokens = Self::default();
        for name in NAMES {
            let default = class.default_tokens().iter().find(|(key, _)| *key == name);
            let token = match field(name) {
                Some((file, value)) => token(value, &folder.join(file), name, file == MAP)?,
                None => default.map(|(_, text)| SpecialToken::Text((*text).to_owned())),
            };
            if let Some(token) = token.filter(|token| !token.text().is_empty()) {
                tokens.named.push((name.to_owned(), token));
            }
        }
        tokens.n_before_listed = tokens.named.len();

        let list = |name: &str| -> Result<Vec<SpecialToken>, TokenizerError> {
            let mut listed = Vec::new();
            for (file, source) in [(CONFIG, &config.rest), (MAP, &map)] {
                for token in token_list(source.get(name), &folder.join(file), name, file == MAP)? {
                    if !listed.contains(&token) {
                        listed.push(token);
                    }
                }
            }
            Ok(listed)
        };
        let extra_is_object = field(EXTRA).is_some_and(|(_, value)| value.is_object());
        tokens.listed = match rules {
            Rules::Four => list(ADDITIONAL)?,
            Rules::Five => {
                let extra = if extra_is_object {
                    Vec::new()
                } else {
                    list(EXTRA)?
                };
                if extra.is_empty() {
                    list(ADDITIONAL)?
                } else {
                    extra
                }
            }
        };
        if class == Class::CodeLlama {
            let n_special = if rules == Rules::Four {
                4
            } else {
                INFILLING_TOKENS.len()
            };
            for (name, default) in &INFILLING_TOKENS[..n_special] {
                let given = match field(name) {
                    Some((file, value)) => token(value, &folder.join(file), name, false)?,
                    None => Some(SpecialToken::Text((*default).to_owned())),
                };
                tokens.listed.extend(given);
            }
        }

        let mut own: Vec<(&'static str, &String, &Value)> = Vec::new();
        if rules == Rules::Five {
            let own_names = config.rest.iter().filter(|(name, value)| {
                name.ends_with("_token")
                    && !NAMES.contains(&name.as_str())
                    && (value.is_string() || value.get("__type").is_some())
            });
            own.extend(own_names.map(|(name, value)| (CONFIG, name, value)));
        }
        for name in [EXTRA, MODEL_SPECIFIC] {
            if name == MODEL_SPECIFIC && rules == Rules::Four {
                continue;
            }
            if let Some((file, Value::Object(fields))) = field(name) {
                own.extend(fields.iter().map(|(name, value)| (file, name, value)));
            }
        }
        for (file, name, value) in own {
            if let Some(token) = token(value, &folder.join(file), name, false)? {
                tokens.named.retain(|(other, _)| other != name);
                tokens.named.push((name.clone(), token));
            }
        }
        Ok(tokens)
    }

    /// Returns all of them in the order in which transformers adds them. Version 4 adds those without a name before
    /// those that only this model has; version 5 adds them last.
    pub(super) fn in_order(&self, rules: Rules) -> Vec<&SpecialToken> {
        let (first, own) = self
            .named
            .split_at(self.n_before_listed.min(self.named.len()));
        let first = first.iter().map(|(_, token)| token);
        let own = own.iter().map(|(_, token)| token);
        match rules {
            Rules::Four => first.chain(&self.listed).chain(own).collect(),
            Rules::Five => first.chain(own).chain(&self.listed).collect(),
        }
    }

    /// Returns the variables of templates.
    pub(super) fn to_variables(&self) -> Map<String, Value> {
        let mut variables: Map<String, Value> = self
            .named
            .iter()
            .map(|(name, token)| (name.clone(), Value::String(token.text().to_owned())))
            .collect();
        let mut listed: Vec<Value> = Vec::new();
        for token in &self.listed {
            let text = Value::String(token.text().to_owned());
            if !listed.contains(&text) {
                listed.push(text);
            }
        }
        if !listed.is_empty() {
            variables.insert(ADDITIONAL.to_owned(), Value::Array(listed));
        }
        variables
    }

    /// Returns the tokens that have flags.
    pub(super) fn flags(&self) -> Vec<&AddedToken> {
        let named = self.named.iter().map(|(_, token)| token);
        named
            .chain(&self.listed)
            .filter_map(|token| match token {
                SpecialToken::Text(_) => None,
                SpecialToken::Flagged(token) => Some(token),
            })
            .collect()
    }

    fn contains(&self, text: &str) -> bool {
        let named = self.named.iter().map(|(_, token)| token);
        named.chain(&self.listed).any(|token| token.text() == text)
    }
}

/// Returns the tokens of `added_tokens_decoder`, or else those of `added_tokens.json`, by id, and the file that has them.
pub(super) fn added_tokens(
    folder: &Path,
    decoder: Option<&Value>,
    specials: &SpecialTokens,
) -> Result<(BTreeMap<u32, AddedToken>, Option<&'static str>), TokenizerError> {
    if let Some(decoder) = decoder {
        let tokens = decoder_tokens(decoder).map_err(|what| TokenizerError::Inconsistent {
            file: folder.join(CONFIG),
            message: format!("\"added_tokens_decoder\" {what}"),
        })?;
        return Ok((tokens, Some(CONFIG)));
    }
    let Some(ids) = read_json::<Map<String, Value>>(folder, ADDED)? else {
        return Ok((BTreeMap::new(), None));
    };
    let fault = |message: String| TokenizerError::Inconsistent {
        file: folder.join(ADDED),
        message,
    };
    let mut tokens: BTreeMap<u32, AddedToken> = BTreeMap::new();
    for (text, id) in ids {
        let shown = crate::file::excerpt(&text);
        if text.is_empty() {
            return Err(fault(format!("the token with the id {id} is empty")));
        }
        let Some(id) = id.as_u64().and_then(|id| u32::try_from(id).ok()) else {
            let id = crate::file::excerpt(&id.to_string());
            return Err(fault(format!(
                "the id of {shown:?} is {id}, expected a token id"
            )));
        };
        let special = specials.contains(&text);
        if let Some(other) = tokens.insert(id, AddedToken::from(text, special)) {
            let other = crate::file::excerpt(&other.content);
            return Err(fault(format!(
                "{other:?} and {shown:?} both have the id {id}"
            )));
        }
    }
    Ok((tokens, Some(ADDED)))
}

fn decoder_tokens(decoder: &Value) -> Result<BTreeMap<u32, AddedToken>, String> {
    let Value::Object(tokens) = decoder else {
        return Err("is not an object with a token for each id".to_owned());
    };
    tokens
        .iter()
        .map(|(id, token)| {
            let shown = crate::file::excerpt(id);
            let id = id
                .parse()
                .map_err(|_| format!("has the key {shown:?}, expected a token id"))?;
            let flags: TokenFlags = serde_json::from_value(token.clone()).map_err(|source| {
                format!("has no token that can be used for the id {id}: {source}")
            })?;
            Ok((id, flags.into()))
        })
        .collect()
}

/// Reads a token, which is written as a text, as an object with a `content`, or as null.
fn token(
    token: &Value,
    file: &Path,
    name: &str,
    is_special: bool,
) -> Result<Option<SpecialToken>, TokenizerError> {
    match token {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(SpecialToken::Text(text.clone()))),
        Value::Object(fields) if fields.get("content").is_some_and(Value::is_string) => {
            match serde_json::from_value::<TokenFlags>(token.clone()) {
                Ok(mut flags) => {
                    flags.special |= is_special;
                    Ok(Some(SpecialToken::Flagged(flags.into())))
                }
                Err(source) => Err(TokenizerError::Inconsistent {
                    file: file.to_owned(),
                    message: format!("\"{name}\" has a flag that cannot be used: {source}"),
                }),
            }
        }
        _ => Err(TokenizerError::Inconsistent {
            file: file.to_owned(),
            message: format!("\"{name}\" is neither a text nor a token with a \"content\""),
        }),
    }
}

fn token_list(
    tokens: Option<&Value>,
    file: &Path,
    name: &str,
    is_special: bool,
) -> Result<Vec<SpecialToken>, TokenizerError> {
    match tokens {
        None | Some(Value::Null | Value::Object(_)) => Ok(Vec::new()),
        Some(Value::Array(tokens)) => {
            let mut listed = Vec::new();
            for value in tokens {
                let token = token(value, file, name, is_special)?;
                listed.extend(token.filter(|token| !token.text().is_empty()));
            }
            Ok(listed)
        }
        Some(_) => Err(TokenizerError::Inconsistent {
            file: file.to_owned(),
            message: format!("\"{name}\" is not a list of tokens"),
        }),
    }
}
