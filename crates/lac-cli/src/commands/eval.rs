//! `lac eval`: MMLU, GPQA and BoolQ, with the full model or with its voids skipped.

mod asking;
mod results;
mod run;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use self::results::{Compare, Merge, ReportCommand};
use self::run::Run;

/// Score a model on MMLU, GPQA or BoolQ; an interrupted run goes on where it ended
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  lac eval --model demo --data demo --benchmark mmlu --policy last-active --alphas 0.2,0.4,0.8 --with-full\n  lac eval --model DIR --data cais/mmlu --benchmark mmlu --few-shot 5 --out mmlu.jsonl\n  lac eval --model DIR --data gpqa_diamond.csv --benchmark gpqa --protocol paper --policy last-active --out gpqa.jsonl\n  lac eval --model DIR --data DIR --benchmark mmlu --shard 0/4 --out part0.jsonl\n  lac eval merge part*.jsonl --out mmlu.jsonl\n  lac eval report mmlu.jsonl --subjects\n  lac eval compare full.jsonl skipped.jsonl"
)]
pub struct Eval {
    #[command(subcommand)]
    command: Option<EvalCommand>,
    #[command(flatten)]
    run: Option<Run>,
}

#[derive(Subcommand)]
enum EvalCommand {
    Merge(Merge),
    Report(ReportCommand),
    Compare(Compare),
}

impl Eval {
    pub fn run(&self) -> Result<()> {
        match (&self.command, &self.run) {
            (Some(EvalCommand::Merge(command)), _) => command.run(),
            (Some(EvalCommand::Report(command)), _) => command.run(),
            (Some(EvalCommand::Compare(command)), _) => command.run(),
            (None, Some(run)) => run.run(),
            (None, None) => bail!("give --model, --data and --benchmark; see lac eval --help"),
        }
    }
}
