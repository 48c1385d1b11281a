//! The loaded model: what it is, and its texts.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lac_core::plan::ModelFingerprint;
use lac_eval::ModelId;
use lac_models::chat_template::Conversation;
use lac_models::{
    AddSpecialTokens, ChatOptions, DecodedSpecialTokens, Decoder, Quantization, Tokenizer,
};
use lac_session::{
    ModelRequest, Notice, OpenModel, Prompt, Rows, Template, UnknownFields, WeightsOrigin,
};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::collector::Progress;
use crate::error::{Failure, LacError, detached};

/// A loaded model. It keeps its folder, tokenizer and weights until it is closed, or forgotten.
#[pyclass(frozen, module = "lac._lac")]
pub(crate) struct Model {
    loaded: Mutex<Option<Arc<Loaded>>>,
}

/// What a computation needs of a model.
pub(crate) struct Loaded {
    pub(crate) open: OpenModel,
    pub(crate) decoder: Decoder,
    pub(crate) tokenizer: Option<Tokenizer>,
    /// The process that loaded it: threads do not survive a fork.
    process: u32,
}

/// Which model is loaded, and how.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct LoadArgs {
    model: PathBuf,
    dtype: String,
    device: String,
    quantize: Option<String>,
    strict: bool,
    dummy_weights: bool,
}

impl LoadArgs {
    fn request(self) -> PyResult<ModelRequest> {
        let mut request = ModelRequest::new(self.model);
        request.dtype = self.dtype.parse().map_err(named("dtype"))?;
        request.device = self.device.parse().map_err(named("device"))?;
        request.quantize = self.quantize.as_deref().map(quantization).transpose()?;
        if self.strict {
            request.unknown_fields = UnknownFields::Refuse;
        }
        if self.dummy_weights {
            request.weights = WeightsOrigin::Dummy;
        }
        Ok(request)
    }
}

/// A notice as Python sees it: whether it is a warning, and its text.
type NoticeText = (bool, String);

pub(crate) fn notice_text(notice: Notice) -> NoticeText {
    match notice {
        Notice::Warning(text) => (true, text),
        Notice::Note(text) => (false, text),
    }
}

#[pymethods]
impl Model {
    /// Finds and loads a model. Returns it with what the user should hear of.
    #[staticmethod]
    fn load(
        py: Python<'_>,
        args: LoadArgs,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(Self, Vec<NoticeText>)> {
        let request = args.request()?;
        let progress = Progress::new(progress);
        let (loaded, notices) = detached(py, || load(request, &progress))?;
        let model = Self {
            loaded: Mutex::new(Some(Arc::new(loaded))),
        };
        Ok((model, notices))
    }

    /// Forgets the weights. A computation under way on another thread ends first.
    fn close(&self) {
        let loaded = self.lock().take();
        drop(loaded);
    }

    #[getter]
    fn closed(&self) -> bool {
        self.lock().is_none()
    }

    #[getter]
    fn name(&self) -> PyResult<String> {
        Ok(self.loaded()?.open.request.model.display().to_string())
    }

    #[getter]
    fn architecture(&self) -> PyResult<String> {
        Ok(self.loaded()?.fingerprint()?.architecture)
    }

    #[getter]
    fn n_layers(&self) -> PyResult<usize> {
        Ok(self.loaded()?.decoder.config().n_layers)
    }

    #[getter]
    fn hidden_size(&self) -> PyResult<usize> {
        Ok(self.loaded()?.decoder.config().hidden_size)
    }

    #[getter]
    fn vocab_size(&self) -> PyResult<usize> {
        Ok(self.loaded()?.decoder.config().vocab_size)
    }

    #[getter]
    fn max_context(&self) -> PyResult<usize> {
        Ok(self.loaded()?.open.max_context())
    }

    #[getter]
    fn n_parameters(&self) -> PyResult<u64> {
        Ok(self.loaded()?.decoder.config().n_parameters())
    }

    /// The types of the weights.
    #[getter]
    fn dtype(&self) -> PyResult<String> {
        Ok(self.loaded()?.open.weights_name())
    }

    #[getter]
    fn device(&self) -> PyResult<String> {
        Ok(self.loaded()?.open.request.device.to_string())
    }

    #[getter]
    fn has_tokenizer(&self) -> PyResult<bool> {
        Ok(self.loaded()?.tokenizer.is_some())
    }

    #[getter]
    fn has_chat_template(&self) -> PyResult<bool> {
        let loaded = self.loaded()?;
        let tokenizer = loaded.tokenizer.as_ref();
        Ok(tokenizer.is_some_and(Tokenizer::has_chat_template))
    }

    /// Ids that begin and end a text, and that fill up shorter texts of a batch.
    #[getter]
    fn special_ids(&self) -> PyResult<(Option<u32>, Option<u32>, Option<u32>)> {
        let loaded = self.loaded()?;
        let tokenizer = loaded.tokenizer()?;
        Ok((tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()))
    }

    /// Ids that end an answer.
    #[getter]
    fn stop_ids(&self) -> PyResult<Vec<u32>> {
        Ok(self.loaded()?.stop_ids().to_vec())
    }

    /// The fingerprint of everything that decides results, as JSON.
    fn fingerprint(&self, py: Python<'_>) -> PyResult<String> {
        let loaded = self.loaded()?;
        detached(py, || Ok(serde_json::to_string(&loaded.fingerprint()?)?))
    }

    /// Returns the ids of a text; `special` is `once`, `never` or `always`.
    fn tokenize<'py>(
        &self,
        py: Python<'py>,
        text: &str,
        special: &str,
    ) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let loaded = self.loaded()?;
        let special = match special {
            "once" => AddSpecialTokens::Once,
            "never" => AddSpecialTokens::Never,
            "always" => AddSpecialTokens::Always,
            other => {
                let text =
                    format!("unknown special tokens {other:?}: expected once, never or always");
                return Err(LacError::new_err(text));
            }
        };
        let ids = detached(py, || Ok(loaded.tokenizer()?.encode(text, special)?))?;
        Ok(PyArray1::from_vec(py, ids))
    }

    /// Returns the text and the ids of a prompt; a text that is not `raw` goes through the chat template.
    fn prompt<'py>(
        &self,
        py: Python<'py>,
        text: &str,
        raw: bool,
    ) -> PyResult<(String, Bound<'py, PyArray1<u32>>)> {
        let loaded = self.loaded()?;
        let template = if raw {
            Template::Bypassed
        } else {
            Template::Applied
        };
        let prompt = detached(py, || {
            Ok(Prompt::new(&template.of(text), loaded.tokenizer()?)?)
        })?;
        Ok((prompt.text, PyArray1::from_vec(py, prompt.ids)))
    }

    /// Returns the text and the ids of a conversation: messages, or an object that holds them, as JSON.
    #[pyo3(signature = (json, *, add_generation_prompt, template, now))]
    fn chat<'py>(
        &self,
        py: Python<'py>,
        json: &str,
        add_generation_prompt: bool,
        template: Option<String>,
        now: Option<&str>,
    ) -> PyResult<(String, Bound<'py, PyArray1<u32>>)> {
        let loaded = self.loaded()?;
        let encoded = detached(py, || {
            let conversation = Conversation::from_json(json)?;
            let mut options = ChatOptions::default();
            options.tools = conversation.tools;
            options.documents = conversation.documents;
            options.extra = conversation.extra;
            options.add_generation_prompt = add_generation_prompt;
            options.template = template;
            if let Some(now) = now {
                let expected = "a local time such as 2026-07-01T12:00:00";
                options = options
                    .at(now)
                    .ok_or_else(|| Failure::new(format!("now is {now:?}, expected {expected}")))?;
            }
            let tokenizer = loaded.tokenizer()?;
            Ok(tokenizer.encode_chat(&conversation.messages, &options)?)
        })?;
        Ok((encoded.text, PyArray1::from_vec(py, encoded.ids)))
    }

    /// Returns the text of ids.
    fn decode(
        &self,
        py: Python<'_>,
        ids: PyReadonlyArray1<'_, u32>,
        skip_special_tokens: bool,
    ) -> PyResult<String> {
        let loaded = self.loaded()?;
        let ids = ids.as_array().to_vec();
        let special = if skip_special_tokens {
            DecodedSpecialTokens::Skip
        } else {
            DecodedSpecialTokens::Keep
        };
        detached(py, || Ok(loaded.tokenizer()?.decode(&ids, special)?))
    }

    /// Returns the vocabulary's spelling of ids; None for those that it does not have.
    fn pieces(&self, ids: PyReadonlyArray1<'_, u32>) -> PyResult<Vec<Option<String>>> {
        let loaded = self.loaded()?;
        let tokenizer = loaded.tokenizer()?;
        let ids = ids.as_array();
        Ok(ids.iter().map(|&id| tokenizer.id_to_piece(id)).collect())
    }
}

impl Model {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Loaded>>> {
        // A panic cannot leave an `Option` half changed.
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the model for a computation.
    pub(crate) fn loaded(&self) -> PyResult<Arc<Loaded>> {
        let loaded = self.lock().clone();
        let loaded = loaded
            .ok_or_else(|| LacError::new_err("the model is closed: load it again with lac.load"))?;
        if loaded.process != std::process::id() {
            return Err(LacError::new_err(
                "the model was loaded before this process was forked, and its threads are not in it: load it in \
                 the new process, or start that with multiprocessing's method \"spawn\"",
            ));
        }
        Ok(loaded)
    }
}

impl Loaded {
    pub(crate) fn tokenizer(&self) -> Result<&Tokenizer, Failure> {
        self.tokenizer.as_ref().ok_or_else(|| {
            Failure::new("the model has no tokenizer.json: give token ids in place of texts")
        })
    }

    pub(crate) fn stop_ids(&self) -> &[u32] {
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.stop_ids(),
            None => &self.open.folder.config().eos_token_ids,
        }
    }

    pub(crate) fn fingerprint(&self) -> Result<ModelFingerprint, Failure> {
        Ok(self.open.fingerprint()?)
    }

    /// Returns how results name the model.
    pub(crate) fn id(&self) -> Result<ModelId, Failure> {
        Ok(ModelId {
            name: self.open.short_name()?,
            fingerprint: self.fingerprint()?.to_string(),
            dtype: self.open.weights_name(),
        })
    }

    /// Refuses keys and values that do not fit into the memory that is free.
    pub(crate) fn check_memory(&self, batch: usize, n_slots: usize) -> Result<(), Failure> {
        use lac_session::memory::{free, gib};

        let config = self.decoder.config();
        let n_slots = n_slots.min(config.max_context());
        let size = self.open.load_config.dtype.to_burn().size() as u64;
        let cache = config.n_cached(batch, n_slots).saturating_mul(size);
        match free(&self.open.request.device) {
            Some(free) if free < cache => Err(Failure::new(format!(
                "keys and values of {batch} x {n_slots} tokens take {}, and {} are free: lower --batch-size or \
                 --max-new-tokens",
                gib(cache),
                gib(free)
            ))),
            _ => Ok(()),
        }
    }
}

fn load(request: ModelRequest, progress: &Progress) -> Result<(Loaded, Vec<NoticeText>), Failure> {
    let mut notices = Vec::new();
    let mut tell = |notice| notices.push(notice_text(notice));
    let open = request.open(&mut tell)?;
    let tokenizer = if open.folder.has_tokenizer() {
        Some(open.folder.tokenizer()?)
    } else {
        None
    };
    let rows = Rows {
        batch: 1,
        n_slots: 1,
    };
    let mut failed = None;
    let decoder = open.load(
        rows,
        "lower --max-new-tokens",
        &mut tell,
        &mut |progress_so_far| {
            if failed.is_none() {
                let (n_done, n_total) = (progress_so_far.bytes_read, progress_so_far.bytes_total);
                failed = progress.report(n_done, n_total).err();
            }
        },
    )?;
    if let Some(exception) = failed {
        return Err(Failure::Python(exception));
    }
    let loaded = Loaded {
        open,
        decoder,
        tokenizer,
        process: std::process::id(),
    };
    Ok((loaded, notices))
}

fn quantization(name: &str) -> PyResult<Quantization> {
    let mut all = Quantization::ALL.iter().copied();
    all.find(|quantization| quantization.name() == name)
        .ok_or_else(|| {
            let names: Vec<&str> = Quantization::ALL.iter().map(|q| q.name()).collect();
            let names = names.join(" or ");
            LacError::new_err(format!("quantize is {name:?}, expected {names}"))
        })
}

/// Puts the name of a setting before what is wrong with it.
fn named(setting: &str) -> impl Fn(String) -> PyErr {
    move |reason| LacError::new_err(format!("{setting}: {reason}"))
}
