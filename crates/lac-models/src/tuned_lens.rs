//! Tuned lenses and steering vectors from safetensors files.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use lac_core::lens::{AffineMap, TunedLens};

use crate::checkpoint::{CheckpointError, TensorFile};

/// Reads the maps of a tuned lens (Belrose et al., arXiv 2303.08112), in the names that the package `tuned-lens` has in its
/// `params.pt`, saved as safetensors: `0.weight` `[hidden, hidden]` and `0.bias` `[hidden]` for the state that layer 0
/// receives, and so on for every layer. Biases may be missing. Of a file's other tensors nothing is read.
///
/// # Errors
/// Those of [`TensorFile`], with the tensor that is missing or has another shape than the model makes it.
pub fn read_tuned_lens(
    path: &Path,
    n_layers: usize,
    hidden_size: usize,
    device: &Device,
) -> Result<TunedLens, CheckpointError> {
    let file = TensorFile::open(path)?;
    let maps = (0..n_layers).map(|layer_idx| {
        let shape = [hidden_size, hidden_size];
        let weight = file.read(&format!("{layer_idx}.weight"), Some(&shape))?;
        let name = format!("{layer_idx}.bias");
        let bias = if file.names().contains(&name.as_str()) {
            file.read(&name, Some(&[hidden_size]))?.values
        } else {
            vec![0.0; hidden_size]
        };
        Ok(AffineMap {
            weight: Tensor::from_data(TensorData::new(weight.values, shape), device),
            bias: Tensor::from_data(TensorData::new(bias, [hidden_size]), device),
        })
    });
    Ok(TunedLens::new(maps.collect::<Result<_, _>>()?))
}

/// Reads a vector of `hidden_size` values: the only tensor of its file, whatever its name and the number of its axes.
///
/// # Errors
/// Those of [`TensorFile`]; [`CheckpointError::Malformed`] for a file with another number of tensors, and
/// [`CheckpointError::WrongShape`] for another number of values.
pub fn read_vector(
    path: &Path,
    hidden_size: usize,
    device: &Device,
) -> Result<Tensor<1>, CheckpointError> {
    let file = TensorFile::open(path)?;
    let names = file.names();
    let [name] = names[..] else {
        return Err(CheckpointError::Malformed {
            path: path.to_owned(),
            reason: format!("it holds {} tensors, expected one vector", names.len()),
        });
    };
    let tensor = file.read(name, None)?;
    if tensor.values.len() != hidden_size {
        return Err(CheckpointError::WrongShape {
            path: path.to_owned(),
            name: name.to_owned(),
            actual: tensor.shape,
            expected: vec![hidden_size],
        });
    }
    let data = TensorData::new(tensor.values, [hidden_size]);
    Ok(Tensor::from_data(data, device))
}
