//! `cargo xtask findings`: all figures of docs/findings.md, made again by the command line.

mod numbers;
mod plan;
mod steps;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::process::{cargo, root, run};
use plan::{Inputs, steps};
use steps::{Runner, describe};

/// Which model is looked at, and on what.
#[derive(Args)]
pub struct Findings {
    /// The model, in Hugging Face layout; demo for the embedded one, which takes minutes
    #[arg(long, value_name = "DIR", default_value = "demo")]
    model: PathBuf,
    /// MMLU's questions, as its authors lay them out; the embedded questions for demo
    #[arg(long, value_name = "DIR")]
    mmlu: Option<PathBuf>,
    /// BoolQ's questions, in JSON lines; the embedded questions for demo
    #[arg(long, value_name = "FILE")]
    boolq: Option<PathBuf>,
    /// The text of perplexities; BoolQ's passages by default, stories for demo
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// The prompts that are traced and that plans are learned from, one a line
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Questions of each benchmark, in each of the runs
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: usize,
    /// Windows of 512 tokens of each perplexity
    #[arg(long, value_name = "N", default_value_t = 10)]
    windows: usize,
    /// Where results go; a run that was interrupted goes on there
    #[arg(long, value_name = "DIR", default_value = "target/findings")]
    out: PathBuf,
    /// The program; built with optimisations by default
    #[arg(long, value_name = "FILE")]
    lac: Option<PathBuf>,
    /// Say what would be run and how long it takes, and end
    #[arg(long)]
    dry_run: bool,
    /// Run only the steps whose names begin so: a-usage, c-, …
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

impl Findings {
    pub fn run(&self) -> Result<()> {
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot make {}", self.out.display()))?;
        let inputs = self.inputs()?;
        let mut steps = steps(&inputs);
        if let Some(name) = &self.only {
            steps.retain(|step| step.name.starts_with(name.as_str()));
            ensure!(!steps.is_empty(), "--only {name}: no step has such a name");
        }
        let runner = Runner::new(&self.out, inputs.scale())?;
        println!("{}", describe(&runner, &steps));
        if self.dry_run {
            return Ok(());
        }
        let lac = self.program()?;
        runner.run(&lac, &steps)?;
        let tables = tables::all(&self.out, &inputs)?;
        let path = self.out.join("tables.md");
        std::fs::write(&path, tables)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
        Ok(())
    }

    fn inputs(&self) -> Result<Inputs> {
        let is_demo = self.model == Path::new("demo");
        let data = |given: &Option<PathBuf>, flag: &str| match given {
            Some(path) => Ok(Some(path.clone())),
            None if is_demo => Ok(Some("demo".into())),
            None => {
                println!("without {flag} its tables are left out");
                Ok::<_, anyhow::Error>(None)
            }
        };
        let boolq = data(&self.boolq, "--boolq")?;
        Ok(Inputs {
            model: self.model.clone(),
            mmlu: data(&self.mmlu, "--mmlu")?,
            text: match (&self.text, &boolq) {
                (Some(path), _) => path.clone(),
                (None, _) if is_demo => {
                    self.passages(&root().join("crates/lac-demo/assets/sets/boolq/dev.jsonl"))?
                }
                (None, Some(file)) => self.passages(file)?,
                (None, None) => bail!(
                    "there is no text for perplexities: give one by --text, or BoolQ's questions by --boolq"
                ),
            },
            boolq,
            prompts: match &self.prompts {
                Some(path) => path.clone(),
                None => self.own_prompts(is_demo)?,
            },
            limit: self.limit,
            windows: self.windows,
            context: if is_demo { 256 } else { 512 },
            is_demo,
            out: self.out.clone(),
        })
    }

    /// Joins the passages of BoolQ's questions, each one once: a text that everybody who runs that benchmark has.
    fn passages(&self, file: &Path) -> Result<PathBuf> {
        let lines = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let mut text = String::new();
        let mut seen = std::collections::HashSet::new();
        for (index, line) in lines.lines().enumerate() {
            let row: serde_json::Value = serde_json::from_str(line)
                .with_context(|| format!("{}: line {}", file.display(), index + 1))?;
            let passage = row["passage"].as_str().with_context(|| {
                format!("{}: line {} has no passage", file.display(), index + 1)
            })?;
            if seen.insert(passage.to_owned()) {
                text += passage;
                text.push('\n');
            }
        }
        self.keep("text.txt", &text)
    }

    /// Writes prompts of several kinds, a line each.
    fn own_prompts(&self, is_demo: bool) -> Result<PathBuf> {
        let prompts = if is_demo {
            plan::DEMO_PROMPTS
        } else {
            plan::PROMPTS
        };
        self.keep("prompts.txt", &(prompts.join("\n") + "\n"))
    }

    /// Writes an input beside the results, where an interrupted run finds the same one again.
    fn keep(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.out.join(name);
        if !path.exists() {
            std::fs::write(&path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(path)
    }

    fn program(&self) -> Result<PathBuf> {
        if let Some(path) = &self.lac {
            ensure!(path.exists(), "--lac: there is no {}", path.display());
            return Ok(path.clone());
        }
        run(cargo().args(["build", "--release", "-p", "lac-cli"]))?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.unwrap_or_else(|| root().join("target"));
        Ok(target
            .join("release")
            .join(format!("lac{}", std::env::consts::EXE_SUFFIX)))
    }
}
