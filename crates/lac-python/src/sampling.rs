//! How tokens are chosen, from Python's keyword arguments.

use lac_session::SamplingRequest;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Reads the keyword arguments that say how tokens are chosen; `None` stands for a default.
pub(crate) fn sampling_request(fields: &Bound<'_, PyDict>) -> PyResult<SamplingRequest> {
    fn field<'py, T>(fields: &Bound<'py, PyDict>, name: &str) -> PyResult<Option<T>>
    where
        T: for<'a> FromPyObject<'a, 'py, Error = PyErr>,
    {
        match fields.get_item(name)? {
            Some(value) if !value.is_none() => Ok(Some(value.extract()?)),
            _ => Ok(None),
        }
    }
    Ok(SamplingRequest {
        greedy: field(fields, "greedy")?.unwrap_or(false),
        temperature: field(fields, "temperature")?,
        top_p: field(fields, "top_p")?,
        top_k: field(fields, "top_k")?,
        min_p: field(fields, "min_p")?,
        seed: field(fields, "seed")?.unwrap_or(0),
        repetition_penalty: field(fields, "repetition_penalty")?,
        no_repeat_ngram_size: field(fields, "no_repeat_ngram_size")?,
        ignore_generation_config: field(fields, "ignore_generation_config")?.unwrap_or(false),
    })
}
