//! Sums over a text's tokens, and the numbers made of them.

use lac_core::Usage;

use super::distance::TokenDistance;

/// The perplexity of a text under a policy.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Perplexity {
    /// Number of tokens of the text.
    pub n_tokens: usize,
    /// Number of tokens that were scored.
    pub n_scored: usize,
    /// Number of windows that were read.
    pub n_windows: usize,
    /// The exponential of the mean negative log-likelihood of the scored tokens.
    pub perplexity: f64,
    /// The standard error of `perplexity`, by the sample's variance of the tokens' log-likelihoods; 0 below two tokens.
    pub standard_error: f64,
    /// How far the policy's predictions are from the full model's, where that was asked for.
    pub full: Option<FullModelDistance>,
    /// The layers that were run, and those that were active where a gate judged them.
    pub usage: Usage,
}

/// How far a policy's predictions are from the full model's, over the same tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct FullModelDistance {
    /// The full model's perplexity.
    pub perplexity: f64,
    /// The mean Kullback-Leibler divergence of the policy's distribution of the next token from the full model's, in
    /// nats.
    pub kl: f64,
    /// The standard error of `kl`.
    pub kl_standard_error: f64,
    /// The largest divergence of a token.
    pub kl_max: f64,
    /// The share of tokens for which both name the same likeliest next token, in `[0, 1]`.
    pub top1_agreement: f64,
}

/// Sums over the tokens scored so far.
pub(super) struct Sums {
    n_tokens: usize,
    n_windows: usize,
    own: Moments,
    full: Option<FullSums>,
    usage: Usage,
}

/// A sum and a sum of squares.
#[derive(Clone, Copy, Default)]
struct Moments {
    n: usize,
    sum: f64,
    squares: f64,
}

#[derive(Clone, Copy, Default)]
struct FullSums {
    log_likelihood: Moments,
    kl: Moments,
    kl_max: f64,
    n_same_top: usize,
}

impl Sums {
    pub(super) fn new(n_tokens: usize) -> Self {
        Self {
            n_tokens,
            n_windows: 0,
            own: Moments::default(),
            full: None,
            usage: Usage::default(),
        }
    }

    /// Adds the tokens of a window.
    pub(super) fn add(&mut self, tokens: &[TokenDistance], usage: &Usage) {
        self.n_windows += 1;
        self.usage.merge(usage);
        for token in tokens {
            self.own.add(token.negative_log_likelihood);
            let Some(full) = token.full else { continue };
            let sums = self.full.get_or_insert_default();
            sums.log_likelihood.add(full.negative_log_likelihood);
            sums.kl.add(full.kl);
            sums.kl_max = sums.kl_max.max(full.kl);
            sums.n_same_top += usize::from(full.same_top);
        }
    }

    pub(super) fn result(&self) -> Perplexity {
        let perplexity = self.own.mean().exp();
        Perplexity {
            n_tokens: self.n_tokens,
            n_scored: self.own.n,
            n_windows: self.n_windows,
            perplexity,
            // A small error of a logarithm is that share of the number.
            standard_error: perplexity * self.own.standard_error(),
            full: self.full.map(|full| FullModelDistance {
                perplexity: full.log_likelihood.mean().exp(),
                kl: full.kl.mean(),
                kl_standard_error: full.kl.standard_error(),
                kl_max: full.kl_max,
                top1_agreement: full.n_same_top as f64 / self.own.n as f64,
            }),
            usage: self.usage.clone(),
        }
    }
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.n += 1;
        self.sum += value;
        self.squares += value * value;
    }

    fn mean(&self) -> f64 {
        self.sum / self.n as f64
    }

    /// Returns the standard error of the mean; 0 below two values.
    fn standard_error(&self) -> f64 {
        if self.n < 2 {
            return 0.0;
        }
        let variance = self.squares / self.n as f64 - self.mean().powi(2);
        (variance.max(0.0) / (self.n - 1) as f64).sqrt()
    }
}
