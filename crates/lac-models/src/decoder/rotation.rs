//! Cosines and sines of rotary positions, in the layout of Hugging Face checkpoints: the two halves of what is rotated of
//! a head are rotated against each other.

use burn::tensor::{DType, Device, Tensor, TensorData};
use lac_core::Pass;

use super::cast::cast;
use super::rope::RopeConfig;

/// Cosines and sines of a pass's positions, `[1 or batch, 1, seq, n_rotated / 2]` each.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    pub(super) cos: Tensor<4>,
    pub(super) sin: Tensor<4>,
}

/// Cosines and sines of all positions of a context, `[capacity, n_rotated / 2]` each.
#[derive(Clone, Debug)]
pub(super) struct RotationTable {
    rope: RopeConfig,
    n_rotated: usize,
    /// As long as the text is no longer than the training context.
    pub(super) cos: Tensor<2>,
    sin: Tensor<2>,
}

impl RotationTable {
    /// Makes the table on the host: a GPU's sine is inexact for the large angles of far positions.
    pub(super) fn new(
        rope: &RopeConfig,
        n_rotated: usize,
        capacity: usize,
        dtype: DType,
        device: &Device,
    ) -> Self {
        let frequencies = rope.inverse_frequencies(n_rotated);
        let angles: Vec<f32> = (0..capacity)
            .flat_map(|position| {
                frequencies
                    .iter()
                    .map(move |frequency| position as f32 * frequency)
            })
            .collect();
        let shape = [capacity, n_rotated / 2];
        let [cos, sin] = cos_and_sin(&angles, shape, rope.attention_factor, dtype, device);
        Self {
            rope: rope.clone(),
            n_rotated,
            cos,
            sin,
        }
    }

    pub(super) fn dtype(&self) -> DType {
        self.cos.dtype()
    }

    /// Returns the rotation of a pass's positions. Rows share one where no row is padded on the left.
    pub(super) fn of_pass(&self, pass: &Pass) -> Rotation {
        let is_long = |&fixed: &usize| pass.past() + pass.seq() > fixed;
        if let Some(fixed) = self.rope.fixed_length().filter(is_long) {
            return self.of_long_texts(pass, fixed);
        }
        if !pass.is_padded_left() {
            return self.range(pass.past(), pass.seq());
        }
        let positions = (0..pass.batch())
            .flat_map(|row| (0..pass.seq()).map(move |slot| (row, slot)))
            .map(|(row, slot)| pass.position(row, slot).unwrap_or(0) as i64)
            .collect();
        self.gather(positions, pass.batch(), pass.seq())
    }

    /// Returns the rotation of positions that all rows share, from `start` on.
    pub(super) fn range(&self, start: usize, seq: usize) -> Rotation {
        let rows = |table: &Tensor<2>| table.clone().narrow(0, start, seq).unsqueeze::<4>();
        Rotation {
            cos: rows(&self.cos),
            sin: rows(&self.sin),
        }
    }

    /// Returns the rotation of positions that differ by row, `batch * seq` positions.
    fn gather(&self, positions: Vec<i64>, batch: usize, seq: usize) -> Rotation {
        let device = self.cos.device();
        let positions = Tensor::from_data(TensorData::new(positions, [batch * seq]), &device);
        let rows = |table: &Tensor<2>| {
            let pairs = table.dims()[1];
            table
                .clone()
                .select(0, positions.clone())
                .reshape([batch, 1, seq, pairs])
        };
        Rotation {
            cos: rows(&self.cos),
            sin: rows(&self.sin),
        }
    }

    /// Returns the rotation for texts whose angles depend on their length. A prompt's tokens have the angles of the
    /// whole prompt. A later token has those of the text up to itself, whichever tokens are fed with it, so that drafts
    /// that are verified together are rotated as tokens one by one are.
    fn of_long_texts(&self, pass: &Pass, fixed: usize) -> Rotation {
        let (batch, seq) = (pass.batch(), pass.seq());
        let is_whole = |row: usize| {
            let ends = [0, seq - 1].map(|slot| pass.position(row, slot));
            ends == [Some(pass.past()), Some(pass.past() + seq - 1)]
        };
        let n_rows = if (0..batch).all(is_whole) { 1 } else { batch };
        let mut angles = Vec::with_capacity(n_rows * seq * self.n_rotated / 2);
        let mut frequencies = (0, Vec::new());
        for row in 0..n_rows {
            let position = |slot: usize| pass.position(row, slot).unwrap_or(0);
            let row_length = (0..seq).map(position).max().unwrap_or(0) + 1;
            for slot in 0..seq {
                let length = match pass.past() {
                    0 => row_length,
                    _ => position(slot) + 1,
                };
                // Up to that length, one is as good as another.
                let length = length.max(fixed);
                if frequencies.0 != length {
                    let of_length = self.rope.frequencies_for_length(self.n_rotated, length);
                    frequencies = (length, of_length);
                }
                let position = position(slot) as f32;
                angles.extend(frequencies.1.iter().map(|frequency| position * frequency));
            }
        }
        let shape = [n_rows, 1, seq, self.n_rotated / 2];
        let (dtype, device) = (self.dtype(), self.cos.device());
        let [cos, sin] = cos_and_sin(&angles, shape, self.rope.attention_factor, dtype, &device);
        Rotation { cos, sin }
    }
}

fn cos_and_sin<const D: usize>(
    angles: &[f32],
    shape: [usize; D],
    factor: f64,
    dtype: DType,
    device: &Device,
) -> [Tensor<D>; 2] {
    [f32::cos, f32::sin].map(|function: fn(f32) -> f32| {
        let values = angles.iter().map(|&angle| function(angle) * factor as f32);
        let data = TensorData::new(values.collect::<Vec<f32>>(), shape);
        cast(Tensor::from_data(data, (device, DType::F32)), dtype)
    })
}

/// Rotates heads `[batch, heads, seq, head_dim]` by their positions; without a rotation, they stay as they are.
pub(super) fn rotate(heads: Tensor<4>, rotation: Option<&Rotation>) -> Tensor<4> {
    let Some(rotation) = rotation else {
        return heads;
    };
    if lac_kernels::has_cpu_kernel(&heads) && lac_kernels::has_cpu_kernel(&rotation.cos) {
        return lac_kernels::rotate(heads, rotation.cos.clone(), rotation.sin.clone());
    }
    let (head_dim, half) = (heads.dims()[3], rotation.cos.dims()[3]);
    let first = heads.clone().narrow(3, 0, half);
    let second = heads.clone().narrow(3, half, half);
    let (cos, sin) = (rotation.cos.clone(), rotation.sin.clone());
    let mut parts = vec![
        first.clone() * cos.clone() - second.clone() * sin.clone(),
        second * cos + first * sin,
    ];
    if 2 * half < head_dim {
        parts.push(heads.narrow(3, 2 * half, head_dim - 2 * half));
    }
    Tensor::cat(parts, 3)
}
