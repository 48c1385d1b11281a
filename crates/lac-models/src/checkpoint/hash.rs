//! Hashes of tensors, taken while their bytes are read.

use std::iter::Enumerate;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use blake3::{Hash, Hasher};

/// Bytes of a tensor that are hashed together. The hash of a tensor depends on this number.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// The BLAKE3 hash of the BLAKE3 hashes of a tensor's pieces. A piece is read, checked and hashed by one thread while
/// it is in the processor's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TensorHash(Hash);

impl TensorHash {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Calls `work` for every piece of a tensor of `n_bytes` bytes, to read the piece and to hash its bytes. `work` gets
/// the piece's number, the piece and a hasher of its own. Two threads share the pieces of a tensor that has several.
///
/// # Errors
/// The error of the first piece that has one, whichever thread meets it.
pub(crate) fn hash_pieces<P: Send, E: Send>(
    pieces: impl Iterator<Item = P> + Send,
    n_bytes: usize,
    work: impl Fn(usize, P, &mut Hasher) -> Result<(), E> + Sync,
) -> Result<TensorHash, E> {
    let queue = Queue {
        pieces: Mutex::new(pieces.enumerate()),
        has_failed: AtomicBool::new(false),
    };
    let run = || queue.work_off(&work);
    let (mine, theirs) = thread::scope(|scope| {
        // Without a second thread the first one does everything.
        let helper = if n_bytes > PIECE_BYTES {
            thread::Builder::new().spawn_scoped(scope, run).ok()
        } else {
            None
        };
        let mine = run();
        let theirs = helper.map(|helper| helper.join());
        (mine, theirs)
    });
    let theirs = match theirs {
        None => Ok(Vec::new()),
        Some(Ok(theirs)) => theirs,
        Some(Err(panic)) => std::panic::resume_unwind(panic),
    };
    let mut hashes = match (mine, theirs) {
        (Ok(mine), Ok(theirs)) => [mine, theirs].concat(),
        (Err((_, error)), Ok(_)) | (Ok(_), Err((_, error))) => return Err(error),
        (Err(mine), Err(theirs)) => {
            let first = if mine.0 < theirs.0 { mine } else { theirs };
            return Err(first.1);
        }
    };
    hashes.sort_unstable_by_key(|&(piece_idx, _)| piece_idx);
    let mut hasher = Hasher::new();
    for (_, hash) in &hashes {
        hasher.update(hash.as_bytes());
    }
    Ok(TensorHash(hasher.finalize()))
}

/// Pieces that no thread has taken yet. They are handed out in order, so that no piece before a faulty one is left
/// unread.
struct Queue<I> {
    pieces: Mutex<Enumerate<I>>,
    has_failed: AtomicBool,
}

impl<P, I: Iterator<Item = P>> Queue<I> {
    fn work_off<E>(
        &self,
        work: impl Fn(usize, P, &mut Hasher) -> Result<(), E>,
    ) -> Result<Vec<(usize, Hash)>, (usize, E)> {
        let mut hashes = Vec::new();
        while !self.has_failed.load(Ordering::Relaxed) {
            let next = self
                .pieces
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next();
            let Some((piece_idx, piece)) = next else {
                break;
            };
            let mut hasher = Hasher::new();
            if let Err(error) = work(piece_idx, piece, &mut hasher) {
                self.has_failed.store(true, Ordering::Relaxed);
                return Err((piece_idx, error));
            }
            hashes.push((piece_idx, hasher.finalize()));
        }
        Ok(hashes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fault_of_many_is_reported() {
        for _ in 0..50 {
            let result = hash_pieces(0..64, 64 * PIECE_BYTES, |piece_idx, _, _| {
                if piece_idx % 5 == 3 {
                    Err(piece_idx)
                } else {
                    Ok(())
                }
            });
            assert_eq!(result, Err(3));
        }
    }

    #[test]
    fn every_piece_counts_in_its_place() {
        let of = |pieces: &[&[u8]]| {
            let n_bytes = pieces.len() * PIECE_BYTES;
            let hash = hash_pieces(pieces.iter(), n_bytes, |_, piece, hasher| {
                hasher.update(piece);
                Ok::<(), ()>(())
            });
            hash.unwrap()
        };
        let hash = of(&[b"a", b"b", b"c"]);
        assert_eq!(hash, of(&[b"a", b"b", b"c"]));
        for other in [&[b"b", b"a", b"c"][..], &[b"a", b"b"], &[b"a", b"b", b"d"]] {
            let pieces: Vec<&[u8]> = other.iter().map(|piece| &piece[..]).collect();
            assert_ne!(hash, of(&pieces));
        }
    }
}
