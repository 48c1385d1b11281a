//! Grouped-query attention.

use std::ops::Range;

use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::dot::{Dot, ReadFrom, Rows};
use super::numeric::{add_weighted, soft_cap, softmax_weights};
use super::storage::with_whole_rows;
use crate::settings::Scores;
use crate::slots::AttendedSlots;
use crate::threads;
use crate::value::Value;

/// Below this many products of a query's value with a key's the work is done before a second thread has
/// woken up.
const MIN_PARALLEL_PRODUCTS: usize = 1 << 16;

/// A query takes at least as long as this many products.
const MIN_UNIT_PRODUCTS: usize = 1 << 10;

/// Tasks per thread: later queries see more keys, so the work is not equal.
const TASKS_PER_THREAD: usize = 16;

/// Queries of a sequence that are taken together, as many as a tile of dot products takes.
const QUERIES: usize = 4;

/// Attends with queries `[batch, heads, seq, head_dim]` over keys and values
/// `[batch, kv_heads, slots, head_dim]`: `[batch, seq, heads * head_dim]`.
///
/// Scores, their softmax and the weighted sum are in f32, whatever the data type.
pub(super) fn attend<E: Dot>(
    queries: FlexTensor,
    keys: FlexTensor,
    values: FlexTensor,
    slots: &AttendedSlots,
    scores: Scores,
) -> FlexTensor {
    let (queries, keys, values) = (
        with_whole_rows(queries),
        with_whole_rows(keys),
        with_whole_rows(values),
    );
    let shape = queries.layout().shape();
    let (batch, n_heads, seq, head_dim) = (shape[0], shape[1], shape[2], shape[3]);
    let attention = Attention {
        queries: StridedRows::of(&queries),
        keys: StridedRows::of(&keys),
        values: StridedRows::of(&values),
        n_heads,
        n_kv_heads: keys.layout().shape()[1],
        seq,
        head_dim,
        scores,
    };
    let unit_len = attention.unit_len();
    let mut outputs: Vec<E> = vec![E::default(); batch * seq * n_heads * head_dim];
    let n_units = outputs.len() / unit_len;
    let n_products = n_units * (unit_len * (slots.past + seq)).max(MIN_UNIT_PRODUCTS);
    if n_products < MIN_PARALLEL_PRODUCTS {
        attention.attend(0, |row, query| slots.of_query(row, query), &mut outputs);
    } else {
        let n_tasks = TASKS_PER_THREAD * threads::n_threads();
        // Whole blocks of queries, where there is more than one for each task.
        let block = QUERIES * attention.n_kv_heads;
        let units_per_task = match n_units.div_ceil(n_tasks) {
            units if units > block => units.next_multiple_of(block),
            units => units,
        };
        threads::for_each_chunk(&mut outputs, units_per_task * unit_len, |task, outputs| {
            let first = task * units_per_task;
            attention.attend(first, |row, query| slots.of_query(row, query), outputs);
        });
    }
    E::tensor(outputs, Shape::from([batch, seq, n_heads * head_dim]))
}

/// StridedRows `[batch, heads, slots, head_dim]`, wherever they lie.
#[derive(Clone, Copy)]
pub(super) struct StridedRows<'a, E> {
    values: &'a [E],
    start: isize,
    /// Of batch, heads and slots. Signed: a flipped view counts backwards from its offset.
    strides: [isize; 3],
}

impl<'a, E: Value> StridedRows<'a, E> {
    /// Of a tensor whose rows are whole. Axes of length 1 broadcast.
    pub(super) fn of(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        Self {
            values: E::storage(tensor),
            start: layout.start_offset() as isize,
            strides: std::array::from_fn(|axis| match layout.shape()[axis] {
                1 => 0,
                _ => layout.strides()[axis],
            }),
        }
    }

    /// Of values `[batch, seq, heads * head_dim]`.
    pub(super) fn of_tokens(values: &'a [E], seq: usize, n_heads: usize, head_dim: usize) -> Self {
        let token = (n_heads * head_dim) as isize;
        Self {
            values,
            start: 0,
            strides: [seq as isize * token, head_dim as isize, token],
        }
    }

    /// Values between two rows that follow each other along an axis.
    fn stride(&self, axis: usize) -> usize {
        self.strides[axis].unsigned_abs()
    }

    /// The values from a row on.
    pub(super) fn from(&self, [batch, head, slot]: [usize; 3]) -> &'a [E] {
        let [batch_stride, head_stride, slot_stride] = self.strides;
        let offset = batch as isize * batch_stride
            + head as isize * head_stride
            + slot as isize * slot_stride;
        &self.values[(self.start + offset) as usize..]
    }
}

/// Queries, and the keys and values that they attend to.
pub(super) struct Attention<'a, E> {
    pub(super) queries: StridedRows<'a, E>,
    pub(super) keys: StridedRows<'a, E>,
    pub(super) values: StridedRows<'a, E>,
    pub(super) n_heads: usize,
    pub(super) n_kv_heads: usize,
    pub(super) seq: usize,
    pub(super) head_dim: usize,
    pub(super) scores: Scores,
}

impl<E: Dot> Attention<'_, E> {
    /// Outputs of a unit of work, the query heads of one query that share a key head: `[group, head_dim]`, side by
    /// side in `[batch, seq, heads, head_dim]`.
    fn unit_len(&self) -> usize {
        self.n_heads / self.n_kv_heads * self.head_dim
    }

    /// Attends in all units that there are outputs for, from the first one on. `slots` says which slots a query of
    /// a batch row sees.
    pub(super) fn attend(
        &self,
        first: usize,
        slots: impl Fn(usize, usize) -> Range<usize>,
        outputs: &mut [E],
    ) {
        let mut scratch = Scratch {
            scores: Vec::new(),
            sums: vec![0.0; self.head_dim],
        };
        let unit_len = self.unit_len();
        let block_len = QUERIES * self.n_heads * self.head_dim;
        let mut unit = first;
        let mut rest = outputs;
        while !rest.is_empty() {
            let (token, kv_head) = (unit / self.n_kv_heads, unit % self.n_kv_heads);
            let (row, query) = (token / self.seq, token % self.seq);
            let is_block = kv_head == 0 && query + QUERIES <= self.seq && rest.len() >= block_len;
            let n_values = if is_block { block_len } else { unit_len };
            let (outputs, others) = std::mem::take(&mut rest).split_at_mut(n_values);
            if is_block {
                let slots = std::array::from_fn(|idx| slots(row, query + idx));
                self.attend_block([row, query], slots, &mut scratch, outputs);
            } else {
                let slots = slots(row, query);
                self.attend_unit([row, query, kv_head], slots, &mut scratch, outputs);
            }
            unit += n_values / unit_len;
            rest = others;
        }
    }

    /// One unit: its heads meet a key together.
    fn attend_unit(
        &self,
        [row, query, kv_head]: [usize; 3],
        slots: Range<usize>,
        scratch: &mut Scratch,
        outputs: &mut [E],
    ) {
        let group = self.n_heads / self.n_kv_heads;
        let queries = self.queries.from([row, kv_head * group, query]);
        let queries = Rows::new(queries, self.queries.stride(1), self.head_dim, group);
        let scores = scratch.scores(group * slots.len());
        self.score([row, kv_head], slots.clone(), queries, scores);
        let heads = outputs.chunks_exact_mut(self.head_dim);
        for (head, outputs) in heads.enumerate() {
            let own = head * slots.len()..(head + 1) * slots.len();
            self.mix([row, kv_head, slots.start], scratch, own, outputs);
        }
    }

    /// All heads of some queries that follow each other: the queries meet a key together if any of them sees it. A
    /// score that a query has no use for costs less than to take the queries one by one.
    fn attend_block(
        &self,
        [row, query]: [usize; 2],
        slots: [Range<usize>; QUERIES],
        scratch: &mut Scratch,
        outputs: &mut [E],
    ) {
        let (start, end) = slots.iter().fold((usize::MAX, 0), |(start, end), slots| {
            (start.min(slots.start), end.max(slots.end))
        });
        let n_slots = end - start;
        for head in 0..self.n_heads {
            let kv_head = head / (self.n_heads / self.n_kv_heads);
            let queries = self.queries.from([row, head, query]);
            let queries = Rows::new(queries, self.queries.stride(2), self.head_dim, QUERIES);
            let scores = scratch.scores(QUERIES * n_slots);
            self.score([row, kv_head], start..end, queries, scores);
            for (idx, slots) in slots.iter().enumerate() {
                let first = idx * n_slots;
                let own = first + slots.start - start..first + slots.end - start;
                let place = (idx * self.n_heads + head) * self.head_dim;
                let outputs = &mut outputs[place..][..self.head_dim];
                self.mix([row, kv_head, slots.start], scratch, own, outputs);
            }
        }
    }

    /// Products of queries with the keys in some slots, `[queries, slots]`.
    fn score(
        &self,
        [row, kv_head]: [usize; 2],
        slots: Range<usize>,
        queries: Rows<'_, E>,
        scores: &mut [f32],
    ) {
        let keys = self.keys.from([row, kv_head, slots.start]);
        let keys = Rows::new(keys, self.keys.stride(2), self.head_dim, slots.len());
        E::products(keys, queries, ReadFrom::Cache, scores, slots.len());
    }

    /// Values from a row on, mixed by the softmax of some scores.
    fn mix(
        &self,
        first: [usize; 3],
        scratch: &mut Scratch,
        scores: Range<usize>,
        outputs: &mut [E],
    ) {
        let (weights, sums) = (&mut scratch.scores[scores], &mut scratch.sums);
        let scale = match self.scores.soft_cap {
            None => self.scores.scale,
            Some(cap) => {
                soft_cap::<E>(weights, self.scores.scale, cap);
                1.0
            }
        };
        let total = softmax_weights::<E>(weights, scale);
        sums.fill(0.0);
        let values = self.values.from(first);
        add_weighted(values, self.values.stride(2), weights, sums);
        for (output, sum) in outputs.iter_mut().zip(sums) {
            *output = E::narrow(*sum / total);
        }
    }
}

/// What is computed of one query after another.
struct Scratch {
    scores: Vec<f32>,
    /// `[head_dim]`.
    sums: Vec<f32>,
}

impl Scratch {
    fn scores(&mut self, n_scores: usize) -> &mut [f32] {
        self.scores.resize(n_scores, 0.0);
        &mut self.scores
    }
}
