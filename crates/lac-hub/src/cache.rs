//! The cache's folders: `models--organisation--name/{refs,snapshots,blobs}`, as huggingface_hub writes them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::{Absence, HubError};
use crate::repository::Repository;
use crate::settings::HubSettings;

/// The revision that is meant where none is named.
pub(crate) const MAIN: &str = "main";

/// One commit of a repository in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub(crate) cache: PathBuf,
    repository_folder: PathBuf,
    commit: String,
    choice: SnapshotChoice,
}

/// Why a snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotChoice {
    /// The cache says that this commit is the wanted revision.
    Named,
    /// The cache does not say which commit the branch `main` is at, and it holds this one alone. huggingface_hub takes
    /// no snapshot then.
    OnlyOne,
}

/// What the caches hold of a repository.
pub(crate) enum Located {
    Snapshot(Snapshot),
    Absent(Absence),
}

/// Finds the snapshot of a repository that its revision means: by `refs`, else the snapshot of that name, else the one
/// whose commit begins so. Where no revision is asked for and `refs/main` is missing, the only snapshot there is.
///
/// # Errors
/// A cache that cannot be read or leads elsewhere.
pub(crate) fn locate(settings: &HubSettings, repository: &Repository) -> Result<Located, HubError> {
    let folder_name = repository.folder_name();
    let mut absence = Absence::Repository {
        looked_in: settings
            .caches()
            .map(|cache| cache.join(&folder_name))
            .collect(),
    };
    for cache in settings.caches() {
        let folder = cache.join(&folder_name);
        if !is_folder(&folder)? {
            continue;
        }
        match locate_in(cache, folder, repository)? {
            Located::Snapshot(snapshot) => return Ok(Located::Snapshot(snapshot)),
            // What the first cache with something of it says is said.
            Located::Absent(other) => {
                if matches!(absence, Absence::Repository { .. }) {
                    absence = other;
                }
            }
        }
    }
    Ok(Located::Absent(absence))
}

fn locate_in(cache: &Path, folder: PathBuf, repository: &Repository) -> Result<Located, HubError> {
    let snapshots = folder.join("snapshots");
    let revision = repository.revision().unwrap_or(MAIN);
    let snapshot = |commit: String, choice| {
        Located::Snapshot(Snapshot {
            cache: cache.to_owned(),
            repository_folder: folder.clone(),
            commit,
            choice,
        })
    };
    let commit = read_reference(&folder.join("refs").join(revision))?;
    let is_referred_to = commit.is_some();
    let commit = commit.unwrap_or_else(|| revision.to_owned());
    if is_plain_name(&commit) && is_folder(&snapshots.join(&commit))? {
        return Ok(snapshot(commit, SnapshotChoice::Named));
    }
    let commits = folder_names(&snapshots)?;
    let absent = |commits| {
        Located::Absent(Absence::Revision {
            revision: revision.to_owned(),
            snapshots: snapshots.clone(),
            commits,
        })
    };
    if is_referred_to {
        return Ok(absent(commits));
    }
    let choice = match repository.revision() {
        None => SnapshotChoice::OnlyOne,
        Some(_) => SnapshotChoice::Named,
    };
    let is_candidate = |commit: &&String| match repository.revision() {
        None => true,
        Some(revision) => is_commit(revision) && commit.starts_with(&revision.to_ascii_lowercase()),
    };
    let candidates: Vec<String> = commits.iter().filter(is_candidate).cloned().collect();
    match candidates.as_slice() {
        [] => Ok(absent(commits)),
        [commit] => Ok(snapshot(commit.clone(), choice)),
        _ => Ok(Located::Absent(Absence::Choice {
            revision: revision.to_owned(),
            snapshots,
            commits: candidates,
        })),
    }
}

impl Snapshot {
    /// The folder with the files: links into `blobs`, or plain files where there are no links.
    pub fn folder(&self) -> PathBuf {
        self.repository_folder.join("snapshots").join(&self.commit)
    }

    /// The commit's hash.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// Why this snapshot was taken and no other one.
    pub fn choice(&self) -> SnapshotChoice {
        self.choice
    }

    /// The file of that path in the repository, if it is there.
    ///
    /// # Errors
    /// [`HubError::Unreadable`] for a link that leads to itself and a folder that may not be read.
    pub fn file(&self, path: &str) -> Result<Option<PathBuf>, HubError> {
        let file = self.folder().join(path);
        Ok(is_file(&file)?.then_some(file))
    }

    /// Whether the cache knows that this commit has no such file.
    pub(crate) fn is_known_absent(&self, path: &str) -> bool {
        let markers = self.repository_folder.join(".no_exist");
        markers.join(&self.commit).join(path).is_file()
    }

    /// Notes that this commit has no such file. A cache that cannot be written to is left as it is.
    #[cfg(feature = "download")]
    pub(crate) fn mark_absent(&self, path: &str) {
        let marker = self.repository_folder.join(".no_exist").join(&self.commit);
        let marker = marker.join(path);
        let folder = marker.parent().map_or(Ok(()), fs::create_dir_all);
        let _ = folder.and_then(|()| fs::File::create(&marker).map(|_| ()));
    }

    /// All files of this commit, where the cache has their list.
    pub(crate) fn listing(&self) -> Option<BTreeSet<String>> {
        const MAX_BYTES: u64 = 1 << 26;
        #[derive(serde::Deserialize)]
        struct Tree {
            format_version: u32,
            files: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
        }
        let path = self
            .repository_folder
            .join("trees")
            .join(format!("{}.json", self.commit));
        let text = read_start(&path, MAX_BYTES).ok().flatten()?;
        let tree: Tree = serde_json::from_str(&text).ok()?;
        (tree.format_version == 1).then(|| tree.files.into_keys().collect())
    }

    /// Number of downloads into the repository that were begun and not finished.
    pub(crate) fn n_unfinished(&self) -> usize {
        let entries = fs::read_dir(self.repository_folder.join("blobs"));
        let entries = entries.into_iter().flatten().flatten();
        let is_unfinished = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.ends_with(".incomplete") || name.ends_with(".part")
        };
        entries.filter(is_unfinished).count()
    }
}

/// The commit that a file in `refs` names; `None` where the file is missing or was left empty by an interruption.
fn read_reference(path: &Path) -> Result<Option<String>, HubError> {
    const MAX_BYTES: u64 = 4096;
    let text = match read_start(path, MAX_BYTES) {
        Ok(text) => text.unwrap_or_default(),
        Err(source) => {
            return Err(HubError::Unreadable {
                path: path.to_owned(),
                source,
            });
        }
    };
    let commit = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if commit.is_empty() {
        return Ok(None);
    }
    const MAX_NAME_LEN: usize = 255;
    if !is_plain_name(commit) || commit.len() > MAX_NAME_LEN {
        let shown: String = commit.chars().take(80).collect();
        return Err(HubError::Damaged {
            path: path.to_owned(),
            reason: format!("says {shown:?}, expected the hash of a commit"),
        });
    }
    Ok(Some(commit.to_owned()))
}

/// Reads the beginning of a regular file; returns `None` where there is no file.
fn read_start(path: &Path, max_bytes: u64) -> io::Result<Option<String>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        // `refs/release` is a folder where `refs/release/1` is a file.
        Ok(_) => return Ok(None),
        Err(error) if is_absence(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(max_bytes)
        .read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

pub(crate) fn is_file(path: &Path) -> Result<bool, HubError> {
    kind_of(path).map(|metadata| metadata.is_some_and(|metadata| metadata.is_file()))
}

fn is_folder(path: &Path) -> Result<bool, HubError> {
    kind_of(path).map(|metadata| metadata.is_some_and(|metadata| metadata.is_dir()))
}

/// What a path leads to; `None` where it leads to nothing, as a link to a blob that was removed does.
fn kind_of(path: &Path) -> Result<Option<fs::Metadata>, HubError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_absence(&error) => Ok(None),
        Err(source) => Err(HubError::Unreadable {
            path: path.to_owned(),
            source,
        }),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The names of the folders in a folder, in order; none where it is missing.
fn folder_names(path: &Path) -> Result<Vec<String>, HubError> {
    let unreadable = |source| HubError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if is_absence(&error) => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().into_string();
        if let Ok(name) = name
            && entry.path().is_dir()
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a text names something in a folder, and leads nowhere else.
pub(crate) fn is_plain_name(name: &str) -> bool {
    Path::new(name).file_name() == Some(name.as_ref()) && !name.contains(['/', '\\', '\0', ':'])
}

/// Whether a revision can be the beginning of a commit's hash, by huggingface_hub's rule.
fn is_commit(revision: &str) -> bool {
    (5..=40).contains(&revision.len()) && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}
