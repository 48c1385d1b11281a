//! Files that survive what happens to programs: a full disk, `kill -9`, a second process.
//!
//! A [`WholeFile`] appears under its name when it is finished, and not before; until then, and when it fails,
//! what was there stays. A file that grows line by line is opened with [`open_locked`], a folder that one
//! process fills is held by a [`FolderLock`]: a second writer gets [`Busy`], which names the first one where the
//! system can tell. Locks are the operating system's: they go with their process, whatever ends it.
//!
//! ```
//! use std::io::{ErrorKind, Write};
//!
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("numbers.txt");
//! lac_files::write_whole(&path, |file| file.write_all(b"1 2 3\n"))?;
//!
//! // A write that fails half way changes nothing.
//! let failed = lac_files::write_whole(&path, |file| {
//!     file.write_all(b"4 5")?;
//!     Err(ErrorKind::StorageFull.into())
//! });
//! assert!(failed.is_err());
//! assert_eq!(std::fs::read_to_string(&path)?, "1 2 3\n");
//!
//! // A file that somebody writes to is not replaced under his hands.
//! let log = lac_files::open_locked(&path)?;
//! let refused = lac_files::write_whole(&path, |file| file.write_all(b"6\n")).unwrap_err();
//! assert_eq!(refused.kind(), ErrorKind::ResourceBusy);
//! drop(log);
//! lac_files::write_whole(&path, |file| file.write_all(b"6\n"))?;
//! # Ok::<(), std::io::Error>(())
//! ```
#![deny(missing_docs)]

pub use lock::{Busy, FolderLock, is_busy, open_locked};
pub use whole::{WholeFile, is_leftover, write_whole};

mod lock;
mod whole;
