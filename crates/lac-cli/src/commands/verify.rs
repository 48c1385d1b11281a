//! `lac verify`: compares speculation with plain generation, token by token.

use anyhow::{Context, Result, bail};
use clap::Args;
use lac_core::speculation::{
    Divergence, SpeculationStats, Verification, WithSecondWeights, verify_speculation,
};
use lac_models::{DecodedSpecialTokens, Tokenizer};
use serde::Serialize;

use crate::args::{PolicyArgs, PolicyName};
use crate::interrupt;
use crate::memory::Rows;
use crate::model::ModelArgs;
use crate::numbers::whole;
use crate::output::{print_line, write_json};
use crate::progress;
use crate::prompts::PromptsArgs;
use crate::sampling::SamplingArgs;
use crate::speculation::{Gated, SpeculationArgs, Verifier};

/// Generate greedily with and without speculation and compare every token; fails at a difference
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac verify --model DIR --plan plan.json --prompt \"Why is the sky blue?\"\n  lac verify --model DIR --prompts prompts.txt --max-new-tokens 200\n\nExit code 1 means that a token differed, or that something went wrong before one could."
)]
pub struct Verify {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompts: PromptsArgs,
    /// At most this many new tokens for each prompt
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = whole(0..=usize::MAX))]
    max_new_tokens: usize,
    #[command(flatten)]
    gate: PolicyArgs,
    #[command(flatten)]
    speculation: SpeculationArgs,
    /// Print one JSON object: {prompts, tokens, equal, divergences, …}
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    prompts: usize,
    tokens: usize,
    equal: bool,
    /// In steps of f32 at the largest logit.
    largest_noise: f32,
    /// In the same steps.
    smallest_margin: f32,
    accepted_share: Option<f64>,
    divergences: Vec<DivergenceReport>,
    #[serde(flatten)]
    stats: SpeculationStats,
}

#[derive(Serialize)]
struct DivergenceReport {
    /// The prompt, counted from 0, and the token of its response.
    prompt: usize,
    index: usize,
    plain: Option<Side>,
    speculative: Option<Side>,
    margin: f32,
    bound: Option<f32>,
}

/// One of the two tokens, with its logits in a plain pass and in the pass that speculation chose by.
#[derive(Serialize)]
struct Side {
    id: u32,
    piece: String,
    plain_logit: Option<f32>,
    speculative_logit: Option<f32>,
}

impl Verify {
    pub fn run(&self) -> Result<()> {
        let open = self.model.open()?;
        let folder = &open.folder;
        let tokenizer = folder.tokenizer()?;
        self.gate.check(PolicyName::Speculative)?;
        self.speculation.check()?;
        let max_context = open.max_context();
        let prompts = self.prompts.resolve(&tokenizer, max_context)?;
        let rows = Rows {
            batch: 1,
            n_slots: self.max_new_tokens,
        };
        let lower = "lower --max-new-tokens";
        let model = open.load(rows, lower)?;
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let second = self.speculation.second_weights(|quantization, asked| {
            open.load_second(
                quantization,
                asked,
                longest.saturating_add(self.max_new_tokens),
            )
        })?;
        let drafted = WithSecondWeights::new(&model, second.as_ref().map(|second| &second.model));
        let verifier = Verifier::new(&model, open.load_config.dtype, true);
        let mut speculator = self.speculation.speculator(
            &self.gate,
            Gated::ForFollowing,
            verifier,
            second.as_ref(),
            || open.fingerprint(),
        )?;
        let greedy = SamplingArgs::greedy();
        let config = greedy
            .choose(folder)?
            .generation(self.max_new_tokens, tokenizer.stop_ids());

        let mut report = Report {
            prompts: 0,
            tokens: 0,
            equal: true,
            largest_noise: 0.0,
            smallest_margin: f32::INFINITY,
            accepted_share: None,
            divergences: Vec::new(),
            stats: SpeculationStats::default(),
        };
        let bar = progress::counting("verifying", prompts.len());
        interrupt::listen("the prompt under way")?;
        for (idx, prompt) in prompts.iter().enumerate() {
            let prompt = std::slice::from_ref(prompt);
            let seen = verify_speculation(&drafted, prompt, &config, &mut speculator)?;
            report.add(idx, &seen, &tokenizer);
            bar.inc(1);
            if interrupt::is_requested() {
                break;
            }
        }
        bar.finish_and_clear();
        report.accepted_share = report.stats.accepted_share();
        let printed = if self.json {
            write_json("-".as_ref(), &report)
        } else {
            report.print()
        };
        let n_verified = report.prompts;
        // First: a difference fails the command, whether its reader has gone or not.
        if !report.equal {
            let n_differ = report.divergences.len();
            bail!("{n_differ} of {n_verified} texts differ");
        }
        printed?;
        if n_verified < prompts.len() {
            let n_prompts = prompts.len();
            return interrupt::check()
                .with_context(|| format!("{n_verified} of {n_prompts} prompts were verified"));
        }
        Ok(())
    }
}

impl Report {
    fn add(&mut self, prompt: usize, seen: &Verification, tokenizer: &Tokenizer) {
        self.prompts += 1;
        self.tokens += seen.n_equal;
        self.largest_noise = self.largest_noise.max(seen.largest_noise);
        self.smallest_margin = self.smallest_margin.min(seen.smallest_margin);
        self.stats.merge(&seen.stats);
        if let Some(divergence) = &seen.divergence {
            self.equal = false;
            self.divergences
                .push(DivergenceReport::new(prompt, divergence, tokenizer));
        }
    }

    fn print(&self) -> Result<()> {
        let Self { stats, .. } = self;
        print_line(&format!(
            "{} tokens of {} prompts are equal",
            self.tokens, self.prompts
        ))?;
        print_line(&format!(
            "drafted {}, accepted {}; {} near ties, decided by {} plain passes",
            stats.n_drafted, stats.n_accepted, stats.n_near_ties, stats.n_replay_passes
        ))?;
        print_line(&format!(
            "largest noise of a verifying pass {:.1}, smallest margin {:.1} (in f32 steps at the largest logit)",
            self.largest_noise, self.smallest_margin
        ))?;
        for divergence in &self.divergences {
            divergence.print()?;
        }
        Ok(())
    }
}

impl DivergenceReport {
    fn new(prompt: usize, divergence: &Divergence, tokenizer: &Tokenizer) -> Self {
        let side = |id: Option<u32>, which: usize| {
            id.map(|id| Side {
                id,
                piece: tokenizer
                    .decode(&[id], DecodedSpecialTokens::Keep)
                    .unwrap_or_default(),
                plain_logit: divergence.plain_logits.map(|logits| logits[which]),
                speculative_logit: divergence.speculative_logits.map(|logits| logits[which]),
            })
        };
        Self {
            prompt,
            index: divergence.index,
            plain: side(divergence.plain_id, 0),
            speculative: side(divergence.speculative_id, 1),
            margin: divergence.margin,
            bound: divergence.bound,
        }
    }

    fn print(&self) -> Result<()> {
        print_line(&format!(
            "prompt {}: token {} differs; margin {:e}, plain passes were asked up to {}",
            self.prompt,
            self.index,
            self.margin,
            self.bound
                .map_or("none".to_owned(), |bound| format!("{bound:e}"))
        ))?;
        for (name, side) in [("plain", &self.plain), ("speculative", &self.speculative)] {
            let logit = |logit: Option<f32>| logit.map_or("none".to_owned(), |l| l.to_string());
            match side {
                None => print_line(&format!("  {name}: the text has ended"))?,
                Some(side) => print_line(&format!(
                    "  {name}: {} {:?}, logit of the plain pass {}, of the speculation {}",
                    side.id,
                    side.piece,
                    logit(side.plain_logit),
                    logit(side.speculative_logit)
                ))?,
            }
        }
        Ok(())
    }
}
