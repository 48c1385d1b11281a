//! The decoder's matrices: tensors, or quantised matrices that are multiplied from their blocks. What is done with a
//! matrix is decided here, and nowhere else.

use std::ops::Range;

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    Param,
};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use lac_kernels::quantized::{self, Activations, QuantizedMatrix};
use lac_kernels::{Activation, has_cpu_kernel};

/// A matrix `[out, in]`: the weight of a linear map, or the embedding.
#[derive(Clone, Debug)]
pub enum DecoderMatrix {
    /// A tensor, which is a parameter of the module.
    Tensor(Param<Tensor<2>>),
    /// Blocks, as files of quantised weights have them. They are no parameter: burn neither trains nor records them, and
    /// they stay in the host's memory.
    Quantized(QuantizedWeight),
}

/// A quantised matrix, and what its products do with activations.
#[derive(Clone, Debug)]
pub struct QuantizedWeight {
    /// `[out, in]`. A matrix that was not quantised, beside others that were, is one of plain numbers.
    pub matrix: QuantizedMatrix,
    /// The same for all matrices of a decoder.
    pub activations: Activations,
}

impl From<Tensor<2>> for DecoderMatrix {
    fn from(tensor: Tensor<2>) -> Self {
        Self::Tensor(Param::from_tensor(tensor))
    }
}

impl DecoderMatrix {
    /// Returns `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Tensor(tensor) => tensor.dims(),
            Self::Quantized(weight) => weight.matrix.dims(),
        }
    }

    /// Returns the tensor; `None` for a quantised matrix.
    pub fn tensor(&self) -> Option<&Tensor<2>> {
        match self {
            Self::Tensor(tensor) => Some(tensor),
            Self::Quantized(_) => None,
        }
    }

    /// Returns the quantised matrix; `None` for a tensor.
    pub fn quantized(&self) -> Option<&QuantizedWeight> {
        match self {
            Self::Tensor(_) => None,
            Self::Quantized(weight) => Some(weight),
        }
    }

    /// Returns some of the rows: a copy in a storage of its own, or blocks that are shared.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        match self {
            Self::Tensor(tensor) => copied(tensor.val().slice([rows])).into(),
            Self::Quantized(weight) => Self::Quantized(QuantizedWeight {
                matrix: weight.matrix.rows(rows),
                activations: weight.activations,
            }),
        }
    }

    /// Returns some of the rows without a copy, for a product.
    pub(super) fn part(&self, rows: Range<usize>) -> Self {
        match self {
            Self::Tensor(tensor) => tensor.val().slice([rows]).into(),
            Self::Quantized(_) => self.rows(rows),
        }
    }

    /// Copies matrices of one width into one, below each other.
    ///
    /// # Panics
    /// If there is none, some are tensors and others are not, or blocks have several formats.
    pub(crate) fn below_each_other(matrices: &[Self]) -> Self {
        let tensors: Option<Vec<Tensor<2>>> = matrices
            .iter()
            .map(|matrix| matrix.tensor().cloned())
            .collect();
        if let Some(tensors) = tensors {
            // Under autodiff, a parameter of its own and not a function of those that are put together.
            return Tensor::cat(tensors, 0).detach().into();
        }
        let blocks: Option<Vec<&QuantizedWeight>> = matrices.iter().map(Self::quantized).collect();
        let blocks = blocks.expect("all are tensors, or all are blocks");
        let matrix = QuantizedMatrix::below_each_other(blocks.iter().map(|part| &part.matrix));
        Self::Quantized(QuantizedWeight {
            matrix,
            activations: blocks[0].activations,
        })
    }

    /// Looks up the rows of token ids `[batch, seq]`: `[batch, seq, in]`.
    pub(super) fn look_up(&self, token_ids: Tensor<2, Int>) -> Tensor<3> {
        let matrix = match self {
            Self::Tensor(tensor) => {
                return burn::tensor::module::embedding(tensor.val(), token_ids);
            }
            Self::Quantized(weight) => &weight.matrix,
        };
        let ([batch, seq], [_, width]) = (token_ids.dims(), matrix.dims());
        let device = token_ids.device();
        let mut values = vec![0.0; batch * seq * width];
        let ids = token_ids.into_data();
        for (id, row) in ids.iter::<i64>().zip(values.chunks_exact_mut(width)) {
            matrix.dequantize_row(id as usize, row);
        }
        let data = TensorData::new(values, [batch, seq, width]);
        Tensor::from_data(data, (&device, DType::F32))
    }

    /// Returns whether the CPU kernels take the matrix.
    pub(super) fn is_of_kernels(&self) -> bool {
        self.tensor().is_none_or(has_cpu_kernel)
    }

    /// Returns the matrix as a tensor on a device.
    pub(super) fn on(&self, device: &Device) -> Tensor<2> {
        match self {
            Self::Tensor(tensor) => tensor.val(),
            Self::Quantized(weight) => {
                let shape @ [n_rows, _] = weight.matrix.dims();
                let data = TensorData::new(weight.matrix.dequantize_rows(0..n_rows), shape);
                Tensor::from_data(data, (device, DType::F32))
            }
        }
    }
}

/// Returns the tensors, where all matrices are tensors.
pub(super) fn tensors<const N: usize>(matrices: [&DecoderMatrix; N]) -> Option<[&Tensor<2>; N]> {
    all(matrices.map(DecoderMatrix::tensor))
}

/// Multiplies `[rows, in]` by weights `[out, in]` and adds their biases: `[rows, out]` each.
pub(super) fn project<const N: usize>(
    input: Tensor<2>,
    weights: [&DecoderMatrix; N],
    biases: [Option<Tensor<1>>; N],
) -> [Tensor<2>; N] {
    match of_kernels(&input, weights) {
        Some(Kernels::Tensors(tensors)) => {
            return lac_kernels::linear(input, tensors.map(Tensor::clone), biases);
        }
        Some(Kernels::Quantized(matrices, activations)) => {
            return quantized::linear(input, matrices, biases, activations);
        }
        None => {}
    }
    let mut biases = biases.into_iter();
    weights.map(|weight| {
        // Rank 2 and a transposed view: no backend copies the weight for that.
        let output = input.clone().matmul(weight.on(&input.device()).transpose());
        match biases.next().flatten() {
            Some(bias) => output + bias.unsqueeze(),
            None => output,
        }
    })
}

/// Returns `activation(gate · x) * (up · x)` of `[rows, in]`, with weights `[out, in]`, as `[rows, out]`; `None` where no
/// kernel takes the matrices.
pub(super) fn gated(
    input: &Tensor<2>,
    gate_and_up: [&DecoderMatrix; 2],
    activation: Activation,
) -> Option<Tensor<2>> {
    Some(match of_kernels(input, gate_and_up)? {
        Kernels::Tensors([gate, up]) => {
            lac_kernels::gated_linear(input.clone(), gate.clone(), up.clone(), activation)
        }
        Kernels::Quantized([gate, up], activations) => {
            quantized::gated_linear(input.clone(), gate, up, activation, activations)
        }
    })
}

/// Matrices of one input as the kernels take them.
enum Kernels<'a, const N: usize> {
    Tensors([&'a Tensor<2>; N]),
    Quantized([&'a QuantizedMatrix; N], Activations),
}

/// Returns the matrices where there is a kernel for all of them together.
fn of_kernels<'a, const N: usize>(
    input: &Tensor<2>,
    weights: [&'a DecoderMatrix; N],
) -> Option<Kernels<'a, N>> {
    has_cpu_kernel(input).then_some(())?;
    if let Some(tensors) = tensors(weights) {
        let have_kernels = tensors.iter().all(|tensor| has_cpu_kernel(tensor));
        return have_kernels.then_some(Kernels::Tensors(tensors));
    }
    let weights = all(weights.map(DecoderMatrix::quantized))?;
    let activations = weights.first()?.activations;
    let are_alike = weights
        .iter()
        .all(|weight| weight.activations == activations);
    are_alike.then(|| Kernels::Quantized(weights.map(|weight| &weight.matrix), activations))
}

fn all<T, const N: usize>(parts: [Option<&T>; N]) -> Option<[&T; N]> {
    parts.iter().all(Option::is_some).then_some(())?;
    Some(parts.map(|part| part.expect("all of them are there")))
}

/// Copies a part of a tensor into a storage of its own.
pub(super) fn copied<const D: usize>(part: Tensor<D>) -> Tensor<D> {
    let (dtype, device) = (part.dtype(), part.device());
    Tensor::from_data(part.into_data(), (&device, dtype))
}

/// A tensor is the module's parameter under the matrix's own name; blocks are none.
impl Module for DecoderMatrix {
    fn collect_devices(&self, devices: Devices) -> Devices {
        match self {
            Self::Tensor(tensor) => tensor.collect_devices(devices),
            Self::Quantized(_) => devices,
        }
    }

    fn fork(self, device: &Device) -> Self {
        self.map_tensor(|tensor| tensor.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.map_tensor(|tensor| tensor.to_device(device))
    }

    fn train(self) -> Self {
        self.map_tensor(Module::train)
    }

    fn valid(&self) -> Self {
        self.clone().map_tensor(|tensor| tensor.valid())
    }

    fn materialize(self) -> Self {
        self.map_tensor(Module::materialize)
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        if let Self::Tensor(tensor) = self {
            tensor.visit(visitor);
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        self.map_tensor(|tensor| Module::map(tensor, mapper))
    }
}

impl DecoderMatrix {
    fn map_tensor(self, map: impl FnOnce(Param<Tensor<2>>) -> Param<Tensor<2>>) -> Self {
        match self {
            Self::Tensor(tensor) => Self::Tensor(map(tensor)),
            quantized @ Self::Quantized(_) => quantized,
        }
    }
}

impl ModuleDisplayDefault for DecoderMatrix {
    fn content(&self, content: Content) -> Option<Content> {
        match self {
            Self::Tensor(tensor) => tensor.content(content),
            Self::Quantized(weight) => {
                let (format, dims) = (weight.matrix.format(), weight.matrix.dims());
                let text = format!("QuantizedMatrix {{format: {format}, shape: {dims:?}}}");
                content.add_formatted(&text).optional()
            }
        }
    }
}

impl ModuleDisplay for DecoderMatrix {}
