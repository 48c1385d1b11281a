//! What the pages of a trace's column may announce.

use parquet::basic::Encoding;
use parquet::column::page::Page;
use parquet::errors::{ParquetError, Result};

/// Returns a check of the pages of a column that has at most `max_values` values, for
/// [`CheckedPages`](lac_files::parquet::CheckedPages).
pub(super) fn at_most(max_values: u64) -> impl FnMut(&Page) -> Result<()> + Send {
    let mut n_values_left = max_values;
    move |page| {
        if page.is_dictionary_page() {
            return Ok(());
        }
        if page.encoding() == Encoding::DELTA_BYTE_ARRAY {
            // Each text would be made anew from the one before it.
            return Err(ParquetError::General(
                "texts are encoded by what they have in common, which traces are not".to_owned(),
            ));
        }
        let n_values = u64::from(page.num_values());
        n_values_left = n_values_left.checked_sub(n_values).ok_or_else(|| {
            ParquetError::General(format!(
                "a page of {n_values} values, where at most {n_values_left} are left"
            ))
        })?;
        Ok(())
    }
}
