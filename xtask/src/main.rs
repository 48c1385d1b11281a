//! Chores of this workspace that cargo alone cannot say.

mod gpu_check;

use std::path::Path;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Chores of this workspace.
#[derive(Parser, Debug)]
struct Xtask {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand, Debug)]
enum Chore {
    GpuCheck(gpu_check::GpuCheck),
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask lies in the workspace")?;
    match Xtask::parse().chore {
        Chore::GpuCheck(chore) => chore.run(root),
    }
}
