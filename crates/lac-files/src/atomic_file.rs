//! Files that are written under a temporary name and then renamed.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::lock::{Hold, hold};

/// The beginning and the end of the names of temporary files.
const PREFIX: &str = ".lac-";
const SUFFIX: &str = ".tmp";

/// A file that appears under its name when it is finished. Dropped before that, it leaves the old file in place.
///
/// A symbolic link stays a link, and the file that it leads to is replaced. A device or a pipe, such as
/// `/dev/stdout`, is written to directly. A new file gets the permissions of any new file; a replacement gets those
/// of the file that it replaces.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// A temporary file beside the target, and a lock on the file that it will replace.
    Beside(NamedTempFile, Option<Hold>),
    /// A device or a pipe.
    InPlace(File),
}

impl AtomicFile {
    /// Starts a file.
    ///
    /// # Errors
    /// - [`ErrorKind::ResourceBusy`], with [`Busy`](crate::Busy) as its source, if another writer holds the file
    /// - [`ErrorKind::PermissionDenied`] if the existing file is marked read-only
    /// - [`ErrorKind::IsADirectory`] if the path is a folder
    /// - any other error of the operating system
    pub fn create(path: &Path) -> io::Result<Self> {
        let Ok(metadata) = std::fs::metadata(path) else {
            // There is no file, or it cannot be seen. What else is wrong shows when the file is created.
            let target = Target::Beside(temporary(path)?, None);
            return Ok(Self {
                path: path.to_owned(),
                target,
            });
        };
        if metadata.is_dir() {
            return Err(io::Error::new(ErrorKind::IsADirectory, "it is a folder"));
        }
        if !metadata.is_file() {
            let file = OpenOptions::new().write(true).open(path)?;
            return Ok(Self {
                path: path.to_owned(),
                target: Target::InPlace(file),
            });
        }
        if metadata.permissions().readonly() {
            let reason = "the existing file is marked read-only";
            return Err(io::Error::new(ErrorKind::PermissionDenied, reason));
        }
        let path = if std::fs::symlink_metadata(path)?.is_symlink() {
            path.canonicalize()?
        } else {
            path.to_owned()
        };
        let held = hold(&path)?;
        let file = temporary(&path)?;
        file.as_file().set_permissions(metadata.permissions())?;
        Ok(Self {
            path,
            target: Target::Beside(file, held),
        })
    }

    /// Syncs the file to disk and gives it its name.
    ///
    /// # Errors
    /// Any error of the operating system; the old file then stays in place.
    pub fn finish(self) -> io::Result<()> {
        match self.target {
            Target::Beside(file, held) => {
                file.as_file().sync_all()?;
                // Other systems than Unix do not replace a file that is open.
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

impl Write for AtomicFile {
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

/// Writes a file atomically: a reader sees the old file or the new one, and a failure leaves the old one as it was.
///
/// `write` is called once, with a buffered writer; an error that it returns ends the write.
///
/// # Errors
/// The errors of [`AtomicFile::create`] and [`AtomicFile::finish`], and those of `write`.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = BufWriter::new(AtomicFile::create(path)?);
    write(&mut file)?;
    let file = file.into_inner().map_err(|error| error.into_error())?;
    file.finish()
}

/// Returns whether a file's name is that of an unfinished [`AtomicFile`], which a killed program may leave behind and
/// which can be removed.
pub fn is_leftover(file_name: &str) -> bool {
    file_name.starts_with(PREFIX) && file_name.ends_with(SUFFIX)
}

/// Creates a temporary file beside the target, with the permissions of a new file.
fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The user's mask still applies.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let folder = folder_of(path);
    let file = builder.tempfile_in(folder);
    // tempfile's error names the temporary file, which a user does not know.
    file.map_err(|error| match (error.kind(), error.raw_os_error()) {
        (kind @ ErrorKind::NotFound, _) => {
            io::Error::new(kind, format!("there is no folder {}", folder.display()))
        }
        (kind @ ErrorKind::NotADirectory, _) => {
            let reason = format!("{} is not a folder", folder.display());
            io::Error::new(kind, reason)
        }
        (_, Some(code)) => io::Error::from_raw_os_error(code),
        (kind, None) => kind.into(),
    })
}

/// Makes the new name survive a power cut too, where the operating system can promise that.
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
