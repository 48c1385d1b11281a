//! Rotary positions (Su et al. 2021, arXiv 2104.09864) in the layout of Hugging Face
//! checkpoints: the two halves of a head are rotated against each other.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::cast::cast;

/// The angles of the rotary positions.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RopeConfig {
    /// The base of the geometric series of wavelengths, `rope_theta`.
    pub theta: f64,
    /// How the wavelengths are stretched beyond the training context.
    pub scaling: RopeScaling,
}

/// How the wavelengths are stretched beyond the training context.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// They are not stretched.
    None,
    /// All by the same factor (position interpolation, arXiv 2306.15595).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// As Llama 3.1 does: long wavelengths by the factor, short ones not, a ramp between.
    Llama3 {
        /// The factor for long wavelengths.
        factor: f64,
        /// Wavelengths above the original context over this are long.
        low_freq_factor: f64,
        /// Wavelengths below the original context over this are short.
        high_freq_factor: f64,
        /// Number of positions of the training context.
        original_max_position_embeddings: usize,
    },
}

/// Cosines and sines of a pass's positions, `[1 or batch, 1, seq, head_dim / 2]` each.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    pub(super) cos: Tensor<4>,
    pub(super) sin: Tensor<4>,
}

/// Cosines and sines of all positions of a context, `[capacity, head_dim / 2]` each.
#[derive(Clone, Debug)]
pub(super) struct RotationTable {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl RopeConfig {
    /// Returns the angles of a base, without scaling.
    pub fn new(theta: f64) -> Self {
        Self {
            theta,
            scaling: RopeScaling::None,
        }
    }

    /// Sets how the wavelengths are stretched.
    #[must_use]
    pub fn with_scaling(mut self, scaling: RopeScaling) -> Self {
        self.scaling = scaling;
        self
    }

    /// Returns the angle per position of each pair of a head, `head_dim / 2` angles.
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        (0..head_dim / 2)
            .map(|pair| self.inverse_frequency(pair, head_dim) as f32)
            .collect()
    }

    /// Returns whether every angle up to a position is finite. A base or a factor near 0 makes infinite ones.
    pub(crate) fn has_finite_angles(&self, head_dim: usize, n_positions: usize) -> bool {
        // Angles fall or rise monotonically from pair to pair, so the first and the last bound them all.
        [0, head_dim / 2 - 1].iter().all(|&pair| {
            let angle = self.inverse_frequency(pair, head_dim) as f32 * n_positions as f32;
            angle.is_finite()
        })
    }

    fn inverse_frequency(&self, pair: usize, head_dim: usize) -> f64 {
        let exponent = 2.0 * pair as f64 / head_dim as f64;
        self.scaled(self.theta.powf(-exponent))
    }

    fn scaled(&self, frequency: f64) -> f64 {
        match self.scaling {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let context = original_max_position_embeddings as f64;
                let wavelength = std::f64::consts::TAU / frequency;
                if wavelength < context / high_freq_factor {
                    frequency
                } else if wavelength > context / low_freq_factor {
                    frequency / factor
                } else {
                    let short_share = (context / wavelength - low_freq_factor)
                        / (high_freq_factor - low_freq_factor);
                    (1.0 - short_share) * frequency / factor + short_share * frequency
                }
            }
        }
    }
}

impl RotationTable {
    /// Makes the table on the host: a GPU's sine is inexact for the large angles of far positions.
    pub(super) fn new(
        rope: &RopeConfig,
        head_dim: usize,
        capacity: usize,
        dtype: DType,
        device: &Device,
    ) -> Self {
        let frequencies = rope.inverse_frequencies(head_dim);
        let table = |function: fn(f32) -> f32| {
            let values: Vec<f32> = (0..capacity)
                .flat_map(|position| {
                    frequencies
                        .iter()
                        .map(move |frequency| function(position as f32 * frequency))
                })
                .collect();
            let data = TensorData::new(values, [capacity, head_dim / 2]);
            cast(Tensor::from_data(data, (device, DType::F32)), dtype)
        };
        Self {
            cos: table(f32::cos),
            sin: table(f32::sin),
        }
    }

    pub(super) fn dtype(&self) -> DType {
        self.cos.dtype()
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
    pub(super) fn gather(&self, positions: Vec<i64>, batch: usize, seq: usize) -> Rotation {
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
}

/// Rotates heads `[batch, heads, seq, head_dim]` by their positions.
pub(super) fn rotate(heads: Tensor<4>, rotation: &Rotation) -> Tensor<4> {
    if lac_kernels::has_cpu_kernel(&heads) && lac_kernels::has_cpu_kernel(&rotation.cos) {
        return lac_kernels::rotate(heads, rotation.cos.clone(), rotation.sin.clone());
    }
    let half = heads.dims()[3] / 2;
    let first = heads.clone().narrow(3, 0, half);
    let second = heads.narrow(3, half, half);
    let (cos, sin) = (rotation.cos.clone(), rotation.sin.clone());
    Tensor::cat(
        vec![
            first.clone() * cos.clone() - second.clone() * sin.clone(),
            second * cos + first * sin,
        ],
        3,
    )
}
