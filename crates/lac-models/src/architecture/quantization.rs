//! Weights that were quantised: which way, and what to use in their place.

use serde_json::{Map, Value};

/// Returns what quantised the weights and what to do, or `None` where the object says that nothing did.
pub(super) fn describe(value: &Value) -> Option<Quantization> {
    let object = match value {
        Value::Null | Value::Bool(false) => return None,
        Value::Object(object) if object.is_empty() => return None,
        Value::Object(object) => object,
        _ => return Some(Quantization::other("an unnamed method")),
    };
    // Both fields of bitsandbytes may be false: then nothing was quantised.
    let is_false = |field| object.get(field) == Some(&Value::Bool(false));
    if is_false("load_in_4bit") && is_false("load_in_8bit") {
        return None;
    }
    let method = method(object);
    let row = METHODS.iter().find(|(names, _, _)| {
        let named = |name: &&str| method.eq_ignore_ascii_case(name);
        names.iter().any(named)
    });
    Some(match row {
        Some((_, name, instead)) => Quantization {
            method: (*name).to_owned(),
            instead,
        },
        None => Quantization::other(&method),
    })
}

/// How weights were quantised.
#[derive(Debug)]
pub(super) struct Quantization {
    pub(super) method: String,
    pub(super) instead: &'static str,
}

impl Quantization {
    fn other(method: &str) -> Self {
        Self {
            method: method.to_owned(),
            instead: ORIGINAL,
        }
    }
}

/// Finds the method's name in the fields that libraries of different ages give it.
fn method(object: &Map<String, Value>) -> String {
    for field in [
        "quant_method",
        "quantization_method",
        "method",
        "quant_type",
        "quant_algo",
    ] {
        if let Some(Value::String(name)) = object.get(field) {
            return name.clone();
        }
    }
    let has = |field: &str| object.contains_key(field);
    let is_on = |field: &str| object.get(field) == Some(&Value::Bool(true));
    let name = if is_on("load_in_4bit") || is_on("load_in_8bit") {
        "bitsandbytes"
    } else if has("config_groups") {
        "compressed-tensors"
    } else if has("desc_act") {
        "gptq"
    } else if has("w_bit") || has("zero_point") {
        "awq"
    } else if has("weight_block_size") || has("activation_scheme") {
        "fp8"
    } else if has("group_size") && has("bits") {
        "mlx"
    } else {
        "an unnamed method"
    };
    name.to_owned()
}

const ORIGINAL: &str = "use the checkpoint it was made from, in bf16, f16 or f32";

/// Names in files, the name in errors, and what to use instead.
const METHODS: &[(&[&str], &str, &str)] = &[
    (
        &["fp8", "finegrained_fp8", "fbgemm_fp8", "fp_quant"],
        "fp8",
        "use the checkpoint it was made from, in bf16, f16 or f32 (often the same name without -FP8)",
    ),
    (
        &["gptq", "gptqmodel"],
        "GPTQ",
        "use the checkpoint it was made from, in bf16, f16 or f32 (often the same name without -GPTQ)",
    ),
    (
        &["awq", "autoawq"],
        "AWQ",
        "use the checkpoint it was made from, in bf16, f16 or f32 (often the same name without -AWQ)",
    ),
    (
        &[
            "bitsandbytes",
            "bitsandbytes_4bit",
            "bitsandbytes_8bit",
            "bnb",
            "nf4",
            "fp4",
        ],
        "bitsandbytes",
        "use the checkpoint it was made from, in bf16, f16 or f32, or save a copy after transformers' \
         model.dequantize()",
    ),
    (
        &["compressed-tensors", "compressed_tensors"],
        "compressed-tensors",
        ORIGINAL,
    ),
    (&["hqq"], "HQQ", ORIGINAL),
    (&["eetq"], "EETQ", ORIGINAL),
    (&["quanto"], "Quanto", ORIGINAL),
    (&["torchao"], "torchao", ORIGINAL),
    (&["aqlm"], "AQLM", ORIGINAL),
    (&["higgs"], "HIGGS", ORIGINAL),
    (&["vptq"], "VPTQ", ORIGINAL),
    (&["spqr"], "SpQR", ORIGINAL),
    (&["bitnet"], "BitNet", ORIGINAL),
    (&["modelopt", "nvfp4"], "ModelOpt", ORIGINAL),
    (&["quark"], "Quark", ORIGINAL),
    (
        &["auto-round", "auto_round", "intel/auto-round"],
        "AutoRound",
        ORIGINAL,
    ),
    (
        &["mxfp4"],
        "MXFP4",
        "use a copy in bf16, which transformers saves after loading with Mxfp4Config(dequantize=True)",
    ),
    (
        &["mlx", "affine"],
        "MLX",
        "use the checkpoint it was made from, in bf16, f16 or f32, or mlx_lm.convert --dequantize",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_named_in_whichever_field_they_stand() {
        for (text, method) in [
            (
                r#"{"quant_method": "fp8", "weight_block_size": [128, 128]}"#,
                "fp8",
            ),
            (
                r#"{"bits": 4, "group_size": 128, "desc_act": false, "quant_method": "gptq"}"#,
                "GPTQ",
            ),
            (
                r#"{"bits": 4, "group_size": 128, "desc_act": true}"#,
                "GPTQ",
            ),
            (
                r#"{"w_bit": 4, "q_group_size": 128, "version": "GEMM"}"#,
                "AWQ",
            ),
            (
                r#"{"load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}"#,
                "bitsandbytes",
            ),
            (
                r#"{"quant_method": "bitsandbytes", "load_in_4bit": false, "load_in_8bit": true}"#,
                "bitsandbytes",
            ),
            (
                r#"{"config_groups": {}, "format": "pack-quantized"}"#,
                "compressed-tensors",
            ),
            (r#"{"group_size": 64, "bits": 4}"#, "MLX"),
            (r#"{"quant_method": "TorchAO"}"#, "torchao"),
            (r#"{"quant_method": "brand-new"}"#, "brand-new"),
            (r#"{"bits": 4}"#, "an unnamed method"),
            ("\"int8\"", "an unnamed method"),
        ] {
            let value = serde_json::from_str(text).unwrap();
            let quantization = describe(&value).unwrap();
            assert_eq!(quantization.method, method, "{text}");
            assert!(quantization.instead.contains("bf16"), "{text}");
        }
        for neutral in [
            "null",
            "{}",
            r#"{"load_in_4bit": false, "load_in_8bit": false}"#,
        ] {
            let value = serde_json::from_str(neutral).unwrap();
            assert!(describe(&value).is_none(), "{neutral}");
        }
    }
}
