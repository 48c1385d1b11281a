//! A key/value cache that is written in place.

use burn::tensor::{DType, Device, Int, Tensor};

/// Keys and values of every layer, each `[batch, kv_heads, capacity, head_dim]`.
///
/// The cache has no length of its own: a pass writes from its first slot on and reads from slot 0. To roll back, start
/// the next pass earlier.
///
/// The tensors that a first pass writes are kept as they are. A layer's whole capacity is allocated once, when a second
/// pass writes to it. So a text that is scored in one pass and then forgotten costs no buffer and no copy.
#[derive(Clone, Debug)]
pub struct KvCache {
    /// `None` where nothing has been written.
    layers: Vec<Option<LayerCache>>,
    shape: KvCacheShape,
    dtype: DType,
    device: Device,
}

/// The sizes of a [`KvCache`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvCacheShape {
    /// Number of layers.
    pub n_layers: usize,
    /// Number of rows.
    pub batch: usize,
    /// Number of key/value heads.
    pub n_kv_heads: usize,
    /// Number of slots per row.
    pub capacity: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl KvCacheShape {
    /// The shape of a layer's keys in some slots.
    fn dims(&self, n_slots: usize) -> [usize; 4] {
        [self.batch, self.n_kv_heads, n_slots, self.head_dim]
    }
}

/// A layer's keys and values in its first slots: in all of them, or in those that a first pass has written.
#[derive(Clone, Debug)]
struct LayerCache {
    keys: Tensor<4>,
    values: Tensor<4>,
}

impl KvCache {
    /// Creates a cache of zeros. Nothing is allocated yet.
    pub fn new(shape: KvCacheShape, dtype: DType, device: &Device) -> Self {
        Self {
            layers: (0..shape.n_layers).map(|_| None).collect(),
            shape,
            dtype,
            device: device.clone(),
        }
    }

    /// Returns the cache's sizes.
    pub fn shape(&self) -> KvCacheShape {
        self.shape
    }

    /// Writes keys and values `[batch, kv_heads, seq, head_dim]` of a layer, from slot `start` on.
    ///
    /// # Panics
    /// If the cache has no such layer, or if a second pass writes beyond the capacity.
    pub fn write(&mut self, layer_idx: usize, start: usize, keys: Tensor<4>, values: Tensor<4>) {
        let [batch, n_kv_heads, seq, head_dim] = keys.dims();
        let is_first = self.layers[layer_idx].is_none() && start == 0;
        if is_first && keys.dims() == self.shape.dims(seq) {
            self.layers[layer_idx] = Some(LayerCache { keys, values });
            return;
        }
        let mut layer = self.extended(layer_idx, self.shape.capacity);
        let slots = [0..batch, 0..n_kv_heads, start..start + seq, 0..head_dim];
        // In place: the buffer is written where it lies as long as it has no other owner.
        self.layers[layer_idx] = None;
        layer
            .keys
            .inplace(|buffer| buffer.slice_assign(slots.clone(), keys));
        layer
            .values
            .inplace(|buffer| buffer.slice_assign(slots, values));
        self.layers[layer_idx] = Some(layer);
    }

    /// Returns keys and values of a layer in the given slots, `[batch, kv_heads, slots, head_dim]`, as views where the
    /// backend has them; zeros where nothing has been written.
    ///
    /// # Panics
    /// If the cache has no such layer.
    pub fn read(&self, layer_idx: usize, slots: std::ops::Range<usize>) -> (Tensor<4>, Tensor<4>) {
        let layer = self.extended(layer_idx, slots.end);
        let len = slots.end - slots.start;
        (
            layer.keys.narrow(2, slots.start, len),
            layer.values.narrow(2, slots.start, len),
        )
    }

    /// Returns a layer's keys and values in at least `n_slots` slots, with zeros where nothing has been written.
    fn extended(&self, layer_idx: usize, n_slots: usize) -> LayerCache {
        let zeros = |n| Tensor::<4>::zeros(self.shape.dims(n), (&self.device, self.dtype));
        let Some(layer) = &self.layers[layer_idx] else {
            return LayerCache {
                keys: zeros(n_slots),
                values: zeros(n_slots),
            };
        };
        let [.., n_held, _] = layer.keys.dims();
        if n_slots <= n_held {
            return layer.clone();
        }
        let extended =
            |held: &Tensor<4>| Tensor::cat(vec![held.clone(), zeros(n_slots - n_held)], 2);
        LayerCache {
            keys: extended(&layer.keys),
            values: extended(&layer.values),
        }
    }

    /// Returns a cache with room for `capacity` slots whose row `i` starts with the first `n_slots` slots of this cache's
    /// row `rows[i]`.
    pub fn repeat(&self, rows: &[usize], n_slots: usize, capacity: usize) -> Self {
        let shape = KvCacheShape {
            batch: rows.len(),
            capacity,
            ..self.shape
        };
        let mut repeated = Self::new(shape, self.dtype, &self.device);
        if n_slots == 0 || rows.is_empty() {
            return repeated;
        }
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let rows = Tensor::<1, Int>::from_data(rows.as_slice(), &self.device);
        for layer_idx in 0..shape.n_layers {
            let (keys, values) = self.read(layer_idx, 0..n_slots);
            let keys = keys.select(0, rows.clone());
            let values = values.select(0, rows.clone());
            repeated.write(layer_idx, 0, keys, values);
        }
        repeated
    }
}
