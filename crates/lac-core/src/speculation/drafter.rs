//! The trait of whatever proposes tokens.

use super::draft_round::DraftRound;
use crate::error::BoxError;
use crate::plan::PhasePlan;
use crate::record::PassRecord;

/// Proposes tokens that the full model has not yet seen. The full model verifies them all in one pass and keeps those that
/// it agrees with.
///
/// A drafter decides how fast a text comes and never what it says: greedy text is the full model's, token for token, and
/// sampled text has the full model's distribution, whatever is proposed. A drafter that is always wrong costs a little
/// time, and is soon asked no more ([`DraftLength::Adaptive`](super::DraftLength::Adaptive)).
///
/// - Tokens beyond the number that was asked for are not taken.
/// - A token beyond the model's vocabulary is an error that ends the text,
///   [`Error::DraftedBeyondVocabulary`](crate::Error::DraftedBeyondVocabulary).
/// - An error of the drafter ends the text, as [`Error::Drafter`](crate::Error::Drafter).
/// - A panic is not caught here: it ends the generation as any other panic does.
///
/// ```
/// use lac_core::BoxError;
/// use lac_core::speculation::{DraftRound, Drafter};
///
/// /// Proposes that the text goes on as it began.
/// struct Repeats;
///
/// impl Drafter for Repeats {
///     fn name(&self) -> &str {
///         "repeats"
///     }
///
///     fn draft(&mut self, round: &mut DraftRound<'_>) -> Result<(), BoxError> {
///         let mut place = round.text().len() - round.n_prompt();
///         while round.wants_more() {
///             let id = round.text()[place];
///             round.propose(id, 1.0)?;
///             place += 1;
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Drafter: Send {
    /// Returns the name in statistics. Two drafters of one [`Speculator`](super::Speculator) should differ in it.
    fn name(&self) -> &str;

    /// Returns what a drafted token is expected to cost, as a share of a full pass over one token: what is assumed until
    /// times are known, and always under [`DraftCost::Expected`](super::DraftCost::Expected). 0, the default, is for tokens
    /// that cost no pass. Called before every round; a change tells that the drafter drafts in another way from now on.
    fn expected_cost(&self) -> f64 {
        0.0
    }

    /// Begins a text. `n_slots` is the number of tokens that the prompt and the text may have together. Does nothing by
    /// default.
    ///
    /// # Errors
    /// An error ends the text.
    fn begin(&mut self, prompt: &[u32], n_slots: usize) -> Result<(), BoxError> {
        let _ = (prompt, n_slots);
        Ok(())
    }

    /// Proposes tokens for one verifying pass, the next one first, while [`DraftRound::wants_more`] is true. To propose
    /// nothing is fine.
    ///
    /// # Errors
    /// An error ends the text.
    fn draft(&mut self, round: &mut DraftRound<'_>) -> Result<(), BoxError>;

    /// Learns how many of its own tokens the last verifying pass judged, and how many of those it accepted: all of them, or
    /// all but the last. Does nothing by default.
    fn judged(&mut self, n_judged: usize, n_accepted: usize) {
        let _ = (n_judged, n_accepted);
    }

    /// Receives the full model's passes, cut to the tokens that were accepted: the prompt's, and then each one after
    /// [`judged`](Self::judged). Called only where the passes are gated or observed. Does nothing by default.
    fn observed(&mut self, record: &PassRecord) {
        let _ = record;
    }

    /// Returns whether the drafter needs the gate's readings in [`observed`](Self::observed).
    fn needs_readings(&self) -> bool {
        false
    }

    /// Forgets what it learned of earlier texts. Called before drawn texts, which must not depend on earlier ones.
    fn forget(&mut self) {}

    /// Returns the layers that it drafts with, if these are a plan's.
    fn plan(&self) -> Option<&PhasePlan> {
        None
    }
}
