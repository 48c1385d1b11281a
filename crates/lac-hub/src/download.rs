//! Files from the hub into the cache, with the hf-hub library.

use std::collections::BTreeSet;
use std::fs;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;

use hf_hub::api::RepoInfo;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use crate::cache::{Located, MAIN, Snapshot, is_file, is_plain_name, locate};
use crate::error::HubError;
use crate::repository::{Repository, RepositoryKind};
use crate::settings::HubSettings;
use crate::wanted::{FetchError, WantedFiles};

/// Downloads the files that are wanted: those that a snapshot lacks, or all of them.
pub(crate) fn fetch(
    settings: &HubSettings,
    repository: &Repository,
    snapshot: Option<&Snapshot>,
    wanted: &dyn WantedFiles,
) -> Result<Snapshot, FetchError> {
    let cache = snapshot.map_or(&settings.cache, |snapshot| &snapshot.cache);
    let failed = |error: ApiError| FetchError::Failed(explain(settings, &error));
    let api = ApiBuilder::from_cache(Cache::new(cache.clone()))
        .with_endpoint(settings.endpoint.clone())
        .with_token(settings.token.clone())
        .with_progress(settings.shows_progress)
        .with_user_agent("lac", env!("CARGO_PKG_VERSION"))
        .build()
        .map_err(failed)?;
    // A snapshot is completed with files of its own commit.
    let revision = match snapshot {
        Some(snapshot) => snapshot.commit(),
        None => repository.revision().unwrap_or(MAIN),
    };
    let info = info(&api, settings, repository, revision)?;
    let listing: BTreeSet<String> = info
        .siblings
        .into_iter()
        .map(|file| file.rfilename)
        .collect();
    wanted.check(&listing).map_err(|reason| {
        FetchError::Unusable(HubError::Unusable {
            repository: repository.to_string(),
            reason,
        })
    })?;
    let commit = snapshot.map_or(info.sha, |snapshot| snapshot.commit().to_owned());
    let folder = cache.join(repository.folder_name());
    if snapshot.is_none() {
        write_reference(&folder, revision, &commit)?;
    }
    let target = folder.join("snapshots").join(&commit);
    let files = api.repo(repo(repository, &commit));
    for path in listing
        .iter()
        .filter(|path| wanted.is_wanted(path, &listing))
    {
        get(&files, &target, path).map_err(failed)?;
    }
    // What was downloaded may name more: an index names the files of weights.
    for path in wanted.missing(&target) {
        if listing.contains(&path) {
            get(&files, &target, &path).map_err(failed)?;
        }
    }
    // The library notes that a commit is at itself.
    let _ = fs::remove_file(folder.join("refs").join(&commit));
    let at_commit =
        match Repository::parse(repository.kind(), &format!("{}@{commit}", repository.id())) {
            Ok(at_commit) => at_commit,
            Err(error) => return Err(FetchError::Unusable(error)),
        };
    let mut in_cache = settings.clone();
    in_cache.cache = cache.clone();
    match locate(&in_cache, &at_commit).map_err(FetchError::Unusable)? {
        Located::Snapshot(snapshot) => {
            for path in wanted.optional() {
                if !listing.contains(*path) {
                    snapshot.mark_absent(path);
                }
            }
            Ok(snapshot)
        }
        Located::Absent(absence) => Err(FetchError::Failed(absence.to_string())),
    }
}

/// Asks for the commit and the files of a revision, and waits for as long as the settings say.
fn info(
    api: &Api,
    settings: &HubSettings,
    repository: &Repository,
    revision: &str,
) -> Result<RepoInfo, FetchError> {
    let request = api.repo(repo(repository, revision));
    let (sender, receiver) = channel();
    let asked = thread::Builder::new().spawn(move || {
        // The caller may have stopped waiting.
        let _ = sender.send(request.info());
    });
    if let Err(error) = asked {
        let reason = format!("no thread can be started: {error}");
        return Err(FetchError::Unreachable(reason));
    }
    let info = match receiver.recv_timeout(settings.timeout) {
        Ok(info) => info.map_err(|error| FetchError::Unreachable(explain(settings, &error)))?,
        Err(RecvTimeoutError::Timeout) => {
            return Err(FetchError::Unreachable(format!(
                "it cannot be fetched: {} did not answer within {} seconds",
                settings.endpoint,
                settings.timeout.as_secs()
            )));
        }
        Err(RecvTimeoutError::Disconnected) => {
            let reason = format!("{} cannot be asked", settings.endpoint);
            return Err(FetchError::Unreachable(reason));
        }
    };
    if !is_plain_name(&info.sha) {
        let reason = format!("{} gave {:?} as a commit", settings.endpoint, info.sha);
        return Err(FetchError::Failed(reason));
    }
    for file in &info.siblings {
        let parts = file.rfilename.split('/');
        if !parts.clone().all(is_plain_name) {
            let reason = format!("{} lists a file {:?}", settings.endpoint, file.rfilename);
            return Err(FetchError::Failed(reason));
        }
    }
    Ok(info)
}

fn repo(repository: &Repository, revision: &str) -> Repo {
    let kind = match repository.kind() {
        RepositoryKind::Model => RepoType::Model,
        RepositoryKind::DataSet => RepoType::Dataset,
    };
    Repo::with_revision(repository.id().to_owned(), kind, revision.to_owned())
}

/// Downloads a file that the snapshot lacks.
fn get(files: &ApiRepo, snapshot: &std::path::Path, path: &str) -> Result<(), ApiError> {
    let target = snapshot.join(path);
    if is_file(&target).unwrap_or(false) {
        return Ok(());
    }
    // A link to a blob that is gone would be in the way of the new one.
    if target.is_symlink() {
        fs::remove_file(&target)?;
    }
    files.download(path).map(|_| ())
}

/// Notes which commit a branch or tag was at.
fn write_reference(
    folder: &std::path::Path,
    revision: &str,
    commit: &str,
) -> Result<(), FetchError> {
    if revision == commit {
        return Ok(());
    }
    let path = folder.join("refs").join(revision);
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        let beside = path.with_extension("lac-tmp");
        fs::write(&beside, commit)?;
        fs::rename(beside, &path)
    };
    write().map_err(|source: std::io::Error| {
        FetchError::Failed(format!("{} cannot be written: {source}", path.display()))
    })
}

/// What the library says, with what can be done about it.
fn explain(settings: &HubSettings, error: &ApiError) -> String {
    let text = error.to_string();
    let hint = match &text {
        text if text.contains("status: 401") || text.contains("status: 403") => {
            ": is it private, or are there terms to agree to? HF_TOKEN takes your token"
        }
        text if text.contains("status: 404") => ": there is no such repository or revision",
        _ => "",
    };
    format!(
        "it cannot be fetched from {}: {text}{hint}",
        settings.endpoint
    )
}
