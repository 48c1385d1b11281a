//! Linear maps. Each task streams some rows of a weight past all inputs, or, where the weights stay in every
//! core's cache, some inputs past whole weights.

use std::ops::Range;

use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::dot::{Dot, ReadFrom, Rows};
use super::numeric::{gelu_times, silu_times};
use super::storage::{contiguous, values};
use crate::settings::Activation;
use crate::threads;
use crate::value::Value;

/// Below this many multiplications the work is done before a second thread has woken up.
const MIN_PARALLEL_PRODUCTS: usize = 1 << 18;

/// A task takes this part of what is left, for each thread: a thread that is held up leaves some of its share
/// to the others, and the last tasks are so small that all threads end at about the same time.
const SHARE_OF_REST: usize = 2;

/// Rows of a weight in a task are a multiple of this, which is what a tile of dot products takes at once.
pub(super) const TILE: usize = 12;

/// Rows of a weight in a task at most where there are many inputs: so few that they stay in a core's cache,
/// beside the sums, while the inputs pass.
const MAX_CACHED_OUTS: usize = 96;

/// Inputs of a task, where it has all outputs of some, are a multiple of this, for a tile's sake too.
const INPUT_TILE: usize = 4;

/// Inputs of such a task at most: few enough that what is computed of them stays in the cache.
const MAX_CACHED_INPUTS: usize = 64;

/// Bytes of inputs at most that pass a task's rows of a weight at a time.
const MAX_CACHED_BYTES: usize = 1 << 17;

/// From this many inputs on, more time goes into products than into reading the weight.
const MANY_INPUTS: usize = 16;

/// Multiplies `[rows, in]` by each weight `[out, in]` and adds its bias `[out]`, where it has one.
pub(super) fn linear<E: Dot, const N: usize>(
    input: FlexTensor,
    weights: [FlexTensor; N],
    biases: [Option<FlexTensor>; N],
) -> [FlexTensor; N] {
    let input = contiguous(input);
    let inputs = rows::<E>(&input);
    let weights = weights.map(contiguous);
    let weights: [Rows<'_, E>; N] = std::array::from_fn(|idx| rows(&weights[idx]));
    let biases = biases.map(|bias| bias.map(contiguous));
    let biases: [Option<&[E]>; N] = std::array::from_fn(|idx| biases[idx].as_ref().map(values));

    let from = read_from(&weights);
    let n_outs = weights.map(|weight| weight.len());
    let width = inputs.width();
    let n_rows = inputs.len();
    if let Some(tasks) = tasks_by_inputs(&weights, n_rows, 1) {
        let shapes = n_outs.map(|n_outs| Shape::from([n_rows, n_outs]));
        return by_inputs(n_rows, shapes, tasks, |task, outputs: [&mut [E]; N]| {
            let inputs = inputs.slice(task);
            for (idx, outputs) in outputs.into_iter().enumerate() {
                project(weights[idx], biases[idx], inputs, from, outputs);
            }
        });
    }
    let tasks = tasks_by_outs(&n_outs, n_rows, width, TILE);
    by_outs(n_rows, n_outs, tasks, |task, block: &mut [E]| {
        let weight = weights[task.weight_idx].slice(task.outs.clone());
        let bias = biases[task.weight_idx].map(|bias| &bias[task.outs.clone()]);
        project(weight, bias, inputs, from, block);
    })
}

/// `activation(gate · x) * (up · x)`; what stands between the two steps is rounded as two operations would.
pub(super) fn gated_linear<E: Dot>(
    input: FlexTensor,
    gate: FlexTensor,
    up: FlexTensor,
    activation: Activation,
) -> FlexTensor {
    let (input, gate, up) = (contiguous(input), contiguous(gate), contiguous(up));
    let inputs = rows::<E>(&input);
    let (gate, up) = (rows::<E>(&gate), rows::<E>(&up));
    let from = read_from(&[gate, up]);
    let n_rows = inputs.len();
    let n_outs = [gate.len()];
    if let Some(tasks) = tasks_by_inputs(&[gate, up], n_rows, 1) {
        let shapes = n_outs.map(|n_outs| Shape::from([n_rows, n_outs]));
        let [output] = by_inputs(n_rows, shapes, tasks, |task, [outputs]: [&mut [E]; 1]| {
            gated([gate, up], activation, inputs.slice(task), from, outputs);
        });
        return output;
    }
    // A task reads the same rows of both weights.
    let tasks = tasks_by_outs(&n_outs, n_rows, 2 * inputs.width(), TILE);
    let [output] = by_outs(n_rows, n_outs, tasks, |task, block: &mut [E]| {
        let weights = [gate, up].map(|weight| weight.slice(task.outs.clone()));
        gated(weights, activation, inputs, from, block);
    });
    output
}

/// Multiplies some inputs by some rows of a weight and adds their biases: `[inputs, rows]`.
pub(super) fn project<E: Dot>(
    weight: Rows<'_, E>,
    bias: Option<&[E]>,
    inputs: Rows<'_, E>,
    from: ReadFrom,
    outputs: &mut [E],
) {
    with_sums(outputs, |sums| {
        products(weight, inputs, from, sums);
        if let Some(bias) = bias {
            add_bias(bias, sums);
        }
    });
}

/// Adds a bias to the sums `[inputs, rows]`, which are rounded first, as an operation before would.
pub(crate) fn add_bias<E: Value>(bias: &[E], sums: &mut [f32]) {
    for sums in sums.chunks_exact_mut(bias.len()) {
        for (sum, bias) in sums.iter_mut().zip(bias) {
            *sum = E::round(*sum) + bias.widen();
        }
    }
}

/// `activation(gate · x) * (up · x)` of some inputs and some rows of both weights: `[inputs, rows]`.
pub(super) fn gated<E: Dot>(
    [gate, up]: [Rows<'_, E>; 2],
    activation: Activation,
    inputs: Rows<'_, E>,
    from: ReadFrom,
    outputs: &mut [E],
) {
    with_sums(outputs, |gates| {
        let mut ups = vec![0.0; gates.len()];
        products(gate, inputs, from, gates);
        products(up, inputs, from, &mut ups);
        match activation {
            Activation::Silu => silu_times::<E>(gates, &ups),
            Activation::GeluTanh => gelu_times::<E>(gates, &ups),
        }
    });
}

/// Lets `work` write sums, and rounds them where f32 is not the data type.
pub(crate) fn with_sums<E: Value>(outputs: &mut [E], work: impl FnOnce(&mut [f32])) {
    if let Some(outputs) = E::as_f32_mut(outputs) {
        return work(outputs);
    }
    let mut sums = vec![0.0; outputs.len()];
    work(&mut sums);
    for (output, sum) in outputs.iter_mut().zip(sums) {
        *output = E::narrow(sum);
    }
}

/// A model of many weights of this size together does not stay in a cache.
const MIN_MEMORY_BYTES: usize = 1 << 20;

fn read_from<E>(weights: &[Rows<'_, E>]) -> ReadFrom {
    where_bytes_lie(n_values(weights) * size_of::<E>())
}

/// Where weights of this many bytes together are read from.
pub(super) fn where_bytes_lie(n_bytes: usize) -> ReadFrom {
    if n_bytes < MIN_MEMORY_BYTES {
        ReadFrom::Cache
    } else {
        ReadFrom::Memory
    }
}

fn n_values<E>(weights: &[Rows<'_, E>]) -> usize {
    let n_values = |weight: &Rows<'_, E>| weight.len() * weight.width();
    weights.iter().map(n_values).sum()
}

/// Some rows of a weight.
pub(crate) struct Task {
    pub(crate) weight_idx: usize,
    pub(crate) outs: Range<usize>,
}

/// Cuts weights of `n_outs` rows into tasks, weight after weight, so that what comes from memory is read once.
/// `width` multiplications are made for each row and input; rows of a task are a multiple of `tile`.
pub(crate) fn tasks_by_outs(
    n_outs: &[usize],
    n_inputs: usize,
    width: usize,
    tile: usize,
) -> Vec<Task> {
    let mut n_left: usize = n_outs.iter().sum();
    let n_threads = n_threads(n_left * n_inputs * width);
    let max_outs = if n_inputs > MANY_INPUTS {
        MAX_CACHED_OUTS
    } else {
        usize::MAX
    };
    let mut tasks = Vec::new();
    for (weight_idx, &n_outs) in n_outs.iter().enumerate() {
        let mut start = 0;
        while start < n_outs {
            let share = share(n_left, n_threads, tile).min(max_outs);
            let outs = start..(start + share).min(n_outs);
            n_left -= outs.len();
            start = outs.end;
            tasks.push(Task { weight_idx, outs });
        }
    }
    tasks
}

/// Whether [`tasks_by_inputs`] cuts the work, asked with the number of the weights' values and bytes.
pub(super) fn is_cut_by_inputs(
    n_values: usize,
    n_bytes: usize,
    n_units: usize,
    unit: usize,
) -> bool {
    let n_threads = n_threads(n_units * unit * n_values);
    let tile = INPUT_TILE.div_ceil(unit);
    let has_enough = n_threads == 1 || n_units >= SHARE_OF_REST * n_threads * tile;
    has_enough && unit <= MAX_CACHED_INPUTS && where_bytes_lie(n_bytes) == ReadFrom::Cache
}

/// Cuts inputs, which come `unit` together, into tasks that have all outputs of theirs, side by side. `None` where the
/// weights come from memory, where there are too few inputs for all threads, or too many in a unit.
pub(super) fn tasks_by_inputs<E>(
    weights: &[Rows<'_, E>],
    n_units: usize,
    unit: usize,
) -> Option<Vec<Range<usize>>> {
    let n_values = n_values(weights);
    is_cut_by_inputs(n_values, n_values * size_of::<E>(), n_units, unit).then_some(())?;
    let n_threads = n_threads(n_units * unit * n_values);
    let tile = INPUT_TILE.div_ceil(unit);
    let max = MAX_CACHED_INPUTS / unit;
    let mut tasks = Vec::new();
    let mut start = 0;
    while start < n_units {
        let share = share(n_units - start, n_threads, tile).min(max);
        tasks.push(start..start + share);
        start += share;
    }
    Some(tasks)
}

fn n_threads(n_products: usize) -> usize {
    if n_products >= MIN_PARALLEL_PRODUCTS {
        threads::n_threads()
    } else {
        1
    }
}

/// What a task takes of what is left.
fn share(n_left: usize, n_threads: usize, tile: usize) -> usize {
    match n_threads {
        1 => n_left,
        _ => n_left
            .div_ceil(SHARE_OF_REST * n_threads)
            .next_multiple_of(tile)
            .min(n_left),
    }
}

/// Calls `work` for some inputs with the places of their outputs, an equal part of each of the shapes for each input.
pub(super) fn by_inputs<E: Value, const N: usize>(
    n_inputs: usize,
    shapes: [Shape; N],
    tasks: Vec<Range<usize>>,
    work: impl Fn(Range<usize>, [&mut [E]; N]) + Sync,
) -> [FlexTensor; N] {
    let mut outputs = shapes.map(|shape| (vec![E::default(); shape.num_elements()], shape));
    let mut rest = outputs.each_mut().map(|(values, _)| &mut values[..]);
    let n_outs = rest.each_ref().map(|values| values.len() / n_inputs);
    let parts = tasks.into_iter().map(|task| {
        let own: [&mut [E]; N] = std::array::from_fn(|idx| {
            let n_values = task.len() * n_outs[idx];
            let (own, others) = std::mem::take(&mut rest[idx]).split_at_mut(n_values);
            rest[idx] = others;
            own
        });
        (task, own)
    });
    threads::for_each_part(parts.collect(), |(task, outputs)| work(task, outputs));
    outputs.map(|(values, shape)| E::tensor(values, shape))
}

/// Calls `work` with the place of a block `[rows, some outs]` for each task: `[rows, outs]` for each weight.
pub(crate) fn by_outs<E: Value, const N: usize>(
    n_inputs: usize,
    n_outs: [usize; N],
    tasks: Vec<Task>,
    work: impl Fn(&Task, &mut [E]) + Sync,
) -> [FlexTensor; N] {
    let blocks = threads::map(tasks.len(), |idx| {
        let task = &tasks[idx];
        let mut block = vec![E::default(); n_inputs * task.outs.len()];
        work(task, &mut block);
        block
    });
    let mut parts = tasks.into_iter().zip(blocks).peekable();
    std::array::from_fn(|idx| {
        let own = std::iter::from_fn(|| {
            let part = parts.next_if(|(task, _)| task.weight_idx == idx);
            part.map(|(task, block)| (task.outs, block))
        });
        assemble(own.collect(), n_inputs, n_outs[idx])
    })
}

/// Dot products of some rows of a weight with some inputs, `[inputs, rows]`.
pub(super) fn products<E: Dot>(
    weight: Rows<'_, E>,
    inputs: Rows<'_, E>,
    from: ReadFrom,
    sums: &mut [f32],
) {
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
}

/// Rows of outputs in a task of [`assemble`].
const ROWS_PER_TASK: usize = 8;

/// Puts blocks `[rows, some outs]` side by side: `[rows, outs]`.
fn assemble<E: Value>(
    blocks: Vec<(Range<usize>, Vec<E>)>,
    n_rows: usize,
    n_outs: usize,
) -> FlexTensor {
    let shape = Shape::from([n_rows, n_outs]);
    if n_rows == 1 {
        let outputs = blocks.into_iter().flat_map(|(_, block)| block).collect();
        return E::tensor(outputs, shape);
    }
    let mut outputs = vec![E::default(); n_rows * n_outs];
    threads::for_each_chunk(&mut outputs, ROWS_PER_TASK * n_outs, |task, outputs| {
        for (outs, block) in &blocks {
            let rows = block.chunks_exact(outs.len()).skip(task * ROWS_PER_TASK);
            for (output, row) in outputs.chunks_exact_mut(n_outs).zip(rows) {
                output[outs.clone()].copy_from_slice(row);
            }
        }
    });
    E::tensor(outputs, shape)
}

/// The rows of a contiguous matrix.
pub(crate) fn rows<E: Value>(matrix: &FlexTensor) -> Rows<'_, E> {
    let shape = matrix.layout().shape();
    let (n_rows, width) = (shape[0], shape[1]);
    Rows::new(values(matrix), width, width, n_rows)
}
