//! Pages in every common codec, within the memory that their file may take.

use std::io::Read;

use brotli_decompressor::Decompressor;
use flate2::bufread::MultiGzDecoder;
use lz4_flex::block::{DecompressError, decompress_into};
use lz4_flex::frame::FrameDecoder;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use ruzstd::decoding::StreamingDecoder;

/// A codec that the Parquet library is built without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip,
    Brotli,
    Zstd,
    /// Blocks of LZ4 without a frame, as Parquet has them today.
    Lz4Raw,
    /// What older programs called LZ4: Hadoop's blocks, LZ4's own frames, or blocks without a frame.
    Lz4,
}

impl Codec {
    /// Returns the codec; `None` for what the library decodes by itself or names in its error.
    pub(super) fn of(compression: Compression) -> Option<Self> {
        match compression {
            Compression::GZIP(_) => Some(Codec::Gzip),
            Compression::BROTLI(_) => Some(Codec::Brotli),
            Compression::ZSTD(_) => Some(Codec::Zstd),
            Compression::LZ4_RAW => Some(Codec::Lz4Raw),
            Compression::LZ4 => Some(Codec::Lz4),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Codec::Gzip => "gzip",
            Codec::Brotli => "brotli",
            Codec::Zstd => "zstd",
            Codec::Lz4Raw | Codec::Lz4 => "lz4",
        }
    }

    /// Decompresses bytes. More than `most` bytes are an error, whatever a header announces.
    fn decompress(self, bytes: &[u8], most: u64) -> Result<Vec<u8>> {
        let decompressed = match self {
            _ if bytes.is_empty() => Ok(Vec::new()),
            Codec::Gzip => read(MultiGzDecoder::new(bytes), most),
            Codec::Brotli => read(Decompressor::new(bytes, 1 << 12), most),
            Codec::Zstd => zstd(bytes, most),
            Codec::Lz4Raw => lz4_block(bytes, most),
            Codec::Lz4 => hadoop(bytes, most).unwrap_or_else(|| {
                read(FrameDecoder::new(bytes), most).or_else(|_| lz4_block(bytes, most))
            }),
        };
        decompressed
            .map_err(|reason| ParquetError::General(format!("a page in {}: {reason}", self.name())))
    }
}

/// What is wrong with compressed bytes, in words.
type Reason = String;

fn too_long(most: u64) -> Reason {
    format!("it would take more than {most} bytes, which a file of this size does not hold")
}

fn read(decoder: impl Read, most: u64) -> std::result::Result<Vec<u8>, Reason> {
    let mut out = Vec::new();
    append(decoder, most, &mut out)?;
    Ok(out)
}

/// Appends what a decoder gives, up to `most` bytes in all.
fn append(decoder: impl Read, most: u64, out: &mut Vec<u8>) -> std::result::Result<(), Reason> {
    let left = most.saturating_sub(out.len() as u64);
    let n_read = decoder.take(left.saturating_add(1)).read_to_end(out);
    match n_read {
        Ok(n_read) if n_read as u64 > left => Err(too_long(most)),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Decompresses one frame after the other.
fn zstd(mut bytes: &[u8], most: u64) -> std::result::Result<Vec<u8>, Reason> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let frame = StreamingDecoder::new(&mut bytes).map_err(|error| error.to_string())?;
        append(frame, most, &mut out)?;
    }
    Ok(out)
}

/// Decompresses a block that does not say how long it becomes.
fn lz4_block(bytes: &[u8], most: u64) -> std::result::Result<Vec<u8>, Reason> {
    // A byte stands for at most 255.
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut out = vec![0; bytes.len().saturating_mul(4).max(1 << 12).min(most)];
    loop {
        match decompress_into(bytes, &mut out) {
            Ok(n_bytes) => {
                out.truncate(n_bytes);
                return Ok(out);
            }
            Err(DecompressError::OutputTooSmall { .. }) if out.len() < most => {
                let longer = out.len().saturating_mul(4).min(most);
                out.resize(longer, 0);
            }
            Err(DecompressError::OutputTooSmall { .. }) => return Err(too_long(most as u64)),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Decompresses Hadoop's blocks, each behind its two lengths; `None` for bytes that are something else.
fn hadoop(bytes: &[u8], most: u64) -> Option<std::result::Result<Vec<u8>, Reason>> {
    let blocks = hadoop_blocks(bytes)?;
    let n_bytes: u64 = blocks.iter().map(|(long, _)| u64::from(*long)).sum();
    if n_bytes > most {
        return Some(Err(too_long(most)));
    }
    let mut out = Vec::new();
    for (long, block) in blocks {
        let start = out.len();
        out.resize(start + long as usize, 0);
        let n_bytes = decompress_into(block, &mut out[start..]).ok()?;
        if n_bytes != long as usize {
            return None;
        }
    }
    Some(Ok(out))
}

/// Returns the blocks, each with its length when it is decompressed.
fn hadoop_blocks(mut bytes: &[u8]) -> Option<Vec<(u32, &[u8])>> {
    let mut blocks = Vec::new();
    while !bytes.is_empty() {
        let (long, rest) = bytes.split_first_chunk::<4>()?;
        let (short, rest) = rest.split_first_chunk::<4>()?;
        let (block, rest) = rest.split_at_checked(u32::from_be_bytes(*short) as usize)?;
        blocks.push((u32::from_be_bytes(*long), block));
        bytes = rest;
    }
    Some(blocks)
}

/// Pages that are decompressed here: `pages` gives them as they are in the file.
pub(super) struct DecompressedPages {
    pub(super) pages: Box<dyn PageReader>,
    pub(super) codec: Codec,
    /// The largest number of bytes of a page.
    pub(super) most: u64,
}

impl DecompressedPages {
    fn decompressed(&self, mut page: Page) -> Result<Page> {
        match &mut page {
            Page::DictionaryPage { buf, .. } | Page::DataPage { buf, .. } => {
                *buf = self.codec.decompress(buf, self.most)?.into();
            }
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed,
                ..
            } if *is_compressed => {
                // Levels are never compressed.
                let n_levels = *def_levels_byte_len as usize + *rep_levels_byte_len as usize;
                let (levels, values) = buf.split_at_checked(n_levels).ok_or_else(|| {
                    ParquetError::General("a page is shorter than its levels".to_owned())
                })?;
                let values = self.codec.decompress(values, self.most)?;
                *buf = [levels, &values].concat().into();
                *is_compressed = false;
            }
            Page::DataPageV2 { .. } => {}
        }
        Ok(page)
    }
}

impl PageReader for DecompressedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.map(|page| self.decompressed(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

impl Iterator for DecompressedPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Codec; 5] = [
        Codec::Gzip,
        Codec::Brotli,
        Codec::Zstd,
        Codec::Lz4Raw,
        Codec::Lz4,
    ];

    #[test]
    fn a_page_that_grows_beyond_its_file_is_refused() {
        // A megabyte of zeros.
        let blocks: [(Codec, &[u8]); 3] = [
            (Codec::Gzip, include_bytes!("zeros.gz")),
            (Codec::Brotli, include_bytes!("zeros.br")),
            (Codec::Zstd, include_bytes!("zeros.zst")),
        ];
        let lz4 = lz4_flex::block::compress(&[0; 1 << 20]);
        let hadoop = [
            &(1u32 << 20).to_be_bytes()[..],
            &(lz4.len() as u32).to_be_bytes(),
            &lz4,
        ]
        .concat();
        let blocks = blocks.into_iter().chain([
            (Codec::Lz4Raw, &lz4[..]),
            (Codec::Lz4, &lz4),
            (Codec::Lz4, &hadoop),
        ]);
        for (codec, bytes) in blocks {
            let out = codec.decompress(bytes, 1 << 20).unwrap();
            assert!(
                out.len() == 1 << 20 && out.iter().all(|&byte| byte == 0),
                "{codec:?}"
            );
            let error = codec
                .decompress(bytes, (1 << 20) - 1)
                .unwrap_err()
                .to_string();
            assert!(error.contains("1048575 bytes"), "{codec:?}: {error}");
        }
    }

    #[test]
    fn bytes_that_are_not_compressed_are_refused() {
        for codec in ALL {
            let error = codec
                .decompress(&[0xf0; 100], 1 << 20)
                .unwrap_err()
                .to_string();
            assert!(error.contains(codec.name()), "{error}");
            assert_eq!(codec.decompress(&[], 0).unwrap(), [0u8; 0]);
        }
    }
}
