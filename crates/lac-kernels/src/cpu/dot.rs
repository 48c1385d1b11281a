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

/// Dot products of every left row with every right row, none of them longer than [`BLOCK`]. What is read next is asked
/// for meanwhile.
///
/// # Safety
/// The processor has the instructions `I`, and all rows are equally long.
#[inline(always)]
unsafe fn tile<I: Instructions, A: Ahead<I::Value, LEFT>, const LEFT: usize, const RIGHT: usize>(
    left: [&[I::Value]; LEFT],
    right: [&[I::Value]; RIGHT],
    mut ahead: A,
) -> [[f32; LEFT]; RIGHT] {
    let width = left[0].len();
    let mut sums = [[I::zero(); RIGHT]; LEFT];
    let mut at = 0;
    while at + I::STEP <= width {
        // SAFETY: `at + STEP` lies within every row.
        let load = |row: &[I::Value]| unsafe { I::load(row.as_ptr().add(at)) };
        ahead.ask(left, at, I::STEP);
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

/// What a tile asks memory for while it multiplies: with two threads, the processor's own prefetching leaves a part of
/// the memory's bandwidth unused.
trait Ahead<E, const LEFT: usize>: Copy {
    /// For all blocks of rows that begin with these; `start` values of each row have been multiplied before.
    fn new(left: [&[E]; LEFT], start: usize, width: usize) -> Self;

    /// Asks for what is read after `at`, `step` values of each row.
    fn ask(&mut self, left: [&[E]; LEFT], at: usize, step: usize);
}

/// Asks for each row's values a page ahead.
#[derive(Clone, Copy)]
struct EachRow;

impl<E, const LEFT: usize> Ahead<E, LEFT> for EachRow {
    #[inline(always)]
    fn new(_left: [&[E]; LEFT], _start: usize, _width: usize) -> Self {
        Self
    }

    #[inline(always)]
    fn ask(&mut self, left: [&[E]; LEFT], at: usize, _step: usize) {
        for row in left {
            prefetch(row.as_ptr().wrapping_add(at));
        }
    }
}

/// Asks for the rows after these, which lie beside them, in the order of memory.
#[derive(Clone, Copy)]
struct InOrder<E>(*const E);

impl<E: Copy, const LEFT: usize> Ahead<E, LEFT> for InOrder<E> {
    #[inline(always)]
    fn new(left: [&[E]; LEFT], start: usize, width: usize) -> Self {
        let first = left[0].as_ptr().wrapping_sub(start);
        let next = first.wrapping_byte_add((LEFT * width * size_of::<E>()).max(PAGE));
        Self(next.wrapping_add(LEFT * start))
    }

    #[inline(always)]
    fn ask(&mut self, left: [&[E]; LEFT], _at: usize, step: usize) {
        for row in 0..left.len() {
            ask_for(self.0.wrapping_add(row * step));
        }
        self.0 = self.0.wrapping_add(left.len() * step);
    }
}

/// As far as memory is asked for values in advance, in bytes.
const PAGE: usize = 4096;

/// Asks for the values a page ahead.
#[inline(always)]
pub(super) fn prefetch<E>(values: *const E) {
    ask_for(values.wrapping_byte_add(PAGE));
}

/// Asks memory for the values at a place, to be in the second cache when they are read: the first one has other work.
#[inline(always)]
fn ask_for<E>(values: *const E) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 processor has the instruction, and it reads nothing: an address beyond the
        // weight is passed over.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(values.cast::<i8>()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// Where left rows are read from, which says in what order they are best read. The sums are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadFrom {
    /// A cache: several rows at once, so that no sum waits for the one before.
    Cache,
    /// Memory: in its order, as long as there are few right rows to meet it.
    Memory,
}

/// Left rows of at most so many bytes are read from memory several at once: they and the rows after them, which are
/// asked for meanwhile, are a small part of a cache.
const NARROW: usize = 4096;

/// Left rows of at most so many bytes are read from memory two at once.
const MIDDLING: usize = 2 * NARROW;

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
    let row_bytes = left.width() * size_of::<I::Value>();
    let is_middling = left.stride == left.width && row_bytes <= MIDDLING;
    let mut first = 0;
    while first < left.len() {
        let n_left = left.len() - first;
        // SAFETY: the caller's promise.
        first += unsafe {
            match (right.len(), n_left) {
                (1..=FEW, 2..) if from == ReadFrom::Memory && is_middling => {
                    beside::<I>(left, first, right, outputs, stride)
                }
                (1, _) if from == ReadFrom::Memory => {
                    strip::<I, EachRow, 1, 1>(left, first, right, outputs, stride)
                }
                (2, _) if from == ReadFrom::Memory => {
                    strip::<I, EachRow, 1, 2>(left, first, right, outputs, stride)
                }
                (3, _) if from == ReadFrom::Memory => {
                    strip::<I, EachRow, 1, 3>(left, first, right, outputs, stride)
                }
                (FEW, _) if from == ReadFrom::Memory => {
                    strip::<I, EachRow, 1, FEW>(left, first, right, outputs, stride)
                }
                (1, 4..) => strip::<I, EachRow, 4, 1>(left, first, right, outputs, stride),
                (1, _) => strip::<I, EachRow, 1, 1>(left, first, right, outputs, stride),
                (_, 6..) if I::LEFT == 6 => {
                    strip::<I, EachRow, 6, 4>(left, first, right, outputs, stride)
                }
                (_, 2..) => strip::<I, EachRow, 2, 2>(left, first, right, outputs, stride),
                (_, _) => strip::<I, EachRow, 1, FEW>(left, first, right, outputs, stride),
            }
        };
    }
}

/// Some left rows that lie beside each other, with one to four right rows; returns their number.
///
/// The products of one row are a chain, each waiting for the one before it, so several rows take turns. Memory is asked for
/// them in its order all the same.
///
/// # Safety
/// As for [`products`]. There are two left rows or more.
#[inline(always)]
unsafe fn beside<I: Instructions>(
    left: Rows<'_, I::Value>,
    first: usize,
    right: Rows<'_, I::Value>,
    outputs: &mut [f32],
    stride: usize,
) -> usize {
    let is_narrow = left.width() * size_of::<I::Value>() <= NARROW;
    // SAFETY: the caller's promise.
    unsafe {
        match (right.len(), left.len() - first) {
            (1, 3..) if is_narrow => {
                strip::<I, InOrder<_>, 3, 1>(left, first, right, outputs, stride)
            }
            (2, 4..) if is_narrow => {
                strip::<I, InOrder<_>, 4, 2>(left, first, right, outputs, stride)
            }
            (3, 4..) if is_narrow => {
                strip::<I, InOrder<_>, 4, 3>(left, first, right, outputs, stride)
            }
            (4, 3..) if is_narrow => {
                strip::<I, InOrder<_>, 3, 4>(left, first, right, outputs, stride)
            }
            (1, _) => strip::<I, InOrder<_>, 2, 1>(left, first, right, outputs, stride),
            (2, _) => strip::<I, InOrder<_>, 2, 2>(left, first, right, outputs, stride),
            (3, _) => strip::<I, InOrder<_>, 2, 3>(left, first, right, outputs, stride),
            (_, _) => strip::<I, InOrder<_>, 2, 4>(left, first, right, outputs, stride),
        }
    }
}

/// `LEFT` left rows with all right rows, `RIGHT` at a time, block by block; returns `LEFT`.
///
/// # Safety
/// As for [`products`].
#[inline(always)]
unsafe fn strip<
    I: Instructions,
    A: Ahead<I::Value, LEFT>,
    const LEFT: usize,
    const RIGHT: usize,
>(
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
        let ahead = A::new(left, start, width);
        let n_tiles = right.len() / RIGHT;
        for tile_idx in 0..n_tiles {
            let first_right = tile_idx * RIGHT;
            let rows = std::array::from_fn(|row| &right.row(first_right + row)[block.clone()]);
            // SAFETY: the caller's promise.
            let totals = unsafe { tile::<I, A, LEFT, RIGHT>(left, rows, ahead) };
            for (row, totals) in totals.iter().enumerate() {
                let outputs = &mut outputs[(first_right + row) * stride + first..][..LEFT];
                put(outputs, totals, start);
            }
        }
        for row in n_tiles * RIGHT..right.len() {
            // SAFETY: as above.
            let [totals] =
                unsafe { tile::<I, A, LEFT, 1>(left, [&right.row(row)[block.clone()]], ahead) };
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

    /// Instructions that a wider processor would not choose give the same sums, but for rounding; and however many rows
    /// meet, each sum has the same bits.
    fn check<I: Instructions>(what: &str) {
        for (n_left, n_right, width) in [
            (1, 1, 1),
            (7, 1, 40),
            (8, 1, 2047),
            (9, 2, 1025),
            (11, 3, 576),
            (10, 4, 577),
            (7, 5, 33),
            (13, 9, 1100),
            (3, 1, 4100),
            (3, 2, 2049),
            (5, 3, 1100),
            (6, 4, 1100),
            (5, 3, 4100),
            (5, 4, 4100),
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
                    let row = |rows, row: usize| {
                        let values: &[I::Value] = rows;
                        Rows::new(&values[row * width..][..width], width, width, 1)
                    };
                    let mut alone = [0.0];
                    let (x, w) = (row(&left, idx % n_left), row(&right, idx / n_left));
                    // SAFETY: as above.
                    unsafe { products::<I>(x, w, ReadFrom::Cache, &mut alone, 1) };
                    assert_eq!(found.to_bits(), alone[0].to_bits(), "{what}, {width}");
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
                if is_x86_feature_detected!("avx512bf16") {
                    check::<x86::Avx512Bf16>("avx512 bf16 in pairs");
                }
            }
        }
    }
}
