//! Linear maps: each task streams some rows of a weight past all inputs.

use std::ops::Range;

use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::dot::{Dot, ReadFrom, Rows};
use super::numeric::silu_times;
use super::pool;
use super::value::Value;
use super::{contiguous, values};

/// Below this many multiplications the work is done before a second thread has woken up.
const MIN_PARALLEL_PRODUCTS: usize = 1 << 18;

/// A task takes this part of what is left, for each thread: a thread that is held up leaves some of its share
/// to the others, and the last tasks are so small that all threads end at about the same time.
const SHARE_OF_REST: usize = 2;

/// Rows of a weight in a task are a multiple of this, which is what a tile of dot products takes at once.
const TILE: usize = 12;

/// Rows of a weight in a task at most where there are many inputs: so few that they stay in a core's cache,
/// beside the sums, while the inputs pass.
const MAX_CACHED_OUTS: usize = 96;

/// Bytes of inputs at most that pass a task's rows of a weight at a time, for the same reason.
const MAX_CACHED_BYTES: usize = 1 << 17;

/// From this many inputs on, more time goes into products than into reading the weight.
const MANY_INPUTS: usize = 16;

/// Multiplies `[rows, in]` by each weight `[out, in]` and adds its bias `[out]`, where there are biases.
pub(super) fn linear<E: Dot, const N: usize>(
    input: FlexTensor,
    weights: [FlexTensor; N],
    biases: Option<[FlexTensor; N]>,
) -> [FlexTensor; N] {
    let input = contiguous(input);
    let inputs = rows::<E>(&input);
    let weights = weights.map(contiguous);
    let weights: [Rows<'_, E>; N] = std::array::from_fn(|idx| rows(&weights[idx]));
    let biases = biases.map(|biases| biases.map(contiguous));
    let biases: Option<[&[E]; N]> = biases
        .as_ref()
        .map(|biases| std::array::from_fn(|idx| values(&biases[idx])));

    let tasks = tasks(&weights, inputs.len(), inputs.len() * inputs.width());
    let from = read_from(&weights);
    let blocks: Vec<Vec<E>> = pool::map(tasks.len(), |idx| {
        let task = &tasks[idx];
        let weight = weights[task.weight_idx].slice(task.outs.clone());
        let sums = products(weight, inputs, from);
        let Some(biases) = biases else {
            return sums.into_iter().map(E::narrow).collect();
        };
        let bias = &biases[task.weight_idx][task.outs.clone()];
        sums.chunks_exact(bias.len())
            .flat_map(|sums| sums.iter().zip(bias))
            .map(|(&sum, bias)| E::narrow(E::round(sum) + bias.widen()))
            .collect()
    });

    let mut parts = tasks.into_iter().zip(blocks).peekable();
    std::array::from_fn(|idx| {
        let own = std::iter::from_fn(|| {
            let part = parts.next_if(|(task, _)| task.weight_idx == idx);
            part.map(|(task, block)| (task.outs, block))
        });
        assemble(own.collect(), inputs.len(), weights[idx].len())
    })
}

/// `silu(gate · x) * (up · x)`; what stands between the two steps is rounded as two operations would.
pub(super) fn swiglu<E: Dot>(input: FlexTensor, gate: FlexTensor, up: FlexTensor) -> FlexTensor {
    let (input, gate, up) = (contiguous(input), contiguous(gate), contiguous(up));
    let inputs = rows::<E>(&input);
    let (gate, up) = (rows::<E>(&gate), rows::<E>(&up));
    let n_outs = gate.len();

    // A task reads the same rows of both weights.
    let tasks = tasks(&[gate], inputs.len(), 2 * inputs.len() * inputs.width());
    let from = read_from(&[gate, up]);
    let blocks: Vec<Vec<E>> = pool::map(tasks.len(), |idx| {
        let task = &tasks[idx];
        let mut gates = products(gate.slice(task.outs.clone()), inputs, from);
        let ups = products(up.slice(task.outs.clone()), inputs, from);
        silu_times::<E>(&mut gates, &ups);
        gates.iter().map(|&value| E::narrow(value)).collect()
    });
    let blocks = tasks.into_iter().map(|task| task.outs).zip(blocks);
    assemble(blocks.collect(), inputs.len(), n_outs)
}

/// A model of many weights of this size together does not stay in a cache.
const MIN_MEMORY_BYTES: usize = 1 << 20;

fn read_from<E>(weights: &[Rows<'_, E>]) -> ReadFrom {
    let n_values: usize = weights
        .iter()
        .map(|weight| weight.len() * weight.width())
        .sum();
    if n_values * size_of::<E>() < MIN_MEMORY_BYTES {
        ReadFrom::Cache
    } else {
        ReadFrom::Memory
    }
}

/// Some rows of a weight.
struct Task {
    weight_idx: usize,
    outs: Range<usize>,
}

/// Cuts weights into tasks, weight after weight. `n_products` multiplications are made for each of their rows.
fn tasks<E>(weights: &[Rows<'_, E>], n_inputs: usize, n_products: usize) -> Vec<Task> {
    let n_outs: usize = weights.iter().map(Rows::len).sum();
    let n_threads = rayon::current_num_threads();
    let is_parallel = n_threads > 1 && n_outs * n_products >= MIN_PARALLEL_PRODUCTS;
    let max_outs = if n_inputs > MANY_INPUTS {
        MAX_CACHED_OUTS
    } else {
        usize::MAX
    };
    let mut tasks = Vec::new();
    let mut n_left = n_outs;
    for (weight_idx, weight) in weights.iter().enumerate() {
        let mut start = 0;
        while start < weight.len() {
            let share = if is_parallel {
                n_left
                    .div_ceil(SHARE_OF_REST * n_threads)
                    .next_multiple_of(TILE)
            } else {
                n_left
            };
            let outs = start..(start + share.min(max_outs)).min(weight.len());
            n_left -= outs.len();
            start = outs.end;
            tasks.push(Task { weight_idx, outs });
        }
    }
    tasks
}

/// Dot products of some rows of a weight with all inputs, `[inputs, rows]`.
fn products<E: Dot>(weight: Rows<'_, E>, inputs: Rows<'_, E>, from: ReadFrom) -> Vec<f32> {
    let mut sums = vec![0.0; inputs.len() * weight.len()];
    // Inputs that do not stay in the cache are taken some at a time: the weight's rows, which are few in a
    // task, pass once more for each.
    let bytes = (inputs.width() * size_of::<E>()).max(1);
    let n_cached = (MAX_CACHED_BYTES / bytes)
        .next_multiple_of(4)
        .max(MANY_INPUTS);
    for start in (0..inputs.len()).step_by(n_cached) {
        let end = (start + n_cached).min(inputs.len());
        let sums = &mut sums[start * weight.len()..end * weight.len()];
        E::products(weight, inputs.slice(start..end), from, sums, weight.len());
    }
    sums
}

/// Puts blocks `[rows, some outs]` side by side: `[rows, outs]`.
fn assemble<E: Value>(
    blocks: Vec<(Range<usize>, Vec<E>)>,
    n_rows: usize,
    n_outs: usize,
) -> FlexTensor {
    let shape = Shape::from([n_rows, n_outs]);
    let outputs = if n_rows == 1 {
        blocks.into_iter().flat_map(|(_, block)| block).collect()
    } else {
        let mut outputs = Vec::with_capacity(n_rows * n_outs);
        for row in 0..n_rows {
            for (outs, block) in &blocks {
                outputs.extend_from_slice(&block[row * outs.len()..][..outs.len()]);
            }
        }
        outputs
    };
    E::tensor(outputs, shape)
}

/// The rows of a contiguous matrix.
fn rows<E: Value>(matrix: &FlexTensor) -> Rows<'_, E> {
    let shape = matrix.layout().shape();
    let (n_rows, width) = (shape[0], shape[1]);
    Rows::new(values(matrix), width, width, n_rows)
}
