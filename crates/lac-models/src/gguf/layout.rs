//! Where a checkpoint's tensors are in a GGUF file: their names, and the order of their rows.

use crate::decoder::LayerNorms;

/// How a family's tensors were named and changed when the model was converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(super) qk_rows: RowOrder,
    pub(super) norm_weights: NormWeights,
    /// The norms of a layer, which decide their names.
    pub(super) layer_norms: LayerNorms,
}

/// What stands in a file for the weights of norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormWeights {
    /// The checkpoint's.
    AsTheyAre,
    /// One more: what Gemma multiplies by.
    OneMore,
}

/// In which order the rows of q and k stand in a file. Each row makes one number of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// As in the checkpoint: rotary positions rotate the two halves of a head against each other.
    Halves,
    /// Rotary positions rotate pairs of neighbours: the two halves of a head take turns.
    Pairs,
}

/// Names of a layer's tensors: in checkpoints, and in GGUF files.
const LAYER_NAMES: &[(&str, &str)] = &[
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate", "ffn_gate_inp"),
    ("mlp.experts.gate_proj", "ffn_gate_exps"),
    ("mlp.experts.up_proj", "ffn_up_exps"),
    ("mlp.experts.down_proj", "ffn_down_exps"),
    ("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
    ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_expert.up_proj", "ffn_up_shexp"),
    ("mlp.shared_expert.down_proj", "ffn_down_shexp"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// Names of the tensors of one expert, in files from before those of all experts were one tensor.
const EXPERT_NAMES: &[(&str, &str)] = &[
    ("gate_proj", "ffn_gate"),
    ("up_proj", "ffn_up"),
    ("down_proj", "ffn_down"),
];

/// The embedding's name in GGUF files.
pub(super) const EMBEDDING: &str = "token_embd.weight";

/// The head's name in GGUF files, which lack it where it is tied to the embedding.
pub(super) const HEAD: &str = "output.weight";

/// Factors of the rotary wavelengths, one for each pair of a head.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Those of texts within the training context, where longer ones have others.
pub(super) const ROPE_SHORT_FACTORS: &str = "rope_factors_short.weight";

/// Those of texts beyond the training context.
pub(super) const ROPE_LONG_FACTORS: &str = "rope_factors_long.weight";

/// Returns whether a tensor follows from the metadata, or was read with it.
pub(super) fn is_redundant(gguf_name: &str) -> bool {
    [ROPE_FACTORS, ROPE_SHORT_FACTORS, ROPE_LONG_FACTORS].contains(&gguf_name)
        || gguf_name.ends_with(".attn_rot_embd.weight")
}

/// Returns the name that a tensor of a checkpoint has in GGUF files. The norms of a layer decide theirs.
pub(super) fn gguf_name(name: &str, layer_norms: LayerNorms) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some(EMBEDDING.to_owned()),
        "model.norm.weight" => return Some("output_norm.weight".to_owned()),
        "lm_head.weight" => return Some(HEAD.to_owned()),
        _ => {}
    }
    let (layer_idx, name) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (name, kind) = name.rsplit_once('.')?;
    if let Some(expert) = name.strip_prefix("mlp.experts.")
        && let Some((expert, part)) = expert.split_once('.')
    {
        let (_, part) = EXPERT_NAMES.iter().find(|(other, _)| *other == part)?;
        return Some(format!("blk.{layer_idx}.{part}.{expert}.{kind}"));
    }
    let mut names = LAYER_NAMES.iter().chain(norm_names(layer_norms));
    let (_, gguf_name) = names.find(|(other, _)| *other == name)?;
    Some(format!("blk.{layer_idx}.{gguf_name}.{kind}"))
}

/// Names of a layer's norms: in checkpoints, where they depend on the other norms, and in GGUF files.
fn norm_names(layer_norms: LayerNorms) -> &'static [(&'static str, &'static str)] {
    match layer_norms {
        LayerNorms::Before => &[
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
        ],
        LayerNorms::After => &[
            ("post_attention_layernorm", "post_attention_norm"),
            ("post_feedforward_layernorm", "post_ffw_norm"),
        ],
        LayerNorms::BeforeAndAfter => &[
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "post_attention_norm"),
            ("pre_feedforward_layernorm", "ffn_norm"),
            ("post_feedforward_layernorm", "post_ffw_norm"),
        ],
    }
}

impl Layout {
    /// Returns the name that a tensor of a checkpoint has in the file.
    pub(super) fn gguf_name(self, name: &str) -> Option<String> {
        gguf_name(name, self.layer_norms)
    }

    /// Returns whether a tensor of a checkpoint is the weight of a norm to which the file has added 1.
    pub(crate) fn is_one_more(self, name: &str) -> bool {
        self.norm_weights == NormWeights::OneMore && name.ends_with("norm.weight")
    }

    /// Returns whether the rows of a tensor of a checkpoint stand in another order in the file.
    pub(crate) fn is_permuted(self, name: &str) -> bool {
        self.qk_rows.is_permuted(name)
    }
}

impl RowOrder {
    /// Returns whether the rows of a tensor of a checkpoint stand in another order in the file.
    pub(crate) fn is_permuted(self, name: &str) -> bool {
        self == Self::Pairs
            && (name.contains(".self_attn.q_proj.") || name.contains(".self_attn.k_proj."))
    }
}

/// Puts the rows of q or k into a checkpoint's order: first the even ones of each head, then the odd ones.
pub(super) fn restore_rows<T: Copy>(values: &mut [T], row_len: usize, head_dim: usize) {
    let half = head_dim / 2;
    for head in values.chunks_exact_mut(row_len * head_dim) {
        let in_pairs = head.to_vec();
        for (row, restored) in head.chunks_exact_mut(row_len).enumerate() {
            let from = row % half * 2 + row / half;
            restored.copy_from_slice(&in_pairs[from * row_len..][..row_len]);
        }
    }
}

/// Puts the rows of q or k into the order of a file: the inverse of [`restore_rows`].
pub(crate) fn pair_rows<T: Copy>(values: &mut [T], row_len: usize, head_dim: usize) {
    let half = head_dim / 2;
    for head in values.chunks_exact_mut(row_len * head_dim) {
        let in_halves = head.to_vec();
        for (row, restored) in in_halves.chunks_exact(row_len).enumerate() {
            let to = row % half * 2 + row / half;
            head[to * row_len..][..row_len].copy_from_slice(restored);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tensors() {
        use LayerNorms::{After, Before, BeforeAndAfter};
        let layout = |layer_norms| Layout {
            qk_rows: RowOrder::Pairs,
            norm_weights: NormWeights::OneMore,
            layer_norms,
        };
        for (name, expected) in [
            ("model.embed_tokens.weight", Some("token_embd.weight")),
            ("model.norm.weight", Some("output_norm.weight")),
            ("lm_head.weight", Some("output.weight")),
            (
                "model.layers.12.self_attn.q_proj.bias",
                Some("blk.12.attn_q.bias"),
            ),
            (
                "model.layers.0.post_attention_layernorm.weight",
                Some("blk.0.ffn_norm.weight"),
            ),
            (
                "model.layers.3.mlp.experts.11.up_proj.weight",
                Some("blk.3.ffn_up.11.weight"),
            ),
            ("model.layers.3.mlp.experts.11.other.weight", None),
            ("model.layers.0.other.weight", None),
            ("model.layers.0", None),
            ("other", None),
        ] {
            assert_eq!(
                layout(Before).gguf_name(name).as_deref(),
                expected,
                "{name}"
            );
        }
        for (norms, name, expected) in [
            (
                After,
                "post_attention_layernorm",
                Some("post_attention_norm"),
            ),
            (After, "post_feedforward_layernorm", Some("post_ffw_norm")),
            (After, "input_layernorm", None),
            (
                BeforeAndAfter,
                "post_attention_layernorm",
                Some("post_attention_norm"),
            ),
            (
                BeforeAndAfter,
                "pre_feedforward_layernorm",
                Some("ffn_norm"),
            ),
            (Before, "self_attn.q_norm", Some("attn_q_norm")),
            (Before, "self_attn.qkv_proj", Some("attn_qkv")),
            (Before, "mlp.gate_up_proj", Some("ffn_up")),
            (Before, "mlp.gate", Some("ffn_gate_inp")),
            (Before, "mlp.experts.down_proj", Some("ffn_down_exps")),
        ] {
            let found = layout(norms).gguf_name(&format!("model.layers.0.{name}.weight"));
            let expected = expected.map(|name| format!("blk.0.{name}.weight"));
            assert_eq!(found, expected, "{norms:?}, {name}");
        }
        assert!(layout(Before).is_one_more("model.norm.weight"));
        assert!(layout(Before).is_one_more("model.layers.0.self_attn.q_norm.weight"));
        assert!(!layout(Before).is_one_more("model.layers.0.mlp.up_proj.weight"));
    }

    #[test]
    fn rows_of_heads_are_put_back() {
        // Two heads of four rows of two numbers. The converter writes row 2 a + b of a head behind row a of its first
        // half and b of its second half.
        let mut rows = [0, 2, 1, 3, 4, 6, 5, 7].map(|row| [row, 10 + row]).concat();
        let in_file = rows.clone();
        restore_rows(&mut rows, 2, 4);
        assert_eq!(
            rows,
            [0, 1, 2, 3, 4, 5, 6, 7].map(|row| [row, 10 + row]).concat()
        );
        pair_rows(&mut rows, 2, 4);
        assert_eq!(rows, in_file);
    }
}
