//! Who receives what the gate saw.

use crate::error::BoxError;
use crate::record::PassRecord;

/// Receives every pass after it was run. The default does nothing.
pub trait Observer {
    /// Takes one pass: its tokens, what the gate saw, which layers were run.
    ///
    /// # Errors
    /// Whatever keeps the pass from being received; it ends the generation, as
    /// [`Error::Observer`](crate::Error::Observer).
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        let _ = record;
        Ok(())
    }

    /// Whether this observer looks at the records at all. When it does not, the gate's numbers
    /// need not leave the device except to be checked.
    fn wants_records(&self) -> bool {
        true
    }
}

/// Observes nothing.
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

/// Observes if there is somebody to.
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

/// Both receive every pass, the first one first.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        self.0.pass(record)?;
        self.1.pass(record)
    }

    fn wants_records(&self) -> bool {
        self.0.wants_records() || self.1.wants_records()
    }
}
