//! Commands, and the folder in which they run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Runs a command.
///
/// # Errors
/// A command that cannot be run, or ends with another status than 0.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// Runs a command and returns what it prints.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The cargo that runs this task.
pub fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root());
    command
}

/// The workspace's folder.
pub fn root() -> &'static Path {
    // The manifest's folder is one below the workspace's root.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// The files that git tracks and whose path fits a pattern.
pub fn tracked_files(pattern: &str) -> Result<Vec<PathBuf>> {
    let text = output(
        Command::new("git")
            .args(["ls-files", pattern])
            .current_dir(root()),
    )?;
    // A file that was deleted but not yet committed is still listed.
    let paths = text
        .lines()
        .map(|line| root().join(line))
        .filter(|path| path.exists());
    Ok(paths.collect())
}
