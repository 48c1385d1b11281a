//! How often drafted tokens were accepted.

/// A share of successes among recent trials.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    successes: f64,
    trials: f64,
}

impl Share {
    /// Weight of the first guess, in trials.
    const GUESS: f64 = 3.0;
    /// The weight that older trials keep after each new one.
    const MEMORY: f64 = 0.98;

    pub(super) fn guess(share: f64) -> Self {
        Self {
            successes: Self::GUESS * share,
            trials: Self::GUESS,
        }
    }

    pub(super) fn add(&mut self, is_success: bool) {
        self.successes = Self::MEMORY * self.successes + f64::from(u8::from(is_success));
        self.trials = Self::MEMORY * self.trials + 1.0;
    }

    pub(super) fn get(&self) -> f64 {
        self.successes / self.trials
    }

    /// Reduces what is known to the weight of a first guess.
    pub(super) fn doubt(&mut self) {
        *self = Self::guess(self.get());
    }
}

/// One drafter's acceptance.
#[derive(Clone, Debug)]
pub(super) struct Acceptance {
    by_confidence: [Share; CONFIDENCE_LIMITS.len() + 1],
    /// Acceptance of the token that is drafted next, whose confidence is not known yet.
    next: Share,
}

/// Upper limits of classes of confidence: for logits, by how much the draft's first token led.
const CONFIDENCE_LIMITS: [f32; 6] = [0.5, 1.0, 2.0, 3.5, 5.0, 8.0];

/// What is expected of each class before anything was seen of it.
const FIRST_GUESSES: [f64; CONFIDENCE_LIMITS.len() + 1] = [0.3, 0.45, 0.6, 0.75, 0.85, 0.92, 0.97];

impl Acceptance {
    pub(super) fn new() -> Self {
        Self {
            by_confidence: FIRST_GUESSES.map(Share::guess),
            next: Share::guess(0.7),
        }
    }

    /// The acceptance of tokens of a confidence.
    pub(super) fn of(&self, confidence: f32) -> f64 {
        self.by_confidence[class(confidence)].get()
    }

    /// The acceptance of a token that is not drafted yet.
    pub(super) fn of_next(&self) -> f64 {
        self.next.get()
    }

    pub(super) fn judged(&mut self, confidence: f32, is_accepted: bool) {
        self.by_confidence[class(confidence)].add(is_accepted);
        self.next.add(is_accepted);
    }

    /// Counts a drafted token that gains nothing, right or wrong.
    pub(super) fn fruitless(&mut self) {
        self.next.add(false);
    }

    pub(super) fn doubt(&mut self) {
        self.by_confidence.iter_mut().for_each(Share::doubt);
        self.next.doubt();
    }
}

fn class(confidence: f32) -> usize {
    CONFIDENCE_LIMITS
        .iter()
        .position(|&limit| confidence < limit)
        .unwrap_or(CONFIDENCE_LIMITS.len())
}
