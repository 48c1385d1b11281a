//! What a model's name means: a folder, the embedded model, or a model on the Hugging Face hub.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lac_hub::{
    Environment, HubError, HubSettings, Repository, RepositoryKind, Snapshot, SnapshotChoice,
    WantedFiles,
};
use lac_models::{gguf, model_files};
use tempfile::TempDir;

use crate::error::SessionError;
use crate::notice::{Notice, Tell};

/// The name of the embedded model; write `./demo` for a folder of that name.
const DEMO: &str = "demo";

/// A folder on this machine that holds a model. The embedded model is unpacked into a temporary one, which is removed
/// when this value is dropped.
#[derive(Debug)]
pub struct LocalModel {
    path: PathBuf,
    _unpacked: Option<TempDir>,
}

impl LocalModel {
    /// Finds the folder or the GGUF file that a name means. The model of a hub id is downloaded into the local hub cache,
    /// unless it is there already.
    ///
    /// # Errors
    /// [`SessionError::NotFound`] for a repository that is neither in the cache nor on the hub. A path that does not exist
    /// is returned as it is: [`ModelFolder::open`](lac_models::ModelFolder::open) says what is wrong with it.
    pub fn find(model: &Path, tell: &mut Tell<'_>) -> Result<Self, SessionError> {
        if model.as_os_str() == DEMO {
            return demo::unpack();
        }
        let path = match (model.exists(), gguf_choice(model)) {
            (true, _) => model.to_owned(),
            (false, Some((id, choice))) => hub_file(model, id, choice, tell)?,
            (false, None) => hub_folder(model, tell)?,
        };
        Ok(Self {
            path,
            _unpacked: None,
        })
    }

    /// Returns the folder or the file.
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
fn hub_file(
    model: &Path,
    id: &str,
    choice: &str,
    tell: &mut Tell<'_>,
) -> Result<PathBuf, SessionError> {
    let settings = HubSettings::from_environment(&Environment::of_process());
    let files = GgufFiles {
        choice: choice.to_owned(),
    };
    let snapshot =
        lac_hub::find(&settings, &parse(id)?, &files).map_err(not_found(model, "file"))?;
    warn_only_one(id, &snapshot, tell);
    gguf::find_file(&snapshot.folder(), Some(choice)).map_err(|reason| SessionError::NoSuchFile {
        model: model.display().to_string(),
        reason,
    })
}

/// Returns the snapshot of the repository that a path names which does not exist on this machine.
fn hub_folder(model: &Path, tell: &mut Tell<'_>) -> Result<PathBuf, SessionError> {
    let repository = match model.to_str().map(|id| (id, parse(id))) {
        Some((_, Ok(repository))) => repository,
        Some((id, Err(error))) if ["https:", "hf:"].iter().any(|start| id.starts_with(start)) => {
            return Err(not_found(model, "folder")(error));
        }
        // ModelFolder::open reports a path that does not exist.
        _ => return Ok(model.to_owned()),
    };
    let settings = HubSettings::from_environment(&Environment::of_process());
    let snapshot = if repository.id().contains('/') {
        lac_hub::find(&settings, &repository, &ModelFiles).map_err(not_found(model, "folder"))?
    } else {
        // More likely a mistyped path than one of the hub's oldest repositories: the hub is not asked.
        match lac_hub::cached(&settings, &repository) {
            Ok(snapshot) => snapshot,
            Err(_) => return Ok(model.to_owned()),
        }
    };
    warn_only_one(repository.id(), &snapshot, tell);
    Ok(snapshot.folder())
}

fn not_found(model: &Path, what: &'static str) -> impl Fn(HubError) -> SessionError {
    move |source| SessionError::NotFound {
        model: model.display().to_string(),
        what,
        source,
    }
}

fn warn_only_one(id: &str, snapshot: &Snapshot, tell: &mut Tell<'_>) {
    if snapshot.choice() == SnapshotChoice::OnlyOne {
        tell(Notice::Warning(format!(
            "the local Hugging Face cache does not say which commit of {id} main is at; the only one there is \
             taken, {}",
            snapshot.commit()
        )));
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
    use tempfile::TempDir;

    use super::LocalModel;
    use crate::error::SessionError;

    pub(super) fn unpack() -> Result<LocalModel, SessionError> {
        let folder = TempDir::new().map_err(SessionError::TemporaryFolder)?;
        lac_demo::unpack(lac_demo::model_files(), folder.path()).map_err(SessionError::Demo)?;
        Ok(LocalModel {
            path: folder.path().to_owned(),
            _unpacked: Some(folder),
        })
    }
}

#[cfg(not(feature = "demo"))]
mod demo {
    use super::LocalModel;
    use crate::error::SessionError;

    pub(super) fn unpack() -> Result<LocalModel, SessionError> {
        Err(SessionError::NoDemo)
    }
}
