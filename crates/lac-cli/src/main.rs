//! `lac`: inspect, tokenize, generate, trace and evaluate language models whose voids are skipped; plan
//! which layers are not run; verify that speculation changes nothing; measure.
//!
//! Glue only: flags in, libraries called, results out.

mod args;
mod commands;
mod device;
mod model_path;
mod output;
mod phase_pair;
mod progress;
mod prompts;
mod speculation;
#[cfg(feature = "flex")]
mod threads;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Find and skip the voids of language models: the layers that, for a given token, do nothing
/// that the L2 norm of the residual stream can see.
#[derive(Parser)]
#[command(name = "lac", version, arg_required_else_help = true)]
struct Cli {
    /// Threads that compute on the CPU; by default one for each of its cores
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
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
    Bench(commands::bench::Bench),
    Plan(commands::plan::Plan),
    Verify(commands::verify::Verify),
    Devices(commands::devices::Devices),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    #[cfg(feature = "flex")]
    threads::start(cli.threads);
    let result = match cli.command {
        Command::Inspect(command) => command.run(),
        Command::Tokenize(command) => command.run(),
        Command::Generate(command) => command.run(),
        Command::Trace(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Export(command) => command.run(),
        Command::Eval(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Plan(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Devices(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has seen enough, such as `head`, is no failure.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lac: {error:#}");
            ExitCode::FAILURE
        }
    }
}
