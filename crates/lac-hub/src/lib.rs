//! Models and data sets in Hugging Face's hub cache, found as huggingface_hub finds them.
//!
//! | | |
//! | --- | --- |
//! | [`HubSettings`] | where the cache lies, whether the hub may be asked and as whom: every variable that huggingface_hub honours, read from an [`Environment`] |
//! | [`Repository`] | `organisation/name`, also with `@revision` |
//! | [`cached`] | the [`Snapshot`] that the cache holds; the network is not asked |
//! | [`find`] | the snapshot with the [`WantedFiles`] of a repository; with the feature `download`, what is missing is downloaded |
//!
//! ```
//! use lac_hub::{Environment, HubError, HubSettings, Repository, RepositoryKind, cached};
//!
//! // A cache as another program has left it.
//! # let home = tempfile::tempdir()?;
//! let folder = home.path().join("caches/hub/models--org--name");
//! let snapshot = folder.join("snapshots/5f0b02c75b57c5855da9ae460ce51323ea669d8a");
//! std::fs::create_dir_all(&snapshot)?;
//! std::fs::write(snapshot.join("config.json"), "{}")?;
//! std::fs::create_dir_all(folder.join("refs"))?;
//! std::fs::write(folder.join("refs/main"), "5f0b02c75b57c5855da9ae460ce51323ea669d8a")?;
//!
//! let variables = [("HF_HOME", "~/caches"), ("HF_HUB_OFFLINE", "yes")];
//! let settings = HubSettings::from_environment(&Environment::new(home.path(), variables));
//! assert_eq!(settings.offline, Some("HF_HUB_OFFLINE"));
//!
//! let model = Repository::parse(RepositoryKind::Model, "org/name")?;
//! let found = cached(&settings, &model)?;
//! assert_eq!(found.folder(), snapshot);
//! assert_eq!(found.file("config.json")?, Some(snapshot.join("config.json")));
//! assert_eq!(found.file("model.safetensors")?, None);
//!
//! let other = Repository::parse(RepositoryKind::Model, "org/name@v2")?;
//! let error = cached(&settings, &other).unwrap_err();
//! assert!(matches!(error, HubError::NotFound { .. }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_debug_implementations, missing_docs, unreachable_pub)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub use cache::{Snapshot, SnapshotChoice};
pub use environment::Environment;
pub use error::{Absence, HubError};
pub use find::{cached, find};
pub use repository::{Repository, RepositoryKind};
pub use settings::HubSettings;
pub use wanted::WantedFiles;

mod cache;
#[cfg(feature = "download")]
mod download;
mod environment;
mod error;
mod find;
mod repository;
mod settings;
mod wanted;
