//! The logit lens: what a model would say if it ended after each of its layers.
//!
//! The final norm and the head are applied to the state after every layer (nostalgebraist 2020). A *tuned* lens applies an
//! affine map to each state first (Belrose et al., arXiv 2303.08112).

mod look;
mod record;
mod tuned;

pub use record::{LensAt, LensRecord, decided_at};
pub use tuned::{AffineMap, TunedLens};

pub(crate) use look::{LensReadings, MOST_LOGITS, look};

use std::sync::Arc;

use crate::error::{Error, Result};

/// A lens: how many tokens are named after each layer, and which maps are applied to states first.
#[derive(Clone, Debug)]
pub struct Lens {
    n_top: usize,
    tuned: Option<Arc<TunedLens>>,
}

impl Lens {
    /// The greatest number of tokens that a lens names.
    pub const MOST_TOP: usize = 100;

    /// Makes a logit lens that names the `n_top` most probable tokens.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if `n_top` is 0 or above [`MOST_TOP`](Self::MOST_TOP).
    pub fn new(n_top: usize) -> Result<Self> {
        if !(1..=Self::MOST_TOP).contains(&n_top) {
            return Err(Error::InvalidConfig {
                field: "the number of tokens of a lens",
                value: n_top.to_string(),
                expected: "1 to 100",
            });
        }
        Ok(Self { n_top, tuned: None })
    }

    /// Makes a logit lens that names the most probable token alone.
    pub fn of_the_likeliest() -> Self {
        Self {
            n_top: 1,
            tuned: None,
        }
    }

    /// Sets the maps of a tuned lens.
    pub fn with_maps(self, maps: Arc<TunedLens>) -> Self {
        Self {
            tuned: Some(maps),
            ..self
        }
    }

    /// Returns the number of tokens that are named.
    pub fn n_top(&self) -> usize {
        self.n_top
    }

    /// Returns the maps, if the lens is tuned.
    pub fn maps(&self) -> Option<&TunedLens> {
        self.tuned.as_deref()
    }
}
