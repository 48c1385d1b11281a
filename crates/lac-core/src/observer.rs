//! Receivers of what the gate saw.

use crate::error::BoxError;
use crate::record::PassRecord;

/// Receives what was seen of every pass, such as [`Usage`](crate::Usage) and the recorders of lac-trace.
///
/// A pair `(A, B)` hands every pass to both, an `Option` to the observer in it, and `()` receives nothing.
pub trait Observer {
    /// Receives one pass: its tokens, the gate's readings, and which layers were run. Called once after each pass, in
    /// their order, from the thread that generates; does nothing by default.
    ///
    /// # Errors
    /// An error ends the generation, which returns it as [`Error::Observer`](crate::Error::Observer).
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        let _ = record;
        Ok(())
    }

    /// Returns whether this observer looks at the records; `true` by default. Called once for each pass. If it returns
    /// `false`, passes without a gate need not be handed over.
    fn wants_records(&self) -> bool {
        true
    }
}

/// Receives nothing.
impl Observer for () {
    fn wants_records(&self) -> bool {
        false
    }
}

impl<O: Observer + ?Sized> Observer for &mut O {
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        (**self).pass(record)
    }

    fn wants_records(&self) -> bool {
        (**self).wants_records()
    }
}

/// Hands every pass to the observer, if there is one.
impl<O: Observer> Observer for Option<O> {
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        match self {
            Some(observer) => observer.pass(record),
            None => Ok(()),
        }
    }

    fn wants_records(&self) -> bool {
        self.as_ref().is_some_and(Observer::wants_records)
    }
}

/// Hands every pass to both, to the first one first.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        self.0.pass(record)?;
        self.1.pass(record)
    }

    fn wants_records(&self) -> bool {
        self.0.wants_records() || self.1.wants_records()
    }
}
