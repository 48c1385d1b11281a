//! Flags whose words are the names of a library's values.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// Reads one of `all` by its name.
pub fn one_of<T>(all: &'static [T], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    one_of_explained(all, name, |_| None)
}

/// Reads one of `all` by its name; `--help` has the line that `explain` returns for a value.
pub fn one_of_explained<T>(
    all: &'static [T],
    name: fn(T) -> &'static str,
    explain: fn(T) -> Option<&'static str>,
) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let possible = all.iter().map(|&value| match explain(value) {
        Some(help) => PossibleValue::new(name(value)).help(help),
        None => PossibleValue::new(name(value)),
    });
    PossibleValuesParser::new(possible).try_map(move |word| {
        let found = all.iter().find(|&&value| name(value) == word);
        // The parser before this one lets the names of `all` pass only.
        found.copied().ok_or("unknown name")
    })
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};
    use lac_models::WeightDtype;

    use super::*;

    fn command() -> Command {
        let parser = one_of_explained(WeightDtype::ALL, WeightDtype::name, |dtype| match dtype {
            WeightDtype::F32 => Some("32 bits"),
            _ => None,
        });
        let dtype = Arg::new("dtype").long("dtype").value_parser(parser);
        Command::new("test").arg(dtype)
    }

    #[test]
    fn every_name_gives_its_value_and_no_other_name_does() {
        for &dtype in WeightDtype::ALL {
            let matches = command().get_matches_from(["test", "--dtype", dtype.name()]);
            assert_eq!(matches.get_one::<WeightDtype>("dtype"), Some(&dtype));
        }
        let error = command().try_get_matches_from(["test", "--dtype", "f64"]);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("[possible values: f32, f16, bf16]"),
            "{error}"
        );
    }

    #[test]
    fn help_explains_the_values() {
        let help = command().render_long_help().to_string();
        assert!(help.contains("- f32:  32 bits"), "{help}");
    }
}
