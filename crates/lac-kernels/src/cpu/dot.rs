//! Dot products, many at once, with the widest instructions that the processor has.
//!
//! A product is summed in blocks of [`BLOCK`] values, a block in lanes. Both depend on the instructions
//! alone, and not on how many products are computed at once: that only says how often a value that was
//! loaded is used.

mod instructions;
#[cfg(target_arch = "x86_64")]
mod x86;

use burn::tensor::{bf16, f16};

use self::instructions::{Instructions, padded};
use crate::value::Value;

/// Values of a product that are summed in lanes before the lanes are added up.
pub(crate) const BLOCK: usize = 1024;

/// Dot products of every left row with every right row, none of them longer than [`BLOCK`].
///
/// # Safety
/// The processor has the instructions `I`, and all rows are equally long.
#[inline(always)]
unsafe fn tile<I: Instructions, const LEFT: usize, const RIGHT: usize>(
    left: [&[I::Value]; LEFT],
    right: [&[I::Value]; RIGHT],
) -> [[f32; LEFT]; RIGHT] {
    let width = left[0].len();
    let mut sums = [[I::zero(); RIGHT]; LEFT];
    let mut at = 0;
    while at + I::STEP <= width {
        // SAFETY: `at + STEP` lies within every row.
        let load = |row: &[I::Value]| unsafe { I::load(row.as_ptr().add(at)) };
        for row in left {
            prefetch(row.as_ptr().wrapping_add(at));
        }
        add_products::<I, LEFT, RIGHT>(&mut sums, left, right, load);
        at += I::STEP;
    }
    if at < width {
        let n_rest = width - at;
        // SAFETY: `n_rest` values are left of every row.
        let load = |row: &[I::Value]| unsafe { I::load_first(row.as_ptr().add(at), n_rest) };
        add_products::<I, LEFT, RIGHT>(&mut sums, left, right, load);
    }
    I::totals(sums)
}

/// Adds the products of a vector of every left row with one of every right row.
#[inline(always)]
fn add_products<I: Instructions, const LEFT: usize, const RIGHT: usize>(
    sums: &mut [[I::Sum; RIGHT]; LEFT],
    left: [&[I::Value]; LEFT],
    right: [&[I::Value]; RIGHT],
    load: impl Fn(&[I::Value]) -> I::Vector,
) {
    let mut right_values = [load(right[0]); RIGHT];
    for row in 1..RIGHT {
        right_values[row] = load(right[row]);
    }
    for row in 0..LEFT {
        let left = load(left[row]);
        for (sum, &right) in sums[row].iter_mut().zip(&right_values) {
            *sum = I::multiply_add(*sum, left, right);
        }
    }
}

/// Asks for the values a page ahead: with two threads, the processor's own prefetching leaves a part of the
/// memory's bandwidth unused.
#[inline(always)]
pub(super) fn prefetch<E>(values: *const E) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const PAGE: usize = 4096;
        // SAFETY: every x86-64 processor has the instruction, and it reads nothing: an address beyond the
        // weight is passed over.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(values.cast::<i8>().wrapping_add(PAGE)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// Where left rows are read from, which says in what order they are best read. The sums are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadFrom {
    /// A cache: several rows at once, so that no sum waits for the one before.
    Cache,
    /// Memory: one row after another, as long as there are few right rows to meet it.
    Memory,
}

/// With more right rows than this, products take longer than reading left rows from memory.
const FEW: usize = 4;

/// Rows side by side in a slice.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, E> {
    values: &'a [E],
    stride: usize,
    width: usize,
    n_rows: usize,
}

impl<'a, E> Rows<'a, E> {
    /// `n_rows` rows of `width` values, each `stride` after the one before.
    pub(crate) fn new(values: &'a [E], stride: usize, width: usize, n_rows: usize) -> Self {
        // Indexing once says that every row lies within the values.
        let values = &values[..if n_rows == 0 {
            0
        } else {
            (n_rows - 1) * stride + width
        }];
        Self {
            values,
            stride,
            width,
            n_rows,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.n_rows
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The values of all rows, where rows stand side by side.
    pub(crate) fn values(&self) -> &'a [E] {
        debug_assert_eq!(self.stride, self.width, "rows side by side");
        self.values
    }

    pub(crate) fn slice(&self, rows: std::ops::Range<usize>) -> Self {
        Self::new(
            &self.values[(rows.start * self.stride).min(self.values.len())..],
            self.stride,
            self.width,
            rows.len(),
        )
    }

    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &'a [E] {
        &self.values[row * self.stride..][..self.width]
    }
}

/// The dot product of every left row with every right row, written to `outputs[right * stride + left]`.
///
/// # Safety
/// The processor has the instructions `I`, and all rows are equally long.
#[inline(always)]
unsafe fn products<I: Instructions>(
    left: Rows<'_, I::Value>,
    right: Rows<'_, I::Value>,
    from: ReadFrom,
    outputs: &mut [f32],
    stride: usize,
) {
    let mut first = 0;
    while first < left.len() {
        let n_left = left.len() - first;
        // SAFETY: the caller's promise.
        first += unsafe {
            match (right.len(), n_left) {
                // One row after another is what memory hands out fastest.
                (1..=FEW, _) if from == ReadFrom::Memory => {
                    strip::<I, 1, 4>(left, first, right, outputs, stride)
                }
                (1, 4..) => strip::<I, 4, 1>(left, first, right, outputs, stride),
                (1, _) => strip::<I, 1, 1>(left, first, right, outputs, stride),
                (_, 6..) if I::LEFT == 6 => strip::<I, 6, 4>(left, first, right, outputs, stride),
                (_, 2..) => strip::<I, 2, 2>(left, first, right, outputs, stride),
                (_, _) => strip::<I, 1, 4>(left, first, right, outputs, stride),
            }
        };
    }
}

/// `LEFT` left rows with all right rows, `RIGHT` at a time, block by block; returns `LEFT`.
///
/// # Safety
/// As for [`products`].
#[inline(always)]
unsafe fn strip<I: Instructions, const LEFT: usize, const RIGHT: usize>(
    left: Rows<'_, I::Value>,
    first: usize,
    right: Rows<'_, I::Value>,
    outputs: &mut [f32],
    stride: usize,
) -> usize {
    let width = left.width();
    for start in (0..width).step_by(BLOCK) {
        let block = start..(start + BLOCK).min(width);
        let left = std::array::from_fn(|row| &left.row(first + row)[block.clone()]);
        let n_tiles = right.len() / RIGHT;
        for tile_idx in 0..n_tiles {
            let first_right = tile_idx * RIGHT;
            let rows = std::array::from_fn(|row| &right.row(first_right + row)[block.clone()]);
            // SAFETY: the caller's promise.
            let totals = unsafe { tile::<I, LEFT, RIGHT>(left, rows) };
            for (row, totals) in totals.iter().enumerate() {
                let outputs = &mut outputs[(first_right + row) * stride + first..][..LEFT];
                put(outputs, totals, start);
            }
        }
        for row in n_tiles * RIGHT..right.len() {
            // SAFETY: as above.
            let [totals] = unsafe { tile::<I, LEFT, 1>(left, [&right.row(row)[block.clone()]]) };
            let outputs = &mut outputs[row * stride + first..][..LEFT];
            put(outputs, &totals, start);
        }
    }
    LEFT
}

/// Writes the totals of a product's first block, and adds those of further ones.
#[inline(always)]
fn put(outputs: &mut [f32], totals: &[f32], start: usize) {
    if start == 0 {
        outputs.copy_from_slice(totals);
    } else {
        for (output, total) in outputs.iter_mut().zip(totals) {
            *output += total;
        }
    }
}

/// A data type with dot products.
pub(crate) trait Dot: Value {
    /// The dot product of every left row with every right row, written to `outputs[right * stride + left]`.
    /// All rows are equally wide, and wider than nothing.
    fn products(
        left: Rows<'_, Self>,
        right: Rows<'_, Self>,
        from: ReadFrom,
        outputs: &mut [f32],
        stride: usize,
    );
}

/// Lanes of a vector for any processor; the compiler takes what instructions it may count on.
struct Plain<E>(std::marker::PhantomData<E>);

impl<E: Value> Instructions for Plain<E> {
    type Value = E;
    type Vector = [f32; 16];
    type Sum = [f32; 16];

    const STEP: usize = 16;
    const LEFT: usize = 2;

    #[inline(always)]
    fn zero() -> Self::Sum {
        [0.0; 16]
    }

    #[inline(always)]
    unsafe fn load(values: *const E) -> Self::Vector {
        // SAFETY: the caller says that 16 values can be read; an array is aligned as its values are.
        unsafe { *values.cast::<[E; 16]>() }.map(E::widen)
    }

    #[inline(always)]
    unsafe fn load_first(values: *const E, n: usize) -> Self::Vector {
        // SAFETY: the caller's promise.
        unsafe { padded::<E, 16>(values, n) }.map(E::widen)
    }

    #[inline(always)]
    fn multiply_add(sum: Self::Sum, left: Self::Vector, right: Self::Vector) -> Self::Sum {
        std::array::from_fn(|lane| {
            // Every 64-bit ARM has fused multiply-add; elsewhere it could be a call of a library.
            if cfg!(target_arch = "aarch64") {
                left[lane].mul_add(right[lane], sum[lane])
            } else {
                left[lane] * right[lane] + sum[lane]
            }
        })
    }

    #[inline(always)]
    fn total(mut sum: Self::Sum) -> f32 {
        for width in [8, 4, 2, 1] {
            for lane in 0..width {
                sum[lane] += sum[lane + width];
            }
        }
        sum[0]
    }
}

macro_rules! impl_dot {
    ($value:ty: $($instructions:ty, $features:literal, [$($feature:tt),+];)+) => {
        impl Dot for $value {
            fn products(
                left: Rows<'_, Self>,
                right: Rows<'_, Self>,
                from: ReadFrom,
                outputs: &mut [f32],
                stride: usize,
            ) {
                assert_eq!(left.width, right.width, "rows of equal width");
                $(
                    #[cfg(target_arch = "x86_64")]
                    if $(std::arch::is_x86_feature_detected!($feature))&&+ {
                        #[target_feature(enable = $features)]
                        fn with(
                            left: Rows<'_, $value>,
                            right: Rows<'_, $value>,
                            from: ReadFrom,
                            outputs: &mut [f32],
                            stride: usize,
                        ) {
                            // SAFETY: this is entered where the instructions are there, and the widths are
                            // equal.
                            unsafe { products::<$instructions>(left, right, from, outputs, stride) }
                        }
                        // SAFETY: the processor has just said that it has the instructions.
                        return unsafe { with(left, right, from, outputs, stride) };
                    }
                )+
                // SAFETY: these need no particular instructions, and the widths are equal.
                unsafe { products::<Plain<$value>>(left, right, from, outputs, stride) }
            }
        }
    };
}

impl_dot!(f32:
    x86::Avx512<f32>, "avx512f,avx512bw,avx512vl", ["avx512f", "avx512bw", "avx512vl"];
    x86::Avx2<f32>, "avx2,fma,f16c", ["avx2", "fma", "f16c"];
);
impl_dot!(bf16:
    x86::Avx512Bf16, "avx512f,avx512bw,avx512vl,avx512bf16",
        ["avx512f", "avx512bw", "avx512vl", "avx512bf16"];
    x86::Avx512<bf16>, "avx512f,avx512bw,avx512vl", ["avx512f", "avx512bw", "avx512vl"];
    x86::Avx2<bf16>, "avx2,fma,f16c", ["avx2", "fma", "f16c"];
);
impl_dot!(f16:
    x86::Avx512<f16>, "avx512f,avx512bw,avx512vl", ["avx512f", "avx512bw", "avx512vl"];
    x86::Avx2<f16>, "avx2,fma,f16c", ["avx2", "fma", "f16c"];
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Values between −1 and 1, exact in every data type.
    fn rows<E: Value>(n: usize, seed: usize) -> Vec<E> {
        let value = |idx: usize| ((idx * 37 + seed * 11) % 129) as f32 / 64.0 - 1.0;
        (0..n).map(|idx| E::narrow(value(idx))).collect()
    }

    /// Instructions that a wider processor would not choose give the same sums, but for rounding.
    fn check<I: Instructions>(what: &str) {
        for (n_left, n_right, width) in [
            (1, 1, 1),
            (7, 1, 40),
            (7, 5, 33),
            (13, 9, 1100),
            (3, 2, 2049),
        ] {
            let (left, right) = (rows(n_left * width, 1), rows(n_right * width, 2));
            for from in [ReadFrom::Cache, ReadFrom::Memory] {
                let mut found = vec![0.0; n_left * n_right];
                let matrix = |rows, n| Rows::new(rows, width, width, n);
                // SAFETY: whoever calls `check` has asked the processor; all rows are `width` long.
                unsafe {
                    products::<I>(
                        matrix(&left, n_left),
                        matrix(&right, n_right),
                        from,
                        &mut found,
                        n_left,
                    );
                }
                for (idx, &found) in found.iter().enumerate() {
                    let row = |rows: &[I::Value], row: usize| -> Vec<f64> {
                        let row = rows[row * width..][..width].iter();
                        row.map(|value| f64::from(value.widen())).collect()
                    };
                    let (x, w) = (row(&left, idx % n_left), row(&right, idx / n_left));
                    let expected: f64 = x.iter().zip(&w).map(|(x, w)| x * w).sum();
                    let error = (f64::from(found) - expected).abs();
                    assert!(
                        error <= 1e-7 * width as f64 + 1e-6,
                        "{what}, {width}: {found}, {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_kind_of_instructions_gives_the_same_sums() {
        check::<Plain<f32>>("plain f32");
        check::<Plain<bf16>>("plain bf16");
        check::<Plain<f16>>("plain f16");
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
            {
                check::<x86::Avx2<f32>>("avx2 f32");
                check::<x86::Avx2<bf16>>("avx2 bf16");
                check::<x86::Avx2<f16>>("avx2 f16");
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
            {
                check::<x86::Avx512<f32>>("avx512 f32");
                check::<x86::Avx512<bf16>>("avx512 bf16");
                check::<x86::Avx512<f16>>("avx512 f16");
            }
        }
    }
}
