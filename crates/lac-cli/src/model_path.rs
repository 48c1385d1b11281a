//! What `--model` names: a folder, the embedded model, or a model on the Hugging Face hub.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lac_hub::{
    Environment, HubError, HubSettings, Repository, RepositoryKind, Snapshot, SnapshotChoice,
    WantedFiles,
};
use lac_models::{gguf, model_files};
use tempfile::TempDir;

use crate::output::warn_user;

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
        let path = match (model.exists(), gguf_choice(model)) {
            (true, _) => model.to_owned(),
            (false, Some((id, choice))) => hub_file(model, id, choice)?,
            (false, None) => hub_folder(model)?,
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

/// Takes a type or a file of GGUF from the end of a hub id, as in `org/name-GGUF:Q4_K_M`.
fn gguf_choice(model: &Path) -> Option<(&str, &str)> {
    let (id, choice) = model.to_str()?.rsplit_once(':')?;
    let is_choice = !choice.is_empty() && !choice.starts_with('/');
    let is_repository = || parse(id).is_ok_and(|repository| repository.id().contains('/'));
    (is_choice && is_repository()).then_some((id, choice))
}

/// Returns the GGUF file of a repository that is meant, the first one of a model that was split.
fn hub_file(model: &Path, id: &str, choice: &str) -> Result<PathBuf> {
    let named = || format!("--model {}: there is no such file", model.display());
    let settings = HubSettings::from_environment(&Environment::of_process());
    let files = GgufFiles {
        choice: choice.to_owned(),
    };
    let snapshot = lac_hub::find(&settings, &parse(id)?, &files).with_context(named)?;
    warn_only_one(id, &snapshot);
    gguf::find_file(&snapshot.folder(), Some(choice))
        .map_err(anyhow::Error::msg)
        .with_context(named)
}

/// Returns the snapshot of the repository that a path names which does not exist on this machine.
fn hub_folder(model: &Path) -> Result<PathBuf> {
    let named = || format!("--model {}: there is no such folder", model.display());
    let repository = match model.to_str().map(|id| (id, parse(id))) {
        Some((_, Ok(repository))) => repository,
        Some((id, Err(error))) if ["https:", "hf:"].iter().any(|start| id.starts_with(start)) => {
            return Err(error).with_context(named);
        }
        // ModelFolder::open reports a path that does not exist.
        _ => return Ok(model.to_owned()),
    };
    let settings = HubSettings::from_environment(&Environment::of_process());
    let snapshot = if repository.id().contains('/') {
        lac_hub::find(&settings, &repository, &ModelFiles).with_context(named)?
    } else {
        // More likely a mistyped path than one of the hub's oldest repositories: the hub is not asked.
        match lac_hub::cached(&settings, &repository) {
            Ok(snapshot) => snapshot,
            Err(_) => return Ok(model.to_owned()),
        }
    };
    warn_only_one(repository.id(), &snapshot);
    Ok(snapshot.folder())
}

fn warn_only_one(id: &str, snapshot: &Snapshot) {
    if snapshot.choice() == SnapshotChoice::OnlyOne {
        warn_user!(
            "the local Hugging Face cache does not say which commit of {id} main is at; the only one there is \
             taken, {}",
            snapshot.commit()
        );
    }
}

fn parse(id: &str) -> Result<Repository, HubError> {
    Repository::parse(RepositoryKind::Model, id)
}

/// The files of a model, for lac-hub.
struct ModelFiles;

impl WantedFiles for ModelFiles {
    fn optional(&self) -> &[&str] {
        model_files::SILENT_FILES
    }

    fn is_wanted(&self, path: &str, listing: &BTreeSet<String>) -> bool {
        model_files::is_needed(path, listing)
    }

    fn missing(&self, folder: &Path) -> Vec<String> {
        model_files::missing(folder)
    }

    fn check(&self, listing: &BTreeSet<String>) -> Result<(), String> {
        model_files::check(listing)
    }
}

/// The files of one model in GGUF, for lac-hub.
struct GgufFiles {
    /// A type or a file's name.
    choice: String,
}

impl GgufFiles {
    fn select(&self, listing: &BTreeSet<String>) -> Result<Vec<String>, String> {
        gguf::select_files(listing.iter().map(String::as_str), Some(&self.choice))
    }
}

impl WantedFiles for GgufFiles {
    fn optional(&self) -> &[&str] {
        &[]
    }

    fn is_wanted(&self, path: &str, listing: &BTreeSet<String>) -> bool {
        let files = self.select(listing);
        files.is_ok_and(|files| files.iter().any(|file| file == path))
    }

    fn missing(&self, folder: &Path) -> Vec<String> {
        gguf::missing_files(folder, Some(&self.choice))
    }

    fn check(&self, listing: &BTreeSet<String>) -> Result<(), String> {
        self.select(listing).map(drop)
    }
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
