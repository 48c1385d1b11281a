//! The compiled half of lac's Python package: models, and what is computed with them, on numbers and numpy arrays alone.
//! The other half, `python/lac`, makes prompts, names and results of them that are pleasant to use.
//!
//! A model is computed with detached from the interpreter, so other Python threads run meanwhile. Signals are looked at
//! before every layer, so that Ctrl-C ends a pass.

mod arrow_stream;
mod collector;
mod columns;
mod compute;
mod error;
mod evaluation;
mod files;
mod looking;
mod model;
mod passes;
mod plan;
mod policy;
mod python_policy;
mod sampling;
mod signals;
mod stream;
mod threads;
mod words;

use pyo3::pymodule;

#[pymodule]
mod _lac {
    #[pymodule_export]
    use crate::arrow_stream::arrow_stream;
    #[pymodule_export]
    use crate::compute::{generate_texts, trace, trace_to_file};
    #[pymodule_export]
    use crate::error::LacError;
    #[pymodule_export]
    use crate::evaluation::{evaluate, perplexity, read_results};
    #[pymodule_export]
    use crate::files::{read_trace, report, statistics, trace_info, write_trace};
    #[pymodule_export]
    use crate::model::Model;
    #[pymodule_export]
    use crate::passes::{encode_pair, hidden_states, logits, loglikelihoods};
    #[pymodule_export]
    use crate::plan::plan;
    #[pymodule_export]
    use crate::python_policy::Readings;
    #[pymodule_export]
    use crate::stream::{TextStream, stream};
    #[pymodule_export]
    use crate::threads::{devices, set_threads};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
