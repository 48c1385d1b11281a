//! A Parquet file: its metadata, and the pages of its columns.

use std::fs::File;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::page::PageReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::serialized_reader::SerializedPageReader;

use super::codec::{Codec, DecompressedPages};
use super::memory_budget;

/// An open Parquet file, in any of the common codecs: none, snappy, gzip, lz4, brotli, zstd.
#[derive(Debug)]
pub struct ParquetFile {
    file: Arc<File>,
    metadata: ParquetMetaData,
    budget: u64,
}

impl ParquetFile {
    /// Reads the metadata.
    ///
    /// # Errors
    /// The library's own, for a file that is damaged or something else.
    pub fn new(file: File) -> Result<Self> {
        let budget = memory_budget(file.metadata().map_or(0, |metadata| metadata.len()));
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&file)?;
        Ok(Self {
            file: Arc::new(file),
            metadata,
            budget,
        })
    }

    /// Returns the metadata.
    pub fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }

    /// Returns the number of bytes that the file's contents may take in memory.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// Returns the pages of a column of a row group, decompressed. A page that becomes longer than
    /// the [`budget`](Self::budget) is an error, except in snappy, whose pages say how long they become.
    ///
    /// # Errors
    /// A row group or a column that is not there; a codec that is not one of the common ones.
    pub fn pages(&self, group_idx: usize, column_idx: usize) -> Result<Box<dyn PageReader>> {
        let group = self.metadata.row_groups().get(group_idx);
        let column = group.and_then(|group| Some((group, group.columns().get(column_idx)?)));
        let Some((group, column)) = column else {
            let place = format!("there is no column {column_idx} in row group {group_idx}");
            return Err(ParquetError::General(place));
        };
        let n_rows = usize::try_from(group.num_rows())?;
        let file = self.file.clone();
        let Some(codec) = Codec::of(column.compression()) else {
            let pages = SerializedPageReader::new(file, column, n_rows, None)?;
            return Ok(Box::new(pages));
        };
        let as_stored = column.clone().into_builder();
        let as_stored = as_stored
            .set_compression(Compression::UNCOMPRESSED)
            .build()?;
        let pages = SerializedPageReader::new(file, &as_stored, n_rows, None)?;
        Ok(Box::new(DecompressedPages {
            pages: Box::new(pages),
            codec,
            most: self.budget,
        }))
    }
}
