//! Some of a checkpoint's layers, written as a checkpoint of their own.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use lac_files::AtomicFile;
use safetensors::tensor::TensorInfo;
use serde_json::{Value, json};

use super::shard::{Shard, n_bytes};
use super::{Checkpoint, CheckpointError, is_inert};

/// How many bytes of a tensor are in memory at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WrittenWeights {
    pub(crate) n_tensors: usize,
    pub(crate) n_bytes: u64,
}

/// Why weights were not written.
#[derive(Debug)]
pub(crate) enum LayersError {
    Read(CheckpointError),
    Write(std::io::Error),
}

impl Checkpoint {
    /// Writes the weights of some layers, and all that belong to no layer, into a folder, in as many files as they are in.
    /// `new_idx` returns a layer's new index, or `None` for a layer that is left out. `progress` receives the bytes written so
    /// far.
    pub(crate) fn write_layers(
        &self,
        new_idx: &dyn Fn(usize) -> Option<usize>,
        folder: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<WrittenWeights, LayersError> {
        let mut shards: Vec<(&Shard, Vec<Renamed<'_>>)> = Vec::new();
        for shard in &self.shards {
            let tensors = renamed(shard, new_idx);
            if !tensors.is_empty() {
                shards.push((shard, tensors));
            }
        }
        let n_shards = shards.len();
        let mut written = WrittenWeights::default();
        let mut weight_map = BTreeMap::new();
        for (shard_idx, (shard, tensors)) in shards.iter().enumerate() {
            let file_name = match n_shards {
                1 => "model.safetensors".to_owned(),
                _ => format!("model-{:05}-of-{n_shards:05}.safetensors", shard_idx + 1),
            };
            write_shard(
                shard,
                tensors,
                new_idx,
                &folder.join(&file_name),
                &mut |n_bytes| {
                    written.n_bytes += n_bytes;
                    progress(written.n_bytes);
                },
            )?;
            written.n_tensors += tensors.len();
            for tensor in tensors {
                weight_map.insert(tensor.name.clone(), file_name.clone());
            }
        }
        if n_shards > 1 {
            let index =
                json!({"metadata": {"total_size": written.n_bytes}, "weight_map": weight_map});
            let mut text = serde_json::to_string_pretty(&index).map_err(write_error)?;
            text.push('\n');
            let path = folder.join("model.safetensors.index.json");
            std::fs::write(path, text).map_err(LayersError::Write)?;
        }
        Ok(written)
    }
}

/// A tensor under its new name.
struct Renamed<'s> {
    name: String,
    info: &'s TensorInfo,
}

fn write_error(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> LayersError {
    LayersError::Write(std::io::Error::other(error))
}

/// Returns the tensors that are kept, in the order of the file. Tables that no model reads are left out.
fn renamed<'s>(shard: &'s Shard, new_idx: &dyn Fn(usize) -> Option<usize>) -> Vec<Renamed<'s>> {
    let kept = shard.tensors.iter().filter_map(|(name, info)| {
        let is_read = !is_inert(name, &info.shape);
        let name = new_name(name, new_idx)?;
        is_read.then_some(Renamed { name, info })
    });
    let mut kept: Vec<Renamed<'_>> = kept.collect();
    kept.sort_by_key(|tensor| tensor.info.data_offsets);
    kept
}

/// Returns a tensor's name with its layer's new index; `None` for one of a layer that is left out.
fn new_name(name: &str, new_idx: &dyn Fn(usize) -> Option<usize>) -> Option<String> {
    let mut parts: Vec<String> = name.split('.').map(str::to_owned).collect();
    let layers = parts.iter().position(|part| part == "layers");
    if let Some(at) = layers.map(|at| at + 1)
        && let Some(layer_idx) = parts.get(at).and_then(|part| part.parse().ok())
    {
        parts[at] = new_idx(layer_idx)?.to_string();
    }
    Some(parts.join("."))
}

fn write_shard(
    shard: &Shard,
    tensors: &[Renamed<'_>],
    new_idx: &dyn Fn(usize) -> Option<usize>,
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<(), LayersError> {
    let mut header = serde_json::Map::new();
    let shared = shard.shared.iter().filter_map(|(key, value)| {
        // Names that were left out with the name that was kept are of tensors; what else stands here is not.
        let (key, value) = (new_name(key, new_idx)?, new_name(value, new_idx)?);
        Some((key, Value::String(value)))
    });
    let metadata: serde_json::Map<String, Value> = shared.collect();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), Value::Object(metadata));
    }
    let mut start = 0;
    for tensor in tensors {
        let end = start + n_bytes(tensor.info);
        let entry = json!({
            "dtype": tensor.info.dtype,
            "shape": tensor.info.shape,
            "data_offsets": [start, end],
        });
        header.insert(tensor.name.clone(), entry);
        start = end;
    }
    let mut header = serde_json::to_vec(&header).map_err(write_error)?;
    // Tensors begin at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut file = AtomicFile::create(path).map_err(LayersError::Write)?;
    file.write_all(&(header.len() as u64).to_le_bytes())
        .and_then(|()| file.write_all(&header))
        .map_err(LayersError::Write)?;
    let mut block = vec![0; BLOCK_BYTES];
    for tensor in tensors {
        let len = n_bytes(tensor.info) as usize;
        for start in (0..len).step_by(BLOCK_BYTES) {
            let block = &mut block[..BLOCK_BYTES.min(len - start)];
            shard
                .read_bytes(tensor.info, start, block)
                .map_err(LayersError::Read)?;
            file.write_all(block).map_err(LayersError::Write)?;
            progress(block.len() as u64);
        }
    }
    file.finish().map_err(LayersError::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_layers() {
        // Layer 1 of three is left out.
        let new_idx = |layer_idx| match layer_idx {
            0 => Some(0),
            2 => Some(1),
            _ => None,
        };
        for (name, expected) in [
            (
                "model.layers.2.mlp.down_proj.weight",
                Some("model.layers.1.mlp.down_proj.weight"),
            ),
            ("model.layers.1.mlp.down_proj.weight", None),
            (
                "model.layers.0.mlp.experts.1.w",
                Some("model.layers.0.mlp.experts.1.w"),
            ),
            ("layers.2.norm", Some("layers.1.norm")),
            ("model.norm.weight", Some("model.norm.weight")),
            ("lm_head.weight", Some("lm_head.weight")),
            ("pt", Some("pt")),
        ] {
            assert_eq!(new_name(name, &new_idx).as_deref(), expected, "{name}");
        }
    }
}
