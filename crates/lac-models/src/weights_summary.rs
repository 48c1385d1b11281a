//! What a model's weights are, without reading them.

use std::collections::BTreeMap;

/// The numbers of files and tensors of a model's weights, and their types.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WeightsSummary {
    /// Files that hold weights.
    pub n_files: usize,
    /// Tensors in all of them.
    pub n_tensors: usize,
    /// Bytes of all tensors.
    pub n_bytes: u64,
    /// The types of the tensors as the files name them, such as `BF16` and `Q4_K`, and how many tensors have each.
    pub types: BTreeMap<String, usize>,
}

impl WeightsSummary {
    /// Returns the types in one text, the most frequent first: `Q4_K 168, Q6_K 29, F32 73`.
    pub fn types_text(&self) -> String {
        let mut types: Vec<(&String, &usize)> = self.types.iter().collect();
        types.sort_by_key(|&(_, count)| std::cmp::Reverse(*count));
        let types = types.iter().map(|(name, count)| format!("{name} {count}"));
        types.collect::<Vec<_>>().join(", ")
    }
}
