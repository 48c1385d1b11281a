//! Steps that are run once, and how long they take.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// One command, and the file that is there once it has run.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its name: the table's letter, and what is run.
    pub name: String,
    pub args: Vec<String>,
    /// The file or folder, below the results' folder.
    pub result: String,
    /// Whether the result is what the command prints.
    pub prints_result: Prints,
    /// Seconds that it takes with SmolLM2-135M on two cores, roughly.
    pub seconds: f64,
}

/// What a command's output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prints {
    /// The result.
    Result,
    /// Words for the log.
    Words,
}

/// Runs steps in a folder, and keeps their times.
pub struct Runner {
    out: PathBuf,
    /// Seconds of steps that have run, by name.
    times: BTreeMap<String, f64>,
    /// What the estimate of a step that has not run is multiplied by.
    scale: f64,
}

const TIMES: &str = "times.json";

impl Runner {
    pub fn new(out: &Path, scale: f64) -> Result<Self> {
        let path = out.join(TIMES);
        let times = match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("{} is damaged: remove it", path.display()))?,
            Err(_) => BTreeMap::new(),
        };
        Ok(Self {
            out: out.to_owned(),
            times,
            scale,
        })
    }

    fn is_done(&self, step: &Step) -> bool {
        self.out.join(&step.result).exists()
    }

    /// Estimates a step's seconds: what it took before, else its estimate as far off as those of the steps that have run.
    fn seconds(&self, steps: &[Step], step: &Step) -> f64 {
        if let Some(&seconds) = self.times.get(&step.name) {
            return seconds;
        }
        let seen = steps
            .iter()
            .filter_map(|step| Some((self.times.get(&step.name)?, step.seconds)));
        let (took, expected) = seen.fold((0.0, 0.0), |(took, expected), (seconds, estimate)| {
            (took + seconds, expected + estimate)
        });
        let factor = if expected > 0.0 {
            took / expected
        } else {
            self.scale
        };
        factor * step.seconds
    }

    /// Runs the steps whose results are not there yet.
    pub fn run(mut self, program: &Path, steps: &[Step]) -> Result<()> {
        for (idx, step) in steps.iter().enumerate() {
            if self.is_done(step) {
                continue;
            }
            let left: f64 = steps[idx..]
                .iter()
                .filter(|step| !self.is_done(step))
                .map(|step| self.seconds(steps, step))
                .sum();
            println!(
                "[{}/{}] {} ({} left)",
                idx + 1,
                steps.len(),
                step.name,
                time(left)
            );
            let begun = Instant::now();
            self.run_step(program, step)?;
            self.times
                .insert(step.name.clone(), begun.elapsed().as_secs_f64());
            let text = serde_json::to_string_pretty(&self.times)?;
            std::fs::write(self.out.join(TIMES), text)?;
        }
        Ok(())
    }

    fn run_step(&self, program: &Path, step: &Step) -> Result<()> {
        let mut command = Command::new(program);
        command.args(&step.args);
        match step.prints_result {
            Prints::Words => crate::process::run(command.stdout(Stdio::null())),
            Prints::Result => {
                let output = command
                    .stderr(Stdio::inherit())
                    .output()
                    .with_context(|| format!("cannot run {command:?}"))?;
                ensure!(
                    output.status.success(),
                    "{command:?} failed: {}",
                    output.status
                );
                // A result that is there is whole.
                let path = self.out.join(&step.result);
                let unfinished = path.with_extension("unfinished");
                std::fs::write(&unfinished, output.stdout)?;
                Ok(std::fs::rename(unfinished, path)?)
            }
        }
    }
}

/// Says what is to be run, and how long that takes.
pub fn describe(runner: &Runner, steps: &[Step]) -> String {
    let pending = steps.iter().filter(|step| !runner.is_done(step));
    let (mut n, mut seconds) = (0, 0.0);
    let mut lines = Vec::new();
    for step in pending {
        let of_step = runner.seconds(steps, step);
        n += 1;
        seconds += of_step;
        lines.push(format!(
            "  {:>8}  {}: lac {}",
            time(of_step),
            step.name,
            step.args.join(" ")
        ));
    }
    lines.insert(
        0,
        format!(
            "{n} of {} steps are to be run, about {}",
            steps.len(),
            time(seconds)
        ),
    );
    lines.join("\n")
}

fn time(seconds: f64) -> String {
    let time = Duration::from_secs_f64(seconds.max(0.0));
    match time.as_secs() {
        0..120 => format!("{} s", time.as_secs()),
        120..7200 => format!("{} min", time.as_secs() / 60),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, seconds: f64) -> Step {
        Step {
            name: name.to_owned(),
            args: Vec::new(),
            result: format!("{name}.json"),
            prints_result: Prints::Result,
            seconds,
        }
    }

    #[test]
    fn estimates_follow_the_steps_that_have_run() {
        let steps = [step("a", 10.0), step("b", 20.0)];
        let mut runner = Runner {
            out: PathBuf::from("nowhere"),
            times: BTreeMap::new(),
            scale: 2.0,
        };
        assert_eq!(runner.seconds(&steps, &steps[1]), 40.0);
        runner.times.insert("a".to_owned(), 5.0);
        assert_eq!(runner.seconds(&steps, &steps[0]), 5.0);
        assert_eq!(runner.seconds(&steps, &steps[1]), 10.0);
        assert!(describe(&runner, &steps).starts_with("2 of 2 steps are to be run, about 15 s"));
    }
}
