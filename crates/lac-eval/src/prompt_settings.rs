//! How questions are put to a model.

use lac_core::generation::{LogitsProcessors, Sampling, SamplingConfig};
use serde::{Deserialize, Serialize};

use crate::benchmark::{Benchmark, HarnessTask};
use crate::error::{Error, Result};
use crate::protocol::Protocol;
use crate::released_code::{BatchMembers, Quirks};
use crate::request::Request;
use crate::words::Passages;

/// How questions are put to a model, and how its answers are generated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptSettings {
    /// The protocol.
    pub protocol: Protocol,
    /// The harness's task, under [`Protocol::LmEval`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<HarnessTask>,
    /// Number of solved examples before the question.
    pub few_shot: usize,
    /// Whether the prompt goes through the model's chat template.
    pub chat: bool,
    /// How BoolQ's passages begin.
    pub passages: Passages,
    /// The defects of the released code to reproduce, under [`Protocol::Paper`].
    pub quirks: Quirks,
    /// The largest number of new tokens, where text is generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// How tokens are chosen, where text is generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// What changes the logits before a token is chosen, where text is generated: the model's own settings, as they
    /// act in transformers' `generate` on greedy text too.
    #[serde(default, skip_serializing_if = "LogitsProcessors::is_neutral")]
    pub processors: LogitsProcessors,
    /// The tokens that end an answer, where text is generated; set by [`PromptSettings::with_stop_tokens`]. `None` in
    /// files of earlier versions, which did not record them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_tokens: Option<Vec<StopToken>>,
    /// Which questions share a batch, where a quirk makes results depend on it
    /// ([`Quirks::depends_on_batch`]); set by [`PromptSettings::with_batch_members`].
    #[serde(
        rename = "neighbours",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub batch_members: Option<BatchMembers>,
}

/// A token that ends an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopToken {
    /// Its id.
    pub id: u32,
    /// Its spelling in the vocabulary.
    pub text: String,
}

impl PromptSettings {
    /// The released code's prompts, with temperature 0.6, top-p 0.9 and at most 50 new tokens.
    pub fn paper(seed: u64) -> Self {
        Self {
            max_new_tokens: Some(50),
            sampling: Some(Sampling::Random(
                SamplingConfig::new(0.6, seed).with_top_p(0.9),
            )),
            ..Self::generated(Protocol::Paper)
        }
    }

    /// A task of lm-evaluation-harness with this many solved examples.
    pub fn lm_eval(task: HarnessTask, few_shot: usize) -> Self {
        Self {
            task: Some(task),
            few_shot,
            chat: false,
            max_new_tokens: None,
            sampling: None,
            ..Self::generated(Protocol::LmEval)
        }
    }

    /// A greedy answer of at most 64 tokens in the chat format.
    pub fn generative() -> Self {
        Self::generated(Protocol::Generative)
    }

    fn generated(protocol: Protocol) -> Self {
        Self {
            protocol,
            task: None,
            few_shot: 0,
            chat: true,
            passages: Passages::AsInFile,
            quirks: Quirks::default(),
            max_new_tokens: Some(64),
            sampling: Some(Sampling::Greedy),
            processors: LogitsProcessors::default(),
            stop_tokens: None,
            batch_members: None,
        }
    }

    /// Records the tokens that end an answer, each with its spelling in the vocabulary; changes nothing where
    /// log-likelihoods are compared. They have to be the model's own, in any order.
    pub fn with_stop_tokens(mut self, tokens: impl IntoIterator<Item = (u32, String)>) -> Self {
        self.stop_tokens = (!self.protocol.compares_likelihoods()).then(|| {
            let tokens = tokens.into_iter();
            let mut tokens: Vec<StopToken> =
                tokens.map(|(id, text)| StopToken { id, text }).collect();
            tokens.sort_by_key(|token| token.id);
            tokens
        });
        self
    }

    /// Sets which questions share a batch, where a quirk makes results depend on it; changes
    /// nothing otherwise.
    pub fn with_batch_members(mut self, requests: &[Request], batch_size: usize) -> Self {
        self.batch_members = self.quirks.depends_on_batch().then(|| {
            let ids = requests.iter().map(|request| &request.id);
            BatchMembers::new(ids, batch_size)
        });
        self
    }

    /// Checks that the settings go together, and that the benchmark allows them.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the setting.
    pub fn validate(&self, benchmark: Benchmark) -> Result<()> {
        let invalid = |field, value: String, expected: &str| {
            Err(Error::Invalid {
                field,
                value,
                expected: expected.to_owned(),
            })
        };
        if let Some(quirk) = self.quirks.iter().next()
            && self.protocol != Protocol::Paper
        {
            let expected = "none outside the protocol paper";
            return invalid("quirk", quirk.to_string(), expected);
        }
        if !benchmark.protocols().contains(&self.protocol) {
            let names: Vec<&str> = benchmark.protocols().iter().map(|p| p.name()).collect();
            let expected = format!("{} for {benchmark}", names.join(" or "));
            return invalid("protocol", self.protocol.to_string(), &expected);
        }
        if self.protocol == Protocol::LmEval && self.task.is_none() {
            return invalid("harness task", "none".to_owned(), "a task under lm-eval");
        }
        if let Some(task) = self.task
            && task.benchmark() != benchmark
        {
            let expected = format!("a task of {benchmark}");
            return invalid("harness task", task.to_string(), &expected);
        }
        if self.few_shot > 0 && !self.task.is_some_and(HarnessTask::has_examples) {
            let names: Vec<&str> = HarnessTask::ALL
                .iter()
                .filter(|task| task.has_examples())
                .map(|task| task.name())
                .collect();
            let expected = format!(
                "0: only {} under lm-eval have a fixed set of solved examples",
                names.join(" and ")
            );
            return invalid("few-shot", self.few_shot.to_string(), &expected);
        }
        Ok(())
    }
}
