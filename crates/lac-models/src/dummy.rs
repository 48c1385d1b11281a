//! Models with random weights, to measure shapes without their checkpoints.

use std::convert::Infallible;

use burn::tensor::{Device, Tensor};
use lac_kernels::quantized::QuantizedMatrix;

use crate::checkpoint::{LoadConfig, Loading, Quantization, Quantizing, WeightDtype};
use crate::decoder::{Decoder, DecoderConfig, DecoderMatrix, DummyWeights, NormForm, TensorSource};
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

    fn norm(&mut self, name: &str, len: usize, form: NormForm) -> Result<Tensor<1>, Infallible> {
        self.weights.norm(name, len, form)
    }
}

#[cfg(all(test, feature = "flex"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Norms of every form multiply by 1.
    #[test]
    fn norms_change_no_direction() {
        let device = Device::flex();
        let states = [3.0, -4.0, 0.0, 0.0];
        for form in [
            NormForm::Weight,
            NormForm::WeightInF32,
            NormForm::OnePlusWeight,
        ] {
            let config = DecoderConfig::new(8, 4, 1, 2).with_norm_form(form);
            let plain = dummy_model(&config, WeightDtype::F32, &device, 1).unwrap();
            let load_config = LoadConfig::new(WeightDtype::F32);
            let q8_0 = Quantization::Q8_0;
            let quantized = quantized_dummy_model(&config, q8_0, load_config, &device, 1).unwrap();
            for model in [plain, quantized] {
                let states = Tensor::<3>::from_data([[states]], &device);
                let normed = model.model.norm.forward(states).into_data();
                // The root of the mean square is 2.5.
                for (found, expected) in normed.iter::<f32>().zip([1.2f32, -1.6, 0.0, 0.0]) {
                    assert!((found - expected).abs() < 1e-5, "{form:?}: {found}");
                }
            }
        }
    }
}
