//! Data types of weights and hidden states.

use std::borrow::Cow;

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape, bf16, f16};

use crate::half_precision::{widen_bf16, widen_f16};

/// A data type that weights and states come in.
pub(crate) trait Value: Copy + Default + Send + Sync + 'static {
    /// The tensor's whole storage.
    fn storage(tensor: &FlexTensor) -> &[Self];

    /// The same to write to, when the tensor's storage has no other owner.
    fn try_storage_mut(tensor: &mut FlexTensor) -> Option<&mut [Self]>;

    /// Whether the tensor is all of its storage, in order.
    fn is_plain(tensor: &FlexTensor) -> bool {
        let layout = tensor.layout();
        layout.is_contiguous()
            && layout.start_offset() == 0
            && Self::storage(tensor).len() == layout.num_elements()
    }

    /// A tensor of these values.
    fn tensor(values: Vec<Self>, shape: Shape) -> FlexTensor;

    /// The values themselves, where they are f32.
    fn as_f32_mut(_values: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    /// All values in f32, exactly.
    fn widen_all(values: &[Self]) -> Cow<'_, [f32]> {
        values.iter().map(|value| value.widen()).collect()
    }

    /// The value in f32, exactly.
    fn widen(self) -> f32;

    /// The value's magnitude in f32, exactly, up to its sign: what a sum of squares needs.
    #[inline(always)]
    fn magnitude(self) -> f32 {
        self.widen()
    }

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

        fn try_storage_mut(tensor: &mut FlexTensor) -> Option<&mut [Self]> {
            tensor.try_storage_mut::<Self>()
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

    fn widen_all(values: &[Self]) -> Cow<'_, [f32]> {
        Cow::Borrowed(values)
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
        widen_bf16(self.to_bits())
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

    #[inline(always)]
    fn widen(self) -> f32 {
        widen_f16(self.to_bits())
    }

    #[inline(always)]
    fn magnitude(self) -> f32 {
        // Without the sign there is one operation less in a loop that reads memory as fast as it can.
        let bits = u32::from(self.to_bits() & 0x7fff);
        let scaled = f32::from_bits(bits << 13) * f32::from_bits((127 + 112) << 23);
        let special = if bits >= 0x7c00 { 0x7f80_0000 } else { 0 };
        f32::from_bits(scaled.to_bits() | special)
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        f16::from_f32(value)
    }
}
