//! Matrices and vectors on their way from files to a device, and how far loading has come.

use std::fmt;

use burn::tensor::{DType, Device, Tensor, TensorData};
use lac_kernels::quantized::{BlockFormat, QuantizedMatrix};

use super::dtype::WeightDtype;
use super::load_config::{LoadConfig, Quantization};
use crate::decoder::{DecoderMatrix, HeadKind, QuantizedWeight};

/// How much of a checkpoint has been loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadProgress {
    /// Bytes of weights read so far.
    pub bytes_read: u64,
    /// Bytes of all weights in the files.
    pub bytes_total: u64,
}

/// Quantising on the way: to what, and which matrices are the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantizing {
    pub(crate) quantization: Quantization,
    pub(crate) head: HeadKind,
}

impl Quantizing {
    /// Returns the format that a matrix is quantised to; `None` where its rows are no whole number of blocks, and for routers:
    /// their few weights decide which experts a token goes through, and llama.cpp too keeps them as they are.
    pub(crate) fn format(self, name: &str, [_, width]: [usize; 2]) -> Option<BlockFormat> {
        if name.ends_with(".mlp.gate.weight") || name.ends_with(".shared_expert_gate.weight") {
            return None;
        }
        let is_head = match self.head {
            HeadKind::Tied => name == "model.embed_tokens.weight",
            HeadKind::Untied => name == "lm_head.weight",
        };
        let format = if is_head {
            self.quantization.head_format()
        } else {
            self.quantization.layer_format()
        };
        width.is_multiple_of(format.block_len()).then_some(format)
    }
}

/// Puts weights on one device, and reports each.
pub(crate) struct Loading<'a> {
    pub(crate) config: LoadConfig,
    pub(crate) quantizing: Option<Quantizing>,
    /// Whether quantised matrices stay in their blocks.
    pub(crate) keeps_blocks: bool,
    device: Device,
    progress: LoadProgress,
    report: &'a mut dyn FnMut(LoadProgress),
}

impl<'a> Loading<'a> {
    /// Begins to load files. `report` is called after each tensor.
    pub(crate) fn new(
        config: LoadConfig,
        quantizing: Option<Quantizing>,
        device: &Device,
        report: &'a mut dyn FnMut(LoadProgress),
    ) -> Self {
        let number = Tensor::<1>::zeros([1], (device, DType::F32));
        let is_cpu = lac_kernels::has_cpu_kernel(&number);
        Self {
            config,
            quantizing,
            keeps_blocks: is_cpu && config.dtype == WeightDtype::F32,
            device: device.clone(),
            progress: LoadProgress {
                bytes_read: 0,
                bytes_total: 0,
            },
            report,
        }
    }

    /// Says how many bytes of weights the files have.
    pub(crate) fn of_bytes(mut self, bytes_total: u64) -> Self {
        self.progress.bytes_total = bytes_total;
        self
    }

    /// Puts a tensor on the device that has `n_bytes` in its file.
    pub(crate) fn tensor<const D: usize>(&mut self, data: TensorData, n_bytes: u64) -> Tensor<D> {
        self.advance(n_bytes);
        Tensor::from_data(data, (&self.device, self.config.dtype.to_burn()))
    }

    /// Keeps a quantised matrix that has `n_bytes` in its file, or puts its values on the device.
    pub(crate) fn quantized(&mut self, matrix: QuantizedMatrix, n_bytes: u64) -> DecoderMatrix {
        if self.keeps_blocks {
            self.advance(n_bytes);
            let activations = self.config.activations;
            return DecoderMatrix::Quantized(QuantizedWeight {
                matrix,
                activations,
            });
        }
        let shape @ [n_rows, _] = matrix.dims();
        let data = TensorData::new(matrix.dequantize_rows(0..n_rows), shape);
        self.tensor::<2>(data, n_bytes).into()
    }

    fn advance(&mut self, n_bytes: u64) {
        self.progress.bytes_read += n_bytes;
        (self.report)(self.progress);
    }
}

impl fmt::Debug for Loading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loading")
            .field("config", &self.config)
            .field("quantizing", &self.quantizing)
            .field("device", &self.device)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}
