//! Which GGUF files of a repository are meant by the name of a type or of a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::files::split_numbers;

/// Returns the GGUF files that `choice` means among the paths of a repository: one file, or all files of a model that
/// was split, the first one first.
///
/// `choice` is a file's name, or a type such as `Q4_K_M`, with which a name ends; upper and lower case are the same. Without a
/// choice there has to be one model only.
///
/// # Errors
/// No model is meant, or several are: the message says which there are.
///
/// ```
/// use lac_models::gguf::select_files;
///
/// let paths = ["README.md", "m-Q4_K_M.gguf", "m-Q8_0.gguf"];
/// assert_eq!(select_files(paths, Some("q8_0"))?, ["m-Q8_0.gguf"]);
/// let error = select_files(paths, None).unwrap_err();
/// assert!(error.contains("m-Q4_K_M.gguf, m-Q8_0.gguf"));
/// # Ok::<(), String>(())
/// ```
pub fn select_files<'a>(
    paths: impl IntoIterator<Item = &'a str>,
    choice: Option<&str>,
) -> Result<Vec<String>, String> {
    let models = models(paths);
    let names = || {
        let names: Vec<&str> = models.values().map(|files| files[0]).collect();
        names.join(", ")
    };
    if models.is_empty() {
        return Err("it holds no GGUF file".to_owned());
    }
    let is_meant = |stem: &str, files: &[&str]| match choice {
        None => true,
        Some(choice) => {
            let is_named = |path: &&str| *path == choice || file_name(path) == choice;
            files.iter().any(is_named) || ends_with_type(file_name(stem), choice)
        }
    };
    let meant: Vec<&Vec<&str>> = models
        .iter()
        .filter(|(stem, files)| is_meant(stem, files))
        .map(|(_, files)| files)
        .collect();
    match (&meant[..], choice) {
        ([files], _) => Ok(files.iter().map(|path| (*path).to_owned()).collect()),
        ([], choice) => Err(format!(
            "it holds no GGUF file of the type {}: expected one of {}",
            choice.unwrap_or_default(),
            names()
        )),
        (_, None) => Err(format!(
            "it holds several models in GGUF: name a type or a file behind a colon, one of {}",
            names()
        )),
        (_, Some(choice)) => Err(format!(
            "it holds several GGUF files of the type {choice}: name one behind the colon, one of {}",
            names()
        )),
    }
}

/// Returns the path of the GGUF file of a folder, or of a folder in it, that `choice` means; the first one of a model that
/// was split.
///
/// # Errors
/// Those of [`select_files`].
pub fn find_file(folder: &Path, choice: Option<&str>) -> Result<PathBuf, String> {
    let paths = paths_in(folder);
    let files = select_files(paths.iter().map(String::as_str), choice)?;
    Ok(folder.join(files.first().map_or("", String::as_str)))
}

/// Returns whether a folder, or a folder in it, has a GGUF file.
pub fn holds_files(folder: &Path) -> bool {
    !paths_in(folder).is_empty()
}

/// Returns the files that a folder lacks of the model that `choice` means; a pattern where it has none of them. Without a
/// choice, a folder of several models lacks nothing.
pub fn missing_files(folder: &Path, choice: Option<&str>) -> Vec<String> {
    let paths = paths_in(folder);
    if choice.is_none() && models(paths.iter().map(String::as_str)).len() > 1 {
        return Vec::new();
    }
    let Ok(files) = select_files(paths.iter().map(String::as_str), choice) else {
        return vec![match choice {
            Some(file) if file.ends_with(".gguf") => file.to_owned(),
            Some(name) => format!("*{name}.gguf"),
            None => "*.gguf".to_owned(),
        }];
    };
    let Some((stem, _, count)) = files.first().and_then(|first| split_numbers(first)) else {
        return Vec::new();
    };
    let of_split = (1..=count).map(|number| format!("{stem}-{number:05}-of-{count:05}.gguf"));
    of_split
        .filter(|path| !folder.join(path).exists())
        .collect()
}

/// Returns the GGUF files of a folder and of the folders in it, by their paths in it. Links that lead nowhere are left
/// out.
fn paths_in(folder: &Path) -> Vec<String> {
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok())
    };
    let mut paths = Vec::new();
    for name in names(folder) {
        let path = folder.join(&name);
        if path.is_dir() {
            let inside = names(&path).map(|inner| format!("{name}/{inner}"));
            paths.extend(inside.filter(|path| folder.join(path).is_file()));
        } else if path.is_file() {
            paths.push(name);
        }
    }
    paths.retain(|path| path.ends_with(".gguf"));
    paths
}

/// Returns the files of each model by what their names begin with.
fn models<'a>(paths: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, Vec<&'a str>> {
    let mut models: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for path in paths {
        let name = file_name(path);
        // A projector turns pictures into states of another model; a matrix of importance is none.
        if !name.ends_with(".gguf") || name.starts_with("mmproj") || name.contains("imatrix") {
            continue;
        }
        let stem = match split_numbers(path) {
            Some((stem, _, count)) => format!("{stem} of {count}"),
            None => path.to_owned(),
        };
        models.entry(stem).or_default().push(path);
    }
    for files in models.values_mut() {
        files.sort_unstable();
    }
    models
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns whether a name ends with a type: behind a sign that is neither a letter nor a digit.
fn ends_with_type(name: &str, choice: &str) -> bool {
    if choice.is_empty() {
        return false;
    }
    let stem = name.strip_suffix(".gguf").unwrap_or(name);
    let stem = stem.rsplit_once(" of ").map_or(stem, |(stem, _)| stem);
    let Some(start) = stem.len().checked_sub(choice.len()) else {
        return false;
    };
    let Some((before, end)) = stem.split_at_checked(start) else {
        return false;
    };
    let is_apart = before
        .chars()
        .next_back()
        .is_none_or(|sign| !sign.is_alphanumeric());
    end.eq_ignore_ascii_case(choice) && is_apart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_names_mean_files() {
        let paths = [
            "README.md",
            "config.json",
            "m-BF16.gguf",
            "m-F16.gguf",
            "m-Q4_K_M.gguf",
            "m.Q8_0.gguf",
            "mmproj-m-F16.gguf",
            "big/m-Q2_K-00002-of-00002.gguf",
            "big/m-Q2_K-00001-of-00002.gguf",
        ];
        for (choice, expected) in [
            ("Q4_K_M", &["m-Q4_K_M.gguf"][..]),
            ("q4_k_m", &["m-Q4_K_M.gguf"]),
            ("F16", &["m-F16.gguf"]),
            ("Q8_0", &["m.Q8_0.gguf"]),
            ("m-F16.gguf", &["m-F16.gguf"]),
            (
                "Q2_K",
                &[
                    "big/m-Q2_K-00001-of-00002.gguf",
                    "big/m-Q2_K-00002-of-00002.gguf",
                ],
            ),
            (
                "big/m-Q2_K-00002-of-00002.gguf",
                &[
                    "big/m-Q2_K-00001-of-00002.gguf",
                    "big/m-Q2_K-00002-of-00002.gguf",
                ],
            ),
        ] {
            assert_eq!(
                select_files(paths, Some(choice)).unwrap(),
                expected,
                "{choice}"
            );
        }
        for (paths, choice, part) in [
            (&paths[..], Some("Q5_0"), "no GGUF file of the type Q5_0"),
            (&paths[..], Some(""), "no GGUF file"),
            (&paths[..], None, "several models"),
            (&paths[..2], None, "no GGUF file"),
            (
                &["a-Q4_0.gguf", "b-Q4_0.gguf"],
                Some("Q4_0"),
                "several GGUF files of the type Q4_0",
            ),
        ] {
            let error = select_files(paths.iter().copied(), choice).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(
            select_files(["a.gguf", "mmproj.gguf"], None).unwrap(),
            ["a.gguf"]
        );
    }
    #[test]
    fn what_a_folder_lacks() {
        let folder = tempfile::TempDir::new().unwrap();
        let check = |choice: Option<&str>, expected: &[&str]| {
            assert_eq!(missing_files(folder.path(), choice), expected, "{choice:?}");
        };
        let add = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        check(None, &["*.gguf"]);
        check(Some("Q4_0"), &["*Q4_0.gguf"]);
        check(Some("m.gguf"), &["m.gguf"]);
        add("m-Q4_0.gguf");
        check(None, &[]);
        check(Some("Q4_0"), &[]);
        add("big/m-Q8_0-00001-of-00003.gguf");
        check(
            Some("Q8_0"),
            &[
                "big/m-Q8_0-00002-of-00003.gguf",
                "big/m-Q8_0-00003-of-00003.gguf",
            ],
        );
        check(None, &[]);
        let found = find_file(folder.path(), Some("q4_0")).unwrap();
        assert_eq!(found, folder.path().join("m-Q4_0.gguf"));
    }
}
