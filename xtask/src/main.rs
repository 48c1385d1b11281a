//! What cargo alone cannot say: chores of this workspace, `cargo xtask --help` lists them.

mod circles;
mod documents;
mod findings;
mod gpu_check;
mod process;
mod publish;
mod tidy;
mod wheel;
mod words;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use clap::{Parser, Subcommand};

use process::{cargo, root, run};

/// Chores of this workspace.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check what the compiler does not: that lac-core alone pulls in no backend, that crates depend
    /// only on those they may, that no two files need each other, that no file grows out of hand,
    /// that what documents name is there, that words are those of the glossary
    Tidy,
    /// Name the files of a crate that need each other, and what ties them; a part of tidy
    Circles,
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
    /// Make the tables and pictures of docs/findings.md again, by the command line. It says first how long
    /// that takes: under three hours for SmolLM2-135M on two cores, some minutes for the embedded model. A
    /// run that was interrupted goes on
    Findings(findings::Findings),
    /// Package every crate that is published, and check sizes and contents
    Package,
    /// Build and run somebody else's crate with lac-core as it is packaged, on the CPU and on a GPU
    Downstream,
    /// Everything that is looked at before a release: licences, each feature alone, the lowest
    /// versions, packages built from what is in them. Needs cargo-deny and cargo-hack; some forty
    /// minutes on two cores
    PublishCheck,
    /// Build the Python package as an optimised wheel for every Python from 3.9 on, into target/wheels
    Wheel(wheel::Wheel),
    /// Build the Python package without optimisation, install it into a fresh environment, and run its tests, its
    /// notebooks and the checks of its types
    PythonCheck {
        /// The Python to use
        #[arg(long, default_value = "python3")]
        python: PathBuf,
    },
    /// Remake the fixtures (needs Python with tests/fixtures/requirements.txt)
    Fixtures {
        /// The Python to use
        #[arg(long, default_value = "python3")]
        python: PathBuf,
    },
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Tidy => tidy::tidy(),
        Task::Circles => circles::check(),
        Task::CheckCuda => check_cuda(),
        Task::TrainDemo { options } => train_demo(&options),
        Task::GpuCheck(task) => task.run(root()),
        Task::Findings(task) => task.run(),
        Task::Package => publish::package(publish::Verify::Skip),
        Task::Downstream => publish::downstream(),
        Task::PublishCheck => publish::publish_check(),
        Task::Wheel(task) => task.build(),
        Task::PythonCheck { python } => wheel::python_check(&python),
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
        ("lac-kernels", "make_blocks.py"),
    ] {
        let folder = root()
            .join("crates")
            .join(crate_name)
            .join("tests/fixtures");
        run(Command::new(python).arg(script).current_dir(folder))?;
    }
    Ok(())
}
