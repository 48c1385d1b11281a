//! Which option log-likelihoods choose.

/// How an answer is told from log-likelihoods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Judgement {
    /// The option with the highest log-likelihood is chosen.
    #[default]
    Highest,
    /// The same. All continuations follow once more without their contexts, as the second half of
    /// the options: the harness's `acc_mutual_info` chooses by the difference.
    HighestAndUnconditional,
    /// The option is chosen that is the model's greedy text.
    Greedy,
}

impl Judgement {
    /// Returns the number of options that can be chosen, of as many as are scored.
    pub(crate) fn n_options(self, n_scored: usize) -> usize {
        match self {
            Judgement::HighestAndUnconditional => n_scored / 2,
            Judgement::Highest | Judgement::Greedy => n_scored,
        }
    }

    /// Returns the chosen option. It is the number of options where the greedy text is none of
    /// them; a right option goes before others that are greedy too.
    ///
    /// `greedy` says of each option whether every token of it is the most likely one.
    pub(crate) fn chosen(
        self,
        log_likelihoods: &[f64],
        greedy: &[bool],
        is_right: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let n_options = self.n_options(log_likelihoods.len());
        match self {
            Judgement::Highest | Judgement::HighestAndUnconditional => {
                first_of_largest(&log_likelihoods[..n_options])
            }
            Judgement::Greedy => {
                let is_greedy = |option: &usize| greedy.get(*option) == Some(&true);
                let right = (0..n_options).find(|option| is_greedy(option) && is_right(*option));
                right
                    .or_else(|| (0..n_options).find(is_greedy))
                    .or(Some(n_options))
            }
        }
    }

    /// Returns the option that is the most likelier for its context; `None` without log-likelihoods
    /// of the options without their contexts.
    pub(crate) fn chosen_by_mutual_info(self, log_likelihoods: &[f64]) -> Option<usize> {
        if self != Judgement::HighestAndUnconditional {
            return None;
        }
        let (with, without) = log_likelihoods.split_at(self.n_options(log_likelihoods.len()));
        let gains: Vec<f64> = with.iter().zip(without).map(|(a, b)| a - b).collect();
        first_of_largest(&gains)
    }
}

/// Returns the first index of the largest value, as numpy's `argmax` does.
pub(crate) fn first_of_largest(values: &[f64]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (i, value) in values.iter().enumerate() {
        if best.is_none_or(|best| *value > values[best]) {
            best = Some(i);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_task_chooses_in_its_own_way() {
        let values = [-3.0, -1.0, -1.0, -2.0];
        let none = [false; 4];
        let highest = Judgement::Highest.chosen(&values, &none, |_| false);
        assert_eq!(highest, Some(1), "the first of equals");

        let both = Judgement::HighestAndUnconditional;
        assert_eq!(both.chosen(&values, &none, |_| true), Some(1));
        // −3 + 1 against −1 + 2.
        assert_eq!(both.chosen_by_mutual_info(&values), Some(1));
        assert_eq!(
            both.chosen_by_mutual_info(&[-3.0, -1.0, -9.0, -2.0]),
            Some(0)
        );
        assert_eq!(Judgement::Highest.chosen_by_mutual_info(&values), None);

        let greedy =
            |flags, right| Judgement::Greedy.chosen(&values[..3], flags, |option| option == right);
        assert_eq!(greedy(&[false, true, true], 2), Some(2));
        assert_eq!(greedy(&[false, true, false], 2), Some(1));
        assert_eq!(greedy(&[false, false, false], 2), Some(3));
        assert_eq!(Judgement::Highest.chosen(&[], &[], |_| true), None);
    }
}
