//! Reads the header of a GGUF file number by number, and never more of it than there is.

use std::io::{BufReader, Error, ErrorKind, Read};

use crate::file::ModelFile;

/// Why the header cannot be read on.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file cannot be read.
    File(Error),
    /// The file is not what it should be, for this reason.
    Reason(String),
}

/// The longest header that is read. The vocabulary makes up most of a header, and the largest ones have 20 MiB.
const MAX_HEADER_BYTES: u64 = 1 << 29;

/// A place in the header of a file.
#[derive(Debug)]
pub(super) struct Cursor {
    reader: BufReader<ModelFile>,
    position: u64,
    file_len: u64,
}

impl Cursor {
    pub(super) fn new(file: ModelFile, file_len: u64) -> Self {
        Self {
            reader: BufReader::with_capacity(1 << 16, file),
            position: 0,
            file_len,
        }
    }

    /// Returns how many bytes of the file were read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Returns how many bytes may follow.
    pub(super) fn left(&self) -> u64 {
        self.file_len.min(MAX_HEADER_BYTES) - self.position
    }

    /// Checks that `count` things of at least `size` bytes each can follow.
    pub(super) fn check_room(&self, count: u64, size: u64, what: &str) -> Result<(), Fault> {
        let left = self.left();
        if count.checked_mul(size).is_some_and(|bytes| bytes <= left) {
            return Ok(());
        }
        let limit = if self.file_len > MAX_HEADER_BYTES {
            "of the longest header that is read"
        } else {
            "of the file; was it cut off?"
        };
        Err(Fault::Reason(format!(
            "it announces {count} {what} at byte {}, with {left} bytes left {limit}",
            self.position
        )))
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        self.bytes().map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Result<String, Fault> {
        let len = self.u64()?;
        self.check_room(len, 1, "bytes of text")?;
        let start = self.position;
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes)
            .map_err(|_| Fault::Reason(format!("the text at byte {start} is not UTF-8")))
    }

    /// Reads `count` numbers of `N` bytes.
    pub(super) fn numbers<const N: usize, T>(
        &mut self,
        count: u64,
        number: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Fault> {
        self.check_room(count, N as u64, "numbers")?;
        let mut numbers = Vec::with_capacity(count as usize);
        let mut block = [0; 4096];
        while numbers.len() < count as usize {
            let n = (count as usize - numbers.len()).min(block.len() / N);
            let block = &mut block[..n * N];
            self.fill(block)?;
            let (chunks, _) = block.as_chunks::<N>();
            numbers.extend(chunks.iter().map(|&bytes| number(bytes)));
        }
        Ok(numbers)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        let end = || {
            Fault::Reason(format!(
                "it ends after {} bytes; was it cut off?",
                self.file_len
            ))
        };
        if bytes.len() as u64 > self.left() {
            return Err(if self.file_len > MAX_HEADER_BYTES {
                Fault::Reason(format!("its header has more than {MAX_HEADER_BYTES} bytes"))
            } else {
                end()
            });
        }
        match self.reader.read_exact(bytes) {
            Ok(()) => {
                self.position += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(end()),
            Err(error) => Err(Fault::File(error)),
        }
    }
}
