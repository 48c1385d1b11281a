//! Where a decoder's tensors come from.

use std::convert::Infallible;

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::config::NormForm;
use super::matrix::DecoderMatrix;

/// Hands out a decoder's tensors by their checkpoint names.
///
/// [`Decoder::load`](super::Decoder::load) asks for every tensor of the configuration once: the embedding, the layers
/// from the first to the last, the final norm, the head if it is untied. All tensors have one device and one data type.
pub trait TensorSource {
    /// Why a tensor cannot be returned. The first error ends the loading, and `load` returns it.
    type Error;

    /// Returns a matrix of shape `[rows, columns]`, a weight in `[out, in]` order: a tensor, or blocks where the hidden
    /// states are f32 on the CPU. `name` ends with `.weight`.
    ///
    /// # Errors
    /// The tensor is missing, has another shape, or cannot be read.
    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<DecoderMatrix, Self::Error>;

    /// Returns a vector of `len` numbers: the weight of a norm, or a bias, whose `name` ends with `.bias`.
    ///
    /// # Errors
    /// Those of [`matrix`](Self::matrix).
    fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>, Self::Error>;

    /// Returns the weight of a norm of `len` numbers, which acts in its form. The default asks for it as a
    /// [`vector`](Self::vector).
    ///
    /// # Errors
    /// Those of [`matrix`](Self::matrix).
    fn norm(&mut self, name: &str, len: usize, form: NormForm) -> Result<Tensor<1>, Self::Error> {
        let _ = form;
        self.vector(name, len)
    }

    /// Returns gate, up and down of all experts of a layer, those of one kind below each other: gate and up are
    /// `[n_experts * intermediate, hidden]`, down is `[n_experts * hidden, intermediate]`. `name` is that of the experts, such as
    /// `model.layers.0.mlp.experts`.
    ///
    /// The default asks for the matrices `name.0.gate_proj.weight`, `name.1.gate_proj.weight` and so on, then for those of
    /// `up_proj` and `down_proj`, and copies those of one kind into one matrix.
    ///
    /// # Errors
    /// Those of [`matrix`](Self::matrix).
    ///
    /// # Panics
    /// The default panics where some matrices of one kind are tensors and others are not, or blocks have several formats.
    fn experts(
        &mut self,
        name: &str,
        shape: ExpertsShape,
    ) -> Result<[DecoderMatrix; 3], Self::Error> {
        load_experts(self, name, shape)
    }
}

/// How many experts a layer has, and their sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ExpertsShape {
    /// Number of experts.
    pub n_experts: usize,
    /// Width inside an expert.
    pub intermediate: usize,
    /// Width of the residual stream.
    pub hidden: usize,
}

/// Copies matrices of all experts, which a source has one by one, together; see [`TensorSource::experts`].
pub(crate) fn load_experts<S: TensorSource + ?Sized>(
    source: &mut S,
    name: &str,
    shape: ExpertsShape,
) -> Result<[DecoderMatrix; 3], S::Error> {
    let ExpertsShape {
        n_experts,
        intermediate,
        hidden,
    } = shape;
    let mut kind = |part: &str, shape: [usize; 2]| {
        let matrices = (0..n_experts)
            .map(|expert| source.matrix(&format!("{name}.{expert}.{part}.weight"), shape))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(DecoderMatrix::below_each_other(&matrices))
    };
    Ok([
        kind("gate_proj", [intermediate, hidden])?,
        kind("up_proj", [intermediate, hidden])?,
        kind("down_proj", [hidden, intermediate])?,
    ])
}

/// Random weights, for measuring shapes and for training from scratch: matrices uniform with a
/// standard deviation of 0.02, norms that multiply by 1, biases 0. The same seed gives the same weights on
/// every device.
#[derive(Clone, Debug)]
pub struct DummyWeights {
    state: u64,
    dtype: DType,
    device: Device,
}

impl DummyWeights {
    /// Standard deviation of the matrices' entries.
    const STANDARD_DEVIATION: f32 = 0.02;

    /// Makes weights of a seed.
    pub fn new(seed: u64, dtype: DType, device: &Device) -> Self {
        Self {
            state: seed,
            dtype,
            device: device.clone(),
        }
    }

    /// Returns the next value, uniform in `[-1, 1)` (SplitMix64, Steele et al. 2014: fast enough that
    /// billions of weights take seconds).
    fn next_uniform(&mut self) -> f32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Returns the next matrix's values.
    pub(crate) fn values(&mut self, [n_rows, width]: [usize; 2]) -> Vec<f32> {
        // A uniform variable in [-1, 1) has a variance of 1/3.
        let scale = Self::STANDARD_DEVIATION * 3f32.sqrt();
        (0..n_rows * width)
            .map(|_| self.next_uniform() * scale)
            .collect()
    }

    fn tensor<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), (&self.device, self.dtype))
    }
}

impl TensorSource for DummyWeights {
    type Error = Infallible;

    fn matrix(&mut self, _name: &str, shape: [usize; 2]) -> Result<DecoderMatrix, Infallible> {
        let values = self.values(shape);
        Ok(self.tensor(values, shape).into())
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>, Infallible> {
        let value = if name.ends_with("bias") { 0.0 } else { 1.0 };
        Ok(self.tensor(vec![value; len], [len]))
    }

    fn norm(&mut self, _name: &str, len: usize, form: NormForm) -> Result<Tensor<1>, Infallible> {
        let value = match form {
            NormForm::OnePlusWeight => 0.0,
            _ => 1.0,
        };
        Ok(self.tensor(vec![value; len], [len]))
    }
}
