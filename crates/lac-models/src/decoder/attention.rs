//! Grouped-query attention without repeating keys, block by block over the queries.

use std::ops::Range;

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};
use lac_core::Pass;

use super::{DecoderContext, cast};
use crate::kernel;

/// Queries per block: bounds the scores held at once to `heads * 512 * keys`.
const QUERIES_PER_BLOCK: usize = 512;

/// A masked score. Finite, so that a padding query, all of whose keys are hidden, gives some
/// finite state instead of NaN.
const HIDDEN_SCORE: f32 = -1e30;

/// Some queries of a pass and the keys they can see.
#[derive(Clone, Debug)]
pub(super) struct QueryBlock {
    /// Slots of the pass.
    queries: Range<usize>,
    /// Slots of the cache.
    keys: Range<usize>,
    /// Where a key is hidden from a query, `[1 or batch, 1, 1, queries, keys]`; `None` when every
    /// query sees every key of the block.
    hidden: Option<Tensor<5, Bool>>,
}

impl QueryBlock {
    /// Cuts a pass into blocks.
    pub(super) fn of(pass: &Pass, window: Option<usize>, device: &Device) -> Vec<Self> {
        (0..pass.seq())
            .step_by(QUERIES_PER_BLOCK)
            .map(|start| {
                let queries = start..(start + QUERIES_PER_BLOCK).min(pass.seq());
                Self::new(pass, queries, window, device)
            })
            .collect()
    }

    fn new(pass: &Pass, queries: Range<usize>, window: Option<usize>, device: &Device) -> Self {
        let oldest_query = pass.past() + queries.start;
        let first_key = window.map_or(0, |window| (oldest_query + 1).saturating_sub(window));
        let keys = first_key..pass.past() + queries.end;
        // A single query sees all keys that are left, unless some are padding.
        let hidden = (queries.len() > 1 || pass.is_padded_left())
            .then(|| hidden_keys(pass, &queries, &keys, window, device));
        Self {
            queries,
            keys,
            hidden,
        }
    }
}

impl QueryBlock {
    /// The same block with further keys hidden from all its queries; `omitted` says of a slot
    /// whether it is one of them.
    pub(super) fn without(&self, omitted: impl Fn(usize) -> bool, device: &Device) -> Self {
        let n_keys = self.keys.len();
        let flags: Vec<bool> = self.keys.clone().map(omitted).collect();
        let flags = TensorData::new(flags, [1, 1, 1, 1, n_keys]);
        let omitted = Tensor::<5, Bool>::from_data(flags, device);
        let hidden = match &self.hidden {
            None => omitted.expand([1, 1, 1, self.queries.len(), n_keys]),
            Some(hidden) => hidden.clone().bool_or(omitted.expand(hidden.dims())),
        };
        Self {
            hidden: Some(hidden),
            ..self.clone()
        }
    }
}

/// Where a key is hidden from a query: it is newer, or older than the window, or padding, or in the hidden tail.
///
/// Slots serve in place of positions: left padding moves queries and keys of a row alike.
fn hidden_keys(
    pass: &Pass,
    queries: &Range<usize>,
    keys: &Range<usize>,
    window: Option<usize>,
    device: &Device,
) -> Tensor<5, Bool> {
    let arange =
        |start: usize, end: usize| Tensor::<1, Int>::arange(start as i64..end as i64, device);
    let shape = [1, 1, 1, queries.len(), keys.len()];
    let query = arange(pass.past() + queries.start, pass.past() + queries.end)
        .reshape([1, 1, 1, queries.len(), 1])
        .expand(shape);
    let key = arange(keys.start, keys.end)
        .reshape([1, 1, 1, 1, keys.len()])
        .expand(shape);
    let mut hidden = key.clone().greater(query.clone());
    if let Some(window) = window {
        hidden = hidden.bool_or(key.clone().lower_equal(query - window as i64));
    }
    let shape = [pass.batch(), 1, 1, queries.len(), keys.len()];
    let per_row = |slots: Vec<i64>| {
        let slots = TensorData::new(slots, [pass.batch(), 1, 1, 1, 1]);
        Tensor::<5, Int>::from_data(slots, device).expand(shape)
    };
    if pass.is_padded_left() {
        let padding = pass.padding().iter().map(|&slot| slot as i64).collect();
        let is_padding = key.clone().expand(shape).lower(per_row(padding));
        hidden = hidden.expand(shape).bool_or(is_padding);
    }
    if !pass.hidden_tail().is_empty() {
        let end = (pass.past() + pass.seq()) as i64;
        let tail = pass.hidden_tail().iter().map(|&n| end - n as i64).collect();
        let is_hidden = key.expand(shape).greater_equal(per_row(tail));
        hidden = hidden.expand(shape).bool_or(is_hidden);
    }
    hidden
}

/// Attends with queries `[batch, heads, seq, head_dim]` over keys and values
/// `[batch, kv_heads, slots, head_dim]`; returns `[batch, seq, heads * head_dim]`.
pub(super) fn attend(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    layer_idx: usize,
    context: &mut DecoderContext,
) -> Tensor<3> {
    if let Some(visible) = context.visible(layer_idx)
        && [&queries, &keys, &values]
            .into_iter()
            .all(kernel::has_kernels)
    {
        return kernel::attend(queries, keys, values, visible);
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

    // The query heads that share a key head stand as further rows of one product: no key is
    // copied per group.
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
