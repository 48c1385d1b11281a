//! Data types of weights and states.

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape, bf16, f16};

/// A data type that weights and states come in.
pub(super) trait Value: Copy + Default + Send + Sync + 'static {
    /// The tensor's whole storage.
    fn storage(tensor: &FlexTensor) -> &[Self];

    /// A tensor of these values.
    fn tensor(values: Vec<Self>, shape: Shape) -> FlexTensor;

    /// The values themselves, where they are f32.
    fn as_f32_mut(_values: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    /// The value in f32, exactly.
    fn widen(self) -> f32;

    /// The nearest value, ties to even.
    fn narrow(value: f32) -> Self;

    /// What is left of an intermediate result that is kept in this data type.
    #[inline(always)]
    fn round(value: f32) -> f32 {
        Self::narrow(value).widen()
    }
}

/// How a tensor holds values of the type that is implemented.
macro_rules! held_as {
    ($dtype:expr) => {
        fn storage(tensor: &FlexTensor) -> &[Self] {
            tensor.storage::<Self>()
        }

        fn tensor(values: Vec<Self>, shape: Shape) -> FlexTensor {
            FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), $dtype)
        }
    };
}

impl Value for f32 {
    held_as!(DType::F32);

    fn as_f32_mut(values: &mut [Self]) -> Option<&mut [f32]> {
        Some(values)
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }
}

impl Value for bf16 {
    held_as!(DType::BF16);

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    /// In integers and without a branch, so that loops over it vectorise.
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet_nan = (bits >> 16) | 0x40;
        let bits = if value.is_nan() { quiet_nan } else { rounded };
        bf16::from_bits(bits as u16)
    }
}

impl Value for f16 {
    held_as!(DType::F16);

    /// The exponent's bias differs by 112, denormals included; NaN and infinity keep the highest exponent. In
    /// integers, because the compiler vectorises that and not a table of cases.
    #[inline(always)]
    fn widen(self) -> f32 {
        let bits = u32::from(self.to_bits());
        let magnitude = bits & 0x7fff;
        let scaled = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
        let special = if magnitude >= 0x7c00 { 0x7f80_0000 } else { 0 };
        f32::from_bits(scaled.to_bits() | special | ((bits & 0x8000) << 16))
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        f16::from_f32(value)
    }
}
