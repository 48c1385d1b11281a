//! Ctrl-C: the first one ends a run at a place where nothing is lost, the second one at once.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, OnceLock};

use anyhow::{Context, Result};
use lac_core::{
    BoxError, Observer, PassRecord,
    generation::{Flow, TokenSink},
};
use signal_hook::consts::SIGINT;
use signal_hook::flag;

use crate::output::note;

/// The exit code of a run that was interrupted, as shells have it: 128 and the number of SIGINT.
pub const EXIT_CODE: u8 = 130;

static LISTENING: OnceLock<Listening> = OnceLock::new();

struct Listening {
    is_requested: Arc<AtomicBool>,
    /// Whether the user was told of the second Ctrl-C, which ends the program.
    is_announced: Arc<AtomicBool>,
    under_way: &'static str,
    said: Once,
}

impl Listening {
    /// Prints the message, once whichever thread sees the request first.
    fn say(&self) {
        self.said.call_once(|| {
            let Self { under_way, .. } = self;
            self.is_announced.store(true, Ordering::Relaxed);
            note!("\nlac: stopping after {under_way}; Ctrl-C again ends at once");
        });
    }
}

/// The error of an interrupted run.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Makes [`is_requested`] and [`check`] see Ctrl-C from this call on. Before it there is nothing to lose, and Ctrl-C ends
/// the program. `under_way` names what is finished first.
pub fn listen(under_way: &'static str) -> Result<()> {
    let requested = Arc::new(AtomicBool::new(false));
    // Where no thread announces at once, the first Ctrl-C counts as announced.
    let announced = if cfg!(unix) {
        Arc::new(AtomicBool::new(false))
    } else {
        requested.clone()
    };
    let listening = Listening {
        is_requested: requested.clone(),
        is_announced: announced.clone(),
        under_way,
        said: Once::new(),
    };
    if LISTENING.set(listening).is_err() {
        return Ok(());
    }
    let register = || -> io::Result<()> {
        // From here on a signal does not end the program any more: one that comes before the rest is registered is
        // noted here.
        let early = Arc::new(AtomicBool::new(false));
        flag::register(SIGINT, early.clone())?;
        // In this order: the second signal finds the flag set, the first one does not.
        flag::register_conditional_shutdown(SIGINT, i32::from(EXIT_CODE), announced)?;
        flag::register(SIGINT, requested.clone())?;
        announce()?;
        if early.load(Ordering::Relaxed) {
            requested.store(true, Ordering::Relaxed);
        }
        Ok(())
    };
    register().context("cannot listen to Ctrl-C")
}

/// Says at once that the first Ctrl-C was heard: what is under way may take a while.
#[cfg(unix)]
fn announce() -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT])?;
    let wait = move || {
        if signals.forever().next().is_some()
            && let Some(listening) = LISTENING.get()
        {
            listening.say();
        }
    };
    let thread = std::thread::Builder::new().name("lac: Ctrl-C".to_owned());
    thread.spawn(wait).map(|_| ())
}

#[cfg(not(unix))]
fn announce() -> io::Result<()> {
    Ok(())
}

/// Makes a file that grows beyond the shell's limit (`ulimit -f`) an error like a full disk; by default it ends the
/// process.
#[cfg(unix)]
pub fn survive_file_size_limit() -> Result<()> {
    let unread_flag = Arc::new(AtomicBool::new(false));
    flag::register(signal_hook::consts::SIGXFSZ, unread_flag)
        .map(|_| ())
        .context("cannot handle SIGXFSZ")
}

#[cfg(not(unix))]
pub fn survive_file_size_limit() -> Result<()> {
    Ok(())
}

/// Returns whether Ctrl-C was pressed.
pub fn is_requested() -> bool {
    let listening = LISTENING.get();
    let listening = listening.filter(|seen| seen.is_requested.load(Ordering::Relaxed));
    listening.inspect(|listening| listening.say()).is_some()
}

/// Fails once Ctrl-C was pressed. Call it between two steps of a run.
pub fn check() -> Result<(), Interrupted> {
    if is_requested() {
        Err(Interrupted)
    } else {
        Ok(())
    }
}

/// What a callback returns that may end a run: to stop once Ctrl-C was pressed.
pub fn flow() -> Flow {
    if is_requested() {
        Flow::Stop
    } else {
        Flow::Continue
    }
}

/// Ends a generation after the pass that is under way, with an error.
pub struct Passes;

impl Observer for Passes {
    fn pass(&mut self, _record: &PassRecord) -> Result<(), BoxError> {
        Ok(check()?)
    }

    fn wants_records(&self) -> bool {
        false
    }
}

/// Ends a text after the token that is under way; what was generated is kept.
pub struct Tokens<S>(pub S);

impl<S: TokenSink> TokenSink for Tokens<S> {
    fn token(&mut self, row: usize, id: u32) -> Result<Flow, BoxError> {
        let flow = self.0.token(row, id)?;
        Ok(if is_requested() { Flow::Stop } else { flow })
    }

    fn end(&mut self, row: usize) -> Result<(), BoxError> {
        self.0.end(row)
    }
}
