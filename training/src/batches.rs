//! Batches for training: documents of one step, grouped by length.

use crate::conversation::draw;
use crate::error::Error;
use crate::random::Random;
use crate::tokenizer::{Encoded, encode};
use crate::world::World;
use tokenizers::Tokenizer;

/// Rows of equal length; shorter documents are filled up on the right.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The number of rows.
    pub rows: usize,
    /// The length of each row.
    pub len: usize,
    /// Kind and topic of each row's document.
    pub labels: Vec<String>,
    /// Token ids, row by row.
    pub ids: Vec<u32>,
    /// What is to be predicted for each place, row by row.
    pub targets: Vec<u32>,
    /// The weight of predicting it; zero for filling.
    pub weights: Vec<f32>,
}

impl Batch {
    /// Returns the sum of all weights.
    pub fn total_weight(&self) -> f32 {
        self.weights.iter().sum()
    }
}

/// The settings of a training run's data.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The seed of the documents.
    pub seed: u64,
    /// How many tokens a step has, about.
    pub tokens_per_step: usize,
    /// How many groups a step's documents are divided into.
    pub n_groups: usize,
}

/// Returns the batches of one step. Each step has its own seed, so that a run can be resumed at any step without
/// replaying the steps before it.
///
/// # Errors
/// Fails if the tokenizer does.
pub fn batches(
    world: &World,
    tokenizer: &Tokenizer,
    plan: &Plan,
    step: usize,
) -> Result<Vec<Batch>, Error> {
    let mut random = Random::new(plan.seed ^ (step as u64 + 1).wrapping_mul(0xA24B_AED4_963E_E407));
    let mut docs = Vec::new();
    let mut n_tokens = 0;
    while n_tokens < plan.tokens_per_step {
        let (kind, doc) = draw(world, step, &mut random);
        let tokens = encode(tokenizer, &doc)?;
        n_tokens += tokens.ids.len();
        let label = format!("{kind:?} {}", doc.topic).trim_end().to_owned();
        docs.push(Row { label, tokens });
    }
    docs.sort_by_key(|row| row.tokens.ids.len());
    let mut groups: Vec<Vec<Row>> = vec![Vec::new(); plan.n_groups];
    let mut seen = 0;
    for doc in docs {
        let group = (seen * plan.n_groups / n_tokens).min(plan.n_groups - 1);
        seen += doc.tokens.ids.len();
        groups[group].push(doc);
    }
    Ok(groups
        .into_iter()
        .filter(|g| !g.is_empty())
        .map(|g| pad(&g))
        .collect())
}

/// One document as tokens.
#[derive(Clone)]
struct Row {
    label: String,
    tokens: Encoded,
}

fn pad(docs: &[Row]) -> Batch {
    let len = docs.iter().map(|d| d.tokens.ids.len()).max().unwrap_or(0);
    let mut batch = Batch {
        rows: docs.len(),
        len,
        labels: Vec::with_capacity(docs.len()),
        ids: Vec::with_capacity(docs.len() * len),
        targets: Vec::with_capacity(docs.len() * len),
        weights: Vec::with_capacity(docs.len() * len),
    };
    for Row { label, tokens } in docs {
        batch.labels.push(label.clone());
        let filling = len - tokens.ids.len();
        batch.ids.extend(&tokens.ids);
        // The token of the filling does not matter: no real token attends to it.
        batch.ids.extend(std::iter::repeat_n(0, filling));
        batch.targets.extend(&tokens.targets);
        batch.targets.extend(std::iter::repeat_n(0, filling));
        batch.weights.extend(&tokens.weights);
        batch.weights.extend(std::iter::repeat_n(0.0, filling));
    }
    batch
}
