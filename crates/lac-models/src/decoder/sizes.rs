//! What follows from a decoder's sizes: whether they are possible, its context, how many parameters it has.

use std::collections::BTreeSet;

use super::config::{DecoderConfig, HeadKind, HeadNorms, LayerNorms, ProjectionBias};
use super::experts_config::ExpertsConfig;
use super::rope::RopeScaling;

impl DecoderConfig {
    /// Returns how many tokens a text may have: `max_position_embeddings`, or more where the rotary positions are
    /// stretched beyond it. A linear factor multiplies it. With llama3, yarn and dynamic, a `max_position_embeddings` that is no more than
    /// the training context is that context, and multiplied as well; a larger one is already the stretched number.
    pub fn max_context(&self) -> usize {
        let positions = self.max_position_embeddings;
        let factor = match self.rope.scaling {
            RopeScaling::Linear { factor } => factor,
            RopeScaling::Llama3 {
                factor,
                original_max_position_embeddings,
                ..
            }
            | RopeScaling::Yarn {
                factor,
                original_max_position_embeddings,
                ..
            }
            | RopeScaling::Dynamic {
                factor,
                original_max_position_embeddings,
            } if positions <= original_max_position_embeddings => factor,
            _ => 1.0,
        };
        // A factor below 1 makes wavelengths shorter; the positions that were trained stay.
        let stretched = (positions as f64 * factor.max(1.0)).floor();
        (stretched as usize).min((1 << 31) - 1).max(positions)
    }

    /// Returns where [`max_context`](Self::max_context) comes from, in words for an error.
    pub fn describe_context(&self) -> String {
        let positions = self.max_position_embeddings;
        let stretched = match &self.rope.scaling {
            _ if self.max_context() == positions => None,
            RopeScaling::Linear { factor } => Some(("linear", factor)),
            RopeScaling::Llama3 { factor, .. } => Some(("llama3", factor)),
            RopeScaling::Yarn { factor, .. } => Some(("yarn", factor)),
            RopeScaling::Dynamic { factor, .. } => Some(("dynamic", factor)),
            RopeScaling::None | RopeScaling::LongRope { .. } | RopeScaling::Factors { .. } => None,
        };
        match stretched {
            None => format!("max_position_embeddings {positions}"),
            Some((kind, factor)) => {
                format!("max_position_embeddings {positions} times the {kind} factor {factor}")
            }
        }
    }

    /// Returns why no decoder can have these sizes.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        let sizes = [
            self.vocab_size,
            self.hidden_size,
            self.intermediate_size,
            self.n_layers,
            self.n_heads,
            self.n_kv_heads,
            self.head_dim,
        ];
        if sizes.contains(&0) {
            Some("a size is 0")
        } else if !self.head_dim.is_multiple_of(2) {
            Some("head_dim is odd")
        } else if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            Some("n_kv_heads does not divide n_heads")
        } else if !self.n_rotated().is_multiple_of(2)
            || !(1..=self.head_dim).contains(&self.n_rotated())
        {
            Some("rotary_dim is not an even part of head_dim")
        } else if !self.has_finite_angles() {
            Some("rotary angles are infinite")
        } else if self.sliding_window == Some(0) {
            Some("the sliding window is 0")
        } else if !self.has_finite_multipliers() {
            Some("a multiplier or bound is 0, negative or not finite")
        } else if self.query_scale.is_some_and(|scale| {
            scale.original_max_position_embeddings == 0
                || !(scale.beta.is_finite() && scale.beta >= 0.0)
        }) {
            Some("the growth of queries is negative, not finite, or per context of 0 positions")
        } else {
            self.experts.as_ref()?.contradiction()
        }
    }

    /// Returns whether all rotary angles of the context are finite.
    pub(crate) fn has_finite_angles(&self) -> bool {
        let n_rotated = self.n_rotated();
        let mut ropes = [Some(&self.rope), self.sliding_rope.as_ref()]
            .into_iter()
            .flatten();
        ropes.all(|rope| rope.has_finite_angles(n_rotated, self.max_context()))
    }

    fn has_finite_multipliers(&self) -> bool {
        let optional = [
            self.attention_multiplier,
            self.attention_soft_cap,
            self.logits_soft_cap,
        ];
        let mut all = [
            self.embedding_multiplier,
            self.residual_multiplier,
            self.logits_divisor,
        ]
        .into_iter()
        .chain(optional.into_iter().flatten());
        all.all(|multiplier| multiplier.is_finite() && multiplier > 0.0)
    }

    /// Returns the number of parameters, and `u64::MAX` where it is larger than that.
    pub fn n_parameters(&self) -> u64 {
        self.n_parameters_with(|experts| experts.n_experts)
    }

    /// Returns the number of parameters that a token goes through: all but those of experts that it does not choose. This is
    /// what names of models with experts count, as the 3 billion in Qwen3-30B-A3B.
    pub fn n_parameters_per_token(&self) -> u64 {
        self.n_parameters_with(|experts| experts.n_chosen)
    }

    /// Returns the number of parameters where so many experts of a layer count.
    fn n_parameters_with(&self, n_counted: impl Fn(&ExpertsConfig) -> usize) -> u64 {
        let vocabulary = self.vocab_size as u128 * self.hidden_size as u128;
        let n_vocabularies = match self.head {
            HeadKind::Tied => 1,
            HeadKind::Untied => 2,
        };
        let layers = self.n_layer_parameters(n_counted);
        let total = (n_vocabularies * vocabulary + self.hidden_size as u128).saturating_add(layers);
        u64::try_from(total).unwrap_or(u64::MAX)
    }

    /// Returns the number of parameters that a pass of one token reads when it runs `n_executed` layers: those of the
    /// layers, of the final norm and of the head. The embedding does not count, since the pass reads one row of it, and nor do
    /// experts that the token does not choose.
    pub fn n_parameters_read(&self, n_executed: f64) -> f64 {
        let head = self.vocab_size as f64 * self.hidden_size as f64;
        let layers = self.n_layer_parameters(|experts| experts.n_chosen) as f64;
        n_executed / self.n_layers as f64 * layers + head + self.hidden_size as f64
    }

    /// Returns how many numbers the KV cache of `batch` rows of `n_slots` slots holds, keys and values together.
    pub fn n_cached(&self, batch: usize, n_slots: usize) -> u64 {
        let sizes = [
            2,
            self.n_layers,
            batch,
            self.n_kv_heads,
            n_slots,
            self.head_dim,
        ];
        let product = |product: u64, size: usize| product.saturating_mul(size as u64);
        sizes.into_iter().fold(1, product)
    }

    /// Returns the number of parameters of all layers, where so many experts of a layer count. Sizes of 31 bits leave the sum
    /// far below 128 bits.
    fn n_layer_parameters(&self, n_counted: impl Fn(&ExpertsConfig) -> usize) -> u128 {
        let size = |n: usize| n as u128;
        let bias = |bias, n| match bias {
            ProjectionBias::Absent => 0,
            ProjectionBias::Present => n,
        };
        let (hidden, intermediate) = (size(self.hidden_size), size(self.intermediate_size));
        let queries = size(self.n_heads) * size(self.head_dim);
        let keys = size(self.n_kv_heads) * size(self.head_dim);
        let attention = 2 * (queries + keys) * hidden
            + bias(self.qkv_bias, queries + 2 * keys)
            + bias(self.o_bias, hidden);
        let mlp = 3 * hidden * intermediate + bias(self.mlp_bias, 2 * intermediate + hidden);
        let head_norms = match self.head_norms {
            HeadNorms::Absent => 0,
            HeadNorms::PerHead => 2 * size(self.head_dim),
            HeadNorms::AllHeads => queries + keys,
        };
        let n_norms = match self.layer_norms {
            LayerNorms::Before | LayerNorms::After => 2,
            LayerNorms::BeforeAndAfter => 4,
        };
        let mlps = match &self.experts {
            None => size(self.n_layers) * mlp,
            Some(experts) => {
                let dense = experts.dense_layers.iter();
                let dense: BTreeSet<&usize> = dense.filter(|&&idx| idx < self.n_layers).collect();
                let n_dense = dense.len();
                let sparse = experts.n_parameters(self.hidden_size, n_counted(experts));
                size(n_dense) * mlp + size(self.n_layers - n_dense) * sparse
            }
        };
        size(self.n_layers) * (attention + head_norms + n_norms * hidden) + mlps
    }
}
