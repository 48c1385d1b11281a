//! How weights are loaded: the data type, and what is done with quantised ones.

use std::str::FromStr;

use lac_core::named::{UnknownName, by_name};
pub use lac_kernels::quantized::Activations;
use lac_kernels::quantized::BlockFormat;

use super::dtype::WeightDtype;
use crate::decoder::DecoderConfig;

/// How a model's weights are loaded, and what is computed with them.
///
/// Weights that are not quantised become tensors of [`dtype`](Self::dtype). Quantised matrices stay in their blocks where
/// the data type is f32 and the device is the CPU, and are multiplied from there as [`activations`](Self::activations)
/// says. With the other data types, and on other devices, they are dequantised while they are loaded.
///
/// ```
/// use lac_models::{LoadConfig, WeightDtype};
/// use lac_models::checkpoint::Activations;
///
/// // A data type alone takes the exact products.
/// let exact = LoadConfig::from(WeightDtype::F32);
/// assert_eq!(exact.activations, Activations::Exact);
///
/// let fast = LoadConfig::new(WeightDtype::F32).with_activations(Activations::Int8);
/// assert_ne!(exact, fast);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LoadConfig {
    /// The data type of tensors and hidden states.
    pub dtype: WeightDtype,
    /// What products with quantised matrices do with activations.
    pub activations: Activations,
}

impl LoadConfig {
    /// Takes a data type, and activations as they are.
    pub const fn new(dtype: WeightDtype) -> Self {
        Self {
            dtype,
            activations: Activations::Exact,
        }
    }

    /// Sets what products with quantised matrices do with activations.
    #[must_use]
    pub fn with_activations(self, activations: Activations) -> Self {
        Self {
            activations,
            ..self
        }
    }

    /// Names the types of weights for traces and results: the data type, behind the types that matrices are quantised in,
    /// such as `Q4_K+Q6_K as f32`, or with the fast products `Q4_K+Q6_K, activations in int8`.
    pub fn weights_name(self, quantized_types: &[&str]) -> String {
        if quantized_types.is_empty() {
            return self.dtype.name().to_owned();
        }
        let quantized = quantized_types.join("+");
        match (self.dtype, self.activations) {
            (WeightDtype::F32, Activations::Int8) => format!("{quantized}, activations in int8"),
            (dtype, _) => format!("{quantized} as {}", dtype.name()),
        }
    }
}

impl From<WeightDtype> for LoadConfig {
    fn from(dtype: WeightDtype) -> Self {
        Self::new(dtype)
    }
}

/// What matrices are quantised to while a model is loaded. Norms and biases stay as they are, and so does a matrix
/// whose rows are no whole number of blocks of 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Quantization {
    /// Blocks of 32 integers of 8 bits and a scale.
    Q8_0,
    /// Blocks of 32 integers of 4 bits and a scale. The head is in Q8_0, and so is the embedding where it is the head:
    /// llama.cpp too keeps this matrix in more bits than the others, in Q6_K.
    Q4_0,
}

impl Quantization {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Q8_0, Self::Q4_0];

    /// Returns the name in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }

    /// Returns the format of the layers' matrices, and of an embedding that is not the head.
    pub fn layer_format(self) -> BlockFormat {
        match self {
            Self::Q8_0 => BlockFormat::Q8_0,
            Self::Q4_0 => BlockFormat::Q4_0,
        }
    }

    /// Returns the format of the head, and of an embedding that is the head.
    pub fn head_format(self) -> BlockFormat {
        BlockFormat::Q8_0
    }

    /// Returns the names of the formats, each once.
    pub fn format_names(self) -> Vec<&'static str> {
        let mut formats = vec![self.layer_format(), self.head_format()];
        formats.dedup();
        formats.into_iter().map(BlockFormat::name).collect()
    }

    /// Returns how many bytes a model's weights take in blocks, counting norms and biases as if they were quantised too.
    pub fn n_bytes(self, config: &DecoderConfig) -> u64 {
        let n_parameters = config.n_parameters();
        let n_in_head = (config.vocab_size as u64).saturating_mul(config.hidden_size as u64);
        let n_in_head = n_in_head.min(n_parameters);
        let n_bytes = |n_values: u64, format: BlockFormat| {
            let n_blocks = n_values / format.block_len() as u64;
            n_blocks.saturating_mul(format.block_bytes() as u64)
        };
        n_bytes(n_parameters - n_in_head, self.layer_format())
            .saturating_add(n_bytes(n_in_head, self.head_format()))
    }
}

impl FromStr for Quantization {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("quantization", Self::ALL, Self::name, name)
    }
}
