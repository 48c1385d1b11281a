//! Models with random weights, to measure shapes without their checkpoints.

use std::convert::Infallible;

use burn::tensor::{Device, Tensor};
use lac_kernels::quantized::QuantizedMatrix;

use crate::checkpoint::{LoadConfig, Loading, Quantization, Quantizing, WeightDtype};
use crate::decoder::{Decoder, DecoderConfig, DecoderMatrix, DummyWeights, TensorSource};
use crate::folder::{ModelError, check_dtype};

/// Makes a model of the given shape with random weights, to measure a shape without its checkpoint.
///
/// # Errors
/// [`ModelError::UnsupportedDtype`].
pub fn dummy_model(
    config: &DecoderConfig,
    dtype: WeightDtype,
    device: &Device,
    seed: u64,
) -> Result<Decoder, ModelError> {
    check_dtype(dtype, device)?;
    let mut weights = DummyWeights::new(seed, dtype.to_burn(), device);
    let Ok(model) = Decoder::load(config, &mut weights);
    Ok(model)
}

/// Makes the model of [`dummy_model`] with its matrices quantised.
///
/// # Errors
/// [`ModelError::UnsupportedDtype`].
pub fn quantized_dummy_model(
    config: &DecoderConfig,
    quantization: Quantization,
    load_config: LoadConfig,
    device: &Device,
    seed: u64,
) -> Result<Decoder, ModelError> {
    check_dtype(load_config.dtype, device)?;
    let quantizing = Quantizing {
        quantization,
        head: config.head,
    };
    let mut progress = |_| {};
    let mut weights = QuantizedDummies {
        weights: DummyWeights::new(seed, load_config.dtype.to_burn(), device),
        loading: Loading::new(load_config, Some(quantizing), device, &mut progress),
    };
    let Ok(model) = Decoder::load(config, &mut weights);
    Ok(model)
}

/// Random weights with their matrices quantised.
struct QuantizedDummies<'a> {
    weights: DummyWeights,
    loading: Loading<'a>,
}

impl TensorSource for QuantizedDummies<'_> {
    type Error = Infallible;

    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<DecoderMatrix, Infallible> {
        let quantizing = self.loading.quantizing;
        let Some(format) = quantizing.and_then(|quantizing| quantizing.format(name, shape)) else {
            return self.weights.matrix(name, shape);
        };
        let values = self.weights.values(shape);
        let matrix = QuantizedMatrix::quantize(format, shape, &values)
            .expect("values are small and rows whole numbers of blocks");
        Ok(self.loading.quantized(matrix, 0))
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>, Infallible> {
        self.weights.vector(name, len)
    }
}
