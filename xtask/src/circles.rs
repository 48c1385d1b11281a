//! Circles between the files of a crate: files that need each other, each for what the other defines.
//!
//! A reader can take the files of a crate without circles one after another, each with what it
//! stands on already known.

mod modules;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process::{cargo, output, root};
use modules::{Modules, ReadSource};
use names::Ties;

/// Checks every crate of the workspace.
///
/// # Errors
/// All circles, with the names that tie their files, or a file that cannot be read.
pub fn check() -> Result<()> {
    let source = |path: &Path| std::fs::read_to_string(path).ok();
    let mut report = String::new();
    for crate_root in crate_roots()? {
        for circle in circles_of(&crate_root, &source)? {
            report.push_str(&describe(root(), &circle));
        }
    }
    if !report.is_empty() {
        bail!("files that need each other:\n{report}");
    }
    Ok(())
}

/// The root files of the workspace's libraries, programs, examples and benches; tests aside.
fn crate_roots() -> Result<Vec<PathBuf>> {
    let metadata = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Metadata =
        serde_json::from_str(&metadata).context("cannot read cargo metadata")?;
    let targets = metadata
        .packages
        .into_iter()
        .flat_map(|package| package.targets);
    let is_checked = |target: &Target| {
        let is_left_out = |kind: &String| kind == "test" || kind == "custom-build";
        !target.kind.iter().any(is_left_out)
    };
    Ok(targets
        .filter(is_checked)
        .map(|target| target.src_path)
        .collect())
}

/// The part of `cargo metadata` that is needed here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    src_path: PathBuf,
}

/// The circles of the crate with this root file, each as the ties between its files.
fn circles_of(crate_root: &Path, source: &ReadSource<'_>) -> Result<Vec<Ties>> {
    let ties = names::ties(&Modules::read(crate_root, source)?);
    let mut needs: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for (user, definer) in ties.keys() {
        needs.entry(user).or_default().insert(definer);
    }
    // All that a file needs, straight and through others.
    let reached: BTreeMap<&Path, BTreeSet<&Path>> = needs
        .keys()
        .map(|&file| (file, reachable(file, &needs)))
        .collect();
    let needs_each_other = |a: &Path, b: &Path| {
        let is_reached = |from, to| reached.get(from).is_some_and(|files| files.contains(to));
        is_reached(a, b) && is_reached(b, a)
    };
    let mut circles: BTreeMap<&Path, Ties> = BTreeMap::new();
    for ((user, definer), names) in &ties {
        if needs_each_other(user, definer) {
            // The first file of a circle stands for it.
            let in_circle = reached.keys().find(|file| needs_each_other(file, user));
            let circle = circles.entry(in_circle.copied().unwrap_or(user));
            let tie = ((user.clone(), definer.clone()), names.clone());
            circle.or_default().extend([tie]);
        }
    }
    Ok(circles.into_values().collect())
}

/// All files that `from` needs, straight and through others.
fn reachable<'a>(
    from: &Path,
    needs: &BTreeMap<&'a Path, BTreeSet<&'a Path>>,
) -> BTreeSet<&'a Path> {
    let mut reached = BTreeSet::new();
    let mut pending: Vec<&Path> = vec![from];
    while let Some(file) = pending.pop() {
        for &needed in needs.get(file).into_iter().flatten() {
            if reached.insert(needed) {
                pending.push(needed);
            }
        }
    }
    reached
}

/// A circle in words: each file, and what it takes from the others.
fn describe(root: &Path, circle: &Ties) -> String {
    let short = |path: &Path| {
        path.strip_prefix(root)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    let files: BTreeSet<&PathBuf> = circle.keys().map(|(user, _)| user).collect();
    let mut text = format!("a circle of {} files:\n", files.len());
    for ((user, definer), names) in circle {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (user, definer) = (short(user), short(definer));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {user} takes {} from {definer}", names.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ties of each circle in a crate of these files, as "user > definer: names".
    fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let source = |path: &Path| {
            let file = files.iter().find(|(name, _)| Path::new(name) == path);
            file.map(|(_, text)| (*text).to_owned())
        };
        let circles = circles_of(Path::new("lib.rs"), &source).unwrap();
        let in_words = |((user, definer), names): (&(PathBuf, PathBuf), &BTreeSet<String>)| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (user, definer) = (user.display(), definer.display());
            format!("{user} > {definer}: {}", names.join(", "))
        };
        circles
            .iter()
            .map(|circle| circle.iter().map(in_words).collect())
            .collect()
    }

    #[test]
    fn files_that_need_each_other_are_a_circle() {
        let b_variants = [
            "use crate::a::A; pub struct B(Box<A>);",
            "use super::a::A; pub struct B(Box<A>);",
            "use crate::{a::{self, A}, other}; pub struct B(Box<A>);",
            "use crate::a; pub struct B(Box<a::A>);",
            "use crate::a::*; pub struct B(Box<A>);",
            "use super::*; pub struct B(Box<A>);",
            "pub struct B(Box<crate::a::A>);",
            "pub struct B; fn f() { use crate::a::A; }",
            "pub struct B; fn f() { g!(x, crate::a::A { y }) }",
            "#[derive(Parser)] pub struct B { #[arg(value_parser = crate::a::A::parse)] c: u8 }",
            "pub(crate) use crate::a::A; pub struct B(Box<A>);",
            "use crate::A as Other; pub struct B(Box<Other>);",
        ];
        for b in b_variants {
            let files = [
                ("lib.rs", "mod a; mod b; mod other; pub use a::A;"),
                ("a.rs", "use crate::b::B; pub struct A(B);"),
                ("b.rs", b),
                ("other.rs", ""),
            ];
            let found = circles(&files);
            assert_eq!(found, [["a.rs > b.rs: B", "b.rs > a.rs: A"]], "{b}");
        }
    }

    #[test]
    fn a_parent_may_hand_on_what_its_children_define() {
        let files = [
            ("lib.rs", "mod a; pub use a::{A, B};"),
            (
                "a.rs",
                "mod b; mod c; pub use b::B; pub(crate) use c::*; pub struct A;",
            ),
            (
                "a/b.rs",
                "use super::A; use crate::a::C; pub struct B(A, C);",
            ),
            ("a/c.rs", "use crate::A; pub struct C(A);"),
        ];
        assert!(circles(&files).is_empty());
    }

    #[test]
    fn a_parent_and_a_child_that_use_each_other_are_a_circle() {
        let files = [
            ("lib.rs", "mod a;"),
            (
                "a/mod.rs",
                "mod b; pub use b::B; pub struct A; fn f() -> B { b::make() }",
            ),
            (
                "a/b.rs",
                "use super::A; pub struct B(A); pub fn make() -> B { B(A) }",
            ),
        ];
        let ties = ["a/b.rs > a/mod.rs: A", "a/mod.rs > a/b.rs: B, make"];
        assert_eq!(circles(&files), [ties]);
    }

    #[test]
    fn circles_through_several_files_are_one() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c; mod d; mod e;"),
            ("a.rs", "pub fn a() { crate::b::b() }"),
            ("b.rs", "pub fn b() { crate::c::c(); crate::d::d() }"),
            ("c.rs", "pub fn c() { super::a::a() }"),
            ("d.rs", "pub fn d() {}"),
            ("e.rs", "pub fn e() { crate::a::a() }"),
        ];
        let ties = ["a.rs > b.rs: b", "b.rs > c.rs: c", "c.rs > a.rs: a"];
        assert_eq!(circles(&files), [ties]);
    }

    #[test]
    fn tests_and_blocks_of_one_file_and_other_crates_are_no_circle() {
        let files = [
            (
                "lib.rs",
                "mod a; mod b; mod inner { use super::f; pub fn g() { f() } } fn f() { inner::g() }",
            ),
            (
                "a.rs",
                "use crate::b::B; pub struct A(B); #[cfg(test)] mod tests; use b_of_others::A as _;",
            ),
            (
                "b.rs",
                "pub struct B; #[cfg(test)] mod tests { use crate::a::A; } #[cfg(test)] use crate::a::A;\
                 fn f() { other::a::A; x.a() }",
            ),
        ];
        assert_eq!(circles(&files), Vec::<Vec<String>>::new());
    }

    #[test]
    fn two_files_under_one_name_are_both_looked_at() {
        let files = [
            (
                "lib.rs",
                "#[cfg(x)] mod kernel; #[cfg(not(x))] #[path = \"stub.rs\"] mod kernel; mod a;",
            ),
            ("kernel.rs", "pub fn run() {}"),
            ("stub.rs", "pub fn run() { crate::a::a() }"),
            ("a.rs", "pub fn a() { crate::kernel::run() }"),
        ];
        let ties = ["a.rs > stub.rs: run", "stub.rs > a.rs: a"];
        assert_eq!(circles(&files), [ties]);
    }

    #[test]
    fn a_file_that_is_not_rust_is_named() {
        let source = |_: &Path| Some("fn f( {}".to_owned());
        let error = circles_of(Path::new("lib.rs"), &source).unwrap_err();
        assert_eq!(error.to_string(), "lib.rs");
    }
}
