//! Tensors on their way from files to a device, and how far loading has come.

use std::fmt;

use burn::tensor::{Device, Tensor, TensorData};

use super::dtype::WeightDtype;

/// How much of a checkpoint has been loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadProgress {
    /// Bytes of weights read so far.
    pub bytes_read: u64,
    /// Bytes of all weights in the files.
    pub bytes_total: u64,
}

/// Puts tensors of one data type on one device, and reports each.
pub(crate) struct Loading<'a> {
    pub(crate) dtype: WeightDtype,
    device: Device,
    progress: LoadProgress,
    report: &'a mut dyn FnMut(LoadProgress),
}

impl<'a> Loading<'a> {
    /// Begins to load files with so many bytes of weights. `report` is called after each tensor.
    pub(crate) fn new(
        dtype: WeightDtype,
        device: &Device,
        bytes_total: u64,
        report: &'a mut dyn FnMut(LoadProgress),
    ) -> Self {
        Self {
            dtype,
            device: device.clone(),
            progress: LoadProgress {
                bytes_read: 0,
                bytes_total,
            },
            report,
        }
    }

    /// Puts a tensor on the device that has `n_bytes` in its file.
    pub(crate) fn tensor<const D: usize>(&mut self, data: TensorData, n_bytes: u64) -> Tensor<D> {
        self.progress.bytes_read += n_bytes;
        (self.report)(self.progress);
        Tensor::from_data(data, (&self.device, self.dtype.to_burn()))
    }
}

impl fmt::Debug for Loading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loading")
            .field("dtype", &self.dtype)
            .field("device", &self.device)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}
