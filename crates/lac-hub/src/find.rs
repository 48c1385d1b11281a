//! From a repository to a folder with the files that are wanted of it: in the cache, else from the hub.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cache::{Located, Snapshot, locate};
use crate::error::{Absence, HubError};
use crate::repository::Repository;
use crate::settings::HubSettings;

/// What a caller wants of a repository.
pub trait WantedFiles {
    /// Small files that are read where a repository has them, by their paths in it. Called once a search. Where the
    /// cache cannot say of one of them whether the repository has it, the hub is asked.
    fn optional(&self) -> &[&str];

    /// Whether a file of the repository is downloaded; `listing` has all its files. Called once for each of them.
    fn is_wanted(&self, path: &str, listing: &BTreeSet<String>) -> bool;

    /// The files without which a folder cannot be used and which it lacks. Called before and after a download, which
    /// may bring the file that names others.
    fn missing(&self, folder: &Path) -> Vec<String>;

    /// What speaks against a repository with these files. Called before anything of it is downloaded; an error becomes
    /// [`HubError::Unusable`].
    ///
    /// # Errors
    /// The reason in words.
    fn check(&self, listing: &BTreeSet<String>) -> Result<(), String>;
}

/// Finds a repository's snapshot in the cache without asking the hub. It may lack files.
///
/// # Errors
/// [`HubError::NotFound`] says what the cache lacks and where it was looked for; a cache that cannot be read or leads
/// elsewhere.
pub fn cached(settings: &HubSettings, repository: &Repository) -> Result<Snapshot, HubError> {
    match locate(settings, repository)? {
        Located::Snapshot(snapshot) => Ok(snapshot),
        Located::Absent(absence) => Err(HubError::NotFound {
            repository: repository.to_string(),
            absence,
            reason: "only the cache was looked into".to_owned(),
        }),
    }
}

/// Finds the folder of a repository's snapshot with all files that are wanted of it. What the cache lacks is downloaded
/// into it, unless the settings forbid it or this library was compiled without `download`.
///
/// A snapshot that can be used and lacks optional files alone is used also where the hub does not answer.
///
/// # Errors
/// [`HubError::NotFound`] says what is missing, where it was looked for, and why it was not downloaded.
pub fn find(
    settings: &HubSettings,
    repository: &Repository,
    wanted: &dyn WantedFiles,
) -> Result<PathBuf, HubError> {
    let (snapshot, absence) = match locate(settings, repository)? {
        Located::Absent(absence) => (None, absence),
        Located::Snapshot(snapshot) => match lacking(&snapshot, wanted)? {
            Lacking::Nothing => return Ok(snapshot.folder()),
            Lacking::Optional if settings.offline.is_some() => return Ok(snapshot.folder()),
            Lacking::Optional => {
                // The hub may be out of reach, and what is there is enough.
                let _ = fetch(settings, repository, Some(&snapshot), wanted);
                return Ok(snapshot.folder());
            }
            Lacking::Files(files) => {
                let absence = files_absent(&snapshot, files);
                (Some(snapshot), absence)
            }
        },
    };
    let not_found = |reason: String| HubError::NotFound {
        repository: repository.to_string(),
        absence: absence.clone(),
        reason,
    };
    if let Some(variable) = settings.offline {
        return Err(not_found(format!(
            "{variable} forbids to ask the hub for it"
        )));
    }
    let snapshot = match fetch(settings, repository, snapshot.as_ref(), wanted) {
        Ok(snapshot) => snapshot,
        Err(FetchError::Unusable(error)) => return Err(error),
        Err(FetchError::Failed(reason)) => return Err(not_found(reason)),
    };
    match wanted.missing(&snapshot.folder()) {
        files if files.is_empty() => Ok(snapshot.folder()),
        files => Err(HubError::Unusable {
            repository: repository.to_string(),
            reason: format!("the hub's repository does not hold {}", files.join(", ")),
        }),
    }
}

/// Why a download did not succeed.
pub(crate) enum FetchError {
    /// What is on the hub cannot be used.
    Unusable(HubError),
    /// It cannot be had; the reason.
    Failed(String),
}

/// What a snapshot lacks.
enum Lacking {
    Nothing,
    /// Files that the repository may have or not.
    Optional,
    /// Files that are needed, or that the repository is known to have.
    Files(Vec<String>),
}

fn lacking(snapshot: &Snapshot, wanted: &dyn WantedFiles) -> Result<Lacking, HubError> {
    let folder = snapshot.folder();
    let mut files = wanted.missing(&folder);
    let listing = snapshot.listing();
    if let Some(listing) = &listing {
        for path in listing
            .iter()
            .filter(|path| wanted.is_wanted(path, listing))
        {
            if !files.contains(path) && snapshot.file(path)?.is_none() {
                files.push(path.clone());
            }
        }
    }
    // A link to a blob that is gone says that the repository has the file.
    for path in wanted.optional() {
        let is_link = folder.join(path).is_symlink();
        if is_link && snapshot.file(path)?.is_none() && !files.iter().any(|file| file == path) {
            files.push((*path).to_owned());
        }
    }
    if !files.is_empty() {
        return Ok(Lacking::Files(files));
    }
    if listing.is_some() {
        return Ok(Lacking::Nothing);
    }
    for path in wanted.optional() {
        if snapshot.file(path)?.is_none() && !snapshot.is_known_absent(path) {
            return Ok(Lacking::Optional);
        }
    }
    Ok(Lacking::Nothing)
}

fn files_absent(snapshot: &Snapshot, files: Vec<String>) -> Absence {
    Absence::Files {
        folder: snapshot.folder(),
        files,
        n_unfinished: snapshot.n_unfinished(),
    }
}

#[cfg(feature = "download")]
use crate::download::fetch;

#[cfg(not(feature = "download"))]
fn fetch(
    _settings: &HubSettings,
    _repository: &Repository,
    _snapshot: Option<&Snapshot>,
    _wanted: &dyn WantedFiles,
) -> Result<Snapshot, FetchError> {
    let reason = "this program was compiled without downloads from the hub";
    Err(FetchError::Failed(reason.to_owned()))
}
