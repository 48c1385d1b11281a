//! `cargo xtask wheel` and `python-check`: the Python package.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::process::{output, root, run};

/// What is installed to build the package.
const MATURIN: &str = "maturin[zig]>=1.9.4,<2";

/// Options of `cargo xtask wheel`.
#[derive(Args)]
pub struct Wheel {
    /// The Python that makes an environment for the tools
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// The systems that the wheel is for, as maturin names them
    #[arg(long, default_value = "manylinux_2_28")]
    compatibility: String,
    /// Features of lac-python besides its own, such as wgpu
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
}

impl Wheel {
    /// Builds an optimised wheel for every Python from 3.9 on, into `target/wheels`.
    pub fn build(&self) -> Result<()> {
        let tools = Environment::new("wheel-tools", &self.python)?;
        tools.pip(&[MATURIN])?;
        let mut command = tools.maturin();
        command.args(["build", "--release", "--strip"]);
        command.args(["--compatibility", &self.compatibility]);
        if cfg!(target_os = "linux") {
            // Links against the C library of older systems, whatever this one has.
            command.arg("--zig");
        }
        if !self.features.is_empty() {
            command.args(["--features", &self.features.join(",")]);
        }
        run(command.arg("--out").arg(target().join("wheels")))
    }
}

/// Builds the package without optimisation, installs it into a fresh environment, and runs its tests, its notebooks and
/// the checks of its types and its style.
pub fn python_check(python: &Path) -> Result<()> {
    let tools = Environment::new("wheel-tools", python)?;
    tools.pip(&[MATURIN])?;
    let wheels = target().join("wheels-dev");
    // Whatever is in it afterwards was built now.
    let _ = std::fs::remove_dir_all(&wheels);
    let mut build = tools.maturin();
    build.args(["build", "--profile", "dev", "--compatibility", "linux"]);
    run(build.arg("--out").arg(&wheels))?;
    let wheel = std::fs::read_dir(&wheels)
        .with_context(|| format!("cannot read {}", wheels.display()))?
        .next()
        .context("maturin has built no wheel")??
        .path();

    let fresh = target().join("python-check");
    let _ = std::fs::remove_dir_all(&fresh);
    let checked = Environment::new("python-check", python)?;
    checked.pip(&[&format!("{}[test,lm-eval]", wheel.display())])?;
    // By their own programs: `python -m` would import the package from its source folder.
    for (program, arguments) in [
        ("ruff", &["check", "."][..]),
        ("ruff", &["format", "--check", "."]),
        ("mypy", &[]),
        ("pytest", &["-q", "--durations=5"]),
    ] {
        run(checked.command(program).args(arguments))?;
    }
    // In its own folder, where the package's settings of mypy do not hold.
    let mut stubs = checked.command("stubtest");
    stubs.args(["--ignore-disjoint-bases", "lac._lac"]);
    run(stubs.current_dir(&fresh))
}

/// A virtual environment of Python in the target folder.
struct Environment(PathBuf);

impl Environment {
    /// Makes the environment, unless it is there.
    fn new(name: &str, python: &Path) -> Result<Self> {
        let version = output(Command::new(python).args([
            "-c",
            "import sys; print(sys.version_info >= (3, 9), sys.version.split()[0])",
        ]))?;
        ensure!(
            version.starts_with("True"),
            "{} is Python {}: 3.9 or newer is needed",
            python.display(),
            version.trim_start_matches("False").trim()
        );
        let folder = target().join(name);
        let environment = Self(folder);
        if !environment.program("python").exists() {
            run(Command::new(python)
                .args(["-m", "venv"])
                .arg(&environment.0))
            .with_context(|| {
                "Debian has Python's module venv in its package python3-venv".to_owned()
            })?;
        }
        Ok(environment)
    }

    fn program(&self, name: &str) -> PathBuf {
        let folder = if cfg!(windows) { "Scripts" } else { "bin" };
        let program = self.0.join(folder).join(name);
        if cfg!(windows) {
            program.with_extension("exe")
        } else {
            program
        }
    }

    fn pip(&self, packages: &[&str]) -> Result<()> {
        let mut command = self.python();
        command.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        run(command.args(packages))
    }

    /// This environment's Python, in the package's folder and with its programs in the path.
    fn python(&self) -> Command {
        self.command("python")
    }

    fn maturin(&self) -> Command {
        self.command("maturin")
    }

    fn command(&self, name: &str) -> Command {
        let program = self.program(name);
        let mut command = Command::new(&program);
        command.current_dir(root().join("python"));
        let mut path = program
            .parent()
            .map(Path::to_owned)
            .into_iter()
            .collect::<Vec<_>>();
        if let Some(inherited) = std::env::var_os("PATH") {
            path.extend(std::env::split_paths(&inherited));
        }
        if let Ok(path) = std::env::join_paths(path) {
            command.env("PATH", path);
        }
        command
    }
}

/// The folder that cargo builds into.
fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}
