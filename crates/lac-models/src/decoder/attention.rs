//! Grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245) with rotary positions. Keys are not repeated, and
//! scores are computed block by block over the queries.

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{DType, Tensor};
use lac_kernels::Scores;

use super::cast::cast;
use super::config::{DecoderConfig, HeadNorms, ProjectionLayout};
use super::context::DecoderContext;
use super::linear::DecoderLinear;
use super::norm::DecoderNorm;
use super::query_block::QueryBlock;
use super::residual::{ResidualAdd, soft_capped};
use super::rotation::rotate;
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
    /// Norm of queries, `[head_dim]` or `[heads * head_dim]`.
    pub q_norm: Option<DecoderNorm>,
    /// Norm of keys, `[head_dim]` or `[kv_heads * head_dim]`.
    pub k_norm: Option<DecoderNorm>,
    #[module(skip)]
    pub(super) scores: Scores,
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
        let [q_proj, k_proj, v_proj] = match config.projections {
            ProjectionLayout::Separate => [
                linear("q_proj", [queries, hidden], config.qkv_bias)?,
                linear("k_proj", [keys, hidden], config.qkv_bias)?,
                linear("v_proj", [keys, hidden], config.qkv_bias)?,
            ],
            ProjectionLayout::Fused => {
                let (name, widths) = (format!("{name}.qkv_proj"), [queries, keys, keys]);
                DecoderLinear::load_fused(source, &name, widths, hidden, config.qkv_bias)?
            }
        };
        let o_proj = format!("{name}.o_proj");
        let o_proj = DecoderLinear::load(source, &o_proj, [hidden, queries], config.o_bias)?;
        let mut norm = |part: &str, n_heads: usize| {
            let width = match config.head_norms {
                HeadNorms::Absent => return Ok(None),
                HeadNorms::PerHead => config.head_dim,
                HeadNorms::AllHeads => n_heads * config.head_dim,
            };
            DecoderNorm::load(source, &format!("{name}.{part}"), width, config).map(Some)
        };
        Ok(Self {
            q_proj,
            k_proj,
            v_proj,
            o_proj,
            q_norm: norm("q_norm", config.n_heads)?,
            k_norm: norm("k_norm", config.n_kv_heads)?,
            scores: Scores {
                scale: config.attention_scale() as f32,
                soft_cap: config.attention_soft_cap.map(|cap| cap as f32),
            },
            n_heads: config.n_heads,
            n_kv_heads: config.n_kv_heads,
            head_dim: config.head_dim,
        })
    }

    /// Adds the attention's outputs for the normed residual stream to the residual stream `[batch, seq, hidden]`.
    pub(super) fn forward_residual(
        &self,
        hidden: Tensor<3>,
        norm: Option<&DecoderNorm>,
        residual: ResidualAdd<'_>,
        layer_idx: usize,
        context: &mut DecoderContext,
    ) -> Tensor<3> {
        let [queries, keys, values] = self.queries_keys_values(&hidden, norm, layer_idx, context);
        let queries = match context.query_scale() {
            None => queries,
            Some(scale) => queries * scale.clone(),
        };
        let (keys, values) = context.store(layer_idx, keys, values);
        let attended = attend(queries, keys, values, self.scores, layer_idx, context);
        self.o_proj.forward_residual(hidden, attended, residual)
    }

    /// Returns rotated queries and keys, and values, `[batch, heads, seq, head_dim]` each, of `[batch, seq, hidden]`.
    fn queries_keys_values(
        &self,
        hidden: &Tensor<3>,
        norm: Option<&DecoderNorm>,
        layer_idx: usize,
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
        if DecoderLinear::fuse_tokens(hidden, projections)
            && let Some(qkv) = self.as_kernel(norm, layer_idx, context)
            && let Some(rotated) = lac_kernels::queries_keys_values(hidden, &qkv)
        {
            return heads(rotated);
        }
        let rotation = context.rotation(layer_idx);
        let input = DecoderNorm::forward_optional(norm, hidden.clone());
        let [queries, keys, values] = DecoderLinear::forward_together(input, projections);
        let (queries, keys) = (normed(&self.q_norm, queries), normed(&self.k_norm, keys));
        let [queries, keys, values] = heads([queries, keys, values]);
        [rotate(queries, rotation), rotate(keys, rotation), values]
    }

    pub(super) fn as_kernel(
        &self,
        norm: Option<&DecoderNorm>,
        layer_idx: usize,
        context: &DecoderContext,
    ) -> Option<lac_kernels::QkvProjection> {
        let projections = [&self.q_proj, &self.k_proj, &self.v_proj];
        let rotation = context.rotation(layer_idx);
        let norms = match (&self.q_norm, &self.k_norm) {
            (Some(queries), Some(keys)) => Some([queries.as_kernel()?, keys.as_kernel()?]),
            _ => None,
        };
        lac_kernels::QkvProjection::new(
            DecoderNorm::optional_kernel(norm)?,
            DecoderLinear::tensors(projections)?.map(Tensor::clone),
            projections.map(|linear| linear.bias.as_ref().map(Param::val)),
            lac_kernels::QkvHeads {
                head_dim: self.head_dim,
                norms,
                rotation: rotation.map(|rotation| [rotation.cos.clone(), rotation.sin.clone()]),
            },
        )
    }

    /// Returns rotated keys, and values, of a normed state `[batch, seq, hidden]`: `[batch, kv_heads, seq, head_dim]`
    /// each.
    pub(super) fn keys_and_values(
        &self,
        input: Tensor<3>,
        layer_idx: usize,
        context: &DecoderContext,
    ) -> (Tensor<4>, Tensor<4>) {
        let [keys, values] = DecoderLinear::forward_together(input, [&self.k_proj, &self.v_proj]);
        let keys = self.kv_heads(normed(&self.k_norm, keys));
        let keys = rotate(keys, context.rotation(layer_idx));
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

/// Norms heads that lie side by side, `[batch, seq, heads * head_dim]`; without a norm, they stay as they are.
fn normed(norm: &Option<DecoderNorm>, heads: Tensor<3>) -> Tensor<3> {
    match norm {
        None => heads,
        Some(norm) => norm.forward_heads(heads),
    }
}

/// Attends with queries `[batch, heads, seq, head_dim]` over keys and values
/// `[batch, kv_heads, slots, head_dim]`; returns `[batch, seq, heads * head_dim]`.
fn attend(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    scores: Scores,
    layer_idx: usize,
    context: &mut DecoderContext,
) -> Tensor<3> {
    if let Some(attended) = context.attended(layer_idx)
        && [&queries, &keys, &values]
            .into_iter()
            .all(lac_kernels::has_cpu_kernel)
    {
        return lac_kernels::attend(queries, keys, values, attended, scores);
    }
    let [batch, n_heads, seq, head_dim] = queries.dims();
    let queries = queries * scores.scale;
    let attended = match &*context.blocks(layer_idx) {
        [block] => attend_block(queries, keys, values, scores.soft_cap, block),
        blocks => {
            let outputs = blocks
                .iter()
                .map(|block| {
                    let queries =
                        queries
                            .clone()
                            .narrow(2, block.queries.start, block.queries.len());
                    attend_block(
                        queries,
                        keys.clone(),
                        values.clone(),
                        scores.soft_cap,
                        block,
                    )
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
    soft_cap: Option<f32>,
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
    let scores = match soft_cap {
        None => scores,
        Some(cap) => soft_capped(scores, f64::from(cap)),
    };
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
