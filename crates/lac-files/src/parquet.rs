//! Pages of Parquet files that are not trusted.
//!
//! Parquet repeats values at no cost: a few bytes can stand for billions of rows, and a damaged
//! header can announce them. What a page announces is compared with what its file can hold before
//! memory is allocated for it. Files are read in every common codec.
//!
//! The module is for the readers of this workspace. It is not part of what versions promise, since
//! it has the parquet crate's types in its signatures.

mod codec;
mod file;

pub use self::file::ParquetFile;

use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};

/// What may be made of a file: bytes for each of its own, and bytes whatever its size. Text that
/// repeats itself a hundred times is compressed that well; numbers of a gate compress by half, and
/// benchmarks hardly better.
const BYTES_PER_BYTE: u64 = 256;
const BYTES_OF_ANY: u64 = 64 << 20;

/// Returns the number of bytes that the contents of a file of this length may take in memory.
pub fn memory_budget(file_len: u64) -> u64 {
    BYTES_PER_BYTE
        .saturating_mul(file_len)
        .saturating_add(BYTES_OF_ANY)
}

/// The pages of a column, each checked before it is decoded.
///
/// A dictionary that announces more values than it has bytes is an error. What else bounds a column
/// is for the reader to say: `check` is called once for every page, dictionaries included, in the
/// order of the file. An error that it returns is returned in the place of the page.
pub struct CheckedPages<C> {
    pages: Box<dyn PageReader>,
    check: C,
}

impl<C: FnMut(&Page) -> Result<()> + Send> CheckedPages<C> {
    /// Checks the pages of a reader.
    pub fn new(pages: Box<dyn PageReader>, check: C) -> Self {
        Self { pages, check }
    }

    fn check(&mut self, page: &Page) -> Result<()> {
        if let Page::DictionaryPage { buf, .. } = page {
            // The library makes room for as many values as are announced, each of a byte at least.
            let (n_values, n_bytes) = (page.num_values() as usize, buf.len());
            if n_values > n_bytes {
                return Err(ParquetError::General(format!(
                    "a dictionary of {n_values} values in {n_bytes} bytes"
                )));
            }
        }
        (self.check)(page)
    }
}

impl<C: FnMut(&Page) -> Result<()> + Send> PageReader for CheckedPages<C> {
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

impl<C: FnMut(&Page) -> Result<()> + Send> Iterator for CheckedPages<C> {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

#[cfg(test)]
mod tests {
    use parquet::basic::Encoding;

    use super::*;

    /// One dictionary of three bytes.
    struct OneDictionary(Option<Page>);

    impl OneDictionary {
        fn of(num_values: u32) -> Box<Self> {
            Box::new(Self(Some(Page::DictionaryPage {
                buf: vec![0; 3].into(),
                num_values,
                encoding: Encoding::PLAIN,
                is_sorted: false,
            })))
        }
    }

    impl PageReader for OneDictionary {
        fn get_next_page(&mut self) -> Result<Option<Page>> {
            Ok(self.0.take())
        }

        fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
            Ok(None)
        }

        fn skip_next_page(&mut self) -> Result<()> {
            Ok(())
        }
    }

    impl Iterator for OneDictionary {
        type Item = Result<Page>;

        fn next(&mut self) -> Option<Self::Item> {
            self.get_next_page().transpose()
        }
    }

    #[test]
    fn a_dictionary_of_more_values_than_bytes_is_refused() {
        let mut n_checked = 0;
        let mut read = |num_values| {
            let mut pages = CheckedPages::new(OneDictionary::of(num_values), |_: &Page| {
                n_checked += 1;
                Ok(())
            });
            pages.get_next_page().map(|page| page.is_some())
        };
        assert!(read(3).unwrap());
        let error = read(4).unwrap_err().to_string();
        assert!(
            error.contains("a dictionary of 4 values in 3 bytes"),
            "{error}"
        );
        assert_eq!(n_checked, 1);
    }
}
