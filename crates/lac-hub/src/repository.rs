//! What a repository on the hub is called.

use std::fmt;

use crate::error::HubError;

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RepositoryKind {
    /// A model.
    Model,
    /// A data set.
    DataSet,
}

impl RepositoryKind {
    /// What the repository's folder in the cache begins with.
    fn folder_prefix(self) -> &'static str {
        match self {
            RepositoryKind::Model => "models",
            RepositoryKind::DataSet => "datasets",
        }
    }
}

/// A repository on the hub, and the revision of it that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Repository {
    kind: RepositoryKind,
    id: String,
    revision: Option<String>,
}

impl Repository {
    /// Reads `organisation/name`, or `name` alone as early repositories have it, each with `@revision` behind it where
    /// another revision than `main` is wanted: a branch, a tag, or a commit hash, also its beginning. A web address on
    /// `huggingface.co` or `hf.co` and `hf://organisation/name` say the same.
    ///
    /// # Errors
    /// [`HubError::InvalidId`] for what huggingface_hub takes for no name.
    pub fn parse(kind: RepositoryKind, text: &str) -> Result<Self, HubError> {
        let invalid = |reason: &str| HubError::InvalidId {
            id: text.to_owned(),
            reason: reason.to_owned(),
        };
        let named = text
            .strip_prefix("https://huggingface.co/")
            .or_else(|| text.strip_prefix("https://hf.co/"))
            .or_else(|| text.strip_prefix("hf://"));
        let prefix = format!("{}/", kind.folder_prefix());
        let plain = named.map(|id| id.strip_prefix(&prefix).unwrap_or(id));
        let plain = plain.map_or(text, |id| id.trim_end_matches('/'));
        let (id, revision) = match (plain.split_once('@'), plain.split_once("/tree/")) {
            (Some((id, revision)), _) => (id, Some(revision)),
            (None, Some((id, revision))) => (id, Some(revision)),
            (None, None) => (plain, None),
        };
        check_id(id).map_err(invalid)?;
        if let Some(revision) = revision {
            check_revision(revision).map_err(invalid)?;
        }
        Ok(Self {
            kind,
            id: id.to_owned(),
            revision: revision.map(str::to_owned),
        })
    }

    /// What it holds.
    pub fn kind(&self) -> RepositoryKind {
        self.kind
    }

    /// `organisation/name`, or `name`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The branch, tag or commit that was asked for.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// The name of the repository's folder in the cache, such as `models--organisation--name`.
    pub fn folder_name(&self) -> String {
        let name = self.id.replace('/', "--");
        format!("{}--{name}", self.kind.folder_prefix())
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            None => f.write_str(&self.id),
            Some(revision) => write!(f, "{}@{revision}", self.id),
        }
    }
}

/// huggingface_hub's rules for names.
fn check_id(id: &str) -> Result<(), &'static str> {
    const MAX_LEN: usize = 96;
    if id.is_empty() || id.len() > MAX_LEN {
        return Err("a name has 1 to 96 characters");
    }
    if id.split('/').count() > 2 {
        return Err("expected organisation/name");
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    for part in id.split('/') {
        if part.is_empty() || !part.chars().all(is_allowed) {
            return Err("a name consists of letters, digits, -, _ and .");
        }
    }
    if id.starts_with(['-', '.']) || id.ends_with(['-', '.']) || id.contains("/.") {
        return Err("a name neither begins nor ends with - or .");
    }
    if id.contains("--") || id.contains("..") {
        return Err("a name has neither -- nor .. in it");
    }
    if id.ends_with(".git") {
        return Err("a name does not end with .git");
    }
    Ok(())
}

/// A revision becomes a path in the cache, which must not lead out of it.
fn check_revision(revision: &str) -> Result<(), &'static str> {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if revision.split('/').all(is_plain) && !revision.contains(['\\', ':', '\0']) {
        Ok(())
    } else {
        Err("expected a branch, a tag or a commit behind the @")
    }
}
