//! `lac`: inspect, tokenize, generate, trace and evaluate language models whose voids are skipped.
//!
//! Glue only: flags in, libraries called, results out.

mod args;
mod commands;
mod device;
mod model_path;
mod output;
mod progress;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Find and skip the voids of language models: the layers that, for a given token, do nothing
/// that the L2 norm of the residual stream can see.
#[derive(Parser)]
#[command(name = "lac", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Inspect(commands::inspect::Inspect),
    Tokenize(commands::tokenize::Tokenize),
    Generate(commands::generate::Generate),
    Trace(commands::trace::Trace),
    Eval(commands::eval::Eval),
    Devices(commands::devices::Devices),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Inspect(command) => command.run(),
        Command::Tokenize(command) => command.run(),
        Command::Generate(command) => command.run(),
        Command::Trace(command) => command.run(),
        Command::Eval(command) => command.run(),
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
