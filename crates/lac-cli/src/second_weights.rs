//! The model's own weights, quantised, which draft for it.

use anyhow::{Context, Result, bail};
use lac_models::{
    Decoder, DecoderConfig, LoadConfig, Quantization, WeightDtype, checkpoint::Activations,
};
use lac_session::DeviceName;
use lac_session::memory::{self, gib};

use crate::output::{note, warn_user};

/// Quantised weights that draft.
pub struct SecondWeights {
    pub model: Decoder,
    /// What one of their passes is expected to cost, as a share of a full pass.
    pub cost: f64,
}

/// What the weights are quantised from.
pub struct FirstWeights<'a> {
    pub device: &'a DeviceName,
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

#[cfg(test)]
mod tests {
    use lac_models::ModelShape;

    use super::*;

    fn load(device: &str, layers: usize, is_quantised: bool, asked: Asked) -> Result<bool> {
        let mut config = ModelShape::Llama3_8b.config().unwrap().decoder;
        config.n_layers = layers;
        let device: DeviceName = device.parse().unwrap();
        let first = FirstWeights {
            device: &device,
            config: &config,
            dtype: WeightDtype::Bf16,
            n_bytes: WeightDtype::Bf16.n_bytes(&config),
            is_quantised,
            n_slots: 1000,
        };
        let read = |_| bail!("they are read");
        Ok(SecondWeights::load(&first, Quantization::Q8_0, asked, read)?.is_some())
    }

    #[test]
    fn weights_draft_where_they_serve_and_fit() {
        use Asked::{ByName, WhereTheyServe};
        let refused = |device, layers, is_quantised, asked, part: &str| {
            let error = format!(
                "{:#}",
                load(device, layers, is_quantised, asked).unwrap_err()
            );
            assert!(error.contains(part), "{part:?} is not in: {error}");
        };
        refused("cpu", 0, false, WhereTheyServe, "they are read");
        refused("cpu", 0, true, ByName, "they are read");
        assert!(!load("cpu", 0, true, WhereTheyServe).unwrap());
        assert!(!load("wgpu", 0, false, WhereTheyServe).unwrap());
        refused("wgpu", 0, false, ByName, "needs --device cpu");
        if cfg!(target_os = "linux") {
            // More than any machine has.
            refused(
                "cpu",
                1 << 20,
                false,
                ByName,
                "leave quantized out of --draft",
            );
            assert!(!load("cpu", 1 << 20, false, WhereTheyServe).unwrap());
        }
    }
}
