//! Converts little-endian values in files to values in memory. NaN and infinite values are errors.

use burn::tensor::{Bytes, Element, TensorData};
use half::{bf16, f16};
use lac_kernels::quantized::QuantizedError;
use safetensors::tensor::Dtype;

use super::dtype::WeightDtype;
use super::error::CheckpointError;
use super::hash::{PIECE_BYTES, TensorHash, hash_pieces};

/// Why a tensor's bytes cannot be used; `at` holds the indices of the value in the tensor.
pub(super) enum Unusable {
    /// The file cannot be read.
    File(CheckpointError),
    /// The data type is not one of F32, F16, BF16 and F64.
    Dtype,
    /// No blocks can be made of it.
    Blocks(QuantizedError),
    /// A value is NaN or infinite.
    NotFinite { at: Vec<usize>, value: f32 },
    /// A value lies outside the range of the data type that was asked for.
    TooLarge { at: Vec<usize>, value: f64 },
}

/// Bytes that are read at once, and checked while they are still in the processor's cache.
pub(super) const BLOCK_BYTES: usize = 1 << 17;

/// Fills a slice with the bytes of a tensor, beginning with the given one. Called for every block once, by several
/// threads at the same time. An error ends the loading.
pub(super) trait ReadBytes:
    Fn(usize, &mut [u8]) -> Result<(), CheckpointError> + Sync
{
}

impl<F: Fn(usize, &mut [u8]) -> Result<(), CheckpointError> + Sync> ReadBytes for F {}

/// Reads, hashes, converts and checks `n_bytes` bytes of values.
pub(super) fn convert(
    read: impl ReadBytes,
    n_bytes: usize,
    from: Dtype,
    shape: &[usize],
    to: WeightDtype,
) -> Result<(TensorData, TensorHash), Unusable> {
    let from_f32 = |bytes: [u8; 4]| f32::from_le_bytes(bytes);
    let from_f16 = |bytes: [u8; 2]| f16::from_le_bytes(bytes).to_f32();
    let from_bf16 = |bytes: [u8; 2]| bf16::from_le_bytes(bytes).to_f32();
    let from_f64 = |bytes: [u8; 8]| f64::from_le_bytes(bytes);
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
        (Dtype::F64, _) => collect(read, n_bytes, from_f64, shape, to),
        _ => Err(Unusable::Dtype),
    }
}

/// Copies values that need no conversion. `is_not_finite` tests the exponent's bits, which the compiler vectorises.
fn copy<const N: usize>(
    read: impl ReadBytes,
    n_bytes: usize,
    value: impl Fn([u8; N]) -> f32 + Sync,
    shape: &[usize],
    to: WeightDtype,
    is_not_finite: impl Fn([u8; N]) -> bool + Sync,
) -> Result<(TensorData, TensorHash), Unusable> {
    let mut copied = vec![0; n_bytes];
    let pieces = copied.chunks_mut(PIECE_BYTES);
    let hash = hash_pieces(pieces, n_bytes, |piece_idx, piece, hasher| {
        for (block_idx, block) in piece.chunks_mut(BLOCK_BYTES).enumerate() {
            let start = piece_idx * PIECE_BYTES + block_idx * BLOCK_BYTES;
            read(start, block).map_err(Unusable::File)?;
            hasher.update(block);
            let (values, _) = block.as_chunks::<N>();
            let any = |any, &bytes: &[u8; N]| any | is_not_finite(bytes);
            if values.iter().fold(false, any) {
                return Err(first_fault(values, &value, shape, start / N, to));
            }
        }
        Ok(())
    })?;
    let bytes = Bytes::from_bytes_vec(copied);
    let data = TensorData::from_bytes(bytes, shape.to_vec(), to.to_burn());
    Ok((data, hash))
}

/// A value as files have it. Conversions go through f32, as torch's do.
trait Stored: Copy {
    fn to_f32(self) -> f32;
    fn to_f64(self) -> f64;
}

impl Stored for f32 {
    fn to_f32(self) -> f32 {
        self
    }

    fn to_f64(self) -> f64 {
        self.into()
    }
}

impl Stored for f64 {
    fn to_f32(self) -> f32 {
        self as f32
    }

    fn to_f64(self) -> f64 {
        self
    }
}

fn collect<const N: usize, S: Stored>(
    read: impl ReadBytes,
    n_bytes: usize,
    value: impl Fn([u8; N]) -> S + Copy + Sync,
    shape: &[usize],
    to: WeightDtype,
) -> Result<(TensorData, TensorHash), Unusable> {
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

fn converted<const N: usize, S: Stored, T: Element>(
    read: impl ReadBytes,
    n_bytes: usize,
    value: impl Fn([u8; N]) -> S + Copy + Sync,
    shape: &[usize],
    to: WeightDtype,
    is_finite: impl Fn(T) -> bool + Sync,
    convert: impl Fn(f32) -> T + Sync,
) -> Result<(TensorData, TensorHash), Unusable> {
    let mut values = vec![convert(0.0); n_bytes / N];
    let pieces = values.chunks_mut(PIECE_BYTES / N);
    let hash = hash_pieces(pieces, n_bytes, |piece_idx, piece, hasher| {
        let mut block = vec![0; BLOCK_BYTES.min(piece.len() * N)];
        for (block_idx, values) in piece.chunks_mut(BLOCK_BYTES / N).enumerate() {
            let start = piece_idx * PIECE_BYTES + block_idx * BLOCK_BYTES;
            let block = &mut block[..values.len() * N];
            read(start, block).map_err(Unusable::File)?;
            hasher.update(block);
            let (block, _) = block.as_chunks::<N>();
            for (converted, &bytes) in values.iter_mut().zip(block) {
                *converted = convert(value(bytes).to_f32());
            }
            let all = |all, &value: &T| all & is_finite(value);
            if !values.iter().fold(true, all) {
                return Err(first_fault(block, value, shape, start / N, to));
            }
        }
        Ok(())
    })?;
    Ok((TensorData::new(values, shape.to_vec()), hash))
}

/// Finds the first value of a block that is not finite, or not finite after its conversion.
fn first_fault<const N: usize, S: Stored>(
    block: &[[u8; N]],
    value: impl Fn([u8; N]) -> S,
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
    let fault = values
        .enumerate()
        .find(|(_, value)| !is_held(value.to_f32()));
    let (idx, value) = fault.map_or((0, f64::NAN), |(idx, value)| (idx, value.to_f64()));
    let at = place(start + idx, shape);
    if value.is_finite() {
        Unusable::TooLarge { at, value }
    } else {
        let value = value as f32;
        Unusable::NotFinite { at, value }
    }
}

/// Returns the indices of the n-th value of a tensor.
pub(super) fn place(mut n: usize, shape: &[usize]) -> Vec<usize> {
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
        bytes: &[u8],
        from: Dtype,
        shape: &[usize],
        to: WeightDtype,
    ) -> Result<TensorData, Unusable> {
        let read = |start: usize, into: &mut [u8]| {
            into.copy_from_slice(&bytes[start..][..into.len()]);
            Ok(())
        };
        convert(read, bytes.len(), from, shape, to).map(|(data, _)| data)
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

    /// torch rounds twice on the way to 16 bits: 1 + 2^-8 + 2^-40 is 1.0 in bf16, where one rounding would give 1 + 2^-7.
    #[test]
    fn doubles_are_cast_as_torch_casts_them() {
        let tie = 1.0 + 2f64.powi(-8) + 2f64.powi(-40);
        let values = [0.1f64, -1e-40, 65504.0, tie];
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let read = |to| of(&bytes, Dtype::F64, &[4], to).ok().unwrap();
        let expected = values.map(|value| value as f32);
        assert_eq!(
            read(WeightDtype::F32).try_to_vec::<f32>().unwrap(),
            expected
        );
        let halves = read(WeightDtype::F16).try_to_vec::<f16>().unwrap();
        assert_eq!(halves, expected.map(f16::from_f32));
        let brains = read(WeightDtype::Bf16).try_to_vec::<bf16>().unwrap();
        assert_eq!(brains, expected.map(bf16::from_f32));
        assert_eq!(brains[3], bf16::ONE);
        for (value, to, is_number) in [
            (1e300, WeightDtype::F32, true),
            (1e300, WeightDtype::Bf16, true),
            (1e6, WeightDtype::F16, true),
            (f64::NAN, WeightDtype::F32, false),
            (f64::NEG_INFINITY, WeightDtype::F16, false),
        ] {
            match of(&f64::to_le_bytes(value), Dtype::F64, &[1], to) {
                Err(Unusable::TooLarge { value: held, .. }) => {
                    assert!(is_number && held == value, "{value} as {to:?}");
                }
                Err(Unusable::NotFinite { .. }) => assert!(!is_number, "{value} as {to:?}"),
                _ => panic!("{value} as {to:?} was taken"),
            }
        }
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
