//! Which of a snapshot's files are missed, and when the hub is asked for them. No hub answers here.

use std::collections::BTreeSet;
use std::path::Path;

use lac_hub::{HubError, SnapshotChoice, WantedFiles, find};

use crate::{COMMIT, OTHER, model, repository_folder, settings, write_files};

/// `a` and `b` are needed, `c` is read where it is there.
pub(crate) struct Files;

impl WantedFiles for Files {
    fn optional(&self) -> &[&str] {
        &["c"]
    }

    fn is_wanted(&self, path: &str, _listing: &BTreeSet<String>) -> bool {
        ["a", "b", "c"].contains(&path)
    }

    fn missing(&self, folder: &Path) -> Vec<String> {
        let needed = ["a", "b"].into_iter();
        let is_missing = |name: &&str| !folder.join(name).exists();
        needed.filter(is_missing).map(str::to_owned).collect()
    }

    fn check(&self, listing: &BTreeSet<String>) -> Result<(), String> {
        if listing.contains("a") {
            Ok(())
        } else {
            Err("it has no a".to_owned())
        }
    }
}

/// A hub that refuses connections.
const NO_HUB: (&str, &str) = ("HF_ENDPOINT", "http://127.0.0.1:1");
const OFFLINE: (&str, &str) = ("HF_HUB_OFFLINE", "1");

#[test]
fn what_is_whole_is_found_without_a_hub() {
    let tree = r#"{"format_version": 1, "files": {"a": {}, "b": {}, "readme": {}}}"#;
    let tree_file = format!("trees/{COMMIT}.json");
    let marker = format!(".no_exist/{COMMIT}/c");
    let (a, b, c) = ("a", "b", "c");
    for (snapshot, beside) in [
        (&[a, b, c][..], &[][..]),
        // The cache knows that the repository has no c.
        (&[a, b], &[(marker.as_str(), "")][..]),
        (&[a, b], &[(tree_file.as_str(), tree)]),
        // The cache does not know it, and what is there is enough.
        (&[a, b], &[]),
    ] {
        let home = tempfile::tempdir().unwrap();
        let folder = repository_folder(home.path());
        write_files(&folder, [("refs/main", COMMIT)]);
        write_files(&folder, beside.iter().copied());
        let target = folder.join("snapshots").join(COMMIT);
        write_files(&target, snapshot.iter().map(|name| (*name, "x")));
        for variables in [&[OFFLINE][..], &[NO_HUB]] {
            let found = find(
                &settings(home.path(), variables),
                &model("org/name"),
                &Files,
            );
            assert_eq!(
                found.unwrap().folder(),
                target,
                "{snapshot:?} {variables:?}"
            );
        }
    }
}

#[test]
fn what_is_missing_is_named_with_the_reason_why_it_was_not_downloaded() {
    let tree = r#"{"format_version": 1, "files": {"a": {}, "b": {}, "c": {}}}"#;
    let tree_file = format!("trees/{COMMIT}.json");
    for (snapshot, beside, parts) in [
        (&["a"][..], &[][..], &["lacks b", COMMIT][..]),
        (&["c"], &[], &["lacks a, b"]),
        (
            &["a"],
            &[("blobs/e1.incomplete", "")],
            &["lacks b", "one download was not finished"],
        ),
        (
            &["a"],
            &[("blobs/e1.incomplete", ""), ("blobs/e2.sync.part", "")],
            &["lacks b", "2 downloads were not finished"],
        ),
        // The repository is known to have c.
        (&["a", "b"], &[(tree_file.as_str(), tree)], &["lacks c"]),
    ] {
        let home = tempfile::tempdir().unwrap();
        let folder = repository_folder(home.path());
        write_files(&folder, [("refs/main", COMMIT)]);
        write_files(&folder, beside.iter().copied());
        write_files(
            &folder.join("snapshots").join(COMMIT),
            snapshot.iter().map(|name| (*name, "x")),
        );
        for (variable, reason) in [
            (OFFLINE, "HF_HUB_OFFLINE forbids"),
            (
                ("TRANSFORMERS_OFFLINE", "yes"),
                "TRANSFORMERS_OFFLINE forbids",
            ),
            #[cfg(feature = "download")]
            (NO_HUB, "http://127.0.0.1:1"),
            #[cfg(not(feature = "download"))]
            (NO_HUB, "compiled without downloads"),
        ] {
            let settings = settings(home.path(), &[variable]);
            let error = find(&settings, &model("org/name"), &Files).unwrap_err();
            assert!(matches!(error, HubError::NotFound { .. }), "{error:?}");
            let message = error.to_string();
            for part in parts.iter().chain(&[reason]) {
                assert!(message.contains(part), "{part:?} is not in: {message}");
            }
        }
    }
}

#[test]
fn the_only_snapshot_is_taken_where_neither_cache_nor_hub_names_one() {
    let home = tempfile::tempdir().unwrap();
    let snapshots = repository_folder(home.path()).join("snapshots");
    write_files(&snapshots.join(COMMIT), [("a", ""), ("b", "")]);
    for variable in [OFFLINE, NO_HUB] {
        let settings = settings(home.path(), &[variable]);
        let found = find(&settings, &model("org/name"), &Files).unwrap();
        assert_eq!(found.choice(), SnapshotChoice::OnlyOne);
        assert_eq!(found.commit(), COMMIT);
    }
    write_files(&snapshots.join(OTHER), [("a", ""), ("b", "")]);
    let error = find(
        &settings(home.path(), &[OFFLINE]),
        &model("org/name"),
        &Files,
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("which snapshot is main"),
        "{error}"
    );
}

/// The link says that the repository has the file.
#[cfg(unix)]
#[test]
fn a_link_to_a_blob_that_is_gone_is_a_missing_file() {
    let home = tempfile::tempdir().unwrap();
    let folder = repository_folder(home.path());
    let snapshot = folder.join("snapshots").join(COMMIT);
    write_files(&folder, [("refs/main", COMMIT)]);
    write_files(&snapshot, [("a", ""), ("b", "")]);
    std::os::unix::fs::symlink("../../blobs/e1", snapshot.join("c")).unwrap();
    let error = find(
        &settings(home.path(), &[OFFLINE]),
        &model("org/name"),
        &Files,
    )
    .unwrap_err();
    assert!(error.to_string().contains("lacks c"), "{error}");
}
