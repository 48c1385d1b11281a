//! One round of drafting: who is asked, and what of it is verified.

use web_time::Instant;

use super::acceptance::Draft;
use super::config::DraftLength;
use super::control::Control;
use super::draft_round::{Asked, DraftRound, RoundSetting};
use super::drafter::Drafter;
use super::speculator::Speculator;
use super::stats::SpeculationStats;
use crate::error::{BoxError, Error, Result};
use crate::generation::sampling::Sampler;

/// What a round verifies.
pub(super) struct Proposals {
    pub drafts: Vec<Draft>,
    /// The drafter that had to be paid for, and the number of its tokens.
    pub paid: Option<(usize, usize)>,
}

/// A gain that is worth more than a trial of another drafter.
const CLEAR_GAIN: f64 = 0.5;

/// Drafts as many tokens as pay, of the drafter that pays most. The text is left as it was.
pub(super) fn propose(
    speculator: &mut Speculator,
    setting: RoundSetting<'_>,
    at_most: usize,
    stats: &mut SpeculationStats,
) -> Result<Proposals> {
    let Speculator {
        config,
        drafters,
        control,
        ..
    } = speculator;
    let n_changed = control.begin(drafters.iter().map(|drafter| drafter.expected_cost()));
    stats.n_plan_changes += n_changed;
    let n_text = setting.text.len();
    let mut round = Asking {
        drafters,
        control,
        setting,
        at_most,
        stats,
        is_over: false,
    };
    if at_most == 0 || round.control.is_plain_due() {
        return Ok(Proposals {
            drafts: Vec::new(),
            paid: None,
        });
    }
    let proposals = match config.draft_length {
        DraftLength::Fixed(_) => round.first_that_proposes(),
        DraftLength::Adaptive { .. } => round.what_pays(),
    }?;
    round.setting.text.truncate(n_text);
    stats.n_drafted += proposals.drafts.len();
    for draft in &proposals.drafts {
        stats.drafters[draft.drafter].n_drafted += 1;
    }
    Ok(proposals)
}

struct Asking<'s, 'r> {
    drafters: &'s mut [Box<dyn Drafter>],
    control: &'s mut Control,
    setting: RoundSetting<'r>,
    at_most: usize,
    stats: &'s mut SpeculationStats,
    /// Whether a stop token was proposed, which nothing follows.
    is_over: bool,
}

/// How many of a drafter's tokens are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// All of them, to be judged together.
    All,
    /// One by one, as long as another one pays.
    AsPays,
}

impl Asking<'_, '_> {
    /// Takes the tokens of the first drafter that proposes any, and lets those that cost no pass go on.
    fn first_that_proposes(&mut self) -> Result<Proposals> {
        let mut drafts = Vec::new();
        let mut paid = None;
        for drafter in 0..self.drafters.len() {
            let is_free = self.control.is_free(drafter);
            if !(drafts.is_empty() || is_free) || self.is_over || drafts.len() >= self.at_most {
                continue;
            }
            let n_before = drafts.len();
            let n_withheld;
            (drafts, n_withheld) = self.ask(drafter, Taken::AsPays, drafts, 1.0)?;
            if !is_free {
                paid = Some((drafter, drafts.len() - n_before + n_withheld));
            }
        }
        Ok(Proposals { drafts, paid })
    }

    /// Takes what is worth most at this moment.
    fn what_pays(&mut self) -> Result<Proposals> {
        let (free, free_worth) = self.best_of_the_free()?;
        let costly = (0..self.drafters.len()).filter(|&drafter| !self.control.is_free(drafter));
        let mut best: Option<(usize, f64)> = None;
        for drafter in costly {
            let worth = self.control.expected_worth(drafter, self.at_most);
            if worth > best.map_or(0.0, |(_, worth)| worth) {
                best = Some((drafter, worth));
            }
        }
        let mut paid = None;
        let mut drafts = Vec::new();
        if let Some((drafter, worth)) = best
            && worth > free_worth
            && !(worth.is_infinite() && free_worth > CLEAR_GAIN)
        {
            let n_withheld;
            (drafts, n_withheld) = self.ask(drafter, Taken::AsPays, drafts, 1.0)?;
            paid = Some((drafter, drafts.len() + n_withheld));
        }
        if paid.is_none() {
            self.setting.text.extend(free.iter().map(|draft| draft.id));
            drafts = free;
        }
        self.with_tails(Proposals { drafts, paid })
    }

    /// Asks those whose tokens cost nothing, and returns the best tokens with their worth.
    fn best_of_the_free(&mut self) -> Result<(Vec<Draft>, f64)> {
        let n_text = self.setting.text.len();
        let mut best = (Vec::new(), 0.0);
        for drafter in 0..self.drafters.len() {
            if !self.control.is_free(drafter) {
                continue;
            }
            let (mut drafts, _) = self.ask(drafter, self.taken_of_the_free(), Vec::new(), 1.0)?;
            self.is_over = false;
            self.setting.text.truncate(n_text);
            let (mut n_kept, mut worth) = kept(self.control, &drafts, 0, 1.0);
            if n_kept == 0 && !drafts.is_empty() && self.control.is_trial_due(drafter) {
                (n_kept, worth) = (1, f64::MIN_POSITIVE);
            }
            if worth > best.1 {
                drafts.truncate(n_kept);
                best = (drafts, worth);
            }
        }
        Ok(best)
    }

    /// How tokens are taken that cost nothing. What is drawn cannot be left out again, so another one has to pay before it is
    /// drawn.
    fn taken_of_the_free(&self) -> Taken {
        match self.setting.sampler {
            Sampler::Greedy => Taken::All,
            Sampler::Random { .. } => Taken::AsPays,
        }
    }

    /// Adds tokens that cost nothing behind those that are there.
    fn with_tails(&mut self, mut proposals: Proposals) -> Result<Proposals> {
        let Some(last) = proposals.drafts.last() else {
            return Ok(proposals);
        };
        let first_drafter = last.drafter;
        for drafter in 0..self.drafters.len() {
            let n_before = proposals.drafts.len();
            if drafter == first_drafter || !self.control.is_free(drafter) {
                continue;
            }
            if self.is_over || n_before >= self.at_most {
                break;
            }
            let reach: f64 = proposals
                .drafts
                .iter()
                .map(|draft| self.control.acceptance(draft.drafter, draft.confidence))
                .product();
            let (drafts, _) =
                self.ask(drafter, self.taken_of_the_free(), proposals.drafts, reach)?;
            proposals.drafts = drafts;
            let (n_kept, _) = kept(self.control, &proposals.drafts[n_before..], n_before, reach);
            let n_left = n_before + n_kept;
            let n_cut = proposals.drafts.len() - n_left;
            proposals.drafts.truncate(n_left);
            let n_text = self.setting.text.len() - n_cut;
            self.setting.text.truncate(n_text);
        }
        Ok(proposals)
    }

    /// Asks a drafter for tokens after those that are there; returns all of them, and the number of those that gain
    /// nothing.
    fn ask(
        &mut self,
        drafter: usize,
        taken: Taken,
        drafts: Vec<Draft>,
        reach: f64,
    ) -> Result<(Vec<Draft>, usize)> {
        let start = Instant::now();
        let n_before = drafts.len();
        let asked = Asked {
            drafter,
            at_most: self.at_most,
            control: (taken == Taken::AsPays).then_some(&*self.control),
        };
        let mut round = DraftRound::new(self.setting.reborrowed(), asked, drafts, reach);
        let asked = &mut self.drafters[drafter];
        asked
            .draft(&mut round)
            .map_err(|error| failed(asked.as_ref(), error))?;
        let (drafts, n_withheld, is_over) = round.into_drafts();
        let time = start.elapsed();
        let n_tokens = drafts.len() - n_before + n_withheld;
        self.is_over |= is_over;
        self.control.drafted(drafter, n_tokens, n_withheld, time);
        self.stats.draft_time += time;
        self.stats.n_drafted += n_withheld;
        let stats = &mut self.stats.drafters[drafter];
        stats.draft_time += time;
        stats.n_drafted += n_withheld;
        Ok((drafts, n_withheld))
    }
}

/// How many of a drafter's tokens are verified, and what they are worth. Tokens that were drawn are all verified: to leave
/// one out because of what was drawn would change the text's distribution.
fn kept(control: &Control, drafts: &[Draft], before: usize, reach: f64) -> (usize, f64) {
    if drafts.iter().any(Draft::is_drawn) {
        return (drafts.len(), f64::INFINITY);
    }
    control.best_prefix(drafts, before, reach)
}

/// An error that a drafter has returned: one of this crate as it is.
pub(super) fn failed(drafter: &dyn Drafter, error: BoxError) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(source) => Error::Drafter {
            name: drafter.name().to_owned(),
            source,
        },
    }
}
