//! The threads that compute on the CPU.

use pyo3::prelude::*;

use crate::error::LacError;

/// Sets the number of threads that compute, once for the process. Returns whether it is that number: threads that have
/// begun to compute are not replaced.
#[pyfunction]
pub(crate) fn set_threads(n_threads: usize) -> PyResult<bool> {
    if n_threads == 0 || n_threads > usize::from(u16::MAX) {
        let text = format!("threads is {n_threads}, expected a number from 1 to 65535");
        return Err(LacError::new_err(text));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads);
    Ok(pool.build_global().is_ok() || rayon::current_num_threads() == n_threads)
}
