//! The model's own weights, quantised, which draft for it.

use anyhow::{Context, Result, bail};
use lac_models::{
    Decoder, DecoderConfig, LoadConfig, Quantization, WeightDtype, checkpoint::Activations,
};

use crate::device::DeviceArg;
use crate::memory::{self, gib};
use crate::output::{note, warn_user};

/// Quantised weights that draft.
pub struct SecondWeights {
    pub model: Decoder,
    /// What one of their passes is expected to cost, as a share of a full pass.
    pub cost: f64,
}

/// What the weights are quantised from.
pub struct FirstWeights<'a> {
    pub device: &'a DeviceArg,
    pub config: &'a DecoderConfig,
    pub dtype: WeightDtype,
    /// Bytes of the model's own weights.
    pub n_bytes: u64,
    pub is_quantised: bool,
    /// Slots of a text.
    pub n_slots: usize,
}

/// Whether quantised weights are asked for by name, or where they serve.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    ByName,
    WhereTheyServe,
}

impl SecondWeights {
    /// Loads the weights by `load`, if they serve; says on stderr how much memory they add.
    ///
    /// # Errors
    /// Under [`Asked::ByName`] for devices without quantised products, and where memory is too small.
    pub fn load(
        first: &FirstWeights<'_>,
        quantization: Quantization,
        asked: Asked,
        load: impl FnOnce(LoadConfig) -> Result<Decoder>,
    ) -> Result<Option<Self>> {
        if !first.device.is_cpu() {
            if asked == Asked::ByName {
                bail!(
                    "--draft quantized needs --device cpu: {} does not multiply quantised weights",
                    first.device
                );
            }
            return Ok(None);
        }
        if asked == Asked::WhereTheyServe && first.is_quantised {
            // A draft that reads as many bytes saves nothing.
            return Ok(None);
        }
        let weights = quantization.n_bytes(first.config);
        let n_slots = first.n_slots.min(first.config.max_context());
        let cache = match first.dtype {
            WeightDtype::F32 => 0,
            // Keys and values are copied into f32.
            _ => 4 * first.config.n_cached(1, n_slots),
        };
        let added = weights.saturating_add(cache);
        if let Some(free) = memory::free(first.device)
            && added > free
        {
            let needs = format!(
                "quantised weights that draft need {} of memory, and {} are free",
                gib(added),
                gib(free)
            );
            if asked == Asked::ByName {
                bail!("{needs}: leave quantized out of --draft");
            }
            warn_user!("{needs}: they do not draft");
            return Ok(None);
        }
        note!(
            "weights in {}, which draft, add {} of memory",
            quantization.name(),
            gib(added)
        );
        // The products that round activations are the fast ones, and a draft need not be exact.
        let config = LoadConfig::new(WeightDtype::F32).with_activations(Activations::Int8);
        let model = load(config).context("cannot load the quantised weights")?;
        Ok(Some(Self {
            model,
            cost: (weights as f64 / first.n_bytes.max(1) as f64).clamp(0.01, 1.0),
        }))
    }
}
