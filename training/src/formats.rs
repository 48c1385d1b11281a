//! Writes the benchmark sets in the file formats of the real ones.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use lac_demo::{Choice, YesNo};

use crate::error::Error;
use crate::questions::SUBJECTS;
use crate::sets::{TwoSteps, choices, two_step_questions, yes_no_questions};
use crate::split::Split;
use crate::world::World;

/// The columns of a GPQA file that carry the question, in the real order; the
/// validators' columns are left out, readers look columns up by name.
pub const GPQA_COLUMNS: [&str; 29] = [
    "Pre-Revision Question",
    "Pre-Revision Correct Answer",
    "Pre-Revision Incorrect Answer 1",
    "Pre-Revision Incorrect Answer 2",
    "Pre-Revision Incorrect Answer 3",
    "Pre-Revision Explanation",
    "Self-reported question-writing time (minutes)",
    "Question",
    "Correct Answer",
    "Incorrect Answer 1",
    "Incorrect Answer 2",
    "Incorrect Answer 3",
    "Explanation",
    "Revision Comments (from Question Writer)",
    "Subdomain",
    "Writer's Difficulty Estimate",
    "Extra Revised Question",
    "Extra Revised Explanation",
    "Extra Revised Correct Answer",
    "Extra Revised Incorrect Answer 1",
    "Extra Revised Incorrect Answer 2",
    "Extra Revised Incorrect Answer 3",
    "Non-Expert Validator Accuracy",
    "Majority Non-Expert Vals Incorrect",
    "Expert Validator Accuracy",
    "Record ID",
    "High-level domain",
    "Question Writer",
    "Canary String",
];

/// Stands in the canary column, so that no one takes the rows for real ones.
pub const CANARY: &str = "synthetic rows of a generated world, not part of GPQA";

/// Writes all three sets below a folder: `mmlu/`, `gpqa/` and `boolq/`.
///
/// # Errors
/// Fails if a file cannot be written.
pub fn write_all(world: &World, folder: &Path) -> Result<(), Error> {
    let names = [
        (Split::Dev, "dev", "dev"),
        (Split::Validation, "val", "validation"),
        (Split::Test, "test", "test"),
    ];
    for (split, short, long) in names {
        let items = choices(world, split);
        for subject in SUBJECTS {
            let rows: Vec<&Choice> = items.iter().filter(|c| c.subject == subject).collect();
            let file = folder.join(format!("mmlu/data/{short}/{subject}_{short}.csv"));
            write(&file, &mmlu_csv(&rows)?)?;
        }
        let file = folder.join(format!("mmlu/all/{long}-00000-of-00001.parquet"));
        write(&file, &mmlu_parquet(&items)?)?;
    }
    let rows = two_step_questions(world);
    write(&folder.join("gpqa/gpqa_diamond.csv"), &gpqa_csv(&rows)?)?;
    for (split, short, long) in [
        (Split::Train, "train", "train"),
        (Split::Test, "dev", "validation"),
    ] {
        let items = yes_no_questions(world, split);
        write(
            &folder.join(format!("boolq/{short}.jsonl")),
            &boolq_jsonl(&items)?,
        )?;
        let file = folder.join(format!("boolq/data/{long}-00000-of-00001.parquet"));
        write(&file, &boolq_parquet(&items)?)?;
    }
    Ok(())
}

/// MMLU's CSV: no header; question, four choices, letter.
///
/// # Errors
/// Fails if a record cannot be written.
pub fn mmlu_csv(items: &[&Choice]) -> Result<Vec<u8>, Error> {
    let mut writer = csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(Vec::new());
    for item in items {
        let letter = item.letter().to_string();
        let record = [&item.question]
            .into_iter()
            .chain(&item.choices)
            .chain([&letter]);
        writer.write_record(record)?;
    }
    finish(writer)
}

/// MMLU's parquet table: question, subject, choices, answer.
///
/// # Errors
/// Fails if the table cannot be built.
pub fn mmlu_parquet(items: &[Choice]) -> Result<Vec<u8>, Error> {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for item in items {
        for choice in &item.choices {
            lists.values().append_value(choice);
        }
        lists.append(true);
    }
    let lists = lists.finish();
    let fields = vec![
        Field::new("question", DataType::Utf8, true),
        Field::new("subject", DataType::Utf8, true),
        Field::new(
            "choices",
            arrow_array::Array::data_type(&lists).clone(),
            true,
        ),
        Field::new("answer", DataType::Int64, true),
    ];
    let columns: Vec<ArrayRef> = vec![
        strings(items.iter().map(|i| i.question.as_str())),
        strings(items.iter().map(|i| i.subject.as_str())),
        Arc::new(lists),
        Arc::new(Int64Array::from_iter_values(
            items.iter().map(|i| i.answer as i64),
        )),
    ];
    table(fields, columns)
}

/// GPQA's CSV: a header with the real column names, synthetic rows.
///
/// # Errors
/// Fails if a record cannot be written.
pub fn gpqa_csv(rows: &[TwoSteps]) -> Result<Vec<u8>, Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(GPQA_COLUMNS)?;
    for (i, row) in rows.iter().enumerate() {
        let item = &row.item;
        let wrong: Vec<&String> = item
            .choices
            .iter()
            .enumerate()
            .filter(|(c, _)| *c != item.answer)
            .map(|(_, w)| w)
            .collect();
        let record = GPQA_COLUMNS.map(|column| match column.trim_start_matches("Pre-Revision ") {
            "Question" => item.question.clone(),
            "Correct Answer" => item.choices[item.answer].clone(),
            "Incorrect Answer 1" => wrong[0].clone(),
            "Incorrect Answer 2" => wrong[1].clone(),
            "Incorrect Answer 3" => wrong[2].clone(),
            "Explanation" => row.explanation.clone(),
            "Record ID" => format!("demo{i:04}"),
            "High-level domain" => item.subject.clone(),
            "Subdomain" => format!("{} (demo)", item.subject),
            "Question Writer" => "generator".into(),
            "Canary String" => CANARY.into(),
            _ => String::new(),
        });
        writer.write_record(&record)?;
    }
    finish(writer)
}

/// BoolQ's JSON lines: question, title, answer, passage.
///
/// # Errors
/// Fails if a line cannot be written.
pub fn boolq_jsonl(items: &[YesNo]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for item in items {
        serde_json::to_writer(&mut out, item)?;
        out.push(b'\n');
    }
    Ok(out)
}

/// BoolQ's parquet table: question, answer, passage.
///
/// # Errors
/// Fails if the table cannot be built.
pub fn boolq_parquet(items: &[YesNo]) -> Result<Vec<u8>, Error> {
    let fields = vec![
        Field::new("question", DataType::Utf8, true),
        Field::new("answer", DataType::Boolean, true),
        Field::new("passage", DataType::Utf8, true),
    ];
    let answers: Vec<bool> = items.iter().map(|i| i.answer).collect();
    let columns: Vec<ArrayRef> = vec![
        strings(items.iter().map(|i| i.question.as_str())),
        Arc::new(BooleanArray::from(answers)),
        strings(items.iter().map(|i| i.passage.as_str())),
    ];
    table(fields, columns)
}

fn strings<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn table(fields: Vec<Field>, columns: Vec<ArrayRef>) -> Result<Vec<u8>, Error> {
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), columns)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        // The library's version does not belong into files that must not change.
        .set_created_by("lac-demo".into())
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

fn finish(writer: csv::Writer<Vec<u8>>) -> Result<Vec<u8>, Error> {
    writer
        .into_inner()
        .map_err(|error| Error::Csv(error.into_error().into()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let fail = |source| Error::File {
        path: path.into(),
        source,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(fail)?;
    }
    fs::write(path, bytes).map_err(fail)
}
