//! Digits of floats as Python's formats write them.
//!
//! Sizes are finite and not negative. With `keeps_point` (the flag `#`) a number has a point even where no digit follows
//! it, and keeps its zeros at the end.

/// Digits behind the point that the standard library can write.
pub(super) const MAX_PRECISION: usize = 60_000;

/// Writes `1.50` (`f`).
pub(super) fn fixed(size: f64, precision: usize, keeps_point: bool) -> String {
    pointed(format!("{size:.precision$}"), keeps_point)
}

/// Writes `1.50e+00` (`e`).
pub(super) fn scientific(size: f64, precision: usize, keeps_point: bool) -> String {
    let text = format!("{size:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{}e{exponent:+03}", pointed(digits.to_owned(), keeps_point))
}

/// Writes `1.5` or, where the exponent is below -4 or at least `limit`, `1.5e+16` (`g`). `precision` counts all digits.
pub(super) fn general(size: f64, precision: usize, limit: usize, keeps_point: bool) -> String {
    let precision = precision.max(1);
    let text = scientific(size, precision - 1, keeps_point);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let at: i64 = exponent.parse().unwrap_or(0);
    let is_short = usize::try_from(at).map_or(at >= -4, |at| at < limit);
    if is_short {
        let n_digits = i64::try_from(precision).unwrap_or(i64::MAX);
        let n_decimals = usize::try_from(n_digits - 1 - at).unwrap_or(0);
        return without_zeros(&fixed(size, n_decimals, keeps_point), keeps_point).to_owned();
    }
    format!("{}e{exponent}", without_zeros(digits, keeps_point))
}

fn pointed(mut digits: String, keeps_point: bool) -> String {
    if keeps_point && !digits.contains('.') {
        digits.push('.');
    }
    digits
}

fn without_zeros(digits: &str, keeps_point: bool) -> &str {
    if keeps_point || !digits.contains('.') {
        return digits;
    }
    digits.trim_end_matches('0').trim_end_matches('.')
}
