//! Files that are written beside their name and then renamed.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::lock::{Hold, hold};

/// How the names of temporary files begin and end.
const PREFIX: &str = ".lac-";
const SUFFIX: &str = ".tmp";

/// A file that appears under its name when it is finished. Dropped before that, it leaves what was there.
///
/// What was there may be a link, which stays one and whose file is replaced, or a device or a pipe, such as
/// `/dev/stdout`: those are written to as they are. A new file has the permissions of any new file, one that
/// replaces another has those of the other.
#[derive(Debug)]
pub struct WholeFile {
    path: PathBuf,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// A temporary file beside the target. The file that is to be replaced is held until it is.
    Beside(NamedTempFile, Option<Hold>),
    /// A device or a pipe.
    InPlace(File),
}

impl WholeFile {
    /// Starts a file.
    ///
    /// # Errors
    /// What the system reports; [`Busy`](crate::Busy), as the source of an error of the kind
    /// [`ErrorKind::ResourceBusy`], when another writer holds the file; [`ErrorKind::PermissionDenied`] for a
    /// file that is marked read-only, [`ErrorKind::IsADirectory`] for a folder.
    pub fn create(path: &Path) -> io::Result<Self> {
        let Ok(metadata) = std::fs::metadata(path) else {
            // Nothing is there, or nothing can be seen: what hinders shows when the file is made.
            let target = Target::Beside(temporary(path)?, None);
            return Ok(Self {
                path: path.to_owned(),
                target,
            });
        };
        if metadata.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        if !metadata.is_file() {
            let file = OpenOptions::new().write(true).open(path)?;
            return Ok(Self {
                path: path.to_owned(),
                target: Target::InPlace(file),
            });
        }
        if metadata.permissions().readonly() {
            let reason = "the file that is there is marked read-only";
            return Err(io::Error::new(ErrorKind::PermissionDenied, reason));
        }
        let path = match std::fs::symlink_metadata(path)?.is_symlink() {
            true => path.canonicalize()?,
            false => path.to_owned(),
        };
        let held = hold(&path)?;
        let file = temporary(&path)?;
        file.as_file().set_permissions(metadata.permissions())?;
        Ok(Self {
            path,
            target: Target::Beside(file, held),
        })
    }

    /// Syncs the file and gives it its name.
    ///
    /// # Errors
    /// What the system reports; what was there stays then.
    pub fn finish(self) -> io::Result<()> {
        match self.target {
            Target::Beside(file, held) => {
                file.as_file().sync_all()?;
                // Elsewhere a file that is open cannot be replaced.
                let held = if cfg!(unix) { held } else { None };
                file.persist(&self.path)?;
                drop(held);
                sync_folder(&self.path);
                Ok(())
            }
            Target::InPlace(mut file) => file.flush(),
        }
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.target {
            // tempfile would add the temporary name to errors.
            Target::Beside(file, _) => file.as_file_mut().write(bytes),
            Target::InPlace(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.target {
            Target::Beside(file, _) => file.as_file_mut().flush(),
            Target::InPlace(file) => file.flush(),
        }
    }
}

/// Writes a whole file: a reader sees the old one or the new one, and a failure leaves the old one as it was.
///
/// # Errors
/// As [`WholeFile`]; what `write` reports.
pub fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = BufWriter::new(WholeFile::create(path)?);
    write(&mut file)?;
    let file = file.into_inner().map_err(|error| error.into_error())?;
    file.finish()
}

/// Whether a file's name is that of a temporary file, which a killed program may leave. It can be removed.
pub fn is_leftover(file_name: &str) -> bool {
    file_name.starts_with(PREFIX) && file_name.ends_with(SUFFIX)
}

/// A temporary file beside the target, with the permissions of a new file.
fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The user's mask still applies.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder_of(path));
    // tempfile's error names the temporary file, which says nothing to a user.
    file.map_err(|error| match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error.kind().into(),
    })
}

/// The name is kept through a power cut as well, where the system can promise that.
fn sync_folder(path: &Path) {
    if let Ok(folder) = File::open(folder_of(path)) {
        let _ = folder.sync_all();
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
