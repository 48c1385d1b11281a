//! The gate on the host: plain Rust over slices, norms in f64, no tensors.
//!
//! For tests, and for users whose states are not burn's.
//!
//! ```
//! use lac_core::reference::{norm, TokenGate};
//!
//! // The worked example: norms from the embedding on, α = 0.8.
//! let mut gate = TokenGate::new(0.8, 11.5052);
//! let active: Vec<bool> = [11.8011, 11.9390, 13.2264, 13.5499, 14.6733, 14.2841]
//!     .iter()
//!     .map(|&norm| gate.step(norm).active)
//!     .collect();
//! assert_eq!(active, [true, true, true, false, true, false]);
//! assert_eq!(norm(&[3.0f32, 4.0]), 5.0);
//! ```

/// Returns the L2 norm of one token's hidden state, accumulated in f64; 0 for an empty one. It is NaN or infinite if a
/// value is.
pub fn norm<T: Copy + Into<f64>>(hidden: &[T]) -> f64 {
    hidden
        .iter()
        .map(|&value| {
            let value: f64 = value.into();
            value * value
        })
        .sum::<f64>()
        .sqrt()
}

/// What the gate says of one token at one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// `n_l`: the norm after the layer.
    pub norm: f64,
    /// `Δ_l`: by how much the layer changed the norm.
    pub delta: f64,
    /// `λ_l`: the threshold that the delta is compared with.
    pub threshold: f64,
    /// Whether the layer is active for the token: `Δ_l ≥ λ_l`.
    pub active: bool,
}

/// The gate's running state over the layers of one pass, for one token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenGate {
    alpha: f64,
    previous_norm: f64,
    /// The smallest and the largest delta so far.
    deltas: Option<(f64, f64)>,
}

impl TokenGate {
    /// Starts a pass from α and the norm of the token's embedding.
    pub fn new(alpha: f64, embedding_norm: f64) -> Self {
        Self {
            alpha,
            previous_norm: embedding_norm,
            deltas: None,
        }
    }

    /// Judges a layer by the norm of its output, which the next layer receives.
    pub fn step(&mut self, norm: f64) -> Reading {
        let reading = self.judge(norm);
        self.previous_norm = norm;
        reading
    }

    /// Judges a layer by the norm of its output, which the next layer receives only if the layer is active; otherwise it
    /// receives the layer's input.
    pub fn step_bypassing(&mut self, norm: f64) -> Reading {
        let reading = self.judge(norm);
        if reading.active {
            self.previous_norm = norm;
        }
        reading
    }

    /// Returns the norm of the state that the next layer receives.
    pub fn previous_norm(&self) -> f64 {
        self.previous_norm
    }

    fn judge(&mut self, norm: f64) -> Reading {
        let delta = norm - self.previous_norm;
        let (min, max) = self.deltas.unwrap_or((delta, delta));
        let threshold = self.alpha * (max - min);
        self.deltas = Some((min.min(delta), max.max(delta)));
        Reading {
            norm,
            delta,
            threshold,
            active: delta >= threshold,
        }
    }
}

/// Gates a token over a whole pass: its embedding and the outputs of all layers, each of the
/// same width, on unchanged states.
pub fn gate_token<T: Copy + Into<f64>>(
    alpha: f64,
    embedding: &[T],
    outputs: &[&[T]],
) -> Vec<Reading> {
    let mut gate = TokenGate::new(alpha, norm(embedding));
    outputs
        .iter()
        .map(|output| gate.step(norm(output)))
        .collect()
}
