//! `generation_config.json`: how a folder's model is meant to choose its tokens.

use std::io;
use std::path::{Path, PathBuf};

use lac_core::generation::{LogitsProcessors, SamplingConfig};
use serde_json::{Map, Value};

use crate::architecture::ConfigError;
use crate::file::{self, excerpt};

const OWN: &str = "generation_config.json";
const MODEL: &str = "config.json";

/// How a model is meant to choose its tokens: `generation_config.json`, or the same fields of `config.json` where older
/// folders have no such file, as in transformers' `generate`; the keys `general.sampling.*` of a GGUF file.
///
/// ```
/// use lac_models::generation_defaults::GenerationDefaults;
///
/// let text = r#"{"do_sample": true, "temperature": 0.7, "repetition_penalty": 1.1, "num_beams": 4}"#;
/// let defaults = GenerationDefaults::from_json(text, "generation_config.json".as_ref())?;
/// assert_eq!(defaults.sampling.map(|sampling| sampling.temperature), Some(0.7));
/// assert_eq!(defaults.processors.repetition_penalty, 1.1);
/// assert_eq!(defaults.not_used, ["num_beams 4"]);
/// # Ok::<(), lac_models::architecture::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct GenerationDefaults {
    /// The file that says so; `None` where no file says anything.
    pub path: Option<PathBuf>,
    /// How tokens are drawn, with the seed 0; `None` where the most probable token is meant (`do_sample` is false or
    /// absent).
    pub sampling: Option<SamplingConfig>,
    /// The temperature and bounds of draws, for callers that draw where the file does not ask for it.
    pub draws: DrawDefaults,
    /// What changes the logits, in greedy text too.
    pub processors: LogitsProcessors,
    /// Settings that would change a text in transformers, or in llama.cpp, and are not supported, with their values.
    pub not_used: Vec<String>,
}

/// A file's temperature and bounds of draws; `None` for those that it leaves out or sets so that they change nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DrawDefaults {
    /// The logits are divided by this.
    pub temperature: Option<f32>,
    /// Draws are from this many of the most probable tokens.
    pub top_k: Option<usize>,
    /// Draws are from the most probable tokens that share this mass.
    pub top_p: Option<f32>,
    /// Draws are from tokens at least this many times as probable as the most probable one.
    pub min_p: Option<f32>,
}

/// Settings of transformers that change a text and are not supported, with the JSON of a value that changes nothing.
/// Null, false and an absent field change nothing either.
const NOT_USED: &[(&str, &str)] = &[
    ("num_beams", "1"),
    ("num_beam_groups", "1"),
    ("diversity_penalty", "0.0"),
    ("length_penalty", "1.0"),
    ("penalty_alpha", "0.0"),
    ("typical_p", "1.0"),
    ("epsilon_cutoff", "0.0"),
    ("eta_cutoff", "0.0"),
    ("top_h", "1.0"),
    ("guidance_scale", "1.0"),
    ("encoder_repetition_penalty", "1.0"),
    ("encoder_no_repeat_ngram_size", "0"),
    ("min_length", "0"),
    ("sequence_bias", "null"),
    ("force_words_ids", "null"),
    ("constraints", "null"),
    ("forced_bos_token_id", "null"),
    ("forced_eos_token_id", "null"),
    ("forced_decoder_ids", "null"),
    ("exponential_decay_length_penalty", "null"),
    ("stop_strings", "null"),
    ("watermarking_config", "null"),
    ("dola_layers", "null"),
    ("token_healing", "false"),
];

impl GenerationDefaults {
    /// Reads what a folder says. A folder without these files, or whose files are silent, means greedy text.
    ///
    /// # Errors
    /// A file that cannot be read, is not a JSON object or has a setting of the wrong kind.
    pub fn from_folder(folder: &Path) -> Result<Self, ConfigError> {
        for name in [OWN, MODEL] {
            let path = folder.join(name);
            match file::read_to_string(&path) {
                Ok(text) => return Self::from_json(&text, &path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(ConfigError::Unreadable { path, source }),
            }
        }
        Ok(Self::default())
    }

    /// Reads the text of a file; `path` stands in errors.
    ///
    /// # Errors
    /// As [`from_folder`](Self::from_folder).
    pub fn from_json(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let malformed = |reason: String| ConfigError::Malformed {
            path: path.to_owned(),
            reason,
        };
        let object = match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err(malformed("it holds another kind of value".to_owned())),
            Err(error) => return Err(malformed(excerpt(&error.to_string()))),
        };
        let fields = Fields { object, path };
        let draws = DrawDefaults {
            temperature: fields.number("temperature", 1.0)?,
            // 0 keeps all tokens.
            top_k: fields.count("top_k")?.filter(|&top_k| top_k > 0),
            top_p: fields.number("top_p", 1.0)?,
            min_p: fields.number("min_p", 0.0)?,
        };
        let sampling = if fields.flag("do_sample")? {
            Some(fields.sampling(draws)?)
        } else {
            None
        };
        let mut processors = LogitsProcessors::default();
        if let Some(penalty) = fields.number("repetition_penalty", 1.0)? {
            if penalty <= 0.0 {
                return Err(fields.invalid("repetition_penalty", "a number above 0"));
            }
            processors.repetition_penalty = penalty;
        }
        processors.no_repeat_ngram_size = fields.count("no_repeat_ngram_size")?.unwrap_or(0);
        processors.min_new_tokens = fields.count("min_new_tokens")?.unwrap_or(0);
        processors.suppressed = fields.ids("suppress_tokens")?;
        processors.suppressed_at_begin = fields.ids("begin_suppress_tokens")?;
        processors.bad_words = fields.sequences("bad_words_ids")?;
        Ok(Self {
            path: Some(path.to_owned()),
            sampling,
            draws,
            processors,
            not_used: fields.not_used(),
        })
    }
}

struct Fields<'a> {
    object: Map<String, Value>,
    path: &'a Path,
}

impl Fields<'_> {
    /// A field that is there and not null.
    fn get(&self, field: &str) -> Option<&Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    fn invalid(&self, field: &str, expected: &str) -> ConfigError {
        ConfigError::Invalid {
            path: self.path.to_owned(),
            field: field.to_owned(),
            value: excerpt(
                &self
                    .object
                    .get(field)
                    .map_or(String::new(), Value::to_string),
            ),
            expected: expected.to_owned(),
        }
    }

    fn flag(&self, field: &str) -> Result<bool, ConfigError> {
        match self.get(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.invalid(field, "true or false")),
        }
    }

    /// A finite number; `None` for one that changes nothing.
    fn number(&self, field: &str, neutral: f32) -> Result<Option<f32>, ConfigError> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        match value.as_f64().map(|number| number as f32) {
            Some(number) if number.is_finite() => Ok(Some(number).filter(|n| *n != neutral)),
            _ => Err(self.invalid(field, "a number")),
        }
    }

    fn count(&self, field: &str) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        match value.as_u64().and_then(|count| usize::try_from(count).ok()) {
            Some(count) => Ok(Some(count)),
            None => Err(self.invalid(field, "a whole number")),
        }
    }

    fn ids(&self, field: &str) -> Result<Vec<u32>, ConfigError> {
        let Some(value) = self.get(field) else {
            return Ok(Vec::new());
        };
        ids(value).ok_or_else(|| self.invalid(field, "a list of token ids"))
    }

    fn sequences(&self, field: &str) -> Result<Vec<Vec<u32>>, ConfigError> {
        let Some(value) = self.get(field) else {
            return Ok(Vec::new());
        };
        let lists = value.as_array().map(|lists| lists.iter().map(ids));
        lists
            .and_then(Iterator::collect)
            .ok_or_else(|| self.invalid(field, "a list of lists of token ids"))
    }

    /// The draws that the file asks for, which have to be possible.
    fn sampling(&self, draws: DrawDefaults) -> Result<SamplingConfig, ConfigError> {
        let temperature = draws.temperature.unwrap_or(1.0);
        if temperature <= 0.0 {
            let expected = "a number above 0, since do_sample is true";
            return Err(self.invalid("temperature", expected));
        }
        for (field, share) in [("top_p", draws.top_p), ("min_p", draws.min_p)] {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                return Err(self.invalid(field, "a number from 0 to 1"));
            }
        }
        Ok(SamplingConfig::new(temperature, 0)
            .with_top_k(draws.top_k)
            .with_top_p(draws.top_p)
            .with_min_p(draws.min_p))
    }

    fn not_used(&self) -> Vec<String> {
        let changes = |value: &Value, neutral: &str| {
            let neutral: Value = serde_json::from_str(neutral).unwrap_or(Value::Null);
            let is_neutral = match (value.as_f64(), neutral.as_f64()) {
                (Some(value), Some(neutral)) => value == neutral,
                _ => *value == neutral,
            };
            !is_neutral && *value != Value::Bool(false)
        };
        NOT_USED
            .iter()
            .filter_map(|(field, neutral)| {
                let value = self.get(field)?;
                changes(value, neutral).then(|| format!("{field} {}", excerpt(&value.to_string())))
            })
            .collect()
    }
}

fn ids(value: &Value) -> Option<Vec<u32>> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    value.as_array()?.iter().map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<GenerationDefaults, String> {
        GenerationDefaults::from_json(text, OWN.as_ref()).map_err(|error| error.to_string())
    }

    #[test]
    fn published_files_are_read() {
        // The fields of Qwen2.5-Instruct's file.
        let qwen = read(
            r#"{"bos_token_id": 151643, "do_sample": true, "eos_token_id": [151645, 151643],
                "repetition_penalty": 1.05, "temperature": 0.7, "top_k": 20, "top_p": 0.8,
                "transformers_version": "4.37.0"}"#,
        )
        .unwrap();
        let draws = SamplingConfig::new(0.7, 0).with_top_k(20).with_top_p(0.8);
        assert_eq!(qwen.sampling, Some(draws));
        let penalty = LogitsProcessors::default().with_repetition_penalty(1.05);
        assert_eq!(qwen.processors, penalty);
        assert!(qwen.not_used.is_empty());

        // Draws are not asked for, whatever else stands there.
        let greedy = read(r#"{"temperature": 0.0, "top_p": 7, "_from_model_config": true}"#);
        let greedy = greedy.unwrap();
        assert_eq!(greedy.sampling, None);
        assert_eq!(greedy.draws.temperature, Some(0.0));
        assert!(greedy.processors.is_neutral());

        // Values that change nothing are not settings.
        let neutral = read(
            r#"{"do_sample": true, "temperature": 1.0, "top_k": 0, "top_p": 1, "min_p": null,
                "repetition_penalty": 1, "no_repeat_ngram_size": 0, "num_beams": 1,
                "typical_p": 1.0, "length_penalty": 1, "penalty_alpha": null, "min_length": 0}"#,
        )
        .unwrap();
        assert_eq!(neutral.sampling, Some(SamplingConfig::new(1.0, 0)));
        assert!(neutral.processors.is_neutral());
        assert!(neutral.not_used.is_empty());

        let kin = read(
            r#"{"no_repeat_ngram_size": 3, "min_new_tokens": 2, "suppress_tokens": [1],
                "begin_suppress_tokens": [2, 3], "bad_words_ids": [[4], [5, 6]],
                "num_beams": 4, "stop_strings": ["x"], "guidance_scale": 1.5}"#,
        )
        .unwrap();
        let expected = LogitsProcessors::default()
            .with_no_repeat_ngram_size(3)
            .with_min_new_tokens(2)
            .with_suppressed(vec![1])
            .with_suppressed_at_begin(vec![2, 3])
            .with_bad_words(vec![vec![4], vec![5, 6]]);
        assert_eq!(kin.processors, expected);
        assert_eq!(
            kin.not_used,
            ["num_beams 4", "guidance_scale 1.5", "stop_strings [\"x\"]"]
        );
    }

    #[test]
    fn impossible_settings_are_named() {
        for (text, field) in [
            (r#"{"do_sample": 1}"#, "do_sample"),
            (r#"{"do_sample": true, "temperature": 0}"#, "temperature"),
            (r#"{"do_sample": true, "top_p": 1.5}"#, "top_p"),
            (r#"{"do_sample": true, "min_p": -1}"#, "min_p"),
            (r#"{"temperature": "hot"}"#, "temperature"),
            (r#"{"top_k": -1}"#, "top_k"),
            (r#"{"repetition_penalty": 0}"#, "repetition_penalty"),
            (r#"{"repetition_penalty": 1e300}"#, "repetition_penalty"),
            (r#"{"suppress_tokens": 3}"#, "suppress_tokens"),
            (r#"{"suppress_tokens": [-1]}"#, "suppress_tokens"),
            (r#"{"bad_words_ids": [3]}"#, "bad_words_ids"),
        ] {
            let error = read(text).unwrap_err();
            let place = format!("generation_config.json: the field {field} is ");
            assert!(error.starts_with(&place), "{text}: {error}");
        }
        for text in ["", "[]", "3", "{"] {
            let error = read(text).unwrap_err();
            assert!(
                error.starts_with("generation_config.json is not"),
                "{error}"
            );
        }
    }
}
