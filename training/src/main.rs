//! Makes the embedded demo: its benchmark files, its model, its model card.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use lac_training::train::{TrainArgs, train};
use lac_training::world::World;
use lac_training::{card, formats};

/// Makes the embedded demo.
#[derive(Parser)]
enum Cli {
    /// Train the model from nothing, or go on from the last checkpoint
    Train(TrainArgs),
    /// Write the benchmark files
    Sets {
        /// The folder for mmlu/, gpqa/ and boolq/
        #[arg(long, default_value = "crates/lac-demo/assets/sets")]
        out: PathBuf,
        /// The seed of the world
        #[arg(long, default_value_t = lac_training::SEED)]
        seed: u64,
    },
    /// Score a model under every policy and print the tables of its card
    Card {
        /// A folder in Hugging Face layout
        #[arg(long, default_value = "crates/lac-demo/assets/model")]
        model: PathBuf,
        /// The seed of the world
        #[arg(long, default_value_t = lac_training::SEED)]
        seed: u64,
    },
}

fn main() -> Result<()> {
    match Cli::parse() {
        Cli::Train(args) => train(&args),
        Cli::Sets { out, seed } => Ok(formats::write_all(&World::new(seed), &out)?),
        Cli::Card { model, seed } => {
            print!("{}", card::tables(&model, &World::new(seed))?);
            Ok(())
        }
    }
}
