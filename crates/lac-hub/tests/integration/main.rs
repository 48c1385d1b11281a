//! Tests of lac-hub through its public interface.

#![allow(clippy::unwrap_used)]

mod caches;
mod corruption;
#[cfg(feature = "download")]
mod download;
mod names;
mod settings;
mod wanted;

use std::fs;
use std::path::{Path, PathBuf};

use lac_hub::{Environment, HubSettings, Repository, RepositoryKind};

const COMMIT: &str = "5f0b02c75b57c5855da9ae460ce51323ea669d8a";
const OTHER: &str = "6a1b02c75b57c5855da9ae460ce51323ea669d8b";

/// Writes files into a folder, with the folders that lead to them.
fn write_files<'f>(folder: &Path, files: impl IntoIterator<Item = (&'f str, &'f str)>) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Settings of a cache in `hub` of a home folder, with more variables.
fn settings(home: &Path, variables: &[(&str, &str)]) -> HubSettings {
    let own = [("HF_HOME", "~")];
    let variables = own.iter().chain(variables).copied();
    HubSettings::from_environment(&Environment::new(home, variables))
}

fn model(id: &str) -> Repository {
    Repository::parse(RepositoryKind::Model, id).unwrap()
}

/// The folder of `org/name` in the cache of a home folder.
fn repository_folder(home: &Path) -> PathBuf {
    home.join("hub/models--org--name")
}
