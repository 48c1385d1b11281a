//! MMLU: the parquet files of `cais/mmlu`, or the CSV folders of its authors.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::spec::{
    BenchmarkSpec, DataFile, ErrorPooling, HarnessTaskSpec, OptionOrder, Questions, SolvedExamples,
    Split, StoredTexts,
};
use crate::error::{Error, Result};
use crate::excerpt::excerpt;
use crate::item::{Content, Item, ItemNamer};
use crate::protocol::Protocol;
use crate::question::{ItemWords, OptionKind, ShownItem};
use crate::table::files::{files_ending, parquet_files};
use crate::table::row::DataRow;
use crate::table::{bare_records, rows};
use crate::words::{Passages, text_options, usual_words};

pub(super) const BENCHMARK: BenchmarkSpec = BenchmarkSpec {
    name: "mmlu",
    load,
    option_order: OptionOrder::AsInFile,
    protocols: Protocol::ALL,
    stored_texts: StoredTexts::Answers,
    // Every subject is a task of the harness.
    standard_error: ErrorPooling::BySubject,
    category,
};

/// The harness's `mmlu`.
pub(super) const LETTERS: HarnessTaskSpec = HarnessTaskSpec {
    name: "mmlu",
    flag: "mmlu",
    about: "mmlu: the letters are scored",
    examples: SolvedExamples::PerSubject,
    description: |subject| {
        Some(format!(
            "The following are multiple choice questions (with answers) about {subject}.\n\n"
        ))
    },
    words: usual_words,
};

/// The harness's `mmlu_continuation`.
pub(super) const CONTINUATION: HarnessTaskSpec = HarnessTaskSpec {
    name: "mmlu_continuation",
    flag: "mmlu-continuation",
    about: "mmlu_continuation: the texts of the choices are scored",
    examples: SolvedExamples::PerSubject,
    description: |subject| {
        Some(format!(
            "The following are questions (with answers) about {subject}.\n\n"
        ))
    },
    words: continuation_words,
};

fn continuation_words(shown: &ShownItem<'_>, passages: Passages) -> ItemWords {
    let Content::Choices { question, .. } = &shown.item.content else {
        return usual_words(shown, passages);
    };
    ItemWords {
        text: format!("Question: {}\nAnswer:", question.trim()),
        options: text_options(&shown.choices()),
        kind: OptionKind::Letters,
    }
}

/// How the files name the right choice.
const ANSWER_LETTERS: [&str; 4] = ["A", "B", "C", "D"];

fn load(path: &Path, split: Split) -> Result<Questions> {
    let long = match split {
        Split::Test => "test",
        Split::Validation => "validation",
    };
    let (files, examples) = if path.is_file() {
        (vec![path.to_owned()], Vec::new())
    } else {
        (split_files(path, long)?, split_files(path, "dev")?)
    };
    if files.is_empty() {
        return Err(Error::NotFound {
            path: path.to_owned(),
            reason: format!(
                "expected all/{long}-*.parquet, SUBJECT/{long}-*.parquet or SUBJECT_{long}.csv in \
                 {long}/ or data/{long}/"
            ),
        });
    }
    let mut questions = Questions::default();
    let mut namer = ItemNamer::default();
    for path in files {
        let n_before = questions.items.len();
        read_into(&path, &mut namer, &mut questions.items)?;
        let n_rows = questions.items.len() - n_before;
        questions.files.push(DataFile { path, n_rows });
    }
    let (mut solved, mut namer) = (Vec::new(), ItemNamer::default());
    for path in examples {
        read_into(&path, &mut namer, &mut solved)?;
    }
    for item in solved {
        let subject = item.subject.clone();
        let examples = questions.examples.entry(subject).or_default();
        examples.push(item);
    }
    Ok(questions)
}

/// Finds the files of a split in the first layout that has some.
fn split_files(folder: &Path, long: &str) -> Result<Vec<PathBuf>> {
    for place in [folder.join("all"), folder.to_owned()] {
        let files = parquet_files(&place, long)?;
        if !files.is_empty() {
            return Ok(files);
        }
    }
    // `cais/mmlu` says validation where the authors' files say val.
    let short = if long == "validation" { "val" } else { long };
    for place in [
        folder.join("data").join(short),
        folder.join(short),
        folder.to_owned(),
    ] {
        let files = files_ending(&place, &format!("_{short}.csv"))?;
        if !files.is_empty() {
            return Ok(files);
        }
    }
    let mut files = Vec::new();
    let read = |source| Error::Read {
        file: folder.to_owned(),
        source,
    };
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let subject = entry.map_err(read)?.path();
        if subject
            .file_name()
            .is_some_and(|name| name != "auxiliary_train")
        {
            files.extend(parquet_files(&subject, long)?);
        }
    }
    files.sort();
    Ok(files)
}

fn read_into(file: &Path, namer: &mut ItemNamer, items: &mut Vec<Item>) -> Result<()> {
    if file.extension().is_some_and(|end| end == "csv") {
        return read_csv(file, namer, items);
    }
    for row in rows(file)? {
        let subject = match row.cell("subject") {
            Some(_) => row.text("subject")?,
            // Files of one subject may leave the column out; then the folder names it.
            None => file
                .parent()
                .and_then(Path::file_name)
                .map(|name| name.to_string_lossy().into_owned())
                .ok_or_else(|| row.no_column("subject"))?,
        };
        let content = Content::Choices {
            question: row.text("question")?,
            choices: choices(&row)?,
            answer: answer(&row)?,
        };
        items.push(namer.item(subject, content));
    }
    Ok(())
}

fn choices(row: &DataRow<'_>) -> Result<Vec<String>> {
    let cell = row
        .cell("choices")
        .ok_or_else(|| row.no_column("choices"))?;
    let text = |choice: &Value| choice.as_str().map(String::from);
    let texts: Option<Vec<String>> = cell
        .as_array()
        .and_then(|list| list.iter().map(text).collect());
    match texts {
        Some(texts) if texts.len() == ANSWER_LETTERS.len() => Ok(texts),
        _ => Err(row.unexpected("choices", cell, "four texts")),
    }
}

fn answer(row: &DataRow<'_>) -> Result<usize> {
    let cell = row.cell("answer").ok_or_else(|| row.no_column("answer"))?;
    let index = match cell {
        Value::Number(number) => number.as_u64().map(|index| index as usize),
        Value::String(letter) => ANSWER_LETTERS.iter().position(|known| known == letter),
        _ => None,
    };
    index
        .filter(|&index| index < ANSWER_LETTERS.len())
        .ok_or_else(|| row.unexpected("answer", cell, "0 to 3 or A to D"))
}

/// Reads a file of the authors, which has no header: question, four choices, letter.
fn read_csv(file: &Path, namer: &mut ItemNamer, items: &mut Vec<Item>) -> Result<()> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let subject = ["_test", "_val", "_dev"]
        .iter()
        .find_map(|end| stem.strip_suffix(end))
        .unwrap_or(&stem)
        .to_owned();
    for (i, cells) in bare_records(file, 6)?.into_iter().enumerate() {
        let fail = |reason: String| Error::Row {
            file: file.to_owned(),
            row: i + 1,
            reason,
        };
        if cells[0].trim().is_empty() {
            return Err(fail("the question is empty".to_owned()));
        }
        let letter = cells[5].trim();
        let answer = ANSWER_LETTERS
            .iter()
            .position(|known| *known == letter)
            .ok_or_else(|| {
                fail(format!(
                    "the answer is {:?}, expected A, B, C or D",
                    excerpt(letter)
                ))
            })?;
        let content = Content::Choices {
            question: cells[0].clone(),
            choices: cells[1..5].to_vec(),
            answer,
        };
        items.push(namer.item(subject.clone(), content));
    }
    Ok(())
}

/// Returns the category of a subject, as MMLU's authors group them; `None` for other subjects.
fn category(subject: &str) -> Option<&'static str> {
    const HUMANITIES: &[&str] = &[
        "formal_logic",
        "high_school_european_history",
        "high_school_us_history",
        "high_school_world_history",
        "international_law",
        "jurisprudence",
        "logical_fallacies",
        "moral_disputes",
        "moral_scenarios",
        "philosophy",
        "prehistory",
        "professional_law",
        "world_religions",
    ];
    const SOCIAL_SCIENCES: &[&str] = &[
        "econometrics",
        "high_school_geography",
        "high_school_government_and_politics",
        "high_school_macroeconomics",
        "high_school_microeconomics",
        "high_school_psychology",
        "human_sexuality",
        "professional_psychology",
        "public_relations",
        "security_studies",
        "sociology",
        "us_foreign_policy",
    ];
    const OTHER: &[&str] = &[
        "business_ethics",
        "clinical_knowledge",
        "college_medicine",
        "global_facts",
        "human_aging",
        "management",
        "marketing",
        "medical_genetics",
        "miscellaneous",
        "nutrition",
        "professional_accounting",
        "professional_medicine",
        "virology",
    ];
    const STEM: &[&str] = &[
        "abstract_algebra",
        "anatomy",
        "astronomy",
        "college_biology",
        "college_chemistry",
        "college_computer_science",
        "college_mathematics",
        "college_physics",
        "computer_security",
        "conceptual_physics",
        "electrical_engineering",
        "elementary_mathematics",
        "high_school_biology",
        "high_school_chemistry",
        "high_school_computer_science",
        "high_school_mathematics",
        "high_school_physics",
        "high_school_statistics",
        "machine_learning",
    ];
    let groups = [
        ("humanities", HUMANITIES),
        ("other", OTHER),
        ("social sciences", SOCIAL_SCIENCES),
        ("stem", STEM),
    ];
    groups
        .iter()
        .find(|(_, subjects)| subjects.contains(&subject))
        .map(|(name, _)| *name)
}
