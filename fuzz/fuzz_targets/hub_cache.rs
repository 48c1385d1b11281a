//! What the hub cache says of a repository: the input's first line is a reference, the rest the list of a commit's
//! files; and the first line as the name of a repository and as a path with variables.
#![no_main]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use lac_fuzz::{Folder, check};
use lac_hub::{Environment, HubSettings, Repository, RepositoryKind, WantedFiles, find};
use libfuzzer_sys::fuzz_target;

const COMMIT: &str = "5f0b02c75b57c5855da9ae460ce51323ea669d8a";

struct Files;

impl WantedFiles for Files {
    fn optional(&self) -> &[&str] {
        &["b"]
    }

    fn is_wanted(&self, path: &str, _listing: &BTreeSet<String>) -> bool {
        path.len() == 1
    }

    fn missing(&self, _folder: &Path) -> Vec<String> {
        Vec::new()
    }

    fn check(&self, _listing: &BTreeSet<String>) -> Result<(), String> {
        Ok(())
    }
}

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::default();
    let repository = folder.path().join("hub/models--org--name");
    for inner in ["refs", "trees", &format!("snapshots/{COMMIT}")] {
        std::fs::create_dir_all(repository.join(inner)).expect("a folder in a temporary folder");
    }
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let end = bytes
        .iter()
        .position(|&byte| byte == b'\n')
        .unwrap_or(bytes.len());
    let (reference, listing) = bytes.split_at(end);
    let repository = "hub/models--org--name";
    FOLDER.write(&format!("{repository}/refs/main"), reference);
    FOLDER.write(&format!("{repository}/trees/{COMMIT}.json"), listing);
    let offline = [("HF_HOME", "~"), ("HF_HUB_OFFLINE", "1")];
    let settings = HubSettings::from_environment(&Environment::new(FOLDER.path(), offline));
    if let Some(model) = check(Repository::parse(RepositoryKind::Model, "org/name")) {
        check(find(&settings, &model, &Files));
    }
    let Ok(text) = std::str::from_utf8(reference) else {
        return;
    };
    if let Ok(named) = Repository::parse(RepositoryKind::DataSet, text) {
        assert!(!named.folder_name().contains(['/', '\\']), "{named:?}");
    }
    let variables = [("HF_HUB_CACHE", text), ("A", "$A~")];
    HubSettings::from_environment(&Environment::new("/home/me", variables));
});
