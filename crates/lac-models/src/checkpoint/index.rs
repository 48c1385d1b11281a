//! `model.safetensors.index.json`: which file holds which tensor.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::error::{CheckpointError, unreadable};
use super::unique::UniqueMap;
use crate::file::{self, excerpt};

/// The name of the file that holds each tensor.
pub(super) struct Index {
    pub(super) weight_map: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
struct IndexFile {
    weight_map: UniqueMap<String>,
}

impl Index {
    pub(super) fn read(path: &Path) -> Result<Self, CheckpointError> {
        let malformed = |reason: String| CheckpointError::MalformedIndex {
            path: path.to_owned(),
            reason,
        };
        let text = file::read_to_string(path).map_err(unreadable(path))?;
        let index: IndexFile =
            serde_json::from_str(&text).map_err(|error| malformed(excerpt(&error.to_string())))?;
        let UniqueMap(weight_map) = index.weight_map;
        if weight_map.is_empty() {
            return Err(malformed("it names no tensor".to_owned()));
        }
        for (name, file_name) in &weight_map {
            // Shards lie beside their index. A name that leads elsewhere could read any file of the system.
            let is_plain = Path::new(file_name).file_name() == Some(file_name.as_ref())
                && !file_name.contains('\\');
            if !is_plain {
                return Err(malformed(format!(
                    "the tensor {} is said to be in {:?}, which is not a plain file name",
                    excerpt(name),
                    excerpt(file_name)
                )));
            }
        }
        Ok(Self { weight_map })
    }

    /// Returns the names of the files, each once.
    pub(super) fn file_names(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }
}
