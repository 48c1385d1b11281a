//! Columns as Arrow's C stream, which pandas, polars and pyarrow take without a copy of their own.

use std::sync::Arc;

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float32Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, RecordBatchIterator, StringArray, UInt32Array,
};
use arrow_schema::{ArrowError, Field, Schema};
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict};

use crate::error::Failure;

/// Returns columns as a capsule named `arrow_array_stream`. A column is a numpy array, a list of texts, or a pair of a
/// list of texts and an int32 array of places in it.
#[pyfunction]
pub(crate) fn arrow_stream<'py>(
    py: Python<'py>,
    columns: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for (name, values) in columns.iter() {
        let array = column(&values)?;
        let name: String = name.extract()?;
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(Failure::from)?;
    let batches = std::iter::once(Ok::<_, ArrowError>(batch));
    let stream = FFI_ArrowArrayStream::new(Box::new(RecordBatchIterator::new(batches, schema)));
    PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
}

fn column(values: &Bound<'_, PyAny>) -> PyResult<ArrayRef> {
    macro_rules! of_numpy {
        ($($number:ty => $array:ty),+ $(,)?) => {
            $(if let Ok(values) = values.extract::<PyReadonlyArray1<'_, $number>>() {
                return Ok(Arc::new(<$array>::from(values.as_array().to_vec())));
            })+
        };
    }
    of_numpy!(
        f32 => Float32Array,
        f64 => Float64Array,
        u32 => UInt32Array,
        i32 => Int32Array,
        i64 => Int64Array,
        bool => BooleanArray,
    );
    if let Ok(texts) = values.extract::<Vec<Option<String>>>() {
        return Ok(Arc::new(StringArray::from(texts)));
    }
    if let Ok((texts, places)) = values.extract::<(Vec<String>, PyReadonlyArray1<'_, i32>)>() {
        let places = Int32Array::from(places.as_array().to_vec());
        let texts = Arc::new(StringArray::from(texts));
        let array = DictionaryArray::<Int32Type>::try_new(places, texts);
        return Ok(Arc::new(array.map_err(Failure::from)?));
    }
    let kind = values.get_type().name()?;
    Err(PyTypeError::new_err(format!(
        "a column is {kind}, expected a numpy array of numbers or a list of texts"
    )))
}
