//! From a repository to a folder with the files that are wanted of it: in the cache, else from the hub.

use std::collections::BTreeSet;

use crate::cache::{Located, MAIN, Snapshot, SnapshotChoice, locate};
use crate::error::{Absence, HubError};
use crate::repository::Repository;
use crate::settings::HubSettings;
use crate::wanted::{FetchError, WantedFiles};

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
            absence: Box::new(absence),
            reason: "only the cache was looked into".to_owned(),
        }),
    }
}

/// Finds a repository's snapshot with all files that are wanted of it. What the cache lacks is downloaded into it,
/// unless the settings forbid it or this library was compiled without `download`.
///
/// What the cache cannot say is asked of the hub: which commit `main` is at where nothing in the cache tells, and
/// whether the repository has the optional files that a snapshot lacks. A snapshot that can be used is used also where
/// the hub does not answer.
///
/// # Errors
/// [`HubError::NotFound`] says what is missing, where it was looked for, and why it was not downloaded.
pub fn find(
    settings: &HubSettings,
    repository: &Repository,
    wanted: &dyn WantedFiles,
) -> Result<Snapshot, HubError> {
    let located = locate(settings, repository)?;
    if let Located::Snapshot(snapshot) = &located
        && snapshot.choice() == SnapshotChoice::OnlyOne
        && settings.offline.is_none()
    {
        match fetch(settings, repository, None, wanted) {
            Ok(of_hub) => return whole(repository, of_hub, wanted),
            Err(FetchError::Unusable(error)) => return Err(error),
            // The hub does not say either.
            Err(FetchError::Unreachable(_)) => {}
            Err(FetchError::Failed(reason)) => {
                return Err(HubError::NotFound {
                    repository: repository.to_string(),
                    absence: Box::new(Absence::Revision {
                        revision: MAIN.to_owned(),
                        snapshots: snapshot.folder().with_file_name(""),
                        commits: vec![snapshot.commit().to_owned()],
                    }),
                    reason,
                });
            }
        }
    }
    let (snapshot, absence, is_needed) = match located {
        Located::Absent(absence) => (None, absence, true),
        Located::Snapshot(snapshot) => {
            let lacking = lacking(&snapshot, wanted)?;
            let is_needed = match lacking.need {
                Need::Certain => true,
                Need::Possible if settings.offline.is_some() => return Ok(snapshot),
                Need::Possible => false,
            };
            if lacking.files.is_empty() {
                return Ok(snapshot);
            }
            let absence = Absence::Files {
                folder: snapshot.folder(),
                files: lacking.files,
                n_unfinished: snapshot.n_unfinished(),
            };
            (Some(snapshot), absence, is_needed)
        }
    };
    let reason = match settings.offline {
        Some(variable) => format!("{variable} forbids to ask the hub for it"),
        None => match (
            fetch(settings, repository, snapshot.as_ref(), wanted),
            snapshot,
        ) {
            (Ok(snapshot), _) => return whole(repository, snapshot, wanted),
            (Err(FetchError::Unusable(error)), _) => return Err(error),
            (Err(FetchError::Unreachable(_)), Some(snapshot)) if !is_needed => {
                return Ok(snapshot);
            }
            (Err(FetchError::Unreachable(reason) | FetchError::Failed(reason)), _) => reason,
        },
    };
    Err(HubError::NotFound {
        repository: repository.to_string(),
        absence: Box::new(absence),
        reason,
    })
}

/// Checks that a download brought everything.
fn whole(
    repository: &Repository,
    snapshot: Snapshot,
    wanted: &dyn WantedFiles,
) -> Result<Snapshot, HubError> {
    match wanted.missing(&snapshot.folder()) {
        files if files.is_empty() => Ok(snapshot),
        files => Err(HubError::Unusable {
            repository: repository.to_string(),
            reason: format!("the hub's repository does not hold {}", files.join(", ")),
        }),
    }
}

/// What a snapshot lacks.
struct Lacking {
    files: Vec<String>,
    need: Need,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// The files are needed, or the repository is known to have them.
    Certain,
    /// The repository may have the files or not.
    Possible,
}

fn lacking(snapshot: &Snapshot, wanted: &dyn WantedFiles) -> Result<Lacking, HubError> {
    let folder = snapshot.folder();
    let mut files: BTreeSet<String> = wanted.missing(&folder).into_iter().collect();
    let listing = snapshot.listing();
    for path in listing.iter().flatten() {
        let is_wanted = listing
            .as_ref()
            .is_some_and(|all| wanted.is_wanted(path, all));
        if is_wanted && snapshot.file(path)?.is_none() {
            files.insert(path.clone());
        }
    }
    let mut possible = Vec::new();
    for path in wanted.optional() {
        if snapshot.file(path)?.is_some() {
            continue;
        }
        // A link to a blob that is gone says that the repository has the file.
        if folder.join(path).is_symlink() {
            files.insert((*path).to_owned());
        } else if listing.is_none() && !snapshot.is_known_absent(path) {
            possible.push((*path).to_owned());
        }
    }
    Ok(if files.is_empty() {
        Lacking {
            files: possible,
            need: Need::Possible,
        }
    } else {
        Lacking {
            files: files.into_iter().collect(),
            need: Need::Certain,
        }
    })
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
    Err(FetchError::Unreachable(reason.to_owned()))
}
