//! The maps of a tuned lens.

use burn::tensor::{FloatDType, Tensor};

/// An affine map that is added to a state before the final norm and the head: `h + W h + b`.
#[derive(Clone, Debug)]
pub struct AffineMap {
    /// `W`, `[hidden, hidden]`: rows are outputs.
    pub weight: Tensor<2>,
    /// `b`, `[hidden]`.
    pub bias: Tensor<1>,
}

/// The maps of a tuned lens, as the package `tuned-lens` trains them: the map of index `i` belongs to the state that layer
/// `i` receives, so map 0 to the embedding and map `i + 1` to the state after layer `i`. The state after the last layer has
/// none.
#[derive(Clone, Debug)]
pub struct TunedLens {
    maps: Vec<AffineMap>,
}

impl TunedLens {
    /// Makes a lens of the maps of a model's layers in turn.
    pub fn new(maps: Vec<AffineMap>) -> Self {
        Self { maps }
    }

    /// Returns the number of maps, which is the number of layers of the model that the lens is for.
    pub fn n_layers(&self) -> usize {
        self.maps.len()
    }

    /// Applies the map of a state, of which 0 is the embedding, to `[batch, seq, hidden]`. A state without a map is returned
    /// as it is.
    pub(super) fn translate(&self, state_idx: usize, state: Tensor<3>) -> Tensor<3> {
        let Some(map) = self.maps.get(state_idx) else {
            return state;
        };
        let dtype = state.dtype();
        let state = state.cast(FloatDType::F32);
        let weight = map.weight.clone().transpose().unsqueeze_dim::<3>(0);
        let bias = map.bias.clone().unsqueeze_dims::<3>(&[0, 1]);
        (state.clone() + state.matmul(weight) + bias).cast(dtype)
    }
}
