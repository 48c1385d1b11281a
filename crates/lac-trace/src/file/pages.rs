//! Pages of a column, held against what the column can hold before room is made for them.
//!
//! Parquet repeats values for nothing: some bytes can stand for billions of them, and a damaged
//! header can announce them.

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};

/// What may be made of a file's row group: bytes for each byte of the file, and bytes whatever its
/// size. The gate's numbers compress by half.
const BYTES_PER_BYTE: u64 = 256;
const BYTES_OF_ANY: u64 = 64 << 20;

/// The bytes that a row group of a file of this length may take in memory.
pub(super) fn budget(file_len: u64) -> u64 {
    BYTES_PER_BYTE
        .saturating_mul(file_len)
        .saturating_add(BYTES_OF_ANY)
}

/// The pages of a column of which the number of values is known, at most.
pub(super) struct CheckedPages {
    pages: Box<dyn PageReader>,
    n_values_left: u64,
}

impl CheckedPages {
    pub(super) fn new(pages: Box<dyn PageReader>, max_values: u64) -> Self {
        Self {
            pages,
            n_values_left: max_values,
        }
    }

    fn check(&mut self, page: &Page) -> Result<()> {
        let n_values = u64::from(page.num_values());
        if let Page::DictionaryPage { buf, .. } = page {
            // Room is made for as many values as are announced, each of a byte at least.
            if n_values > buf.len() as u64 {
                return Err(ParquetError::General(format!(
                    "a dictionary of {n_values} values in {} bytes",
                    buf.len()
                )));
            }
            return Ok(());
        }
        if page.encoding() == Encoding::DELTA_BYTE_ARRAY {
            // Each text would be made anew from the one before it.
            return Err(ParquetError::General(
                "texts are encoded by what they have in common, which traces are not".to_owned(),
            ));
        }
        match self.n_values_left.checked_sub(n_values) {
            Some(left) => self.n_values_left = left,
            None => {
                return Err(ParquetError::General(format!(
                    "a page of {n_values} values, where at most {} are left",
                    self.n_values_left
                )));
            }
        }
        Ok(())
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        if let Some(page) = &page {
            self.check(page)?;
        }
        Ok(page)
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

impl Iterator for CheckedPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
