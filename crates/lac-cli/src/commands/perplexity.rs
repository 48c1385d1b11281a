//! `lac perplexity`: how well a text is predicted, under any policy.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use lac_core::Phase;
use lac_eval::perplexity::{ComparedWith, Perplexity, PerplexityConfig, Windows, perplexity};
use lac_files::{LineEnds, read_text};
use lac_models::{AddSpecialTokens, Tokenizer};
use serde::Serialize;

use crate::args::{PolicyArgs, PolicyName};
use crate::interrupt;
use crate::interventions::InterventionArgs;
use crate::memory::Rows;
use crate::model::ModelArgs;
use crate::numbers::whole;
use crate::one_of::one_of;
use crate::output::{note, print_line, write_json};
use crate::phase_pair::PhasePair;
use crate::progress;

/// Measure how well a text is predicted, and how far a policy's predictions are from the full model's
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac perplexity --model DIR --text wiki.test.raw\n  lac perplexity --model DIR --text wiki.test.raw --policy last-active --alpha 0.8 --json\n  lac perplexity --model DIR --text wiki.test.raw --plan plan.json --phase response\n  lac perplexity --model DIR --text wiki.test.raw --ablate 3,5a\n\nThe text is cut into windows without overlap; the second half of each is scored, as llama.cpp's llama-perplexity does."
)]
pub struct PerplexityCommand {
    #[command(flatten)]
    model: ModelArgs,
    /// The text, UTF-8
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Number of tokens of a window
    #[arg(long, value_name = "N", default_value_t = Windows::DEFAULT_LENGTH, value_parser = whole(4..=usize::MAX))]
    context: usize,
    /// Read at most this many windows, from the beginning of the text
    #[arg(long, value_name = "N", value_parser = whole(1..=usize::MAX))]
    windows: Option<usize>,
    /// What happens to void layers; planned where --plan is given
    #[arg(long, value_enum, help_heading = "Gate and policy")]
    policy: Option<PolicyName>,
    /// The phase that the text counts as: a plan may leave out other layers in each
    #[arg(long, value_parser = one_of(&Phase::ALL, Phase::name), default_value = Phase::Prompt.name(), help_heading = "Gate and policy")]
    phase: Phase,
    #[command(flatten)]
    gate: PolicyArgs,
    #[command(flatten)]
    interventions: InterventionArgs,
    /// Print one JSON object: {tokens, scored, perplexity, standard_error, …}
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    tokens: usize,
    scored: usize,
    windows: usize,
    context: usize,
    perplexity: f64,
    standard_error: f64,
    full: Option<Full>,
    executed: PhasePair,
    active: PhasePair,
    policy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    interventions: Option<String>,
    dtype: String,
}

/// The full model over the same windows.
#[derive(Serialize)]
struct Full {
    perplexity: f64,
    kl: f64,
    kl_standard_error: f64,
    kl_max: f64,
    top1_agreement: f64,
}

impl PerplexityCommand {
    pub fn run(&self) -> Result<()> {
        let open = self.model.open()?;
        let policy_name = self.policy_name();
        self.gate.check(policy_name)?;
        self.interventions
            .check(open.folder.config().decoder.n_layers)?;
        let tokenizer = open.folder.tokenizer()?;
        let ids = self.ids(&tokenizer)?;
        let config = PerplexityConfig {
            windows: Windows {
                length: self.context,
                first_token: first_token(&tokenizer, &ids)?,
            },
            phase: self.phase,
            compared_with: match policy_name {
                PolicyName::Off if self.interventions.is_empty() => ComparedWith::Nothing,
                _ => ComparedWith::FullModel,
            },
        };
        config.check(ids.len(), Some(open.max_context()))?;
        let rows = Rows {
            batch: 1,
            n_slots: self.context,
        };
        let model = open.load(rows, "lower --context")?;
        let policy = self.gate.policy(policy_name, &open)?;
        let mut policy = self.interventions.around(policy, Vec::new(), &model)?;

        let n_windows = ids.len() / self.context;
        let n_read = self.windows.map_or(n_windows, |most| most.min(n_windows));
        let bar = progress::counting("windows", n_read);
        interrupt::listen("the window under way")?;
        let read = &ids[..n_read * self.context];
        let mut result = perplexity(&model, read, &config, &mut *policy, &mut |so_far| {
            bar.inc(1);
            bar.set_message(format!("perplexity {:.4}", so_far.perplexity));
            interrupt::flow()
        })?;
        bar.finish_and_clear();
        result.n_tokens = ids.len();
        if self.json {
            write_json(
                "-".as_ref(),
                &self.report(&result, policy.name(), open.weights_name())?,
            )?;
        } else {
            self.print(&result)?;
        }
        if result.n_windows < n_read {
            return interrupt::check()
                .with_context(|| format!("{} of {n_read} windows were read", result.n_windows));
        }
        Ok(())
    }

    fn policy_name(&self) -> PolicyName {
        match (self.policy, self.gate.plan.is_some()) {
            (Some(name), _) => name,
            (None, true) => PolicyName::Planned,
            (None, false) => PolicyName::Off,
        }
    }

    fn ids(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        let path = self.text.display();
        let text = read_text(&self.text, LineEnds::AsWritten)
            .with_context(|| format!("cannot read {path}"))?;
        let ids = tokenizer.encode(&text, AddSpecialTokens::Once)?;
        ensure!(
            ids.len() >= self.context,
            "{path} has {} tokens, less than a window of {}: lower --context, or take a longer text",
            ids.len(),
            self.context
        );
        Ok(ids)
    }

    fn report<'a>(
        &self,
        result: &Perplexity,
        policy: &'a str,
        dtype: String,
    ) -> Result<Report<'a>> {
        Ok(Report {
            tokens: result.n_tokens,
            scored: result.n_scored,
            windows: result.n_windows,
            context: self.context,
            perplexity: result.perplexity,
            standard_error: result.standard_error,
            full: result.full.map(|full| Full {
                perplexity: full.perplexity,
                kl: full.kl,
                kl_standard_error: full.kl_standard_error,
                kl_max: full.kl_max,
                top1_agreement: full.top1_agreement,
            }),
            executed: PhasePair::executed(&result.usage),
            active: PhasePair::active(&result.usage),
            policy,
            interventions: self.interventions.describe()?,
            dtype,
        })
    }

    fn print(&self, result: &Perplexity) -> Result<()> {
        print_line(&format!(
            "perplexity {:.4} ± {:.4}",
            result.perplexity, result.standard_error
        ))?;
        note!(
            "{} tokens scored in {} windows of {}",
            result.n_scored,
            result.n_windows,
            self.context
        );
        if let Some(full) = result.full {
            print_line(&format!(
                "full model {:.4}; KL {:.5} ± {:.5} nats, at most {:.3}; the same likeliest token for {:.2} %",
                full.perplexity,
                full.kl,
                full.kl_standard_error,
                full.kl_max,
                100.0 * full.top1_agreement
            ))?;
        }
        let usage = result.usage.get(self.phase);
        if let Some(active) = usage.mean() {
            print_line(&format!("active {:.1} % of layers", 100.0 * active))?;
        }
        if let Some(executed) = usage.executed_per_pass() {
            print_line(&format!("executed {executed:.1} layers a pass"))?;
        }
        Ok(())
    }
}

/// Returns the token that a text of this tokenizer begins with: the one that it puts before every text, if any.
fn first_token(tokenizer: &Tokenizer, ids: &[u32]) -> Result<Option<u32>> {
    let of_no_text = tokenizer.encode("", AddSpecialTokens::Once)?;
    Ok(of_no_text
        .first()
        .copied()
        .filter(|first| ids.first() == Some(first)))
}
