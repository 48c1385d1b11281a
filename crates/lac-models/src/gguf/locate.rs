//! Which GGUF file of a folder is its model.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{GgufError, unreadable};
use super::files::split_numbers;
use crate::file::{self, FileForm};

/// Returns the GGUF file of a folder, the first one of a model that was split; `None` where there is none.
///
/// # Errors
/// [`GgufError::Several`] where there are several models.
pub(crate) fn find_in_folder(folder: &Path) -> Result<Option<PathBuf>, GgufError> {
    let mut names = Vec::new();
    for path in file::paths_in(folder).map_err(unreadable(folder))? {
        let path = path.map_err(unreadable(folder))?;
        let name = path.file_name().and_then(|name| name.to_str());
        names.extend(name.map(str::to_owned));
    }
    let mut models = models(&names);
    match models.len() {
        0 => Ok(None),
        1 => Ok(models.pop_first().map(|name| folder.join(name))),
        _ => Err(GgufError::Several {
            folder: folder.to_owned(),
            names: models.into_iter().collect(),
        }),
    }
}

/// Returns whether a file is in GGUF, by its name or its first bytes.
pub(crate) fn is_gguf(path: &Path) -> bool {
    let begins_so = || {
        let mut start = [0; 4];
        let file = file::open_as(path, FileForm::Gguf);
        file.and_then(|mut file| file.read_exact(&mut start))
            .is_ok()
            && &start == b"GGUF"
    };
    path.extension().is_some_and(|end| end == "gguf") || begins_so()
}

/// Returns the files that are a model each; of a model that was split, the first one.
fn models(names: &[String]) -> BTreeSet<String> {
    let is_model = |name: &&String| {
        // A projector turns pictures into states of another model.
        name.ends_with(".gguf") && !name.starts_with("mmproj")
    };
    names
        .iter()
        .filter(is_model)
        .map(|name| match split_numbers(name) {
            Some((stem, _, count)) => format!("{stem}-00001-of-{count:05}.gguf"),
            None => name.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_model_counts_once_and_projectors_do_not() {
        let check = |names: &[&str], expected: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let found = models(&names);
            assert_eq!(Vec::from_iter(&found), expected);
        };
        check(&["config.json", "a.safetensors"], &[]);
        check(&["a.gguf", "mmproj-a.gguf"], &["a.gguf"]);
        check(
            &["a-00002-of-00002.gguf", "a-00001-of-00002.gguf"],
            &["a-00001-of-00002.gguf"],
        );
        check(&["a.gguf", "b.gguf"], &["a.gguf", "b.gguf"]);
    }
}
