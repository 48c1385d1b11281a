//! Everything that a result depends on, and how two sets of settings differ.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use crate::policy_settings::PolicySettings;
pub use crate::prompt_settings::{PromptSettings, StopToken};
pub use crate::protocol::Protocol;
pub use crate::words::Passages;

use crate::benchmark::Benchmark;
use crate::data_set::{DataId, DataSet};
use crate::policy_run::PolicyRun;
use crate::short_hash::short_hash;
use crate::shown_texts::{examples_hash, words_hash};

/// Which model, and the data type it computes in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelId {
    /// Its name in tables.
    pub name: String,
    /// The fingerprint of everything that decides its results.
    pub fingerprint: String,
    /// The data type it computes in.
    pub dtype: String,
}

/// Everything that a result depends on. It depends neither on the size of batches (but see [`BatchMembers`](crate::released_code::BatchMembers)), nor on the shard, the device or the number
/// of questions asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Version of this format.
    pub version: u32,
    /// The benchmark.
    pub benchmark: Benchmark,
    /// Its questions.
    pub data: DataId,
    /// How they are asked.
    #[serde(rename = "asking")]
    pub prompt: PromptSettings,
    /// The model.
    pub model: ModelId,
    /// The policy that decides about its layers.
    #[serde(rename = "skipping")]
    pub policy: PolicySettings,
    /// A hash of all questions in words, without solved examples: of whatever the protocol, the data set's files and
    /// this version make of them. `None` in files of earlier versions, which did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// A hash of the solved examples that are shown; `None` where none are, and in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<String>,
}

/// The version of [`Settings`].
pub const SETTINGS_VERSION: u32 = 1;

impl Settings {
    /// Returns the settings of all variants of some policy runs, in the runs' order.
    pub fn of_runs(
        data: &DataSet,
        prompt: &PromptSettings,
        model: &ModelId,
        runs: &[PolicyRun],
    ) -> Vec<Self> {
        let words = Some(words_hash(data, prompt));
        let examples = examples_hash(data, prompt.few_shot);
        let variants = runs.iter().flat_map(PolicyRun::variants);
        variants
            .map(|policy| Self {
                version: SETTINGS_VERSION,
                benchmark: data.benchmark,
                data: data.id(),
                prompt: prompt.clone(),
                model: model.clone(),
                policy: policy.clone(),
                words: words.clone(),
                examples: examples.clone(),
            })
            .collect()
    }

    /// Returns a hash of all settings, 16 hexadecimal digits.
    pub fn hash(&self) -> String {
        short_hash(Sha256::new_with_prefix(self.to_value().to_string()))
    }

    fn to_value(&self) -> Value {
        // Plain data with text keys: this cannot fail.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Returns one line for each setting that differs, by its name in files:
    /// `skipping.alpha: 0.8 in the file, 0.4 now`.
    pub fn differences(&self, now: &Settings) -> Vec<String> {
        let mut lines = Vec::new();
        differ("", &self.to_value(), &now.to_value(), &mut lines);
        lines
    }

    /// Returns whether two settings differ at most in the policy, so that their answers can be
    /// compared pair by pair and can stand in one table.
    pub fn is_comparable(&self, other: &Settings) -> bool {
        self.blank() == other.blank()
    }

    /// Returns a hash that is equal for all settings that can be compared with these.
    pub(crate) fn comparable_hash(&self) -> String {
        self.blank().hash()
    }

    /// Returns these settings with no policy.
    fn blank(&self) -> Self {
        Self {
            policy: PolicySettings::default(),
            ..self.clone()
        }
    }
}

/// Settings that earlier versions did not record.
const RECORDED_SINCE: [&str; 3] = ["words", "examples", "asking.stop_tokens"];

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
        match (path, before.as_str(), now.as_str()) {
            ("model.fingerprint", Some(before), Some(now)) => {
                differing_components(path, before, now, lines);
            }
            _ if before.is_null() && RECORDED_SINCE.contains(&path) => lines.push(format!(
                "{path}: not recorded in the file, {now} now: an earlier version wrote it, begin a new file"
            )),
            _ => lines.push(format!("{path}: {before} in the file, {now} now")),
        }
    }
}

/// Adds a line for each component of a fingerprint that differs, if both list the same number of components. In results
/// of earlier versions the fingerprint is one hash.
fn differing_components(path: &str, before: &str, now: &str, lines: &mut Vec<String>) {
    let components = |fingerprint: &str| -> Vec<String> {
        // At most five components: the stop tokens, which come last, are a list themselves.
        fingerprint.splitn(5, ", ").map(str::to_owned).collect()
    };
    let (before, now) = (components(before), components(now));
    if before.len() != now.len() {
        let (before, now) = (before.join(", "), now.join(", "));
        lines.push(format!(
            "{path}: {before} in the file, another now: begin a new file"
        ));
        lines.push(format!("{path}: {now} now"));
        return;
    }
    for (before, now) in before
        .iter()
        .zip(&now)
        .filter(|(before, now)| before != now)
    {
        lines.push(format!("{path}: {before} in the file, {now} now"));
    }
}
