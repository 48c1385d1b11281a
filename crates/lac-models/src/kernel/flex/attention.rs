//! Grouped-query attention.

use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::super::Visible;
use super::dot::{Dot, ReadFrom, Rows};
use super::numeric::{add_weighted, softmax_weights};
use super::pool;
use super::{contiguous, row_start, with_whole_rows};

/// Below this many products of a query's value with a key's the work is done before a second thread has
/// woken up.
const MIN_PARALLEL_PRODUCTS: usize = 1 << 16;

/// Attends with queries `[batch, heads, seq, head_dim]` over keys and values
/// `[batch, kv_heads, slots, head_dim]`: `[batch, seq, heads * head_dim]`.
///
/// Scores, their softmax and the weighted sum are in f32, whatever the data type.
pub(super) fn attend<E: Dot>(
    queries: FlexTensor,
    keys: FlexTensor,
    values: FlexTensor,
    visible: &Visible,
) -> FlexTensor {
    let (queries, keys, values) = (
        contiguous(queries),
        with_whole_rows(keys),
        with_whole_rows(values),
    );
    let shape = queries.layout().shape();
    let (batch, n_heads, seq, head_dim) = (shape[0], shape[1], shape[2], shape[3]);
    let n_kv_heads = keys.layout().shape()[1];
    let group = n_heads / n_kv_heads;
    let scale = (head_dim as f64).powf(-0.5) as f32;
    let all_queries = super::values::<E>(&queries);
    let (all_keys, all_values) = (E::storage(&keys), E::storage(&values));
    let (key_stride, value_stride) = (slot_stride(&keys), slot_stride(&values));

    // A task is the query heads of one query that share a key head; its outputs `[group, head_dim]` lie side
    // by side in `[batch, seq, heads, head_dim]`.
    let attend = |task: usize, outputs: &mut [E]| {
        let kv_head = task % n_kv_heads;
        let (row, query) = (task / n_kv_heads / seq, task / n_kv_heads % seq);
        let slots = visible.slots(row, query);
        let from = ((row * n_heads + kv_head * group) * seq + query) * head_dim;
        let queries = Rows::new(&all_queries[from..], seq * head_dim, head_dim, group);
        let from = row_start(&keys, &[row, kv_head, slots.start]);
        let keys = Rows::new(&all_keys[from..], key_stride, head_dim, slots.len());
        let values = &all_values[row_start(&values, &[row, kv_head, slots.start])..];

        let mut scores = vec![0.0; group * slots.len()];
        E::products(keys, queries, ReadFrom::Cache, &mut scores, slots.len());
        let mut sums = vec![0.0; head_dim];
        let heads = scores.chunks_exact_mut(slots.len());
        for (weights, outputs) in heads.zip(outputs.chunks_exact_mut(head_dim)) {
            let total = softmax_weights::<E>(weights, scale);
            sums.fill(0.0);
            add_weighted(values, value_stride, weights, &mut sums);
            for (output, sum) in outputs.iter_mut().zip(&sums) {
                *output = E::narrow(sum / total);
            }
        }
    };
    let mut outputs = vec![E::default(); batch * seq * n_heads * head_dim];
    let n_products = outputs.len() * (visible.past + seq);
    if n_products < MIN_PARALLEL_PRODUCTS {
        let tasks = outputs.chunks_exact_mut(group * head_dim).enumerate();
        tasks.for_each(|(task, outputs)| attend(task, outputs));
    } else {
        pool::for_each_chunk(&mut outputs, group * head_dim, attend);
    }
    E::tensor(outputs, Shape::from([batch, seq, n_heads * head_dim]))
}

/// Values between a slot's row and the next one's.
fn slot_stride(cache: &FlexTensor) -> usize {
    cache.layout().strides()[2].unsigned_abs()
}
