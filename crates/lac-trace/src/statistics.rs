//! Statistics of traces: streaming, exact, and mergeable over several traces of one run.
//!
//! Counts are integers, so traces merged in any order give what one trace gives. Means and variances of norms and
//! deltas are merged by Chan's rule and agree to rounding.

mod add;
mod agreement;
mod counts;
mod experts;
mod moments;
mod phase;
mod regate;
mod relations;
mod summary;
mod sweep;
mod token_class;
mod token_use;

pub use agreement::{Agreement, PhaseAgreement, agreement};
pub use counts::Statistics;
pub use experts::{ExpertStatistics, ExpertSummary};
pub use moments::{Comoments, Interval, Moments, Share, spearman, wilson};
pub use phase::{PhaseStatistics, PositionBucket, TRANSITIONS};
pub use regate::regate;
pub use relations::{
    Cell, Correlation, LayerRelation, LayerRelationSummary, RelationSummary, Relations, TwoWay,
};
pub use summary::{
    Distribution, PhaseComparison, PhaseSummary, PositionUsage, Spread, Summary, SweepSummary,
    Transition,
};
pub use sweep::{AlphaSweep, SweepCounts, default_alphas};
pub use token_class::{ClassCounts, ClassUsage, TokenClass};
pub use token_use::{TokenActivity, TokenUse};
