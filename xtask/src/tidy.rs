//! `cargo xtask tidy`: what the compiler does not check.

use anyhow::{Context, Result, ensure};

use crate::process::{cargo, output, root, tracked_files};
use crate::{circles, documents, words};

/// The most lines of a Rust file.
const MAX_LINES: usize = 600;

/// Checks everything, and stops at the first fault.
pub fn tidy() -> Result<()> {
    let no_backend = dependencies(&["-p", "lac-core", "--no-default-features"])?;
    for backend in [
        "burn-flex",
        "burn-wgpu",
        "burn-cuda",
        "burn-cubecl",
        "burn-ndarray",
        "cubecl",
    ] {
        ensure!(
            !no_backend.contains(&backend.to_owned()),
            "lac-core without features pulls in {backend}"
        );
    }
    for (crate_name, forbidden) in [
        (
            "lac-core",
            &[
                "lac-models",
                "lac-trace",
                "lac-eval",
                "safetensors",
                "tokenizers",
            ][..],
        ),
        ("lac-kernels", &["lac-core", "lac-models", "burn-flex"][..]),
        ("lac-models", &["lac-trace", "lac-eval"][..]),
        ("lac-trace", &["lac-models", "lac-eval"][..]),
        ("lac-eval", &["lac-models", "lac-trace"][..]),
        (
            "lac-session",
            &["lac-trace", "lac-eval", "clap", "anyhow"][..],
        ),
        ("lac-demo", &["lac-core", "burn"][..]),
        ("lac-files", &["lac-core", "burn"][..]),
        ("lac-hub", &["lac-core", "burn"][..]),
    ] {
        let dependencies = dependencies(&["-p", crate_name])?;
        for other in forbidden {
            ensure!(
                !dependencies.contains(&(*other).to_owned()),
                "{crate_name} depends on {other}; they meet in lac-core's traits"
            );
        }
    }
    circles::check()?;
    let files = tracked_files("*")?;
    documents::check(root(), &files)?;
    words::check(root(), &files)?;
    for path in files
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
    {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let n_lines = text.lines().count();
        ensure!(
            n_lines <= MAX_LINES,
            "{} has {n_lines} lines; would two files read better?",
            path.display()
        );
    }
    println!("tidy");
    Ok(())
}

/// Names of all crates a selection depends on, development dependencies aside.
fn dependencies(selection: &[&str]) -> Result<Vec<String>> {
    let mut command = cargo();
    command.args([
        "tree", "--edges", "normal", "--prefix", "none", "--format", "{p}",
    ]);
    let text = output(command.args(selection))?;
    let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    Ok(text.lines().map(name).collect())
}
