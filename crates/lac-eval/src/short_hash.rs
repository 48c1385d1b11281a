//! The hash that names questions, data sets and settings.

use sha2::{Digest, Sha256};

/// Returns the first 16 hexadecimal digits of a SHA-256.
pub(crate) fn short_hash(hash: Sha256) -> String {
    hash.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
