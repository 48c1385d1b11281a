//! A tokenizer, as the metadata of a GGUF file says it.

use std::collections::HashMap;

use lac_core::text_model::AddSpecialTokens;
use serde_json::Value;

use crate::gguf::merges::merges_of_scores;
use crate::gguf::metadata::{Metadata, MetadataArray, MetadataValue};
use crate::gguf::pre_tokenizer::PreTokenizer;
use crate::gguf::vocabulary::Vocabulary;
use crate::tokenizer::Tokenizer;

/// The numbers by which a file tells tokens apart.
mod kind {
    pub(super) const NORMAL: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const CONTROL: i32 = 3;
    pub(super) const USER_DEFINED: i32 = 4;
    pub(super) const UNUSED: i32 = 5;
    pub(super) const BYTE: i32 = 6;
}

/// The parts of a library's tokenizer that are written.
struct Parts {
    /// The texts of the tokens; `None` for ids that no text has.
    tokens: Vec<Option<String>>,
    kinds: Vec<i32>,
    merges: Vec<(String, String)>,
    model: Value,
    normalizer: Value,
    pre_tokenizer: Value,
}

/// Makes the metadata of a tokenizer with its chat template, for a model with `n_rows` rows in its embedding.
///
/// # Errors
/// Says what has no form in GGUF files.
pub(crate) fn vocabulary(
    tokenizer: &Tokenizer,
    n_rows: usize,
) -> Result<Vec<(String, MetadataValue)>, String> {
    let mut parts = Parts::new(tokenizer, n_rows)?;
    let mut metadata = Vec::new();
    let mut add = |key: &str, value: MetadataValue| {
        metadata.push((format!("tokenizer.{key}"), value));
    };
    let text = |text: &str| MetadataValue::Text(text.to_owned());
    let texts = |texts: Vec<String>| MetadataValue::Array(MetadataArray::Text(texts));
    if parts.is_byte_level() {
        let merges = parts.merges.iter();
        let merges = merges
            .map(|(left, right)| format!("{left} {right}"))
            .collect();
        add("ggml.model", text("gpt2"));
        add("ggml.pre", text(parts.pre_tokenizer_name()?));
        add("ggml.merges", texts(merges));
    } else if !parts.writes_spaces_as_pieces() {
        return Err(
            "the tokenizer is neither byte-level nor one of SentencePiece, and has no form in GGUF files"
                .to_owned(),
        );
    } else {
        parts.mark_pieces();
        add("ggml.model", text("llama"));
        add("ggml.pre", text("default"));
        let scores = parts.scores()?;
        add(
            "ggml.scores",
            MetadataValue::Array(MetadataArray::F32(scores)),
        );
        add(
            "ggml.add_space_prefix",
            MetadataValue::Bool(parts.adds_space()),
        );
    }
    let unused = |id: usize| format!("[PAD{id}]");
    let tokens = parts.tokens.iter().enumerate();
    let tokens = tokens.map(|(id, token)| token.clone().unwrap_or_else(|| unused(id)));
    add("ggml.tokens", texts(tokens.collect()));
    let kinds = parts.kinds.clone();
    add(
        "ggml.token_type",
        MetadataValue::Array(MetadataArray::I32(kinds)),
    );
    let unknown = parts.model["unk_token"].as_str();
    let unknown = unknown.and_then(|token| tokenizer.piece_to_id(token));
    for (name, id) in [
        ("bos", tokenizer.bos_id()),
        (
            "eos",
            tokenizer.eos_id().or(tokenizer.stop_ids().first().copied()),
        ),
        ("eot", end_of_turn(tokenizer)),
        ("unknown", unknown),
        ("padding", tokenizer.pad_id()),
    ] {
        if let Some(id) = id {
            let id = MetadataValue::Unsigned(u64::from(id));
            add(&format!("ggml.{name}_token_id"), id);
        }
    }
    let around = tokenizer
        .encode("", AddSpecialTokens::Once)
        .map_err(|error| error.to_string())?;
    for (name, id, at) in [
        ("bos", tokenizer.bos_id(), around.first()),
        ("eos", tokenizer.eos_id(), around.last()),
    ] {
        let adds = id.is_some() && id == at.copied();
        add(&format!("ggml.add_{name}_token"), MetadataValue::Bool(adds));
    }
    let templates = tokenizer.template_texts();
    let names: Vec<String> = templates
        .iter()
        .filter_map(|(name, _)| name.clone())
        .collect();
    for (name, template) in templates {
        match name.as_deref() {
            None | Some("default") => add("chat_template", text(&template)),
            Some(name) => add(&format!("chat_template.{name}"), text(&template)),
        }
    }
    if !names.is_empty() {
        add("chat_templates", texts(names));
    }
    Ok(metadata)
}

/// Returns the token that ends a turn where it is another one than the tokenizer's end of a text.
fn end_of_turn(tokenizer: &Tokenizer) -> Option<u32> {
    let end = tokenizer.stop_tokens().chat_template?;
    (Some(end) != tokenizer.eos_id()).then_some(end)
}

impl Parts {
    fn new(tokenizer: &Tokenizer, n_rows: usize) -> Result<Self, String> {
        let json = tokenizer.to_json().map_err(|error| error.to_string())?;
        let model = json["model"].clone();
        if model["type"] != "BPE" {
            return Err(format!(
                "a tokenizer of the kind {} is not written as GGUF: expected BPE",
                model["type"]
            ));
        }
        let mut parts = Self {
            tokens: vec![None; n_rows],
            kinds: vec![kind::UNUSED; n_rows],
            merges: merges(&model)?,
            normalizer: json["normalizer"].clone(),
            pre_tokenizer: json["pre_tokenizer"].clone(),
            model,
        };
        let vocab = parts.model["vocab"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        for (token, id) in vocab {
            parts.set(id.as_u64(), token, kind::NORMAL)?;
        }
        for token in json["added_tokens"].as_array().into_iter().flatten() {
            let is_special = token["special"] == true;
            let kind = if is_special {
                kind::CONTROL
            } else {
                kind::USER_DEFINED
            };
            let content = token["content"].as_str().unwrap_or_default();
            parts.set(token["id"].as_u64(), content.to_owned(), kind)?;
        }
        Ok(parts)
    }

    fn set(&mut self, id: Option<u64>, token: String, kind: i32) -> Result<(), String> {
        let n_rows = self.tokens.len();
        let place = id
            .and_then(|id| usize::try_from(id).ok())
            .filter(|&id| id < n_rows);
        let Some(id) = place else {
            return Err(format!(
                "the tokenizer's token {token:?} has no row in the embedding, which has {n_rows}"
            ));
        };
        self.tokens[id] = Some(token);
        self.kinds[id] = kind;
        Ok(())
    }

    fn is_byte_level(&self) -> bool {
        steps(&self.pre_tokenizer).any(|step| step["type"] == "ByteLevel")
    }

    /// Returns the name by which readers know how texts are cut into words.
    fn pre_tokenizer_name(&self) -> Result<&'static str, String> {
        let ignores_merges = self.model["ignore_merges"] == true;
        PreTokenizer::name_of(&self.normalizer, &self.pre_tokenizer, ignores_merges).ok_or_else(
            || {
                "the tokenizer cuts texts into words in a way that has no name in GGUF files"
                    .to_owned()
            },
        )
    }

    /// Marks the tokens of a SentencePiece vocabulary that stand for a byte, or for what no token is.
    fn mark_pieces(&mut self) {
        let unknown = self.model["unk_token"].as_str().map(str::to_owned);
        for (token, kind) in self.tokens.iter().zip(&mut self.kinds) {
            let Some(token) = token else { continue };
            let is_byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
            if is_byte {
                *kind = kind::BYTE;
            } else if Some(token) == unknown.as_ref() {
                *kind = kind::UNKNOWN;
            }
        }
    }

    /// Returns whether a space becomes `▁`, as in SentencePiece.
    fn writes_spaces_as_pieces(&self) -> bool {
        let replaces =
            steps(&self.normalizer).any(|step| step["type"] == "Replace" && step["content"] == "▁");
        replaces || steps(&self.pre_tokenizer).any(|step| step["type"] == "Metaspace")
    }

    fn adds_space(&self) -> bool {
        let prepends = steps(&self.normalizer).any(|step| step["type"] == "Prepend");
        let meta = steps(&self.pre_tokenizer).any(|step| {
            step["type"] == "Metaspace"
                && (step["prepend_scheme"] == "always" || step["prepend_scheme"] == "first")
        });
        prepends || meta
    }

    /// Makes scores of the order in which pieces are merged: SentencePiece merges the two pieces that make the one of
    /// the highest score.
    fn scores(&self) -> Result<Vec<f32>, String> {
        let ids: HashMap<&str, usize> = self
            .tokens
            .iter()
            .enumerate()
            .filter_map(|(id, token)| Some((token.as_deref()?, id)))
            .collect();
        let lowest = -(self.merges.len() as f32) - 1.0;
        let mut scores = vec![lowest; self.tokens.len()];
        let mut rank = 0.0;
        for (left, right) in &self.merges {
            let merged = format!("{left}{right}");
            let id = ids.get(merged.as_str()).copied();
            let id =
                id.ok_or_else(|| format!("the merge of {left:?} and {right:?} makes no token"))?;
            if scores[id] == lowest {
                rank -= 1.0;
                scores[id] = rank;
            }
        }
        for (id, kind) in self.kinds.iter().enumerate() {
            if matches!(*kind, kind::CONTROL | kind::UNKNOWN | kind::BYTE) {
                scores[id] = 0.0;
            }
        }
        self.check_merges(&scores)?;
        Ok(scores)
    }

    /// Checks that the scores give the merges of the tokenizer: a reader finds them again from all pairs of pieces.
    fn check_merges(&self, scores: &[f32]) -> Result<(), String> {
        let texts = |texts: Vec<String>| MetadataValue::Array(MetadataArray::Text(texts));
        let token = |(id, token): (usize, &Option<String>)| match token {
            Some(token) => token.clone(),
            None => format!("[PAD{id}]"),
        };
        let entries = [
            ("model", MetadataValue::Text("llama".to_owned())),
            (
                "tokens",
                texts(self.tokens.iter().enumerate().map(token).collect()),
            ),
            (
                "scores",
                MetadataValue::Array(MetadataArray::F32(scores.to_vec())),
            ),
            (
                "token_type",
                MetadataValue::Array(MetadataArray::I32(self.kinds.clone())),
            ),
        ];
        let entries = entries.map(|(key, value)| (format!("tokenizer.ggml.{key}"), value));
        let metadata = Metadata::new("the tokenizer".as_ref(), entries.into_iter().collect());
        let found = Vocabulary::read(&metadata)
            .and_then(|vocabulary| match vocabulary {
                Some(vocabulary) => merges_of_scores(&metadata, &vocabulary),
                None => Ok(Vec::new()),
            })
            .map_err(|error| error.to_string())?;
        // Which of two pairs that make one piece goes first is the library's own choice: their score is the same.
        let (found, own) = (by_piece(&found), by_piece(&self.merges));
        let differs = found.iter().zip(&own).position(|(a, b)| a != b);
        match differs.or((found.len() != own.len()).then_some(found.len().min(own.len()))) {
            None => Ok(()),
            Some(merge_idx) => Err(format!(
                "the tokenizer's merges do not follow from scores of its pieces, which GGUF files have in their place: \
                 merge {merge_idx} would be another one"
            )),
        }
    }
}

/// Sorts the pairs that make one piece, in the place where the first of them stands.
fn by_piece(merges: &[(String, String)]) -> Vec<&(String, String)> {
    let mut places = HashMap::new();
    let mut keyed: Vec<(usize, &(String, String))> = Vec::with_capacity(merges.len());
    for merge in merges {
        let n_pieces = places.len();
        let place = places
            .entry([&*merge.0, &*merge.1].concat())
            .or_insert(n_pieces);
        keyed.push((*place, merge));
    }
    keyed.sort();
    keyed.into_iter().map(|(_, merge)| merge).collect()
}

/// Returns the steps of a normaliser or pre-tokenizer, those within a sequence one by one.
fn steps(value: &Value) -> impl Iterator<Item = &Value> {
    let inner = value["normalizers"]
        .as_array()
        .or(value["pretokenizers"].as_array());
    match inner {
        Some(inner) => inner.iter().collect::<Vec<_>>().into_iter(),
        None => vec![value].into_iter(),
    }
}

/// Reads the merges, in either form that `tokenizer.json` has.
fn merges(model: &Value) -> Result<Vec<(String, String)>, String> {
    let merges = model["merges"].as_array().map_or(&[][..], Vec::as_slice);
    let pair = |merge: &Value| {
        let (left, right) = match merge {
            Value::String(merge) => merge.split_once(' ')?,
            _ => (merge[0].as_str()?, merge[1].as_str()?),
        };
        Some((left.to_owned(), right.to_owned()))
    };
    merges
        .iter()
        .map(|merge| pair(merge).ok_or_else(|| format!("a merge is {merge}, expected two tokens")))
        .collect()
}
