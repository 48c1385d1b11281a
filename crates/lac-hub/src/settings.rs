//! Where the hub cache lies, whether the hub may be asked, and as whom.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::environment::Environment;

/// What the environment says of the hub, read as huggingface_hub reads it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubSettings {
    /// The cache that downloads go to: `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `hub` in `HF_HOME`, else
    /// `huggingface/hub` in `XDG_CACHE_HOME`, else `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// Caches that are looked into after that one: those of transformers before its version 5, `TRANSFORMERS_CACHE`,
    /// `PYTORCH_TRANSFORMERS_CACHE` and `PYTORCH_PRETRAINED_BERT_CACHE`.
    pub older_caches: Vec<PathBuf>,
    /// The variable that forbids to ask the hub: `HF_HUB_OFFLINE`, or `TRANSFORMERS_OFFLINE` where that one is not set.
    pub offline: Option<&'static str>,
    /// The hub's address, without a slash at its end: `HF_ENDPOINT`, else `https://huggingface.co`.
    pub endpoint: String,
    /// The user's token: `HF_TOKEN`, else `HUGGING_FACE_HUB_TOKEN`, else the file `HF_TOKEN_PATH`, else `token` in
    /// `HF_HOME`; `None` with `HF_HUB_DISABLE_IMPLICIT_TOKEN`. Never printed.
    pub token: Option<String>,
    /// How long the hub has for its first answer: `HF_HUB_ETAG_TIMEOUT` in seconds, else 10 seconds.
    pub timeout: Duration,
    /// Whether downloads show how far they are: not with `HF_HUB_DISABLE_PROGRESS_BARS`.
    pub shows_progress: bool,
}

impl HubSettings {
    /// Reads the settings from an environment, and the token from its file.
    pub fn from_environment(environment: &Environment) -> Self {
        let home = home(environment);
        let cache = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"]
            .iter()
            .find_map(|name| environment.get(name))
            .map_or_else(|| home.join("hub"), |path| environment.expand(path));
        let older_names = [
            "TRANSFORMERS_CACHE",
            "PYTORCH_TRANSFORMERS_CACHE",
            "PYTORCH_PRETRAINED_BERT_CACHE",
        ];
        let older_caches = older_names.iter().filter_map(|name| environment.get(name));
        Self {
            older_caches: older_caches
                .map(|path| environment.expand(path))
                .filter(|path| *path != cache)
                .collect(),
            cache,
            offline: offline(environment),
            endpoint: endpoint(environment),
            token: token(environment, &home),
            timeout: timeout(environment),
            shows_progress: !environment.is_true("HF_HUB_DISABLE_PROGRESS_BARS"),
        }
    }

    /// All caches, in the order in which they are looked into.
    pub(crate) fn caches(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.cache)
            .chain(&self.older_caches)
            .map(PathBuf::as_path)
    }
}

impl fmt::Debug for HubSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubSettings")
            .field("cache", &self.cache)
            .field("older_caches", &self.older_caches)
            .field("offline", &self.offline)
            .field("endpoint", &self.endpoint)
            .field("has_token", &self.token.is_some())
            .field("timeout", &self.timeout)
            .field("shows_progress", &self.shows_progress)
            .finish()
    }
}

/// `HF_HOME`, else `huggingface` in `XDG_CACHE_HOME`, else `~/.cache/huggingface`.
fn home(environment: &Environment) -> PathBuf {
    if let Some(home) = environment.get("HF_HOME") {
        return environment.expand(home);
    }
    let in_caches = match environment.get("XDG_CACHE_HOME") {
        Some(caches) => PathBuf::from(caches).join("huggingface"),
        None => PathBuf::from("~/.cache/huggingface"),
    };
    environment.expand(&in_caches.into_os_string())
}

fn offline(environment: &Environment) -> Option<&'static str> {
    // The first one that is set decides, also where it says no.
    let name = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
        .into_iter()
        .find(|name| environment.get(name).is_some())?;
    environment.is_true(name).then_some(name)
}

fn endpoint(environment: &Environment) -> String {
    if environment.is_true("HUGGINGFACE_CO_STAGING") {
        return "https://hub-ci.huggingface.co".to_owned();
    }
    let endpoint = environment.text("HF_ENDPOINT");
    let endpoint = endpoint.unwrap_or("https://huggingface.co");
    endpoint.trim_end_matches('/').to_owned()
}

fn token(environment: &Environment, home: &Path) -> Option<String> {
    if environment.is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return None;
    }
    let variable = environment
        .text("HF_TOKEN")
        .or_else(|| environment.text("HUGGING_FACE_HUB_TOKEN"));
    variable.and_then(clean_token).or_else(|| {
        let path = environment.get("HF_TOKEN_PATH");
        let path = path.map_or_else(|| home.join("token"), |path| environment.expand(path));
        clean_token(&read_token(&path)?)
    })
}

/// A token may have line ends in it where it was pasted.
fn clean_token(token: &str) -> Option<String> {
    let token = token.replace(['\r', '\n'], "");
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

/// Reads the beginning of a regular file: a token is short, and a pipe would be waited on.
fn read_token(path: &Path) -> Option<String> {
    const MAX_BYTES: u64 = 1 << 14;
    fs::metadata(path).ok()?.is_file().then_some(())?;
    let mut text = String::new();
    let file = fs::File::open(path).ok()?;
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

fn timeout(environment: &Environment) -> Duration {
    const DEFAULT: Duration = Duration::from_secs(10);
    let seconds = environment.text("HF_HUB_ETAG_TIMEOUT");
    let seconds = seconds.and_then(|seconds| seconds.trim().parse().ok());
    match seconds {
        None | Some(0) => DEFAULT,
        Some(seconds) => Duration::from_secs(seconds),
    }
}
