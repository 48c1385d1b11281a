//! Queries that grow with their position.

use burn::tensor::{DType, Device, Tensor, TensorData};
use lac_core::Pass;

use super::cast::cast;

/// How queries grow with their position, so that attention stays sharp in long texts (Llama 4's temperature tuning, after
/// Nakanishi 2025, arXiv 2501.19399): they are multiplied by `1 + beta · ln(1 + ⌊position / context⌋)`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct QueryScale {
    /// How fast they grow, at least 0.
    pub beta: f64,
    /// Number of positions of the training context, within which they do not grow.
    pub original_max_position_embeddings: usize,
}

impl QueryScale {
    /// Describes the growth by its two numbers.
    pub fn new(beta: f64, original_max_position_embeddings: usize) -> Self {
        Self {
            beta,
            original_max_position_embeddings,
        }
    }

    /// Returns the number that the query of a position is multiplied by.
    pub fn factor(self, position: usize) -> f64 {
        let n_contexts = position / self.original_max_position_embeddings;
        1.0 + self.beta * (n_contexts as f64).ln_1p()
    }

    /// Returns the factors of a pass's positions, `[1 or batch, 1, seq, 1]`; `None` where all of them are 1. Rows share
    /// them where no row is padded on the left.
    pub(super) fn of_pass(self, pass: &Pass, dtype: DType, device: &Device) -> Option<Tensor<4>> {
        let last = (pass.past() + pass.seq()).saturating_sub(1);
        if self.factor(last) == 1.0 {
            return None;
        }
        let n_rows = if pass.is_padded_left() {
            pass.batch()
        } else {
            1
        };
        let slots = (0..n_rows).flat_map(|row| (0..pass.seq()).map(move |slot| (row, slot)));
        let factors = slots.map(|(row, slot)| {
            let position = pass.position(row, slot).unwrap_or(0);
            self.factor(position) as f32
        });
        let data = TensorData::new(factors.collect::<Vec<f32>>(), [n_rows, 1, pass.seq(), 1]);
        let factors = Tensor::from_data(data, (device, DType::F32));
        Some(cast(factors, dtype))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_grow_by_whole_contexts() {
        let scale = QueryScale::new(0.1, 8);
        let factors = [0, 7, 8, 15, 16].map(|position| scale.factor(position));
        let [two, three] = [2.0f64, 3.0].map(|n_contexts| 1.0 + 0.1 * n_contexts.ln());
        assert_eq!(factors, [1.0, 1.0, two, two, three]);
    }
}
