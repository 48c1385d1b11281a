//! The files beside the weights that say how text becomes token ids.
//!
//! They are read as transformers reads them, so that a folder gives the same ids in both: which file has precedence
//! over which, what a tokenizer class implies, and what is added to the vocabulary on loading.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::added_tokens::{SpecialTokens, added_tokens};
use super::class::{Class, Rules};
use super::configs::{CONFIG, EdgeTokens, ModelConfig, TokenizerConfig};
use super::error::TokenizerError;
use super::mistral_pattern;
use super::optional_file::read_json;
use super::stop_tokens::StopTokens;
use super::template_files;
use crate::chat_template::ChatTemplate;

/// What a folder says about its tokenizer, apart from `tokenizer.json`.
#[derive(Debug)]
pub(super) struct TokenizerFiles {
    /// Whose rules the folder follows.
    pub(super) rules: Rules,
    pub(super) class: Class,
    /// Whether a Llama class splits texts at special tokens before it adds a space, as before transformers 4.31.
    pub(super) legacy: Option<bool>,
    /// Template variables: `bos_token`, `eos_token`, …, `additional_special_tokens`.
    pub(super) special_tokens: Map<String, Value>,
    /// The same tokens with their flags, in the order in which they are added.
    pub(super) specials: SpecialTokens,
    /// Tokens with their flags, by id. They are added to a vocabulary that lacks them or describes them otherwise.
    pub(super) added_tokens: BTreeMap<u32, AddedToken>,
    /// The file that lists the added tokens; `None` where `tokenizer.json` alone has them.
    pub(super) added_tokens_file: Option<&'static str>,
    /// What the class itself puts around a text; `None` leaves that to the post-processor of `tokenizer.json`.
    pub(super) edge_tokens: Option<EdgeTokens>,
    /// The class's value for a byte-level pre-tokenizer's leading space.
    pub(super) add_prefix_space: Option<bool>,
    /// Whether a large vocabulary's first step is replaced by [`mistral_pattern::with_right_pattern`].
    pub(super) fixes_mistral_pattern: bool,
    /// Whether special tokens in a text are read as plain text.
    pub(super) split_special_tokens: bool,
    /// Whether decoding removes spaces before punctuation.
    pub(super) clean_up_spaces: bool,
    pub(super) chat_template: Option<ChatTemplate>,
    /// What the generation and model configs call the end of a text.
    pub(super) stop_tokens: StopTokens,
}

impl TokenizerFiles {
    pub(super) fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let config: TokenizerConfig = read_json(folder, CONFIG)?.unwrap_or_default();
        let model: Option<ModelConfig> = read_json(folder, "config.json")?;
        let fixes_mistral_pattern = config.fix_mistral_regex == Some(true)
            && model.as_ref().is_some_and(mistral_pattern::may_be_wrong);
        let model = model.unwrap_or_default();
        let rules = Rules::of(&config, &model);
        let class = Class::of(rules, &config, &model, folder)?;
        let specials = SpecialTokens::read(folder, &config, rules, class)?;
        let special_tokens = specials.to_variables();
        let (added_tokens, added_tokens_file) =
            added_tokens(folder, config.added_tokens_decoder.as_ref(), &specials)?;
        Ok(Self {
            rules,
            class,
            legacy: config.legacy,
            edge_tokens: class.edge_tokens(rules, &config, &special_tokens, folder)?,
            special_tokens,
            specials,
            added_tokens,
            added_tokens_file,
            add_prefix_space: match (class, config.add_prefix_space) {
                (_, Some(given)) => given,
                (Class::Llama | Class::CodeLlama, None) => None,
                (_, None) => Some(false),
            },
            fixes_mistral_pattern,
            split_special_tokens: config.split_special_tokens.unwrap_or(false),
            // transformers 5 cleans up after BPE, the only model that language models have, on a second request only.
            clean_up_spaces: config.clean_up_tokenization_spaces.unwrap_or(false)
                && (rules == Rules::Four
                    || config
                        .clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output
                        .unwrap_or(false)),
            chat_template: template_files::read(folder, CONFIG, config.chat_template)?,
            stop_tokens: StopTokens::of_configs(folder)?,
        })
    }

    /// The text of a special token such as `bos_token`.
    pub(super) fn special(&self, name: &str) -> Option<&str> {
        self.special_tokens.get(name).and_then(Value::as_str)
    }
}
