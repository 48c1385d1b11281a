//! Perplexity of a text, and how far a policy's predictions are from the full model's.

mod distance;
mod summary;

use lac_core::generation::{Flow, forward_hidden};
use lac_core::{CausalLm, LayerPolicy, Observer, Off, Pass, Phase, Usage};

use self::summary::Sums;
pub use self::summary::{FullModelDistance, Perplexity};
use crate::error::{Error, Result};

/// How a text is cut into windows.
///
/// Windows follow each other without overlap, and what is left at the end of the text is not read. Each is a text of
/// its own to the model. The second half of each is scored, so that every scored token has at least half a window
/// before it: the rule of llama.cpp's `llama-perplexity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Number of tokens of a window, at least 4.
    pub length: usize,
    /// The token that every window begins with, in place of the text's own; `None` for models that are not made to
    /// begin with one.
    pub first_token: Option<u32>,
}

/// What a policy's predictions are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ComparedWith {
    /// Nothing: the text's own tokens alone are scored.
    #[default]
    Nothing,
    /// The full model, run over every window as well.
    FullModel,
}

/// How a text is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerplexityConfig {
    /// How the text is cut.
    pub windows: Windows,
    /// The phase that windows count as; a plan may leave out other layers in each.
    pub phase: Phase,
    /// What the policy is compared with.
    pub compared_with: ComparedWith,
}

impl PerplexityConfig {
    /// Finds what does not fit a text of `n_ids` tokens and a model with room for `max_context`, before any weight is
    /// read.
    ///
    /// # Errors
    /// [`Error::Invalid`], as [`perplexity`] returns it.
    pub fn check(&self, n_ids: usize, max_context: Option<usize>) -> Result<()> {
        let length = self.windows.length;
        let expected = if length < 4 {
            "at least 4 tokens".to_owned()
        } else if let Some(max_context) = max_context.filter(|&max| max < length) {
            format!("at most the model's context of {max_context} tokens")
        } else if n_ids < length {
            format!("at most the {n_ids} tokens of the text")
        } else {
            return Ok(());
        };
        Err(Error::Invalid {
            field: "the length of a window",
            value: length.to_string(),
            expected,
        })
    }
}

impl Windows {
    /// The number of tokens that llama.cpp's tool takes by default.
    pub const DEFAULT_LENGTH: usize = 512;

    /// Returns the first slot whose prediction is scored: that of the token after it.
    fn first_predicting(&self) -> usize {
        self.length / 2
    }

    /// Returns the windows of a text of `ids`.
    fn cut<'a>(&self, ids: &'a [u32]) -> impl Iterator<Item = Vec<u32>> + use<'a> {
        let first_token = self.first_token;
        ids.chunks_exact(self.length).map(move |window| {
            let mut window = window.to_vec();
            if let Some(token) = first_token {
                window[0] = token;
            }
            window
        })
    }
}

/// Scores the text of `ids` under a policy, window by window.
///
/// `after_window` is called after each window with the result so far; it may end the run, and the result is then that
/// of the windows read.
///
/// # Errors
/// [`Error::Invalid`] if a window is shorter than four tokens or longer than the model's context, or the text shorter
/// than a window; [`Error::Window`] with the model's own error.
pub fn perplexity<M: CausalLm + ?Sized>(
    model: &M,
    ids: &[u32],
    config: &PerplexityConfig,
    policy: &mut dyn LayerPolicy,
    after_window: &mut dyn FnMut(&Perplexity) -> Flow,
) -> Result<Perplexity> {
    config.check(ids.len(), model.max_context())?;
    let mut sums = Sums::new(ids.len());
    for (window_idx, window) in config.windows.cut(ids).enumerate() {
        score_window(model, window, config, policy, &mut sums).map_err(|source| Error::Window {
            window: window_idx + 1,
            source,
        })?;
        if after_window(&sums.result()) == Flow::Stop {
            break;
        }
    }
    Ok(sums.result())
}

fn score_window<M: CausalLm + ?Sized>(
    model: &M,
    window: Vec<u32>,
    config: &PerplexityConfig,
    policy: &mut dyn LayerPolicy,
    sums: &mut Sums,
) -> lac_core::Result<()> {
    check_tokens(model, &window)?;
    let first = config.windows.first_predicting();
    let targets = &window[first + 1..].to_vec();
    let pass = match config.phase {
        Phase::Prompt => Pass::prompt(&[window], 0)?,
        Phase::Response => Pass::response(0, window),
    };
    let mut usage = Usage::default();
    let run = |policy: &mut dyn LayerPolicy, usage: Option<&mut Usage>| {
        let mut context = model.new_context(1, pass.seq());
        let out = forward_hidden(model, &pass, &mut context, policy)?;
        if let Some(usage) = usage {
            let record = out.readings.read(&pass)?;
            usage.pass(&record).map_err(lac_core::Error::Observer)?;
        }
        // The last slot's successor is not in the window.
        Ok::<_, lac_core::Error>(out.hidden.narrow(1, first, targets.len()))
    };
    let states = run(policy, Some(&mut usage))?;
    let full = match config.compared_with {
        ComparedWith::Nothing => None,
        ComparedWith::FullModel => Some(run(&mut Off, None)?),
    };
    let tokens = distance::token_distances(model, states, full, targets)?;
    sums.add(&tokens, &usage);
    Ok(())
}

/// Finds a token that the model does not have: a tokenizer of another model gives such.
fn check_tokens<M: CausalLm + ?Sized>(model: &M, window: &[u32]) -> lac_core::Result<()> {
    let vocab_size = model.vocab_size();
    match window.iter().position(|&id| id as usize >= vocab_size) {
        None => Ok(()),
        Some(position) => Err(lac_core::Error::TokenOutOfVocabulary {
            id: window[position],
            row: 0,
            position,
            vocab_size,
        }),
    }
}
