//! Flags that are numbers: any other word is refused with what is expected.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Reads a whole number of a range.
pub fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone,
{
    move |word| {
        let number = word.parse().ok();
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                // The largest number of a type concerns long numbers alone.
                if word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_digit()) {
                    format!("expected a whole number from {least} to {most}")
                } else {
                    format!("expected a whole number, {least} or more")
                }
            })
    }
}

/// Reads a number; what it may be is checked where all settings are.
pub fn number<T: FromStr>(word: &str) -> Result<T, String> {
    let number = word.parse();
    number.map_err(|_| "expected a number, such as 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_numbers_of_the_range_or_refused() {
        let check = |word: &str, expected: Result<u32, &str>| {
            let expected = expected.map_err(str::to_owned);
            assert_eq!(whole(2..=u32::MAX)(word), expected, "{word}");
        };
        check("2", Ok(2));
        check("4294967295", Ok(u32::MAX));
        for word in ["", " ", "x", "1", "0", "-1", "1.5", "2 ", "NaN", "1e9", "٣"] {
            check(word, Err("expected a whole number, 2 or more"));
        }
        check(
            "4294967296",
            Err("expected a whole number from 2 to 4294967295"),
        );
        assert_eq!(number::<f32>("-0.5"), Ok(-0.5));
        assert!(number::<f32>("NaN").is_ok_and(f32::is_nan));
        for word in ["", " ", "x", "0,5", "1.2.3"] {
            let error = number::<f64>(word).unwrap_err();
            assert_eq!(error, "expected a number, such as 0.5", "{word}");
        }
    }
}
