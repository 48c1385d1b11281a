//! GPQA: one CSV file, whose columns are found by name.

use std::path::{Path, PathBuf};

use super::spec::{
    BenchmarkSpec, DataFile, ErrorPooling, HarnessTaskSpec, OptionOrder, Questions, SolvedExamples,
    Split, StoredTexts, no_category, no_description,
};
use crate::error::{Error, Result};
use crate::item::{Content, ItemNamer};
use crate::protocol::Protocol;
use crate::question::{ItemWords, OptionKind, ShownItem};
use crate::table::rows;
use crate::words::{Passages, letter_options, usual_words};

pub(super) const BENCHMARK: BenchmarkSpec = BenchmarkSpec {
    name: "gpqa",
    load,
    option_order: OptionOrder::Balanced,
    protocols: Protocol::ALL,
    // Its authors ask that the questions appear nowhere in plain text.
    stored_texts: StoredTexts::Nothing,
    standard_error: ErrorPooling::Together,
    category: no_category,
};

/// The harness's `gpqa_diamond_zeroshot`.
pub(super) const ZEROSHOT: HarnessTaskSpec = HarnessTaskSpec {
    name: "gpqa_zeroshot",
    flag: "gpqa-zeroshot",
    about: "gpqa_diamond_zeroshot",
    examples: SolvedExamples::Missing,
    description: no_description,
    words: |shown, passages| {
        words(
            shown,
            passages,
            "What is the correct answer to this question:",
        )
    },
};

/// The harness's `gpqa_diamond_n_shot`.
pub(super) const N_SHOT: HarnessTaskSpec = HarnessTaskSpec {
    name: "gpqa_n_shot",
    flag: "gpqa-n-shot",
    about: "gpqa_diamond_n_shot without examples",
    examples: SolvedExamples::Missing,
    description: |_| {
        Some(
            "Here are some example questions from experts. Answer the final question yourself, \
             following the format of the previous questions exactly.\n"
                .to_owned(),
        )
    },
    words: |shown, passages| words(shown, passages, "Question: "),
};

/// Puts a question into words that begin with `lead`. Options are answered by `(A)` and so on.
fn words(shown: &ShownItem<'_>, passages: Passages, lead: &str) -> ItemWords {
    let Content::Choices { question, .. } = &shown.item.content else {
        return usual_words(shown, passages);
    };
    let choices: Vec<String> = shown.choices().into_iter().map(cleaned).collect();
    let choices: Vec<&str> = choices.iter().map(String::as_str).collect();
    let mut options = letter_options(&choices);
    let mut lines = Vec::new();
    for option in &mut options {
        option.continuation = format!("({})", option.continuation);
        lines.push(format!("{} {}", option.continuation, option.text));
    }
    ItemWords {
        text: format!("{lead}{question}\nChoices:\n{}\nAnswer:", lines.join("\n")),
        options,
        kind: OptionKind::Letters,
    }
}

/// Cleans a choice as the harness does. It does not clean the questions.
fn cleaned(choice: &str) -> String {
    choice.trim().replace(" [title]", ". ").replace("  ", " ")
}

const FILE_NAME: &str = "gpqa_diamond.csv";

/// Keeps the choices as `[correct, incorrect 1, incorrect 2, incorrect 3]`: the file has no order.
/// [`OptionOrders`](crate::prompt::OptionOrders) says in which order they are shown.
fn load(path: &Path, _split: Split) -> Result<Questions> {
    let file = file(path)?;
    let mut namer = ItemNamer::default();
    let items = rows(&file)?
        .into_iter()
        .map(|row| {
            let mut choices = vec![row.text("Correct Answer")?];
            for n in 1..=3 {
                choices.push(row.text(&format!("Incorrect Answer {n}"))?);
            }
            let subject = match row.cell("High-level domain").and_then(|cell| cell.as_str()) {
                Some(domain) if !domain.trim().is_empty() => domain.trim().to_owned(),
                _ => "gpqa".to_owned(),
            };
            let content = Content::Choices {
                question: row.text("Question")?,
                choices,
                answer: 0,
            };
            Ok(namer.item(subject, content))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Questions {
        files: vec![DataFile {
            path: file,
            n_rows: items.len(),
        }],
        items,
        ..Questions::default()
    })
}

fn file(path: &Path) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    ["", "dataset", "simple-evals"]
        .iter()
        .map(|folder| path.join(folder).join(FILE_NAME))
        .find(|file| file.is_file())
        .ok_or_else(|| Error::NotFound {
            path: path.to_owned(),
            reason: format!(
                "expected {FILE_NAME} (name the file itself for gpqa_main or gpqa_extended)"
            ),
        })
}
