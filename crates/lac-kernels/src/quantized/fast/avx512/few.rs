//! Some inputs, as a verifying pass or a small batch has: two rows of weights are unpacked once for all of them.

// A closure around an instruction can stay a call, and an iterator takes one: loops count here.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::super::input_chunk::{InputChunk, Twice};
use super::super::inputs::Inputs;
use super::super::weights::WeightRows;
use super::ahead::{AHEAD, ask_for};
use super::chunk::input_vector;
use super::unpack::Unpack;

/// Rows of weights that are multiplied together: each vector of an input is loaded once for both.
const ROWS: usize = 2;

/// Inputs that are multiplied at once: their sums stay in registers, beside a chunk of both rows.
const INPUTS: usize = 4;

/// A chunk of two rows. Integers have 128 added to them where there are no offsets.
#[repr(C)]
struct Pair {
    /// As [`Wide`](super::unpack::Wide) has them, of each row.
    integers: [[__m512i; 4]; ROWS],
    /// Of each row's sixteen groups; of groups of 32 two of the first row, two of the second one, and so on, in the order
    /// across, all in the first vector.
    scales: [__m512; ROWS],
    /// The same, where the format has offsets.
    offsets: [__m512; ROWS],
}

/// The product of every row with every input.
///
/// # Safety
/// As for [`super::products`].
#[inline(always)]
pub(super) unsafe fn products<B: Unpack>(
    weights: WeightRows<'_>,
    inputs: &Inputs,
    outputs: &mut [f32],
    stride: usize,
) {
    let mut place = Box::<[Pair]>::new_uninit_slice(inputs.n_chunks());
    for first in (0..weights.len()).step_by(ROWS) {
        let n_rows = ROWS.min(weights.len() - first);
        // Where one row is left, it stands for both.
        let rows = [first, (first + 1).min(weights.len() - 1)].map(|row| weights.row(row));
        // SAFETY: the caller's promise.
        unsafe { unpack::<B>(rows, &mut place) };
        let unpacked = Unpacked {
            // SAFETY: `unpack` has written all of it.
            chunks: unsafe { place.assume_init_ref() },
            n_rows,
            next: rows[ROWS - 1].as_ptr_range().end.wrapping_add(AHEAD),
            next_bytes: ROWS * B::PER_CHUNK * B::BYTES,
        };
        let outputs = &mut outputs[first..];
        // One function for all formats that are alike.
        // SAFETY: the caller's promise.
        unsafe {
            match (B::GROUP, B::HAS_OFFSETS) {
                (32, false) => unpacked.multiply_all::<32, false>(inputs, outputs, stride),
                (32, true) => unpacked.multiply_all::<32, true>(inputs, outputs, stride),
                (_, false) => unpacked.multiply_all::<16, false>(inputs, outputs, stride),
                (_, true) => unpacked.multiply_all::<16, true>(inputs, outputs, stride),
            }
        }
    }
}

/// Unpacks two rows, one after the other.
///
/// # Safety
/// As for [`super::products`]; there are as many pairs as the rows have chunks.
#[inline(always)]
unsafe fn unpack<B: Unpack>(rows: [&[u8]; ROWS], pairs: &mut [MaybeUninit<Pair>]) {
    let chunk_bytes = B::PER_CHUNK * B::BYTES;
    // SAFETY: the caller's promise.
    let in_order =
        unsafe { _mm512_setr_epi32(0, 1, 16, 17, 4, 5, 20, 21, 2, 3, 18, 19, 6, 7, 22, 23) };
    for row in 0..ROWS {
        for (chunk, pair) in pairs.iter_mut().enumerate() {
            let start = chunk * chunk_bytes;
            let pair = pair.as_mut_ptr();
            // SAFETY: the caller's promise; the row has a block or more in each chunk, and all places lie within the
            // pair. The first row has been written when the second one is.
            unsafe {
                let mut wide = B::unpack_chunk(rows[row], start);
                if !B::HAS_OFFSETS && B::ADDED < 128 {
                    let more = _mm512_set1_epi8((128 - B::ADDED) as i8);
                    for quarter in 0..4 {
                        wide.integers[quarter] = _mm512_add_epi8(wide.integers[quarter], more);
                    }
                }
                (*pair).integers[row] = wide.integers;
                if B::GROUP == 32 && row == 1 {
                    let both = |first, second| _mm512_permutex2var_ps(first, in_order, second);
                    (*pair).scales[0] = both((*pair).scales[0], wide.scales);
                    if B::HAS_OFFSETS {
                        (*pair).offsets[0] = both((*pair).offsets[0], wide.offsets);
                    }
                }
                (*pair).scales[row] = wide.scales;
                (*pair).offsets[row] = wide.offsets;
            }
        }
    }
}

/// Two rows, chunk by chunk.
#[derive(Clone, Copy)]
struct Unpacked<'a> {
    chunks: &'a [Pair],
    n_rows: usize,
    /// What memory is asked for meanwhile, some rows after these.
    next: *const u8,
    /// As many bytes of them as a chunk of both rows takes.
    next_bytes: usize,
}

impl Unpacked<'_> {
    /// Multiplies both rows with all inputs.
    ///
    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn multiply_all<const GROUP: usize, const HAS_OFFSETS: bool>(
        self,
        inputs: &Inputs,
        outputs: &mut [f32],
        stride: usize,
    ) {
        let mut first = 0;
        while first < inputs.len() {
            let outputs = &mut outputs[first * stride..];
            // SAFETY: the caller's promise; so many inputs are left.
            first += unsafe {
                match inputs.len() - first {
                    INPUTS.. => {
                        self.multiply::<GROUP, HAS_OFFSETS, INPUTS>(inputs, first, outputs, stride)
                    }
                    3 => self.multiply::<GROUP, HAS_OFFSETS, 3>(inputs, first, outputs, stride),
                    2 => self.multiply::<GROUP, HAS_OFFSETS, 2>(inputs, first, outputs, stride),
                    _ => self.multiply::<GROUP, HAS_OFFSETS, 1>(inputs, first, outputs, stride),
                }
            };
        }
    }

    /// Multiplies both rows with `N` inputs from `first` on; returns `N`.
    ///
    /// # Safety
    /// The processor has the instructions, and there are so many inputs.
    #[inline(always)]
    unsafe fn multiply<const GROUP: usize, const HAS_OFFSETS: bool, const N: usize>(
        self,
        inputs: &Inputs,
        first: usize,
        outputs: &mut [f32],
        stride: usize,
    ) -> usize {
        let mut rows = [inputs.row(first); N];
        for input in 1..N {
            rows[input] = inputs.row(first + input);
        }
        let inputs: [&[InputChunk]; N] = rows;
        // SAFETY: the caller's promise; inputs have as many chunks as the rows.
        unsafe {
            // Of groups of 32, two lanes of the first row, two of the second one, and so on; of groups of 16, the lanes of
            // the first row, and those of the second one.
            let mut sums = [_mm512_setzero_ps(); N];
            for (chunk, pair) in self.chunks.iter().enumerate() {
                let next = self.next.wrapping_add(chunk * self.next_bytes);
                for input in 0..N {
                    let chunk = inputs[input].get_unchecked(chunk);
                    if first == 0 {
                        // Its lines, an equal part with each input.
                        for line in (64 * input..self.next_bytes).step_by(64 * N) {
                            ask_for(next.wrapping_add(line));
                        }
                    }
                    // Both rows in turns: a product waits for the one before it.
                    let mut dots = [_mm512_setzero_si512(); ROWS];
                    for quarter in 0..4 {
                        let vector = input_vector(chunk, quarter);
                        for row in 0..ROWS {
                            let weights = pair.integers[row][quarter];
                            dots[row] = _mm512_dpbusd_epi32(dots[row], weights, vector);
                        }
                    }
                    if GROUP == 32 {
                        add_32::<HAS_OFFSETS>(&mut sums[input], pair, dots, &chunk.twice);
                    } else {
                        add_16::<HAS_OFFSETS>(&mut sums[input], pair, dots, chunk);
                    }
                }
            }
            for input in 0..N {
                let lanes = if GROUP == 32 {
                    // The first row's lanes, and after them the second one's.
                    let order =
                        _mm512_setr_epi32(0, 1, 8, 9, 4, 5, 12, 13, 2, 3, 10, 11, 6, 7, 14, 15);
                    _mm512_permutexvar_ps(order, sums[input])
                } else {
                    sums[input]
                };
                let totals = totals(lanes);
                let outputs = &mut outputs[input * stride..][..self.n_rows];
                outputs.copy_from_slice(&totals[..self.n_rows]);
            }
        }
        N
    }
}

/// Adds the parts of a chunk's groups of 32 to their lanes. Two sums of four integers are a group's.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
unsafe fn add_32<const HAS_OFFSETS: bool>(
    sum: &mut __m512,
    pair: &Pair,
    [first, second]: [__m512i; ROWS],
    input: &Twice,
) {
    // SAFETY: the caller's promise; every load is one of an array, which is aligned.
    unsafe {
        let (first, second) = (_mm512_castsi512_ps(first), _mm512_castsi512_ps(second));
        let even = _mm512_castps_si512(_mm512_shuffle_ps::<0x88>(first, second));
        let odd = _mm512_castps_si512(_mm512_shuffle_ps::<0xdd>(first, second));
        let mut dots = _mm512_add_epi32(even, odd);
        if !HAS_OFFSETS {
            let corrections = _mm512_load_si512(input.corrections.as_ptr().cast());
            dots = _mm512_add_epi32(dots, corrections);
        }
        let scales = _mm512_mul_ps(pair.scales[0], _mm512_load_ps(input.scales.as_ptr()));
        let mut parts = _mm512_mul_ps(_mm512_cvtepi32_ps(dots), scales);
        if HAS_OFFSETS {
            let sums = _mm512_load_ps(input.sums.as_ptr());
            parts = _mm512_add_ps(parts, _mm512_mul_ps(pair.offsets[0], sums));
        }
        *sum = _mm512_add_ps(*sum, parts);
    }
}

/// Adds the parts of a chunk's groups of 16 to their lanes, the first eight groups' before the others'.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
unsafe fn add_16<const HAS_OFFSETS: bool>(
    sum: &mut __m512,
    pair: &Pair,
    dots: [__m512i; ROWS],
    input: &InputChunk,
) {
    // SAFETY: the caller's promise; every load is one of an array, which is aligned.
    unsafe {
        let input_scales = _mm512_load_ps(input.scales.as_ptr());
        let mut parts = [_mm512_setzero_ps(); ROWS];
        for row in 0..ROWS {
            let mut dots = dots[row];
            if !HAS_OFFSETS {
                let corrections = _mm512_load_si512(input.corrections.as_ptr().cast());
                dots = _mm512_add_epi32(dots, corrections);
            }
            let scales = _mm512_mul_ps(pair.scales[row], input_scales);
            parts[row] = _mm512_mul_ps(_mm512_cvtepi32_ps(dots), scales);
            if HAS_OFFSETS {
                let sums = _mm512_load_ps(input.sums.as_ptr());
                let offsets = _mm512_mul_ps(pair.offsets[row], sums);
                parts[row] = _mm512_add_ps(parts[row], offsets);
            }
        }
        let first = _mm512_shuffle_f32x4::<0x44>(parts[0], parts[1]);
        let others = _mm512_shuffle_f32x4::<0xee>(parts[0], parts[1]);
        *sum = _mm512_add_ps(_mm512_add_ps(*sum, first), others);
    }
}

/// The totals of two rows' lanes, each as [`total`](super::super::lanes::total) adds them up.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
unsafe fn totals(lanes: __m512) -> [f32; ROWS] {
    // SAFETY: the caller's promise.
    unsafe {
        // Halves: the second quarter of the vector to the first one, and the fourth to the third.
        let other = _mm512_shuffle_f32x4::<0b10_11_00_01>(lanes, lanes);
        let halves = _mm512_add_ps(lanes, other);
        let quarters = _mm512_add_ps(halves, _mm512_shuffle_ps::<0xee>(halves, halves));
        let singles = _mm512_add_ps(quarters, _mm512_movehdup_ps(quarters));
        let second = _mm512_extractf32x4_ps::<2>(singles);
        [_mm512_cvtss_f32(singles), _mm_cvtss_f32(second)]
    }
}
