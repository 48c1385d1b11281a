//! Caches that were damaged, or made to do harm: no panic, no path out of the cache, memory that the files bound.

use std::fs;
use std::path::{Component, Path};

use lac_hub::{Repository, RepositoryKind, cached, find};
use lac_test_corruption::{Allowance, cases, damaged_bytes, damaged_json, message, within};
use proptest::prelude::*;

use crate::wanted::Files;
use crate::{COMMIT, OTHER, model, repository_folder, settings, write_files};

const ALLOWANCE: Allowance = Allowance {
    per_byte: 300,
    constant: 1 << 20,
};

#[test]
fn a_reference_leads_nowhere_but_to_a_snapshot() {
    let long = "a".repeat(1 << 20);
    for text in [
        "../../../x",
        "/etc",
        "..",
        ".",
        "a/b",
        "a\\b",
        "C:x",
        "a\0b",
        &long,
    ] {
        let home = tempfile::tempdir().unwrap();
        let folder = repository_folder(home.path());
        write_files(&folder, [("refs/main", text)]);
        for commit in [COMMIT, OTHER] {
            write_files(&folder.join("snapshots").join(commit), [("a", "")]);
        }
        let settings = settings(home.path(), &[]);
        let error = within(ALLOWANCE, text.len(), || {
            cached(&settings, &model("org/name"))
        });
        let message = message(&error.unwrap_err());
        assert!(message.contains("main"), "{message}");
        assert!(message.len() < 4000, "{} bytes", message.len());
    }
}

#[cfg(unix)]
#[test]
fn pipes_and_folders_in_the_place_of_files_are_passed_over() {
    let home = tempfile::tempdir().unwrap();
    let folder = repository_folder(home.path());
    fs::create_dir_all(folder.join("refs/main")).unwrap();
    fs::create_dir_all(folder.join(format!("trees/{COMMIT}.json"))).unwrap();
    write_files(
        &folder.join("snapshots").join(COMMIT),
        [("a", ""), ("b", "")],
    );
    let settings = settings(home.path(), &[("HF_HUB_OFFLINE", "1")]);
    assert!(find(&settings, &model("org/name"), &Files).is_ok());
    let made = std::process::Command::new("mkfifo")
        .arg(folder.join("refs/pipe"))
        .status();
    if made.is_ok_and(|status| status.success()) {
        let error = cached(&settings, &model("org/name@pipe")).unwrap_err();
        assert!(error.to_string().contains("pipe"), "{error}");
    }
}

const TREE: &str = r#"{"format_version": 1, "files": {"a": {"oid": "1"}, "b": {}, "c": {}}}"#;

/// Looks for a model in a cache with this reference and this list of files.
fn look(reference: &[u8], tree: &[u8]) {
    let home = tempfile::tempdir().unwrap();
    let folder = repository_folder(home.path());
    write_files(
        &folder.join("snapshots").join(COMMIT),
        [("a", ""), ("b", "")],
    );
    fs::create_dir_all(folder.join("refs")).unwrap();
    fs::create_dir_all(folder.join("trees")).unwrap();
    fs::write(folder.join("refs/main"), reference).unwrap();
    fs::write(folder.join(format!("trees/{COMMIT}.json")), tree).unwrap();
    let settings = settings(home.path(), &[("HF_HUB_OFFLINE", "1")]);
    let n_bytes = reference.len() + tree.len();
    let found = within(ALLOWANCE, n_bytes, || {
        find(&settings, &model("org/name"), &Files)
    });
    if let Err(error) = found {
        let message = message(&error);
        assert!((1..4000).contains(&message.len()), "{message}");
    }
}

proptest! {
    #![proptest_config(cases(64))]

    /// No name leads out of the cache.
    #[test]
    fn any_text_is_a_name_or_an_error(text in "[a-z.@/:\\\\~$%-]{0,12}|.{0,20}|hf://.{0,20}|org/name@.{0,12}") {
        for kind in [RepositoryKind::Model, RepositoryKind::DataSet] {
            let Ok(repository) = Repository::parse(kind, &text) else {
                continue;
            };
            let is_plain = |path: &str| {
                let parts = Path::new(path).components();
                parts.clone().all(|part| matches!(part, Component::Normal(_))) && parts.count() > 0
            };
            let folder = repository.folder_name();
            assert!(is_plain(&folder) && !folder.contains('/'), "{text}: {folder}");
            assert!(repository.revision().is_none_or(is_plain), "{text}");
        }
    }

    /// What cannot be expanded stays; nothing panics.
    #[test]
    fn any_path_is_expanded(text in "[a$~{}%/A_ ]{0,16}|.{0,20}") {
        let settings = settings(Path::new("/home/me"), &[("HF_HUB_CACHE", &text), ("A", "$A~{")]);
        assert!(!settings.cache.as_os_str().is_empty());
    }

    #[test]
    fn damaged_references_are_survived(bytes in damaged_bytes(COMMIT.as_bytes().to_vec())) {
        look(&bytes, b"");
    }

    #[test]
    fn damaged_listings_are_survived(
        text in damaged_json(TREE),
        bytes in damaged_bytes(TREE.as_bytes().to_vec()),
    ) {
        look(COMMIT.as_bytes(), text.as_bytes());
        look(COMMIT.as_bytes(), &bytes);
    }
}
