//! A key/value cache that is allocated once and written in place.

use burn::tensor::{DType, Device, Int, Tensor};

/// Keys and values of every layer, each `[batch, kv_heads, capacity, head_dim]`.
///
/// The cache has no length of its own: a pass writes at its first slot and reads from slot 0, so
/// rolling back is nothing more than starting the next pass earlier.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    shape: KvCacheShape,
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

#[derive(Clone, Debug)]
struct LayerCache {
    keys: Tensor<4>,
    values: Tensor<4>,
}

impl KvCache {
    /// Allocates the whole cache, zeroed.
    pub fn new(shape: KvCacheShape, dtype: DType, device: &Device) -> Self {
        let dims = [
            shape.batch,
            shape.n_kv_heads,
            shape.capacity,
            shape.head_dim,
        ];
        let layers = (0..shape.n_layers)
            .map(|_| LayerCache {
                keys: Tensor::zeros(dims, (device, dtype)),
                values: Tensor::zeros(dims, (device, dtype)),
            })
            .collect();
        Self { layers, shape }
    }

    /// The cache's sizes.
    pub fn shape(&self) -> KvCacheShape {
        self.shape
    }

    /// Writes keys and values `[batch, kv_heads, seq, head_dim]` of a layer, from slot `start` on.
    pub fn write(&mut self, layer_idx: usize, start: usize, keys: Tensor<4>, values: Tensor<4>) {
        let layer = &mut self.layers[layer_idx];
        let [batch, n_kv_heads, seq, head_dim] = keys.dims();
        let slots = [0..batch, 0..n_kv_heads, start..start + seq, 0..head_dim];
        // In place: the buffer is written where it lies as long as nobody else holds it.
        layer
            .keys
            .inplace(|buffer| buffer.slice_assign(slots.clone(), keys));
        layer
            .values
            .inplace(|buffer| buffer.slice_assign(slots, values));
    }

    /// Keys and values of a layer in the given slots, `[batch, kv_heads, slots, head_dim]`, as
    /// views where the backend has them.
    pub fn read(&self, layer_idx: usize, slots: std::ops::Range<usize>) -> (Tensor<4>, Tensor<4>) {
        let layer = &self.layers[layer_idx];
        let len = slots.end - slots.start;
        (
            layer.keys.clone().narrow(2, slots.start, len),
            layer.values.clone().narrow(2, slots.start, len),
        )
    }

    /// A cache with room for `capacity` slots whose row `i` starts with the first `n_slots` slots
    /// of this one's row `rows[i]`.
    pub fn repeat(&self, rows: &[usize], n_slots: usize, capacity: usize) -> Self {
        let shape = KvCacheShape {
            batch: rows.len(),
            capacity,
            ..self.shape
        };
        let Some(first) = self.layers.first() else {
            return Self {
                layers: Vec::new(),
                shape,
            };
        };
        let (dtype, device) = (first.keys.dtype(), first.keys.device());
        let mut repeated = Self::new(shape, dtype, &device);
        if n_slots == 0 || rows.is_empty() {
            return repeated;
        }
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let rows = Tensor::<1, Int>::from_data(rows.as_slice(), &device);
        for layer_idx in 0..shape.n_layers {
            let (keys, values) = self.read(layer_idx, 0..n_slots);
            let keys = keys.select(0, rows.clone());
            let values = values.select(0, rows.clone());
            repeated.write(layer_idx, 0, keys, values);
        }
        repeated
    }
}
