//! What drafting may lose.

/// Ends drafting for a while where it has lost time, so that a text that nothing foresees comes hardly slower than without.
///
/// Losses and gains are in plain passes. Once the losses that no gain has made good reach a limit, some rounds are plain:
/// twice as many every time, until drafts have gained something in between.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    /// Losses that no gain has made good.
    open: f64,
    /// Gains since the last rest.
    gained: f64,
    limit: f64,
    /// Plain rounds that are left of a rest.
    rest: u32,
    next_rest: u32,
}

/// What may be lost before the first rest, and before later ones, in plain passes.
const LIMITS: [f64; 2] = [1.5, 0.5];

/// Rounds of the first rest, and of the longest.
const RESTS: [u32; 2] = [24, 768];

impl Losses {
    pub(super) fn new() -> Self {
        Self {
            open: 0.0,
            gained: 0.0,
            limit: LIMITS[0],
            rest: 0,
            next_rest: RESTS[0],
        }
    }

    pub(super) fn is_resting(&self) -> bool {
        self.rest > 0
    }

    /// Learns what a round has lost: the time that it took, in plain passes, less the tokens that it gave.
    pub(super) fn round(&mut self, is_plain: bool, lost: f64) {
        if is_plain {
            self.rest = self.rest.saturating_sub(1);
            return;
        }
        self.open = (self.open + lost).max(0.0);
        self.gained -= lost.min(0.0);
        if self.gained > 2.0 * LIMITS[0] {
            self.limit = LIMITS[0];
            self.next_rest = RESTS[0];
        }
        if self.open > self.limit {
            self.rest = self.next_rest;
            self.next_rest = (2 * self.next_rest).min(RESTS[1]);
            self.limit = LIMITS[1];
            (self.open, self.gained) = (0.0, 0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_bounded_and_gains_open_the_way_again() {
        let mut losses = Losses::new();
        // Every draft loses a fifth of a pass.
        let (mut lost, mut n_rounds) = (0.0, 0);
        for _ in 0..4000 {
            n_rounds += 1;
            if losses.is_resting() {
                losses.round(true, 0.0);
            } else {
                lost += 0.2;
                losses.round(false, 0.2);
            }
        }
        assert!(lost < 0.003 * f64::from(n_rounds), "{lost}");
        // Once it is over, a long run of gains ends the doubling.
        while losses.is_resting() {
            losses.round(true, 0.0);
        }
        (0..4).for_each(|_| losses.round(false, -1.0));
        (0..10).for_each(|_| losses.round(false, 0.2));
        assert_eq!(losses.rest, RESTS[0]);
    }
}
