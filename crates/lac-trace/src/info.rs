//! What a trace says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lac_core::{
    GateConfig, LayerPolicy, PolicyEffect,
    lens::Lens,
    plan::{FingerprintPart, ModelFingerprint},
    released_code::{FirstThreshold, GateRounding},
};
use parquet::file::metadata::KeyValue;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::routing::ExpertCounts;

/// The version of the file format that this crate writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// The value of `lac.format` in every trace.
const FORMAT: &str = "lac-trace";

/// Written only for a model with experts.
const N_EXPERTS: &str = "lac.n_experts";
const EXPERTS_PER_TOKEN: &str = "lac.experts_per_token";
const LENS_TOP: &str = "lac.lens_top";

const WHOLE_SEQUENCES: &str = "lac.whole_sequences";

/// Written only where the gate held the first layer against [`BATCH_RANGE`].
const FIRST_THRESHOLD: &str = "lac.first_threshold";
const BATCH_RANGE: &str = "batch_range";

/// Written only where the effect is not the one of the built-in policy of that name; missing means that it is.
const POLICY_EFFECT: &str = "lac.policy_effect";

/// What a trace says of itself: the model, how it was run, and how it was gated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TraceInfo {
    /// The model's name: a hub id, a folder, or whatever its owner calls it.
    pub model: String,
    /// Number of layers of the model.
    pub n_layers: usize,
    /// The experts of the model's layers; `None` where it has none, and nothing is recorded of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts: Option<ExpertCounts>,
    /// Number of tokens that a lens names after each layer; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lens_top: Option<usize>,
    /// Data type that was computed in, such as `f32`.
    pub dtype: String,
    /// Device that was computed on.
    pub device: String,
    /// The policy's name.
    pub policy: String,
    /// α, and how the gate rounded.
    pub gate: GateConfig,
    /// Seed of the draws; `None` when tokens were not drawn.
    pub seed: Option<u64>,
    /// The version of lac that recorded.
    pub lac_version: String,
    /// Whatever else is worth knowing.
    pub notes: BTreeMap<String, String>,
    /// The last token of each sequence that was chosen but never fed, by sequence: nothing was
    /// measured of it.
    pub unfed: BTreeMap<u32, u32>,
    /// In the parts of a run: how many sequences, from the first on, were over when the part was written.
    #[serde(skip)]
    pub(crate) whole_sequences: u32,
    /// The policy's effect; `None` where it is the one of the built-in policy of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy_effect: Option<Effect>,
}

/// A [`PolicyEffect`] as files have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Effect {
    FullModel,
    FullStates,
    ChangedStates,
}

impl Effect {
    const ALL: [Self; 3] = [Self::FullModel, Self::FullStates, Self::ChangedStates];

    fn of(effect: PolicyEffect) -> Self {
        match effect {
            PolicyEffect::FullModel => Self::FullModel,
            PolicyEffect::FullStates => Self::FullStates,
            PolicyEffect::ChangedStates => Self::ChangedStates,
        }
    }

    /// Returns the effect of the built-in policy of a name; that of any other name promises nothing.
    fn of_builtin(policy: &str) -> Self {
        match policy {
            "trace" => Self::FullModel,
            "last-active" => Self::FullStates,
            _ => Self::ChangedStates,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::FullModel => "full_model",
            Self::FullStates => "full_states",
            Self::ChangedStates => "changed_states",
        }
    }
}

impl TraceInfo {
    /// Describes a run of a model under a policy.
    ///
    /// # Errors
    /// [`Error::NotGated`] when the policy measures nothing.
    pub fn new(model: &str, n_layers: usize, policy: &dyn LayerPolicy) -> Result<Self> {
        let gate = policy.gate_config().ok_or_else(|| Error::NotGated {
            policy: policy.name().to_owned(),
        })?;
        let effect = Effect::of(policy.effect());
        let is_builtin = effect == Effect::of_builtin(policy.name());
        Ok(Self {
            model: model.to_owned(),
            n_layers,
            experts: None,
            lens_top: None,
            dtype: "unknown".to_owned(),
            device: "unknown".to_owned(),
            policy: policy.name().to_owned(),
            gate,
            seed: None,
            lac_version: env!("CARGO_PKG_VERSION").to_owned(),
            notes: BTreeMap::new(),
            unfed: BTreeMap::new(),
            whole_sequences: 0,
            policy_effect: (!is_builtin).then_some(effect),
        })
    }

    /// Sets the data type and the device that is computed on.
    pub fn with_machine(mut self, dtype: &str, device: &str) -> Self {
        self.dtype = dtype.to_owned();
        self.device = device.to_owned();
        self
    }

    /// Sets the number of experts of a layer, and of those that a token goes through: what routers choose is recorded.
    pub fn with_experts(mut self, experts: Option<ExpertCounts>) -> Self {
        self.experts = experts;
        self
    }

    /// Sets the number of tokens that a lens names after each layer: what it sees is recorded.
    pub fn with_lens(mut self, n_top: Option<usize>) -> Self {
        self.lens_top = n_top;
        self
    }

    /// Sets the seed of the draws.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Notes the parts of the model's fingerprint: an interrupted trace goes on only where all of them are the same. The
    /// configuration's hash stands for the model's sizes.
    pub fn with_model(self, fingerprint: &ModelFingerprint) -> Self {
        let parts = [
            FingerprintPart::Weights,
            FingerprintPart::Config,
            FingerprintPart::Tokenizer,
            FingerprintPart::ChatTemplate,
            FingerprintPart::StopTokens,
        ];
        parts.into_iter().fold(self, |info, part| {
            info.with_note(&format!("model {}", part.name()), &fingerprint.part(part))
        })
    }

    /// Adds a note.
    pub fn with_note(mut self, key: &str, value: &str) -> Self {
        self.notes.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Returns whether the masks for another α follow from the recorded deltas: they do if the policy leaves the states
    /// between layers as they are (see [`PolicyEffect`]) and no threshold depends on other sequences.
    pub fn can_sweep_alpha(&self) -> bool {
        let of_builtin = || Effect::of_builtin(&self.policy);
        self.policy_effect.unwrap_or_else(of_builtin) != Effect::ChangedStates
            && self.gate.first_threshold == FirstThreshold::Zero
    }

    /// Returns the model's name without the folders above it; a hub id, `organisation/name`, as it is.
    pub fn short_model(&self) -> &str {
        let is_hub_id = self.model.split('/').count() == 2 && !self.model.starts_with(['/', '.']);
        let name = self.model.trim_end_matches('/').rsplit('/').next();
        match name {
            Some(name) if !is_hub_id && !name.is_empty() => name,
            _ => &self.model,
        }
    }

    /// Returns a short title: model, data type, policy, α.
    pub fn title(&self) -> String {
        format!(
            "{} · {} · {} · α {}",
            self.short_model(),
            self.dtype,
            self.policy,
            self.gate.alpha
        )
    }

    /// Returns what differs between two runs, in words; empty where one could be a part of the other.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        // What a run learns on its way does not count as a difference.
        let fixed = |info: &Self| -> BTreeMap<String, Option<String>> {
            let pairs = info.to_metadata().into_iter();
            pairs
                .map(|pair| (pair.key, pair.value))
                .filter(|(key, _)| key != "lac.unfed" && key != WHOLE_SEQUENCES)
                .collect()
        };
        let (ours, theirs) = (fixed(self), fixed(other));
        let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let value = |pairs: &BTreeMap<String, Option<String>>, key: &String| {
            let value = pairs.get(key).cloned().flatten();
            value.unwrap_or_else(|| "missing".to_owned())
        };
        keys.into_iter()
            .filter(|key| ours.get(*key) != theirs.get(*key))
            .map(|key| {
                let name = key.trim_start_matches("lac.").trim_start_matches("note.");
                format!(
                    "{name}: {} there, {} now",
                    value(&ours, key),
                    value(&theirs, key)
                )
            })
            .collect()
    }

    pub(crate) fn to_metadata(&self) -> Vec<KeyValue> {
        let rounding = match self.gate.rounding {
            GateRounding::F32 => "f32",
            GateRounding::Bf16 => "bf16",
        };
        let mut pairs = vec![
            ("lac.format".to_owned(), FORMAT.to_owned()),
            ("lac.format_version".to_owned(), FORMAT_VERSION.to_string()),
            ("lac.version".to_owned(), self.lac_version.clone()),
            ("lac.model".to_owned(), self.model.clone()),
            ("lac.n_layers".to_owned(), self.n_layers.to_string()),
            ("lac.dtype".to_owned(), self.dtype.clone()),
            ("lac.device".to_owned(), self.device.clone()),
            ("lac.policy".to_owned(), self.policy.clone()),
            ("lac.alpha".to_owned(), self.gate.alpha.to_string()),
            ("lac.gate_rounding".to_owned(), rounding.to_owned()),
        ];
        if self.gate.first_threshold == FirstThreshold::BatchRange {
            pairs.push((FIRST_THRESHOLD.to_owned(), BATCH_RANGE.to_owned()));
        }
        if let Some(effect) = self.policy_effect {
            pairs.push((POLICY_EFFECT.to_owned(), effect.name().to_owned()));
        }
        if let Some(experts) = self.experts {
            pairs.push((N_EXPERTS.to_owned(), experts.n_experts.to_string()));
            pairs.push((EXPERTS_PER_TOKEN.to_owned(), experts.n_chosen.to_string()));
        }
        if let Some(n_top) = self.lens_top {
            pairs.push((LENS_TOP.to_owned(), n_top.to_string()));
        }
        if let Some(seed) = self.seed {
            pairs.push(("lac.seed".to_owned(), seed.to_string()));
        }
        if !self.unfed.is_empty() {
            let unfed: Vec<String> = self
                .unfed
                .iter()
                .map(|(sequence, id)| format!("{sequence}:{id}"))
                .collect();
            pairs.push(("lac.unfed".to_owned(), unfed.join(",")));
        }
        if self.whole_sequences > 0 {
            let whole = self.whole_sequences.to_string();
            pairs.push((WHOLE_SEQUENCES.to_owned(), whole));
        }
        for (key, value) in &self.notes {
            pairs.push((format!("lac.note.{key}"), value.clone()));
        }
        pairs
            .into_iter()
            .map(|(key, value)| KeyValue::new(key, value))
            .collect()
    }

    pub(crate) fn from_metadata(pairs: Option<&Vec<KeyValue>>, path: &Path) -> Result<Self> {
        let fields = Fields {
            path,
            pairs: pairs
                .into_iter()
                .flatten()
                .filter_map(|pair| Some((pair.key.as_str(), pair.value.as_deref()?)))
                .collect(),
        };
        if fields.pairs.get("lac.format") != Some(&FORMAT) {
            return Err(Error::not_a_trace(
                path,
                "a Parquet file whose metadata does not say `lac.format = lac-trace`; a program that saves a trace \
                 again has to keep its metadata",
            ));
        }
        let version = fields.text("lac.format_version")?;
        if version != FORMAT_VERSION.to_string() {
            return Err(Error::UnknownVersion {
                path: path.to_owned(),
                found: version,
                supported: FORMAT_VERSION,
            });
        }
        let rounding = match fields.text("lac.gate_rounding")?.as_str() {
            "f32" => GateRounding::F32,
            "bf16" => GateRounding::Bf16,
            other => return Err(fields.wrong("lac.gate_rounding", other, "f32 or bf16")),
        };
        let alpha: f32 = fields.number("lac.alpha", "a number that is not negative")?;
        let first_threshold = match fields.pairs.get(FIRST_THRESHOLD) {
            None => FirstThreshold::Zero,
            Some(&BATCH_RANGE) => FirstThreshold::BatchRange,
            Some(other) => return Err(fields.wrong(FIRST_THRESHOLD, other, BATCH_RANGE)),
        };
        let policy_effect = match fields.pairs.get(POLICY_EFFECT) {
            None => None,
            Some(name) => Some(
                Effect::ALL
                    .into_iter()
                    .find(|effect| effect.name() == *name)
                    .ok_or_else(|| {
                        let expected = "full_model, full_states or changed_states";
                        fields.wrong(POLICY_EFFECT, name, expected)
                    })?,
            ),
        };
        let gate = GateConfig::new(alpha)
            .with_rounding(rounding)
            .with_first_threshold(first_threshold);
        if gate.validate().is_err() {
            let found = alpha.to_string();
            return Err(fields.wrong("lac.alpha", &found, "a number that is not negative"));
        }
        let n_layers: usize = fields.number("lac.n_layers", "a number of layers, 1 to 65535")?;
        if !(1..=65_535).contains(&n_layers) {
            let found = n_layers.to_string();
            return Err(fields.wrong("lac.n_layers", &found, "a number of layers, 1 to 65535"));
        }
        let experts = if fields.pairs.contains_key(N_EXPERTS) {
            let expected = "a number of experts, at least those of a token";
            let experts = ExpertCounts {
                n_experts: fields.number(N_EXPERTS, expected)?,
                n_chosen: fields.number(EXPERTS_PER_TOKEN, expected)?,
            };
            if !experts.are_possible() {
                return Err(fields.wrong(N_EXPERTS, &experts.n_experts.to_string(), expected));
            }
            Some(experts)
        } else {
            None
        };
        let lens_top = if fields.pairs.contains_key(LENS_TOP) {
            let expected = "a number of tokens, 1 to 100";
            let n_top: usize = fields.number(LENS_TOP, expected)?;
            if !(1..=Lens::MOST_TOP).contains(&n_top) {
                return Err(fields.wrong(LENS_TOP, &n_top.to_string(), expected));
            }
            Some(n_top)
        } else {
            None
        };
        let seed = if fields.pairs.contains_key("lac.seed") {
            Some(fields.number("lac.seed", "a whole number")?)
        } else {
            None
        };
        let notes = fields
            .pairs
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix("lac.note.")?, value)))
            .map(|(key, value)| (key.to_owned(), (*value).to_owned()))
            .collect();
        Ok(Self {
            model: fields.text("lac.model")?,
            n_layers,
            experts,
            lens_top,
            dtype: fields.text("lac.dtype")?,
            device: fields.text("lac.device")?,
            policy: fields.text("lac.policy")?,
            gate,
            seed,
            lac_version: fields.text("lac.version")?,
            notes,
            unfed: fields.unfed()?,
            whole_sequences: if fields.pairs.contains_key(WHOLE_SEQUENCES) {
                fields.number(WHOLE_SEQUENCES, "a number of sequences")?
            } else {
                0
            },
            policy_effect,
        })
    }
}

/// The metadata of a file that is being read.
struct Fields<'a> {
    path: &'a Path,
    pairs: BTreeMap<&'a str, &'a str>,
}

impl Fields<'_> {
    fn text(&self, key: &'static str) -> Result<String> {
        match self.pairs.get(key) {
            Some(value) => Ok((*value).to_owned()),
            None => Err(Error::Metadata {
                path: self.path.to_owned(),
                key,
                found: "missing".to_owned(),
                expected: "a text",
            }),
        }
    }

    fn number<T: std::str::FromStr>(&self, key: &'static str, expected: &'static str) -> Result<T> {
        let text = self.text(key)?;
        text.parse().map_err(|_| self.wrong(key, &text, expected))
    }

    fn unfed(&self) -> Result<BTreeMap<u32, u32>> {
        let Some(text) = self.pairs.get("lac.unfed") else {
            return Ok(BTreeMap::new());
        };
        let pair = |pair: &str| {
            let (sequence, id) = pair.split_once(':')?;
            Some((sequence.parse().ok()?, id.parse().ok()?))
        };
        text.split(',')
            .map(pair)
            .collect::<Option<_>>()
            .ok_or_else(|| self.wrong("lac.unfed", text, "pairs `sequence:id`"))
    }

    fn wrong(&self, key: &'static str, found: &str, expected: &'static str) -> Error {
        Error::Metadata {
            path: self.path.to_owned(),
            key,
            found: format!("{:?}", found.chars().take(60).collect::<String>()),
            expected,
        }
    }
}
