//! Settings with a name on the command line.
//!
//! ```
//! use lac_core::{SkippedKeys, released_code::GateRounding};
//!
//! assert_eq!("bf16".parse(), Ok(GateRounding::Bf16));
//! assert_eq!(SkippedKeys::Omit.name(), "leave-out");
//! let error = "none".parse::<SkippedKeys>().unwrap_err();
//! assert_eq!(error.to_string(), "unknown treatment of skipped keys \"none\": expected one of fill, leave-out");
//! ```

use std::str::FromStr;

use crate::decision::SkippedKeys;
use crate::released_code::GateRounding;
use crate::speculation::{REPLAY_FACTOR, Ties};

/// A setting has no value of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {setting} {name:?}: expected one of {}", known.join(", "))]
#[non_exhaustive]
pub struct UnknownName {
    /// The setting, such as `rounding`.
    pub setting: &'static str,
    /// The name that was given.
    pub name: String,
    /// The names that the setting has.
    pub known: Vec<&'static str>,
}

/// Returns the value of this name among all values of a setting.
///
/// # Errors
/// [`UnknownName`] if there is none.
pub fn by_name<T: Copy>(
    setting: &'static str,
    all: &[T],
    name_of: fn(T) -> &'static str,
    name: &str,
) -> Result<T, UnknownName> {
    let found = all.iter().copied().find(|&value| name_of(value) == name);
    found.ok_or_else(|| UnknownName {
        setting,
        name: name.to_owned(),
        known: all.iter().map(|&value| name_of(value)).collect(),
    })
}

impl GateRounding {
    /// Both ways to round.
    pub const ALL: &'static [Self] = &[Self::F32, Self::Bf16];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl FromStr for GateRounding {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("rounding", Self::ALL, Self::name, name)
    }
}

impl SkippedKeys {
    /// Both treatments.
    pub const ALL: &'static [Self] = &[Self::Fill, Self::Omit];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::Omit => "leave-out",
        }
    }
}

impl FromStr for SkippedKeys {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("treatment of skipped keys", Self::ALL, Self::name, name)
    }
}

impl Ties {
    /// Both ways to decide near ties; the first one with the default factor.
    pub const ALL: &'static [Self] = &[
        Self::Replay {
            factor: REPLAY_FACTOR,
        },
        Self::Accept,
    ];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replay { .. } => "replay",
            Self::Accept => "accept",
        }
    }
}

impl FromStr for Ties {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("treatment of near ties", Self::ALL, Self::name, name)
    }
}
