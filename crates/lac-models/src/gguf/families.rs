//! The families of models in GGUF files, and what each has beside the keys that all have.

use serde_json::{Value, json};

use super::config_fields::ConfigFields;
use super::error::GgufError;
use super::files::Gguf;
use super::layout::{NormWeights, ROPE_LONG_FACTORS, ROPE_SHORT_FACTORS, RowOrder};
use super::rope_factors::rope_factors;
use crate::decoder::RouterWeights;

/// A family of models as GGUF files name it.
pub(super) struct Family {
    /// The name, with which the keys of the family's sizes begin.
    pub(super) name: &'static str,
    pub(super) model_type: &'static str,
    pub(super) qk_rows: RowOrder,
    pub(super) norm_weights: NormWeights,
    pub(super) biases: Biases,
    /// Reads the keys that other families do not have, once those of all are read.
    pub(super) read: fn(&Gguf, &mut ConfigFields<'_>) -> Result<(), GgufError>,
}

/// Where it is said which projections have biases.
pub(super) enum Biases {
    /// The family has them or not.
    OfFamily,
    /// They are in the file or not.
    OfFile,
}

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "llama",
        model_type: "llama",
        qk_rows: RowOrder::Pairs,
        norm_weights: NormWeights::AsTheyAre,
        biases: Biases::OfFile,
        read: llama,
    },
    Family {
        name: "qwen2",
        model_type: "qwen2",
        qk_rows: RowOrder::Halves,
        norm_weights: NormWeights::AsTheyAre,
        biases: Biases::OfFamily,
        read: nothing,
    },
    Family {
        name: "qwen3",
        model_type: "qwen3",
        qk_rows: RowOrder::Halves,
        norm_weights: NormWeights::AsTheyAre,
        biases: Biases::OfFamily,
        read: qwen3,
    },
    Family {
        name: "qwen2moe",
        model_type: "qwen2_moe",
        qk_rows: RowOrder::Halves,
        norm_weights: NormWeights::AsTheyAre,
        biases: Biases::OfFamily,
        read: qwen2_moe,
    },
    Family {
        name: "qwen3moe",
        model_type: "qwen3_moe",
        qk_rows: RowOrder::Halves,
        norm_weights: NormWeights::AsTheyAre,
        biases: Biases::OfFamily,
        read: qwen3_moe,
    },
    Family {
        name: "mistral3",
        model_type: "mistral",
        qk_rows: RowOrder::Pairs,
        norm_weights: NormWeights::AsTheyAre,
        biases: Biases::OfFile,
        read: mistral3,
    },
    Family {
        name: "gemma2",
        model_type: "gemma2",
        qk_rows: RowOrder::Halves,
        norm_weights: NormWeights::OneMore,
        biases: Biases::OfFamily,
        read: gemma2,
    },
    Family {
        name: "gemma3",
        model_type: "gemma3_text",
        qk_rows: RowOrder::Halves,
        norm_weights: NormWeights::OneMore,
        biases: Biases::OfFamily,
        read: gemma3,
    },
    Family {
        name: "phi3",
        model_type: "phi3",
        qk_rows: RowOrder::Halves,
        norm_weights: NormWeights::AsTheyAre,
        biases: Biases::OfFamily,
        read: phi3,
    },
    Family {
        name: "olmo2",
        model_type: "olmo2",
        qk_rows: RowOrder::Halves,
        norm_weights: NormWeights::AsTheyAre,
        biases: Biases::OfFamily,
        read: olmo2,
    },
    Family {
        name: "smollm3",
        model_type: "smollm3",
        qk_rows: RowOrder::Pairs,
        norm_weights: NormWeights::AsTheyAre,
        biases: Biases::OfFile,
        read: nothing,
    },
    Family {
        name: "granite",
        model_type: "granite",
        qk_rows: RowOrder::Pairs,
        norm_weights: NormWeights::AsTheyAre,
        biases: Biases::OfFile,
        read: granite,
    },
];

const WINDOW: &str = "attention.sliding_window";
const WINDOW_PATTERN: &str = "attention.sliding_window_pattern";
const SLIDING_BASE: &str = "rope.freq_base_swa";
const ATTENTION_SCALE: &str = "attention.scale";
const EXPERT_COUNT: &str = "expert_count";

fn nothing(_: &Gguf, _: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    Ok(())
}

/// A window makes a Mistral of a Llama, and experts make a Mixtral of either.
fn llama(_: &Gguf, fields: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    if let Some(window) = window(fields)? {
        fields.insert("model_type", json!("mistral"));
        fields.insert("sliding_window", json!(window));
    }
    if fields.integer(EXPERT_COUNT)?.is_some_and(|count| count > 0) {
        fields.insert("model_type", json!("mixtral"));
        experts(fields)?;
    }
    Ok(())
}

/// A Mistral, or with queries that grow with their position a Ministral 3.
fn mistral3(_: &Gguf, fields: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    const GROWTH: &str = "attention.temperature_scale";
    const CONTEXT: &str = "attention.temperature_length";
    const LOG_MULTIPLIER: &str = "rope.scaling.yarn_log_multiplier";
    insert_head_dim(fields);
    let window = window(fields)?;
    fields.insert("sliding_window", json!(window));
    let growth = fields.number(GROWTH)?.filter(|&growth| growth != 0.0);
    let context = fields.integer(CONTEXT)?;
    let log_multiplier = fields.number(LOG_MULTIPLIER)?;
    let scaling = fields.fields.get_mut("rope_scaling");
    let Some(scaling) = scaling.and_then(Value::as_object_mut) else {
        return match growth {
            None => Ok(()),
            Some(_) => Err(fields.missing(
                "rope.scaling.type",
                "yarn, by whose context the queries grow",
            )),
        };
    };
    // The factor of cosines and sines is that of the stretching, over the same with this multiplier.
    if let Some(multiplier) = log_multiplier.filter(|&multiplier| multiplier != 0.0) {
        scaling.insert("mscale".to_owned(), json!(1.0));
        scaling.insert("mscale_all_dim".to_owned(), json!(multiplier));
    }
    let Some(growth) = growth else { return Ok(()) };
    let of_rope = scaling.get("original_max_position_embeddings");
    let is_other = context.is_some() && context != of_rope.and_then(Value::as_u64);
    scaling.insert("llama_4_scaling_beta".to_owned(), json!(growth));
    fields.insert("model_type", json!("ministral3"));
    fields.stand_for_own(GROWTH, "rope_scaling.llama_4_scaling_beta");
    if is_other {
        let expected = "the same as mistral3.rope.scaling.original_context_length";
        return Err(fields.invalid(CONTEXT, expected));
    }
    Ok(())
}

fn qwen3(_: &Gguf, fields: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    insert_head_dim(fields);
    Ok(())
}

fn qwen2_moe(_: &Gguf, fields: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    const SHARED_WIDTH: &str = "expert_shared_feed_forward_length";
    experts(fields)?;
    expert_weights(fields, RouterWeights::Probabilities)?;
    expert_width(fields)?;
    let width = fields.integer(SHARED_WIDTH)?.filter(|&width| width > 0);
    if let Some(width) = width.or(fields.size("intermediate_size")) {
        fields.insert("shared_expert_intermediate_size", json!(width));
        fields.stand_for_own(SHARED_WIDTH, "shared_expert_intermediate_size");
    }
    Ok(())
}

fn qwen3_moe(_: &Gguf, fields: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    insert_head_dim(fields);
    experts(fields)?;
    expert_weights(fields, RouterWeights::Renormalised)?;
    expert_width(fields)
}

fn gemma2(_: &Gguf, fields: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    insert_head_dim(fields);
    soft_cap(fields, "attn_logit_softcapping")?;
    soft_cap(fields, "final_logit_softcapping")?;
    if let Some(window) = window(fields)? {
        fields.insert("sliding_window", json!(window));
    }
    insert_layer_types(fields, 2)?;
    check_sliding_base(fields)?;
    // The 27B model, known by its number of layers, has another scale than the others.
    query_scalar(fields, 46)
}

fn gemma3(_: &Gguf, fields: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    insert_head_dim(fields);
    soft_cap(fields, "final_logit_softcapping")?;
    match window(fields)? {
        Some(window) => {
            fields.insert("sliding_window", json!(window));
            insert_layer_types(fields, 6)?;
        }
        None => fields.insert("layer_types", layer_types(fields, |_| false)),
    }
    if let Some(base) = fields.number(SLIDING_BASE)? {
        fields.insert("rope_local_base_freq", json!(base));
        fields.stand_for_own(SLIDING_BASE, "rope_local_base_freq");
    }
    query_scalar(fields, 62)
}

fn phi3(gguf: &Gguf, fields: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    if let Some(window) = window(fields)? {
        fields.insert("sliding_window", json!(window));
    }
    let n_rotated = fields.integer("rope.dimension_count")?;
    let head_dim = fields.head_dim();
    if let (Some(n_rotated), Some(head_dim)) = (n_rotated, head_dim)
        && n_rotated != head_dim
    {
        // A little more than the quotient: the product with the width is rounded down.
        let part = (n_rotated as f64 + 0.5) / head_dim as f64;
        fields.insert("partial_rotary_factor", json!(part));
        fields.stand_for_own("rope.dimension_count", "partial_rotary_factor");
    }
    let n_pairs = n_rotated.or(head_dim).unwrap_or(0) as usize / 2;
    let [short, long] =
        [ROPE_SHORT_FACTORS, ROPE_LONG_FACTORS].map(|name| rope_factors(gguf, name, n_pairs));
    let context = fields.integer("rope.scaling.original_context_length")?;
    let (Some(short), Some(long)) = (short?, long?) else {
        return Ok(());
    };
    let mut scaling = json!({"rope_type": "longrope", "short_factor": short, "long_factor": long});
    if let Some(context) = context {
        scaling["original_max_position_embeddings"] = json!(context);
    }
    if let Some(factor) = fields.number("rope.scaling.attn_factor")? {
        scaling["attention_factor"] = json!(factor);
    }
    fields.insert("rope_scaling", scaling);
    fields.stand_for_own("rope.scaling", "rope_scaling");
    Ok(())
}

/// An OLMo 2, or with a window an OLMo 3.
fn olmo2(_: &Gguf, fields: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    if let Some(window) = window(fields)? {
        fields.insert("model_type", json!("olmo3"));
        fields.insert("sliding_window", json!(window));
        insert_layer_types(fields, 4)?;
        check_sliding_base(fields)?;
    }
    Ok(())
}

fn granite(_: &Gguf, fields: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    for (key, field) in [
        ("embedding_scale", "embedding_multiplier"),
        ("residual_scale", "residual_multiplier"),
        ("logit_scale", "logits_scaling"),
    ] {
        if let Some(scale) = fields.number(key)?.filter(|&scale| scale != 0.0) {
            fields.insert(field, json!(scale));
            fields.stand_for_own(key, field);
        }
    }
    let scale = fields
        .number(ATTENTION_SCALE)?
        .filter(|&scale| scale != 0.0);
    let default = fields
        .head_dim()
        .map(|head_dim| (head_dim as f64).powf(-0.5));
    if let Some(scale) = scale.or(default) {
        fields.insert("attention_multiplier", json!(scale));
        fields.stand_for_own(ATTENTION_SCALE, "attention_multiplier");
    }
    // llama.cpp makes this key say whether heads are rotated.
    if fields.flag("rope.scaling.finetuned")? == Some(false) {
        let expected = "true: a Granite without rotary positions is not supported";
        return Err(fields.invalid("rope.scaling.finetuned", expected));
    }
    Ok(())
}

/// Reads how many experts a layer has, and how many a token goes through. Every layer has them.
fn experts(fields: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    for (key, field) in [
        (EXPERT_COUNT, "num_experts"),
        ("expert_used_count", "num_experts_per_tok"),
    ] {
        let Some(count) = fields.integer(key)? else {
            return Err(fields.missing(key, "a number above 0"));
        };
        fields.insert(field, json!(count));
        fields.stand_for_own(key, field);
    }
    Ok(())
}

/// Reads whether the weights of a token's experts are divided by their sum: as the family has it, unless the file says.
fn expert_weights(
    fields: &mut ConfigFields<'_>,
    of_family: RouterWeights,
) -> Result<(), GgufError> {
    const NORM: &str = "expert_weights_norm";
    let is_renormalised = of_family == RouterWeights::Renormalised;
    let is_renormalised = fields.flag(NORM)?.unwrap_or(is_renormalised);
    fields.insert("norm_topk_prob", json!(is_renormalised));
    fields.stand_for_own(NORM, "norm_topk_prob");
    Ok(())
}

/// Reads the width inside an expert: without a key, such that those of a token are as wide as a dense MLP.
fn expert_width(fields: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    const WIDTH: &str = "expert_feed_forward_length";
    let width = fields.integer(WIDTH)?.filter(|&width| width > 0);
    let width = width.or_else(|| {
        let n_chosen = fields.size("num_experts_per_tok")?;
        fields.size("intermediate_size")?.checked_div(n_chosen)
    });
    if let Some(width) = width {
        fields.insert("moe_intermediate_size", json!(width));
        fields.stand_for_own(WIDTH, "moe_intermediate_size");
    }
    Ok(())
}

/// Takes the residual stream's share of a head for its width where the file does not say it: the classes have numbers of
/// their own.
fn insert_head_dim(fields: &mut ConfigFields<'_>) {
    if let Some(head_dim) = fields.head_dim() {
        fields.insert("head_dim", json!(head_dim));
    }
}

/// Reads the window; 0 stands for none.
fn window(fields: &mut ConfigFields<'_>) -> Result<Option<u64>, GgufError> {
    fields.stand_for_own(WINDOW, "sliding_window");
    Ok(fields.integer(WINDOW)?.filter(|&window| window > 0))
}

/// Reads a soft bound; 0 stands for none.
fn soft_cap(fields: &mut ConfigFields<'_>, key: &str) -> Result<(), GgufError> {
    if let Some(cap) = fields.number(key)? {
        let cap = if cap == 0.0 { Value::Null } else { json!(cap) };
        fields.insert(key, cap);
        fields.stand_for_own(key, key);
    }
    Ok(())
}

/// Reads in which layers the window slides: in those that the file names one by one, else in all but every n-th.
fn insert_layer_types(fields: &mut ConfigFields<'_>, period: u64) -> Result<(), GgufError> {
    let types = match fields.flags(WINDOW_PATTERN) {
        Some(slides) => {
            let slides: Vec<Value> = slides.into_iter().map(layer_type).collect();
            Value::Array(slides)
        }
        None => {
            let period = fields.integer(WINDOW_PATTERN)?.unwrap_or(period);
            layer_types(fields, |layer_idx| {
                period == 0 || layer_idx % period < period - 1
            })
        }
    };
    fields.insert("layer_types", types);
    fields.stand_for_own(WINDOW_PATTERN, "layer_types");
    Ok(())
}

/// Names the kind of each layer.
fn layer_types(fields: &ConfigFields<'_>, slides: impl Fn(u64) -> bool) -> Value {
    // A number that no model has is refused later.
    let n_layers = fields.size("num_hidden_layers").unwrap_or(0).min(1 << 16);
    (0..n_layers)
        .map(|layer_idx| layer_type(slides(layer_idx)))
        .collect()
}

fn layer_type(slides: bool) -> Value {
    json!(if slides {
        "sliding_attention"
    } else {
        "full_attention"
    })
}

/// Refuses a base of its own for the layers with a window.
fn check_sliding_base(fields: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    let base = fields.fields.get("rope_theta").and_then(Value::as_f64);
    match fields.number(SLIDING_BASE)? {
        Some(own) if Some(own) != base => {
            let expected = format!("the same as {}.rope.freq_base", fields.family);
            Err(fields.invalid(SLIDING_BASE, &expected))
        }
        _ => Ok(()),
    }
}

/// Reads what queries are divided by the root of: from the scale, where the file has one, else the width of a head, but
/// for one model of the family, known by its number of layers, the residual stream's share of each head.
fn query_scalar(fields: &mut ConfigFields<'_>, n_layers: u64) -> Result<(), GgufError> {
    let scale = fields
        .number(ATTENTION_SCALE)?
        .filter(|&scale| scale != 0.0);
    let scalar = match scale {
        Some(scale) => Some(scale.powi(-2)),
        None if fields.size("num_hidden_layers") == Some(n_layers) => {
            fields.quotient().map(|width| width as f64)
        }
        None => fields.head_dim().map(|width| width as f64),
    };
    if let Some(scalar) = scalar {
        fields.insert("query_pre_attn_scalar", json!(scalar));
        fields.stand_for_own(ATTENTION_SCALE, "query_pre_attn_scalar");
    }
    Ok(())
}
