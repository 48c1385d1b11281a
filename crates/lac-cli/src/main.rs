//! `lac`: inspect, tokenize, generate, trace and evaluate language models whose voids are skipped; plan
//! which layers are not run; verify that speculation changes nothing; measure.
//!
//! Glue only: flags in, libraries called, results out.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod commands;
mod failure;
mod hyphens;
mod interrupt;
mod interventions;
mod json_format;
mod model;
mod numbers;
mod one_of;
mod out_file;
mod output;
mod phase_pair;
mod progress;
mod prompt_file;
mod prompts;
mod sampling;
mod second_weights;
mod speculation;
#[cfg(feature = "flex")]
mod threads;
mod visible;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use interrupt::Interrupted;
use lac_session::{device, memory};
use numbers::whole;
use output::{ReaderGone, warn_user};

/// Find and skip the voids of language models: the layers that, for a given token, leave the L2 norm
/// of the residual stream as it is.
#[derive(Parser)]
#[command(name = "lac", version, arg_required_else_help = true)]
struct Cli {
    /// Threads that compute on the CPU; by default one for each of its cores
    #[arg(long, global = true, value_name = "N", value_parser = whole(1..=u16::MAX))]
    threads: Option<u16>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Inspect(commands::inspect::Inspect),
    Tokenize(commands::tokenize::Tokenize),
    Generate(commands::generate::Generate),
    Trace(commands::trace::Trace),
    Report(commands::report::Report),
    Export(commands::export::Export),
    Eval(commands::eval::Eval),
    Perplexity(commands::perplexity::PerplexityCommand),
    Bench(commands::bench::Bench),
    Plan(commands::plan::Plan),
    Prune(commands::prune::Prune),
    Quantize(commands::quantize::Quantize),
    Verify(commands::verify::Verify),
    Devices(commands::devices::Devices),
}

fn main() -> ExitCode {
    let cli = parse();
    #[cfg(feature = "flex")]
    threads::start(cli.threads);
    let lower = cli.command.lower();
    match failure::catch_panic(|| cli.command.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.chain().any(|cause| cause.is::<ReaderGone>()) => ExitCode::SUCCESS,
        Err(error) => {
            warn_user!("{error:#}");
            if error.chain().any(|cause| cause.is::<Interrupted>()) {
                return ExitCode::from(interrupt::EXIT_CODE);
            }
            if let Some(advice) = failure::advice(&error, lower) {
                warn_user!("{advice}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line. A refusal ends the program here, with clap's exit code 2.
fn parse() -> Cli {
    let mut command = Cli::command();
    command.build();
    let words = hyphens::join_values(&command, std::env::args_os());
    Cli::try_parse_from(&words).unwrap_or_else(|error| {
        // Help and the version come this way too.
        if !error.use_stderr() {
            error.exit();
        }
        // What cannot be written to stderr is lost.
        let _ = error.print();
        if let Some(hint) = hyphens::hint(&command, &words) {
            warn_user!("{hint}");
        }
        std::process::exit(error.exit_code())
    })
}

impl Command {
    fn run(self) -> anyhow::Result<()> {
        interrupt::survive_file_size_limit()?;
        match self {
            Command::Inspect(command) => command.run(),
            Command::Tokenize(command) => command.run(),
            Command::Generate(command) => command.run(),
            Command::Trace(command) => command.run(),
            Command::Report(command) => command.run(),
            Command::Export(command) => command.run(),
            Command::Eval(command) => command.run(),
            Command::Perplexity(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Plan(command) => command.run(),
            Command::Prune(command) => command.run(),
            Command::Quantize(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Devices(command) => command.run(),
        }
    }

    /// The flags that a command's memory depends on, as the beginning of a sentence.
    fn lower(&self) -> &'static str {
        match self {
            Command::Generate(_) | Command::Plan(_) | Command::Verify(_) => {
                "lower --max-new-tokens, shorten the prompt, "
            }
            Command::Trace(_) => "lower --batch or --max-new-tokens, shorten the prompts, ",
            Command::Eval(_) => "lower --batch-size, ",
            Command::Perplexity(_) => "lower --context, ",
            Command::Bench(_) => "lower --batch, --prompt-tokens or --new-tokens, ",
            Command::Inspect(_)
            | Command::Tokenize(_)
            | Command::Report(_)
            | Command::Export(_)
            | Command::Quantize(_)
            | Command::Prune(_)
            | Command::Devices(_) => "",
        }
    }
}
