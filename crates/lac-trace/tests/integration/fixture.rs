//! The statistics, recomputed by numpy from the same file: `tests/fixtures/make_expected.py`.

use std::path::Path;

use lac_trace::{Statistics, TraceReader};
use serde_json::Value;

#[test]
fn numpy_counts_the_same() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let expected: Value =
        serde_json::from_slice(&std::fs::read(fixtures.join("expected.json")).unwrap()).unwrap();
    let trace = TraceReader::open(&fixtures.join("trace.parquet")).unwrap();
    let summary = Statistics::of(&trace).unwrap().summary();
    let found = serde_json::to_value(&summary).unwrap();
    let mut n_numbers = 0;
    compare("", &expected, &found, &mut n_numbers);
    assert!(n_numbers > 2000, "only {n_numbers} numbers were compared");
}

/// Every value that is expected has to be found, numbers to 1e-6.
fn compare(at: &str, expected: &Value, found: &Value, n_numbers: &mut usize) {
    match expected {
        Value::Object(fields) => {
            for (key, value) in fields {
                compare(&format!("{at}.{key}"), value, &found[key], n_numbers);
            }
        }
        Value::Array(values) => {
            let found = found
                .as_array()
                .unwrap_or_else(|| panic!("{at} is no list"));
            assert_eq!(values.len(), found.len(), "{at}");
            for (idx, (value, found)) in values.iter().zip(found).enumerate() {
                compare(&format!("{at}[{idx}]"), value, found, n_numbers);
            }
        }
        Value::Number(number) => {
            let (number, found) = (number.as_f64().unwrap(), found.as_f64());
            let found = found.unwrap_or_else(|| panic!("{at} is no number"));
            let tolerance = 1e-6 * number.abs().max(1.0);
            assert!(
                (number - found).abs() <= tolerance,
                "{at}: {number} {found}"
            );
            *n_numbers += 1;
        }
        other => assert_eq!(other, found, "{at}"),
    }
}
