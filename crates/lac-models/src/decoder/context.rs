//! Positions, masks and the KV cache: what layers need besides the hidden state.

use std::borrow::Cow;
use std::ops::Range;

use burn::tensor::{DType, Device, Tensor};
use lac_core::{
    Pass,
    kv_cache::{KvCache, KvCacheShape},
    routing::LayerRouting,
};
use lac_kernels::AttendedSlots;

use super::config::DecoderConfig;
use super::kv_holes::KvHoles;
use super::query_block::{QueryBlock, attended_slots};
use super::query_scale::QueryScale;
use super::reach::{PerReach, Reach};
use super::rotation::{Rotation, RotationTable};
use super::shown_keys::rounded;

/// Positions, masks and the KV cache of one batch of sequences.
#[derive(Clone, Debug)]
pub struct DecoderContext {
    cache: Option<KvCache>,
    rotations: PerReach<RotationTable>,
    query_scale: Option<QueryScale>,
    sliding_window: Option<usize>,
    layers: Vec<LayerKind>,
    device: Device,
    pass: PassContext,
    /// Slots without keys and values.
    kv_holes: KvHoles,
    /// Leading slots that passes have filled.
    pub(super) n_filled: usize,
    /// The same in the data type of a decoder that drafts on this context.
    pub(super) second: Option<Box<SecondContext>>,
    /// What the routers of the pass chose so far.
    routing: Vec<LayerRouting>,
}

/// A context in the data type of a decoder that drafts on another decoder's context. It holds the other one's keys and
/// values of all slots before a draft, cast, and the drafter's own behind them.
#[derive(Clone, Debug)]
pub(super) struct SecondContext {
    pub(super) context: DecoderContext,
    /// Leading slots that hold what the first context holds.
    pub(super) n_copied: usize,
}

/// In what layers differ that are not their weights.
#[derive(Clone, Copy, Debug)]
struct LayerKind {
    reach: Reach,
    is_rotated: bool,
}

/// What changes from pass to pass.
#[derive(Clone, Debug)]
struct PassContext {
    pass: Pass,
    rotation: PerReach<Rotation>,
    /// Factors of the queries, where some are not 1.
    query_scale: Option<Tensor<4>>,
    attended: PerReach<AttendedSlots>,
    /// Masks for attention in tensor operations, made when they are first asked for.
    full_blocks: Option<Vec<QueryBlock>>,
    sliding_blocks: Option<Vec<QueryBlock>>,
}

impl DecoderContext {
    pub(super) fn cached(
        config: &DecoderConfig,
        batch: usize,
        capacity: usize,
        dtype: DType,
        device: &Device,
    ) -> Self {
        let context = Self::uncached(config, capacity, dtype, device);
        let shape = KvCacheShape {
            n_layers: config.n_layers,
            batch,
            n_kv_heads: config.n_kv_heads,
            capacity: context.cache_capacity(capacity),
            head_dim: config.head_dim,
        };
        Self {
            cache: Some(KvCache::new(shape, dtype, device)),
            ..context
        }
    }

    pub(super) fn uncached(
        config: &DecoderConfig,
        capacity: usize,
        dtype: DType,
        device: &Device,
    ) -> Self {
        let table = |rope| RotationTable::new(rope, config.n_rotated(), capacity, dtype, device);
        let rotations = PerReach {
            full: table(&config.rope),
            sliding: config.sliding_rope.as_ref().map(table),
        };
        let pass = Pass::states(1, 0);
        let layer_kind = |layer_idx: usize| LayerKind {
            reach: match config.window_of(layer_idx) {
                None => Reach::Full,
                Some(_) => Reach::Sliding,
            },
            is_rotated: !config.unrotated_layers.contains(&layer_idx),
        };
        Self {
            cache: None,
            pass: PassContext::new(
                &pass,
                config.sliding_window,
                rotations.map(|table| table.range(0, capacity.min(1))),
            ),
            rotations,
            query_scale: config.query_scale,
            sliding_window: config.sliding_window,
            layers: (0..config.n_layers).map(layer_kind).collect(),
            device: device.clone(),
            kv_holes: KvHoles::new(config.n_layers),
            n_filled: 0,
            second: None,
            routing: Vec::new(),
        }
    }

    /// Makes an empty context of the same sizes in another data type, for passes of at most `seq` slots where there is
    /// no cache.
    pub(super) fn in_dtype(&self, config: &DecoderConfig, dtype: DType, seq: usize) -> Self {
        match &self.cache {
            Some(cache) => {
                let KvCacheShape {
                    batch, capacity, ..
                } = cache.shape();
                Self::cached(config, batch, capacity, dtype, &self.device)
            }
            None => Self::uncached(config, seq, dtype, &self.device),
        }
    }

    /// Returns how many slots the cache gets for so many tokens.
    fn cache_capacity(&self, n_tokens: usize) -> usize {
        if self.rounds_keys() {
            rounded(n_tokens)
        } else {
            n_tokens
        }
    }

    /// Returns whether keys are shown in few sizes: where their products are compiled for sizes.
    fn rounds_keys(&self) -> bool {
        !lac_kernels::has_cpu_kernel(&self.rotations.full.cos)
    }

    /// Returns the cache's slots where attention is shown more of them than it attends to. A sequence that begins is
    /// shown its own keys, which do not come out of the cache.
    fn shown_capacity(&self) -> Option<usize> {
        let cache = self.cache.as_ref()?;
        (self.rounds_keys() && self.pass.pass.past() > 0).then(|| cache.shape().capacity)
    }

    /// The data type of keys and values.
    pub(super) fn dtype(&self) -> DType {
        self.rotations.full.dtype()
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
        let dtype = self.dtype();
        Some(Self {
            cache: Some(cache.repeat(rows, n_slots, self.cache_capacity(capacity))),
            kv_holes: self.kv_holes.clone(),
            ..Self::uncached(config, capacity, dtype, &self.device)
        })
    }

    pub(super) fn begin_pass(&mut self, pass: &Pass) {
        let rotation = self.rotations.map(|table| table.of_pass(pass));
        self.pass = PassContext::new(pass, self.sliding_window, rotation);
        self.pass.query_scale = self
            .query_scale
            .and_then(|scale| scale.of_pass(pass, self.dtype(), &self.device));
        self.kv_holes.begin_pass(pass.past());
        self.routing.clear();
    }

    /// Keeps what a layer's router chose.
    pub(super) fn keep_routing(&mut self, routing: LayerRouting) {
        self.routing.push(routing);
    }

    /// Takes what the routers of the pass chose.
    pub(super) fn take_routing(&mut self) -> Vec<LayerRouting> {
        std::mem::take(&mut self.routing)
    }

    /// Returns how the pass's queries and keys are rotated in a layer; `None` where they are not.
    pub(super) fn rotation(&self, layer_idx: usize) -> Option<&Rotation> {
        let layer = self.layers[layer_idx];
        let rotation = self.pass.rotation.get(layer.reach);
        layer.is_rotated.then_some(rotation)
    }

    /// Returns the factors of the pass's rotated queries, `[1 or batch, 1, seq, 1]`; `None` where all of them are 1.
    pub(super) fn query_scale(&self) -> Option<&Tensor<4>> {
        self.pass.query_scale.as_ref()
    }

    /// Returns the slots that the queries attend to in a layer; `None` where the layer has omitted some.
    pub(super) fn attended(&self, layer_idx: usize) -> Option<&AttendedSlots> {
        let attended = self.pass.attended.get(self.layers[layer_idx].reach);
        (!self.kv_holes.has_some(layer_idx)).then_some(attended)
    }

    /// Returns the pass's queries and the keys that they attend to in a layer.
    pub(super) fn blocks(&mut self, layer_idx: usize) -> Cow<'_, [QueryBlock]> {
        let capacity = self.shown_capacity();
        let PassContext {
            pass,
            attended,
            full_blocks,
            sliding_blocks,
            ..
        } = &mut self.pass;
        let reach = self.layers[layer_idx].reach;
        let blocks = match reach {
            Reach::Full => full_blocks,
            Reach::Sliding => sliding_blocks,
        };
        let attended = attended.get(reach);
        let blocks = blocks
            .get_or_insert_with(|| QueryBlock::of(attended, pass.seq(), capacity, &self.device));
        let without_holes = self
            .kv_holes
            .attended_by(layer_idx, reach, blocks, &self.device);
        match without_holes {
            None => Cow::Borrowed(blocks),
            Some(blocks) => Cow::Owned(blocks),
        }
    }

    /// Stores a pass's keys and values and returns those of all slots so far, and of later ones where their number is
    /// rounded up.
    pub(super) fn store(
        &mut self,
        layer_idx: usize,
        keys: Tensor<4>,
        values: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let (past, seq) = (self.pass.pass.past(), self.pass.pass.seq());
        self.kv_holes.fill(layer_idx, past..past + seq);
        let shown = match self.shown_capacity() {
            None => past + seq,
            Some(capacity) => capacity,
        };
        match &mut self.cache {
            None => (keys, values),
            Some(cache) if past == 0 => {
                cache.write(layer_idx, 0, keys.clone(), values.clone());
                (keys, values)
            }
            Some(cache) => {
                cache.write(layer_idx, past, keys, values);
                cache.read(layer_idx, 0..shown)
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

    /// Returns a layer's keys and values in some slots; `None` without a cache.
    pub(super) fn cached_in(
        &self,
        layer_idx: usize,
        slots: Range<usize>,
    ) -> Option<(Tensor<4>, Tensor<4>)> {
        Some(self.cache.as_ref()?.read(layer_idx, slots))
    }

    /// Writes keys and values that another context has computed.
    pub(super) fn write(
        &mut self,
        layer_idx: usize,
        start: usize,
        keys: Tensor<4>,
        values: Tensor<4>,
    ) {
        let [.., seq, _] = keys.dims();
        self.kv_holes.fill(layer_idx, start..start + seq);
        if let Some(cache) = &mut self.cache {
            cache.write(layer_idx, start, keys, values);
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
        self.cached_in(layer_idx, 0..n_slots)
    }
}

impl PassContext {
    fn new(pass: &Pass, window: Option<usize>, rotation: PerReach<Rotation>) -> Self {
        Self {
            attended: PerReach {
                full: attended_slots(pass, None),
                sliding: window.map(|window| attended_slots(pass, Some(window))),
            },
            pass: pass.clone(),
            rotation,
            query_scale: None,
            full_blocks: None,
            sliding_blocks: None,
        }
    }
}
