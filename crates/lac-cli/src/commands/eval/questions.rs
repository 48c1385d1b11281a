//! Which questions are asked, and how.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, bail};
use clap::Args;
use lac_eval::data::{Content, Shard, Split};
use lac_eval::released_code::Quirk;
use lac_eval::run::StoredTexts;
use lac_eval::settings::Passages;
use lac_eval::{Benchmark, DataSet, HarnessTask, ItemSelection, PromptSettings, Protocol};

use crate::numbers::whole;
use crate::one_of::{one_of, one_of_explained};
use crate::out_file::Named;

/// Options that name the questions.
#[derive(Args)]
#[command(next_help_heading = "Benchmark")]
pub struct DataArgs {
    /// The benchmark; samples are prompts that lm-evaluation-harness wrote with --log_samples
    #[arg(long, value_parser = one_of(Benchmark::ALL, Benchmark::name))]
    benchmark: Benchmark,
    /// A file, a folder, an id in the local Hugging Face cache (cais/mmlu, google/boolq,
    /// Idavidrein/gpqa), or demo for the sets that lac carries
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Ask the validation split in place of the one that is reported
    #[arg(long)]
    validation: bool,
    /// Ask these subjects only
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    subjects: Vec<String>,
    /// At most this many questions: a random choice that is the same everywhere
    #[arg(long, value_name = "N", value_parser = whole(0..=usize::MAX))]
    limit: Option<usize>,
    /// One part of several, counted from 0: 0/4, 1/4, 2/4, 3/4
    #[arg(long, value_name = "I/N")]
    shard: Option<ShardArg>,
}

#[derive(Clone, Copy)]
struct ShardArg(Shard);

impl FromStr for ShardArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("{text:?} is not a shard: expected I/N with I from 0 to N less one");
        let (index, count) = text.split_once('/').ok_or_else(expected)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| expected());
        let (index, count) = (number(index)?, number(count)?);
        if index >= count {
            return Err(expected());
        }
        Ok(Self(Shard { index, count }))
    }
}

impl DataArgs {
    /// Returns where the questions are read from.
    pub fn place(&self) -> Named<'_> {
        ("--data", &self.data)
    }

    pub fn load(&self) -> Result<DataSet> {
        let split = if self.validation {
            Split::Validation
        } else {
            Split::Test
        };
        if self.data == Path::new("demo") {
            return embedded(self.benchmark, split);
        }
        Ok(DataSet::load(self.benchmark, &self.data, split)?)
    }

    pub fn selection(&self) -> ItemSelection {
        ItemSelection {
            subjects: self.subjects.clone(),
            limit: self.limit,
            shard: self.shard.map(|ShardArg(shard)| shard),
        }
    }
}

#[cfg(feature = "demo")]
fn embedded(benchmark: Benchmark, split: Split) -> Result<DataSet> {
    use anyhow::Context;

    let folder = tempfile::TempDir::new().context("--data demo: cannot make a temporary folder")?;
    lac_demo::unpack(lac_demo::set_files(), folder.path()).context("--data demo")?;
    let place = folder.path().join(benchmark.name());
    Ok(DataSet::load(benchmark, &place, split)?)
}

#[cfg(not(feature = "demo"))]
fn embedded(_: Benchmark, _: Split) -> Result<DataSet> {
    bail!("--data demo: this lac was compiled without demo; name a file or a folder");
}

/// Options that say how questions are asked.
#[derive(Args)]
#[command(next_help_heading = "Protocol")]
pub struct PromptArgs {
    /// How questions are asked and scored
    #[arg(
        long,
        value_parser = one_of_explained(Protocol::ALL, Protocol::name, explain_protocol),
        default_value = Protocol::LmEval.name(),
    )]
    protocol: Protocol,
    /// A task of lm-evaluation-harness other than the benchmark's usual one
    #[arg(
        long,
        value_parser = one_of_explained(HarnessTask::ALL, HarnessTask::flag, |task| Some(task.about())),
    )]
    harness_task: Option<HarnessTask>,
    /// Solved examples before each question (MMLU under lm-eval)
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole(0..=usize::MAX))]
    few_shot: usize,
    /// Put the prompt through the chat template under lm-eval, as --apply_chat_template does there
    #[arg(long)]
    chat: bool,
    /// How BoolQ's passages begin; lm-eval has them with their titles where the file has titles
    #[arg(long, value_parser = one_of(Passages::ALL, Passages::name))]
    passages: Option<Passages>,
    /// A defect of the released code to reproduce under paper: correct-is-d,
    /// question-under-options, double-bos, first-token-lost, no-seed, and two that make answers depend on --batch-size:
    /// batch-threshold, padding-attended; may be given several times
    #[arg(long, value_name = "NAME")]
    quirk: Vec<Quirk>,
    /// At most this many new tokens (paper: 50, generative: 64)
    #[arg(long, value_name = "N", value_parser = whole(0..=usize::MAX))]
    max_new_tokens: Option<usize>,
    /// Seed of the draws under paper
    #[arg(long, default_value_t = 0, value_parser = whole(0..=u64::MAX))]
    seed: u64,
    /// What results hold besides numbers (gpqa: nothing, others: answers)
    #[arg(long, value_parser = one_of(StoredTexts::ALL, StoredTexts::name))]
    store_texts: Option<StoredTexts>,
}

impl PromptArgs {
    pub fn settings(&self, data: &DataSet) -> Result<PromptSettings> {
        let has_titles = data
            .items
            .iter()
            .all(|item| matches!(&item.content, Content::YesNo { title: Some(_), .. }));
        if self.passages == Some(Passages::WithTitle) && !has_titles {
            bail!(
                "--passages with-title: the file has no field for titles; Google's jsonl has one"
            );
        }
        let mut settings = match self.protocol {
            Protocol::Paper => PromptSettings::paper(self.seed),
            Protocol::Generative => PromptSettings::generative(),
            Protocol::LmEval => {
                let usual = HarnessTask::of(data.benchmark);
                PromptSettings::lm_eval(self.harness_task.unwrap_or(usual), self.few_shot)
            }
            other => bail!("--protocol {other}: this program does not know the protocol"),
        };
        if self.protocol != Protocol::LmEval {
            if self.harness_task.is_some() || self.few_shot > 0 || self.chat {
                bail!("--harness-task, --few-shot and --chat belong to --protocol lm-eval");
            }
        } else if self.max_new_tokens.is_some() {
            bail!("--max-new-tokens: nothing is generated under --protocol lm-eval");
        }
        settings.chat |= self.chat;
        let mut quirks = self.quirk.clone();
        quirks.sort();
        quirks.dedup();
        settings.quirks = quirks.into_iter().collect();
        if let Some(max_new_tokens) = self.max_new_tokens {
            settings.max_new_tokens = Some(max_new_tokens);
        }
        if let Some(sampling) = &mut settings.sampling {
            settings.quirks.reseed(sampling);
        }
        settings.passages = match (self.passages, settings.protocol) {
            (Some(passages), _) => passages,
            (None, Protocol::LmEval) if has_titles => Passages::WithTitle,
            (None, _) => Passages::AsInFile,
        };
        settings.validate(data.benchmark)?;
        Ok(settings)
    }

    pub fn stored_texts(&self, benchmark: Benchmark) -> StoredTexts {
        self.store_texts.unwrap_or(benchmark.stored_texts())
    }
}

fn explain_protocol(protocol: Protocol) -> Option<&'static str> {
    match protocol {
        Protocol::Paper => Some(
            "The released code's prompts; drawn at temperature 0.6 and top-p 0.9; found in the text",
        ),
        Protocol::LmEval => Some("lm-evaluation-harness: log-likelihoods of the options"),
        Protocol::Generative => Some("A greedy answer in the chat format, found in the text"),
        _ => None,
    }
}
