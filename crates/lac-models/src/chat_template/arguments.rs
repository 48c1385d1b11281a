//! Arguments of filters, by position and by name as in Python.

use minijinja::value::{Kwargs, Rest, Value, ValueOrKwargs};
use minijinja::{Error, ErrorKind};

use super::values::invalid;

/// What a template gives to a filter beside the value that is filtered.
pub(super) type Given = Rest<ValueOrKwargs>;

/// Returns a filter's arguments in the order of its parameters. A parameter without an argument has no value.
///
/// # Errors
/// There are more arguments than parameters, a parameter has two, or no parameter has the name.
pub(super) fn bind<const N: usize>(
    filter: &str,
    parameters: [&str; N],
    given: Given,
) -> Result<[Option<Value>; N], Error> {
    let mut values = given.into_values();
    let named = values.pop_if(|last| last.is_kwargs());
    if values.len() > N {
        let message = format!("{filter} takes {N} arguments, and got {}", values.len());
        return Err(Error::new(ErrorKind::TooManyArguments, message));
    }
    let mut values = values.into_iter();
    let mut bound = parameters.map(|_| values.next());
    let Some(named) = named else { return Ok(bound) };
    let named = Kwargs::try_from(named)?;
    for name in named.args() {
        let place = parameters.iter().position(|parameter| *parameter == name);
        let place = place.ok_or_else(|| {
            let known = parameters.join(", ");
            invalid(format!("{filter} has no argument {name}; it takes {known}"))
        })?;
        if bound[place].replace(named.get(name)?).is_some() {
            return Err(invalid(format!("{filter} got {name} twice")));
        }
    }
    Ok(bound)
}

/// Returns whether an argument is given and true.
pub(super) fn is_on(flag: Option<Value>) -> bool {
    flag.is_some_and(|flag| flag.is_true())
}

/// Returns bound arguments as those of a filter of the engine, which takes them by name.
pub(super) fn by_name<const N: usize>(
    parameters: [&'static str; N],
    bound: [Option<Value>; N],
) -> Kwargs {
    let given = parameters.into_iter().zip(bound);
    given
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}
