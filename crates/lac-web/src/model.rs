//! The model that answers: the embedded one, or one made of files.

use burn::tensor::Device;
use lac_core::CausalLm;
use lac_core::plan::ModelFingerprint;
use lac_models::{
    AddSpecialTokens, ChatMessage, ChatOptions, Decoder, MemoryFolder, ModelFolder, Tokenizer,
};
use lac_trace::display::Spelling;
use serde::Serialize;

use crate::error::{Error, words};

/// A loaded model with its tokenizer. No file is needed any more.
#[derive(Debug)]
pub struct WebModel {
    pub(crate) decoder: Decoder,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) spelling: Spelling,
    pub(crate) fingerprint: ModelFingerprint,
    facts: ModelFacts,
}

/// What the page says of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ModelFacts {
    /// Its name, for people and for traces.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Number of layers.
    pub layers: usize,
    /// Width of the hidden states.
    pub hidden: usize,
    /// Number of entries of the vocabulary.
    pub vocabulary: usize,
    /// Number of parameters.
    pub parameters: u64,
    /// Number of positions.
    pub context: usize,
    /// The weights' types, and what is computed in.
    pub weights: String,
    /// Bytes that the weights take.
    pub bytes: u64,
    /// Whether questions go through a chat template.
    pub has_template: bool,
    /// The instructions that products are computed with.
    pub simd: bool,
}

/// The most that files and weights may take: a page's memory ends at 4 GiB, and some is needed besides.
const MOST_BYTES: u64 = 3_600_000_000;

impl WebModel {
    /// Loads the embedded model.
    ///
    /// # Errors
    /// [`Error::Model`] if the embedded files are damaged.
    pub fn embedded() -> Result<Self, Error> {
        let files = lac_demo::model_files().iter();
        let files = files.map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()));
        Self::from_files("demo", files.collect(), &mut |_| {})
    }

    /// Loads a model of a folder's files, or of one GGUF file. `progress` hears what share of the weights is there.
    ///
    /// # Errors
    /// [`Error::Model`] if the files are broken, or no model that can be used; [`Error::Memory`] if it is too large.
    pub fn from_files(
        name: &str,
        files: Vec<(String, Vec<u8>)>,
        progress: &mut dyn FnMut(f64),
    ) -> Result<Self, Error> {
        let n_bytes: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let single = match &files[..] {
            [(name, _)] => Some(name.clone()),
            _ => None,
        };
        let memory = MemoryFolder::new(files);
        // What stands in memory has a path that means nothing to people.
        let tell = |error: &dyn std::error::Error| {
            let root = memory.path().display().to_string();
            let text = words(error).replace(&format!("{root}/"), "");
            Error::Model(text.replace(&root, name))
        };
        let path = match &single {
            Some(file) => memory.path().join(file),
            None => memory.path().to_owned(),
        };
        let folder = ModelFolder::open(path).map_err(|error| tell(&error))?;
        let config = folder.default_load_config().map_err(|error| tell(&error))?;
        let bytes = folder.loaded_bytes(config.dtype);
        if n_bytes.saturating_add(bytes) > MOST_BYTES {
            return Err(Error::Memory {
                what: format!("{name}, its file and its weights,"),
                n_bytes: n_bytes.saturating_add(bytes),
            });
        }
        let tokenizer = folder.tokenizer().map_err(|error| tell(&error))?;
        let device = Device::flex();
        let decoder = folder
            .load(config, &device, &mut |loaded| {
                progress(loaded.bytes_read as f64 / loaded.bytes_total.max(1) as f64);
            })
            .map_err(|error| tell(&error))?;
        let fingerprint = folder.fingerprint().map_err(|error| tell(&error))?;
        let sizes = &folder.config().decoder;
        let facts = ModelFacts {
            name: name.to_owned(),
            architecture: format!("{:?}", folder.config().architecture),
            layers: sizes.n_layers,
            hidden: sizes.hidden_size,
            vocabulary: decoder.vocab_size(),
            parameters: sizes.n_parameters(),
            context: sizes.max_context(),
            weights: folder.weights_name(config),
            bytes,
            has_template: tokenizer.has_chat_template(),
            simd: cfg!(target_feature = "simd128"),
        };
        let n_pieces = tokenizer.largest_id().unwrap_or(0);
        let pieces: Vec<String> = (0..=n_pieces)
            .filter_map(|id| tokenizer.id_to_piece(id))
            .collect();
        Ok(Self {
            decoder,
            spelling: Spelling::of(pieces.iter().map(String::as_str)),
            tokenizer,
            fingerprint,
            facts,
        })
    }

    /// Returns what the page says of the model.
    pub fn facts(&self) -> &ModelFacts {
        &self.facts
    }

    /// Returns the tokens of a question: a user's message in the chat template, where there is one.
    pub(crate) fn prompt(&self, question: &str) -> Result<Vec<u32>, Error> {
        if question.trim().is_empty() {
            return Err(Error::Empty);
        }
        let ids = if self.tokenizer.has_chat_template() {
            let messages = [ChatMessage::new("user", question)];
            let chat = self
                .tokenizer
                .encode_chat(&messages, &ChatOptions::default());
            chat.map_err(|error| Error::Model(words(&error)))?.ids
        } else {
            let ids = self.tokenizer.encode(question, AddSpecialTokens::Once);
            ids.map_err(|error| Error::Model(words(&error)))?
        };
        let max_context = self.facts.context;
        if ids.is_empty() {
            return Err(Error::Empty);
        }
        if ids.len() >= max_context {
            return Err(Error::TooLong {
                n_tokens: ids.len(),
                max_context,
            });
        }
        Ok(ids)
    }
}
