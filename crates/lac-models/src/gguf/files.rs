//! A model in GGUF: one file, or all files of one that was split.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lac_kernels::quantized::BlockFormat;

use super::container::Container;
use super::error::GgufError;
use super::metadata::Metadata;
use super::tensor_info::{TensorInfo, is_quantised};
use crate::file::{self, excerpt};

/// A GGUF file with its metadata and the entries of its tensors; all files of a model that was split.
///
/// Opening reads the headers alone and checks them against the files: every entry lies in its file, and no two overlap.
#[derive(Debug)]
pub struct Gguf {
    pub(super) containers: Vec<Container>,
    /// The index of each tensor's file.
    place: BTreeMap<String, usize>,
}

impl Gguf {
    /// Opens a file. Of a model that was split, any of the files may be named, and the others have to lie beside it.
    ///
    /// # Errors
    /// A file that is missing, cut off or malformed; tensors of a type that is not supported; files that do not belong
    /// together.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let container = Container::open(path)?;
        let count = container.metadata.integer("split.count")?.unwrap_or(1);
        let containers = if count > 1 {
            open_all(container, count)?
        } else {
            vec![container]
        };
        let mut place = BTreeMap::new();
        for (container_idx, container) in containers.iter().enumerate() {
            for name in container.tensors.keys() {
                if let Some(other) = place.insert(name.clone(), container_idx) {
                    let other: &Container = &containers[other];
                    return Err(GgufError::Tensor {
                        path: container.path.clone(),
                        name: excerpt(name),
                        problem: format!("stands in {}, too", other.path.display()),
                    });
                }
            }
        }
        let gguf = Self { containers, place };
        gguf.check_count()?;
        Ok(gguf)
    }

    /// Returns the path of the file, or of the first one of several.
    pub fn path(&self) -> &Path {
        self.metadata().path()
    }

    /// Returns the paths of all files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.containers
            .iter()
            .map(|container| container.path.as_path())
    }

    /// Returns the metadata; of several files, that of the first one.
    pub fn metadata(&self) -> &Metadata {
        &self.containers[0].metadata
    }

    /// Returns what the file says of a tensor.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.find(name).map(|(_, info)| info)
    }

    /// Returns all tensors, in the order of their names.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.place
            .iter()
            .map(|(name, &idx)| (name.as_str(), &self.containers[idx].tensors[name]))
    }

    /// Returns how many bytes all tensors have in the files.
    pub fn n_bytes(&self) -> u64 {
        self.tensors().map(|(_, info)| info.n_bytes).sum()
    }

    /// Returns the types of the tensors by name, and how many tensors there are of each.
    pub fn types(&self) -> BTreeMap<String, usize> {
        let mut types = BTreeMap::new();
        for (_, info) in self.tensors() {
            *types.entry(info.format.name().to_owned()).or_default() += 1;
        }
        types
    }

    /// Returns whether a tensor is quantised.
    pub(crate) fn is_quantised(&self) -> bool {
        self.tensors().any(|(_, info)| is_quantised(info.format))
    }

    /// Returns the names of the types of blocks that tensors have, in the order of their numbers.
    pub(crate) fn quantised_types(&self) -> Vec<&'static str> {
        let formats = self.tensors().map(|(_, info)| info.format);
        let formats = formats.filter(|&format| is_quantised(format));
        let formats: BTreeSet<BlockFormat> = formats.collect();
        formats.into_iter().map(BlockFormat::name).collect()
    }

    pub(super) fn find(&self, name: &str) -> Option<(&Container, &TensorInfo)> {
        let container = &self.containers[*self.place.get(name)?];
        Some((container, &container.tensors[name]))
    }

    /// Compares the number of tensors with the one that splitting noted.
    fn check_count(&self) -> Result<(), GgufError> {
        const KEY: &str = "split.tensors.count";
        let n_tensors = self.place.len();
        match self.metadata().integer(KEY)? {
            Some(expected) if self.containers.len() > 1 && expected != n_tensors as u64 => {
                Err(self.metadata().error(
                    KEY,
                    format!(
                        "is {expected}, but the {} files hold {n_tensors}",
                        self.containers.len()
                    ),
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Opens all files of a model that was split, given one that is open already.
fn open_all(open: Container, count: u64) -> Result<Vec<Container>, GgufError> {
    let split = |problem: String| GgufError::Split {
        path: open.path.clone(),
        problem,
    };
    let Some(names) = SplitName::of(&open.path, count) else {
        return Err(split(format!(
            "its metadata's split.count is {count}, expected a name that ends with -00001-of-{count:05}.gguf: keep the \
             names that the model was split with"
        )));
    };
    let mut containers = Vec::new();
    for number in 1..=count {
        let path = names.path(number);
        if !file::is_there(&path) {
            return Err(split(format!(
                "it is one of {count} files, and {} is not beside it",
                path.display()
            )));
        }
        let container = Container::open(&path)?;
        for (key, expected) in [("split.no", number - 1), ("split.count", count)] {
            if container.metadata.integer(key)? != Some(expected) {
                let expected = format!("{expected}, as its name says");
                return Err(container.metadata.invalid(key, &expected));
            }
        }
        containers.push(container);
    }
    Ok(containers)
}

/// The names of the files of a model that was split: `NAME-00001-of-00003.gguf`.
#[derive(Debug, PartialEq, Eq)]
struct SplitName {
    folder: PathBuf,
    stem: String,
    count: u64,
}

impl SplitName {
    /// Returns the names of all files of a model, given the name of one; `None` where it is not the name of one of `count`.
    fn of(path: &Path, count: u64) -> Option<Self> {
        let (stem, _, named) = split_numbers(path.file_name()?.to_str()?)?;
        (named == count).then(|| Self {
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
            stem: stem.to_owned(),
            count,
        })
    }

    fn path(&self, number: u64) -> PathBuf {
        let name = format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count);
        self.folder.join(name)
    }
}

/// Takes a name like `NAME-00001-of-00003.gguf` apart, into `NAME`, 1 and 3.
pub(super) fn split_numbers(name: &str) -> Option<(&str, u64, u64)> {
    let number = |digits: &str| -> Option<u64> {
        let is_number = digits.len() == 5 && digits.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, no) = rest.rsplit_once('-')?;
    Some((stem, number(no)?, number(count)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_split_files() {
        for (name, expected) in [
            ("a-00001-of-00003.gguf", Some(("a", 1, 3))),
            ("a-b-00012-of-00012.gguf", Some(("a-b", 12, 12))),
            ("-00001-of-00002.gguf", Some(("", 1, 2))),
            ("a-1-of-3.gguf", None),
            ("a-00001-of-00003.safetensors", None),
            ("a-0000x-of-00003.gguf", None),
            ("a-00001-of-+0003.gguf", None),
            ("a.gguf", None),
        ] {
            assert_eq!(split_numbers(name), expected, "{name}");
        }
        let names = SplitName::of("f/a-00002-of-00003.gguf".as_ref(), 3).unwrap();
        assert_eq!(names.path(1), Path::new("f/a-00001-of-00003.gguf"));
        assert_eq!(SplitName::of("a-00002-of-00003.gguf".as_ref(), 2), None);
    }
}
