//! Atomic writing with this crate's error.

use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes a file atomically: a reader sees the old file or the new one, and a failure leaves the old one as it was.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    lac_files::write_atomically(path, write).map_err(Error::io("write", path))
}
