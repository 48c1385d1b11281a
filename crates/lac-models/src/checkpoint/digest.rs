//! A digest of a checkpoint's weights, taken without reading them all.

use sha2::{Digest, Sha256};

use super::shard::read_at;
use super::{Checkpoint, CheckpointError, n_bytes};

/// Pieces of a tensor that are read, evenly spaced over it, and the bytes of each.
const PIECES: u64 = 8;
const PIECE_LEN: u64 = 512;

impl Checkpoint {
    /// A digest of every tensor's name, type and shape and of a sample of its bytes: training
    /// changes values everywhere, so a sample tells two checkpoints apart, and some kilobytes per
    /// tensor are read in an instant. The same weights in other files, or in another order, have
    /// the same digest.
    ///
    /// # Errors
    /// [`CheckpointError::Unreadable`], and [`CheckpointError::Malformed`] for a file that was cut off meanwhile.
    pub fn digest(&self) -> Result<String, CheckpointError> {
        let mut names: Vec<&String> = self.place.keys().collect();
        names.sort();
        let mut hasher = Sha256::new();
        for name in names {
            let shard = &self.shards[self.place[name]];
            let info = &shard.tensors[name];
            hasher.update(format!("{name} {:?} {:?}\n", info.dtype, info.shape));
            let (start, len) = (info.data_offsets.0 as u64, n_bytes(info));
            for piece in pieces(len) {
                let offset = shard.data_start + start + piece.start;
                let mut bytes = vec![0; (piece.end - piece.start) as usize];
                read_at(&shard.file, &shard.path, offset, &mut bytes)?;
                hasher.update(&bytes);
            }
        }
        let digest = hasher.finalize();
        let hex: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("sha256-sample:{}", hex.concat()))
    }
}

/// The parts of a tensor of `len` bytes that are read: all of a short one.
fn pieces(len: u64) -> Vec<std::ops::Range<u64>> {
    if len == 0 {
        return Vec::new();
    }
    if len <= PIECES * PIECE_LEN {
        return std::iter::once(0..len).collect();
    }
    (0..PIECES)
        .map(|idx| {
            let start = idx * (len - PIECE_LEN) / (PIECES - 1);
            start..start + PIECE_LEN
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_short_tensors_and_sample_long_ones() {
        assert!(pieces(0).is_empty());
        let short = pieces(4096);
        assert_eq!((short.len(), short[0].start, short[0].end), (1, 0, 4096));
        let long = pieces(100_000);
        assert_eq!(long.len(), 8);
        assert_eq!((long[0].start, long[7].end), (0, 100_000));
        assert!(long.windows(2).all(|pair| pair[0].end <= pair[1].start));
    }
}
