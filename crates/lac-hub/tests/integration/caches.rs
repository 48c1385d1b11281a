//! Which snapshot a name and a revision mean.

use std::fs;
use std::path::Path;

use lac_hub::{Absence, HubError, Repository, RepositoryKind, SnapshotChoice, cached};
use tempfile::TempDir;

use crate::{COMMIT, OTHER, model, repository_folder, settings, write_files};

/// A cache with these references and snapshots of `org/name`.
fn cache(references: &[(&str, &str)], commits: &[&str]) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let folder = repository_folder(home.path());
    for (name, text) in references {
        write_files(&folder.join("refs"), [(*name, *text)]);
    }
    for commit in commits {
        write_files(
            &folder.join("snapshots").join(commit),
            [("config.json", "{}")],
        );
    }
    home
}

#[test]
fn a_revision_means_the_snapshot_that_huggingface_hub_takes() {
    let with_line_end = format!("{COMMIT}\n");
    let with_more = format!("\u{feff} {COMMIT}\r\n\0");
    let with_more = with_more.trim_end_matches('\0');
    let upper = format!("org/name@{}", COMMIT.to_uppercase());
    let of_commit = format!("org/name@{OTHER}");
    let main: &[(&str, &str)] = &[("main", COMMIT)];
    let named = SnapshotChoice::Named;
    for (references, commits, id, expected, choice) in [
        (main, &[COMMIT][..], "org/name", COMMIT, named),
        (main, &[COMMIT, OTHER], "org/name", COMMIT, named),
        (main, &[COMMIT, OTHER], "org/name@main", COMMIT, named),
        (main, &[COMMIT, OTHER], &of_commit, OTHER, named),
        (
            &[("main", &with_line_end)],
            &[COMMIT, OTHER],
            "org/name",
            COMMIT,
            named,
        ),
        (
            &[("main", with_more)],
            &[COMMIT, OTHER],
            "org/name",
            COMMIT,
            named,
        ),
        (
            &[("v1.0", OTHER), ("main", COMMIT)],
            &[COMMIT, OTHER],
            "org/name@v1.0",
            OTHER,
            named,
        ),
        (
            &[("refs/pr/1", OTHER)],
            &[COMMIT, OTHER],
            "org/name@refs/pr/1",
            OTHER,
            named,
        ),
        (
            &[("feature/x", OTHER)],
            &[COMMIT, OTHER],
            "org/name@feature/x",
            OTHER,
            named,
        ),
        // The beginning of a commit, in either case of letters.
        (main, &[COMMIT, OTHER], "org/name@6a1b02c", OTHER, named),
        (main, &[COMMIT, OTHER], &upper, COMMIT, named),
        // A branch may have the name of a commit's beginning.
        (
            &[("5f0b02c", OTHER)],
            &[COMMIT, OTHER],
            "org/name@5f0b02c",
            OTHER,
            named,
        ),
        // A program that puts plain names there.
        (&[], &["main"], "org/name", "main", named),
        (&[], &[COMMIT], "org/name", COMMIT, SnapshotChoice::OnlyOne),
        (
            &[("main", "")],
            &[COMMIT],
            "org/name",
            COMMIT,
            SnapshotChoice::OnlyOne,
        ),
        (
            &[("v1.0", COMMIT)],
            &[COMMIT],
            "org/name",
            COMMIT,
            SnapshotChoice::OnlyOne,
        ),
    ] {
        let home = cache(references, commits);
        let found = cached(&settings(home.path(), &[]), &model(id))
            .unwrap_or_else(|error| panic!("{id} with {references:?}: {error}"));
        assert_eq!(found.commit(), expected, "{id} with {references:?}");
        assert_eq!(found.choice(), choice, "{id} with {references:?}");
        let folder = repository_folder(home.path())
            .join("snapshots")
            .join(expected);
        assert_eq!(found.folder(), folder);
        assert_eq!(
            found.file("config.json").unwrap(),
            Some(folder.join("config.json"))
        );
        assert_eq!(found.file("other.json").unwrap(), None);
    }
}

#[test]
fn what_the_cache_lacks_is_said() {
    let twin = format!("{}0", &COMMIT[..39]);
    let main: &[(&str, &str)] = &[("main", COMMIT)];
    for (references, commits, id, parts) in [
        (
            main,
            &[COMMIT][..],
            "org/other",
            &["no folder", "models--org--other"][..],
        ),
        (main, &[OTHER], "org/name", &["revision main", OTHER]),
        (
            main,
            &[COMMIT],
            "org/name@v1",
            &["org/name@v1", "revision v1", COMMIT],
        ),
        (main, &[COMMIT], "org/name@abcdef0", &["revision abcdef0"]),
        // Four characters are no commit.
        (main, &[COMMIT], "org/name@5f0b", &["revision 5f0b"]),
        (&[], &[], "org/name", &["no folder"]),
        (
            &[],
            &[COMMIT, OTHER],
            "org/name",
            &["which snapshot is main", COMMIT, OTHER, "behind an @"],
        ),
        (
            &[],
            &[COMMIT, &twin],
            "org/name@5f0b02c",
            &["which snapshot is 5f0b02c", COMMIT, &twin],
        ),
        (
            &[("v1", COMMIT)],
            &[COMMIT],
            "org/name@main",
            &["revision main"],
        ),
        // refs/release is a folder there.
        (
            &[("release/1", COMMIT)],
            &[COMMIT],
            "org/name@release",
            &["revision release"],
        ),
    ] {
        let home = cache(references, commits);
        let error = cached(&settings(home.path(), &[]), &model(id)).unwrap_err();
        assert!(matches!(error, HubError::NotFound { .. }), "{error:?}");
        let message = error.to_string();
        for part in parts {
            assert!(
                message.contains(part),
                "{id}: {part:?} is not in: {message}"
            );
        }
    }
}

#[test]
fn models_and_data_sets_are_found_in_one_way() {
    let home = tempfile::tempdir().unwrap();
    let snapshot = format!("snapshots/{COMMIT}/data.csv");
    for folder in [
        "models--org--name",
        "datasets--org--name",
        "datasets--boolq",
    ] {
        let folder = home.path().join("hub").join(folder);
        write_files(&folder, [("refs/main", COMMIT), (snapshot.as_str(), "")]);
    }
    let settings = settings(home.path(), &[]);
    for (kind, id, folder) in [
        (RepositoryKind::Model, "org/name", "models--org--name"),
        (RepositoryKind::DataSet, "org/name", "datasets--org--name"),
        (RepositoryKind::DataSet, "boolq", "datasets--boolq"),
    ] {
        let repository = Repository::parse(kind, id).unwrap();
        let found = cached(&settings, &repository).unwrap();
        let expected = home
            .path()
            .join("hub")
            .join(folder)
            .join("snapshots")
            .join(COMMIT);
        assert_eq!(found.folder(), expected);
    }
}

#[test]
fn an_older_cache_is_looked_into_after_the_first() {
    let home = tempfile::tempdir().unwrap();
    let write = |cache: &str, commit: &str| {
        let snapshot = format!("snapshots/{commit}/config.json");
        let folder = home.path().join(cache).join("models--org--name");
        write_files(&folder, [("refs/main", commit), (snapshot.as_str(), "{}")]);
    };
    let older = home.path().join("older").display().to_string();
    let settings = settings(home.path(), &[("TRANSFORMERS_CACHE", &older)]);
    let error = cached(&settings, &model("org/name")).unwrap_err();
    let HubError::NotFound { absence, .. } = &error else {
        panic!("{error:?}");
    };
    let Absence::Repository { looked_in } = absence.as_ref() else {
        panic!("{error:?}");
    };
    assert_eq!(looked_in.len(), 2);
    write("older", OTHER);
    assert_eq!(
        cached(&settings, &model("org/name")).unwrap().commit(),
        OTHER
    );
    write("hub", COMMIT);
    assert_eq!(
        cached(&settings, &model("org/name")).unwrap().commit(),
        COMMIT
    );
}

/// Files are links into `blobs` where the file system has links, and a cache as a whole may be behind one.
#[cfg(unix)]
#[test]
fn links_are_followed() {
    use std::os::unix::fs::symlink;

    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("elsewhere");
    write_files(&folder, [("refs/main", COMMIT), ("blobs/e1", "{}")]);
    let snapshot = folder.join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    symlink("../../blobs/e1", snapshot.join("config.json")).unwrap();
    symlink("../../blobs/gone", snapshot.join("tokenizer.json")).unwrap();
    symlink("loop.json", snapshot.join("loop.json")).unwrap();
    fs::create_dir(home.path().join("hub")).unwrap();
    symlink(&folder, repository_folder(home.path())).unwrap();
    let found = cached(&settings(home.path(), &[]), &model("org/name")).unwrap();
    let config = found.file("config.json").unwrap().unwrap();
    assert_eq!(fs::read_to_string(config).unwrap(), "{}");
    // A link to a blob that was removed, and one that leads to itself.
    assert_eq!(found.file("tokenizer.json").unwrap(), None);
    let error = found.file("loop.json").unwrap_err();
    assert!(error.to_string().contains("loop.json"), "{error}");
}

#[test]
fn a_cache_that_is_no_folder_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("hub"), "").unwrap();
    let error = cached(&settings(home.path(), &[]), &model("org/name")).unwrap_err();
    assert!(matches!(error, HubError::NotFound { .. }), "{error:?}");
    let relative = Path::new("no/such/folder");
    let error = cached(&settings(relative, &[]), &model("org/name")).unwrap_err();
    assert!(error.to_string().contains("no/such/folder/hub"), "{error}");
}
