//! Where models are computed: the threads of the CPU, and the devices there are.

use pyo3::prelude::*;

use crate::error::{LacError, detached};

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

/// A kind of device, and the devices found.
type Kind = (&'static str, Option<Vec<String>>);

/// Returns every kind of device with the devices found, None where it was not compiled in.
#[pyfunction]
pub(crate) fn devices(py: Python<'_>) -> PyResult<Vec<Kind>> {
    detached(py, || Ok(lac_session::device::listing()))
}
