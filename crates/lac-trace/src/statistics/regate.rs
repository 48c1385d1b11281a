//! Masks for another α, from recorded deltas: no second run of the model.

use lac_core::{GateConfig, released_code::GateRounding};

/// Returns what a gate says of one token's layers, given their deltas: `λ_l` and whether the layer is active, computed
/// as the gate on the device computes it.
///
/// ```
/// use lac_core::GateConfig;
/// use lac_trace::statistics::regate;
///
/// let deltas = [1.0, 2.0, 0.5];
/// let active = |alpha| -> Vec<bool> {
///     regate(GateConfig::new(alpha), &deltas).map(|(_, active)| active).collect()
/// };
/// // The third layer is held against α × (2 − 1).
/// assert_eq!(active(0.5), [true, true, true]);
/// assert_eq!(active(0.8), [true, true, false]);
/// ```
pub fn regate(gate: GateConfig, deltas: &[f32]) -> impl Iterator<Item = (f32, bool)> + '_ {
    let mut range: Option<(f32, f32)> = None;
    deltas.iter().map(move |&delta| {
        let threshold = match range {
            None => 0.0,
            Some((min, max)) => round(round(max - min, gate) * gate.alpha, gate),
        };
        range = Some(match range {
            None => (delta, delta),
            Some((min, max)) => (min.min(delta), max.max(delta)),
        });
        (threshold, delta >= threshold)
    })
}

fn round(value: f32, gate: GateConfig) -> f32 {
    match gate.rounding {
        GateRounding::F32 => value,
        GateRounding::Bf16 => to_bf16(value),
    }
}

/// Returns the nearest number that bf16 has, of two equally near ones the even one.
fn to_bf16(value: f32) -> f32 {
    if !value.is_finite() {
        return value;
    }
    let bits = value.to_bits();
    let is_odd = (bits >> 16) & 1;
    f32::from_bits(((bits + 0x7fff + is_odd) >> 16) << 16)
}

#[cfg(test)]
mod tests {
    use lac_core::reference::TokenGate;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Norms on a grid that f32 computes with exactly, so that the reference, which computes
        /// in f64, sees the same ties.
        #[test]
        fn masks_are_those_of_the_reference(
            norms in prop::collection::vec(0u16..400, 2..24),
            alpha in 0u8..24,
        ) {
            let norms: Vec<f32> = norms.iter().map(|&n| f32::from(n) / 4.0).collect();
            let alpha = f32::from(alpha) / 8.0;
            let deltas: Vec<f32> = norms.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let mut reference = TokenGate::new(f64::from(alpha), f64::from(norms[0]));
            for (&norm, (threshold, active)) in
                norms[1..].iter().zip(regate(GateConfig::new(alpha), &deltas))
            {
                let expected = reference.step(f64::from(norm));
                prop_assert_eq!(f64::from(threshold), expected.threshold);
                prop_assert_eq!(active, expected.active);
            }
        }
    }

    #[test]
    fn bf16_rounds_to_the_nearest_and_ties_to_even() {
        for (value, rounded) in [
            (1.0, 1.0),
            // 1 + 2⁻⁸ lies in the middle of 1 and 1 + 2⁻⁷.
            (1.0 + 0.5f32.powi(8), 1.0),
            (1.0 + 3.0 * 0.5f32.powi(8), 1.015_625),
            (-1.004, -1.007_812_5),
            (1000.0, 1000.0),
            (1001.9, 1000.0),
            (1002.1, 1004.0),
        ] {
            assert_eq!(to_bf16(value), rounded, "{value}");
        }
    }
}
