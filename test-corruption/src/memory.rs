//! The memory that reading may take.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;

use allocation_counter::measure;

/// How many bytes may be held at once while something is read.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// For each byte of the file.
    pub per_byte: usize,
    /// Whatever the file's size.
    pub constant: usize,
}

thread_local! {
    static IS_MEASURED: Cell<bool> = const { Cell::new(false) };
}

/// A panic that a reader catches is told without its backtrace, which takes tens of megabytes of the
/// thread that is measured.
fn tell_panics_in_short() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if IS_MEASURED.get() {
                eprintln!("{panic}")
            } else {
                usual(panic)
            }
        }));
    });
}

/// Runs a reader and insists that the peak of what its thread allocates stays within the allowance.
///
/// # Panics
/// When it does not.
pub fn within<T>(allowance: Allowance, file_len: usize, read: impl FnOnce() -> T) -> T {
    tell_panics_in_short();
    IS_MEASURED.set(true);
    let mut result = None;
    // The counter does not survive a panic, and proptest tries a case that panicked many times.
    let seen = measure(|| result = Some(catch_unwind(AssertUnwindSafe(read))));
    IS_MEASURED.set(false);
    let result = match result.expect("the reader has run") {
        Ok(result) => result,
        Err(panic) => resume_unwind(panic),
    };
    let limit = allowance.constant + allowance.per_byte * file_len;
    assert!(
        seen.bytes_max <= limit as u64,
        "{} bytes were held at once while {file_len} were read, at most {limit} may be",
        seen.bytes_max
    );
    result
}

/// Bytes that this thread allocates in a run and does not free.
pub fn left_behind(run: impl FnOnce()) -> i64 {
    measure(run).bytes_current
}
