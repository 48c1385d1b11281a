//! Text generation through the gated layers: prompts continued in one batch, sampling, text and stop strings.
//!
//! [`generate`] makes one pass over the prompts and then one per new token; with [`Stepwise`] its caller makes them one by
//! one. [`forward_hidden`] and [`prompt_pass`] make a single pass, for texts that are scored or traced and not continued.

mod args;
mod config;
mod forward;
mod generate;
mod logits_processors;
mod rows;
pub(crate) mod sampling;
mod sink;
mod stepwise;
mod text;

pub use args::{GenerateArgs, PromptLogits};
pub use config::GenerationConfig;
pub use forward::{forward_hidden, prompt_pass};
pub use generate::generate;
pub use logits_processors::LogitsProcessors;
pub use rows::{Generated, GenerationOutput, StopReason};
pub use sampling::{Sampling, SamplingConfig};
pub use sink::{Flow, TokenSink};
pub use stepwise::Stepwise;
pub use text::{TextDecoder, TextSink};

pub(crate) use forward::{check_prompts, last_logits};
pub(crate) use rows::Rows;
