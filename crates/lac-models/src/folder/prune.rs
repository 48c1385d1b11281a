//! Writes a model without some of its layers.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{FileLayout, ModelFolder};
use crate::architecture::ModelConfig;
use crate::checkpoint::{Checkpoint, CheckpointError, LayersError, WrittenWeights};
use crate::decoder::DecoderConfig;
use crate::file;
use crate::model_files::{CONFIG, INDEX, is_small_file};

/// Why a model was not written without layers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// The model is a GGUF file.
    #[error("{} is in GGUF: a model is pruned in Hugging Face layout, and `lac quantize` writes GGUF of that", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
    },
    /// The choice of layers is none of this model.
    #[error(
        "{found} layers are chosen among, the model has {n_layers}, and at least one has to be kept"
    )]
    Layers {
        /// Number of layers that the choice is for.
        found: usize,
        /// Number of layers of the model.
        n_layers: usize,
    },
    /// There is something under the name.
    #[error("{} is already there: name a folder that is not", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The configuration cannot say what the kept layers are.
    #[error("{}: {what} of these layers cannot be said in a config.json of this family", path.display())]
    Inexpressible {
        /// The configuration.
        path: PathBuf,
        /// What would be lost.
        what: &'static str,
    },
    /// Weights cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file cannot be read or written.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file or the folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What [`ModelFolder::write_pruned`] has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PruneSummary {
    /// Number of layers.
    pub n_layers: usize,
    /// Number of tensors.
    pub n_tensors: usize,
    /// Bytes of all tensors.
    pub n_bytes: u64,
}

impl ModelFolder {
    /// Writes a folder with the layers whose flags are set, renumbered, which transformers and lac load: the weights as they
    /// are stored, a `config.json` for fewer layers, and every file that a tokenizer is made of. What the configuration says of
    /// single layers (`layer_types` and its like) is said of the layers that are kept, in the form of transformers 4.53 and
    /// later.
    ///
    /// The folder appears under its name once it is whole. `progress` receives the bytes of weights written so far.
    ///
    /// # Errors
    /// See [`PruneError`].
    pub fn write_pruned(
        &self,
        kept: &[bool],
        out: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<PruneSummary, PruneError> {
        if !matches!(self.layout, FileLayout::HuggingFace) {
            let path = self.path.clone();
            return Err(PruneError::Gguf { path });
        }
        let layers: Vec<usize> = (0..kept.len()).filter(|&idx| kept[idx]).collect();
        let n_layers = self.config.decoder.n_layers;
        if kept.len() != n_layers || layers.is_empty() {
            return Err(PruneError::Layers {
                found: kept.len(),
                n_layers,
            });
        }
        if out.exists() {
            let path = out.to_owned();
            return Err(PruneError::Exists { path });
        }
        let config = self.pruned_config(&layers)?;
        let checkpoint = Checkpoint::open(&self.path)?;

        let unfinished = Unfinished::create(out)?;
        let io = |path: &Path| {
            let path = path.to_owned();
            |source| PruneError::Io { path, source }
        };
        let config_path = unfinished.path.join(CONFIG);
        std::fs::write(&config_path, config).map_err(io(&config_path))?;
        self.copy_small_files(&unfinished.path)?;
        let new_idx = |layer_idx: usize| layers.binary_search(&layer_idx).ok();
        let WrittenWeights { n_tensors, n_bytes } = checkpoint
            .write_layers(&new_idx, &unfinished.path, progress)
            .map_err(|error| match error {
                LayersError::Read(error) => error.into(),
                LayersError::Write(source) => io(out)(source),
            })?;
        unfinished.finish(out)?;
        Ok(PruneSummary {
            n_layers: layers.len(),
            n_tensors,
            n_bytes,
        })
    }

    /// Returns the text of a `config.json` for some of the layers.
    fn pruned_config(&self, layers: &[usize]) -> Result<String, PruneError> {
        let path = self.config_path();
        let unreadable = |source| PruneError::Io {
            path: path.clone(),
            source,
        };
        let text = file::read_to_string(&path).map_err(unreadable)?;
        let mut fields: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|error| unreadable(std::io::Error::other(error)))?;
        let whole = &self.config.decoder;
        set_layers(&mut fields, whole, layers);
        let mut text = serde_json::to_string_pretty(&fields)
            .map_err(|error| unreadable(std::io::Error::other(error)))?;
        text.push('\n');
        // What the text means is read back: a family may say of its layers what no field was written for.
        let lost = |what| PruneError::Inexpressible {
            path: path.clone(),
            what,
        };
        let pruned = ModelConfig::from_json(&text, &path).map_err(|_| lost("the number"))?;
        match difference(whole, &pruned.decoder, layers) {
            None => Ok(text),
            Some(what) => Err(lost(what)),
        }
    }

    /// Copies the tokenizer's files and their like, and licences.
    fn copy_small_files(&self, out: &Path) -> Result<(), PruneError> {
        let error = |path: &Path, source| PruneError::Io {
            path: path.to_owned(),
            source,
        };
        let is_copied = |name: &str| {
            let is_licence = name.starts_with("LICENSE") || name.starts_with("NOTICE");
            is_licence || (is_small_file(name) && name != CONFIG && name != INDEX)
        };
        let entries = std::fs::read_dir(&self.path).map_err(|source| error(&self.path, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| error(&self.path, source))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                self.copy_folder(&name, out, &is_small_file)?;
            } else if is_copied(&name) {
                let to = out.join(&name);
                std::fs::copy(entry.path(), &to).map_err(|source| error(&to, source))?;
            }
        }
        Ok(())
    }

    /// Copies those files of a folder below this one that belong to the model: further templates.
    fn copy_folder(
        &self,
        folder: &str,
        out: &Path,
        is_copied: &dyn Fn(&str) -> bool,
    ) -> Result<(), PruneError> {
        let Ok(entries) = std::fs::read_dir(self.path.join(folder)) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if is_copied(&name) {
                let to = out.join(&name);
                std::fs::create_dir_all(out.join(folder))
                    .and_then(|()| std::fs::copy(entry.path(), &to))
                    .map_err(|source| PruneError::Io { path: to, source })?;
            }
        }
        Ok(())
    }
}

/// Sets the number of layers, and cuts what the configuration says of each of them.
fn set_layers(fields: &mut Map<String, Value>, whole: &DecoderConfig, layers: &[usize]) {
    let kept = |list: &Vec<Value>| -> Vec<Value> {
        layers
            .iter()
            .filter_map(|&idx| list.get(idx).cloned())
            .collect()
    };
    let is_one_of = |layer_idx: &usize, of: &[usize]| of.contains(layer_idx);
    if let Some(Value::Array(types)) = fields.get_mut("layer_types") {
        *types = kept(types);
    } else if whole.sliding_window.is_some() && !whole.full_attention_layers.is_empty() {
        // Older files say by a period which layers have a window, and what is left of them has none.
        let name = |layer_idx| {
            if is_one_of(layer_idx, &whole.full_attention_layers) {
                "full_attention"
            } else {
                "sliding_attention"
            }
        };
        let types: Vec<&str> = layers.iter().map(name).collect();
        fields.insert("layer_types".to_owned(), json!(types));
    }
    if let Some(n_full) = fields.get("max_window_layers").and_then(Value::as_u64) {
        let n_full = layers.iter().filter(|&&idx| (idx as u64) < n_full).count();
        fields.insert("max_window_layers".to_owned(), json!(n_full));
    }
    if !whole.unrotated_layers.is_empty() || fields.contains_key("no_rope_layers") {
        // 1 stands for a layer that is rotated.
        let flag = |idx| u8::from(!is_one_of(idx, &whole.unrotated_layers));
        let flags: Vec<u8> = layers.iter().map(flag).collect();
        fields.insert("no_rope_layers".to_owned(), json!(flags));
    }
    let dense = whole.experts.as_ref().map(|experts| &experts.dense_layers);
    if let Some(dense) = dense.filter(|dense| !dense.is_empty()) {
        let is_dense = |idx: &usize| is_one_of(&layers[*idx], dense);
        let dense: Vec<usize> = (0..layers.len()).filter(is_dense).collect();
        fields.insert("mlp_only_layers".to_owned(), json!(dense));
        fields.insert("decoder_sparse_step".to_owned(), json!(1));
    }
    fields.insert("num_hidden_layers".to_owned(), json!(layers.len()));
}

/// Returns what a pruned configuration says otherwise of the kept layers, or of the whole model, than the whole one does.
fn difference(
    whole: &DecoderConfig,
    pruned: &DecoderConfig,
    layers: &[usize],
) -> Option<&'static str> {
    if pruned.n_layers != layers.len() {
        return Some("the number");
    }
    for (new_idx, &layer_idx) in layers.iter().enumerate() {
        if whole.window_of(layer_idx) != pruned.window_of(new_idx) {
            return Some("the windows");
        }
        let is_unrotated = |config: &DecoderConfig, idx| config.unrotated_layers.contains(idx);
        if is_unrotated(whole, &layer_idx) != is_unrotated(pruned, &new_idx) {
            return Some("the rotation");
        }
        let has_experts = |config: &DecoderConfig, idx| config.experts_of(idx).is_some();
        if has_experts(whole, layer_idx) != has_experts(pruned, new_idx) {
            return Some("the experts");
        }
    }
    // All else is said of the model as a whole.
    let rest = |config: &DecoderConfig| {
        let mut rest = config.clone();
        rest.n_layers = 0;
        rest.unrotated_layers.clear();
        rest.full_attention_layers.clear();
        rest.sliding_window = None;
        rest.sliding_rope = None;
        if let Some(experts) = &mut rest.experts {
            experts.dense_layers.clear();
        }
        rest
    };
    (rest(whole) != rest(pruned)).then_some("a setting")
}

/// A folder that has not got its name yet; it is removed unless it gets it.
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    fn create(out: &Path) -> Result<Self, PruneError> {
        let name = out.file_name().unwrap_or(out.as_os_str()).to_string_lossy();
        let path = out.with_file_name(format!(".{name}.unfinished-{}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(Self { path }),
            Err(source) => Err(PruneError::Io {
                path: out.to_owned(),
                source,
            }),
        }
    }

    fn finish(self, out: &Path) -> Result<(), PruneError> {
        std::fs::rename(&self.path, out).map_err(|source| PruneError::Io {
            path: out.to_owned(),
            source,
        })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Once it has its name, there is nothing left to remove.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
