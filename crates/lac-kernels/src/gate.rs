//! The gate's arithmetic: norms, deltas, thresholds, flags and the choice of the state that is passed on, from one
//! read of each state. Source: arXiv 2505.14467, section 3.
//!
//! Long passes are spread over rayon's pool, not over [`threads`](crate::threads): the gate of a decoded token is too
//! little work for a second thread, and the gate of a prompt is few long tasks, which gain nothing from threads that
//! stay awake.

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape, bf16, f16};
use rayon::prelude::*;

use crate::value::Value;

/// What a record says of a token and a state: the reading, and what the next state is compared with.
///
/// A record is `[N_FIELDS, batch, seq]` in f32; all zeros before the embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `n_l`: the norm after the layer.
    Norm = 0,
    /// `Δ_l`: by how much the layer changed the norm.
    Delta = 1,
    /// `λ_l`: the threshold that the delta is compared with.
    Threshold = 2,
    /// 1 where the layer is active, 0 elsewhere.
    Active = 3,
    /// The norm of the state that the next layer receives.
    Carried = 4,
    /// The largest delta so far.
    Max = 5,
    /// The smallest delta so far.
    Min = 6,
    /// How many states the gate has seen, the embedding included.
    Seen = 7,
}

/// Number of fields of a record.
pub const N_FIELDS: usize = 8;

/// What the next layer's delta is compared with where a layer is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// The norm of the layer's output: the selected states are for another reader than the next layer.
    KeepOutput,
    /// The norm of the layer's input, which is passed on in place of the output.
    KeepInput,
}

/// Below this many values the work is done before a second thread has woken up.
const MIN_PARALLEL_VALUES: usize = 1 << 16;

/// Values per task at least, so that a task is long against the cost of handing it out.
const MIN_VALUES_PER_TASK: usize = 1 << 14;

/// Tasks per thread at most: enough for a thread that is held up to leave some of its share to the
/// others.
const MAX_TASKS_PER_THREAD: usize = 4;

/// Gates consecutive states `[states, batch, seq, hidden]` in f32, f16 or bf16 with any strides, after the record
/// `before` `[N_FIELDS, batch, seq]` in f32; returns the records `[states, N_FIELDS, batch, seq]` in f32.
pub fn gate(states: FlexTensor, before: FlexTensor, alpha: f32) -> FlexTensor {
    match states.dtype() {
        DType::F16 => gate_as::<f16>(states, before, alpha),
        DType::BF16 => gate_as::<bf16>(states, before, alpha),
        _ => gate_as::<f32>(states, before, alpha),
    }
}

/// Gates as [`gate`] does, and selects for each token the last active state, or `fallback` `[batch, seq, hidden]` if no
/// state is active; returns the records and the selected states.
pub fn gate_select(
    states: FlexTensor,
    before: FlexTensor,
    fallback: FlexTensor,
    alpha: f32,
    select: Select,
) -> [FlexTensor; 2] {
    match states.dtype() {
        DType::F16 => gate_select_as::<f16>(states, before, fallback, alpha, select),
        DType::BF16 => gate_select_as::<bf16>(states, before, fallback, alpha, select),
        _ => gate_select_as::<f32>(states, before, fallback, alpha, select),
    }
}

fn gate_as<E: Value>(states: FlexTensor, before: FlexTensor, alpha: f32) -> FlexTensor {
    let rows = Rows::new(states);
    let before = before.to_contiguous();
    let before = Before::new(before.storage());
    let values = E::storage(&rows.tensor);
    let mut norms = vec![0.0; rows.n_tokens() * rows.n_states];
    let measure = |first_token: usize, norms: &mut [f32]| {
        for (token, norms) in (first_token..).zip(norms.chunks_exact_mut(rows.n_states)) {
            for (state, norm) in norms.iter_mut().enumerate() {
                *norm = sum_squares(rows.row(values, state, token)).sqrt();
            }
        }
    };
    if rows.is_large() {
        norms
            .par_chunks_mut(rows.tokens_per_task() * rows.n_states)
            .enumerate()
            .for_each(|(task, norms)| measure(task * rows.tokens_per_task(), norms));
    } else {
        measure(0, &mut norms);
    }
    rows.records(&norms, &before, alpha, Select::KeepOutput)
}

fn gate_select_as<E: Value>(
    states: FlexTensor,
    before: FlexTensor,
    fallback: FlexTensor,
    alpha: f32,
    select: Select,
) -> [FlexTensor; 2] {
    let rows = Rows::new(states);
    let before = before.to_contiguous();
    let before = Before::new(before.storage());
    let values = E::storage(&rows.tensor);
    let mut norms = vec![0.0; rows.n_tokens() * rows.n_states];
    let shape = fallback.layout().shape().clone();

    // The fallback's own buffer is written to if it has no other owner: then only the rows of
    // active tokens are touched.
    let mut fallback = fallback;
    if !E::is_plain(&fallback) {
        fallback = fallback.to_contiguous();
    }
    let selected = match E::try_storage_mut(&mut fallback) {
        Some(selected) => {
            rows.select::<E>(values, &before, alpha, select, &mut norms, None, selected);
            fallback
        }
        None => {
            let mut selected = FlexTensor::empty(shape, fallback.dtype());
            if let Some(to) = E::try_storage_mut(&mut selected) {
                let source = Some(E::storage(&fallback));
                rows.select::<E>(values, &before, alpha, select, &mut norms, source, to);
            }
            selected
        }
    };
    [rows.records(&norms, &before, alpha, select), selected]
}

/// Where the rows of `[states, batch, seq, hidden]` lie in their storage.
struct Rows {
    tensor: FlexTensor,
    n_states: usize,
    batch: usize,
    seq: usize,
    width: usize,
}

impl Rows {
    /// Any strides will do as long as a token's own values lie side by side.
    fn new(states: FlexTensor) -> Self {
        let layout = states.layout();
        let is_usable = layout.shape()[3] <= 1 || layout.strides()[3] == 1;
        let tensor = if is_usable {
            states
        } else {
            states.to_contiguous()
        };
        let shape = tensor.layout().shape();
        let (n_states, batch, seq, width) = (shape[0], shape[1], shape[2], shape[3]);
        Self {
            tensor,
            n_states,
            batch,
            seq,
            width,
        }
    }

    fn n_tokens(&self) -> usize {
        self.batch * self.seq
    }

    fn records_shape(&self) -> Shape {
        Shape::from([self.n_states, N_FIELDS, self.batch, self.seq])
    }

    fn is_large(&self) -> bool {
        self.n_states * self.n_tokens() * self.width >= MIN_PARALLEL_VALUES
    }

    fn tokens_per_task(&self) -> usize {
        let n_tasks = rayon::current_num_threads() * MAX_TASKS_PER_THREAD;
        let at_least = MIN_VALUES_PER_TASK / (self.n_states * self.width).max(1);
        self.n_tokens().div_ceil(n_tasks).max(at_least).max(1)
    }

    fn row<'v, E>(&self, values: &'v [E], state: usize, token: usize) -> &'v [E] {
        let layout = self.tensor.layout();
        let strides = layout.strides();
        // Strides are signed: a flipped view counts backwards from its offset.
        let start = layout.start_offset() as isize
            + state as isize * strides[0]
            + (token / self.seq) as isize * strides[1]
            + (token % self.seq) as isize * strides[2];
        &values[start as usize..start as usize + self.width]
    }

    /// Measures every row and writes, per token, the last active state into `selected`. With a
    /// `source` the other tokens are copied from it; without one they are left as they are.
    #[allow(clippy::too_many_arguments)]
    fn select<E: Value>(
        &self,
        values: &[E],
        before: &Before<'_>,
        alpha: f32,
        select: Select,
        norms: &mut [f32],
        source: Option<&[E]>,
        selected: &mut [E],
    ) {
        if self.width == 0 {
            return;
        }
        let measure = |first_token: usize, norms: &mut [f32], selected: &mut [E]| {
            let tokens = norms
                .chunks_exact_mut(self.n_states)
                .zip(selected.chunks_exact_mut(self.width));
            for (token, (norms, selected)) in (first_token..).zip(tokens) {
                let mut gate = before.token(token);
                let mut chosen = None;
                for (state, norm) in norms.iter_mut().enumerate() {
                    let row = self.row(values, state, token);
                    *norm = sum_squares(row).sqrt();
                    if gate.step(*norm, alpha, select).active {
                        chosen = Some(row);
                    }
                }
                let own = token * self.width..(token + 1) * self.width;
                if let Some(row) = chosen.or(source.map(|source| &source[own])) {
                    selected.copy_from_slice(row);
                }
            }
        };
        if self.is_large() {
            let n_tokens = self.tokens_per_task();
            norms
                .par_chunks_mut(n_tokens * self.n_states)
                .zip(selected.par_chunks_mut(n_tokens * self.width))
                .enumerate()
                .for_each(|(task, (norms, selected))| measure(task * n_tokens, norms, selected));
        } else {
            measure(0, norms, selected);
        }
    }

    /// The records of all states from their norms, which lie state by state for each token.
    fn records(
        &self,
        norms: &[f32],
        before: &Before<'_>,
        alpha: f32,
        select: Select,
    ) -> FlexTensor {
        let n_tokens = self.n_tokens();
        let mut records = vec![0.0f32; self.n_states * N_FIELDS * n_tokens];
        let mut gates: Vec<TokenGate> = (0..n_tokens).map(|token| before.token(token)).collect();
        for (state, record) in records.chunks_exact_mut(N_FIELDS * n_tokens).enumerate() {
            let mut rows = record.chunks_exact_mut(n_tokens);
            let rows: [&mut [f32]; N_FIELDS] =
                std::array::from_fn(|_| rows.next().unwrap_or_default());
            for (token, gate) in gates.iter_mut().enumerate() {
                let norm = norms[token * self.n_states + state];
                let verdict = gate.step(norm, alpha, select);
                rows[Field::Norm as usize][token] = norm;
                rows[Field::Delta as usize][token] = verdict.delta;
                rows[Field::Threshold as usize][token] = verdict.threshold;
                rows[Field::Active as usize][token] = f32::from(u8::from(verdict.active));
                rows[Field::Carried as usize][token] = gate.carried;
                rows[Field::Max as usize][token] = gate.max;
                rows[Field::Min as usize][token] = gate.min;
                rows[Field::Seen as usize][token] = gate.seen;
            }
        }
        FlexTensor::new(
            Bytes::from_elems(records),
            Layout::contiguous(self.records_shape()),
            DType::F32,
        )
    }
}

/// The record that the first state follows, `[N_FIELDS, batch, seq]`.
struct Before<'a> {
    rows: &'a [f32],
    n_tokens: usize,
}

impl<'a> Before<'a> {
    fn new(rows: &'a [f32]) -> Self {
        let n_tokens = rows.len() / N_FIELDS;
        Self { rows, n_tokens }
    }

    fn token(&self, token: usize) -> TokenGate {
        let get = |row: Field| self.rows[row as usize * self.n_tokens + token];
        TokenGate {
            carried: get(Field::Carried),
            max: get(Field::Max),
            min: get(Field::Min),
            seen: get(Field::Seen),
        }
    }
}

/// One token's gate.
struct TokenGate {
    carried: f32,
    max: f32,
    min: f32,
    seen: f32,
}

/// What the gate says of one state of a token.
struct Verdict {
    delta: f32,
    threshold: f32,
    active: bool,
}

impl TokenGate {
    fn step(&mut self, norm: f32, alpha: f32, select: Select) -> Verdict {
        if self.seen == 0.0 {
            // The embedding: nothing to compare with, and what the first layer receives.
            self.carried = norm;
            self.seen = 1.0;
            return Verdict {
                delta: 0.0,
                threshold: 0.0,
                active: false,
            };
        }
        let delta = norm - self.carried;
        let threshold = if self.seen > 1.0 {
            (self.max - self.min) * alpha
        } else {
            (self.max, self.min) = (delta, delta);
            0.0
        };
        let active = delta >= threshold;
        self.max = self.max.max(delta);
        self.min = self.min.min(delta);
        self.seen += 1.0;
        if active || select != Select::KeepInput {
            self.carried = norm;
        }
        Verdict {
            delta,
            threshold,
            active,
        }
    }
}

/// The sum of a row's squares, accumulated in f32.
fn sum_squares<E: Value>(row: &[E]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has just said that it has AVX-512.
        return unsafe { sum_squares_avx512(row) };
    } else if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has just said that it has AVX2.
        return unsafe { sum_squares_avx2(row) };
    }
    sum_squares_lanes(row)
}

/// The lanes below compiled for registers four times as wide; the same operations in the same
/// order, so the same sums.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn sum_squares_avx512<E: Value>(row: &[E]) -> f32 {
    sum_squares_lanes(row)
}

/// The same, twice as wide.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_squares_avx2<E: Value>(row: &[E]) -> f32 {
    sum_squares_lanes(row)
}

/// Independent lanes let the compiler vectorise what it may not reorder by itself, and keep the
/// rounding error of long rows small.
#[inline(always)]
fn sum_squares_lanes<E: Value>(row: &[E]) -> f32 {
    const LANES: usize = 64;
    let mut lanes = [0.0f32; LANES];
    let (blocks, rest) = row.as_chunks::<LANES>();
    for block in blocks {
        prefetch_after(block);
        for (lane, &value) in lanes.iter_mut().zip(block) {
            let value = value.magnitude();
            *lane += value * value;
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        let value = value.magnitude();
        *lane += value * value;
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Asks for the values a page after a block: with two threads, the processor's own prefetching
/// leaves a fifth of the memory's bandwidth unused.
#[inline(always)]
fn prefetch_after<E, const N: usize>(block: &[E; N]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const PAGE: usize = 4096;
        const CACHE_LINE: usize = 64;
        let start = block.as_ptr().cast::<i8>();
        for offset in (0..size_of::<[E; N]>()).step_by(CACHE_LINE) {
            // SAFETY: every x86-64 processor has the instruction, and it reads nothing: an address
            // beyond the tensor is passed over.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(PAGE + offset)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = block;
}
