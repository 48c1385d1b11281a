//! Settings that have a name on the command line and in files.

/// A name that stands for no value of a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {setting} {name:?}: expected one of {}", known.join(", "))]
#[non_exhaustive]
pub struct UnknownName {
    /// The setting, such as `protocol`.
    pub setting: &'static str,
    /// The name that was given.
    pub name: String,
    /// The names that the setting knows.
    pub known: Vec<&'static str>,
}

/// Finds the value of a setting that has this name.
pub(crate) fn by_name<T: Copy>(
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
