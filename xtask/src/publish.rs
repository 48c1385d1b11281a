//! `cargo xtask package`, `downstream` and `publish-check`: whether the crates are fit to be published.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::{cargo, output, root, run};

/// The published crates, each after those that it needs.
const CRATES: [&str; 10] = [
    "lac-kernels",
    "lac-core",
    "lac-demo",
    "lac-files",
    "lac-hub",
    "lac-models",
    "lac-trace",
    "lac-eval",
    "lac-session",
    "lac-cli",
];

/// What somebody else's crate builds from packages.
const DOWNSTREAM: [&str; 2] = ["lac-kernels", "lac-core"];

/// The largest package that the registry accepts.
const MAX_BYTES: u64 = 10_000_000;

/// Files that every package must hold beside its sources.
const FILES: [&str; 4] = ["Cargo.toml", "README.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Whether the packages are built from what is in them, each with those before it.
pub enum Verify {
    Build,
    Skip,
}

/// Packages every published crate and checks the packages.
pub fn package(verify: Verify) -> Result<()> {
    let mut command = cargo();
    command.args(["package", "--allow-dirty"]);
    for name in CRATES {
        command.args(["--package", name]);
    }
    if let Verify::Skip = verify {
        command.arg("--no-verify");
    }
    run(&mut command)?;
    for name in CRATES {
        let path = crate_file(name)?;
        let bytes = fs::metadata(&path)
            .with_context(|| format!("cannot read {}", path.display()))?
            .len();
        ensure!(
            bytes < MAX_BYTES,
            "{} has {bytes} bytes, the registry takes {MAX_BYTES}",
            path.display()
        );
        let names = output(Command::new("tar").arg("-tzf").arg(&path))?;
        for file in FILES {
            ensure!(
                names
                    .lines()
                    .any(|line| line.ends_with(&format!("/{file}"))),
                "{} holds no {file}",
                path.display()
            );
        }
        println!("{name}: {:.0} kB", bytes as f64 / 1e3);
    }
    Ok(())
}

/// Builds and runs `xtask/downstream`, somebody else's crate, with lac-core as it is packaged: on the
/// CPU and on a GPU, which may be a software one.
pub fn downstream() -> Result<()> {
    let mut pack = cargo();
    pack.args(["package", "--allow-dirty", "--no-verify"]);
    for name in DOWNSTREAM {
        pack.args(["--package", name]);
    }
    run(&mut pack)?;
    let folder = target().join("downstream");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove the last run's copy")?;
    }
    let source = folder.join("src");
    fs::create_dir_all(&source).context("cannot make a folder for the copy")?;
    let original = root().join("xtask/downstream");
    for (from, to) in [
        (original.join("Cargo.toml"), folder.join("Cargo.toml")),
        (original.join("src/main.rs"), source.join("main.rs")),
        // The versions that everything else here is built with.
        (root().join("Cargo.lock"), folder.join("Cargo.lock")),
    ] {
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let mut build = cargo();
    build.arg("run");
    for name in DOWNSTREAM {
        run(Command::new("tar")
            .arg("-xzf")
            .arg(crate_file(name)?)
            .arg("-C")
            .arg(&folder))?;
        let package = folder.join(format!("{name}-{}", version(name)?));
        // A string of TOML, whatever the path holds.
        let package = package.display().to_string();
        build.args([
            "--config",
            &format!("patch.crates-io.{name}.path={package:?}"),
        ]);
    }
    run(build.current_dir(&folder).env("CARGO_TARGET_DIR", target()))
}

/// Everything that is looked at before a release and takes too long for every change. Needs
/// cargo-hack and cargo-deny.
pub fn publish_check() -> Result<()> {
    run(cargo().args(["deny", "check", "licenses", "bans", "sources"]))?;
    if run(cargo().args(["deny", "check", "advisories"])).is_err() {
        println!("the advisories were not checked or hold something: see above");
    }
    features()?;
    minimal_versions()?;
    package(Verify::Build)?;
    downstream()
}

/// Each feature alone, none, and all of them. Without `cube`, which the GPU features imply: burn's
/// part of it does not compile alone.
fn features() -> Result<()> {
    for name in CRATES {
        let mut command = cargo();
        command.args(["hack", "check", "--each-feature", "--no-dev-deps"]);
        if name == "lac-core" {
            command.args(["--exclude-features", "cube"]);
        }
        run(command
            .args(["--package", name])
            // As in `check-cuda`.
            .env("DOCS_RS", "1")
            .env("CUDARC_CUDA_VERSION", "13000"))?;
    }
    Ok(())
}

/// The lowest versions that the manifests allow, in a copy of the workspace.
fn minimal_versions() -> Result<()> {
    let copy = target().join("minimal-versions");
    if copy.exists() {
        fs::remove_dir_all(&copy).context("cannot remove the last run's copy")?;
    }
    for line in output(Command::new("git").arg("ls-files").current_dir(root()))?.lines() {
        let (from, to) = (root().join(line), copy.join(line));
        if !from.is_file() {
            continue;
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).context("cannot make the copy's folders")?;
        }
        fs::copy(&from, &to).with_context(|| format!("cannot copy {line}"))?;
    }
    run(cargo()
        .args(["update", "-Z", "direct-minimal-versions"])
        // The resolution alone needs the nightly cargo's flag; what compiles is the toolchain in use.
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(&copy))?;
    let mut command = cargo();
    command.arg("check").current_dir(&copy);
    for name in CRATES {
        command.args(["--package", name]);
    }
    run(&mut command)
}

fn crate_file(name: &str) -> Result<PathBuf> {
    let file = format!("package/{name}-{}.crate", version(name)?);
    Ok(target().join(file))
}

/// The version of one of the workspace's crates.
fn version(name: &str) -> Result<String> {
    let id = output(cargo().args(["pkgid", "--package", name]))?;
    let version = id.trim().rsplit(['#', '@']).next().unwrap_or_default();
    Ok(version.to_owned())
}

fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(path) => root().join(path),
        None => root().join("target"),
    }
}
