//! Text as it comes: an iterator over a generation on a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lac_core::{BoxError, Observer, PassRecord};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::collector::Progress;
use crate::compute::{Continuation, Continued, Measured};
use crate::error::{Failure, without_panic};
use crate::model::{Loaded, Model};
use crate::policy::PolicyArgs;

enum Event {
    Text(String),
    End(Result<(Continued, Measured), Failure>),
}

/// Iterates over the pieces of a text while it is generated. The text ends when the iterator is forgotten.
#[pyclass(frozen, module = "lac._lac")]
pub(crate) struct TextStream {
    events: Mutex<Option<Receiver<Event>>>,
    result: Mutex<Option<(Continued, Measured)>>,
    notices: Vec<(bool, String)>,
}

/// Ends the generation once nobody listens.
struct Listened(Arc<AtomicBool>);

impl Observer for Listened {
    fn pass(&mut self, _record: &PassRecord) -> Result<(), BoxError> {
        if self.0.load(Ordering::Relaxed) {
            return Err("nobody listens to the text any more".into());
        }
        Ok(())
    }
}

impl TextStream {
    pub(crate) fn start(loaded: Arc<Loaded>, mut continuation: Continuation) -> Self {
        // Pieces wait for the reader, so that a text that is not read is not generated.
        let (sender, events) = sync_channel(1);
        let notices = std::mem::take(&mut continuation.notices);
        thread::spawn(move || {
            let is_gone = Arc::new(AtomicBool::new(false));
            let mut listened = Listened(is_gone.clone());
            let ended = without_panic(|| {
                let mut on_text = |_, text: &str| {
                    if sender.send(Event::Text(text.to_owned())).is_err() {
                        is_gone.store(true, Ordering::Relaxed);
                    }
                };
                let (progress, first) = (Progress::new(None), 0);
                let mut ignored = |_: &mut Listened, _, _: &_| {};
                let continued = continuation.run(
                    &loaded,
                    &mut listened,
                    &mut on_text,
                    &progress,
                    &mut ignored,
                    first,
                )?;
                let first = continued.into_iter().next();
                first.ok_or_else(|| Failure::new("there is no prompt"))
            });
            // The model may be dropped here, but not an exception: that is the reader's.
            let _ = sender.send(Event::End(ended));
        });
        Self {
            events: Mutex::new(Some(events)),
            result: Mutex::new(None),
            notices,
        }
    }
}

#[pymethods]
impl TextStream {
    fn __iter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<String>> {
        loop {
            let event = py.detach(|| {
                let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
                let events = events.as_ref()?;
                Some(events.recv_timeout(Duration::from_millis(50)))
            });
            let ended = match event {
                None => return Ok(None),
                Some(Ok(Event::Text(text))) => return Ok(Some(text)),
                Some(Err(RecvTimeoutError::Timeout)) => {
                    if let Err(exception) = py.check_signals() {
                        self.close();
                        return Err(exception);
                    }
                    continue;
                }
                Some(Err(RecvTimeoutError::Disconnected)) => {
                    Err(Failure::new("the thread of the text has ended"))
                }
                Some(Ok(Event::End(ended))) => ended,
            };
            self.close();
            let result = ended?;
            *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            return Ok(None);
        }
    }

    /// Ends the text here.
    fn close(&self) {
        let events = self
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(events);
    }

    /// The whole text once it is at its end, as a dict; None before.
    #[getter]
    fn result<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        let result = result.as_ref();
        let dict = result.map(|(row, measured)| row.clone().into_dict(py, measured));
        dict.transpose()
    }

    /// What the user should hear of.
    #[getter]
    fn notices(&self) -> Vec<(bool, String)> {
        self.notices.clone()
    }
}

/// Starts to continue a prompt.
#[pyfunction]
pub(crate) fn stream<'py>(
    model: &Model,
    prompt: PyReadonlyArray1<'py, u32>,
    policy: PolicyArgs,
    settings: &Bound<'py, PyDict>,
) -> PyResult<TextStream> {
    let loaded = model.loaded()?;
    let continuation = Continuation::new(&loaded, vec![prompt], policy, settings)?;
    Ok(TextStream::start(loaded, continuation))
}
