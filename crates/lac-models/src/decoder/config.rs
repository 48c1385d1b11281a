//! The sizes of a decoder, and the choices in which architectures differ.

use super::rope::{RopeConfig, RopeScaling};

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
///
/// [`ModelConfig`](crate::ModelConfig) reads one from a `config.json`. By hand, [`new`](Self::new) takes the four sizes
/// that have no default, and the `with_…` methods change the rest; [`init`](Self::init) then makes a decoder with
/// random weights.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::tensor::{Device, Int, Tensor};
/// use lac_models::DecoderConfig;
/// use lac_models::decoder::HeadKind;
///
/// let config = DecoderConfig::new(64, 16, 2, 4)
///     .with_n_kv_heads(2)
///     .with_intermediate_size(40)
///     .with_head(HeadKind::Tied);
/// assert_eq!((config.head_dim, config.n_parameters()), (4, 6480));
///
/// let device = Device::flex();
/// let decoder = config.init(&device);
/// let token_ids = Tensor::<2, Int>::from_data([[1, 2, 3], [4, 5, 6]], &device);
/// assert_eq!(decoder.forward(token_ids).dims(), [2, 3, 64]);
/// # }
/// ```
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
    /// Describes a decoder of these sizes, with a Llama's defaults for everything else: an MLP four times as wide as
    /// the residual stream, as many key/value heads as query heads, heads of `hidden_size / n_heads` numbers, an ε of
    /// 1e-6, 2048 positions, rotary positions of base 10000, no sliding window, no biases, and an untied head.
    pub fn new(vocab_size: usize, hidden_size: usize, n_layers: usize, n_heads: usize) -> Self {
        Self {
            vocab_size,
            hidden_size,
            intermediate_size: hidden_size.saturating_mul(4),
            n_layers,
            n_heads,
            n_kv_heads: n_heads,
            head_dim: hidden_size.checked_div(n_heads).unwrap_or(0),
            rms_norm_eps: 1e-6,
            max_position_embeddings: 2048,
            rope: RopeConfig::new(10_000.0),
            sliding_window: None,
            qkv_bias: ProjectionBias::Absent,
            o_bias: ProjectionBias::Absent,
            mlp_bias: ProjectionBias::Absent,
            head: HeadKind::Untied,
        }
    }

    /// Sets the width inside the MLP.
    #[must_use]
    pub fn with_intermediate_size(mut self, intermediate_size: usize) -> Self {
        self.intermediate_size = intermediate_size;
        self
    }

    /// Sets the number of key/value heads, a divisor of the number of query heads.
    #[must_use]
    pub fn with_n_kv_heads(mut self, n_kv_heads: usize) -> Self {
        self.n_kv_heads = n_kv_heads;
        self
    }

    /// Sets the width of a head, an even number.
    #[must_use]
    pub fn with_head_dim(mut self, head_dim: usize) -> Self {
        self.head_dim = head_dim;
        self
    }

    /// Sets the ε of the RMS norms.
    #[must_use]
    pub fn with_rms_norm_eps(mut self, rms_norm_eps: f64) -> Self {
        self.rms_norm_eps = rms_norm_eps;
        self
    }

    /// Sets the number of positions that the model is made for.
    #[must_use]
    pub fn with_max_position_embeddings(mut self, max_position_embeddings: usize) -> Self {
        self.max_position_embeddings = max_position_embeddings;
        self
    }

    /// Sets the rotary positions.
    #[must_use]
    pub fn with_rope(mut self, rope: RopeConfig) -> Self {
        self.rope = rope;
        self
    }

    /// Sets how many slots a query attends to, its own included; `None` for all earlier ones.
    #[must_use]
    pub fn with_sliding_window(mut self, sliding_window: Option<usize>) -> Self {
        self.sliding_window = sliding_window;
        self
    }

    /// Sets whether q, k and v have biases.
    #[must_use]
    pub fn with_qkv_bias(mut self, qkv_bias: ProjectionBias) -> Self {
        self.qkv_bias = qkv_bias;
        self
    }

    /// Sets whether o has a bias.
    #[must_use]
    pub fn with_o_bias(mut self, o_bias: ProjectionBias) -> Self {
        self.o_bias = o_bias;
        self
    }

    /// Sets whether gate, up and down have biases.
    #[must_use]
    pub fn with_mlp_bias(mut self, mlp_bias: ProjectionBias) -> Self {
        self.mlp_bias = mlp_bias;
        self
    }

    /// Sets where the head takes its weight from.
    #[must_use]
    pub fn with_head(mut self, head: HeadKind) -> Self {
        self.head = head;
        self
    }

    /// Returns how many tokens a text may have: `max_position_embeddings`, or more where the rotary positions are
    /// stretched beyond it. A linear factor multiplies it. With llama3, a `max_position_embeddings` that is no more than
    /// the training context is that context, and multiplied as well; a larger one is already the stretched number.
    pub fn max_context(&self) -> usize {
        let positions = self.max_position_embeddings;
        let factor = match self.rope.scaling {
            RopeScaling::Linear { factor } => factor,
            RopeScaling::Llama3 {
                factor,
                original_max_position_embeddings,
                ..
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
        let stretched = match self.rope.scaling {
            _ if self.max_context() == positions => None,
            RopeScaling::Linear { factor } => Some(("linear", factor)),
            RopeScaling::Llama3 { factor, .. } => Some(("llama3", factor)),
            RopeScaling::None => None,
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
        } else if !self
            .rope
            .has_finite_angles(self.head_dim, self.max_context())
        {
            Some("rotary angles are infinite")
        } else {
            None
        }
    }

    /// Returns the number of parameters, and `u64::MAX` where it is larger than that.
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

    /// Returns the number of parameters that a pass of one token reads when it runs `n_executed` layers: those of the
    /// layers, of the final norm and of the head. The embedding does not count, since the pass reads one row of it.
    pub fn n_parameters_read(&self, n_executed: f64) -> f64 {
        let head = self.vocab_size as f64 * self.hidden_size as f64;
        n_executed * self.n_layer_parameters() as f64 + head + self.hidden_size as f64
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

    /// Returns the number of parameters of a layer. Sizes of 31 bits leave the sum far below 128 bits.
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
