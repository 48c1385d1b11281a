//! Loops over f32 values, compiled for the widest vectors that the processor has.
//!
//! The operations are the same and in the same order for all of them, without fused multiply-add, so the
//! results are the same on every processor.

use super::dot::prefetch;
use crate::value::Value;

/// Defines a function three times: for AVX-512, for AVX2, and for any processor.
macro_rules! vectorised {
    ($(#[$doc:meta])* fn $name:ident<E: Value>($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block) => {
        $(#[$doc])*
        pub(crate) fn $name<E: Value>($($argument: $type),*) $(-> $output)? {
            #[inline(always)]
            fn body<E: Value>($($argument: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
                fn avx512<E: Value>($($argument: $type),*) $(-> $output)? {
                    body::<E>($($argument),*)
                }
                #[target_feature(enable = "avx2")]
                fn avx2<E: Value>($($argument: $type),*) $(-> $output)? {
                    body::<E>($($argument),*)
                }
                if std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the processor has just said that it has the instructions.
                    return unsafe { avx512::<E>($($argument),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has just said that it has the instructions.
                    return unsafe { avx2::<E>($($argument),*) };
                }
            }
            body::<E>($($argument),*)
        }
    };
}

const LANES: usize = 16;

/// Adds up lanes in a tree.
#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `e^x`, within two units in the last place, for values up to 88; what is too small for f32 gives 0, NaN
/// gives NaN. A polynomial in place of the library's function, so that loops over it vectorise.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // ln 2 in two parts, so that the remainder is exact (Cody and Waite 1980).
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const SMALLEST: f32 = -87.0;
    let clamped = if x < SMALLEST { SMALLEST } else { x };
    let clamped = if clamped > 88.0 { 88.0 } else { clamped };
    // Adding and taking away 1.5 · 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let exponent = rounded - ROUND;
    let r = clamped - exponent * LN_2_HIGH - exponent * LN_2_LOW;
    // The series of e^r − 1 − r over r² for |r| ≤ ln 2 / 2, minimax (the coefficients of Cephes' expf).
    let mut series = 1.987_569_1e-4;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        series = series * r + coefficient;
    }
    let fraction = series * r * r + r + 1.0;
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    let value = fraction * power;
    if x < SMALLEST { 0.0 } else { value }
}

vectorised! {
    /// `gates := silu(gates) * ups`, rounding to `E` where separate operations would.
    fn silu_times<E: Value>(gates: &mut [f32], ups: &[f32]) {
        for (gate, &up) in gates.iter_mut().zip(ups) {
            let x = E::round(*gate);
            *gate = E::round(x / (1.0 + exp(-x))) * E::round(up);
        }
    }
}

vectorised! {
    /// `gates := gelu(gates) * ups` with the approximation by tanh, rounding to `E` where separate operations would.
    fn gelu_times<E: Value>(gates: &mut [f32], ups: &[f32]) {
        // x / 2 · (1 + tanh(z)) is x · sigmoid(2z).
        const TWICE_ROOT_2_OVER_PI: f32 = 1.595_769;
        for (gate, &up) in gates.iter_mut().zip(ups) {
            let x = E::round(*gate);
            let z = TWICE_ROOT_2_OVER_PI * (x + 0.044_715 * x * x * x);
            *gate = E::round(x / (1.0 + exp(-z))) * E::round(up);
        }
    }
}

vectorised! {
    /// `scores := cap · tanh(scores · scale / cap)`.
    fn soft_cap<E: Value>(scores: &mut [f32], scale: f32, cap: f32) {
        let scale = scale / cap;
        for score in scores.iter_mut() {
            // The exponent stays in the range of `exp`, where tanh has long been 1.
            let x = *score * scale;
            let size = if x < 0.0 { -x } else { x };
            let size = if size > 40.0 { 40.0 } else { size };
            let decay = exp(-2.0 * size);
            let bounded = cap * ((1.0 - decay) / (1.0 + decay));
            *score = if x < 0.0 { -bounded } else { bounded };
        }
    }
}

vectorised! {
    /// The sum of some values, in so many lanes that reading them is all that takes time.
    fn sum<E: Value>(values: &[E]) -> f32 {
        const MANY: usize = 8 * LANES;
        let mut lanes = [0.0f32; MANY];
        let (blocks, rest) = values.as_chunks::<MANY>();
        for block in blocks {
            for line in block.as_chunks::<LANES>().0 {
                prefetch(line.as_ptr());
            }
            for (lane, value) in lanes.iter_mut().zip(block) {
                *lane += value.widen();
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane += value.widen();
        }
        lanes.iter().sum()
    }
}

vectorised! {
    /// The sum of a row's squares.
    fn sum_squares<E: Value>(row: &[E]) -> f32 {
        let mut lanes = [0.0f32; LANES];
        let (blocks, rest) = row.as_chunks::<LANES>();
        for block in blocks {
            for (lane, value) in lanes.iter_mut().zip(block) {
                let value = value.widen();
                *lane += value * value;
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            let value = value.widen();
            *lane += value * value;
        }
        total(lanes)
    }
}

vectorised! {
    /// `outputs := round(row * scale) * weight`.
    fn scale_rows<E: Value>(row: &[E], scale: f32, weight: &[E], outputs: &mut [E]) {
        for ((output, value), weight) in outputs.iter_mut().zip(row).zip(weight) {
            *output = E::narrow(E::round(value.widen() * scale) * weight.widen());
        }
    }
}

vectorised! {
    /// `outputs := row * scale * (offset + weight)`, rounded once.
    fn scale_rows_in_f32<E: Value>(row: &[E], scale: f32, offset: f32, weight: &[E], outputs: &mut [E]) {
        for ((output, value), weight) in outputs.iter_mut().zip(row).zip(weight) {
            *output = E::narrow(value.widen() * scale * (offset + weight.widen()));
        }
    }
}

vectorised! {
    /// `values := values * multiplier`.
    fn multiply_rows<E: Value>(values: &mut [E], multiplier: f32) {
        for value in values.iter_mut() {
            *value = E::narrow(value.widen() * multiplier);
        }
    }
}

vectorised! {
    /// `outputs := rows + outputs`.
    fn add_rows<E: Value>(rows: &[E], outputs: &mut [E]) {
        for (output, value) in outputs.iter_mut().zip(rows) {
            *output = E::narrow(value.widen() + output.widen());
        }
    }
}

vectorised! {
    /// Rotates the two halves of each head against each other, rounding to `E` where separate operations would.
    fn rotate_halves<E: Value>(heads: &[E], cos: &[E], sin: &[E], outputs: &mut [E]) {
        let half = cos.len();
        let sin = &sin[..half];
        let outputs = outputs.chunks_exact_mut(2 * half);
        for (head, output) in heads.chunks_exact(2 * half).zip(outputs) {
            let (first, second) = head.split_at(half);
            // Said once, so that the loop has nothing to check.
            let second = &second[..half];
            let (first_out, second_out) = output.split_at_mut(half);
            let second_out = &mut second_out[..half];
            for pair in 0..half {
                let (x, y) = (first[pair].widen(), second[pair].widen());
                let (cos, sin) = (cos[pair].widen(), sin[pair].widen());
                first_out[pair] = E::narrow(E::round(x * cos) - E::round(y * sin));
                second_out[pair] = E::narrow(E::round(y * cos) + E::round(x * sin));
            }
        }
    }
}

vectorised! {
    /// Turns scores into weights of the softmax of `scores * scale`, not yet divided by their sum, which is
    /// returned.
    fn softmax_weights<E: Value>(scores: &mut [f32], scale: f32) -> f32 {
        let mut largest = [f32::NEG_INFINITY; LANES];
        let (blocks, rest) = scores.as_chunks::<LANES>();
        for block in blocks {
            for (lane, &score) in largest.iter_mut().zip(block) {
                *lane = if score > *lane { score } else { *lane };
            }
        }
        let largest = largest.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        for score in scores.iter_mut() {
            *score = exp((*score - largest) * scale);
        }
        let mut lanes = [0.0f32; LANES];
        let (blocks, rest) = scores.as_chunks::<LANES>();
        for block in blocks {
            for (lane, &weight) in lanes.iter_mut().zip(block) {
                *lane += weight;
            }
        }
        for (lane, &weight) in lanes.iter_mut().zip(rest) {
            *lane += weight;
        }
        total(lanes)
    }
}

vectorised! {
    /// Adds rows times their weights to `sums`. `rows` has a row every `stride` values, as long as `sums`.
    fn add_weighted<E: Value>(rows: &[E], stride: usize, weights: &[f32], sums: &mut [f32]) {
        let mut start = 0;
        while start < sums.len() {
            let (rows, sums) = (&rows[start..], &mut sums[start..]);
            start += match sums.len() {
                64.. => add_columns::<E, 64>(rows, stride, weights, sums),
                32.. => add_columns::<E, 32>(rows, stride, weights, sums),
                16.. => add_columns::<E, 16>(rows, stride, weights, sums),
                8.. => add_columns::<E, 8>(rows, stride, weights, sums),
                _ => add_columns::<E, 1>(rows, stride, weights, sums),
            };
        }
    }
}

/// As `add_weighted`, for the first columns; returns their number.
#[inline(always)]
fn add_columns<E: Value, const COLUMNS: usize>(
    rows: &[E],
    stride: usize,
    weights: &[f32],
    sums: &mut [f32],
) -> usize {
    let mut lanes = [0.0; COLUMNS];
    lanes.copy_from_slice(&sums[..COLUMNS]);
    for (row, &weight) in weights.iter().enumerate() {
        let row = &rows[row * stride..][..COLUMNS];
        for (lane, value) in lanes.iter_mut().zip(row) {
            *lane += value.widen() * weight;
        }
    }
    sums[..COLUMNS].copy_from_slice(&lanes);
    COLUMNS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_within_two_units_in_the_last_place() {
        for step in 0..200_000 {
            let x = -87.0 + step as f32 * (175.0 / 200_000.0);
            let exact = f64::from(x).exp();
            let unit = f64::from(f32::EPSILON) * exact;
            let error = (f64::from(exp(x)) - exact).abs();
            assert!(error <= 2.0 * unit, "e^{x}: {} instead of {exact}", exp(x));
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-100.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }
}
