//! Files that a command will write, looked at before it computes: a mistake in a path must not cost the result.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use lac_eval::Results;
use lac_files::AtomicFile;

/// A file that a command reads or writes, and the flag or the argument that names it.
pub type Named<'a> = (&'a str, &'a Path);

/// Fails where `out` cannot be written, or where it is one of `others`, which the command reads or writes too. `-` and
/// devices are left alone.
pub fn check((flag, path): Named<'_>, others: &[Option<Named<'_>>]) -> Result<()> {
    check_apart((flag, path), others)?;
    let metadata = std::fs::metadata(path);
    let is_device = metadata.is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
    if path != Path::new("-") && !is_device {
        // Dropped at once: the file that is there stays.
        let file = AtomicFile::create(path);
        file.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The same for a file of results, which is continued if it exists.
pub fn check_results((flag, path): Named<'_>, others: &[Option<Named<'_>>]) -> Result<()> {
    check_not_stdout((flag, path), "a file of results is continued")?;
    check((flag, path), others)?;
    if path.is_file() {
        Results::read(path)?;
    }
    Ok(())
}

/// Fails where `out` is one of `others`.
pub fn check_apart((flag, path): Named<'_>, others: &[Option<Named<'_>>]) -> Result<()> {
    for (other_flag, other) in others.iter().flatten() {
        let is_same = match (place(path), place(other)) {
            (Some(path), Some(other)) => path == other,
            _ => false,
        };
        if is_same && path != Path::new("-") {
            bail!(
                "{flag} {} is the file of {other_flag}, which would be lost: name another one",
                path.display()
            );
        }
    }
    Ok(())
}

/// Fails for `-`; `reason` says why stdout cannot be meant.
pub fn check_not_stdout((flag, path): Named<'_>, reason: &str) -> Result<()> {
    if path == Path::new("-") {
        bail!(
            "{flag} -: {reason}, and does not go to stdout: name a file (./- is one of that name)"
        );
    }
    Ok(())
}

/// Returns the one path of a file that may not exist yet; `None` where its folder does not.
fn place(path: &Path) -> Option<PathBuf> {
    if let Ok(place) = path.canonicalize() {
        return Some(place);
    }
    let folder = match path.parent() {
        Some(folder) if folder != OsStr::new("") => folder,
        _ => Path::new("."),
    };
    Some(folder.canonicalize().ok()?.join(path.file_name()?))
}
