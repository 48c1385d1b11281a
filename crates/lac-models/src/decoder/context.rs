//! Positions, masks and the KV cache: what layers need besides the hidden state.

use std::borrow::Cow;

use burn::tensor::{DType, Device, Tensor};
use lac_core::{
    Pass,
    kv_cache::{KvCache, KvCacheShape},
};
use lac_kernels::AttendedSlots;

use super::config::DecoderConfig;
use super::kv_holes::KvHoles;
use super::query_block::{QueryBlock, attended_slots};
use super::rope::{Rotation, RotationTable};

/// Positions, masks and the KV cache of one batch of sequences.
#[derive(Clone, Debug)]
pub struct DecoderContext {
    cache: Option<KvCache>,
    rotations: RotationTable,
    sliding_window: Option<usize>,
    device: Device,
    pass: PassContext,
    /// Slots without keys and values.
    kv_holes: KvHoles,
}

/// What changes from pass to pass; the same for all layers.
#[derive(Clone, Debug)]
struct PassContext {
    pass: Pass,
    rotation: Rotation,
    attended: AttendedSlots,
    /// Masks for attention in tensor operations, made when they are first asked for.
    blocks: Option<Vec<QueryBlock>>,
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
            kv_holes: KvHoles::new(config.n_layers),
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
        let pass = Pass::states(1, 0);
        Self {
            cache: None,
            pass: PassContext::new(
                &pass,
                config.sliding_window,
                rotations.range(0, capacity.min(1)),
            ),
            rotations,
            sliding_window: config.sliding_window,
            device: device.clone(),
            kv_holes: KvHoles::new(config.n_layers),
        }
    }

    /// Copies the past of some rows into a new context; `None` without a cache.
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
            kv_holes: self.kv_holes.clone(),
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
        self.pass = PassContext::new(pass, self.sliding_window, rotation);
        self.kv_holes.begin_pass(pass.past());
    }

    pub(super) fn rotation(&self) -> &Rotation {
        &self.pass.rotation
    }

    /// Returns the slots that the queries attend to in a layer; `None` where the layer has omitted some.
    pub(super) fn attended(&self, layer_idx: usize) -> Option<&AttendedSlots> {
        (!self.kv_holes.has_some(layer_idx)).then_some(&self.pass.attended)
    }

    /// Returns the pass's queries and the keys that they attend to in a layer.
    pub(super) fn blocks(&mut self, layer_idx: usize) -> Cow<'_, [QueryBlock]> {
        let PassContext {
            pass,
            attended,
            blocks,
            ..
        } = &mut self.pass;
        let blocks =
            blocks.get_or_insert_with(|| QueryBlock::of(attended, pass.seq(), &self.device));
        match self.kv_holes.attended_by(layer_idx, blocks, &self.device) {
            None => Cow::Borrowed(blocks),
            Some(blocks) => Cow::Owned(blocks),
        }
    }

    /// Stores a pass's keys and values and returns those of all slots so far.
    pub(super) fn store(
        &mut self,
        layer_idx: usize,
        keys: Tensor<4>,
        values: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let (past, seq) = (self.pass.pass.past(), self.pass.pass.seq());
        self.kv_holes.fill(layer_idx, past..past + seq);
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
        let (past, seq) = (self.pass.pass.past(), self.pass.pass.seq());
        self.kv_holes.fill(layer_idx, past..past + seq);
        if let Some(cache) = &mut self.cache {
            cache.write(layer_idx, past, keys, values);
        }
    }

    /// Leaves a pass's slots without keys and values in a layer that is not run.
    pub(super) fn omit(&mut self, layer_idx: usize) {
        let (past, seq) = (self.pass.pass.past(), self.pass.pass.seq());
        self.kv_holes.omit(layer_idx, past..past + seq);
    }

    /// Returns a layer's keys and values in the first slots, `[batch, kv_heads, n_slots, head_dim]` each; `None`
    /// without a cache. Slots that were not filled hold arbitrary values. For tests and for inspection.
    pub fn keys_and_values(
        &self,
        layer_idx: usize,
        n_slots: usize,
    ) -> Option<(Tensor<4>, Tensor<4>)> {
        Some(self.cache.as_ref()?.read(layer_idx, 0..n_slots))
    }
}

impl PassContext {
    fn new(pass: &Pass, window: Option<usize>, rotation: Rotation) -> Self {
        Self {
            attended: attended_slots(pass, window),
            pass: pass.clone(),
            rotation,
            blocks: None,
        }
    }
}
