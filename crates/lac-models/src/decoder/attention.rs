//! Grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245) with rotary positions. Keys are not repeated, and
//! scores are computed block by block over the queries.

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{DType, Tensor};

use super::cast::cast;
use super::config::DecoderConfig;
use super::context::DecoderContext;
use super::linear::DecoderLinear;
use super::norm::DecoderNorm;
use super::query_block::QueryBlock;
use super::rope::rotate;
use super::source::TensorSource;

/// A masked score. It is finite, so that a padding query, whose keys are all hidden, gives a finite state and not NaN.
const HIDDEN_SCORE: f32 = -1e30;

/// Grouped-query self-attention with rotary positions.
#[derive(Module, Debug)]
pub struct DecoderAttention {
    /// `[heads * head_dim, hidden]`.
    pub q_proj: DecoderLinear,
    /// `[kv_heads * head_dim, hidden]`.
    pub k_proj: DecoderLinear,
    /// `[kv_heads * head_dim, hidden]`.
    pub v_proj: DecoderLinear,
    /// `[hidden, heads * head_dim]`.
    pub o_proj: DecoderLinear,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
}

impl DecoderAttention {
    pub(super) fn load<S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        config: &DecoderConfig,
    ) -> Result<Self, S::Error> {
        let hidden = config.hidden_size;
        let queries = config.n_heads * config.head_dim;
        let keys = config.n_kv_heads * config.head_dim;
        let mut linear = |part: &str, shape, bias| {
            DecoderLinear::load(source, &format!("{name}.{part}"), shape, bias)
        };
        Ok(Self {
            q_proj: linear("q_proj", [queries, hidden], config.qkv_bias)?,
            k_proj: linear("k_proj", [keys, hidden], config.qkv_bias)?,
            v_proj: linear("v_proj", [keys, hidden], config.qkv_bias)?,
            o_proj: linear("o_proj", [hidden, queries], config.o_bias)?,
            n_heads: config.n_heads,
            n_kv_heads: config.n_kv_heads,
            head_dim: config.head_dim,
        })
    }

    /// Adds the attention's outputs for the normed residual stream to the residual stream `[batch, seq, hidden]`.
    pub(super) fn forward_residual(
        &self,
        hidden: Tensor<3>,
        norm: &DecoderNorm,
        layer_idx: usize,
        context: &mut DecoderContext,
    ) -> Tensor<3> {
        let [queries, keys, values] = self.queries_keys_values(&hidden, norm, context);
        let (keys, values) = context.store(layer_idx, keys, values);
        let attended = attend(queries, keys, values, layer_idx, context);
        self.o_proj.forward_residual(hidden, attended)
    }

    /// Returns rotated queries and keys, and values, `[batch, heads, seq, head_dim]` each, of `[batch, seq, hidden]`.
    fn queries_keys_values(
        &self,
        hidden: &Tensor<3>,
        norm: &DecoderNorm,
        context: &DecoderContext,
    ) -> [Tensor<4>; 3] {
        let heads = |[queries, keys, values]: [Tensor<3>; 3]| {
            [
                self.heads(queries, self.n_heads),
                self.kv_heads(keys),
                self.kv_heads(values),
            ]
        };
        let projections = [&self.q_proj, &self.k_proj, &self.v_proj];
        if lac_kernels::fuses_tokens(hidden, &projections.map(|linear| &*linear.weight))
            && let Some(qkv) = self.as_kernel(norm, context)
            && let Some(rotated) = lac_kernels::queries_keys_values(hidden, &qkv)
        {
            return heads(rotated);
        }
        let rotation = context.rotation();
        let input = norm.forward(hidden.clone());
        let [queries, keys, values] = heads(DecoderLinear::forward_together(input, projections));
        [rotate(queries, rotation), rotate(keys, rotation), values]
    }

    pub(super) fn as_kernel(
        &self,
        norm: &DecoderNorm,
        context: &DecoderContext,
    ) -> Option<lac_kernels::QkvProjection> {
        let projections = [&self.q_proj, &self.k_proj, &self.v_proj];
        let rotation = context.rotation();
        lac_kernels::QkvProjection::new(
            norm.as_kernel()?,
            projections.map(|linear| linear.weight.val()),
            projections.map(|linear| linear.bias.as_ref().map(Param::val)),
            [rotation.cos.clone(), rotation.sin.clone()],
        )
    }

    /// Returns rotated keys, and values, of a normed state `[batch, seq, hidden]`: `[batch, kv_heads, seq, head_dim]`
    /// each.
    pub(super) fn keys_and_values(
        &self,
        input: Tensor<3>,
        context: &DecoderContext,
    ) -> (Tensor<4>, Tensor<4>) {
        let [keys, values] = DecoderLinear::forward_together(input, [&self.k_proj, &self.v_proj]);
        let keys = rotate(self.kv_heads(keys), context.rotation());
        (keys, self.kv_heads(values))
    }

    /// `[batch, seq, kv_heads * head_dim]` to `[batch, kv_heads, seq, head_dim]`.
    pub(super) fn kv_heads(&self, projected: Tensor<3>) -> Tensor<4> {
        self.heads(projected, self.n_kv_heads)
    }

    /// `[batch, seq, heads * head_dim]` to `[batch, heads, seq, head_dim]`.
    fn heads(&self, projected: Tensor<3>, n_heads: usize) -> Tensor<4> {
        let [batch, seq, _] = projected.dims();
        projected
            .reshape([batch, seq, n_heads, self.head_dim])
            .swap_dims(1, 2)
    }
}

/// Attends with queries `[batch, heads, seq, head_dim]` over keys and values
/// `[batch, kv_heads, slots, head_dim]`; returns `[batch, seq, heads * head_dim]`.
fn attend(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    layer_idx: usize,
    context: &mut DecoderContext,
) -> Tensor<3> {
    if let Some(attended) = context.attended(layer_idx)
        && [&queries, &keys, &values]
            .into_iter()
            .all(lac_kernels::has_cpu_kernel)
    {
        return lac_kernels::attend(queries, keys, values, attended);
    }
    let [batch, n_heads, seq, head_dim] = queries.dims();
    let queries = queries * (head_dim as f64).powf(-0.5);
    let attended = match &*context.blocks(layer_idx) {
        [block] => attend_block(queries, keys, values, block),
        blocks => {
            let outputs = blocks
                .iter()
                .map(|block| {
                    let queries =
                        queries
                            .clone()
                            .narrow(2, block.queries.start, block.queries.len());
                    attend_block(queries, keys.clone(), values.clone(), block)
                })
                .collect();
            Tensor::cat(outputs, 2)
        }
    };
    attended
        .swap_dims(1, 2)
        .reshape([batch, seq, n_heads * head_dim])
}

fn attend_block(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    block: &QueryBlock,
) -> Tensor<4> {
    let [batch, n_heads, seq, head_dim] = queries.dims();
    let [_, n_kv_heads, n_keys, _] = keys.dims();
    let group = n_heads / n_kv_heads;
    let dtype = queries.dtype();
    let (keys, values) = if block.keys == (0..n_keys) {
        (keys, values)
    } else {
        let visible = |slots: Tensor<4>| slots.narrow(2, block.keys.start, block.keys.len());
        (visible(keys), visible(values))
    };
    let n_keys = block.keys.len();

    // The query heads that share a key head are further rows of one product, so no key is copied per group.
    let queries = queries.reshape([batch, n_kv_heads, group * seq, head_dim]);
    let scores = cast(queries.matmul(keys.swap_dims(2, 3)), DType::F32);
    let scores = match &block.hidden {
        None => scores,
        Some(hidden) => {
            let shape = [batch, n_kv_heads, group, seq, n_keys];
            scores
                .reshape(shape)
                .mask_fill(hidden.clone().expand(shape), HIDDEN_SCORE)
                .reshape([batch, n_kv_heads, group * seq, n_keys])
        }
    };
    let weights = cast(softmax(scores, 3), dtype);
    weights
        .matmul(values)
        .reshape([batch, n_heads, seq, head_dim])
}
