//! `lac bench --prompts`: policies beside plain generation, on real texts.

use std::fmt::Write;

use anyhow::{Context, Result};
use lac_core::{
    CausalLm, GenerateArgs, GenerationConfig, Off, generate,
    generation::GenerationOutput,
    speculation::{SpeculateArgs, SpeculationStats, generate_speculative},
};
use lac_models::Tokenizer;
use serde::Serialize;

use super::mode::Mode;
use crate::interrupt;
use crate::progress;
use crate::speculation::SpeculationReport;

/// What is continued, and how.
pub struct Texts {
    prompts: Vec<Vec<u32>>,
    config: GenerationConfig,
}

/// One policy on all texts, against plain generation of the same texts.
#[derive(Serialize)]
pub struct TextsCase {
    dtype: String,
    policy: String,
    texts: usize,
    prompt_tokens: usize,
    /// New tokens of all texts, once.
    new_tokens: usize,
    /// New tokens a second, the prompts' passes left out: the median over the texts of each one's median over the repeats.
    decode: Option<f64>,
    /// The speed over that of plain generation in the same repeat, each text's median over the repeats.
    speed_up: Option<Quartiles>,
    /// Texts that are not the full model's, token for token.
    different: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    speculation: Option<SpeculationReport>,
}

/// Where the texts' numbers lie.
#[derive(Serialize)]
struct Quartiles {
    lower: f64,
    median: f64,
    upper: f64,
}

/// The runs of a policy: for each text, the repeats' tokens a second.
struct TextRuns {
    mode: Mode,
    speeds: Vec<Vec<Option<f64>>>,
    ids: Vec<Vec<u32>>,
    stats: SpeculationStats,
}

impl Texts {
    pub fn new(prompts: Vec<Vec<u32>>, new_tokens: usize, tokenizer: &Tokenizer) -> Self {
        let config = GenerationConfig::greedy(new_tokens).with_stop_tokens(tokenizer.stop_ids());
        Self { prompts, config }
    }

    /// Returns the number of tokens of the longest prompt.
    pub fn longest(&self) -> usize {
        self.prompts.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Continues every text under every mode, in turns and in changing order. Plain generation comes first of the cases.
    pub fn measure(
        &self,
        model: &impl CausalLm,
        modes: Vec<Mode>,
        repeats: u32,
        dtype: &str,
    ) -> Result<Vec<TextsCase>> {
        let plain = Mode::Policy(Box::new(Off));
        let mut cases: Vec<TextRuns> = std::iter::once(plain)
            .chain(modes)
            .map(|mode| TextRuns {
                mode,
                speeds: vec![Vec::new(); self.prompts.len()],
                ids: Vec::new(),
                stats: SpeculationStats::default(),
            })
            .collect();
        let n_runs = cases.len() * (self.prompts.len() * repeats as usize + 1);
        let bar = progress::counting("measuring", n_runs);
        for case in &mut cases {
            // The warm-up.
            self.generate(model, &self.prompts[0], &mut case.mode)?;
            bar.inc(1);
        }
        for repeat in 0..repeats as usize {
            for (text, prompt) in self.prompts.iter().enumerate() {
                interrupt::check().context("nothing is reported of runs that were not all made")?;
                let n_cases = cases.len();
                for turn in 0..n_cases {
                    let case = &mut cases[(turn + repeat + text) % n_cases];
                    let (output, stats) = self.generate(model, prompt, &mut case.mode)?;
                    case.add(text, repeat, output, &stats);
                    bar.inc(1);
                }
            }
        }
        bar.finish_and_clear();
        let plain = cases.remove(0);
        let plain_case = plain.report(&plain, self, dtype);
        let mut reports: Vec<TextsCase> = cases
            .iter()
            .map(|case| case.report(&plain, self, dtype))
            .collect();
        reports.insert(0, plain_case);
        Ok(reports)
    }

    fn generate(
        &self,
        model: &impl CausalLm,
        prompt: &[u32],
        mode: &mut Mode,
    ) -> Result<(GenerationOutput, SpeculationStats)> {
        let prompts = [prompt.to_vec()];
        Ok(match mode {
            Mode::Policy(policy) => {
                let args = GenerateArgs::new(policy.as_mut());
                let output = generate(model, &prompts, &self.config, args)?;
                (output, SpeculationStats::default())
            }
            Mode::Speculation(speculator) => {
                let args = SpeculateArgs::new(speculator);
                let output = generate_speculative(model, &prompts, &self.config, args)?;
                (output.generation, output.stats)
            }
        })
    }
}

impl TextRuns {
    fn add(
        &mut self,
        text: usize,
        repeat: usize,
        output: GenerationOutput,
        stats: &SpeculationStats,
    ) {
        let ids = output.rows.into_iter().next().map(|row| row.ids);
        let ids = ids.unwrap_or_default();
        let seconds = output.decode_time.as_secs_f64();
        // The first token comes out of the prompt's pass.
        let n_decoded = ids.len().saturating_sub(1);
        let speed = (n_decoded > 0 && seconds > 0.0).then(|| n_decoded as f64 / seconds);
        self.speeds[text].push(speed);
        if repeat == 0 {
            self.ids.push(ids);
        }
        self.stats.merge(stats);
    }

    fn report(&self, plain: &Self, texts: &Texts, dtype: &str) -> TextsCase {
        let medians = self.speeds.iter().filter_map(|speeds| {
            let speeds: Option<Vec<f64>> = speeds.iter().copied().collect();
            median(speeds?)
        });
        let ratios = self
            .speeds
            .iter()
            .zip(&plain.speeds)
            .filter_map(|(own, plain)| {
                let pairs = own.iter().zip(plain);
                let ratios: Option<Vec<f64>> = pairs
                    .map(|(own, plain)| Some((*own)? / (*plain)?))
                    .collect();
                median(ratios?)
            });
        let different = self
            .ids
            .iter()
            .zip(&plain.ids)
            .filter(|(own, plain)| own != plain);
        TextsCase {
            dtype: dtype.to_owned(),
            policy: self.mode.name().to_owned(),
            texts: texts.prompts.len(),
            prompt_tokens: texts.prompts.iter().map(Vec::len).sum(),
            new_tokens: self.ids.iter().map(Vec::len).sum(),
            decode: median(medians.collect()),
            speed_up: Quartiles::of(ratios.collect()),
            different: different.count(),
            speculation: match &self.mode {
                Mode::Policy(_) => None,
                Mode::Speculation(speculator) => {
                    Some(SpeculationReport::new(self.stats.clone(), speculator))
                }
            },
        }
    }
}

impl Quartiles {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            let (low, high) = (place.floor() as usize, place.ceil() as usize);
            values[low] + (values[high] - values[low]) * place.fract()
        };
        (!values.is_empty()).then(|| Self {
            lower: at(0.25),
            median: at(0.5),
            upper: at(0.75),
        })
    }
}

fn median(values: Vec<f64>) -> Option<f64> {
    Quartiles::of(values).map(|quartiles| quartiles.median)
}

/// Writes the cases as a table, and below it what drafted.
pub fn markdown(cases: &[TextsCase], title: &str) -> String {
    let mut text = format!(
        "{title}\n\n| dtype | policy | texts | prompt tokens | new tokens | decode, tokens/s | against plain: median, \
         quartiles | different texts |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n"
    );
    for case in cases {
        let number =
            |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.1}"));
        let speed_up = case.speed_up.as_ref().map_or("–".to_owned(), |ratio| {
            format!(
                "{:.2}, {:.2} to {:.2}",
                ratio.median, ratio.lower, ratio.upper
            )
        });
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            case.dtype,
            case.policy,
            case.texts,
            case.prompt_tokens,
            case.new_tokens,
            number(case.decode),
            speed_up,
            case.different
        );
    }
    for case in cases {
        if let Some(speculation) = &case.speculation {
            let report = speculation.to_string();
            let _ = writeln!(
                text,
                "\n{}, {}\n{}",
                case.dtype,
                case.policy,
                report.trim_end()
            );
        }
    }
    text
}

/// What all cases of a call have in common.
#[derive(Serialize)]
pub struct TextsReport {
    pub model: String,
    pub device: String,
    pub threads: Option<usize>,
    pub repeats: u32,
    pub cases: Vec<TextsCase>,
}

impl TextsReport {
    pub fn title(&self, prompts: &std::path::Path) -> String {
        let threads = self
            .threads
            .map_or_else(String::new, |n_threads| format!(", {n_threads} threads"));
        format!(
            "{}: {}{threads}; the prompts of {}, medians of {}",
            self.model,
            self.device,
            prompts.display(),
            self.repeats
        )
    }
}
