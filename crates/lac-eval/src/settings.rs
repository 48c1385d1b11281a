//! What a result depends on, and how two sets of it differ.

use std::fmt;
use std::str::FromStr;

use lac_core::{GateRounding, Sampling, SamplingConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::data::{DataId, DataSet};
use crate::error::{Error, Result};
use crate::item::{Benchmark, short_hash};
use crate::lane::Lane;
use crate::request::Request;

/// How a benchmark is asked and scored. Results of different protocols are never put into one
/// table: they are different measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Protocol {
    /// The prompts and the sampling of the paper's released code; the answer is found in the text.
    Paper,
    /// lm-evaluation-harness: log-likelihoods of the options.
    LmEval,
    /// A greedy answer in the chat format, found in the text.
    Generative,
}

impl Protocol {
    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Paper => "paper",
            Protocol::LmEval => "lm-eval",
            Protocol::Generative => "generative",
        }
    }

    /// Whether options are scored by their log-likelihoods; otherwise text is generated.
    pub fn compares_likelihoods(self) -> bool {
        self == Protocol::LmEval
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A task of lm-evaluation-harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HarnessTask {
    /// `mmlu`: the letters are scored.
    Mmlu,
    /// `mmlu_continuation`: the texts of the choices are scored.
    MmluContinuation,
    /// `gpqa_diamond_zeroshot`.
    GpqaZeroshot,
    /// `gpqa_diamond_n_shot`, without examples.
    GpqaNShot,
    /// `boolq`.
    Boolq,
    /// Prompts that the harness wrote down.
    Samples,
}

impl HarnessTask {
    /// The usual task of a benchmark.
    pub fn of(benchmark: Benchmark) -> Self {
        match benchmark {
            Benchmark::Mmlu => HarnessTask::Mmlu,
            Benchmark::Gpqa => HarnessTask::GpqaZeroshot,
            Benchmark::Boolq => HarnessTask::Boolq,
            Benchmark::Samples => HarnessTask::Samples,
        }
    }

    /// The benchmark it belongs to.
    pub fn benchmark(self) -> Benchmark {
        match self {
            HarnessTask::Mmlu | HarnessTask::MmluContinuation => Benchmark::Mmlu,
            HarnessTask::GpqaZeroshot | HarnessTask::GpqaNShot => Benchmark::Gpqa,
            HarnessTask::Boolq => Benchmark::Boolq,
            HarnessTask::Samples => Benchmark::Samples,
        }
    }
}

/// A defect of the paper's released code, left out unless it is asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Quirk {
    /// GPQA: the right answer is always option D.
    CorrectIsD,
    /// BoolQ: the question stands under `Options:`.
    QuestionUnderOptions,
    /// The rendered chat is tokenised with special tokens again, which doubles BOS where the
    /// template writes one.
    DoubleBos,
    /// The first generated token is missing from the stored answer.
    FirstTokenLost,
    /// Without a seed every run draws anew; the seed is then taken from the clock.
    NoSeed,
    /// The first layer's threshold is a range over the batch
    /// ([`FirstThreshold::BatchRange`](lac_core::FirstThreshold::BatchRange)), so that questions of a batch change
    /// each other's flags.
    BatchThreshold,
    /// Questions shorter than the longest of their batch are padded on the right; the answer begins after the padding,
    /// attends to it, and usage counts it ([`PromptPadding::AsTokens`](lac_core::PromptPadding::AsTokens)).
    PaddingAttended,
}

impl Quirk {
    /// All of them.
    pub const ALL: [Quirk; 7] = [
        Quirk::CorrectIsD,
        Quirk::QuestionUnderOptions,
        Quirk::DoubleBos,
        Quirk::FirstTokenLost,
        Quirk::NoSeed,
        Quirk::BatchThreshold,
        Quirk::PaddingAttended,
    ];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Quirk::CorrectIsD => "correct-is-d",
            Quirk::QuestionUnderOptions => "question-under-options",
            Quirk::DoubleBos => "double-bos",
            Quirk::FirstTokenLost => "first-token-lost",
            Quirk::NoSeed => "no-seed",
            Quirk::BatchThreshold => "batch-threshold",
            Quirk::PaddingAttended => "padding-attended",
        }
    }

    /// Whether results depend on which questions share a batch.
    pub fn depends_on_batch(self) -> bool {
        matches!(self, Quirk::BatchThreshold | Quirk::PaddingAttended)
    }
}

impl FromStr for Quirk {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Quirk::ALL
            .into_iter()
            .find(|quirk| quirk.name() == name)
            .ok_or_else(|| {
                let known = Quirk::ALL.map(Quirk::name).join(", ");
                format!("unknown quirk {name:?}: expected one of {known}")
            })
    }
}

/// How BoolQ's passages begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Passages {
    /// As the file has them. SuperGLUE's, which the harness uses, begin with the title.
    AsInFile,
    /// With `Title -- ` before them, which only files with the titles apart allow: the harness's
    /// prompts from Google's jsonl.
    WithTitle,
}

/// How questions are asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asking {
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
    /// Defects of the released code that are wanted.
    pub quirks: Vec<Quirk>,
    /// At most this many new tokens, where text is generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// How tokens are chosen, where text is generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// Which questions share a batch, where a quirk makes results depend on it
    /// ([`Quirk::depends_on_batch`]); see [`Asking::with_neighbours`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<Neighbours>,
}

/// Which questions share a batch: as many as fit, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbours {
    /// Questions per batch.
    pub batch_size: usize,
    /// A hash of all that are asked, in their order: with another limit or shard a question has other neighbours.
    pub questions: String,
}

impl Neighbours {
    fn of(requests: &[Request], batch_size: usize) -> Self {
        let hash = requests.iter().fold(Sha256::new(), |hash, request| {
            hash.chain_update(request.id.to_string())
        });
        Self {
            batch_size,
            questions: short_hash(hash),
        }
    }
}

impl Asking {
    /// The released code's prompts; temperature 0.6, top-p 0.9, 50 new tokens.
    pub fn paper(seed: u64) -> Self {
        Self {
            max_new_tokens: Some(50),
            sampling: Some(Sampling::Random(
                SamplingConfig::new(0.6, seed).with_top_p(0.9),
            )),
            ..Self::generated(Protocol::Paper)
        }
    }

    /// A task of lm-evaluation-harness with this many examples.
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
            quirks: Vec::new(),
            max_new_tokens: Some(64),
            sampling: Some(Sampling::Greedy),
            neighbours: None,
        }
    }

    /// The same for these questions in batches of this size, where a quirk makes results depend on that; unchanged
    /// otherwise.
    pub fn with_neighbours(mut self, requests: &[Request], batch_size: usize) -> Self {
        self.neighbours = self
            .depends_on_batch()
            .then(|| Neighbours::of(requests, batch_size));
        self
    }

    /// Whether results depend on which questions share a batch.
    pub fn depends_on_batch(&self) -> bool {
        self.quirks.iter().any(|quirk| quirk.depends_on_batch())
    }

    /// Whether a defect is wanted.
    pub fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    /// Checks that the settings go together.
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
        if let Some(quirk) = self.quirks.first()
            && self.protocol != Protocol::Paper
        {
            let expected = "none outside the protocol paper";
            return invalid("quirk", quirk.name().to_owned(), expected);
        }
        if benchmark == Benchmark::Samples && self.protocol != Protocol::LmEval {
            return invalid("protocol", self.protocol.to_string(), "lm-eval for samples");
        }
        if self.protocol == Protocol::LmEval && self.task.is_none() {
            return invalid("harness task", "none".to_owned(), "a task under lm-eval");
        }
        if let Some(task) = self.task
            && task.benchmark() != benchmark
        {
            let expected = format!("a task of {benchmark}");
            return invalid("harness task", format!("{task:?}"), &expected);
        }
        let shows_examples = matches!(
            self.task,
            Some(HarnessTask::Mmlu | HarnessTask::MmluContinuation)
        );
        if self.few_shot > 0 && !shows_examples {
            let expected = "0: only MMLU's tasks of lm-eval have a fixed set of examples";
            return invalid("few-shot", self.few_shot.to_string(), expected);
        }
        Ok(())
    }
}

/// What is done with the layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skipping {
    /// The policy's name.
    pub policy: String,
    /// α, where the policy gates.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_written"
    )]
    pub alpha: Option<f32>,
    /// How the gate's numbers are rounded.
    #[serde(default)]
    pub rounding: GateRounding,
    /// What else the policy depends on, such as the hash of a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
}

impl Skipping {
    /// The policy and its α, as tables show them.
    pub fn label(&self) -> String {
        let mut label = self.policy.clone();
        if let Some(alpha) = self.alpha {
            label.push_str(&format!(", α {alpha}"));
        }
        if let Some(details) = &self.details {
            label.push_str(&format!(", {details}"));
        }
        label
    }

    /// Whether the full model's answers are given: the gate, if any, only observes.
    pub fn is_full_model(&self) -> bool {
        self.policy == "off" || self.policy == "trace"
    }
}

/// Which model, and how precise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelId {
    /// Its name in tables.
    pub name: String,
    /// What its files are recognised by.
    pub fingerprint: String,
    /// The data type it computes in.
    pub dtype: String,
}

/// Everything that a result depends on. What it does not depend on is left out: the size of
/// batches (but see [`Neighbours`]), the shard, the device, the number of questions asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Version of this format.
    pub version: u32,
    /// The benchmark.
    pub benchmark: Benchmark,
    /// Its questions.
    pub data: DataId,
    /// How they are asked.
    pub asking: Asking,
    /// The model.
    pub model: ModelId,
    /// What is done with its layers.
    pub skipping: Skipping,
}

/// The version of [`Settings`].
pub const SETTINGS_VERSION: u32 = 1;

impl Settings {
    /// The settings of every variant that some lanes run, in their order.
    pub fn of_lanes(data: &DataSet, asking: &Asking, model: &ModelId, lanes: &[Lane]) -> Vec<Self> {
        let variants = lanes.iter().flat_map(Lane::variants);
        variants
            .map(|skipping| Self {
                version: SETTINGS_VERSION,
                benchmark: data.benchmark,
                data: data.id(),
                asking: asking.clone(),
                model: model.clone(),
                skipping: skipping.clone(),
            })
            .collect()
    }

    /// A hash of all settings, 16 hexadecimal digits.
    pub fn hash(&self) -> String {
        short_hash(Sha256::new_with_prefix(self.to_value().to_string()))
    }

    fn to_value(&self) -> Value {
        // Plain data with text keys: this cannot fail.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// One line per setting that differs: `skipping.alpha: 0.8 in the file, 0.4 now`.
    pub fn differences(&self, now: &Settings) -> Vec<String> {
        let mut lines = Vec::new();
        differ("", &self.to_value(), &now.to_value(), &mut lines);
        lines
    }

    /// Whether two results differ in nothing but what is done with the layers, so that their
    /// answers can be compared pair by pair and stand in one table.
    pub fn is_comparable(&self, other: &Settings) -> bool {
        self.blank() == other.blank()
    }

    /// The same for all settings that can be compared with these.
    pub(crate) fn comparable_hash(&self) -> String {
        self.blank().hash()
    }

    /// The same whatever is done with the layers.
    fn blank(&self) -> Self {
        Self {
            skipping: Skipping {
                policy: String::new(),
                alpha: None,
                rounding: GateRounding::F32,
                details: None,
            },
            ..self.clone()
        }
    }
}

/// Writes 0.8 as 0.8, not as the f64 nearest to the f32 nearest to it.
fn as_written<S: serde::Serializer>(alpha: &Option<f32>, serializer: S) -> Result<S::Ok, S::Error> {
    let alpha = alpha.map(|alpha| alpha.to_string().parse().unwrap_or(f64::from(alpha)));
    alpha.serialize(serializer)
}

fn differ(path: &str, before: &Value, now: &Value, lines: &mut Vec<String>) {
    if let (Value::Object(before), Value::Object(now)) = (before, now) {
        let mut keys: Vec<&String> = before.keys().chain(now.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            let of =
                |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
            differ(&path, &of(before), &of(now), lines);
        }
    } else if before != now {
        lines.push(format!("{path}: {before} in the file, {now} now"));
    }
}
