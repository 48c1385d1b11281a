//! The learning rate over the steps of a run.

/// Linear warm-up, then half a cosine down to a floor.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f64,
    /// The share of the peak that is left at the end.
    pub floor: f64,
    /// How many steps the rate rises.
    pub n_warmup: usize,
    /// How many steps there are.
    pub n_steps: usize,
}

impl Schedule {
    /// Returns the rate of a step, counted from zero.
    pub fn at(&self, step: usize) -> f64 {
        if step < self.n_warmup {
            return self.peak * (step + 1) as f64 / self.n_warmup as f64;
        }
        let span = self.n_steps.saturating_sub(self.n_warmup).max(1);
        let progress = ((step - self.n_warmup) as f64 / span as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.peak * (self.floor + (1.0 - self.floor) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_falls() {
        let schedule = Schedule {
            peak: 1.0,
            floor: 0.1,
            n_warmup: 10,
            n_steps: 110,
        };
        assert!((schedule.at(0) - 0.1).abs() < 1e-12);
        assert!((schedule.at(9) - 1.0).abs() < 1e-12);
        assert!((schedule.at(60) - 0.55).abs() < 1e-12);
        assert!((schedule.at(110) - 0.1).abs() < 1e-12);
    }
}
