//! `cargo xtask gpu-check`: the figures that only a machine with a GPU can give.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

/// Build the kernel's tests, the benches and lac for CUDA and run them: they print the figures that only a
/// machine with a GPU can give
#[derive(Args, Debug)]
pub struct GpuCheck {
    /// How CUDA kernels are compiled
    #[arg(long, value_enum, default_value_t = Toolchain::Nvrtc)]
    toolchain: Toolchain,

    /// Build the programs and leave them in this folder, to be run on another machine
    #[arg(long, value_name = "DIR")]
    build_only: Option<PathBuf>,

    /// Type-check instead of building
    #[arg(long, conflicts_with = "build_only")]
    check: bool,
}

/// How CUDA kernels are compiled at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Toolchain {
    /// CUDA C++ through NVRTC. Builds without a network: a stand-in takes the place of the crate
    /// whose build downloads LLVM.
    Nvrtc,
    /// LLVM, as in a plain build. The build downloads it.
    Llvm,
}

/// Where the programs and what they print go when they run here.
const RESULTS: &str = "target/gpu-check";

impl GpuCheck {
    /// Runs the command in the workspace's root.
    pub fn run(&self, root: &Path) -> Result<()> {
        // Replacing a crate changes the lock file, which belongs to the ordinary build.
        let _lock = KeptFile::new(root.join("Cargo.lock"))?;
        if self.check {
            return self.cargo(root, &["check", "--tests", "--benches"]);
        }
        let mut programs = vec![(
            "kernel-tests",
            self.build(root, "lac-core", &["--test", "integration"])?,
        )];
        for (name, bench) in [
            ("gate-bench", "gate"),
            ("bandwidth-bench", "bandwidth"),
            ("tracing-bench", "tracing"),
            ("skipping-bench", "skipping"),
            ("speculation-bench", "speculation"),
        ] {
            programs.push((name, self.build(root, "lac-benches", &["--bench", bench])?));
        }
        programs.push(("lac", self.build(root, "lac-cli", &["--bin", "lac"])?));
        let folder = match &self.build_only {
            Some(folder) => folder.clone(),
            None => root.join(RESULTS),
        };
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (name, program) in &programs {
            fs::copy(program, folder.join(name))
                .with_context(|| format!("cannot copy {}", program.display()))?;
        }
        let script = folder.join("run.sh");
        fs::write(&script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
        println!("built {}: run `sh run.sh` there", folder.display());
        if self.build_only.is_some() {
            return Ok(());
        }
        let status = Command::new("sh")
            .arg("run.sh")
            .current_dir(&folder)
            .status()?;
        ensure!(status.success(), "the check failed: {status}");
        Ok(())
    }

    /// Builds one test, bench or program in release and returns where it lies.
    fn build(&self, root: &Path, package: &str, target: &[&str]) -> Result<PathBuf> {
        let arguments: &[&str] = match target[0] {
            // `cargo bench` is release already and does not know the option.
            "--bench" => &["bench", "--no-run"],
            "--bin" => &["build", "--release"],
            _ => &["test", "--no-run", "--release"],
        };
        let mut command = self.command(root, arguments[0]);
        command
            .args(&arguments[1..])
            .args(["--message-format=json", "-p", package]);
        let output = command
            .args(target)
            .stderr(std::process::Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "cargo failed: {}", output.status);
        let messages = String::from_utf8(output.stdout)?;
        let executable = messages.lines().rev().find_map(|line| {
            let (_, rest) = line.split_once(r#""executable":""#)?;
            rest.split_once('"').map(|(path, _)| PathBuf::from(path))
        });
        match executable {
            Some(executable) => Ok(executable),
            None => bail!("cargo did not say where it put {target:?} of {package}"),
        }
    }

    fn cargo(&self, root: &Path, args: &[&str]) -> Result<()> {
        let mut command = self.command(root, args[0]);
        command
            .args(&args[1..])
            .args(["-p", "lac-core", "-p", "lac-benches", "-p", "lac-cli"]);
        let status = command.status()?;
        ensure!(status.success(), "cargo failed: {status}");
        Ok(())
    }

    fn command(&self, root: &Path, subcommand: &str) -> Command {
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(root).arg(subcommand);
        // Other features and another crate: apart from the ordinary build.
        if std::env::var_os("CARGO_TARGET_DIR").is_none() {
            command.env("CARGO_TARGET_DIR", root.join("target/cuda"));
        }
        if std::env::var_os("CUDARC_CUDA_VERSION").is_none() {
            command.env("CUDARC_CUDA_VERSION", CUDA_VERSION);
        }
        match self.toolchain {
            Toolchain::Llvm => {
                command.args(["--features", "cuda"]);
            }
            Toolchain::Nvrtc => {
                let stand_in = root.join("xtask/stand-ins/cubecl-llvm");
                let patch = format!(
                    "patch.crates-io.cubecl-llvm.path={:?}",
                    stand_in.display().to_string()
                );
                command.args(["--config", &patch, "--features", "cuda-cpp"]);
            }
        }
        command
    }
}

/// The CUDA whose interface is built for where none is installed to ask.
const CUDA_VERSION: &str = "13000";

/// Runs everything and keeps what it printed beside the programs.
const SCRIPT: &str = r#"#!/bin/sh
# Prints the figures of docs/benchmarks.md for this machine's GPU.
set -e
cd "$(dirname "$0")"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | tee machine.txt
LAC_TEST_DEVICE=cuda ./kernel-tests 2>&1 | tee tests.txt
LAC_BENCH_LARGE=1 ./gate-bench --bench gate/cuda 2>&1 | tee gate.txt
LAC_BENCH_DEVICE=cuda ./bandwidth-bench 2>&1 | tee bandwidth.txt
LAC_BENCH_DEVICE=cuda LAC_BENCH_SHAPE=8x2048x4096 ./bandwidth-bench 2>&1 | tee bandwidth-large.txt
LAC_BENCH_DEVICE=cuda LAC_BENCH_DTYPE=bf16 ./tracing-bench 2>&1 | tee tracing-0.5b.txt
LAC_BENCH_DEVICE=cuda LAC_BENCH_DTYPE=bf16 LAC_BENCH_SHAPE=mistral-7b ./tracing-bench 2>&1 | tee tracing-7b.txt
LAC_BENCH_DEVICE=cuda LAC_BENCH_DTYPE=bf16 LAC_BENCH_SHAPE=mistral-7b ./skipping-bench 2>&1 | tee skipping-7b.txt
LAC_BENCH_DEVICE=cuda LAC_BENCH_DTYPE=bf16 ./skipping-bench 2>&1 | tee skipping-0.5b.txt
LAC_BENCH_DEVICE=cuda LAC_BENCH_PROMPTS=10 ./speculation-bench 2>&1 | tee speculation.txt
./lac bench --shape qwen2.5-7b --dtype bf16 --device cuda --batch 1,8,64 2>&1 | tee bench-7b.txt
"#;

/// Puts a file back as it was.
struct KeptFile {
    path: PathBuf,
    content: Vec<u8>,
}

impl KeptFile {
    fn new(path: PathBuf) -> Result<Self> {
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { path, content })
    }
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.path, &self.content) {
            eprintln!("cannot put {} back: {error}", self.path.display());
        }
    }
}
