//! What the three architectures have in common, and where they may differ.

use super::rope::RopeConfig;

/// Whether a group of projections has biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProjectionBias {
    /// Weights only.
    Absent,
    /// A bias vector beside every weight.
    Present,
}

/// Where the language-model head takes its weight from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeadKind {
    /// From the embedding.
    Tied,
    /// From `lm_head.weight`.
    Untied,
}

/// The sizes and choices of a [`Decoder`](super::Decoder).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DecoderConfig {
    /// Number of tokens of the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Number of layers.
    pub n_layers: usize,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key/value heads; divides the number of query heads.
    pub n_kv_heads: usize,
    /// Width of a head, an even number.
    pub head_dim: usize,
    /// ε of the RMS norms.
    pub rms_norm_eps: f64,
    /// Number of positions the model was made for.
    pub max_position_embeddings: usize,
    /// Rotary positions.
    pub rope: RopeConfig,
    /// Key `k` is visible to query `q` iff `q − window < k ≤ q`; `None` for all earlier keys.
    pub sliding_window: Option<usize>,
    /// Biases of q, k and v.
    pub qkv_bias: ProjectionBias,
    /// Bias of o.
    pub o_bias: ProjectionBias,
    /// Biases of gate, up and down.
    pub mlp_bias: ProjectionBias,
    /// Where the head takes its weight from.
    pub head: HeadKind,
}

impl DecoderConfig {
    /// Number of parameters; `u64::MAX` for more of them.
    pub fn n_parameters(&self) -> u64 {
        let vocabulary = self.vocab_size as u128 * self.hidden_size as u128;
        let n_vocabularies = match self.head {
            HeadKind::Tied => 1,
            HeadKind::Untied => 2,
        };
        let layers = (self.n_layers as u128).saturating_mul(self.n_layer_parameters());
        let total = (n_vocabularies * vocabulary + self.hidden_size as u128).saturating_add(layers);
        u64::try_from(total).unwrap_or(u64::MAX)
    }

    /// Number of parameters that a token's pass reads when it runs the given number of layers: theirs, the
    /// final norm's and the head's, but not the embedding, of which it reads a row.
    pub fn n_parameters_read(&self, n_executed: f64) -> f64 {
        let head = self.vocab_size as f64 * self.hidden_size as f64;
        n_executed * self.n_layer_parameters() as f64 + head + self.hidden_size as f64
    }

    /// Number of keys' and values' numbers that a context of `batch` rows of `n_slots` slots holds, all allocated
    /// when it is made.
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

    /// Number of parameters of a layer. Sizes of 31 bits leave the sum far below 128.
    fn n_layer_parameters(&self) -> u128 {
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
        attention + mlp + 2 * hidden
    }
}
