//! Which tokens end a text: what the files of a folder and its chat template say together.

use std::path::Path;

use serde::Deserialize;

use super::error::TokenizerError;
use super::optional_file::read_json;

/// The tokens that end a text, by who says so.
///
/// Published folders disagree: a `config.json` that was made for the base model names the end of a document, and only
/// the tokenizer or the chat template knows the end of a turn. All of them end a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopTokens {
    /// `eos_token_id` of `config.json`.
    pub config: Vec<u32>,
    /// `eos_token_id` of `generation_config.json`.
    pub generation_config: Vec<u32>,
    /// What the metadata of a GGUF file names, which has neither of these.
    pub metadata: Vec<u32>,
    /// The tokenizer's EOS token.
    pub tokenizer: Option<u32>,
    /// The special token that the chat template writes behind an answer.
    pub chat_template: Option<u32>,
}

impl StopTokens {
    /// Reads what the two configurations of a folder say.
    pub(super) fn of_configs(folder: &Path) -> Result<Self, TokenizerError> {
        let ids = |name| -> Result<Vec<u32>, TokenizerError> {
            let file: Option<EosField> = read_json(folder, name)?;
            Ok(match file.and_then(|file| file.eos_token_id) {
                None => Vec::new(),
                Some(EosIds::One(id)) => vec![id],
                Some(EosIds::Many(ids)) => ids,
            })
        };
        Ok(Self {
            config: ids("config.json")?,
            generation_config: ids("generation_config.json")?,
            ..Self::default()
        })
    }

    /// Takes what the metadata of a GGUF file says.
    pub(crate) fn of_metadata(ids: Vec<u32>) -> Self {
        Self {
            metadata: ids,
            ..Self::default()
        }
    }

    /// Returns all of them, each once: first those that `generate` of transformers stops at.
    pub fn ids(&self) -> Vec<u32> {
        let mut ids = Vec::new();
        let others = [self.tokenizer, self.chat_template];
        for &id in self
            .configured()
            .iter()
            .chain(&self.config)
            .chain(&self.metadata)
            .chain(others.iter().flatten())
        {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    /// Returns those that the configurations name: `generation_config.json`, or `config.json` where that names none.
    /// `generate` of transformers stops at these alone.
    pub fn configured(&self) -> &[u32] {
        if self.generation_config.is_empty() {
            &self.config
        } else {
            &self.generation_config
        }
    }

    /// Returns what the two configurations name, ascending, each once.
    pub(crate) fn of_both_configs(&self) -> Vec<u32> {
        let mut ids = [&self.config[..], &self.generation_config].concat();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Says who names a token at which `generate` of transformers would go on, for people to read; `None` where it
    /// stops at every one of them. `name` gives a token's text.
    pub fn disagreement(&self, name: impl Fn(u32) -> String) -> Option<String> {
        let configured = self.configured();
        if configured.is_empty() {
            return None;
        }
        let source = if self.generation_config.is_empty() {
            "config.json"
        } else {
            "generation_config.json"
        };
        let others = [
            ("config.json", self.config.clone()),
            ("the tokenizer", Vec::from_iter(self.tokenizer)),
            ("the chat template", Vec::from_iter(self.chat_template)),
        ];
        let mut said: Vec<String> = Vec::new();
        let mut seen = configured.to_vec();
        for (other, ids) in others {
            for id in ids {
                if !seen.contains(&id) {
                    seen.push(id);
                    said.push(format!("{} ({id}), says {other}", name(id)));
                }
            }
        }
        if said.is_empty() {
            return None;
        }
        let named: Vec<String> = configured
            .iter()
            .map(|&id| format!("{} ({id})", name(id)))
            .collect();
        Some(format!(
            "a text also ends at {}; {source} names {} only",
            said.join(", and at "),
            named.join(" and ")
        ))
    }
}

#[derive(Deserialize)]
struct EosField {
    eos_token_id: Option<EosIds>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum EosIds {
    One(u32),
    Many(Vec<u32>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_named_ends_a_text_and_differences_are_said() {
        let check = |config: &[u32],
                     generation_config: &[u32],
                     tokenizer,
                     chat_template,
                     ids: &[u32],
                     said: Option<&str>| {
            let stop = StopTokens {
                config: config.to_vec(),
                generation_config: generation_config.to_vec(),
                metadata: Vec::new(),
                tokenizer,
                chat_template,
            };
            assert_eq!(stop.ids(), ids);
            let disagreement = stop.disagreement(|id| format!("<{id}>"));
            assert_eq!(disagreement.as_deref(), said);
        };
        check(&[], &[], None, None, &[], None);
        check(&[], &[], Some(2), Some(2), &[2], None);
        check(&[2], &[], Some(2), None, &[2], None);
        check(&[2], &[2, 3], Some(3), Some(3), &[2, 3], None);
        check(
            &[2],
            &[3],
            Some(2),
            Some(4),
            &[3, 2, 4],
            Some(
                "a text also ends at <2> (2), says config.json, and at <4> (4), says the chat template; \
                 generation_config.json names <3> (3) only",
            ),
        );
        check(
            &[1],
            &[],
            Some(2),
            None,
            &[1, 2],
            Some("a text also ends at <2> (2), says the tokenizer; config.json names <1> (1) only"),
        );
    }
}
