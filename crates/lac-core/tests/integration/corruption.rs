//! Files of plans that were damaged: what is read makes sense, or an error says what does not.

use lac_core::plan::VoidPlan;
use lac_test_corruption::{Allowance, cases, damaged_bytes, damaged_json, within};
use proptest::prelude::*;

const GOOD: &str = r#"{
    "format": 1,
    "model": {"architecture": "qwen2", "n_layers": 4, "hidden_size": 16, "vocab_size": 64,
              "weights": "sha256:12ab"},
    "prompt": {"n_layers": 4, "skip": [3], "skip_attention": [0, 2]},
    "response": {"n_layers": 4, "skip": [1], "skip_mlp": [2]},
    "skipped_keys": "fill",
    "provenance": {"made_by": "a test", "chosen_by": "hand", "traced_under": "trace",
                   "alpha": 0.8, "n_prompts": 3, "prompt": {},
                   "response": {"n_tokens": 9, "usage": [1.0, 0.5, 0.25, 0.0],
                                "mean_delta": [1.5, -0.5, 2.0, 0.0]}}
}"#;

/// At most 65536 layers of a byte for each phase, and what an error quotes.
const ALLOWANCE: Allowance = Allowance {
    per_byte: 64,
    constant: 1 << 20,
};

fn check(text: &str) {
    let read = within(ALLOWANCE, text.len(), || {
        serde_json::from_str::<VoidPlan>(text)
    });
    match read {
        Err(error) => {
            let message = error.to_string();
            assert!((1..2000).contains(&message.len()), "{message}");
        }
        Ok(plan) => {
            for phase in [&plan.prompt, &plan.response] {
                assert_eq!(phase.n_layers(), plan.model.n_layers);
                assert!((0.0..=1.0).contains(&phase.executed_share()));
            }
            let again = serde_json::to_string(&plan).unwrap();
            let again: VoidPlan = serde_json::from_str(&again).unwrap();
            // The last digit of a number may differ.
            assert_eq!(
                (again.model, again.prompt, again.response),
                (plan.model, plan.prompt, plan.response)
            );
        }
    }
}

#[test]
fn hostile_plans_are_refused() {
    serde_json::from_str::<VoidPlan>(GOOD).unwrap();
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (from, to, part) in [
        ("\"skip\": [1]", "\"skip\": [1, 1]", "named twice"),
        (
            "\"skip\": [1]",
            "\"skip\": [18446744073709551615]",
            "expected one of 0 to 3",
        ),
        ("\"skip\": [1]", "\"skip\": [-1]", "invalid value"),
        ("\"skip\": [1]", "\"skip\": [1.5]", "invalid type"),
        (
            "\"skip\": [1]",
            "\"skip\": [1], \"skip\": [2]",
            "duplicate field `skip`",
        ),
        (
            "\"skip\": [1]",
            &format!("\"skip\": {nested}"),
            "invalid type",
        ),
        (
            "\"n_layers\": 4, \"skip\": [3]",
            "\"n_layers\": 1000000000",
            "at most 65536",
        ),
        ("\"alpha\": 0.8", "\"alpha\": NaN", "line"),
        ("\"alpha\": 0.8", "\"alpha\": 1e999", "out of range"),
        (
            "\"alpha\": 0.8",
            "\"alpha\": 1e39",
            "provenance.alpha is inf",
        ),
        ("\"alpha\": 0.8", "\"alpha\": -1", "provenance.alpha is -1"),
        ("[1.0, 0.5,", "[1e999, 0.5,", "out of range"),
        ("[1.0, 0.5,", "[2.0, 0.5,", "usage"),
        ("[1.0, 0.5,", "[0.5,", "usage"),
        ("[1.5, -0.5,", "[0.5,", "mean_delta"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        let read = within(ALLOWANCE, text.len(), || {
            serde_json::from_str::<VoidPlan>(&text)
        });
        let message = read.expect_err(&text[..600]).to_string();
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

/// An error says where, and does not repeat what it was given.
#[test]
fn long_texts_are_not_quoted_whole() {
    let long = "a".repeat(1 << 20);
    let field = format!("\"{long}\": 1, \"format\"");
    for (text, part) in [
        (format!("\"{long}\""), "expected a plan at line 1"),
        (GOOD.replacen("\"format\"", &field, 1), "at line 2 column"),
        (
            GOOD.replacen("[1.0, 0.5,", &format!("[\"{long}\", 0.5,"), 1),
            "expected f64 at line",
        ),
    ] {
        let error = serde_json::from_str::<VoidPlan>(&text).unwrap_err();
        let message = error.to_string();
        assert!(message.len() < 600, "{} bytes", message.len());
        assert!(message.contains(part), "{part:?} is not in: {message}");
        assert!(error.line() > 0, "{message}");
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn any_change_of_a_value_is_survived(text in damaged_json(GOOD)) {
        check(&text);
    }

    #[test]
    fn any_change_of_a_byte_is_survived(bytes in damaged_bytes(GOOD.into())) {
        check(&String::from_utf8_lossy(&bytes));
    }
}
