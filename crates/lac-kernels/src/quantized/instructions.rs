//! Which instructions the processor has.

/// Instructions that this processor has: whoever holds a value may run code that needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instructions(Kind);

/// Sets of instructions that there is code for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What any processor of the architecture has.
    Portable,
    /// AVX2 with F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 (F, BW, DQ, VL) with VNNI, and what AVX2 stands for.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Instructions {
    /// The widest of [`available`](Self::available).
    pub(super) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx512() {
                return Self(Kind::Avx512);
            }
            if has_avx2() {
                return Self(Kind::Avx2);
            }
        }
        Self(Kind::Portable)
    }

    /// All that this processor has, those of any processor first.
    #[cfg(test)]
    pub(super) fn available() -> Vec<Self> {
        let mut available = vec![Self(Kind::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            available.extend(has_avx2().then_some(Self(Kind::Avx2)));
            available.extend(has_avx512().then_some(Self(Kind::Avx512)));
        }
        available
    }

    #[inline(always)]
    pub(super) fn kind(self) -> Kind {
        self.0
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

/// Defines a function for a type parameter that is compiled for AVX2 too, and called with the instructions to use. The operations are the same, without fused multiply-add, so the results are too.
macro_rules! for_instructions {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident<$parameter:ident: $bound:path>($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        $visibility fn $name<$parameter: $bound>(
            instructions: $crate::quantized::instructions::Instructions,
            $($argument: $type),*
        ) {
            #[inline(always)]
            fn portable<$parameter: $bound>($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,f16c")]
            fn avx2<$parameter: $bound>($($argument: $type),*) {
                portable::<$parameter>($($argument),*)
            }

            use $crate::quantized::instructions::Kind;
            match instructions.kind() {
                Kind::Portable => portable::<$parameter>($($argument),*),
                // SAFETY: `instructions` says that the processor has them.
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 | Kind::Avx512 => unsafe { avx2::<$parameter>($($argument),*) },
            }
        }
    };
}

pub(super) use for_instructions;
