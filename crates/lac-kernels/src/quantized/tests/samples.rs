//! Matrices of every format, and inputs.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData, f16};

use crate::quantized::{BlockFormat, QuantizedMatrix};

/// Numbers that look random.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// Between −1 and 1.
    fn value(&mut self) -> f32 {
        self.next() as f32 / (1u32 << 30) as f32 - 1.0
    }
}

/// Where a block's f16 numbers lie.
fn halves(format: BlockFormat) -> &'static [usize] {
    use BlockFormat::*;
    match format {
        Q4_0 | Q5_0 | Q8_0 | IQ4_NL | IQ4_XS | F16 => &[0],
        Q4_1 | Q5_1 | Q4_K | Q5_K => &[0, 2],
        Q2_K => &[80, 82],
        Q3_K => &[108],
        Q6_K => &[208],
        F32 | BF16 | MXFP4 => &[],
    }
}

/// The bytes of `[rows, width]`: any integers, and scales between −0.5 and 0.5.
pub(super) fn bytes(format: BlockFormat, [n_rows, width]: [usize; 2], seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let n_blocks = n_rows * width / format.block_len();
    let mut bytes = Vec::new();
    for _ in 0..n_blocks {
        let mut block: Vec<u8> = (0..format.block_bytes())
            .map(|_| random.next() as u8)
            .collect();
        for &at in halves(format) {
            let scale = f16::from_f32(random.value() / 2.0);
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
        match format {
            BlockFormat::MXFP4 => block[0] = 120 + (random.next() % 8) as u8,
            BlockFormat::F32 => block.copy_from_slice(&random.value().to_le_bytes()),
            BlockFormat::BF16 => block.copy_from_slice(&random.value().to_le_bytes()[2..]),
            _ => {}
        }
        bytes.extend(block);
    }
    bytes
}

pub(super) fn matrix(format: BlockFormat, shape: [usize; 2], seed: u64) -> QuantizedMatrix {
    let bytes = Arc::new(bytes(format, shape, seed));
    QuantizedMatrix::new(format, shape, bytes, 0).unwrap()
}

/// Values between −1 and 1, some of them many times as large, and a span of zeros.
pub(super) fn inputs(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed ^ 0x5555);
    let mut values: Vec<f32> = (0..n).map(|_| random.value()).collect();
    for outlier in values.iter_mut().step_by(101) {
        *outlier *= 30.0;
    }
    values
        .iter_mut()
        .skip(64)
        .take(32)
        .for_each(|value| *value = 0.0);
    values
}

pub(super) fn tensor<const D: usize>(values: &[f32], shape: [usize; D], dtype: DType) -> Tensor<D> {
    let data = TensorData::new(values.to_vec(), shape);
    Tensor::from_data(data, (&Device::flex(), dtype))
}

pub(super) fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_to_vec().unwrap()
}

pub(super) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
