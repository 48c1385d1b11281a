//! Data sets in the local Hugging Face cache. Nothing is downloaded.

use std::path::PathBuf;

use lac_hub::{Environment, HubSettings, Repository, RepositoryKind};

use crate::error::{Error, Result};

/// Finds the snapshot of a data set such as `cais/mmlu` in the local Hugging Face cache, where huggingface_hub would
/// find it; `cais/mmlu@REVISION` names another one than `main`.
///
/// # Errors
/// [`Error::NotFound`], which says where it was looked for.
pub fn cached_dataset(id: &str) -> Result<PathBuf> {
    let settings = HubSettings::from_environment(&Environment::of_process());
    Repository::parse(RepositoryKind::DataSet, id)
        .and_then(|data_set| lac_hub::cached(&settings, &data_set))
        .map(|snapshot| snapshot.folder())
        .map_err(|error| Error::NotFound {
            path: id.into(),
            reason: format!(
                "there is no such file or folder, and {}",
                with_causes(&error)
            ),
        })
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
