//! Names of tensors in files: behind the prefixes that other programs put before them, and one name for a tensor that
//! has two.

use std::collections::{BTreeMap, HashMap, HashSet};

/// Modules that wrap others for training, compilation and distribution. Their names may stand anywhere.
const WRAPPERS: [&str; 5] = [
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
];

/// Modules that hold a language model. Their names stand before its own.
const HOLDERS: [&str; 6] = [
    "model",
    "language_model",
    "text_model",
    "base_model",
    "pretrained_model",
    "llm",
];

/// Which stored tensor is meant by a name.
#[derive(Debug, Default)]
pub(super) struct TensorNames {
    /// The stored name behind each plain name that is not itself a stored one.
    stored: BTreeMap<String, String>,
    /// The plain name of each stored one that has another.
    plain: HashMap<String, String>,
}

impl TensorNames {
    /// Finds plain names. `shared` holds the names that were left out when the file was written, each with the stored
    /// name of the same tensor.
    pub(super) fn of<'n>(
        names: impl Iterator<Item = &'n String> + Clone,
        shared: impl Iterator<Item = (&'n String, &'n String)>,
    ) -> Self {
        let is_stored: HashSet<&String> = names.clone().collect();
        let mut stored: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in names.filter(|name| !is_inert(name, &[])) {
            if let Some(plain) = plain_name(name).filter(|plain| !is_stored.contains(plain)) {
                stored.entry(plain).or_default().push(name.clone());
            }
        }
        // Two tensors of one plain name: neither is taken for it.
        let mut names = Self::default();
        for (plain, of_plain) in stored {
            if let [name] = of_plain.as_slice() {
                names.plain.insert(name.clone(), plain.clone());
                names.stored.insert(plain, name.clone());
            }
        }
        for (left_out, kept) in shared {
            let plain = plain_name(left_out).unwrap_or_else(|| left_out.clone());
            if is_stored.contains(kept) && !is_stored.contains(&plain) {
                names.stored.entry(plain).or_insert_with(|| kept.clone());
            }
        }
        names
    }

    /// The stored name of a tensor that is asked for by a plain name and not stored under it.
    pub(super) fn stored(&self, plain: &str) -> Option<&str> {
        self.stored.get(plain).map(String::as_str)
    }

    /// The plain name of a stored tensor.
    pub(super) fn plain<'n>(&'n self, stored: &'n str) -> &'n str {
        self.plain.get(stored).map_or(stored, String::as_str)
    }

    /// Makes a stored tensor one of that plain name.
    pub(super) fn rename(&mut self, stored: &str, plain: &str) {
        self.plain.insert(stored.to_owned(), plain.to_owned());
        self.stored.insert(plain.to_owned(), stored.to_owned());
    }
}

/// Returns the name that a language model's tensor has in transformers, `model.layers…`, `model.embed_tokens…`,
/// `model.norm…` or `lm_head…`, where only known modules are around it.
fn plain_name(name: &str) -> Option<String> {
    let parts: Vec<&str> = name
        .split('.')
        .filter(|part| !WRAPPERS.contains(part))
        .collect();
    let is_own = |part: &&str| ["embed_tokens", "layers", "norm", "lm_head"].contains(part);
    let start = parts.iter().position(is_own)?;
    let are_known = parts[..start].iter().all(|part| HOLDERS.contains(part));
    let is_mixtral = parts.contains(&"block_sparse_moe");
    let own = parts[start..]
        .iter()
        .map(|part| if is_mixtral { plain_part(part) } else { part });
    let own = own.collect::<Vec<_>>().join(".");
    are_known.then(|| match parts[start] {
        "lm_head" => own,
        _ => format!("model.{own}"),
    })
}

/// Returns what transformers calls a part of the name of a Mixtral's experts.
fn plain_part(part: &str) -> &str {
    match part {
        "block_sparse_moe" => "mlp",
        "w1" => "gate_proj",
        "w2" => "down_proj",
        "w3" => "up_proj",
        other => other,
    }
}

/// Returns the plain name's beginnings that files have before it, for errors: what stands before `embed_tokens` and its
/// like in names that end as the wanted one does.
pub(super) fn same_ending<'n>(
    wanted: &str,
    names: impl Iterator<Item = &'n String>,
) -> Vec<&'n String> {
    let own = wanted.strip_prefix("model.").unwrap_or(wanted);
    let is_same = |name: &&String| {
        let before = name.strip_suffix(own);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    let mut same: Vec<&String> = names.filter(is_same).collect();
    same.sort();
    same
}

/// Whether a tensor is a table that follows from the configuration and that no model reads: angles, positions and masks
/// that older programs wrote down.
pub(super) fn is_inert(name: &str, shape: &[usize]) -> bool {
    const TABLES: [&str; 14] = [
        "inv_freq",
        "original_inv_freq",
        "position_ids",
        "cos_cached",
        "sin_cached",
        "cos_cache",
        "sin_cache",
        "cos_sin_cache",
        "freqs_cis",
        "masked_bias",
        "causal_mask",
        "attn_mask",
        "_cos_cached",
        "_sin_cached",
    ];
    let (before, last) = name.rsplit_once('.').unwrap_or(("", name));
    let is_rotary = || before.ends_with("rotary_emb") || before.ends_with("rope");
    let is_mask = || {
        let is_attention = before.ends_with("attn") || before.ends_with("attention");
        is_attention && last == "bias" && shape.len() == 4
    };
    TABLES.contains(&last) || (last == "freqs" && is_rotary()) || is_mask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_prefixes_are_taken_off() {
        let norm = Some("model.layers.0.input_layernorm.weight");
        for (name, plain) in [
            ("model.layers.0.input_layernorm.weight", norm),
            ("layers.0.input_layernorm.weight", norm),
            ("module.model.layers.0.input_layernorm.weight", norm),
            ("_orig_mod.model.layers.0.input_layernorm.weight", norm),
            ("module._orig_mod.layers.0.input_layernorm.weight", norm),
            ("language_model.model.layers.0.input_layernorm.weight", norm),
            ("model.language_model.layers.0.input_layernorm.weight", norm),
            (
                "base_model.model.model.layers.0.input_layernorm.weight",
                norm,
            ),
            ("model.layers.0._orig_mod.input_layernorm.weight", norm),
            (
                "model.layers.0._checkpoint_wrapped_module.input_layernorm.weight",
                norm,
            ),
            (
                "model.layers.1.block_sparse_moe.gate.weight",
                Some("model.layers.1.mlp.gate.weight"),
            ),
            (
                "model.layers.1.block_sparse_moe.experts.7.w3.weight",
                Some("model.layers.1.mlp.experts.7.up_proj.weight"),
            ),
            ("model.layers.1.w3.weight", Some("model.layers.1.w3.weight")),
            ("lm_head.weight", Some("lm_head.weight")),
            ("language_model.lm_head.weight", Some("lm_head.weight")),
            ("model.lm_head.weight", Some("lm_head.weight")),
            ("embed_tokens.weight", Some("model.embed_tokens.weight")),
            ("module.norm.weight", Some("model.norm.weight")),
            ("vision_tower.layers.0.input_layernorm.weight", None),
            ("model.vision_tower.norm.weight", None),
            ("mtp.layers.0.norm.weight", None),
            ("model.decoder.layers.0.norm.weight", None),
            ("transformer.h.0.ln_1.weight", None),
            ("", None),
            ("...", None),
        ] {
            assert_eq!(plain_name(name).as_deref(), plain, "{name}");
        }
    }

    #[test]
    fn two_tensors_of_one_plain_name_are_taken_for_neither() {
        let names = [
            "a.model.norm.weight",
            "module.norm.weight",
            "_orig_mod.norm.weight",
        ];
        let names = names.map(str::to_owned);
        let found = TensorNames::of(names.iter(), std::iter::empty());
        assert_eq!(found.stored("model.norm.weight"), None);
        let found = TensorNames::of(names[..2].iter(), std::iter::empty());
        assert_eq!(
            found.stored("model.norm.weight"),
            Some("module.norm.weight")
        );
        // One that is stored under its plain name is itself.
        let names = ["model.norm.weight", "module.norm.weight"].map(str::to_owned);
        let found = TensorNames::of(names.iter(), std::iter::empty());
        assert_eq!(found.stored("model.norm.weight"), None);
        assert_eq!(found.plain("module.norm.weight"), "module.norm.weight");
    }

    #[test]
    fn tables_are_told_from_weights() {
        for (name, shape, expected) in [
            (
                "model.layers.0.self_attn.rotary_emb.inv_freq",
                &[32][..],
                true,
            ),
            ("model.rotary_emb.original_inv_freq", &[32], true),
            (
                "model.layers.0.self_attn.rotary_emb.cos_cached",
                &[1, 1, 64, 8],
                true,
            ),
            (
                "model.layers.0.self_attn.rotary_emb.sin_cached",
                &[64, 8],
                true,
            ),
            ("rope.freqs", &[32], true),
            ("model.embeddings.position_ids", &[1, 512], true),
            ("position_ids", &[1, 512], true),
            ("transformer.h.0.attn.masked_bias", &[], true),
            ("transformer.h.0.attn.bias", &[1, 1, 64, 64], true),
            ("model.layers.0.self_attn.bias", &[8], false),
            ("model.layers.0.self_attn.q_proj.bias", &[8], false),
            ("model.layers.0.mlp.freqs", &[8], false),
            ("model.inv_freq.weight", &[8], false),
            ("nothing", &[0], false),
        ] {
            assert_eq!(is_inert(name, shape), expected, "{name}");
        }
    }
}
