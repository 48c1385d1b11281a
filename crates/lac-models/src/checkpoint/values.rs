//! Little-endian values in files to values in memory, none of which may be infinite or no number.

use burn::tensor::{Bytes, Element, TensorData};
use half::{bf16, f16};
use safetensors::tensor::Dtype;

use super::{CheckpointError, WeightDtype};

/// Why a tensor's bytes cannot be used; `at` is the place of the value in the tensor.
pub(super) enum Unusable {
    /// The file cannot be read.
    File(CheckpointError),
    /// The data type is none that weights have.
    Dtype,
    /// A value is infinite or no number.
    NotFinite { at: Vec<usize>, value: f32 },
    /// A value lies outside the range of the data type that was asked for.
    TooLarge { at: Vec<usize>, value: f32 },
}

/// Values that are read at once, and then looked at while they are still in the processor's cache.
const BLOCK: usize = 1 << 16;

/// What fills a slice with the next bytes of a tensor.
pub(super) trait ReadNext: FnMut(&mut [u8]) -> Result<(), CheckpointError> {}

impl<F: FnMut(&mut [u8]) -> Result<(), CheckpointError>> ReadNext for F {}

/// Reads `n_bytes` bytes of values, converts them, and looks at each of them on the way.
pub(super) fn convert(
    read: impl ReadNext,
    n_bytes: usize,
    from: Dtype,
    shape: &[usize],
    to: WeightDtype,
) -> Result<TensorData, Unusable> {
    let from_f32 = |bytes: [u8; 4]| f32::from_le_bytes(bytes);
    let from_f16 = |bytes: [u8; 2]| f16::from_le_bytes(bytes).to_f32();
    let from_bf16 = |bytes: [u8; 2]| bf16::from_le_bytes(bytes).to_f32();
    let is_copied = cfg!(target_endian = "little");
    match (from, to) {
        (Dtype::F32, WeightDtype::F32) if is_copied => {
            copy(read, n_bytes, from_f32, shape, to, |bytes| {
                u32::from_le_bytes(bytes) & 0x7f80_0000 == 0x7f80_0000
            })
        }
        (Dtype::F16, WeightDtype::F16) if is_copied => {
            copy(read, n_bytes, from_f16, shape, to, |bytes| {
                u16::from_le_bytes(bytes) & 0x7c00 == 0x7c00
            })
        }
        (Dtype::BF16, WeightDtype::Bf16) if is_copied => {
            copy(read, n_bytes, from_bf16, shape, to, |bytes| {
                u16::from_le_bytes(bytes) & 0x7f80 == 0x7f80
            })
        }
        (Dtype::F32, _) => collect(read, n_bytes, from_f32, shape, to),
        (Dtype::F16, _) => collect(read, n_bytes, from_f16, shape, to),
        (Dtype::BF16, _) => collect(read, n_bytes, from_bf16, shape, to),
        _ => Err(Unusable::Dtype),
    }
}

/// Takes values over as they are. `is_not_finite` looks at the exponent's bits alone, which the
/// compiler does for many values at once.
fn copy<const N: usize>(
    mut read: impl ReadNext,
    n_bytes: usize,
    value: impl Fn([u8; N]) -> f32,
    shape: &[usize],
    to: WeightDtype,
    is_not_finite: impl Fn([u8; N]) -> bool,
) -> Result<TensorData, Unusable> {
    let mut copied = vec![0; n_bytes];
    for (block_idx, block) in copied.chunks_mut(BLOCK * N).enumerate() {
        read(block).map_err(Unusable::File)?;
        let (values, _) = block.as_chunks::<N>();
        let any = |any, &bytes: &[u8; N]| any | is_not_finite(bytes);
        if values.iter().fold(false, any) {
            return Err(first_fault(values, value, shape, block_idx * BLOCK, to));
        }
    }
    let bytes = Bytes::from_bytes_vec(copied);
    Ok(TensorData::from_bytes(bytes, shape.to_vec(), to.to_burn()))
}

fn collect<const N: usize>(
    read: impl ReadNext,
    n_bytes: usize,
    value: impl Fn([u8; N]) -> f32 + Copy,
    shape: &[usize],
    to: WeightDtype,
) -> Result<TensorData, Unusable> {
    match to {
        WeightDtype::F32 => converted(read, n_bytes, value, shape, to, f32::is_finite, |x| x),
        WeightDtype::F16 => {
            let convert = f16::from_f32;
            converted(read, n_bytes, value, shape, to, f16::is_finite, convert)
        }
        WeightDtype::Bf16 => {
            let convert = bf16::from_f32;
            converted(read, n_bytes, value, shape, to, bf16::is_finite, convert)
        }
    }
}

fn converted<const N: usize, T: Element>(
    mut read: impl ReadNext,
    n_bytes: usize,
    value: impl Fn([u8; N]) -> f32 + Copy,
    shape: &[usize],
    to: WeightDtype,
    is_finite: impl Fn(T) -> bool,
    convert: impl Fn(f32) -> T,
) -> Result<TensorData, Unusable> {
    let mut values = Vec::with_capacity(n_bytes / N);
    let mut block = vec![0; n_bytes.min(BLOCK * N)];
    while values.len() < n_bytes / N {
        let start = values.len();
        let len = (n_bytes - start * N).min(block.len());
        read(&mut block[..len]).map_err(Unusable::File)?;
        let (block, _) = block[..len].as_chunks::<N>();
        values.extend(block.iter().map(|&bytes| convert(value(bytes))));
        let all = |all, &value: &T| all & is_finite(value);
        if !values[start..].iter().fold(true, all) {
            return Err(first_fault(block, value, shape, start, to));
        }
    }
    Ok(TensorData::new(values, shape.to_vec()))
}

/// Finds the value of a block that is not finite, or not once it is converted.
fn first_fault<const N: usize>(
    block: &[[u8; N]],
    value: impl Fn([u8; N]) -> f32,
    shape: &[usize],
    start: usize,
    to: WeightDtype,
) -> Unusable {
    let is_held = |value: f32| match to {
        WeightDtype::F32 => value.is_finite(),
        WeightDtype::F16 => f16::from_f32(value).is_finite(),
        WeightDtype::Bf16 => bf16::from_f32(value).is_finite(),
    };
    let values = block.iter().map(|&bytes| value(bytes));
    let (idx, value) = values
        .enumerate()
        .find(|&(_, value)| !is_held(value))
        .unwrap_or((0, f32::NAN));
    let at = place(start + idx, shape);
    match value.is_finite() {
        true => Unusable::TooLarge { at, value },
        false => Unusable::NotFinite { at, value },
    }
}

/// The indices of the n-th value of a tensor.
fn place(mut n: usize, shape: &[usize]) -> Vec<usize> {
    let mut at: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let index = n % size.max(1);
            n /= size.max(1);
            index
        })
        .collect();
    at.reverse();
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        mut bytes: &[u8],
        from: Dtype,
        shape: &[usize],
        to: WeightDtype,
    ) -> Result<TensorData, Unusable> {
        let n_bytes = bytes.len();
        let read = |into: &mut [u8]| {
            let (first, rest) = bytes.split_at(into.len());
            into.copy_from_slice(first);
            bytes = rest;
            Ok(())
        };
        convert(read, n_bytes, from, shape, to)
    }

    #[test]
    fn values_that_no_model_can_use_are_found_where_they_stand() {
        let shape = [3, 40_000];
        let bytes_of = |bad: f32, at: usize| {
            let mut values = vec![0.5f32; 120_000];
            values[at] = bad;
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            bytes.collect::<Vec<u8>>()
        };
        for (bad, at, place) in [
            (f32::NAN, 0, [0, 0]),
            (f32::INFINITY, 65_535, [1, 25_535]),
            (f32::NEG_INFINITY, 119_999, [2, 39_999]),
        ] {
            for to in [WeightDtype::F32, WeightDtype::F16, WeightDtype::Bf16] {
                let bytes = bytes_of(bad, at);
                let Err(Unusable::NotFinite { at, value }) = of(&bytes, Dtype::F32, &shape, to)
                else {
                    panic!("{bad} as {to:?} was taken");
                };
                assert_eq!((at.as_slice(), value.is_nan()), (&place[..], bad.is_nan()));
            }
        }
        // A large number is one in bf16, and none in f16.
        let bytes = bytes_of(1e6, 65_536);
        assert!(of(&bytes, Dtype::F32, &shape, WeightDtype::Bf16).is_ok());
        let Err(Unusable::TooLarge { at, value }) =
            of(&bytes, Dtype::F32, &shape, WeightDtype::F16)
        else {
            panic!("1e6 was taken for an f16");
        };
        assert_eq!((at.as_slice(), value), (&[1, 25_536][..], 1e6));
    }

    #[test]
    fn sixteen_bits_are_looked_at_too() {
        for (bits, from, to) in [
            (0x7e00u16, Dtype::F16, WeightDtype::F16),
            (0xfc00, Dtype::F16, WeightDtype::F32),
            (0x7f80, Dtype::BF16, WeightDtype::Bf16),
            (0xffc0, Dtype::BF16, WeightDtype::F16),
        ] {
            let bytes = [0u16, bits].map(u16::to_le_bytes).concat();
            assert!(
                matches!(of(&bytes, from, &[2], to), Err(Unusable::NotFinite { at, .. }) if at == [1]),
                "{bits:x}"
            );
            let bytes = [0u16, 0x3c00].map(u16::to_le_bytes).concat();
            assert!(of(&bytes, from, &[2], to).is_ok());
        }
    }
}
