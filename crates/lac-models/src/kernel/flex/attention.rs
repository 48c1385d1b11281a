//! Grouped-query attention.

use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::super::Visible;
use super::dot::{Dot, ReadFrom, Rows};
use super::numeric::{add_weighted, softmax_weights};
use super::pool;
use super::{row_start, with_whole_rows};

/// Below this many products of a query's value with a key's the work is done before a second thread has
/// woken up.
const MIN_PARALLEL_PRODUCTS: usize = 1 << 16;

/// A query takes at least as long as this many products.
const MIN_UNIT_PRODUCTS: usize = 1 << 10;

/// Tasks per thread: later queries see more keys, so the work is not equal.
const TASKS_PER_THREAD: usize = 16;

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
        with_whole_rows(queries),
        with_whole_rows(keys),
        with_whole_rows(values),
    );
    let shape = queries.layout().shape();
    let (batch, n_heads, seq, head_dim) = (shape[0], shape[1], shape[2], shape[3]);
    let n_kv_heads = keys.layout().shape()[1];
    let group = n_heads / n_kv_heads;
    let scale = (head_dim as f64).powf(-0.5) as f32;
    let (all_queries, all_keys, all_values) =
        (E::storage(&queries), E::storage(&keys), E::storage(&values));
    let head_stride = stride(&queries, 1);
    let (key_stride, value_stride) = (stride(&keys, 2), stride(&values, 2));

    // A unit of work is the query heads of one query that share a key head; its outputs `[group, head_dim]` lie
    // side by side in `[batch, seq, heads, head_dim]`.
    let unit_len = group * head_dim;
    let attend = |first: usize, outputs: &mut [E]| {
        let mut scores = Vec::new();
        let mut sums = vec![0.0; head_dim];
        for (unit, outputs) in (first..).zip(outputs.chunks_exact_mut(unit_len)) {
            let kv_head = unit % n_kv_heads;
            let (row, query) = (unit / n_kv_heads / seq, unit / n_kv_heads % seq);
            let slots = visible.slots(row, query);
            let from = row_start(&queries, &[row, kv_head * group, query]);
            let queries = Rows::new(&all_queries[from..], head_stride, head_dim, group);
            let from = row_start(&keys, &[row, kv_head, slots.start]);
            let keys = Rows::new(&all_keys[from..], key_stride, head_dim, slots.len());
            let values = &all_values[row_start(&values, &[row, kv_head, slots.start])..];

            scores.resize(group * slots.len(), 0.0);
            E::products(keys, queries, ReadFrom::Cache, &mut scores, slots.len());
            let heads = scores.chunks_exact_mut(slots.len());
            for (weights, outputs) in heads.zip(outputs.chunks_exact_mut(head_dim)) {
                let total = softmax_weights::<E>(weights, scale);
                sums.fill(0.0);
                add_weighted(values, value_stride, weights, &mut sums);
                for (output, sum) in outputs.iter_mut().zip(&sums) {
                    *output = E::narrow(sum / total);
                }
            }
        }
    };
    let mut outputs = vec![E::default(); batch * seq * n_heads * head_dim];
    let n_units = outputs.len() / unit_len;
    let n_products = n_units * (unit_len * (visible.past + seq)).max(MIN_UNIT_PRODUCTS);
    if n_products < MIN_PARALLEL_PRODUCTS {
        attend(0, &mut outputs);
    } else {
        let n_tasks = TASKS_PER_THREAD * rayon::current_num_threads();
        let units_per_task = n_units.div_ceil(n_tasks);
        pool::for_each_chunk(&mut outputs, units_per_task * unit_len, |task, outputs| {
            attend(task * units_per_task, outputs);
        });
    }
    E::tensor(outputs, Shape::from([batch, seq, n_heads * head_dim]))
}

/// Values between two rows that follow each other along an axis.
fn stride(tensor: &FlexTensor, axis: usize) -> usize {
    tensor.layout().strides()[axis].unsigned_abs()
}
