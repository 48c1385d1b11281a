//! What is kept of one question.

use serde::{Deserialize, Serialize};

use crate::answer::{chosen_option, said_yes};
use crate::item::ItemId;
use crate::prompt::OptionKind;
use crate::request::Request;
use crate::row_usage::ItemUsage;

/// One question's result under one set of settings: a line of a file of results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// The question.
    pub item: ItemId,
    /// Hash of the settings.
    pub settings: String,
    /// The question's place in its data set.
    pub row: usize,
    /// Its subject.
    pub subject: String,
    /// Index of the right option among those shown.
    pub answer: usize,
    /// Index of the option that was chosen; `None` when the text gives no answer.
    pub predicted: Option<usize>,
    /// Index of the option with the highest log-likelihood per character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_norm: Option<usize>,
    /// Log-likelihood of each option, natural logarithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_likelihoods: Option<Vec<f64>>,
    /// The file's index of each option shown, where the order is not the file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<usize>>,
    /// The text that was generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The prompt, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What was seen of the layers.
    pub usage: ItemUsage,
    /// The question's share of its batch's time.
    pub seconds: f64,
}

impl Record {
    /// Whether the right option was chosen.
    pub fn is_right(&self) -> bool {
        self.predicted == Some(self.answer)
    }

    /// Whether the right option has the highest log-likelihood per character; `None` where text
    /// was generated.
    pub fn is_right_norm(&self) -> Option<bool> {
        self.predicted_norm
            .map(|predicted| predicted == self.answer)
    }

    pub(crate) fn scored(
        request: &Request,
        settings: &str,
        log_likelihoods: Vec<f64>,
        usage: ItemUsage,
        seconds: f64,
    ) -> Self {
        let per_character: Vec<f64> = log_likelihoods
            .iter()
            .zip(&request.option_lengths)
            .map(|(value, &length)| value / length.max(1) as f64)
            .collect();
        Self {
            predicted: first_of_largest(&log_likelihoods),
            predicted_norm: first_of_largest(&per_character),
            log_likelihoods: Some(log_likelihoods),
            ..Self::blank(request, settings, usage, seconds)
        }
    }

    pub(crate) fn written(
        request: &Request,
        settings: &str,
        text: String,
        usage: ItemUsage,
        seconds: f64,
    ) -> Self {
        let predicted = match request.kind {
            OptionKind::Letters => chosen_option(&text, &request.option_texts),
            OptionKind::NoYes => said_yes(&text).map(usize::from),
        };
        Self {
            predicted,
            text: Some(text),
            ..Self::blank(request, settings, usage, seconds)
        }
    }

    fn blank(request: &Request, settings: &str, usage: ItemUsage, seconds: f64) -> Self {
        Self {
            item: request.id.clone(),
            settings: settings.to_owned(),
            row: request.row,
            subject: request.subject.clone(),
            answer: request.answer,
            predicted: None,
            predicted_norm: None,
            log_likelihoods: None,
            order: request.order.clone(),
            text: None,
            prompt: None,
            usage,
            seconds,
        }
    }
}

/// The first index of the largest value, as numpy's `argmax` has it.
pub(crate) fn first_of_largest(values: &[f64]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (i, value) in values.iter().enumerate() {
        if best.is_none_or(|best| *value > values[best]) {
            best = Some(i);
        }
    }
    best
}
