//! The tables of the model card: what each policy does to accuracy, layers and text.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use burn::tensor::Device;
use lac_core::{Bypass, GateConfig, Halt, LastActive, LayerPolicy, Off, Usage};
use lac_eval::exact_match::ExactMatch;
use lac_models::{Decoder, ModelFolder, Tokenizer, WeightDtype};

use crate::prompts::Wording;
use crate::score::{Case, Set, answer, cases, count, reply};
use crate::split::Split;
use crate::world::World;

/// The α of the sweep.
const ALPHAS: [f32; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];

/// Scores the test split and writes the tables as Markdown.
///
/// # Errors
/// Fails if the folder cannot be read or the model fails.
pub fn tables(model: &Path, world: &World) -> Result<String> {
    let folder = ModelFolder::open(model)?;
    let tokenizer = folder.tokenizer()?;
    let model = folder.load(WeightDtype::F32, &Device::flex(), &mut |_| {})?;
    let mut out = String::new();
    wordings(&model, &tokenizer, world, &mut out)?;
    policies(&model, &tokenizer, world, &mut out)?;
    Ok(out)
}

/// Writes the accuracy of the full model in every wording, and by subject in the plain one.
fn wordings(model: &Decoder, tokenizer: &Tokenizer, world: &World, out: &mut String) -> Result<()> {
    writeln!(out, "| set | wording | right | accuracy |")?;
    writeln!(out, "| --- | --- | --- | --- |")?;
    let mut subjects = String::new();
    for wording in Wording::ALL {
        let cases = cases(tokenizer, world, Split::Test, wording)?;
        let result = answer(model, tokenizer, &cases, wording, &mut Off)?;
        for (set, (right, n)) in count(&cases, &result, |case| Some(case.set.name().into())) {
            let accuracy = percent(right, n);
            writeln!(
                out,
                "| {set} | {} | {right}/{n} | {accuracy} |",
                wording.name()
            )?;
        }
        if wording == Wording::Plain {
            let by_subject = count(&cases, &result, |case| {
                let name = format!("{}: {}", case.set.name(), case.subject);
                (!case.subject.is_empty()).then_some(name)
            });
            for (subject, (right, n)) in by_subject {
                writeln!(
                    subjects,
                    "| {subject} | {right}/{n} | {} |",
                    percent(right, n)
                )?;
            }
        }
    }
    writeln!(
        out,
        "\n| subject | right | accuracy |\n| --- | --- | --- |\n{subjects}"
    )?;
    Ok(())
}

/// Writes accuracy, usage, executed layers and text under every policy.
fn policies(model: &Decoder, tokenizer: &Tokenizer, world: &World, out: &mut String) -> Result<()> {
    let cases = cases(tokenizer, world, Split::Test, Wording::Plain)?;
    let message = format!("Tell me about {}.", world.people[0].name);
    let mut runs: Vec<(String, Box<dyn LayerPolicy>)> = vec![("off".into(), Box::new(Off))];
    for alpha in ALPHAS {
        let gate = GateConfig::new(alpha);
        runs.push((
            format!("last-active, α = {alpha}"),
            Box::new(LastActive::new(gate)),
        ));
    }
    for alpha in ALPHAS {
        let gate = GateConfig::new(alpha);
        runs.push((format!("bypass, α = {alpha}"), Box::new(Bypass::new(gate))));
    }
    for alpha in ALPHAS {
        let gate = GateConfig::new(alpha);
        runs.push((format!("halt, α = {alpha}"), Box::new(Halt::new(gate))));
    }
    writeln!(
        out,
        "| policy | mmlu | gpqa | boolq | active, prompt | active, response | executed, prompt | executed, response |"
    )?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- | --- | --- |")?;
    let mut texts = String::new();
    let mut per_layer = String::new();
    for (name, mut policy) in runs {
        let result = answer(model, tokenizer, &cases, Wording::Plain, policy.as_mut())?;
        let Usage { prompt, response } = &result.usage;
        writeln!(
            out,
            "| {name} | {} | {} | {} | {} | {} | {} | {} |",
            accuracy(&cases, &result, Set::Mmlu),
            accuracy(&cases, &result, Set::Gpqa),
            accuracy(&cases, &result, Set::Boolq),
            share(prompt.mean()),
            share(response.mean()),
            layers(prompt.executed_per_pass()),
            layers(response.executed_per_pass()),
        )?;
        let text = reply(model, tokenizer, &message, policy.as_mut())?;
        writeln!(texts, "| {name} | {} |", text.replace('\n', "⏎"))?;
        if name == "last-active, α = 0.8" {
            for (phase, usage) in [("prompt", prompt), ("response", response)] {
                let shares: Vec<String> = usage
                    .per_layer()
                    .unwrap_or_default()
                    .into_iter()
                    .map(|layer| format!("{:.0}", 100.0 * layer))
                    .collect();
                writeln!(per_layer, "| {phase} | {} |", shares.join(" | "))?;
            }
        }
    }
    let n_layers = model.config().n_layers;
    let numbers: Vec<String> = (0..n_layers).map(|layer| layer.to_string()).collect();
    writeln!(
        out,
        "\n| usage at α = 0.8, % of tokens, by layer | {} |\n|{}\n{per_layer}",
        numbers.join(" | "),
        " --- |".repeat(n_layers + 1)
    )?;
    writeln!(out, "| policy | answer to “{message}” |\n| --- | --- |")?;
    writeln!(out, "{texts}")?;
    Ok(())
}

fn accuracy(cases: &[Case], result: &ExactMatch, set: Set) -> String {
    let groups = count(cases, result, |case| {
        (case.set == set).then(|| set.name().into())
    });
    groups
        .values()
        .next()
        .map_or("–".into(), |&(right, n)| percent(right, n))
}

fn percent(right: usize, n: usize) -> String {
    format!("{:.1} %", 100.0 * right as f64 / n as f64)
}

fn share(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.0} %", 100.0 * share))
}

fn layers(layers: Option<f64>) -> String {
    layers.map_or("–".into(), |layers| format!("{layers:.1}"))
}
