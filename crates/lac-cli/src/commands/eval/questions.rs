//! Which questions are asked, and how.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use lac_eval::data::{Content, Shard, Split};
use lac_eval::released_code::Quirk;
use lac_eval::run::StoredTexts;
use lac_eval::settings::Passages;
use lac_eval::{Benchmark, DataSet, HarnessTask, PromptSettings, Protocol, Selection};

/// Which questions.
#[derive(Args)]
#[command(next_help_heading = "Benchmark")]
pub struct DataArgs {
    /// The benchmark; samples are prompts that lm-evaluation-harness wrote with --log_samples
    #[arg(long, value_enum)]
    benchmark: BenchmarkArg,
    /// A file, a folder, an id in the local Hugging Face cache (cais/mmlu, google/boolq,
    /// Idavidrein/gpqa), or demo for the sets that lac carries
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Ask the validation split in place of the one that is reported
    #[arg(long)]
    validation: bool,
    /// These subjects only
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    subjects: Vec<String>,
    /// At most this many questions: a random choice that is the same everywhere
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// One part of several, counted from 0: 0/4, 1/4, 2/4, 3/4
    #[arg(long, value_name = "I/N")]
    shard: Option<ShardArg>,
}

#[derive(Clone, Copy, ValueEnum)]
enum BenchmarkArg {
    Mmlu,
    Gpqa,
    Boolq,
    Samples,
}

#[derive(Clone, Copy)]
struct ShardArg(Shard);

impl FromStr for ShardArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("{text:?} is no shard: expected I/N with I from 0 to N less one");
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
    pub fn load(&self) -> Result<DataSet> {
        let benchmark = match self.benchmark {
            BenchmarkArg::Mmlu => Benchmark::Mmlu,
            BenchmarkArg::Gpqa => Benchmark::Gpqa,
            BenchmarkArg::Boolq => Benchmark::Boolq,
            BenchmarkArg::Samples => Benchmark::Samples,
        };
        let split = if self.validation {
            Split::Validation
        } else {
            Split::Test
        };
        if self.data == Path::new("demo") {
            return embedded(benchmark, split);
        }
        Ok(DataSet::load(benchmark, &self.data, split)?)
    }

    pub fn selection(&self) -> Selection {
        Selection {
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

/// How they are asked.
#[derive(Args)]
#[command(next_help_heading = "Protocol")]
pub struct PromptArgs {
    /// How questions are asked and scored
    #[arg(long, value_enum, default_value_t = ProtocolArg::LmEval)]
    protocol: ProtocolArg,
    /// A task of lm-evaluation-harness other than the benchmark's usual one
    #[arg(long, value_enum)]
    harness_task: Option<HarnessTaskArg>,
    /// Solved examples before each question (MMLU under lm-eval)
    #[arg(long, value_name = "N", default_value_t = 0)]
    few_shot: usize,
    /// Put the prompt through the chat template under lm-eval, as --apply_chat_template does there
    #[arg(long)]
    chat: bool,
    /// How BoolQ's passages begin; lm-eval has them with their titles where the file has titles
    #[arg(long, value_enum)]
    passages: Option<PassagesArg>,
    /// A defect of the released code to reproduce under paper: correct-is-d,
    /// question-under-options, double-bos, first-token-lost, no-seed, and two that make answers depend on --batch-size:
    /// batch-threshold, padding-attended; may be given several times
    #[arg(long, value_name = "NAME")]
    quirk: Vec<Quirk>,
    /// At most this many new tokens (paper: 50, generative: 64)
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    /// Seed of the draws under paper
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What results hold besides numbers (gpqa: nothing, others: answers)
    #[arg(long, value_enum)]
    store_texts: Option<StoreArg>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProtocolArg {
    /// The released code's prompts; drawn at temperature 0.6 and top-p 0.9; found in the text
    Paper,
    /// lm-evaluation-harness: log-likelihoods of the options
    LmEval,
    /// A greedy answer in the chat format, found in the text
    Generative,
}

#[derive(Clone, Copy, ValueEnum)]
enum HarnessTaskArg {
    /// mmlu: the letters are scored
    Mmlu,
    /// mmlu_continuation: the texts of the choices are scored
    MmluContinuation,
    /// gpqa_diamond_zeroshot
    GpqaZeroshot,
    /// gpqa_diamond_n_shot without examples
    GpqaNShot,
    /// boolq
    Boolq,
}

#[derive(Clone, Copy, ValueEnum)]
enum PassagesArg {
    AsInFile,
    WithTitle,
}

#[derive(Clone, Copy, ValueEnum)]
enum StoreArg {
    Nothing,
    Answers,
    PromptsAndAnswers,
}

impl PromptArgs {
    pub fn settings(&self, data: &DataSet) -> Result<PromptSettings> {
        let has_titles = data
            .items
            .iter()
            .all(|item| matches!(&item.content, Content::YesNo { title: Some(_), .. }));
        if matches!(self.passages, Some(PassagesArg::WithTitle)) && !has_titles {
            bail!("--passages with-title: the file has no titles apart; Google's jsonl has");
        }
        let mut settings = match self.protocol {
            ProtocolArg::Paper => PromptSettings::paper(self.seed),
            ProtocolArg::Generative => PromptSettings::generative(),
            ProtocolArg::LmEval => {
                let task = match self.harness_task {
                    None => HarnessTask::of(data.benchmark),
                    Some(HarnessTaskArg::Mmlu) => HarnessTask::Mmlu,
                    Some(HarnessTaskArg::MmluContinuation) => HarnessTask::MmluContinuation,
                    Some(HarnessTaskArg::GpqaZeroshot) => HarnessTask::GpqaZeroshot,
                    Some(HarnessTaskArg::GpqaNShot) => HarnessTask::GpqaNShot,
                    Some(HarnessTaskArg::Boolq) => HarnessTask::Boolq,
                };
                PromptSettings::lm_eval(task, self.few_shot)
            }
        };
        if self.protocol != ProtocolArg::LmEval {
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
            (Some(PassagesArg::AsInFile), _) => Passages::AsInFile,
            (Some(PassagesArg::WithTitle), _) => Passages::WithTitle,
            (None, Protocol::LmEval) if has_titles => Passages::WithTitle,
            (None, _) => Passages::AsInFile,
        };
        settings.validate(data.benchmark)?;
        Ok(settings)
    }

    pub fn stored_texts(&self, benchmark: Benchmark) -> StoredTexts {
        match self.store_texts {
            Some(StoreArg::Nothing) => StoredTexts::Nothing,
            Some(StoreArg::Answers) => StoredTexts::Answers,
            Some(StoreArg::PromptsAndAnswers) => StoredTexts::PromptsAndAnswers,
            None => benchmark.stored_texts(),
        }
    }
}
