//! Which commands make the figures: the tables (a) to (g) of docs/findings.md.

use std::path::{Path, PathBuf};

use super::steps::{Prints, Step};

/// Prompts of several kinds for a chat model.
pub const PROMPTS: &[&str] = &[
    "Why is the sky blue?",
    "Write a short story about a lighthouse keeper who finds a letter in a bottle.",
    "Explain to a child how vaccines work.",
    "What is the capital of Australia, and why is it not Sydney?",
    "Write a Python function that returns the n-th Fibonacci number.",
    "Summarise the causes of the First World War in three sentences.",
    "Give me a recipe for pancakes with four ingredients.",
    "Translate into French: The train to Paris leaves at half past seven.",
    "List five ways to save energy at home.",
    "What is the difference between a virus and a bacterium?",
    "If a shirt costs 25 dollars and is reduced by 20 percent, what does it cost?",
    "Write a polite email that declines an invitation to a wedding.",
];

/// Prompts about the embedded model's small world.
pub const DEMO_PROMPTS: &[&str] = &[
    "Tell me about Kodo.",
    "Tell me about Mina.",
    "Where does Kodo live?",
    "What is the pet of Mina?",
    "Who are you?",
    "Which tool does a tailor use?",
];

/// α of the runs over α.
pub const ALPHAS: &[&str] = &["0.1", "0.2", "0.4", "0.8", "1.2"];

/// Policies that decide by the gate.
pub const POLICIES: &[&str] = &["last-active", "bypass", "halt"];

/// Shares of the layers that plans keep.
pub const SHARES: &[&str] = &["0.9", "0.8", "0.7", "0.6", "0.5"];

/// Seeds of the random orders.
pub const SEEDS: &[&str] = &["1", "2", "3", "4", "5"];

/// What plans are learned by; random orders come in addition.
pub const RANKINGS: &[&str] = &["usage", "mean-delta", "influence", "lens", "last"];

/// The share of layers at which benchmarks are run under each ranking.
pub const SHARE_OF_BENCHMARKS: &str = "0.8";

/// Data types of (e): a name, and the flags.
pub const DTYPES: &[(&str, &[&str])] = &[
    ("f32", &["--dtype", "f32"]),
    ("bf16", &["--dtype", "bf16"]),
    ("q8_0", &["--quantize", "q8_0"]),
    ("q4_0", &["--quantize", "q4_0"]),
];

/// The released code's defects that change answers by log-likelihood or text.
pub const QUIRKS: &[&str] = &[
    "question-under-options",
    "double-bos",
    "batch-threshold",
    "padding-attended",
];

/// What is looked at, and where results go.
pub struct Inputs {
    pub model: PathBuf,
    pub mmlu: Option<PathBuf>,
    pub boolq: Option<PathBuf>,
    pub text: PathBuf,
    pub prompts: PathBuf,
    pub limit: usize,
    pub windows: usize,
    pub context: usize,
    pub is_demo: bool,
    pub out: PathBuf,
}

impl Inputs {
    /// Returns the time of this model in units of that which the estimates are for.
    pub fn scale(&self) -> f64 {
        if self.is_demo { 0.1 } else { 1.0 }
    }

    /// Returns the benchmarks whose questions are there: the name, the data, and further flags.
    pub fn benchmarks(&self) -> Vec<(&'static str, &Path, &'static [&'static str])> {
        let mmlu = self.mmlu.as_deref().map(|data| {
            let flags: &[&str] = &["--harness-task", "mmlu-continuation"];
            ("mmlu", data, flags)
        });
        let boolq = self.boolq.as_deref().map(|data| {
            let flags: &[&str] = &[];
            ("boolq", data, flags)
        });
        mmlu.into_iter().chain(boolq).collect()
    }

    fn path(&self, name: &str) -> String {
        self.out.join(name).display().to_string()
    }
}

/// Returns all steps, in their order: plans before what is run under them.
pub fn steps(inputs: &Inputs) -> Vec<Step> {
    let mut steps = Steps {
        inputs,
        steps: Vec::new(),
    };
    steps.usage();
    steps.alphas();
    steps.rankings();
    steps.dtypes();
    steps.massive();
    steps.quirks();
    steps.steps
}

struct Steps<'a> {
    inputs: &'a Inputs,
    steps: Vec<Step>,
}

impl Steps<'_> {
    fn push(&mut self, name: &str, result: &str, prints: Prints, seconds: f64, args: &[&str]) {
        self.steps.push(Step {
            name: name.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            result: result.to_owned(),
            prints_result: prints,
            seconds,
        });
    }

    /// Traces the prompts under flags of the model, and reports it.
    fn trace(&mut self, name: &str, seconds: f64, flags: &[&str]) -> String {
        let inputs = self.inputs;
        let (model, prompts) = (
            inputs.model.display().to_string(),
            inputs.prompts.display().to_string(),
        );
        let file = format!("{name}.parquet");
        let path = inputs.path(&file);
        let base = [
            "trace",
            "--model",
            &model,
            "--prompts",
            &prompts,
            "--greedy",
            "--out",
            &path,
        ];
        let args = [
            &base[..],
            &["--batch", "1", "--max-new-tokens", "48"],
            flags,
        ]
        .concat();
        self.push(name, &file, Prints::Words, seconds, &args);
        path
    }

    /// (a) and (d): usage per layer in both phases, and what the lens says of voids.
    fn usage(&mut self) {
        let looks = ["--dtype", "f32", "--measures", "sublayers", "--lens", "5"];
        let trace = self.trace("a-usage", 240.0, &looks);
        let report = self.inputs.path("a-report");
        self.push(
            "a-report",
            "a-report/statistics.json",
            Prints::Words,
            10.0,
            &["report", &trace, "--out", &report],
        );
    }

    fn perplexity(&mut self, name: &str, flags: &[&str]) {
        let inputs = self.inputs;
        let (model, text) = (
            inputs.model.display().to_string(),
            inputs.text.display().to_string(),
        );
        let (context, windows) = (inputs.context.to_string(), inputs.windows.to_string());
        let base = [
            "perplexity",
            "--model",
            &model,
            "--text",
            &text,
            "--dtype",
            "f32",
            "--json",
        ];
        let args = [
            &base[..],
            &["--context", &context, "--windows", &windows],
            flags,
        ]
        .concat();
        let seconds = 4.0 * inputs.windows as f64;
        self.push(
            name,
            &format!("{name}.json"),
            Prints::Result,
            seconds,
            &args,
        );
    }

    /// Runs both benchmarks under flags; `variants` is the number of times that questions go through the model. The report
    /// also has the results of the run `beside`, for its full model.
    fn eval(&mut self, name: &str, variants: f64, beside: Option<&str>, flags: &[&str]) {
        let inputs = self.inputs;
        let model = inputs.model.display().to_string();
        for (benchmark, data, task) in inputs.benchmarks() {
            let (data, limit) = (data.display().to_string(), inputs.limit.to_string());
            let name = format!("{name}-{benchmark}");
            let file = format!("{name}.jsonl");
            let path = inputs.path(&file);
            let base = [
                "eval",
                "--model",
                &model,
                "--benchmark",
                benchmark,
                "--data",
                &data,
            ];
            let run = ["--dtype", "f32", "--limit", &limit, "--out", &path];
            let args = [&base[..], &run, task, flags].concat();
            let seconds = variants * inputs.limit as f64 * 0.5;
            // The file is there from the first answer on: the report says that it is whole.
            let report = format!("{name}.report.json");
            self.push(
                &name,
                &format!("{name}.done"),
                Prints::Result,
                seconds,
                &args,
            );
            let full = beside.map(|name| inputs.path(&format!("{name}-{benchmark}.jsonl")));
            let mut args = vec!["eval", "report", &path, "--format", "json"];
            args.extend(full.as_deref());
            self.push(
                &format!("{name}-report"),
                &report,
                Prints::Result,
                1.0,
                &args,
            );
        }
    }

    /// (b): perplexity and accuracy over α, for every policy that decides by the gate.
    fn alphas(&mut self) {
        self.perplexity("b-off", &[]);
        for policy in POLICIES {
            for alpha in ALPHAS {
                let name = format!("b-{policy}-{alpha}");
                self.perplexity(&name, &["--policy", policy, "--alpha", alpha]);
            }
            let list = ALPHAS.join(",");
            let variants = if *policy == "last-active" { 1.5 } else { 5.0 };
            let flags = ["--policy", policy, "--alphas", &list, "--with-full"];
            self.eval(&format!("b-{policy}"), 1.0 + variants, None, &flags);
        }
    }

    /// (c): perplexity against the share of layers run for every ranking, and accuracy at one share.
    fn rankings(&mut self) {
        for share in SHARES {
            for ranking in RANKINGS {
                self.plan(ranking, share, &["--by", ranking]);
            }
            for seed in SEEDS {
                self.plan(
                    &format!("random{seed}"),
                    share,
                    &["--by", "random", "--seed", seed],
                );
            }
        }
        let seeds = SEEDS.iter().map(|seed| format!("random{seed}"));
        let rankings = RANKINGS
            .iter()
            .map(|&ranking| ranking.to_owned())
            .chain(seeds);
        for ranking in rankings {
            let name = format!("c-{ranking}-{SHARE_OF_BENCHMARKS}");
            let plan = self.inputs.path(&format!("{name}.plan.json"));
            let beside = format!("b-{}", POLICIES[0]);
            let flags = ["--policy", "planned", "--plan", &plan];
            self.eval(&name, 1.0, Some(&beside), &flags);
        }
    }

    fn plan(&mut self, ranking: &str, share: &str, flags: &[&str]) {
        let inputs = self.inputs;
        let (model, prompts) = (
            inputs.model.display().to_string(),
            inputs.prompts.display().to_string(),
        );
        let name = format!("c-{ranking}-{share}");
        let file = format!("{name}.plan.json");
        let path = inputs.path(&file);
        let base = [
            "plan",
            "--model",
            &model,
            "--dtype",
            "f32",
            "--prompts",
            &prompts,
        ];
        let keep = [
            "--max-new-tokens",
            "32",
            "--keep-share",
            share,
            "--out",
            &path,
        ];
        let seconds = if flags[1] == "random" || flags[1] == "last" {
            2.0
        } else {
            40.0
        };
        let args = [&base[..], &keep, flags].concat();
        self.push(
            &format!("{name}-plan"),
            &file,
            Prints::Words,
            seconds,
            &args,
        );
        self.perplexity(&name, &["--plan", &path, "--phase", "prompt"]);
    }

    /// (e): the same prompts in other data types. Texts may differ, and are compared up to there.
    fn dtypes(&mut self) {
        let mut traces = Vec::new();
        for (name, flags) in DTYPES {
            traces.push(self.trace(&format!("e-{name}"), 60.0, flags));
        }
        let report = self.inputs.path("e-report");
        let mut args = vec!["report"];
        args.extend(traces.iter().map(String::as_str));
        args.extend(["--out", &report]);
        self.push(
            "e-report",
            "e-report/statistics.json",
            Prints::Words,
            10.0,
            &args,
        );
    }

    /// (f): norms of single tokens, from one prompt.
    fn massive(&mut self) {
        let model = self.inputs.model.display().to_string();
        let prompt = if self.inputs.is_demo {
            DEMO_PROMPTS[0]
        } else {
            PROMPTS[0]
        };
        let base = [
            "trace", "--model", &model, "--dtype", "f32", "--prompt", prompt, "--greedy",
        ];
        let args = [&base[..], &["--max-new-tokens", "32", "--json", "-"]].concat();
        self.push("f-massive", "f-massive.json", Prints::Result, 15.0, &args);
    }

    /// (g): what the released code's defects do to answers, and its rounding to masks.
    fn quirks(&mut self) {
        let rounded = ["--dtype", "bf16", "--gate-rounding", "bf16"];
        let rounded = self.trace("g-rounded", 60.0, &rounded);
        let exact = self.inputs.path("e-bf16.parquet");
        let report = self.inputs.path("g-report");
        let args = ["report", &exact, &rounded, "--out", &report];
        self.push(
            "g-report",
            "g-report/statistics.json",
            Prints::Words,
            10.0,
            &args,
        );

        let inputs = self.inputs;
        let Some(boolq) = &inputs.boolq else { return };
        let (model, data) = (
            inputs.model.display().to_string(),
            boolq.display().to_string(),
        );
        let limit = (inputs.limit / 3).max(10).to_string();
        let quirks = QUIRKS.iter().map(|&quirk| Some(quirk));
        for quirk in std::iter::once(None).chain(quirks) {
            let name = format!("g-{}", quirk.unwrap_or("none"));
            let file = inputs.path(&format!("{name}.jsonl"));
            let base = [
                "eval",
                "--model",
                &model,
                "--benchmark",
                "boolq",
                "--data",
                &data,
            ];
            let run = [
                "--dtype",
                "f32",
                "--protocol",
                "paper",
                "--limit",
                &limit,
                "--out",
                &file,
            ];
            let policy = [
                "--policy",
                "last-active",
                "--alpha",
                "0.8",
                "--batch-size",
                "4",
            ];
            let quirk: Vec<&str> = quirk
                .into_iter()
                .flat_map(|quirk| ["--quirk", quirk])
                .collect();
            let args = [&base[..], &run, &policy, &quirk].concat();
            let seconds = inputs.limit as f64;
            self.push(
                &name,
                &format!("{name}.done"),
                Prints::Result,
                seconds,
                &args,
            );
            let args = ["eval", "report", &file, "--format", "json"];
            self.push(
                &format!("{name}-report"),
                &format!("{name}.report.json"),
                Prints::Result,
                1.0,
                &args,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_step_has_a_name_and_a_result_of_its_own() {
        let inputs = Inputs {
            model: "demo".into(),
            mmlu: Some("demo".into()),
            boolq: Some("demo".into()),
            text: "t".into(),
            prompts: "p".into(),
            limit: 30,
            windows: 2,
            context: 256,
            is_demo: true,
            out: "out".into(),
        };
        let steps = steps(&inputs);
        let names: BTreeSet<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        let results: BTreeSet<&str> = steps.iter().map(|step| step.result.as_str()).collect();
        assert_eq!((names.len(), results.len()), (steps.len(), steps.len()));
        for letter in ["a-", "b-", "c-", "e-", "f-", "g-"] {
            assert!(
                names.iter().any(|name| name.starts_with(letter)),
                "{letter}"
            );
        }
    }
}
