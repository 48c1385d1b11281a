//! Makes requests of questions: words to tokens, by the harness's rules for contexts and
//! continuations.

use lac_core::text_model::{AddSpecialTokens, ChatMessage, TextModel};

use crate::data_set::DataSet;
use crate::error::{Error, Result};
use crate::item::Item;
use crate::option_order::OptionOrders;
use crate::pair::PairError;
use crate::prompt_settings::PromptSettings;
use crate::question::{Prompt, Question};
use crate::request::{Feed, Request, ScoredOption};
use crate::selection::ItemSelection;
use crate::wording::question;

/// Puts the selected questions into words and tokens.
///
/// `max_context` is the number of positions of the model. A context that is too long for scoring
/// loses its beginning, as in the harness. A prompt that leaves no room for an answer is an error.
///
/// # Errors
/// [`Error::Invalid`] for settings that contradict each other; [`Error::Prompt`] when the tokenizer
/// fails; [`Error::Item`] for a prompt that does not fit.
pub fn requests(
    data: &DataSet,
    selection: &ItemSelection,
    settings: &PromptSettings,
    text: &dyn TextModel,
    max_context: Option<usize>,
) -> Result<Vec<Request>> {
    settings.validate(data.benchmark)?;
    if settings.chat && !text.has_chat_template() && settings.protocol.compares_likelihoods() {
        return Err(Error::Invalid {
            field: "chat",
            value: "true".to_owned(),
            expected: "a model with a chat template".to_owned(),
        });
    }
    let orders = OptionOrders::new(data, settings);
    let max_context = max_context.unwrap_or(usize::MAX);
    selection
        .of(&data.items)?
        .into_iter()
        .map(|item| {
            let question = question(item, data, &orders, settings)?;
            let encoder = Encoder {
                item,
                settings,
                text,
                max_context,
            };
            encoder.request(question)
        })
        .collect()
}

struct Encoder<'a> {
    item: &'a Item,
    settings: &'a PromptSettings,
    text: &'a dyn TextModel,
    max_context: usize,
}

impl Encoder<'_> {
    fn request(&self, question: Question) -> Result<Request> {
        let (text, feed) = if self.settings.protocol.compares_likelihoods() {
            self.scored(&question)?
        } else {
            self.generated(&question)?
        };
        let is_logged = matches!(question.prompt, Prompt::PerOption(_));
        let option_lengths = question
            .options
            .iter()
            .map(|option| {
                if is_logged {
                    &option.text
                } else {
                    &option.continuation
                }
            })
            .map(|scored| scored.chars().count())
            .collect();
        Ok(Request {
            option_lengths,
            id: self.item.id.clone(),
            row: self.item.row,
            subject: self.item.subject.clone(),
            answer: question.answer,
            also_right: question.also_right,
            judgement: question.judgement,
            order: question.order,
            option_texts: question
                .options
                .into_iter()
                .map(|option| option.text)
                .collect(),
            kind: question.kind,
            text,
            feed,
        })
    }

    fn generated(&self, question: &Question) -> Result<(String, Feed)> {
        let (text, special) = self.rendered(&question.prompt)?;
        let ids = self.encode(&text, self.settings.quirks.special_tokens(special))?;
        // At least one position is left for the answer.
        if ids.len() >= self.max_context {
            return Err(self.item_error(format!(
                "the prompt has {} tokens, the model's context holds {} and the answer needs room",
                ids.len(),
                self.max_context
            )));
        }
        if ids.is_empty() {
            return Err(self.item_error("the prompt holds no token".to_owned()));
        }
        Ok((text, Feed::Generate(ids)))
    }

    fn rendered(&self, prompt: &Prompt) -> Result<(String, AddSpecialTokens)> {
        match prompt {
            Prompt::Text(text) => Ok((text.clone(), AddSpecialTokens::Once)),
            Prompt::Chat(messages) if self.text.has_chat_template() => {
                let text = self
                    .text
                    .render_chat(messages)
                    .map_err(|source| self.prompt_error(source))?;
                Ok((text, AddSpecialTokens::Never))
            }
            // A model without a chat template gets the messages' contents alone.
            Prompt::Chat(messages) => {
                let text: String = messages.iter().filter_map(ChatMessage::text).collect();
                Ok((text, AddSpecialTokens::Once))
            }
            Prompt::PerOption(texts) => Ok((
                texts.first().cloned().unwrap_or_default(),
                AddSpecialTokens::Once,
            )),
        }
    }

    fn scored(&self, question: &Question) -> Result<(String, Feed)> {
        let (text, special) = self.rendered(&question.prompt)?;
        // The harness writes a space before an answer, except after a chat template. The
        // continuations that it wrote down have the space already.
        let delimiter = match &question.prompt {
            Prompt::Text(_) => " ",
            Prompt::Chat(_) | Prompt::PerOption(_) => "",
        };
        let options = question
            .options
            .iter()
            .enumerate()
            .map(|(i, option)| {
                let context = match &question.prompt {
                    Prompt::PerOption(contexts) => &contexts[i],
                    _ => &text,
                };
                let continuation = format!("{delimiter}{}", option.continuation);
                self.pair(context, &continuation, special)
            })
            .collect::<Result<_>>()?;
        Ok((text, Feed::Score(options)))
    }

    /// Tokenises a context and its continuation as the harness does.
    fn pair(
        &self,
        context: &str,
        continuation: &str,
        special: AddSpecialTokens,
    ) -> Result<ScoredOption> {
        let (text, max_context) = (self.text, self.max_context);
        let pair = ScoredOption::of_texts(context, continuation, special, text, max_context);
        pair.map_err(|error| match error {
            PairError::Tokenizer(source) => self.prompt_error(source),
            other => self.item_error(other.to_string()),
        })
    }

    fn encode(&self, text: &str, special: AddSpecialTokens) -> Result<Vec<u32>> {
        self.text
            .encode(text, special)
            .map_err(|source| self.prompt_error(source))
    }

    fn prompt_error(&self, source: lac_core::BoxError) -> Error {
        Error::Prompt {
            item: self.item.id.to_string(),
            source,
        }
    }

    fn item_error(&self, reason: String) -> Error {
        Error::Item {
            item: self.item.id.to_string(),
            subject: self.item.subject.clone(),
            reason,
        }
    }
}

#[cfg(test)]
mod tests;
