//! What cargo alone cannot say: chores of this workspace, `cargo xtask --help` lists them.

mod documents;
mod gpu_check;
mod publish;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};

/// Chores of this workspace.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check what the compiler does not: that lac-core alone pulls in no backend, that crates do
    /// not depend on each other's insides, that no file grows out of hand, that what documents name
    /// is there
    Tidy,
    /// Type-check the CUDA backend; needs neither a GPU nor CUDA
    CheckCuda,
    /// Train the embedded demo's model from nothing, in burn: half an hour on two cores. Options go
    /// to the trainer, `cargo xtask train-demo --help` lists them
    #[command(disable_help_flag = true)]
    TrainDemo {
        /// Options of the trainer
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Build the kernel's tests and benches for CUDA and run them: they print the figures that
    /// only a machine with a GPU can give
    GpuCheck(gpu_check::GpuCheck),
    /// Package every crate that is published, and check sizes and contents
    Package,
    /// Build and run somebody else's crate with lac-core as it is packaged, on the CPU and on a GPU
    Downstream,
    /// Everything that is looked at before a release: licences, each feature alone, the lowest
    /// versions, packages built from what is in them. Needs cargo-deny and cargo-hack; some forty
    /// minutes on two cores
    PublishCheck,
    /// Remake the fixtures (needs Python with tests/fixtures/requirements.txt)
    Fixtures {
        /// The Python to use
        #[arg(long, default_value = "python3")]
        python: PathBuf,
    },
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Tidy => tidy(),
        Task::CheckCuda => check_cuda(),
        Task::TrainDemo { options } => train_demo(&options),
        Task::GpuCheck(task) => task.run(root()),
        Task::Package => publish::package(publish::Verify::Skip),
        Task::Downstream => publish::downstream(),
        Task::PublishCheck => publish::publish_check(),
        Task::Fixtures { python } => fixtures(&python),
    }
}

/// Builds the trainer with optimisations and hands it the options. It is a crate of its own, so
/// that the other chores build without burn.
fn train_demo(options: &[String]) -> Result<()> {
    let on_cuda = options.iter().any(|option| option.ends_with("cuda"));
    let features = if on_cuda { "x86-v4,cuda" } else { "x86-v4" };
    run(cargo()
        .args(["run", "--release", "--package", "lac-training"])
        .args(["--features", features, "--", "train"])
        .args(options))
}

/// Longest Rust file that is still one room.
const MAX_LINES: usize = 600;

fn tidy() -> Result<()> {
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
        ("lac-models", &["lac-trace", "lac-eval"][..]),
        ("lac-trace", &["lac-models", "lac-eval"][..]),
        ("lac-eval", &["lac-models", "lac-trace"][..]),
        ("lac-demo", &["lac-core", "burn"][..]),
        ("lac-files", &["lac-core", "burn"][..]),
    ] {
        let dependencies = dependencies(&["-p", crate_name])?;
        for other in forbidden {
            ensure!(
                !dependencies.contains(&(*other).to_owned()),
                "{crate_name} depends on {other}; they meet in lac-core's traits"
            );
        }
    }
    let files = tracked_files("*")?;
    documents::check(root(), &files)?;
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
    let output = cargo()
        .args([
            "tree", "--edges", "normal", "--prefix", "none", "--format", "{p}",
        ])
        .args(selection)
        .output()
        .context("cannot run cargo tree")?;
    ensure!(
        output.status.success(),
        "cargo tree failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    Ok(text.lines().map(name).collect())
}

fn tracked_files(pattern: &str) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", pattern])
        .current_dir(root())
        .output()
        .context("cannot run git")?;
    ensure!(output.status.success(), "git ls-files failed");
    let text = String::from_utf8_lossy(&output.stdout);
    // A file that was deleted but not yet committed is still listed.
    let paths = text
        .lines()
        .map(|line| root().join(line))
        .filter(|path| path.exists());
    Ok(paths.collect())
}

/// The CUDA backend's build downloads a compiler bundle, except when it documents itself: then
/// everything but that bundle is type-checked.
fn check_cuda() -> Result<()> {
    run(cargo()
        .args(["check", "-p", "lac-cli", "--features", "cuda"])
        .env("DOCS_RS", "1")
        .env("CUDARC_CUDA_VERSION", "13000"))
}

fn fixtures(python: &Path) -> Result<()> {
    for (crate_name, script) in [
        ("lac-models", "make_fixtures.py"),
        ("lac-demo", "make_expected.py"),
        ("lac-eval", "make_harness.py"),
        ("lac-trace", "make_expected.py"),
    ] {
        let folder = root()
            .join("crates")
            .join(crate_name)
            .join("tests/fixtures");
        run(Command::new(python).arg(script).current_dir(folder))?;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// The cargo that runs this task.
fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root());
    command
}

fn root() -> &'static Path {
    // The manifest's folder is one below the workspace's root.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}
