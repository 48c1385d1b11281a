//! Questions as token ids: what is fed to a model.

use crate::data::DataSet;
use crate::error::{Error, Result};
use crate::item::{Item, ItemId, Selection};
use crate::prompt::{OptionKind, OptionOrders, Prompt, Question, question};
use crate::settings::{Asking, Quirk};
use lac_core::{Markers, TextModel};

/// A question, tokenised.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The item's name.
    pub id: ItemId,
    /// The item's place in its data set.
    pub row: usize,
    /// The item's subject.
    pub subject: String,
    /// Index of the right option among those shown.
    pub answer: usize,
    /// The file's index of each option shown, where the order is not the file's.
    pub order: Option<Vec<usize>>,
    /// What the options say.
    pub option_texts: Vec<String>,
    /// Length in characters of what is scored of each option, without its delimiter: what
    /// log-likelihoods per character are divided by.
    pub option_lengths: Vec<usize>,
    /// Whether the options are lettered, or no and yes.
    pub kind: OptionKind,
    /// The prompt's text, for whoever wants to see or store it.
    pub text: String,
    /// What is fed.
    pub feed: Feed,
}

/// What is fed to a model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Feed {
    /// Log-likelihoods of options.
    Score(Vec<ScoredOption>),
    /// A prompt to be continued.
    Generate(Vec<u32>),
}

/// A context and what may follow it, at least one token each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoredOption {
    /// What comes before.
    pub context: Vec<u32>,
    /// What is scored.
    pub continuation: Vec<u32>,
}

impl Request {
    /// Number of tokens fed, the options' included.
    pub fn n_tokens(&self) -> usize {
        match &self.feed {
            Feed::Generate(prompt) => prompt.len(),
            Feed::Score(options) => {
                let longest = options.iter().map(|option| option.context.len()).max();
                let more: usize = options
                    .iter()
                    .map(|option| option.continuation.len() - 1)
                    .sum();
                longest.unwrap_or(0) + more
            }
        }
    }

    /// The prompt's tokens: the context of the first option, or what is continued.
    pub fn prompt_ids(&self) -> &[u32] {
        match &self.feed {
            Feed::Generate(prompt) => prompt,
            Feed::Score(options) => &options[0].context,
        }
    }
}

/// Puts the selected questions into words and tokens.
///
/// `max_context` is the number of positions of the model. Contexts that are too long for scoring
/// lose their beginning, as in the harness; prompts that leave no room for an answer are an error.
///
/// # Errors
/// Settings that contradict each other, a tokenizer's failure, a prompt that does not fit.
pub fn requests(
    data: &DataSet,
    selection: &Selection,
    asking: &Asking,
    text: &dyn TextModel,
    max_context: Option<usize>,
) -> Result<Vec<Request>> {
    asking.validate(data.benchmark)?;
    if asking.chat && !text.has_chat_template() && asking.protocol.compares_likelihoods() {
        return Err(Error::Invalid {
            field: "chat",
            value: "true".to_owned(),
            expected: "a model with a chat template".to_owned(),
        });
    }
    let orders = OptionOrders::new(data, asking);
    let max_context = max_context.unwrap_or(usize::MAX);
    selection
        .of(&data.items)?
        .into_iter()
        .map(|item| {
            let question = question(item, data, &orders, asking)?;
            let encoder = Encoder {
                item,
                asking,
                text,
                max_context,
            };
            encoder.request(question)
        })
        .collect()
}

struct Encoder<'a> {
    item: &'a Item,
    asking: &'a Asking,
    text: &'a dyn TextModel,
    max_context: usize,
}

impl Encoder<'_> {
    fn request(&self, question: Question) -> Result<Request> {
        let (text, feed) = if self.asking.protocol.compares_likelihoods() {
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
        let (text, markers) = self.rendered(&question.prompt)?;
        let markers = match markers {
            Markers::Written if self.asking.has(Quirk::DoubleBos) => Markers::Doubled,
            other => other,
        };
        let ids = self.encode(&text, markers)?;
        // At least one position is left for the answer.
        if ids.len() >= self.max_context {
            return Err(self.fail(format!(
                "the prompt has {} tokens, the model's context holds {} and the answer needs room",
                ids.len(),
                self.max_context
            )));
        }
        if ids.is_empty() {
            return Err(self.fail("the prompt holds no token".to_owned()));
        }
        Ok((text, Feed::Generate(ids)))
    }

    fn rendered(&self, prompt: &Prompt) -> Result<(String, Markers)> {
        match prompt {
            Prompt::Text(text) => Ok((text.clone(), Markers::Tokenizer)),
            Prompt::Chat(turns) if self.text.has_chat_template() => {
                let text = self
                    .text
                    .render_chat(turns)
                    .map_err(|source| self.prompt(source))?;
                Ok((text, Markers::Written))
            }
            // A base model is given the words of the chat alone.
            Prompt::Chat(turns) => {
                let text: Vec<&str> = turns.iter().map(|turn| turn.content.as_str()).collect();
                Ok((text.concat(), Markers::Tokenizer))
            }
            Prompt::PerOption(texts) => Ok((
                texts.first().cloned().unwrap_or_default(),
                Markers::Tokenizer,
            )),
        }
    }

    fn scored(&self, question: &Question) -> Result<(String, Feed)> {
        let (text, markers) = self.rendered(&question.prompt)?;
        // The harness writes a space before an answer, except after a chat template; what it wrote
        // down itself has the space already.
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
                self.pair(context, &continuation, markers)
            })
            .collect::<Result<_>>()?;
        Ok((text, Feed::Score(options)))
    }

    /// Tokenises a context and its continuation as the harness does: spaces at the context's end
    /// go over to the continuation, both are tokenised as one text, and what lies beyond the
    /// context's own tokens is the continuation.
    fn pair(&self, context: &str, continuation: &str, markers: Markers) -> Result<ScoredOption> {
        let kept = context.trim_end();
        let moved = format!("{}{continuation}", &context[kept.len()..]);
        // The harness lets the tokenizer add its markers to rendered chats too, unless they begin
        // with BOS; a template that writes none gets one.
        let markers = match markers {
            Markers::Written => Markers::Tokenizer,
            other => other,
        };
        let whole = self.encode(&format!("{kept}{moved}"), markers)?;
        let mut context = self.encode(kept, markers)?;
        let continuation = whole.get(context.len()..).unwrap_or_default().to_vec();
        if continuation.is_empty() {
            return Err(self.fail(format!("{moved:?} adds no token to its context")));
        }
        if context.is_empty() {
            return Err(self.fail("the context holds no token".to_owned()));
        }
        if continuation.len() >= self.max_context {
            return Err(self.fail(format!(
                "an option has {} tokens, the model's context holds {}",
                continuation.len(),
                self.max_context
            )));
        }
        // Too long contexts lose their beginning. The last token of the continuation is not fed.
        let n_fed = context.len() + continuation.len() - 1;
        context.drain(..n_fed.saturating_sub(self.max_context));
        Ok(ScoredOption {
            context,
            continuation,
        })
    }

    fn encode(&self, text: &str, markers: Markers) -> Result<Vec<u32>> {
        self.text
            .encode(text, markers)
            .map_err(|source| self.prompt(source))
    }

    fn prompt(&self, source: lac_core::BoxError) -> Error {
        Error::Prompt {
            item: self.item.id.to_string(),
            source,
        }
    }

    fn fail(&self, reason: String) -> Error {
        Error::Item {
            item: self.item.id.to_string(),
            subject: self.item.subject.clone(),
            reason,
        }
    }
}

#[cfg(test)]
mod tests;
