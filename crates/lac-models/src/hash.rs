//! Hashes of what decides a model's results.

use blake3::Hasher;

/// Hashes fields one after the other, each with its length, so that no two lists of fields look the same.
#[derive(Default)]
pub(crate) struct FieldHasher(Hasher);

impl FieldHasher {
    pub(crate) fn field(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// The hash as fingerprints write it: `blake3:` and 64 hexadecimal digits.
    pub(crate) fn finish(&self) -> String {
        format!("blake3:{}", self.0.finalize().to_hex())
    }
}
