//! What the fields of a `config.json` that no reader takes mean for a result, by two tables with the reason of each row.

mod changing;
mod inert;

use serde_json::Value;

use changing::CHANGING;
pub(super) use changing::Sizes;
use inert::is_inert;

/// What a field means for what the layers compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It changes nothing.
    Inert,
    /// It asks for something that is not computed here; the text says what is.
    Unsupported(&'static str),
    /// Nothing is known of it.
    Unknown,
}

/// Returns what a field with a value means. A field that is null says nothing.
pub(super) fn meaning(field: &str, value: &Value, sizes: Sizes) -> Meaning {
    if value.is_null() || is_inert(field) {
        return Meaning::Inert;
    }
    let row = CHANGING
        .iter()
        .find(|(fields, _, _)| fields.contains(&field));
    match row {
        None => Meaning::Unknown,
        Some((_, neutral, _)) if neutral.has(value, sizes) => Meaning::Inert,
        Some((_, _, supported)) => Meaning::Unsupported(supported),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::inert::INERT;
    use super::*;

    #[test]
    fn every_field_stands_in_one_row() {
        let inert = INERT.iter().flat_map(|(_, fields)| *fields);
        let changing = CHANGING.iter().flat_map(|(fields, _, _)| *fields);
        let mut seen = BTreeSet::new();
        for field in inert.chain(changing) {
            assert!(seen.insert(field), "{field}");
        }
        // A row of settings that change results is reached: no pattern of harmless names hides it.
        for field in CHANGING.iter().flat_map(|(fields, _, _)| *fields) {
            assert!(!is_inert(field), "{field}");
        }
    }

    #[test]
    fn neutral_values_change_nothing() {
        let sizes = Sizes {
            hidden_size: 64,
            head_dim: 16,
        };
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        for (field, neutral, other) in [
            ("partial_rotary_factor", "1.0", "0.5"),
            ("rotary_dim", "16", "8"),
            ("rope_interleaved", "false", "true"),
            ("logit_scale", "1", "0.0625"),
            ("attention_multiplier", "0.25", "0.0078125"),
            ("query_pre_attn_scalar", "16", "256"),
            ("final_logit_softcapping", "null", "30.0"),
            ("num_local_experts", "0", "8"),
            ("norm_type", "\"RMSNorm\"", "\"layernorm\""),
            ("is_causal", "true", "false"),
            ("dim_model_base", "64", "256"),
            ("pruned_heads", "{}", "{\"1\": [0]}"),
            ("position_embedding_type", "\"rope\"", "\"alibi\""),
        ] {
            assert_eq!(
                meaning(field, &value(neutral), sizes),
                Meaning::Inert,
                "{field}"
            );
            let other = meaning(field, &value(other), sizes);
            assert!(
                matches!(other, Meaning::Unsupported(_)),
                "{field}: {other:?}"
            );
        }
        assert_eq!(meaning("frobnicate", &value("1"), sizes), Meaning::Unknown);
        assert_eq!(
            meaning("frobnicate", &value("false"), sizes),
            Meaning::Unknown
        );
        assert_eq!(meaning("frobnicate", &value("null"), sizes), Meaning::Inert);
    }
}
