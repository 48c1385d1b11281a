//! Data types of hidden states, and the sum of a row's squares.

use burn::backend::flex::FlexTensor;
use burn::tensor::{bf16, f16};

/// A data type that hidden states come in.
pub(super) trait Value: Copy + Default + Send + Sync + 'static {
    /// The tensor's whole storage.
    fn storage(tensor: &FlexTensor) -> &[Self];

    /// The same to write to, when nobody else holds it.
    fn try_storage_mut(tensor: &mut FlexTensor) -> Option<&mut [Self]>;

    /// The value's magnitude in f32, exactly.
    fn magnitude(self) -> f32;

    /// Whether the tensor is all of its storage, in order.
    fn is_plain(tensor: &FlexTensor) -> bool {
        let layout = tensor.layout();
        layout.is_contiguous()
            && layout.start_offset() == 0
            && Self::storage(tensor).len() == layout.num_elements()
    }

    /// The sum of a row's squares, accumulated in f32.
    fn sum_squares(row: &[Self]) -> f32 {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has just said that it has AVX-512.
            return unsafe { sum_squares_avx512(row) };
        } else if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has just said that it has AVX2.
            return unsafe { sum_squares_avx2(row) };
        }
        sum_squares_lanes(row)
    }
}

/// The lanes below compiled for registers four times as wide; the same operations in the same
/// order, so the same sums.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn sum_squares_avx512<E: Value>(row: &[E]) -> f32 {
    sum_squares_lanes(row)
}

/// The same, twice as wide.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_squares_avx2<E: Value>(row: &[E]) -> f32 {
    sum_squares_lanes(row)
}

/// Independent lanes let the compiler vectorise what it may not reorder by itself, and keep the
/// rounding error of long rows small.
#[inline(always)]
fn sum_squares_lanes<E: Value>(row: &[E]) -> f32 {
    const LANES: usize = 64;
    let mut lanes = [0.0f32; LANES];
    let (blocks, rest) = row.as_chunks::<LANES>();
    for block in blocks {
        prefetch_after(block);
        for (lane, &value) in lanes.iter_mut().zip(block) {
            let value = value.magnitude();
            *lane += value * value;
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        let value = value.magnitude();
        *lane += value * value;
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Asks for the values a page after a block: with two threads, the processor's own prefetching
/// leaves a fifth of the memory's bandwidth unused.
#[inline(always)]
fn prefetch_after<E, const N: usize>(block: &[E; N]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const PAGE: usize = 4096;
        const CACHE_LINE: usize = 64;
        let start = block.as_ptr().cast::<i8>();
        for offset in (0..size_of::<[E; N]>()).step_by(CACHE_LINE) {
            // SAFETY: every x86-64 processor has the instruction, and it reads nothing: an address
            // beyond the tensor is passed over.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(PAGE + offset)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = block;
}

macro_rules! impl_value {
    ($type:ty, |$value:ident| $magnitude:expr) => {
        impl Value for $type {
            fn storage(tensor: &FlexTensor) -> &[Self] {
                tensor.storage::<$type>()
            }

            fn try_storage_mut(tensor: &mut FlexTensor) -> Option<&mut [Self]> {
                tensor.try_storage_mut::<$type>()
            }

            #[inline(always)]
            fn magnitude(self) -> f32 {
                let $value = self;
                $magnitude
            }
        }
    };
}

impl_value!(f32, |value| value);
impl_value!(bf16, |value| f32::from_bits(
    u32::from(value.to_bits()) << 16
));
impl_value!(f16, |value| {
    // The exponent's bias differs by 112, denormals included; NaN and infinity keep the highest
    // exponent. In integers, because the compiler vectorises that and not a table of cases.
    let bits = u32::from(value.to_bits() & 0x7fff);
    let scaled = f32::from_bits(bits << 13) * f32::from_bits((127 + 112) << 23);
    let special = if bits >= 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special)
});
