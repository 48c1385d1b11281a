//! `lac generate`: text from a prompt, under any policy.

use std::cell::RefCell;

use anyhow::{Context, Result, ensure};
use clap::Args;
use lac_core::{
    BoxError, GenerateArgs, Usage, generate,
    generation::{Flow, LogitsProcessors, Sampling, StopReason, TextSink, TokenSink},
    speculation::{SpeculateArgs, WithSecondWeights, generate_speculative},
};
use lac_models::{DecodedSpecialTokens, Tokenizer};
use serde::Serialize;

use crate::args::{PolicyArgs, PolicyName};
use crate::interrupt;
use crate::interventions::{InterventionArgs, PatchArgs};
use crate::memory::Rows;
use crate::model::{ModelArgs, OpenModel};
use crate::numbers::whole;
use crate::output::{note, print, print_line, warn_user, write_json, write_note};
use crate::phase_pair::PhasePair;
use crate::prompts::PromptArgs;
use crate::sampling::{Choice, SamplingArgs};
use crate::speculation::{Gated, SpeculationArgs, SpeculationReport, Verifier};

/// Continue a prompt, with the full model or with its voids skipped
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac generate --model DIR --prompt \"Why is the sky blue?\"\n  lac generate --model DIR --raw --prompt \"Once upon a time\" --policy last-active --stats\n  lac generate --model DIR --messages chat.json --temperature 0.6 --top-p 0.9 --seed 1\n  lac generate --model DIR --prompt \"Why is the sky blue?\" --speculative --stats\n  lac generate --model DIR --prompt \"Why is the sky blue?\" --draft ngram,plan --plan plan.json --stats\n  lac generate --model DIR --prompt \"Why is the sky blue?\" --ablate 5,7a@response"
)]
pub struct Generate {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// At most this many new tokens
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = whole(0..=usize::MAX))]
    max_new_tokens: usize,
    /// End at this text, which is cut off; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// What happens to void layers
    #[arg(long, value_enum, default_value_t = PolicyName::Off, help_heading = "Gate and policy")]
    policy: PolicyName,
    #[command(flatten)]
    gate: PolicyArgs,
    #[command(flatten)]
    interventions: InterventionArgs,
    #[command(flatten)]
    patch: PatchArgs,
    /// The same as --policy speculative, and as giving --draft: something cheap drafts tokens and the full model
    /// verifies them, faster where the drafts are good, and the same text
    #[arg(long, help_heading = "Speculation")]
    speculative: bool,
    #[command(flatten)]
    speculation: SpeculationArgs,
    /// Print executed layers, flagged layers and times on stderr
    #[arg(long)]
    stats: bool,
    /// Print one JSON object: {prompt_ids, ids, text, stop_reason, …}
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Generation<'a> {
    prompt_ids: Vec<u32>,
    ids: &'a [u32],
    text: &'a str,
    stop_reason: lac_core::generation::StopReason,
    dtype: String,
    policy: &'a str,
    sampling: &'a Sampling,
    #[serde(skip_serializing_if = "LogitsProcessors::is_neutral")]
    processors: &'a LogitsProcessors,
    usage: PhasePair,
    executed: PhasePair,
    prefill_seconds: f64,
    decode_seconds: f64,
    decode_passes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    speculation: Option<SpeculationReport>,
}

impl Generate {
    pub fn run(&self) -> Result<()> {
        let is_speculative = self.speculative
            || self.speculation.is_asked_for()
            || self.policy == PolicyName::Speculative;
        ensure!(
            !is_speculative || matches!(self.policy, PolicyName::Off | PolicyName::Speculative),
            "--speculative verifies with the full model: it takes no other --policy"
        );
        // The full model verifies.
        let policy = if is_speculative {
            PolicyName::Off
        } else {
            self.policy
        };
        ensure!(
            !is_speculative || self.interventions.is_empty() && self.patch.is_empty(),
            "--speculative gives the full model's text: leave it out with --ablate, --add and --patch"
        );
        let open = self.model.open()?;
        let folder = &open.folder;
        self.gate.check(policy)?;
        let n_layers = folder.config().decoder.n_layers;
        self.interventions.check(n_layers)?;
        self.patch.check(n_layers)?;
        if is_speculative {
            self.speculation.check()?;
        }
        let tokenizer = folder.tokenizer()?;
        let prompt = self.prompt.resolve(Some(&tokenizer))?;
        prompt.check_fits(open.max_context())?;
        let choice = self.sampling.choose(folder)?;
        choice.warn(Some(&tokenizer));
        let rows = Rows {
            batch: 1,
            n_slots: prompt.ids.len().saturating_add(self.max_new_tokens),
        };
        let model = open.load(rows, "lower --max-new-tokens")?;
        let policy = self.gate.policy(policy, &open)?;
        let encode = |text: &str, tokenizer: &Tokenizer| self.prompt.encode(text, tokenizer);
        let patches = self.patch.run(&model, Some(&tokenizer), encode)?;
        let mut policy = self.interventions.around(policy, patches, &model)?;
        let verifier = Verifier::new(&model, open.load_config.dtype, choice.is_greedy());
        let fingerprint = || open.fingerprint();
        let second = if is_speculative {
            let load = |quantization, asked| open.load_second(quantization, asked, rows.n_slots);
            self.speculation.second_weights(load)?
        } else {
            None
        };
        let drafted = WithSecondWeights::new(&model, second.as_ref().map(|second| &second.model));
        let mut speculator = if is_speculative {
            Some(self.speculation.speculator(
                &self.gate,
                Gated::ForFollowing,
                verifier,
                second.as_ref(),
                fingerprint,
            )?)
        } else {
            None
        };
        interrupt::listen("the token under way")?;
        let config = choice.generation(self.max_new_tokens, tokenizer.stop_ids());

        let quiet = self.json;
        let write_error = RefCell::new(None);
        let sink = TextSink::new(
            vec![tokenizer.stream(DecodedSpecialTokens::Skip)],
            &self.stop,
            |_, text: &str| {
                let mut write_error = write_error.borrow_mut();
                if !quiet && write_error.is_none() {
                    *write_error = print(text).err();
                }
            },
        );
        let sink = UntilError {
            sink,
            error: &write_error,
        };
        let mut sink = interrupt::Tokens(sink);
        let mut usage = Usage::default();
        let prompts = std::slice::from_ref(&prompt.ids);
        let (output, speculation) = match &mut speculator {
            None => {
                let args = GenerateArgs::new(policy.as_mut())
                    .observer(&mut usage)
                    .sink(&mut sink);
                (generate(&model, prompts, &config, args)?, None)
            }
            Some(speculator) => {
                let output = generate_speculative(
                    &drafted,
                    prompts,
                    &config,
                    SpeculateArgs::new(speculator)
                        .observer(&mut usage)
                        .sink(&mut sink),
                )?;
                let report = SpeculationReport::new(output.stats, speculator);
                (output.generation, Some(report))
            }
        };
        let texts = sink.0.sink.into_texts();
        if let Some(error) = write_error.take() {
            return Err(error);
        }

        let row = &output.rows[0];
        let generation = Generation {
            prompt_ids: prompt.ids,
            ids: &row.ids,
            text: &texts[0],
            stop_reason: row.stop_reason,
            dtype: open.weights_name(),
            policy: match &speculation {
                Some(_) => "speculative",
                None => policy.name(),
            },
            sampling: &choice.sampling,
            processors: &choice.processors,
            usage: PhasePair::active(&usage),
            executed: PhasePair::executed(&usage),
            prefill_seconds: output.prefill_time.as_secs_f64(),
            decode_seconds: output.decode_time.as_secs_f64(),
            decode_passes: output.n_decode_passes,
            speculation,
        };
        if self.json {
            write_json("-".as_ref(), &generation)?;
        } else {
            print_line("")?;
        }
        if self.stats && !self.json {
            print_stats(&open, &generation, &choice);
            if let Some(speculation) = &generation.speculation {
                write_note(&speculation.to_string());
            }
        }
        if row.stop_reason == StopReason::ContextFull {
            warn_user!("{}", context_full(&open));
        }
        interrupt::check().with_context(|| format!("the text ends after {} tokens", row.ids.len()))
    }
}

/// Ends a text once it cannot be written any more: the reader of a pipe has gone, or the disk is full.
struct UntilError<'e, S> {
    sink: S,
    error: &'e RefCell<Option<anyhow::Error>>,
}

impl<S: TokenSink> TokenSink for UntilError<'_, S> {
    fn token(&mut self, row: usize, id: u32) -> Result<Flow, BoxError> {
        let flow = self.sink.token(row, id)?;
        Ok(if self.error.borrow().is_some() {
            Flow::Stop
        } else {
            flow
        })
    }

    fn end(&mut self, row: usize) -> Result<(), BoxError> {
        self.sink.end(row)
    }
}

/// Why a text is shorter than was asked for.
pub fn context_full(model: &OpenModel<'_>) -> String {
    format!(
        "the text ends where the model's context of {} tokens is full",
        model.max_context()
    )
}

fn print_stats(model: &OpenModel<'_>, generation: &Generation<'_>, choice: &Choice) {
    let n_layers = model.folder.config().decoder.n_layers;
    let percent = |share: Option<f64>| {
        share.map_or("not gated".to_owned(), |share| {
            format!("{:.1} %", 100.0 * share)
        })
    };
    let layers = |layers: Option<f64>| {
        layers.map_or("none".to_owned(), |layers| {
            format!("{layers:.1} of {n_layers}")
        })
    };
    note!("computed in       {}", model.describe_machine());
    note!("policy            {}", generation.policy);
    let of_folder = if choice.is_of_folder() {
        " (generation_config.json)"
    } else {
        ""
    };
    note!("sampling          {}{of_folder}", choice.describe());
    note!(
        "executed layers   prompt {}, response {}",
        layers(generation.executed.prompt),
        layers(generation.executed.response)
    );
    note!(
        "flagged active    prompt {}, response {}",
        percent(generation.usage.prompt),
        percent(generation.usage.response)
    );
    note!(
        "time              prompt {:.3} s ({} tokens), response {:.3} s ({} passes)",
        generation.prefill_seconds,
        generation.prompt_ids.len(),
        generation.decode_seconds,
        generation.decode_passes
    );
}
