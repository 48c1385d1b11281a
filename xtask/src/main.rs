//! What cargo alone cannot say: chores of this workspace.

mod train_demo;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Chores of this workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train the embedded model from nothing.
    TrainDemo(train_demo::TrainDemo),
    /// Score a trained model on the test split, greedily.
    ScoreDemo(train_demo::ScoreDemo),
    /// Write the benchmark sets of the embedded world.
    DemoSets {
        /// The folder that `mmlu/`, `gpqa/` and `boolq/` go to.
        #[arg(long, default_value = "crates/lac-demo/assets/sets")]
        out: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::TrainDemo(args) => train_demo::run(&args),
        Command::ScoreDemo(args) => train_demo::score(&args),
        Command::DemoSets { out } => {
            let world = lac_demo::world::World::new(lac_demo::SEED);
            Ok(lac_demo::formats::write_all(&world, &out)?)
        }
    }
}
