//! A question as token ids.

use crate::item::ItemId;
use crate::judgement::Judgement;
use crate::question::OptionKind;

/// A tokenised question.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The item's id.
    pub id: ItemId,
    /// The item's place in its data set.
    pub row: usize,
    /// The item's subject.
    pub subject: String,
    /// Index of the right option among those shown, the first of several.
    pub answer: usize,
    /// The other right options, where there are several.
    pub also_right: Vec<usize>,
    /// How an option is chosen by log-likelihoods.
    pub judgement: Judgement,
    /// For each option shown, its index in the file; `None` where the file's order is shown.
    pub order: Option<Vec<usize>>,
    /// The text of each option.
    pub option_texts: Vec<String>,
    /// Number of characters of each option's continuation, without its delimiter.
    /// Log-likelihoods per character are divided by it.
    pub option_lengths: Vec<usize>,
    /// Whether the options are lettered, or no and yes.
    pub kind: OptionKind,
    /// The prompt's text, which is not fed but can be shown or stored.
    pub text: String,
    /// The tokens that are fed.
    pub feed: Feed,
}

/// The tokens that are fed to a model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Feed {
    /// Options whose log-likelihoods are computed.
    Score(Vec<ScoredOption>),
    /// A prompt that is continued.
    Generate(Vec<u32>),
}

/// A context and a continuation, at least one token each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoredOption {
    /// The tokens before the continuation.
    pub context: Vec<u32>,
    /// The tokens whose log-likelihood is computed.
    pub continuation: Vec<u32>,
}

impl Request {
    /// Returns whether an option is right.
    pub fn is_right(&self, option: usize) -> bool {
        option == self.answer || self.also_right.contains(&option)
    }

    /// Returns the number of tokens that are fed, the options' included.
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

    /// Returns the prompt's tokens: the context of the first option, or the prompt that is
    /// continued.
    pub fn prompt_ids(&self) -> &[u32] {
        match &self.feed {
            Feed::Generate(prompt) => prompt,
            Feed::Score(options) => &options[0].context,
        }
    }
}
