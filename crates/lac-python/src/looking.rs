//! What is looked at beside the norm: measures, and a lens.

use std::path::PathBuf;
use std::sync::Arc;

use lac_core::lens::Lens;
use lac_core::measures::Measures;
use lac_core::{CausalLm, LayerPolicy, Observed};
use lac_models::Decoder;
use lac_models::tuned_lens::read_tuned_lens;
use pyo3::prelude::*;

use crate::error::Failure;

/// What is looked at.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct LookingArgs {
    /// `off`, `layers` or `sublayers`.
    measures: String,
    /// Number of tokens that a lens names after each layer.
    lens: Option<usize>,
    /// The maps of a tuned lens.
    lens_file: Option<PathBuf>,
}

impl LookingArgs {
    pub(crate) fn measures(&self) -> Result<Measures, Failure> {
        match self.measures.as_str() {
            "off" => Ok(Measures::Off),
            "layers" => Ok(Measures::Layers),
            "sublayers" => Ok(Measures::Sublayers),
            other => Err(Failure::new(format!(
                "measures is {other:?}, expected layers or sublayers"
            ))),
        }
    }

    /// Returns the number of tokens that the lens names.
    pub(crate) fn lens_top(&self, vocab_size: usize) -> Option<usize> {
        self.lens.map(|n_top| n_top.min(vocab_size))
    }

    pub(crate) fn lens_file(&self) -> Option<String> {
        self.lens_file
            .as_ref()
            .map(|path| path.display().to_string())
    }

    /// Wraps a policy so that layers are measured and looked at.
    pub(crate) fn observed(
        &self,
        policy: Box<dyn LayerPolicy>,
        model: &Decoder,
    ) -> Result<Box<dyn LayerPolicy>, Failure> {
        let config = model.config();
        let lens = match self.lens_top(config.vocab_size) {
            None => None,
            Some(n_top) => {
                let lens =
                    Lens::new(n_top).map_err(|error| Failure::from(error).context("lens"))?;
                Some(match &self.lens_file {
                    None => lens,
                    Some(path) => {
                        let (n_layers, hidden) = (config.n_layers, config.hidden_size);
                        let maps = read_tuned_lens(path, n_layers, hidden, &model.device())
                            .map_err(|error| Failure::from(error).context("lens_file"))?;
                        lens.with_maps(Arc::new(maps))
                    }
                })
            }
        };
        let measures = self.measures()?;
        if measures == Measures::Off && lens.is_none() {
            return Ok(policy);
        }
        let observed = Observed::new(policy).with_measures(measures);
        Ok(Box::new(observed.with_lens(lens)))
    }
}
