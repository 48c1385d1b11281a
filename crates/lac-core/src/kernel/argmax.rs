//! The most probable token on the device, so that one number of each row is read and not the logits.

use burn::tensor::{Int, Tensor};

/// Returns, for each row of logits `[batch, vocab]`, the index of the largest finite one, the lowest among equals: the
/// token that the host would choose. A row with NaN, or without a finite logit, gets −1. `None` where no kernel was
/// compiled in for the logits, and on the CPU, whose host has them at hand.
pub(crate) fn argmax(logits: &Tensor<2>) -> Option<Tensor<1, Int>> {
    #[cfg(feature = "cube")]
    if is_taken(logits) {
        use super::argmax_ops::ArgmaxOps;
        use burn::backend::Dispatch;

        let ids = Dispatch::lac_argmax(logits.clone().into_dispatch());
        return Some(Tensor::from_dispatch(ids));
    }
    let _ = logits;
    None
}

#[cfg(feature = "cube")]
fn is_taken(logits: &Tensor<2>) -> bool {
    use burn::backend::DispatchTensorKind;
    use burn::tensor::DType;

    let has_kernel = matches!(logits.dtype(), DType::F32 | DType::F16 | DType::BF16);
    has_kernel
        && !logits.dims().contains(&0)
        && matches!(
            logits.clone().into_dispatch().kind,
            DispatchTensorKind::Cube(_)
        )
}
