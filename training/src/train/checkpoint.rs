//! What a run needs to go on after an interruption.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use lac_models::Decoder;
use serde::{Deserialize, Serialize};

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Time spent on them.
    pub seconds: f64,
}

/// The files of a checkpoint; a folder of their own, exchanged as a whole.
const FOLDER: &str = "checkpoint";
const WEIGHTS: &str = "weights.bpk";
const MOMENTS: &str = "moments.bpk";
const PROGRESS: &str = "progress.json";

/// Writes a checkpoint beside the last one and then in its place: an interruption leaves one of
/// the two whole.
///
/// # Errors
/// Fails if a file cannot be written.
pub fn save(
    out: &Path,
    model: &Decoder,
    optimizer: &ModuleOptimizer,
    progress: Progress,
) -> Result<()> {
    let folder = out.join(FOLDER);
    let (new, old) = (folder.with_extension("new"), folder.with_extension("old"));
    for leftover in [&new, &old] {
        if leftover.exists() {
            fs::remove_dir_all(leftover)
                .with_context(|| format!("cannot remove {}", leftover.display()))?;
        }
    }
    fs::create_dir_all(&new).with_context(|| format!("cannot make {}", new.display()))?;
    model
        .clone()
        .save_file(new.join(WEIGHTS))
        .map_err(|error| anyhow!("cannot write the weights: {error}"))?;
    optimizer
        .save(new.join(MOMENTS))
        .map_err(|error| anyhow!("cannot write the moments: {error}"))?;
    fs::write(new.join(PROGRESS), serde_json::to_string(&progress)?)?;
    if folder.exists() {
        fs::rename(&folder, &old)?;
    }
    fs::rename(&new, &folder)?;
    if old.exists() {
        fs::remove_dir_all(&old)?;
    }
    Ok(())
}

/// Reads the last checkpoint, if there is one.
///
/// # Errors
/// Fails if its files are damaged or belong to another model.
pub fn load(
    out: &Path,
    model: Decoder,
    optimizer: ModuleOptimizer,
) -> Result<(Decoder, ModuleOptimizer, Progress)> {
    let Some(folder) = newest(out) else {
        return Ok((model, optimizer, Progress::default()));
    };
    let name = folder.display();
    let text = fs::read_to_string(folder.join(PROGRESS))
        .with_context(|| format!("cannot read {name}/{PROGRESS}"))?;
    let progress = serde_json::from_str(&text)
        .with_context(|| format!("{name}/{PROGRESS} is damaged; remove {name} to begin anew"))?;
    let model = model
        .try_load_file(folder.join(WEIGHTS))
        .map_err(|error| anyhow!("cannot use {name}/{WEIGHTS}: {error}"))?;
    let optimizer = optimizer
        .load(folder.join(MOMENTS))
        .map_err(|error| anyhow!("cannot use {name}/{MOMENTS}: {error}"))?;
    Ok((model, optimizer, progress))
}

/// Returns the checkpoint's folder; the last one but one, if an interruption fell between two renamings.
fn newest(out: &Path) -> Option<PathBuf> {
    let folder = out.join(FOLDER);
    let old = folder.with_extension("old");
    [folder, old].into_iter().find(|folder| folder.exists())
}
