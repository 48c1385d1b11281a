//! What stands under a name after a write that went well, failed, or was forestalled.

#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Write};
use std::path::Path;

use lac_files::{
    AtomicFile, Busy, FolderLock, is_busy, is_leftover, open_locked, write_atomically,
};
use tempfile::TempDir;

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    write_atomically(path, |file| file.write_all(text.as_bytes()))
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn nothing_is_left_of_a_file_that_is_not_finished() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a");
    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(b"half").unwrap();
    let [beside] = &names(&folder)[..] else {
        panic!("one temporary file");
    };
    assert!(is_leftover(beside) && !is_leftover("a"), "{beside}");
    drop(file);
    assert!(names(&folder).is_empty());
    write(&path, "whole").unwrap();
    assert_eq!(names(&folder), ["a"]);
}

#[test]
fn what_cannot_be_replaced_is_refused() {
    let folder = TempDir::new().unwrap();
    let check = |path: &Path, kind| {
        let error = write(path, "new").unwrap_err();
        assert_eq!(error.kind(), kind, "{}: {error}", path.display());
    };
    check(folder.path(), ErrorKind::IsADirectory);
    check(&folder.path().join("no/folder"), ErrorKind::NotFound);
    let file = folder.path().join("file");
    write(&file, "old").unwrap();
    check(&file.join("below"), ErrorKind::NotADirectory);
    let mut permissions = std::fs::metadata(&file).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&file, permissions).unwrap();
    check(&file, ErrorKind::PermissionDenied);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(names(&folder), ["file"]);
}

#[test]
fn a_folder_has_one_writer() {
    let folder = TempDir::new().unwrap();
    let first = FolderLock::take(folder.path()).unwrap();
    let error = FolderLock::take(folder.path()).unwrap_err();
    let Busy { process, .. } = is_busy(&error).unwrap();
    if cfg!(target_os = "linux") && Path::new("/proc/locks").exists() {
        // File systems that number their files in another way than the kernel does are not told of.
        assert!(
            process.is_none_or(|process| process == std::process::id()),
            "{error}"
        );
    }
    drop(first);
    assert!(names(&folder).is_empty());
    drop(FolderLock::take(folder.path()).unwrap());
    assert!(is_busy(&ErrorKind::ResourceBusy.into()).is_none());
}

#[test]
fn a_file_that_is_written_to_is_not_replaced() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log");
    let mut log = open_locked(&path).unwrap();
    log.write_all(b"line\n").unwrap();
    assert_eq!(
        write(&path, "new").unwrap_err().kind(),
        ErrorKind::ResourceBusy
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "line\n");
    drop(log);

    // While it is being replaced, nobody begins to write to it.
    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(b"new").unwrap();
    assert!(is_busy(&open_locked(&path).unwrap_err()).is_some());
    file.finish().unwrap();
    let log = open_locked(&path).unwrap();
    assert_eq!(log.metadata().unwrap().len(), 3);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn permissions_are_those_of_any_file_or_of_the_one_before() {
        let folder = TempDir::new().unwrap();
        let ordinary = folder.path().join("ordinary");
        std::fs::write(&ordinary, "").unwrap();
        let path = folder.path().join("whole");
        write(&path, "a").unwrap();
        assert_eq!(mode(&path), mode(&ordinary));
        for bits in [0o600, 0o664] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bits)).unwrap();
            write(&path, "b").unwrap();
            assert_eq!(mode(&path), bits);
        }
    }

    #[test]
    fn links_stay_and_their_files_are_replaced() {
        let folder = TempDir::new().unwrap();
        let (link, file) = (folder.path().join("link"), folder.path().join("file"));
        write(&file, "old").unwrap();
        symlink("file", &link).unwrap();
        write(&link, "new").unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
    }

    /// Renaming a file over a device would put the file in its place.
    #[test]
    fn devices_are_written_to_as_they_are() {
        let null = Path::new("/dev/null");
        write(null, "away").unwrap();
        assert!(!std::fs::metadata(null).unwrap().is_file());
        let full = Path::new("/dev/full");
        if full.exists() {
            let error = write(full, "away").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StorageFull);
        }
    }
}
