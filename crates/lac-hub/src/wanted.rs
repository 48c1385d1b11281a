//! What is wanted of a repository, and why it could not be downloaded.

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::HubError;

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

/// Why a download did not succeed.
#[cfg_attr(
    not(feature = "download"),
    expect(dead_code, reason = "nothing is asked, so nothing else can go wrong")
)]
pub(crate) enum FetchError {
    /// The hub has said nothing of the repository; the reason.
    Unreachable(String),
    /// It cannot be had; the reason.
    Failed(String),
    /// What is on the hub cannot be used.
    Unusable(HubError),
}
