//! Why a repository cannot be had.

use std::fmt;
use std::path::PathBuf;

/// Why a repository cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The name is not one that a repository can have.
    #[error("{id:?} is not the name of a repository on the hub: {reason}")]
    InvalidId {
        /// The name as given.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or folder of the cache cannot be read: a link that leads to itself, for example.
    #[error("cannot read {} in the local Hugging Face cache", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The cache is not one that a program of the hub has written.
    #[error("the local Hugging Face cache is damaged: {} {reason}", path.display())]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The cache does not have it, or not all of it, and the hub did not give it.
    #[error("{repository} {absence}; {reason}")]
    NotFound {
        /// The repository with the revision that was asked for.
        repository: String,
        /// What the cache lacks.
        absence: Box<Absence>,
        /// Why the hub was not asked, or what became an obstacle.
        reason: String,
    },
    /// The repository on the hub does not have what is needed.
    #[error("{repository}: {reason}")]
    Unusable {
        /// The repository with the revision that was asked for.
        repository: String,
        /// What it lacks.
        reason: String,
    },
}

/// What the cache lacks of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Absence {
    /// Everything.
    Repository {
        /// The folders that would be the repository's.
        looked_in: Vec<PathBuf>,
    },
    /// The wanted revision.
    Revision {
        /// The revision.
        revision: String,
        /// The folder of all snapshots.
        snapshots: PathBuf,
        /// The commits that are there.
        commits: Vec<String>,
    },
    /// Nothing says which of several snapshots is meant.
    Choice {
        /// The revision that was asked for.
        revision: String,
        /// The folder of all snapshots.
        snapshots: PathBuf,
        /// The commits that are there.
        commits: Vec<String>,
    },
    /// Files of a snapshot.
    Files {
        /// The snapshot's folder.
        folder: PathBuf,
        /// The files.
        files: Vec<String>,
        /// Downloads into this repository that were begun and not finished.
        n_unfinished: usize,
    },
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Absence::Repository { looked_in } => {
                let folders: Vec<String> = looked_in
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                write!(
                    f,
                    "is not in the local Hugging Face cache: there is no folder {}",
                    folders.join(" or ")
                )
            }
            Absence::Revision {
                revision,
                snapshots,
                commits,
            } => {
                let there = if commits.is_empty() {
                    "no snapshot is there".to_owned()
                } else {
                    format!("there are the snapshots {}", list(commits))
                };
                write!(
                    f,
                    "is in the local Hugging Face cache, but not its revision {revision}: in {} {there}",
                    snapshots.display()
                )
            }
            Absence::Choice {
                revision,
                snapshots,
                commits,
            } => write!(
                f,
                "is in the local Hugging Face cache, which does not say which snapshot is {revision}: {} holds {}; name \
                 one behind an @",
                snapshots.display(),
                list(commits)
            ),
            Absence::Files {
                folder,
                files,
                n_unfinished,
            } => {
                let (list, folder) = (list(files), folder.display());
                write!(
                    f,
                    "lacks {list} in the local Hugging Face cache, in {folder}"
                )?;
                match n_unfinished {
                    0 => Ok(()),
                    1 => write!(f, " (one download was not finished)"),
                    n => write!(f, " ({n} downloads were not finished)"),
                }
            }
        }
    }
}

/// Some names in words; the first of them where there are many.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>();
    let shown = shown.join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
