//! A decoder's operations with quantised weights: threads over rows of weights.

use std::borrow::Cow;
use std::ops::Range;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor, bf16, f16};

use super::activations::Activations;
use super::exact;
use super::fast::{self, Inputs, MIN_TILE_INPUTS, WeightRows};
use super::instructions::Instructions;
use super::matrix::QuantizedMatrix;
use crate::cpu::linear_map::{add_bias, by_outs, rows, tasks_by_outs, with_sums};
use crate::cpu::numeric::{gelu_times, silu_times};
use crate::cpu::storage::{contiguous, primitive, values};
use crate::settings::Activation;
use crate::value::Value;

/// Rows of weights in a task are a multiple of this where there are few inputs, and of a tile where there are many.
const FEW_INPUTS_TILE: usize = 12;

/// The rows of a tile.
const TILE: usize = 32;

/// Multiplies `[rows, in]` by each of the weights `[out, in]` and adds the weight's bias `[out]`, if it has one; returns
/// `[rows, out]` for each weight, in the input's data type. [`Activations`] says what is computed; a row's bits depend
/// neither on the other rows nor on the number of threads.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use lac_kernels::quantized::{Activations, BlockFormat, QuantizedMatrix, linear};
///
/// let weight = QuantizedMatrix::quantize(BlockFormat::Q8_0, [2, 32], &[0.5; 64])?;
/// let input = Tensor::<2>::ones([1, 32], &Device::flex());
/// let [output] = linear(input, [&weight], [None], Activations::Int8);
/// let output = output.into_data().try_to_vec::<f32>().unwrap();
/// assert!(output.iter().all(|value| (value - 16.0).abs() < 0.01));
/// # Ok::<(), lac_kernels::quantized::QuantizedError>(())
/// ```
///
/// # Panics
/// If [`has_cpu_kernel`](crate::has_cpu_kernel) is false for a tensor, if a bias has another data type than the input, or
/// if the input, a weight and its bias do not fit each other.
pub fn linear<const N: usize>(
    input: Tensor<2>,
    weights: [&QuantizedMatrix; N],
    biases: [Option<Tensor<1>>; N],
    activations: Activations,
) -> [Tensor<2>; N] {
    let input = contiguous(primitive(input));
    let biases = biases.map(|bias| bias.map(|bias| contiguous(primitive(bias))));
    match input.dtype() {
        DType::BF16 => linear_of::<bf16, N>(&input, weights, biases, activations),
        DType::F16 => linear_of::<f16, N>(&input, weights, biases, activations),
        _ => linear_of::<f32, N>(&input, weights, biases, activations),
    }
    .map(Tensor::from_primitive::<Flex>)
}

/// Returns `activation(gate · x) * (up · x)` of `[rows, in]`, with weights `[out, in]`, as `[rows, out]` (SwiGLU and
/// GEGLU, Shazeer 2020, arXiv 2002.05202); see [`linear`].
///
/// # Panics
/// As [`linear`].
pub fn gated_linear(
    input: Tensor<2>,
    gate: &QuantizedMatrix,
    up: &QuantizedMatrix,
    activation: Activation,
    activations: Activations,
) -> Tensor<2> {
    let (input, weights) = (contiguous(primitive(input)), [gate, up]);
    Tensor::from_primitive::<Flex>(match input.dtype() {
        DType::BF16 => gated_linear_of::<bf16>(&input, weights, activation, activations),
        DType::F16 => gated_linear_of::<f16>(&input, weights, activation, activations),
        _ => gated_linear_of::<f32>(&input, weights, activation, activations),
    })
}

fn linear_of<E: Value, const N: usize>(
    input: &FlexTensor,
    weights: [&QuantizedMatrix; N],
    biases: [Option<FlexTensor>; N],
    activations: Activations,
) -> [FlexTensor; N] {
    let inputs = AllInputs::new::<E>(input, &weights, activations);
    let n_outs = weights.map(|weight| weight.dims()[0]);
    let biases: [Option<&[E]>; N] = std::array::from_fn(|idx| {
        let bias: &[E] = values(biases[idx].as_ref()?);
        assert_eq!(bias.len(), n_outs[idx], "a bias for each row of its weight");
        Some(bias)
    });
    let tasks = tasks_by_outs(&n_outs, inputs.n_rows, inputs.width, inputs.tile());
    by_outs(inputs.n_rows, n_outs, tasks, |task, block: &mut [E]| {
        with_sums(block, |sums| {
            inputs.multiply(weights[task.weight_idx], task.outs.clone(), sums);
            if let Some(bias) = biases[task.weight_idx] {
                add_bias(&bias[task.outs.clone()], sums);
            }
        });
    })
}

fn gated_linear_of<E: Value>(
    input: &FlexTensor,
    [gate, up]: [&QuantizedMatrix; 2],
    activation: Activation,
    activations: Activations,
) -> FlexTensor {
    let inputs = AllInputs::new::<E>(input, &[gate, up], activations);
    assert_eq!(gate.dims(), up.dims(), "gate and up of the same shape");
    let n_outs = [gate.dims()[0]];
    // A task reads the same rows of both weights.
    let tasks = tasks_by_outs(&n_outs, inputs.n_rows, 2 * inputs.width, inputs.tile());
    let [output] = by_outs(inputs.n_rows, n_outs, tasks, |task, block: &mut [E]| {
        with_sums(block, |gates| {
            let mut ups = vec![0.0; gates.len()];
            inputs.multiply(gate, task.outs.clone(), gates);
            inputs.multiply(up, task.outs.clone(), &mut ups);
            match activation {
                Activation::Silu => silu_times::<E>(gates, &ups),
                Activation::GeluTanh => gelu_times::<E>(gates, &ups),
            }
        });
    });
    output
}

/// Inputs in every form that some weights take.
struct AllInputs<'a> {
    n_rows: usize,
    width: usize,
    /// `[rows, in]`; empty where no weight takes them so.
    exact: Cow<'a, [f32]>,
    /// Rounded, for groups of 16 and of 32.
    rounded: [Option<Inputs>; 2],
    activations: Activations,
}

impl<'a> AllInputs<'a> {
    fn new<E: Value>(
        input: &'a FlexTensor,
        weights: &[&QuantizedMatrix],
        activations: Activations,
    ) -> Self {
        let input = rows::<E>(input);
        let width = input.width();
        let mut inputs = Self {
            n_rows: input.len(),
            width,
            exact: Cow::Borrowed(&[]),
            rounded: [None, None],
            activations,
        };
        for weight in weights {
            assert_eq!(weight.dims()[1], width, "weights as wide as the input");
            match inputs.group_len(weight) {
                None if inputs.exact.is_empty() => inputs.exact = E::widen_all(input.values()),
                None => {}
                Some(group) => {
                    inputs.rounded[place(group)].get_or_insert_with(|| {
                        Inputs::new::<E>(Instructions::best(), group, input.values(), width)
                    });
                }
            }
        }
        inputs
    }

    /// The size of a weight's groups, for which inputs are rounded; `None` if it takes them as they are.
    fn group_len(&self, weight: &QuantizedMatrix) -> Option<usize> {
        match self.activations {
            Activations::Exact => None,
            Activations::Int8 => fast::group_len(weight.format()),
        }
    }

    /// What the rows of a task are a multiple of.
    fn tile(&self) -> usize {
        if self.n_rows >= MIN_TILE_INPUTS {
            TILE
        } else {
            FEW_INPUTS_TILE
        }
    }

    /// Multiplies some rows of a weight: `[inputs, rows]`.
    fn multiply(&self, weight: &QuantizedMatrix, rows: Range<usize>, sums: &mut [f32]) {
        let rounded = self
            .group_len(weight)
            .and_then(|group| self.rounded[place(group)].as_ref());
        match rounded {
            None => exact::products(weight, rows, &self.exact, sums),
            Some(inputs) => {
                let stride = rows.len();
                let weights = WeightRows::new(weight.row_bytes(rows), stride);
                let format = weight.format();
                fast::products(format, Instructions::best(), weights, inputs, sums, stride);
            }
        }
    }
}

fn place(group: usize) -> usize {
    usize::from(group == 32)
}
