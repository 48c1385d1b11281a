//! Why a `config.json` cannot be used.

use std::path::PathBuf;

/// Why a `config.json` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a JSON object.
    #[error("{} is not a JSON object: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The parser's message.
        reason: String,
    },
    /// A field is missing.
    #[error("{}: the field {field} is missing, expected {expected}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is expected in its place.
        expected: &'static str,
    },
    /// A field has a value of the wrong kind or outside its range.
    #[error("{}: the field {field} is {value}, expected {expected}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// The value in the file.
        value: String,
        /// What is expected in its place.
        expected: String,
    },
    /// A field asks for something that would change the result and is not supported.
    #[error("{}: the field {field} is {value}, which is not supported: {supported}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// The value in the file.
        value: String,
        /// What is supported.
        supported: String,
    },
    /// The weights are quantised in a way that cannot be computed with.
    #[error("{}: {field} says that the weights were quantised by {method}, which is not supported: {instead}", path.display())]
    Quantized {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What quantised them.
        method: String,
        /// What to use in their place.
        instead: &'static str,
    },
    /// Several fields cannot be used.
    #[error("{}; nor can these fields be used as they are: {}", problems[0], names(&problems[1..]))]
    Several {
        /// Why each of them cannot be used, two or more.
        problems: Vec<ConfigError>,
    },
    /// Fields that are not known were to be refused.
    #[error(
        "{}: nothing is known of the fields {}: remove those that change no result, or leave out --strict",
        path.display(),
        excerpts(fields)
    )]
    UnknownFields {
        /// The file.
        path: PathBuf,
        /// The fields.
        fields: Vec<String>,
    },
    /// Sizes that are possible one by one, but together make a model larger than any.
    #[error(
        "{}: {fields} together make {n_parameters} parameters, expected at most {MAX_PARAMETERS}",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The fields.
        fields: &'static str,
        /// Number of parameters.
        n_parameters: u64,
    },
}

impl ConfigError {
    /// Makes one error of one or more; `None` where there is none.
    pub(super) fn of(mut problems: Vec<ConfigError>) -> Option<ConfigError> {
        match problems.len() {
            0 | 1 => problems.pop(),
            _ => Some(ConfigError::Several { problems }),
        }
    }

    /// Returns the field that the error is about.
    fn field(&self) -> &str {
        match self {
            ConfigError::Missing { field, .. }
            | ConfigError::Invalid { field, .. }
            | ConfigError::Unsupported { field, .. }
            | ConfigError::Quantized { field, .. } => field,
            ConfigError::TooLarge { fields, .. } => fields,
            _ => "others",
        }
    }
}

fn names(problems: &[ConfigError]) -> String {
    let fields = problems.iter().map(ConfigError::field);
    excerpts(&fields.map(str::to_owned).collect::<Vec<_>>())
}

/// Lists names of fields, the first of many, for a message.
pub(super) fn excerpts(fields: &[String]) -> String {
    const MOST: usize = 16;
    const MAX_CHARS: usize = 60;
    let shown = fields.iter().take(MOST).map(|field| {
        let mut shown: String = field.chars().take(MAX_CHARS).collect();
        if shown.len() < field.len() {
            shown.push('…');
        }
        shown
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if fields.len() > MOST {
        text.push_str(&format!(" and {} more", fields.len() - MOST));
    }
    text
}

/// More parameters than any model has. Their bytes can still be counted in 64 bits.
pub(super) const MAX_PARAMETERS: u64 = 1 << 50;
