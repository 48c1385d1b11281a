//! Observers of passes: the columns of a trace, and Ctrl-C.

use lac_core::{BoxError, Observer, PassRecord};
use pyo3::prelude::*;

use crate::columns::Columns;

/// Collects the tokens of any number of generations, one batch after another.
#[derive(Default)]
pub(crate) struct Collector {
    pub(crate) columns: Columns,
    n_earlier: u32,
    n_rows: u32,
}

impl Observer for Collector {
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        if record.pass.past() == 0 {
            self.n_earlier += self.n_rows;
            self.n_rows = record.pass.batch() as u32;
        }
        self.columns.push_pass(record, self.n_earlier);
        Ok(())
    }
}

/// Calls a Python function now and then with the numbers of what is done and of all that is to be done.
pub(crate) struct Progress(Option<Py<PyAny>>);

impl Progress {
    pub(crate) fn new(function: Option<Py<PyAny>>) -> Self {
        Self(function)
    }

    pub(crate) fn report(&self, n_done: u64, n_total: u64) -> Result<(), PyErr> {
        let Some(function) = &self.0 else {
            return Ok(());
        };
        let call = |py: Python<'_>| function.call1(py, (n_done, n_total)).map(drop);
        Python::try_attach(call).unwrap_or(Ok(()))
    }
}
