//! Corrupted files for the tests of readers, and a bound on the memory that reading them may take.
//!
//! [`damaged_bytes`] and [`damaged_json`] are proptest strategies that start from a good file;
//! [`within`] holds the peak of what a reader allocates against the size of what it reads;
//! [`message`] tells an error with its causes.
//!
//! ```
//! use lac_test_corruption::{Allowance, within};
//!
//! let text = "[1, 2, 3]";
//! let allowance = Allowance { per_byte: 100, constant: 1 << 20 };
//! let read = within(allowance, text.len(), || serde_json::from_str::<Vec<u8>>(text));
//! assert_eq!(read.expect("it is good"), [1, 2, 3]);
//! ```
#![deny(missing_docs)]

mod bytes;
mod json;
mod memory;

pub use bytes::damaged_bytes;
pub use json::{HOSTILE_VALUES, damaged_json};
pub use memory::{Allowance, left_behind, within};

use std::error::Error;

/// Returns the number of cases of a property: `PROPTEST_CASES`, or `usual` where that is not set.
pub fn cases(usual: u32) -> proptest::test_runner::Config {
    let set = std::env::var("PROPTEST_CASES").ok();
    let cases = set.and_then(|n| n.parse().ok()).unwrap_or(usual);
    proptest::test_runner::Config {
        cases,
        // A case that fails is added to the tests by hand, with its reason.
        failure_persistence: None,
        ..Default::default()
    }
}

/// An error with its causes, from the outside in.
pub fn message(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    message
}
