//! The JSON object of `lac trace --json`.

use lac_core::Usage;
use lac_trace::file::LensFields;
use lac_trace::measures::MeasuresJson;
use serde::Serialize;

use crate::phase_pair::PhasePair;

/// The JSON of a trace; docs/trace-json.md describes it.
#[derive(Serialize)]
pub struct TraceJson<'a> {
    pub prompt_ids: &'a [u32],
    pub layers: usize,
    pub alpha: f32,
    pub policy: &'a str,
    pub dtype: &'a str,
    pub device: String,
    pub embedding_norms: &'a [f32],
    pub norms: &'a [Vec<f32>],
    pub deltas: &'a [Vec<f32>],
    pub thresholds: &'a [Vec<f32>],
    pub active: &'a [Vec<u8>],
    pub generated: &'a [u32],
    pub text: Option<&'a str>,
    pub rg_norms: &'a [Vec<f32>],
    pub rg_deltas: &'a [Vec<f32>],
    pub rg_thresholds: &'a [Vec<f32>],
    pub rg_active: &'a [Vec<u8>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub experts: &'a [Vec<Vec<u32>>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub expert_weights: &'a [Vec<Vec<f32>>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub rg_experts: &'a [Vec<Vec<u32>>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub rg_expert_weights: &'a [Vec<Vec<f32>>],
    #[serde(skip_serializing_if = "MeasuresJson::is_empty")]
    pub measures: &'a MeasuresJson,
    #[serde(skip_serializing_if = "MeasuresJson::is_empty")]
    pub rg_measures: &'a MeasuresJson,
    #[serde(flatten)]
    pub lens: Option<LensFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logits_last: Option<&'a [f32]>,
    pub usage: UsageJson,
    pub executed: PhasePair,
}

/// The share of tokens for which layers were active.
#[derive(Serialize)]
pub struct UsageJson {
    pub prompt: Vec<f64>,
    pub response: Vec<f64>,
    pub prompt_mean: Option<f64>,
    pub response_mean: Option<f64>,
}

impl UsageJson {
    pub fn new(usage: &Usage) -> Self {
        Self {
            prompt: usage.prompt.per_layer().unwrap_or_default(),
            response: usage.response.per_layer().unwrap_or_default(),
            prompt_mean: usage.prompt.mean(),
            response_mean: usage.response.mean(),
        }
    }
}
