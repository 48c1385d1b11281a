//! Numbers of sixteen bits in f32.

/// The value of an f16's bits, exactly. NaN and infinity keep the highest exponent.
///
/// The exponent's bias differs by 112, denormals included. In integers and one multiplication, because the compiler
/// vectorises that and not a table of cases.
#[inline(always)]
pub(crate) fn widen_f16(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let magnitude = bits & 0x7fff;
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    let special = if magnitude >= 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | ((bits & 0x8000) << 16))
}

/// The value of a bf16's bits: the upper half of an f32.
#[inline(always)]
pub(crate) fn widen_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
