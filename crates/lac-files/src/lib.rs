//! Files that survive a full disk, `kill -9` and a second process, and texts that other systems' editors wrote.
//!
//! | | |
//! | --- | --- |
//! | [`AtomicFile`], [`write_atomically`] | a file that appears under its name when it is finished; until then, and after a failure, the old file stays |
//! | [`open_locked`] | a file that grows line by line, with one writer |
//! | [`FolderLock`] | a folder that one process fills |
//! | [`read_text`], [`text_of`] | the text of a file, whatever editor wrote it |
//! | [`recognise`], [`check_form`] | what a file is that does not hold what it should: a pointer of git-lfs, a page, an archive |
//! | [`Busy`] | the error of a second writer, which names the first one where the operating system tells it |
//!
//! The locks are those of the operating system: they end with their process, even if it is killed.
//!
//! ```
//! use std::io::{ErrorKind, Write};
//!
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("numbers.txt");
//! lac_files::write_atomically(&path, |file| file.write_all(b"1 2 3\n"))?;
//!
//! // A write that fails halfway changes nothing.
//! let failed = lac_files::write_atomically(&path, |file| {
//!     file.write_all(b"4 5")?;
//!     Err(ErrorKind::StorageFull.into())
//! });
//! assert!(failed.is_err());
//! assert_eq!(std::fs::read_to_string(&path)?, "1 2 3\n");
//!
//! // A file that another writer has open is not replaced.
//! let log = lac_files::open_locked(&path)?;
//! let refused = lac_files::write_atomically(&path, |file| file.write_all(b"6\n")).unwrap_err();
//! assert_eq!(refused.kind(), ErrorKind::ResourceBusy);
//! drop(log);
//! lac_files::write_atomically(&path, |file| file.write_all(b"6\n"))?;
//!
//! // Some editors put a byte order mark before a text.
//! std::fs::write(&path, "\u{feff}one\r\ntwo\r\n")?;
//! let text = lac_files::read_text(&path, lac_files::LineEnds::Newline)?;
//! assert_eq!(text, "one\ntwo\n");
//! # Ok::<(), std::io::Error>(())
//! ```
#![deny(missing_docs)]

pub use atomic_file::{AtomicFile, is_leftover, write_atomically};
pub use foreign::{FileForm, check_form, recognise};
pub use lock::{Busy, FolderLock, is_busy, open_locked};
pub use text::{LineEnds, read_text, text_of};

#[cfg(feature = "parquet")]
#[doc(hidden)]
pub mod parquet;

mod atomic_file;
mod foreign;
mod lock;
mod text;
