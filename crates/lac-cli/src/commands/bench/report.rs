//! What `lac bench` measured.

use serde::Serialize;

use crate::phase_pair::PhasePair;
use crate::speculation::SpeculationReport;

/// All measurements of one call.
#[derive(Serialize)]
pub struct Report {
    pub model: String,
    pub parameters: u64,
    pub layers: usize,
    pub device: String,
    pub threads: Option<usize>,
    /// Bytes a second, the mean over all repeats.
    pub read_bandwidth: f64,
    pub prompt_tokens: usize,
    pub new_tokens: usize,
    pub repeats: u32,
    pub alpha: f32,
    pub cases: Vec<Case>,
}

/// One data type, policy and number of rows.
#[derive(Serialize)]
pub struct Case {
    pub dtype: String,
    pub policy: String,
    pub batch: u32,
    /// Tokens a second, all rows together.
    pub prefill: Summary,
    /// Tokens a second, all rows together.
    pub decode: Summary,
    /// Operations a second of the prompt's pass in its linear maps, two for a multiplication and an addition.
    pub prefill_flops: f64,
    /// Bytes of weights and cache that a decoding pass has to read; under speculation, those of all passes for one
    /// token.
    pub bytes_per_pass: f64,
    /// Those bytes a second.
    pub bytes_per_second: f64,
    /// `bytes_per_second` as a share of the read bandwidth that was measured between the case's runs.
    pub share_of_bandwidth: f64,
    /// Layers run per pass; under speculation per token, with those of the drafts.
    pub executed: PhasePair,
    /// Share of layers that the gate flagged active; `None` when the policy does not gate.
    pub active: PhasePair,
    /// Counts of drafted tokens under speculation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speculation: Option<SpeculationReport>,
}

/// Mean and standard deviation over the repeats.
#[derive(Serialize)]
pub struct Summary {
    pub mean: f64,
    pub sd: f64,
}

impl Summary {
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let sd = if values.len() > 1 {
            (squares / (n - 1.0)).sqrt()
        } else {
            0.0
        };
        Self { mean, sd }
    }
}
