//! What `fixtures/make_fixtures.py` wrote of a checkpoint.

use serde::Deserialize;

use crate::parity::fixture;

#[derive(Deserialize)]
pub struct Expected {
    pub alphas: Vec<f32>,
    pub prompts: Vec<ExpectedPrompt>,
}

#[derive(Deserialize)]
pub struct ExpectedPrompt {
    pub prompt_ids: Vec<u32>,
    pub embedding_norms: Vec<f32>,
    pub norms: Vec<Vec<f32>>,
    pub deltas: Vec<Vec<f32>>,
    pub trace: Vec<ExpectedTrace>,
    pub logits_last: Vec<f32>,
    pub full_greedy: ExpectedGreedy,
    pub last_active: Vec<ExpectedPolicy>,
    pub bypass: Vec<ExpectedBypass>,
    pub halt: Vec<ExpectedHalt>,
}

#[derive(Deserialize)]
pub struct ExpectedTrace {
    pub thresholds: Vec<Vec<f32>>,
    pub active: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
pub struct ExpectedGreedy {
    pub ids: Vec<u32>,
    pub rg_norms: Vec<Vec<f32>>,
    pub rg_deltas: Vec<Vec<f32>>,
    pub rg_active: Vec<Vec<Vec<u8>>>,
}

#[derive(Deserialize)]
pub struct ExpectedPolicy {
    pub logits_last: Vec<f32>,
    pub greedy_ids: Vec<u32>,
}

#[derive(Deserialize)]
pub struct ExpectedBypass {
    pub embedding_norms: Vec<f32>,
    pub norms: Vec<Vec<f32>>,
    pub deltas: Vec<Vec<f32>>,
    pub thresholds: Vec<Vec<f32>>,
    pub active: Vec<Vec<u8>>,
    pub rg_active: Vec<Vec<u8>>,
    pub logits_last: Vec<f32>,
    pub greedy_ids: Vec<u32>,
}

#[derive(Deserialize)]
pub struct ExpectedHalt {
    pub executed: usize,
    pub logits_last: Vec<f32>,
    pub greedy_ids: Vec<u32>,
    pub rg_executed: Vec<usize>,
}

pub fn expected(name: &str) -> Expected {
    let path = fixture(name).join("expected.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
