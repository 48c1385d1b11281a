//! The drafters that there are.

mod model;
mod ngram;
mod ngram_index;
mod plan;

pub use model::ModelDrafter;
pub use ngram::{NgramDrafter, NgramMemory};
pub use plan::PlanDrafter;
