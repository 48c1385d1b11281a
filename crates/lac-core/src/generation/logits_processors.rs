//! What changes a token's logits before a token is chosen, by the text so far.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Changes to the logits before a token is chosen, greedily or by a draw: the logits processors of transformers'
/// `generate`, with its names, its results and its order, which is that of the fields.
///
/// The text counts from the prompt's first token on, padding left out. The default changes nothing.
///
/// ```
/// use lac_core::GenerationConfig;
/// use lac_core::generation::LogitsProcessors;
///
/// let processors = LogitsProcessors::default().with_repetition_penalty(1.1);
/// let config = GenerationConfig::greedy(16).with_processors(processors);
/// assert_eq!(config.processors.repetition_penalty, 1.1);
/// assert!(!config.processors.is_neutral());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LogitsProcessors {
    /// Divides the positive logits of tokens that the text holds by this, and multiplies their other logits by it
    /// (Keskar et al. 2019, arXiv 1909.05858, section 4.1). Above 0; 1 changes nothing.
    #[serde(skip_serializing_if = "is_one")]
    pub repetition_penalty: f32,
    /// Forbids every token that would repeat a sequence of this many tokens. 0 changes nothing.
    #[serde(skip_serializing_if = "is_zero")]
    pub no_repeat_ngram_size: usize,
    /// Forbids the last token of each of these sequences where the text ends with the tokens before it. A sequence
    /// that is a stop token alone is passed over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bad_words: Vec<Vec<u32>>,
    /// Forbids the stop tokens until the response has this many tokens. 0 changes nothing.
    #[serde(skip_serializing_if = "is_zero")]
    pub min_new_tokens: usize,
    /// Forbids these tokens everywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suppressed: Vec<u32>,
    /// Forbids these tokens as the response's first token.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suppressed_at_begin: Vec<u32>,
}

impl Default for LogitsProcessors {
    fn default() -> Self {
        Self {
            repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            bad_words: Vec::new(),
            min_new_tokens: 0,
            suppressed: Vec::new(),
            suppressed_at_begin: Vec::new(),
        }
    }
}

impl LogitsProcessors {
    /// Sets [`repetition_penalty`](Self::repetition_penalty).
    #[must_use]
    pub fn with_repetition_penalty(self, repetition_penalty: f32) -> Self {
        Self {
            repetition_penalty,
            ..self
        }
    }

    /// Sets [`no_repeat_ngram_size`](Self::no_repeat_ngram_size).
    #[must_use]
    pub fn with_no_repeat_ngram_size(self, no_repeat_ngram_size: usize) -> Self {
        Self {
            no_repeat_ngram_size,
            ..self
        }
    }

    /// Sets [`bad_words`](Self::bad_words).
    #[must_use]
    pub fn with_bad_words(self, bad_words: Vec<Vec<u32>>) -> Self {
        Self { bad_words, ..self }
    }

    /// Sets [`min_new_tokens`](Self::min_new_tokens).
    #[must_use]
    pub fn with_min_new_tokens(self, min_new_tokens: usize) -> Self {
        Self {
            min_new_tokens,
            ..self
        }
    }

    /// Sets the [`suppressed`](Self::suppressed) tokens.
    #[must_use]
    pub fn with_suppressed(self, suppressed: Vec<u32>) -> Self {
        Self { suppressed, ..self }
    }

    /// Sets the tokens [`suppressed_at_begin`](Self::suppressed_at_begin).
    #[must_use]
    pub fn with_suppressed_at_begin(self, suppressed_at_begin: Vec<u32>) -> Self {
        Self {
            suppressed_at_begin,
            ..self
        }
    }

    /// Returns whether no logit is ever changed.
    pub fn is_neutral(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0 {
            return Ok(());
        }
        Err(Error::InvalidConfig {
            field: "repetition_penalty",
            value: self.repetition_penalty.to_string(),
            expected: "a finite number above 0 (1 changes nothing)",
        })
    }

    /// By how much noise in the logits may grow, at most.
    pub(crate) fn noise_factor(&self) -> f32 {
        self.repetition_penalty.max(1.0 / self.repetition_penalty)
    }

    /// Returns the logits, `[vocab]`, of the token that follows `text` as [`apply`](Self::apply) changes them.
    pub(crate) fn processed<'l>(
        &self,
        logits: &'l [f32],
        text: &[u32],
        n_prompt: usize,
        stop_tokens: &[u32],
    ) -> Cow<'l, [f32]> {
        if self.is_neutral() {
            return Cow::Borrowed(logits);
        }
        let mut logits = logits.to_vec();
        self.apply(&mut logits, text, n_prompt, stop_tokens);
        Cow::Owned(logits)
    }

    /// Changes the logits, `[vocab]`, of the token that follows `text`, whose first `n_prompt` tokens are the prompt.
    pub(crate) fn apply(
        &self,
        logits: &mut [f32],
        text: &[u32],
        n_prompt: usize,
        stop_tokens: &[u32],
    ) {
        self.penalise(logits, text);
        for id in self.forbidden(text, n_prompt, stop_tokens) {
            // An id outside the vocabulary cannot be chosen as it is.
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    fn penalise(&self, logits: &mut [f32], text: &[u32]) {
        if self.repetition_penalty == 1.0 {
            return;
        }
        for id in text.iter().collect::<BTreeSet<_>>() {
            if let Some(logit) = logits.get_mut(*id as usize) {
                if *logit < 0.0 {
                    *logit *= self.repetition_penalty;
                } else {
                    *logit /= self.repetition_penalty;
                }
            }
        }
    }

    /// The tokens that may not follow, some perhaps twice.
    fn forbidden(&self, text: &[u32], n_prompt: usize, stop_tokens: &[u32]) -> Vec<u32> {
        let mut forbidden = self.suppressed.clone();
        if let Some(n_before) = self.no_repeat_ngram_size.checked_sub(1)
            && let Some(start) = text.len().checked_sub(n_before)
        {
            let end = &text[start..];
            let repeated = text
                .windows(n_before + 1)
                .filter(|ngram| ngram.starts_with(end));
            forbidden.extend(repeated.map(|ngram| ngram[n_before]));
        }
        for word in &self.bad_words {
            if let Some((last, before)) = word.split_last()
                && text.ends_with(before)
                && !(before.is_empty() && stop_tokens.contains(last))
            {
                forbidden.push(*last);
            }
        }
        let n_new = text.len() - n_prompt;
        if n_new < self.min_new_tokens {
            forbidden.extend(stop_tokens);
        }
        if n_new == 0 {
            forbidden.extend(&self.suppressed_at_begin);
        }
        forbidden
    }
}

fn is_one(value: &f32) -> bool {
    *value == 1.0
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: f32 = f32::NEG_INFINITY;

    /// Applies processors to five logits that follow a text of a prompt and a response, with the stop token 4.
    fn check(processors: LogitsProcessors, prompt: &[u32], response: &[u32], expected: [f32; 5]) {
        let text = [prompt, response].concat();
        let mut logits = [1.0, -2.0, 3.0, 0.0, 5.0];
        processors.apply(&mut logits, &text, prompt.len(), &[4]);
        assert_eq!(logits, expected, "{processors:?} after {text:?}");
    }

    #[test]
    fn processors_change_what_they_say() {
        let none = LogitsProcessors::default;
        check(none(), &[0, 1], &[2], [1.0, -2.0, 3.0, 0.0, 5.0]);

        let penalty = || none().with_repetition_penalty(2.0);
        check(penalty(), &[1], &[], [1.0, -4.0, 3.0, 0.0, 5.0]);
        // Once for each token, however often it stands there; ids beyond the vocabulary are passed over.
        check(penalty(), &[0, 0, 9], &[3, 2], [0.5, -2.0, 1.5, 0.0, 5.0]);

        let ngram = |size| none().with_no_repeat_ngram_size(size);
        check(ngram(1), &[0], &[2], [NO, -2.0, NO, 0.0, 5.0]);
        check(ngram(2), &[0, 1, 2], &[0], [1.0, NO, 3.0, 0.0, 5.0]);
        check(ngram(3), &[0, 1, 2, 3], &[0, 1], [1.0, -2.0, NO, 0.0, 5.0]);
        check(ngram(3), &[0], &[], [1.0, -2.0, 3.0, 0.0, 5.0]);
        check(ngram(9), &[0, 1], &[2], [1.0, -2.0, 3.0, 0.0, 5.0]);

        let words = || none().with_bad_words(vec![vec![0], vec![1, 2], vec![4], vec![2, 1, 3]]);
        // A stop token alone stays allowed.
        check(words(), &[1], &[], [NO, -2.0, NO, 0.0, 5.0]);
        check(words(), &[2], &[1], [NO, -2.0, NO, NO, 5.0]);

        let least = || none().with_min_new_tokens(2);
        check(least(), &[1], &[0], [1.0, -2.0, 3.0, 0.0, NO]);
        check(least(), &[1], &[0, 0], [1.0, -2.0, 3.0, 0.0, 5.0]);

        let begin = || {
            none()
                .with_suppressed(vec![0, 9])
                .with_suppressed_at_begin(vec![2])
        };
        check(begin(), &[1], &[], [NO, -2.0, NO, 0.0, 5.0]);
        check(begin(), &[1], &[1], [NO, -2.0, 3.0, 0.0, 5.0]);
    }

    #[test]
    fn neutral_processors_are_not_written_and_impossible_ones_are_named() {
        assert_eq!(
            serde_json::to_string(&LogitsProcessors::default()).unwrap(),
            "{}"
        );
        for penalty in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let error = LogitsProcessors::default()
                .with_repetition_penalty(penalty)
                .validate()
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("repetition_penalty"), "{error}");
        }
    }
}
