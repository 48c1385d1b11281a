//! Data sets in the local Hugging Face cache. Nothing is downloaded.

use std::env;
use std::path::{Path, PathBuf};

/// Finds the newest snapshot of a data set such as `cais/mmlu` in the local Hugging Face cache
/// (`HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`). `None` if there is none.
pub fn cached_dataset(id: &str) -> Option<PathBuf> {
    let cache = env::var_os("HF_HUB_CACHE")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HF_HOME").map(|home| Path::new(&home).join("hub")))
        .or_else(|| env::home_dir().map(|home| home.join(".cache/huggingface/hub")))?;
    snapshot(&cache, id)
}

fn snapshot(cache: &Path, id: &str) -> Option<PathBuf> {
    let (organisation, name) = id.split_once('/')?;
    if organisation.is_empty() || name.is_empty() || name.contains('/') || id.contains("..") {
        return None;
    }
    let repo = cache.join(format!("datasets--{organisation}--{name}"));
    let snapshots = repo.join("snapshots");
    if let Ok(revision) = std::fs::read_to_string(repo.join("refs/main")) {
        let revision = Path::new(revision.trim());
        let folder = snapshots.join(revision);
        // Only the name of a folder beside the others: a path could lead anywhere.
        if revision.file_name() == Some(revision.as_os_str()) && folder.is_dir() {
            return Some(folder);
        }
    }
    let mut folders: Vec<(std::time::SystemTime, PathBuf)> = std::fs::read_dir(snapshots)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let changed = entry.metadata().ok()?.modified().ok()?;
            entry.path().is_dir().then(|| (changed, entry.path()))
        })
        .collect();
    folders.sort();
    folders.pop().map(|(_, folder)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_found_by_its_id() {
        let cache = tempfile::tempdir().unwrap();
        let repo = cache.path().join("datasets--cais--mmlu");
        let folder = repo.join("snapshots/0123abcd");
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(snapshot(cache.path(), "cais/mmlu"), Some(folder.clone()));
        std::fs::create_dir_all(repo.join("refs")).unwrap();
        std::fs::write(repo.join("refs/main"), "0123abcd\n").unwrap();
        assert_eq!(snapshot(cache.path(), "cais/mmlu"), Some(folder));
        std::fs::write(repo.join("refs/main"), "../refs\n").unwrap();
        let found = snapshot(cache.path(), "cais/mmlu").unwrap();
        assert!(found.ends_with("0123abcd"), "{}", found.display());
        for id in ["cais/other", "mmlu", "a/b/c", "../x"] {
            assert_eq!(snapshot(cache.path(), id), None, "{id}");
        }
    }
}
