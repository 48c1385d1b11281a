//! What the page's worker calls. Values of several fields go over as JSON.

use std::rc::Rc;

use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::answer::Answer;
use crate::ask::AskConfig;
use crate::error::Error;
use crate::files::Files;
use crate::model::WebModel;

#[wasm_bindgen]
extern "C" {
    /// Hears why the program stopped; the worker defines it.
    #[wasm_bindgen(js_namespace = globalThis, js_name = lacPanicked)]
    fn panicked(message: &str);
}

/// Tells the worker why, should the program stop: it cannot go on after that.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|info| panicked(&info.to_string())));
}

fn json(value: &impl Serialize) -> Result<String, JsError> {
    Ok(serde_json::to_string(value)?)
}

fn told(error: Error) -> JsError {
    JsError::new(&error.to_string())
}

/// Files on their way.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct JsFiles(Files);

#[wasm_bindgen]
impl JsFiles {
    /// Starts without a file.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Announces a file.
    ///
    /// # Errors
    /// As [`Files::begin`].
    pub fn begin(&mut self, name: &str, n_bytes: f64) -> Result<(), JsError> {
        self.0.begin(name, n_bytes as u64).map_err(told)
    }

    /// Takes the file's next bytes.
    ///
    /// # Errors
    /// As [`Files::push`].
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), JsError> {
        self.0.push(chunk).map_err(told)
    }

    /// Makes a model of the files. `progress` is called with shares from 0 to 1.
    ///
    /// # Errors
    /// As [`WebModel::from_files`].
    pub fn load(self, name: &str, progress: &js_sys::Function) -> Result<JsModel, JsError> {
        let files = self.0.finish().map_err(told)?;
        let mut tell = |share: f64| {
            // A page that does not listen is no reason to stop.
            let _ = progress.call1(&JsValue::NULL, &JsValue::from_f64(share));
        };
        let model = WebModel::from_files(name, files, &mut tell).map_err(told)?;
        Ok(JsModel(Rc::new(model)))
    }
}

/// A loaded model.
#[wasm_bindgen]
#[derive(Debug)]
pub struct JsModel(Rc<WebModel>);

#[wasm_bindgen]
impl JsModel {
    /// Loads the embedded model.
    ///
    /// # Errors
    /// As [`WebModel::embedded`].
    pub fn embedded() -> Result<JsModel, JsError> {
        Ok(Self(Rc::new(WebModel::embedded().map_err(told)?)))
    }

    /// Returns [`ModelFacts`](crate::ModelFacts).
    ///
    /// # Errors
    /// None that is known of.
    pub fn facts(&self) -> Result<String, JsError> {
        json(self.0.facts())
    }

    /// Prepares an answer; `config` is an [`AskConfig`], in which what is missing has its default.
    ///
    /// # Errors
    /// As [`Answer::new`].
    pub fn ask(&self, question: &str, config: &str) -> Result<JsAnswer, JsError> {
        let config: AskConfig = serde_json::from_str(config)?;
        let answer = Answer::new(&self.0, question, &config).map_err(told)?;
        Ok(JsAnswer(answer))
    }
}

/// An answer under way.
#[wasm_bindgen]
#[derive(Debug)]
pub struct JsAnswer(Answer);

#[wasm_bindgen]
impl JsAnswer {
    /// Makes one pass, and returns a [`Step`](crate::Step).
    ///
    /// # Errors
    /// As [`Answer::step`].
    pub fn step(&mut self) -> Result<String, JsError> {
        json(&self.0.step().map_err(told)?)
    }

    /// Ends the answer where it stands.
    pub fn stop(&mut self) {
        self.0.stop();
    }

    /// Returns what was counted: a [`Summary`](lac_trace::statistics::Summary).
    ///
    /// # Errors
    /// None that is known of.
    pub fn summary(&self) -> Result<String, JsError> {
        json(&self.0.summary())
    }

    /// Returns whether masks for another α follow from the deltas.
    #[wasm_bindgen(js_name = canSweepAlpha)]
    pub fn can_sweep_alpha(&self) -> bool {
        self.0.can_sweep_alpha()
    }

    /// Returns the trace in the fields of `lac trace --json`.
    ///
    /// # Errors
    /// None that is known of.
    #[wasm_bindgen(js_name = toJson)]
    pub fn to_json(&self) -> Result<String, JsError> {
        json(&self.0.to_json())
    }

    /// Returns the trace as a Parquet file.
    ///
    /// # Errors
    /// As [`Answer::to_parquet`].
    #[wasm_bindgen(js_name = toParquet)]
    pub fn to_parquet(&self) -> Result<Vec<u8>, JsError> {
        self.0.to_parquet().map_err(told)
    }
}
