//! JSON whose parts are replaced, taken out, renamed and doubled.

use proptest::prelude::*;
use serde_json::Value;

/// Values that are put where others belong; not all of them are JSON.
pub const HOSTILE_VALUES: [&str; 26] = [
    "null",
    "true",
    "0",
    "1",
    "-1",
    "0.5",
    "-0.0",
    "2147483648",
    "4294967295",
    "4294967296",
    "1152921504606846976",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "1e-320",
    "1e39",
    "1e308",
    "1e999",
    "NaN",
    "\"\"",
    "\"x\"",
    "\"../../etc/passwd\"",
    "\"\\ud800\"",
    "[]",
    "{}",
    "[[[[[[[[1]]]]]]]]",
];

/// The change of one place in the tree.
#[derive(Clone, Debug)]
enum Change {
    Replace(String),
    TakeOut,
    Rename(String),
    /// The same key again with another value, or an element once more.
    Double(String),
}

/// Stands where raw text goes; no file holds it.
const PLACE: &str = "\u{1}lac-test-corruption\u{1}";

/// Up to three changes to the parts of a good JSON text.
pub fn damaged_json(good: &str) -> impl Strategy<Value = String> + use<> {
    let tree: Value = serde_json::from_str(good).expect("a good file");
    prop::collection::vec((any::<prop::sample::Index>(), change()), 1..4).prop_map(move |changes| {
        let mut tree = tree.clone();
        let mut raw = Vec::new();
        for (idx, change) in &changes {
            let mut left = idx.index(count(&tree));
            apply(&mut tree, &mut left, change, &mut raw);
        }
        let mut text = tree.to_string();
        // Serialised, the place's control characters are escapes. A later text can hold an earlier
        // place.
        for (number, value) in raw.iter().enumerate().rev() {
            text = text.replace(&Value::from(place(number)).to_string(), value);
        }
        text
    })
}

fn change() -> impl Strategy<Value = Change> {
    let value = || {
        prop_oneof![
            8 => prop::sample::select(&HOSTILE_VALUES[..]).prop_map(str::to_owned),
            1 => any::<i64>().prop_map(|n| n.to_string()),
            1 => any::<f64>().prop_map(|n| format!("{n:e}")),
            1 => (1usize..200).prop_map(|n| format!("{}{}", "[".repeat(n), "]".repeat(n))),
            1 => (1usize..200).prop_map(|n| format!("{}0{}", r#"{"a":"#.repeat(n), "}".repeat(n))),
            1 => "\\PC{0,12}".prop_map(|text| Value::from(text).to_string()),
            1 => (100usize..5000).prop_map(|n| format!("[{}0]", "0,".repeat(n))),
        ]
    };
    prop_oneof![
        6 => value().prop_map(Change::Replace),
        2 => Just(Change::TakeOut),
        1 => "[a-z_]{0,8}".prop_map(Change::Rename),
        2 => value().prop_map(Change::Double),
    ]
}

/// Leaves a place for raw text.
fn take(text: &str, raw: &mut Vec<String>) -> Value {
    raw.push(text.to_owned());
    Value::from(place(raw.len() - 1))
}

fn place(number: usize) -> String {
    format!("{PLACE}{number}")
}

/// Number of values below a value.
fn count(value: &Value) -> usize {
    let below: usize = match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    };
    below + 1
}

/// Walks to the chosen value, in the order of the text, and changes it where it stands.
fn apply(value: &mut Value, left: &mut usize, change: &Change, raw: &mut Vec<String>) -> bool {
    if *left == 0 {
        // The root itself can only be replaced.
        if let Change::Replace(text) | Change::Double(text) = change {
            *value = take(text, raw);
        }
        return true;
    }
    *left -= 1;
    match value {
        Value::Array(items) => {
            for idx in 0..items.len() {
                if *left > 0 {
                    if apply(&mut items[idx], left, change, raw) {
                        return true;
                    }
                    continue;
                }
                match change {
                    Change::Replace(text) => items[idx] = take(text, raw),
                    Change::TakeOut => {
                        items.remove(idx);
                    }
                    Change::Rename(_) => items.insert(idx, items[idx].clone()),
                    Change::Double(text) => items.insert(idx, take(text, raw)),
                }
                return true;
            }
        }
        Value::Object(fields) => {
            for idx in 0..fields.len() {
                let Some(key) = fields.keys().nth(idx).cloned() else {
                    return false;
                };
                if *left > 0 {
                    if apply(&mut fields[&key], left, change, raw) {
                        return true;
                    }
                    continue;
                }
                match change {
                    Change::Replace(text) => fields[&key] = take(text, raw),
                    Change::TakeOut => {
                        fields.remove(&key);
                    }
                    Change::Rename(name) => {
                        let value = fields.remove(&key).unwrap_or_default();
                        fields.insert(name.clone(), value);
                    }
                    Change::Double(text) => {
                        // The raw text brings the key a second time.
                        let old = fields[&key].to_string();
                        let key_text = Value::from(key.clone());
                        fields[&key] = take(&format!("{old}, {key_text}: {text}"), raw);
                    }
                }
                return true;
            }
        }
        _ => {}
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    /// Every kind of change occurs, and most results are still JSON of another content.
    #[test]
    fn changes_are_many_and_mostly_json() {
        let good = r#"{"a": [1, {"b": "c"}, []], "d": {"e": 2.5}}"#;
        let mut runner = TestRunner::deterministic();
        let strategy = damaged_json(good);
        let (mut n_json, mut n_other) = (0, 0);
        for _ in 0..300 {
            let tree = strategy
                .new_tree(&mut runner)
                .expect("a strategy without filters");
            let text = tree.current();
            assert!(!text.contains("lac-test-corruption"), "{text}");
            match serde_json::from_str::<Value>(&text) {
                Ok(value) => {
                    n_json += 1;
                    n_other +=
                        usize::from(value != serde_json::from_str::<Value>(good).expect("good"));
                }
                Err(_) => n_other += 1,
            }
        }
        assert!(n_json > 150 && n_other > 250, "{n_json} {n_other}");
    }
}
