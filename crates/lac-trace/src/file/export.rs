//! Traces in other formats: the JSON of `lac trace`, and CSV.

use std::path::Path;

use lac_core::{PerPhase, Phase};
use serde::Serialize;

use super::read::TraceReader;
use super::schema::SCALARS;
use crate::atomic::write_atomically;
use crate::error::{Error, Result};
use crate::info::TraceInfo;
use crate::lens::{LensJson, PhaseLens};
use crate::measures::{MeasuresJson, TokenMeasures, push_json};
use crate::routing::NO_EXPERT;
use crate::token::Token;

/// One sequence of a trace, in the fields of `lac trace --json` that a trace can know
/// (docs/trace-json.md).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SequenceJson {
    /// Which prompt of the run.
    pub sequence: u32,
    /// The prompt's tokens.
    pub prompt_ids: Vec<Option<u32>>,
    /// Number of layers.
    pub layers: usize,
    /// α.
    pub alpha: f32,
    /// The policy's name.
    pub policy: String,
    /// Data type that was computed in.
    pub dtype: String,
    /// Device that was computed on.
    pub device: String,
    /// Norms before any layer.
    pub embedding_norms: Vec<f32>,
    /// `[layers][tokens]`, as the ones below.
    pub norms: Vec<Vec<f32>>,
    /// What each layer changed of the norm.
    pub deltas: Vec<Vec<f32>>,
    /// The threshold each delta was held against.
    pub thresholds: Vec<Vec<f32>>,
    /// 1 where the layer was active.
    pub active: Vec<Vec<u8>>,
    /// The new tokens; the last one was not fed, and has no column.
    pub generated: Vec<Option<u32>>,
    /// The same for the response.
    pub rg_norms: Vec<Vec<f32>>,
    /// The same for the response.
    pub rg_deltas: Vec<Vec<f32>>,
    /// The same for the response.
    pub rg_thresholds: Vec<Vec<f32>>,
    /// The same for the response.
    pub rg_active: Vec<Vec<u8>>,
    /// `[layers][tokens][chosen]`: the experts that the prompt's tokens went through, the one with the largest weight first.
    /// A layer without experts has an empty list for each token; without experts in the model the field is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub experts: Vec<Vec<Vec<u32>>>,
    /// The weights of these experts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expert_weights: Vec<Vec<Vec<f32>>>,
    /// The same for the response.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rg_experts: Vec<Vec<Vec<u32>>>,
    /// The same for the response.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rg_expert_weights: Vec<Vec<Vec<f32>>>,
    /// What was measured of the prompt's tokens beside the norm, by name, `[layers][tokens]` each.
    #[serde(skip_serializing_if = "MeasuresJson::is_empty")]
    pub measures: MeasuresJson,
    /// The same for the response.
    #[serde(skip_serializing_if = "MeasuresJson::is_empty")]
    pub rg_measures: MeasuresJson,
    /// What a lens saw of the prompt's tokens.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub lens: Option<LensFields>,
}

/// What a lens saw of both phases.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LensFields {
    /// `[layers][tokens]`: the prompt's tokens.
    pub lens: Vec<Vec<LensJson>>,
    /// `[tokens]`: the layer from which on the most probable token stays the same.
    pub decided_at: Vec<usize>,
    /// The same for the response.
    pub rg_lens: Vec<Vec<LensJson>>,
    /// The same for the response.
    pub rg_decided_at: Vec<usize>,
}

impl LensFields {
    /// Joins what a lens saw of both phases; `None` without a lens.
    pub fn new(prompt: PhaseLens, response: PhaseLens) -> Option<Self> {
        (!prompt.is_empty() || !response.is_empty()).then_some(Self {
            lens: prompt.layers,
            decided_at: prompt.decided_at,
            rg_lens: response.layers,
            rg_decided_at: response.decided_at,
        })
    }
}

impl SequenceJson {
    pub(super) fn new(info: &TraceInfo, sequence: u32) -> Self {
        let rows = || vec![Vec::new(); info.n_layers];
        let flags = || vec![Vec::new(); info.n_layers];
        let n_routed = info.experts.map_or(0, |_| info.n_layers);
        Self {
            sequence,
            layers: info.n_layers,
            alpha: info.gate.alpha,
            policy: info.policy.clone(),
            dtype: info.dtype.clone(),
            device: info.device.clone(),
            norms: rows(),
            deltas: rows(),
            thresholds: rows(),
            active: flags(),
            rg_norms: rows(),
            rg_deltas: rows(),
            rg_thresholds: rows(),
            rg_active: flags(),
            experts: vec![Vec::new(); n_routed],
            expert_weights: vec![Vec::new(); n_routed],
            rg_experts: vec![Vec::new(); n_routed],
            rg_expert_weights: vec![Vec::new(); n_routed],
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, token: &Token<'_>) {
        let (norms, deltas, thresholds, active) = match token.phase {
            Phase::Prompt => {
                self.prompt_ids.push(token.token_id);
                self.embedding_norms.push(token.embedding_norm);
                (
                    &mut self.norms,
                    &mut self.deltas,
                    &mut self.thresholds,
                    &mut self.active,
                )
            }
            Phase::Response => {
                self.generated.push(token.token_id);
                (
                    &mut self.rg_norms,
                    &mut self.rg_deltas,
                    &mut self.rg_thresholds,
                    &mut self.rg_active,
                )
            }
        };
        for layer_idx in 0..token.n_layers() {
            norms[layer_idx].push(token.norms[layer_idx]);
            deltas[layer_idx].push(token.deltas[layer_idx]);
            thresholds[layer_idx].push(token.thresholds[layer_idx]);
            active[layer_idx].push(u8::from(token.active[layer_idx]));
        }
        if let Some(measures) = &token.measures {
            let json = match token.phase {
                Phase::Prompt => &mut self.measures,
                Phase::Response => &mut self.rg_measures,
            };
            push_json(json, measures);
        }
        let Some(routing) = token.routing else {
            return;
        };
        let (experts, weights) = match token.phase {
            Phase::Prompt => (&mut self.experts, &mut self.expert_weights),
            Phase::Response => (&mut self.rg_experts, &mut self.rg_expert_weights),
        };
        for layer_idx in 0..token.n_layers() {
            let (chosen, weighted) = routing.of_layer(layer_idx).unwrap_or_default();
            experts[layer_idx].push(chosen.to_vec());
            weights[layer_idx].push(weighted.to_vec());
        }
    }
}

impl TraceReader {
    /// Returns one sequence of the trace, whole.
    ///
    /// # Errors
    /// [`Error::Choice`] for a sequence that is not there; what reading reports.
    pub fn sequence(&self, sequence: u32) -> Result<SequenceJson> {
        let mut json = SequenceJson::new(self.info(), sequence);
        let mut lens = PerPhase::<PhaseLens>::default();
        let mut largest = 0;
        self.for_each(|token| {
            largest = largest.max(token.sequence);
            if token.sequence == sequence {
                json.push(&token);
                if let Some(seen) = &token.lens {
                    lens.get_mut(token.phase).push(seen);
                }
            }
        })?;
        json.lens = LensFields::new(lens.prompt, lens.response);
        if sequence > largest {
            return Err(Error::Choice {
                path: self.path().to_owned(),
                message: format!("there is no sequence {sequence}: they count from 0 to {largest}"),
            });
        }
        json.generated
            .extend(self.info().unfed.get(&sequence).map(|&id| Some(id)));
        Ok(json)
    }

    /// Writes one sequence as a JSON object.
    ///
    /// # Errors
    /// As [`sequence`](Self::sequence), and what the system reports.
    pub fn write_json(&self, path: &Path, sequence: u32) -> Result<()> {
        let json = self.sequence(sequence)?;
        write_atomically(path, |file| {
            serde_json::to_writer(&mut *file, &json)?;
            writeln!(file)
        })
    }

    /// Writes a line per token, layer after layer in columns `norm_0`, `delta_0`, `threshold_0`,
    /// `active_0`, `executed_0`, …
    ///
    /// # Errors
    /// What reading and the system report.
    pub fn write_csv(&self, path: &Path) -> Result<()> {
        let mut failed = None;
        write_atomically(path, |file| {
            let mut writer = csv::Writer::from_writer(file);
            let mut has_header = false;
            for batch in self.batches() {
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(error) => {
                        failed = Some(error);
                        return Err(std::io::Error::other("the trace cannot be read"));
                    }
                };
                for token in batch.tokens() {
                    if !has_header {
                        writer.write_record(csv_header(&token))?;
                        has_header = true;
                    }
                    writer.write_record(csv_record(&token))?;
                }
            }
            writer.flush()
        })
        // What was wrong with the trace says more than that the file was not written.
        .map_err(|error| failed.unwrap_or(error))
    }
}

fn csv_header(token: &Token<'_>) -> Vec<String> {
    let mut header = SCALARS.map(str::to_owned).to_vec();
    let mut columns = vec!["norm", "delta", "threshold", "active", "executed"];
    if let Some(measures) = &token.measures {
        columns.extend(measures.iter().map(|(measure, _)| measure.name()));
    }
    if token.lens.is_some() {
        columns.extend(["lens_entropy", "lens_kl"]);
    }
    for column in columns {
        header.extend((0..token.n_layers()).map(|layer_idx| format!("{column}_{layer_idx}")));
    }
    if let Some(routing) = &token.routing {
        for column in ["expert", "expert_weight"] {
            for layer_idx in 0..token.n_layers() {
                let choices = 0..routing.n_chosen;
                header.extend(choices.map(|idx| format!("{column}_{layer_idx}_{idx}")));
            }
        }
    }
    if let Some(lens) = &token.lens {
        for column in ["lens_id", "lens_logprob"] {
            for layer_idx in 0..token.n_layers() {
                let ranks = 0..lens.n_top;
                header.extend(ranks.map(|rank| format!("{column}_{layer_idx}_{rank}")));
            }
        }
    }
    header
}

fn csv_record(token: &Token<'_>) -> Vec<String> {
    let mut record = vec![
        token.sequence.to_string(),
        token.phase.name().to_owned(),
        token.position.to_string(),
        token.token_id.map(|id| id.to_string()).unwrap_or_default(),
        token.piece.unwrap_or_default().to_owned(),
        token.embedding_norm.to_string(),
    ];
    let floats = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>();
    let flags = |flags: &[bool]| {
        flags
            .iter()
            .map(|&flag| u8::from(flag).to_string())
            .collect::<Vec<_>>()
    };
    record.extend(floats(token.norms));
    record.extend(floats(token.deltas));
    record.extend(floats(token.thresholds));
    record.extend(flags(token.active));
    record.extend(flags(token.executed));
    for (_, values) in token.measures.iter().flat_map(TokenMeasures::iter) {
        record.extend(floats(values));
    }
    if let Some(lens) = &token.lens {
        record.extend(floats(lens.entropy));
        record.extend(floats(lens.kl));
    }
    if let Some(routing) = &token.routing {
        // A layer without experts has empty fields.
        let is_chosen = |idx: &u32| *idx != NO_EXPERT;
        let experts = routing.experts.iter();
        record.extend(experts.map(|idx| {
            let text = is_chosen(idx).then(|| idx.to_string());
            text.unwrap_or_default()
        }));
        let weights = routing.experts.iter().zip(routing.weights);
        record.extend(weights.map(|(idx, weight)| {
            let text = is_chosen(idx).then(|| weight.to_string());
            text.unwrap_or_default()
        }));
    }
    if let Some(lens) = &token.lens {
        record.extend(lens.ids.iter().map(u32::to_string));
        record.extend(floats(lens.logprobs));
    }
    record
}
