//! Factors of rotary wavelengths, which some families keep in tensors.

use super::error::GgufError;
use super::files::Gguf;
use super::weights::stored;
use crate::checkpoint::WeightDtype;

/// Reads factors of the rotary wavelengths, one for each rotated pair of a head; `None` where the file has no such tensor.
pub(super) fn rope_factors(
    gguf: &Gguf,
    name: &str,
    n_pairs: usize,
) -> Result<Option<Vec<f64>>, GgufError> {
    let Some(stored) = stored(gguf, name) else {
        return Ok(None);
    };
    let wrong = |problem: String| GgufError::Tensor {
        path: gguf.path().to_owned(),
        name: name.to_owned(),
        problem,
    };
    if stored.info.shape != [n_pairs] {
        return Err(GgufError::WrongShape {
            path: gguf.path().to_owned(),
            name: name.to_owned(),
            actual: stored.info.shape.clone(),
            expected: vec![n_pairs],
        });
    }
    let (data, _) = stored.values(WeightDtype::F32)?;
    let factors: Vec<f32> = data
        .try_into_vec()
        .map_err(|error| wrong(format!("cannot be read: {error:?}")))?;
    if let Some(factor) = factors
        .iter()
        .find(|factor| !(1e-3..=1e6).contains(*factor))
    {
        return Err(wrong(format!(
            "holds {factor}, expected factors from 0.001 to 1000000"
        )));
    }
    Ok(Some(factors.into_iter().map(f64::from).collect()))
}
