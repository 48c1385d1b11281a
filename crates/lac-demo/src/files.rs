//! The embedded files.

use std::fs;
use std::path::Path;

use crate::error::Error;

/// A file: its path below the folder it belongs to, and its contents.
pub type File = (&'static str, &'static [u8]);

#[cfg(any(feature = "model", feature = "sets"))]
macro_rules! files {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../assets/", $folder, "/", $path)) as &[u8])),*]
    };
}

/// Returns the trained model's files: a folder in Hugging Face layout.
#[cfg(feature = "model")]
pub fn model_files() -> &'static [File] {
    files!("model":
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    )
}

/// Returns the benchmark files. Below `mmlu/`, `gpqa/` and `boolq/` they have the paths of the real
/// ones.
#[cfg(feature = "sets")]
pub fn set_files() -> &'static [File] {
    files!("sets":
        "mmlu/data/dev/addition_dev.csv",
        "mmlu/data/dev/categories_dev.csv",
        "mmlu/data/dev/comparison_dev.csv",
        "mmlu/data/dev/jobs_dev.csv",
        "mmlu/data/dev/ordering_dev.csv",
        "mmlu/data/dev/pets_dev.csv",
        "mmlu/data/dev/reading_dev.csv",
        "mmlu/data/dev/towns_dev.csv",
        "mmlu/data/val/addition_val.csv",
        "mmlu/data/val/categories_val.csv",
        "mmlu/data/val/comparison_val.csv",
        "mmlu/data/val/jobs_val.csv",
        "mmlu/data/val/ordering_val.csv",
        "mmlu/data/val/pets_val.csv",
        "mmlu/data/val/reading_val.csv",
        "mmlu/data/val/towns_val.csv",
        "mmlu/data/test/addition_test.csv",
        "mmlu/data/test/categories_test.csv",
        "mmlu/data/test/comparison_test.csv",
        "mmlu/data/test/jobs_test.csv",
        "mmlu/data/test/ordering_test.csv",
        "mmlu/data/test/pets_test.csv",
        "mmlu/data/test/reading_test.csv",
        "mmlu/data/test/towns_test.csv",
        "mmlu/all/dev-00000-of-00001.parquet",
        "mmlu/all/validation-00000-of-00001.parquet",
        "mmlu/all/test-00000-of-00001.parquet",
        "gpqa/gpqa_diamond.csv",
        "boolq/train.jsonl",
        "boolq/dev.jsonl",
        "boolq/data/train-00000-of-00001.parquet",
        "boolq/data/validation-00000-of-00001.parquet",
    )
}

/// Writes files below a folder, for programs that expect them on disk. A file that already has the
/// right contents is not written again.
///
/// # Errors
/// [`Error::Write`] if a file cannot be written; earlier files stay.
pub fn unpack(files: &[File], folder: &Path) -> Result<(), Error> {
    for (path, bytes) in files {
        let path = folder.join(path);
        let fail = |source| Error::Write {
            path: path.clone(),
            source,
        };
        if fs::read(&path).is_ok_and(|found| found == *bytes) {
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(fail)?;
        }
        fs::write(&path, bytes).map_err(fail)?;
    }
    Ok(())
}
