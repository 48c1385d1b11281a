//! What the names of a file's tensors say of it, for errors.

use super::names::same_ending;
use crate::file::excerpt;

const UNQUANTISED: &str = "; take the model in bf16 or f16";

/// What tensors are called in files that cannot be read, where it is, and what to do.
const KINDS: [(&[&str], &str, &str); 14] = [
    (
        &[".lora_A.", ".lora_B.", ".lora_embedding_", ".base_layer."],
        "the tensors of an adapter that is not merged into its model",
        "; merge it with peft's merge_and_unload",
    ),
    (
        &[".qweight", ".qzeros"],
        "weights quantised by GPTQ or AWQ",
        UNQUANTISED,
    ),
    (
        &[".weight_packed"],
        "weights quantised by compressed-tensors",
        UNQUANTISED,
    ),
    (
        &[".weight_scale_inv", ".weight_scale", ".input_scale"],
        "weights quantised to fp8",
        UNQUANTISED,
    ),
    (
        &[".absmax", ".quant_map", ".SCB"],
        "weights quantised by bitsandbytes",
        UNQUANTISED,
    ),
    (
        &[".scales", ".biases"],
        "weights quantised by MLX",
        UNQUANTISED,
    ),
    (
        &["_blocks", "_scales"],
        "weights quantised to mxfp4",
        UNQUANTISED,
    ),
    (
        &[
            "vision_tower.",
            "vision_model.",
            "visual.",
            "multi_modal_projector.",
        ],
        "a part for pictures",
        "; only the weights of a text model can be loaded",
    ),
    (
        &["audio_tower.", "speech_encoder."],
        "a part for sound",
        "; only the weights of a text model can be loaded",
    ),
    (
        &[".experts.", "block_sparse_moe."],
        "experts, of which its config.json does not speak as the family's does",
        "",
    ),
    (
        &["tok_embeddings.weight", ".attention.wq."],
        "tensors in the form of the model's maker",
        "; take the model in the form of transformers",
    ),
    (
        &["transformer.h.", "wte.weight"],
        "the tensors of a GPT-2",
        "",
    ),
    (&["gpt_neox."], "the tensors of a GPT-NeoX", ""),
    (
        &["encoder.layer."],
        "the tensors of an encoder, as BERT is",
        "",
    ),
];

/// Returns a clause about what the names show, beginning with a semicolon, or nothing.
pub(super) fn kind<'n>(names: impl Iterator<Item = &'n String> + Clone) -> String {
    for (parts, what, to_do) in KINDS {
        let shows = |name: &&String| parts.iter().any(|part| name.contains(part));
        if let Some(name) = names.clone().filter(shows).min() {
            return format!("; it holds {what} ({}){to_do}", excerpt(name));
        }
    }
    String::new()
}

/// Returns a clause about what is there in the place of a missing tensor.
pub(super) fn missing<'n>(wanted: &str, names: impl Iterator<Item = &'n String> + Clone) -> String {
    let kind = kind(names.clone());
    if !kind.is_empty() {
        return kind;
    }
    let same = same_ending(wanted, names.clone());
    match same.as_slice() {
        [] => {}
        [name] => {
            let own = wanted.strip_prefix("model.").unwrap_or(wanted);
            let prefix = name.strip_suffix(own).unwrap_or_default();
            return format!(
                "; there is {}, with a prefix, {}, that is not known: take it off the tensors' names",
                excerpt(name),
                excerpt(prefix)
            );
        }
        [first, second, ..] => {
            return format!(
                "; there are {} and {}, and nothing says which is meant",
                excerpt(first),
                excerpt(second)
            );
        }
    }
    const SHOWN: usize = 3;
    let mut all: Vec<&String> = names.collect();
    all.sort();
    let shown: Vec<String> = all.iter().take(SHOWN).map(|name| excerpt(name)).collect();
    match all.len().saturating_sub(SHOWN) {
        _ if shown.is_empty() => "; the file holds no tensor".to_owned(),
        0 => format!("; there are {}", shown.join(", ")),
        more => format!("; there are {} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_named() {
        let wanted = "model.embed_tokens.weight";
        for (names, parts) in [
            (
                &["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"][..],
                &["adapter", "lora_A", "merge_and_unload"][..],
            ),
            (
                &["model.layers.0.mlp.up_proj.qweight"],
                &["GPTQ or AWQ", "bf16"],
            ),
            (&["model.layers.0.mlp.up_proj.weight_scale_inv"], &["fp8"]),
            (
                &["model.layers.0.mlp.up_proj.weight.absmax"],
                &["bitsandbytes"],
            ),
            (
                &["model.embed_tokens.biases", "model.embed_tokens.scales"],
                &["MLX"],
            ),
            (&["tok_embeddings.weight"], &["maker"]),
            (&["transformer.wte.weight"], &["GPT-2"]),
            (&["vision_tower.x.weight"], &["pictures", "text model"]),
            (
                &["foo.bar.embed_tokens.weight", "foo.bar.norm.weight"],
                &["foo.bar.embed_tokens", "foo.bar.,", "take it off"],
            ),
            (
                &["a.embed_tokens.weight", "b.embed_tokens.weight"],
                &["nothing says which"],
            ),
            (&["c", "a", "b", "d"], &["a, b, c and 1 more"]),
            (&["a"], &["there are a"]),
            (&[], &["no tensor"]),
        ] {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let text = missing(wanted, names.iter());
            for part in parts {
                assert!(text.contains(part), "{part:?} is not in: {text}");
            }
        }
    }
}
