//! Which tokens an intervention concerns.

use std::fmt;
use std::ops::Range;

use burn::tensor::{Bool, Device, Tensor, TensorData};

use crate::pass::Pass;
use crate::phase::Phase;

/// Which tokens an intervention concerns: all, or those of a phase, or those at positions of their sequences, or both.
///
/// Positions count from 0 at a sequence's first token and go on in the response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TokenSelection {
    phase: Option<Phase>,
    positions: Option<Range<usize>>,
}

impl TokenSelection {
    /// Selects every token.
    pub fn all() -> Self {
        Self::default()
    }

    /// Selects the tokens of a phase.
    pub fn phase(phase: Phase) -> Self {
        Self {
            phase: Some(phase),
            positions: None,
        }
    }

    /// Selects the tokens at these positions.
    pub fn positions(positions: Range<usize>) -> Self {
        Self {
            phase: None,
            positions: Some(positions),
        }
    }

    /// Selects those of the selected tokens that are of a phase.
    pub fn in_phase(self, phase: Phase) -> Self {
        Self {
            phase: Some(phase),
            ..self
        }
    }

    /// Returns which tokens of a pass are selected. Padding has no say: what happens to it changes nothing.
    pub(super) fn of(&self, pass: &Pass) -> Selected {
        if self.phase.is_some_and(|phase| phase != pass.phase()) {
            return Selected::None;
        }
        let Some(positions) = &self.positions else {
            return Selected::All;
        };
        let slots = (0..pass.batch()).flat_map(|row| (0..pass.seq()).map(move |slot| (row, slot)));
        let of_slots: Vec<Option<bool>> = slots
            .map(|(row, slot)| pass.position(row, slot).map(|at| positions.contains(&at)))
            .collect();
        if !of_slots.contains(&Some(true)) {
            Selected::None
        } else if !of_slots.contains(&Some(false)) {
            Selected::All
        } else {
            let flags = of_slots.into_iter().map(|slot| slot == Some(true));
            Selected::Some(flags.collect())
        }
    }
}

impl fmt::Display for TokenSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(phase) = self.phase {
            write!(f, "@{}", phase.name())?;
        }
        match &self.positions {
            Some(positions) if positions.len() == 1 => write!(f, "@{}", positions.start),
            Some(positions) => write!(
                f,
                "@{}-{}",
                positions.start,
                positions.end.saturating_sub(1)
            ),
            None => Ok(()),
        }
    }
}

/// Which tokens of a pass are selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    None,
    All,
    /// Those whose flag is set, `[row][slot]`.
    Some(Vec<bool>),
}

impl Selected {
    /// Returns the mask of the selected tokens of a pass, `[batch, seq]`; `None` if all of them are.
    pub(super) fn mask(&self, pass: [usize; 2], device: &Device) -> Option<Tensor<2, Bool>> {
        let flags = match self {
            Selected::All => return None,
            Selected::None => vec![false; pass[0] * pass[1]],
            Selected::Some(flags) => flags.clone(),
        };
        Some(Tensor::from_data(TensorData::new(flags, pass), device))
    }
}
