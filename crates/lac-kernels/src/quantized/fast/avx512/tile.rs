//! Many inputs: tiles of 32 rows, laid out once for all inputs so that a vector holds four integers of sixteen rows.

// A closure around an instruction can stay a call, and an iterator takes one: loops count here.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::super::input_chunk::{ACROSS, InputChunk};
use super::super::inputs::Inputs;
use super::super::lanes::LANES;
use super::super::weights::WeightRows;
use super::ahead::ask_for;
use super::unpack::{Unpack, Wide};
use crate::quantized::blocks::{CHUNK, MAX_GROUPS};

/// Rows beside each other in a vector.
const ROWS: usize = 16;

/// Vectors of a tile.
const VECTORS: usize = 2;

/// Inputs that are multiplied at once.
const INPUTS: usize = 6;

/// A chunk of sixteen rows.
#[repr(C, align(64))]
struct Laid {
    /// Four integers of each row, beside each other, in [`Order::Across`](super::super::input_chunk::Order::Across).
    integers: [[u32; ROWS]; CHUNK / 4],
    /// Each group's scales.
    scales: [[f32; ROWS]; MAX_GROUPS],
    /// Each group's offsets, where the format has them.
    offsets: MaybeUninit<[[f32; ROWS]; MAX_GROUPS]>,
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
    let mut place = Box::<[[Laid; VECTORS]]>::new_uninit_slice(inputs.n_chunks());
    for row in 0..weights.len().min(ROWS * VECTORS) {
        for line in weights.row(row).chunks(64) {
            ask_for(line.as_ptr());
        }
    }
    for first in (0..weights.len()).step_by(ROWS * VECTORS) {
        let n_rows = (ROWS * VECTORS).min(weights.len() - first);
        for (chunk, place) in place.iter_mut().enumerate() {
            for vector in 0..VECTORS {
                let laid = place.as_mut_ptr().cast::<Laid>().wrapping_add(vector);
                // SAFETY: the caller's promise; the place takes so many.
                unsafe { lay_out::<B>(weights, first + vector * ROWS, chunk, laid) };
            }
        }
        // SAFETY: `lay_out` has written all of it, but for offsets of formats that have none.
        let laid = unsafe { place.assume_init_ref() };
        let tile = Tile {
            laid,
            inputs,
            n_rows,
        };
        // One function for all formats that are alike.
        // SAFETY: the caller's promise.
        unsafe {
            let outputs = &mut outputs[first..];
            match (B::GROUP, B::HAS_OFFSETS) {
                (32, false) => tile.multiply_all::<32, false>(outputs, stride),
                (32, true) => tile.multiply_all::<32, true>(outputs, stride),
                (_, false) => tile.multiply_all::<16, false>(outputs, stride),
                (_, true) => tile.multiply_all::<16, true>(outputs, stride),
            }
        }
    }
}

/// Lays out a chunk of sixteen rows from `first` on. Where there are fewer, the last one stands for the others.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
unsafe fn lay_out<B: Unpack>(weights: WeightRows<'_>, first: usize, chunk: usize, laid: *mut Laid) {
    let chunk_bytes = B::PER_CHUNK * B::BYTES;
    // A tile is read row beside row, which the processor's own prefetching does not follow: its rows are asked for while
    // the tile before is laid out.
    let ahead = ROWS * VECTORS * weights.row(0).len();
    // SAFETY: the caller's promise; the blocks lie within their row, and all loads and stores within an array.
    unsafe {
        let zero = _mm512_setzero_si512();
        let mut integers = [[zero; ROWS]; 4];
        let mut scales = [zero; ROWS];
        let mut offsets = [zero; ROWS];
        for row in 0..ROWS {
            let row_bytes = weights.row((first + row).min(weights.len() - 1));
            let start = row_bytes.as_ptr().wrapping_add(chunk * chunk_bytes);
            for line in (0..chunk_bytes).step_by(64) {
                ask_for(start.wrapping_add(ahead + line));
            }
            let Wide {
                integers: [a, b, c, d],
                scales: scale,
                offsets: offset,
            } = B::unpack_chunk(row_bytes, chunk * chunk_bytes);
            // One correction serves all formats that need one.
            const { assert!(B::HAS_OFFSETS == (B::ADDED == 0)) };
            let more = if B::HAS_OFFSETS { 0 } else { 128 - B::ADDED };
            let more = _mm512_set1_epi8(more as i8);
            integers[0][row] = _mm512_add_epi8(a, more);
            integers[1][row] = _mm512_add_epi8(b, more);
            integers[2][row] = _mm512_add_epi8(c, more);
            integers[3][row] = _mm512_add_epi8(d, more);
            scales[row] = _mm512_castps_si512(scale);
            offsets[row] = _mm512_castps_si512(offset);
        }
        for (quarter, integers) in integers.iter().enumerate() {
            let place = (&raw mut (*laid).integers).cast::<u32>();
            transpose(integers, place.add(quarter * ROWS * ROWS));
        }
        transpose(&scales, (&raw mut (*laid).scales).cast());
        if B::HAS_OFFSETS {
            transpose(&offsets, (&raw mut (*laid).offsets).cast());
        }
    }
}

/// Writes the transpose of sixteen vectors of sixteen words.
///
/// # Safety
/// The processor has AVX-512, and the place is aligned and takes sixteen vectors.
#[inline(always)]
unsafe fn transpose(rows: &[__m512i; 16], place: *mut u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let zero = _mm512_setzero_si512();
        // In each quarter of a vector: a column of four rows.
        let mut columns = [[zero; 4]; 4];
        for (four, columns) in columns.iter_mut().enumerate() {
            let (a, b, c, d) = (
                rows[4 * four],
                rows[4 * four + 1],
                rows[4 * four + 2],
                rows[4 * four + 3],
            );
            let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            columns[0] = _mm512_unpacklo_epi64(ab_low, cd_low);
            columns[1] = _mm512_unpackhi_epi64(ab_low, cd_low);
            columns[2] = _mm512_unpacklo_epi64(ab_high, cd_high);
            columns[3] = _mm512_unpackhi_epi64(ab_high, cd_high);
        }
        for column in 0..4 {
            let four = [
                columns[0][column],
                columns[1][column],
                columns[2][column],
                columns[3][column],
            ];
            let low = _mm512_shuffle_i32x4::<0x44>(four[0], four[1]);
            let high = _mm512_shuffle_i32x4::<0xee>(four[0], four[1]);
            let other_low = _mm512_shuffle_i32x4::<0x44>(four[2], four[3]);
            let other_high = _mm512_shuffle_i32x4::<0xee>(four[2], four[3]);
            for (quarter, vector) in [
                _mm512_shuffle_i32x4::<0x88>(low, other_low),
                _mm512_shuffle_i32x4::<0xdd>(low, other_low),
                _mm512_shuffle_i32x4::<0x88>(high, other_high),
                _mm512_shuffle_i32x4::<0xdd>(high, other_high),
            ]
            .into_iter()
            .enumerate()
            {
                _mm512_store_si512(place.add(16 * (4 * quarter + column)).cast(), vector);
            }
        }
    }
}

/// Where four integers of a group stand in [`Order::Across`](super::super::input_chunk::Order::Across), counted in fours.
#[inline(always)]
fn place_of<const GROUP: usize>(group: usize, four: usize) -> usize {
    if GROUP == 32 {
        // The order is its own inverse.
        16 * (four / 2) + 2 * ACROSS[group] + four % 2
    } else {
        16 * four + group
    }
}

/// Rows that are laid out, and the inputs to multiply them with.
#[derive(Clone, Copy)]
struct Tile<'a> {
    laid: &'a [[Laid; VECTORS]],
    inputs: &'a Inputs,
    n_rows: usize,
}

impl Tile<'_> {
    /// Multiplies all rows with all inputs. Formats with offsets have integers without sign, and need no correction.
    ///
    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn multiply_all<const GROUP: usize, const HAS_OFFSETS: bool>(
        self,
        outputs: &mut [f32],
        stride: usize,
    ) {
        let mut first = 0;
        while first < self.inputs.len() {
            let outputs = &mut outputs[first * stride..];
            // SAFETY: the caller's promise; so many inputs are left.
            first += unsafe {
                match self.inputs.len() - first {
                    INPUTS.. => self.multiply::<GROUP, HAS_OFFSETS, INPUTS>(first, outputs, stride),
                    4.. => self.multiply::<GROUP, HAS_OFFSETS, 4>(first, outputs, stride),
                    2.. => self.multiply::<GROUP, HAS_OFFSETS, 2>(first, outputs, stride),
                    _ => self.multiply::<GROUP, HAS_OFFSETS, 1>(first, outputs, stride),
                }
            };
        }
    }

    /// Multiplies all rows with `N` inputs from `first` on; returns `N`.
    ///
    /// # Safety
    /// The processor has the instructions, and there are so many inputs.
    #[inline(always)]
    unsafe fn multiply<const GROUP: usize, const HAS_OFFSETS: bool, const N: usize>(
        self,
        first: usize,
        outputs: &mut [f32],
        stride: usize,
    ) -> usize {
        let inputs: [&[InputChunk]; N] =
            std::array::from_fn(|input| self.inputs.row(first + input));
        // SAFETY: the caller's promise; every load lies within an array of a chunk, which is aligned.
        unsafe {
            let mut lanes = [[[_mm512_setzero_ps(); VECTORS]; N]; LANES];
            for (chunk, laid) in self.laid.iter().enumerate() {
                let inputs: [&InputChunk; N] =
                    std::array::from_fn(|input| inputs[input].get_unchecked(chunk));
                for group in 0..CHUNK / GROUP {
                    let mut dots = [[_mm512_setzero_si512(); VECTORS]; N];
                    if !HAS_OFFSETS {
                        for (dots, input) in dots.iter_mut().zip(inputs) {
                            *dots = [_mm512_set1_epi32(input.corrections[group]); VECTORS];
                        }
                    }
                    for four in 0..GROUP / 4 {
                        let four = place_of::<GROUP>(group, four);
                        let mut weights = [_mm512_setzero_si512(); VECTORS];
                        for (weights, laid) in weights.iter_mut().zip(laid) {
                            *weights = _mm512_load_si512(laid.integers[four].as_ptr().cast());
                        }
                        for (dots, input) in dots.iter_mut().zip(inputs) {
                            let integers = input.integers.as_ptr().add(4 * four).cast::<i32>();
                            let integers = _mm512_set1_epi32(integers.read());
                            for (dot, &weights) in dots.iter_mut().zip(&weights) {
                                *dot = _mm512_dpbusd_epi32(*dot, weights, integers);
                            }
                        }
                    }
                    let lanes = &mut lanes[group % LANES];
                    for ((lanes, dots), input) in lanes.iter_mut().zip(dots).zip(inputs) {
                        let input_scale = _mm512_set1_ps(input.scales[group]);
                        let input_sum = _mm512_set1_ps(input.sums[group]);
                        for ((lane, dot), laid) in lanes.iter_mut().zip(dots).zip(laid) {
                            let scales = _mm512_load_ps(laid.scales[group].as_ptr());
                            let scales = _mm512_mul_ps(scales, input_scale);
                            let mut parts = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), scales);
                            if HAS_OFFSETS {
                                let offsets =
                                    _mm512_load_ps(laid.offsets.assume_init_ref()[group].as_ptr());
                                parts = _mm512_add_ps(parts, _mm512_mul_ps(offsets, input_sum));
                            }
                            *lane = _mm512_add_ps(*lane, parts);
                        }
                    }
                }
            }
            for width in [4, 2, 1] {
                for lane in 0..width {
                    for input in 0..N {
                        for vector in 0..VECTORS {
                            lanes[lane][input][vector] = _mm512_add_ps(
                                lanes[lane][input][vector],
                                lanes[lane + width][input][vector],
                            );
                        }
                    }
                }
            }
            for (input, totals) in lanes[0].iter().enumerate() {
                let outputs = &mut outputs[input * stride..][..self.n_rows];
                for (outputs, &totals) in outputs.chunks_mut(ROWS).zip(totals) {
                    let mask = ((1u32 << outputs.len()) - 1) as u16;
                    _mm512_mask_storeu_ps(outputs.as_mut_ptr(), mask, totals);
                }
            }
        }
        N
    }
}
