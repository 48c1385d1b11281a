//! Errors as Python sees them.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::words::in_python;

pyo3::create_exception!(
    lac,
    LacError,
    PyException,
    "What went wrong, in the words of the `lac` command."
);

/// Why a computation has no result.
pub(crate) enum Failure {
    /// An error of lac.
    Lac(String),
    /// An exception: of a policy written in Python, of a function that was called, or Ctrl-C.
    Python(PyErr),
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = String::new();
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            if let Some(exception) = error.downcast_ref::<PyErr>() {
                return Self::Python(Python::attach(|py| exception.clone_ref(py)));
            }
            let words = error.to_string();
            // A transparent error has the words of its source.
            if text.is_empty() || !text.ends_with(&words) {
                if !text.is_empty() {
                    text.push_str(": ");
                }
                text.push_str(&words);
            }
            cause = error.source();
        }
        Self::Lac(text)
    }
}

impl Failure {
    /// Makes a failure of a sentence.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::Lac(text.into())
    }

    /// Puts what was being done before an error of lac.
    pub(crate) fn context(self, doing: &str) -> Self {
        match self {
            Self::Lac(text) => Self::Lac(format!("{doing}: {text}")),
            other => other,
        }
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lac(text) => LacError::new_err(in_python(&text)),
            Failure::Python(exception) => exception,
        }
    }
}

/// Computes while other Python threads run. A panic, as burn has them where a device's memory ends, becomes an error.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    compute: impl FnOnce() -> Result<T, Failure> + Send,
) -> PyResult<T> {
    let result = py.detach(|| without_panic(compute));
    Ok(result?)
}

/// Returns a panic as an error. Everything that was being computed is dropped with it.
pub(crate) fn without_panic<T>(compute: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(compute)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "a panic without a text".to_owned());
        Err(Failure::new(format!("the computation failed: {text}")))
    })
}
