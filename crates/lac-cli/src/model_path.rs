//! What `--model` names: a folder, the embedded model, or a model on the Hugging Face hub.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;

/// The name of the embedded model; write `./demo` for a folder of that name.
const DEMO: &str = "demo";

/// A folder on this machine that holds a model. The embedded model is unpacked into a temporary one, which is removed
/// when this value is dropped.
pub struct LocalModel {
    path: PathBuf,
    _unpacked: Option<TempDir>,
}

impl LocalModel {
    /// Finds the folder that `--model` names. The model of a hub id is downloaded into the local hub cache, unless it
    /// is there already.
    pub fn find(model: &Path) -> Result<Self> {
        if model.as_os_str() == DEMO {
            return demo::unpack();
        }
        let path = match hub_id(model) {
            Some(id) => hub::folder(id)?,
            // ModelFolder::open reports a path that does not exist.
            None => model.to_owned(),
        };
        Ok(Self {
            path,
            _unpacked: None,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Returns the path as a hub id if it has the form `organisation/name` and nothing on this machine has that path.
fn hub_id(model: &Path) -> Option<&str> {
    let id = model.to_str()?;
    let (organisation, name) = id.split_once('/')?;
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    (is_plain(organisation) && is_plain(name) && !model.exists()).then_some(id)
}

#[cfg(feature = "demo")]
mod demo {
    use anyhow::{Context, Result};
    use tempfile::TempDir;

    use super::LocalModel;

    pub fn unpack() -> Result<LocalModel> {
        let folder = TempDir::new().context("--model demo: cannot make a temporary folder")?;
        lac_demo::unpack(lac_demo::model_files(), folder.path()).context("--model demo")?;
        Ok(LocalModel {
            path: folder.path().to_owned(),
            _unpacked: Some(folder),
        })
    }
}

#[cfg(not(feature = "demo"))]
mod demo {
    use anyhow::{Result, bail};

    use super::LocalModel;

    pub fn unpack() -> Result<LocalModel> {
        bail!("--model demo: this lac was compiled without demo; name a folder or a hub id");
    }
}

#[cfg(not(feature = "hub"))]
mod hub {
    use std::path::PathBuf;

    use anyhow::{Result, bail};

    pub fn folder(id: &str) -> Result<PathBuf> {
        bail!("--model {id}: there is no such folder, and this lac was compiled without hub");
    }
}

#[cfg(feature = "hub")]
mod hub {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use anyhow::{Context, Result};
    use hf_hub::api::sync::{ApiBuilder, ApiRepo};
    use hf_hub::{Cache, CacheRepo};
    use lac_models::checkpoint::Checkpoint;

    const CONFIG: &str = "config.json";
    const WEIGHTS: &str = "model.safetensors";
    const INDEX: &str = "model.safetensors.index.json";

    /// Small files that a model may have.
    const OPTIONAL: &[&str] = &[
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "generation_config.json",
        "chat_template.jinja",
        "chat_template.json",
    ];

    pub fn folder(id: &str) -> Result<PathBuf> {
        if let Some(folder) = cached(&Cache::from_env().model(id.to_owned())) {
            return Ok(folder);
        }
        download(id).with_context(|| {
            format!("--model {id}: there is no such folder, and the hub's model cannot be fetched")
        })
    }

    /// The cached snapshot, if its configuration and all its weights are there.
    fn cached(repo: &CacheRepo) -> Option<PathBuf> {
        let config = repo.get(CONFIG)?;
        if repo.get(WEIGHTS).is_none() {
            for shard in Checkpoint::shard_names(&repo.get(INDEX)?).ok()? {
                repo.get(&shard)?;
            }
        }
        config.parent().map(Path::to_owned)
    }

    fn download(id: &str) -> Result<PathBuf> {
        let repo = ApiBuilder::from_env().build()?.model(id.to_owned());
        let files: BTreeSet<String> = repo
            .info()?
            .siblings
            .into_iter()
            .map(|file| file.rfilename)
            .collect();
        let config = repo.get(CONFIG)?;
        for name in OPTIONAL.iter().filter(|name| files.contains(**name)) {
            repo.get(name)?;
        }
        if files.contains(WEIGHTS) {
            repo.get(WEIGHTS)?;
        } else {
            download_shards(&repo)?;
        }
        let folder = config.parent().context("the cache has no folder")?;
        Ok(folder.to_owned())
    }

    fn download_shards(repo: &ApiRepo) -> Result<()> {
        let index = repo.get(INDEX)?;
        for shard in Checkpoint::shard_names(&index)? {
            repo.get(&shard)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_ids_are_told_from_paths() {
        for (model, is_id) in [
            ("Qwen/Qwen2.5-0.5B-Instruct", true),
            ("./Qwen/model", false),
            ("../models/llama", false),
            ("model", false),
            ("/models/llama", false),
            ("a/b/c", false),
            ("org/na me", false),
        ] {
            assert_eq!(hub_id(model.as_ref()).is_some(), is_id, "{model}");
        }
        // This crate's own sources are there, so they are a path.
        assert_eq!(hub_id("src/commands".as_ref()), None);
    }
}
