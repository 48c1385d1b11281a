//! Functions of hidden states that the gate and the loop over layers share.

use burn::tensor::{Bool, FloatDType, Tensor};

/// Returns the L2 norm over the hidden axis, `[batch, seq, hidden]` to `[batch, seq]`, accumulated in
/// f32 whatever the input's data type is.
pub fn l2_norm(hidden: &Tensor<3>) -> Tensor<2> {
    let hidden = hidden.clone().cast(FloatDType::F32);
    hidden.square().sum_dim(2).sqrt().squeeze_dim::<2>(2)
}

/// Returns `when` where the mask `[batch, seq]` holds and `otherwise` elsewhere, both `[batch, seq, hidden]`.
pub(crate) fn select_tokens(
    mask: Tensor<2, Bool>,
    when: Tensor<3>,
    otherwise: Tensor<3>,
) -> Tensor<3> {
    let dims = when.dims();
    if dims.contains(&0) {
        // There is nothing to choose from, and burn expands nothing to no values.
        return when;
    }
    otherwise.mask_where(mask.unsqueeze_dim::<3>(2).expand(dims), when)
}
