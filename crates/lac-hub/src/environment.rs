//! Environment variables as values, and the expansions that huggingface_hub makes in paths.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// The environment variables of a process and the user's home folder. Everything that depends on them takes this
/// value, so that a test or an embedding program can say what they are.
///
/// A variable that is set to nothing counts as one that is not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    home: Option<PathBuf>,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            home: std::env::home_dir(),
        }
    }

    /// An environment with these variables, in which `~` means `home`.
    pub fn new<N: Into<OsString>, V: Into<OsString>>(
        home: impl Into<PathBuf>,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let variables = variables.into_iter();
        Self {
            variables: variables.map(|(n, v)| (n.into(), v.into())).collect(),
            home: Some(home.into()),
        }
    }

    /// The value of a variable that is set to something.
    pub(crate) fn get(&self, name: &str) -> Option<&OsString> {
        let value = self.variables.get(std::ffi::OsStr::new(name))?;
        (!value.is_empty()).then_some(value)
    }

    /// The value of a variable as text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str()
    }

    /// Whether a variable has one of the spellings of true: 1, on, yes or true, in any case of letters.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        let value = self.text(name).unwrap_or_default().to_ascii_uppercase();
        ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
    }

    /// A path with a leading `~`, then `$NAME` and `${NAME}` replaced. What cannot be replaced stays as it is.
    pub(crate) fn expand(&self, path: &OsString) -> PathBuf {
        // The rules are about text: other paths are taken as they are.
        let Some(text) = path.to_str() else {
            return path.into();
        };
        self.expand_variables(&self.expand_home(text)).into()
    }

    fn expand_home(&self, text: &str) -> String {
        let Some(behind) = text.strip_prefix('~') else {
            return text.to_owned();
        };
        let end = behind.find(['/', std::path::MAIN_SEPARATOR]);
        let (user, rest) = behind.split_at(end.unwrap_or(behind.len()));
        let home = match user {
            "" => self
                .home
                .as_ref()
                .and_then(|home| home.to_str())
                .map(str::to_owned),
            user => home_of(user),
        };
        match home {
            Some(home) if home.trim_end_matches('/').is_empty() && rest.is_empty() => {
                "/".to_owned()
            }
            Some(home) => format!("{}{rest}", home.trim_end_matches('/')),
            None => text.to_owned(),
        }
    }

    fn expand_variables(&self, text: &str) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            expanded.push_str(&rest[..at]);
            rest = &rest[at..];
            let (name, len) = variable_name(rest);
            // A variable that is set to nothing is replaced by nothing.
            let value = name.and_then(|name| self.variables.get(std::ffi::OsStr::new(name)));
            match value.and_then(|value| value.to_str()) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&rest[..len]),
            }
            rest = &rest[len..];
        }
        expanded + rest
    }
}

/// Another user's home folder, on systems that list their users in a file.
#[cfg(unix)]
fn home_of(user: &str) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let entry = users.lines().map(fields).find(|fields| fields[0] == user)?;
    entry.into_iter().nth(5)
}

#[cfg(not(unix))]
fn home_of(_user: &str) -> Option<String> {
    None
}

/// The name behind the dollar that a text begins with, and the length of both.
fn variable_name(text: &str) -> (Option<&str>, usize) {
    let behind = &text[1..];
    if let Some(braced) = behind.strip_prefix('{') {
        return match braced.find('}') {
            Some(end) => (Some(&braced[..end]), end + 3),
            None => (None, 1),
        };
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = behind.find(|c| !is_name(c)).unwrap_or(behind.len());
    ((end > 0).then_some(&behind[..end]), end + 1)
}
