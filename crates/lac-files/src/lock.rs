//! Locks that admit one writer at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// How many times a file is opened when it was replaced each time between opening and locking it.
const ATTEMPTS: usize = 100;

/// Another writer holds a file or a folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is being written by another process{}", self.words())]
#[non_exhaustive]
pub struct Busy {
    /// The id of the writer's process, where the operating system tells.
    pub process: Option<u32>,
}

impl Busy {
    fn words(&self) -> String {
        self.process
            .map_or(String::new(), |process| format!(", whose id is {process}"))
    }
}

/// Returns the writer that holds the file, if the error says that the file is held.
pub fn is_busy(error: &io::Error) -> Option<&Busy> {
    error.get_ref()?.downcast_ref()
}

/// Opens a file for reading and appending, creates it if it does not exist, and locks it for as long as it is open.
///
/// # Errors
/// - [`ErrorKind::ResourceBusy`], with [`Busy`] as its source, if another writer holds the file
/// - [`ErrorKind::InvalidInput`] for a device or a pipe
/// - any other error of the operating system, such as a file system that cannot lock
pub fn open_locked(path: &Path) -> io::Result<File> {
    for _ in 0..ATTEMPTS {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        if !file.metadata()?.is_file() {
            let reason = "it is a device or a pipe, and a file is expected";
            return Err(io::Error::new(ErrorKind::InvalidInput, reason));
        }
        lock(&file)?;
        // Its last writer may have replaced or removed it between opening and locking.
        if is_at(&file, path) {
            return Ok(file);
        }
    }
    Err(io::Error::new(
        ErrorKind::ResourceBusy,
        Busy { process: None },
    ))
}

/// The right to write into a folder, held until it is dropped.
///
/// A file in the folder is locked, and removed when the lock is dropped. A file that a killed process leaves behind is
/// not locked.
#[derive(Debug)]
pub struct FolderLock {
    path: PathBuf,
    _file: File,
}

impl FolderLock {
    /// The name of the locked file in the folder.
    pub const FILE_NAME: &str = ".lac-lock";

    /// Locks an existing folder.
    ///
    /// # Errors
    /// The errors of [`open_locked`].
    pub fn take(folder: &Path) -> io::Result<Self> {
        let path = folder.join(Self::FILE_NAME);
        Ok(Self {
            _file: open_locked(&path)?,
            path,
        })
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // A process that has opened it meanwhile notices that it was removed. It fails if the folder was removed before,
        // with the file.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A lock on a file that is about to be replaced.
pub(crate) type Hold = File;

/// Locks a file that is about to be replaced. Returns `None` where the file system cannot lock or the file cannot be
/// opened: it can be replaced all the same.
pub(crate) fn hold(path: &Path) -> io::Result<Option<Hold>> {
    let Ok(file) = File::open(path) else {
        return Ok(None);
    };
    match lock(&file) {
        Ok(()) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::ResourceBusy => Err(error),
        Err(_) => Ok(None),
    }
}

fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            ErrorKind::ResourceBusy,
            Busy {
                process: holder(file),
            },
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Returns whether the open file is still the one at the path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Returns true: other systems than Unix do not replace a file that is open.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

/// Returns the process that holds a file's lock, from the kernel's table of locks.
#[cfg(target_os = "linux")]
fn holder(file: &File) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;

    let metadata = file.metadata().ok()?;
    let (device, inode) = (metadata.dev(), metadata.ino());
    let (major, minor) = (
        (device >> 8 & 0xfff) | (device >> 32 & !0xfff),
        (device & 0xff) | (device >> 12 & !0xff),
    );
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    let table = std::fs::read_to_string("/proc/locks").ok()?;
    table.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, _, process, held, ..] if held == place => process.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(not(target_os = "linux"))]
fn holder(_file: &File) -> Option<u32> {
    None
}
