//! What the layers of a decoder need besides the hidden state.

use burn::tensor::{DType, Device, Tensor};
use lac_core::{KvCache, KvCacheShape, Pass};

use super::attention::QueryBlock;
use super::config::DecoderConfig;
use super::rope::{Rotation, RotationTable};

/// Positions, masks and the key/value cache of one batch of sequences.
#[derive(Clone, Debug)]
pub struct DecoderContext {
    cache: Option<KvCache>,
    rotations: RotationTable,
    sliding_window: Option<usize>,
    device: Device,
    pass: PassContext,
}

/// What changes from pass to pass; the same for all layers.
#[derive(Clone, Debug)]
struct PassContext {
    past: usize,
    seq: usize,
    rotation: Rotation,
    blocks: Vec<QueryBlock>,
}

impl DecoderContext {
    pub(super) fn cached(
        config: &DecoderConfig,
        batch: usize,
        capacity: usize,
        dtype: DType,
        device: &Device,
    ) -> Self {
        let shape = KvCacheShape {
            n_layers: config.n_layers,
            batch,
            n_kv_heads: config.n_kv_heads,
            capacity,
            head_dim: config.head_dim,
        };
        Self {
            cache: Some(KvCache::new(shape, dtype, device)),
            ..Self::uncached(config, capacity, dtype, device)
        }
    }

    pub(super) fn uncached(
        config: &DecoderConfig,
        capacity: usize,
        dtype: DType,
        device: &Device,
    ) -> Self {
        let rotations = RotationTable::new(&config.rope, config.head_dim, capacity, dtype, device);
        Self {
            cache: None,
            pass: PassContext {
                past: 0,
                seq: 0,
                rotation: rotations.range(0, capacity.min(1)),
                blocks: Vec::new(),
            },
            rotations,
            sliding_window: config.sliding_window,
            device: device.clone(),
        }
    }

    /// The same past for other rows; `None` without a cache.
    pub(super) fn repeat(
        &self,
        config: &DecoderConfig,
        rows: &[usize],
        n_slots: usize,
        capacity: usize,
    ) -> Option<Self> {
        let cache = self.cache.as_ref()?;
        let dtype = self.rotations.dtype();
        Some(Self {
            cache: Some(cache.repeat(rows, n_slots, capacity)),
            ..Self::uncached(config, capacity, dtype, &self.device)
        })
    }

    pub(super) fn begin_pass(&mut self, pass: &Pass) {
        let rotation = if pass.is_padded_left() {
            let positions = (0..pass.batch())
                .flat_map(|row| (0..pass.seq()).map(move |slot| (row, slot)))
                .map(|(row, slot)| pass.position(row, slot).unwrap_or(0) as i64)
                .collect();
            self.rotations.gather(positions, pass.batch(), pass.seq())
        } else {
            self.rotations.range(pass.past(), pass.seq())
        };
        self.pass = PassContext {
            past: pass.past(),
            seq: pass.seq(),
            rotation,
            blocks: QueryBlock::of(pass, self.sliding_window, &self.device),
        };
    }

    pub(super) fn rotation(&self) -> &Rotation {
        &self.pass.rotation
    }

    pub(super) fn blocks(&self) -> &[QueryBlock] {
        &self.pass.blocks
    }

    /// Stores a pass's keys and values and returns those of all slots so far.
    pub(super) fn store(
        &mut self,
        layer_idx: usize,
        keys: Tensor<4>,
        values: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let (past, seq) = (self.pass.past, self.pass.seq);
        match &mut self.cache {
            None => (keys, values),
            Some(cache) if past == 0 => {
                cache.write(layer_idx, 0, keys.clone(), values.clone());
                (keys, values)
            }
            Some(cache) => {
                cache.write(layer_idx, past, keys, values);
                cache.read(layer_idx, 0..past + seq)
            }
        }
    }

    /// Stores a pass's keys and values for a layer that is not run.
    pub(super) fn fill(&mut self, layer_idx: usize, keys: Tensor<4>, values: Tensor<4>) {
        let past = self.pass.past;
        if let Some(cache) = &mut self.cache {
            cache.write(layer_idx, past, keys, values);
        }
    }
}
