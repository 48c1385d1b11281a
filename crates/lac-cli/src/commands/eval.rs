//! `lac eval`: MMLU, GPQA and BoolQ, with the full model or with its voids skipped.

mod questions;
mod results;
mod run;

use anyhow::Result;
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};

use self::results::{Compare, Merge, ReportCommand};
use self::run::Run;

/// A run, or a command that reads the results of runs.
pub enum Eval {
    Run(Box<Run>),
    Results(ResultsCommand),
}

#[derive(Subcommand)]
pub enum ResultsCommand {
    Merge(Merge),
    Report(ReportCommand),
    Compare(Compare),
}

const EXAMPLES: &str = "Examples:
  lac eval --model demo --data demo --benchmark mmlu --policy last-active --alphas 0.2,0.4,0.8 --with-full
  lac eval --model DIR --data cais/mmlu --benchmark mmlu --few-shot 5 --out mmlu.jsonl
  lac eval --model DIR --data gpqa_diamond.csv --benchmark gpqa --protocol paper --policy last-active --out gpqa.jsonl
  lac eval --model DIR --data DIR --benchmark mmlu --shard 0/4 --out part0.jsonl
  lac eval merge part*.jsonl --out mmlu.jsonl
  lac eval report mmlu.jsonl --subjects
  lac eval compare full.jsonl skipped.jsonl";

// Written by hand: a run's required options are not required by its subcommands, which clap's derive cannot express.
impl Args for Eval {
    fn augment_args(command: Command) -> Command {
        let command = ResultsCommand::augment_subcommands(Run::augment_args(command));
        command
            .about(
                "Score a model on MMLU, GPQA or BoolQ; an interrupted run continues where it stopped",
            )
            .after_help(EXAMPLES)
            .subcommand_required(false)
            .arg_required_else_help(true)
            .subcommand_negates_reqs(true)
            .args_conflicts_with_subcommands(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Eval {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if matches.subcommand_name().is_some() {
            return Ok(Self::Results(ResultsCommand::from_arg_matches(matches)?));
        }
        Ok(Self::Run(Box::new(Run::from_arg_matches(matches)?)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Eval {
    pub fn run(&self) -> Result<()> {
        match self {
            Eval::Run(run) => run.run(),
            Eval::Results(ResultsCommand::Merge(command)) => command.run(),
            Eval::Results(ResultsCommand::Report(command)) => command.run(),
            Eval::Results(ResultsCommand::Compare(command)) => command.run(),
        }
    }
}
