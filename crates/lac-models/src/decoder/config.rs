//! The sizes of a decoder, and the choices in which architectures differ.

use super::experts_config::ExpertsConfig;
use super::query_scale::QueryScale;
use super::rope::RopeConfig;
pub use lac_kernels::{Activation, NormForm};

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

/// Which norms a layer has, and the names of their tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerNorms {
    /// One before each sublayer: `input_layernorm` and `post_attention_layernorm`.
    Before,
    /// One after each sublayer, before its outputs are added to the residual stream: `post_attention_layernorm` and
    /// `post_feedforward_layernorm`.
    After,
    /// One before and one after each sublayer: `input_layernorm` and `post_attention_layernorm`,
    /// `pre_feedforward_layernorm` and `post_feedforward_layernorm`.
    BeforeAndAfter,
}

/// Which norms queries and keys go through before they are rotated: `q_norm` and `k_norm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeadNorms {
    /// They have no norms.
    Absent,
    /// Every head has a norm over its own width, all of them with one weight `[head_dim]`.
    PerHead,
    /// One norm over all heads together, with a weight `[heads * head_dim]`.
    AllHeads,
}

/// How a checkpoint stores the projections of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProjectionLayout {
    /// A tensor for each: `q_proj`, `k_proj`, `v_proj`, `gate_proj`, `up_proj`.
    Separate,
    /// One tensor for q, k and v, `qkv_proj`, and one for gate and up, `gate_up_proj`. They are cut while they are
    /// loaded.
    Fused,
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
    /// The experts that stand in place of the MLP; `None` for an MLP in every layer.
    pub experts: Option<ExpertsConfig>,
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
    /// Rotary positions of the layers with a sliding window, where they have their own.
    pub sliding_rope: Option<RopeConfig>,
    /// How many of a head's values are rotated, an even number: the first ones. `None` for all of them.
    pub rotary_dim: Option<usize>,
    /// Indices of the layers whose queries and keys are not rotated.
    pub unrotated_layers: Vec<usize>,
    /// How queries grow with their position, once they are rotated; `None` where they do not.
    pub query_scale: Option<QueryScale>,
    /// Key `k` is visible to query `q` iff `q − window < k ≤ q`; `None` for all earlier keys.
    pub sliding_window: Option<usize>,
    /// Indices of the layers that attend to all earlier keys although there is a window.
    pub full_attention_layers: Vec<usize>,
    /// Biases of q, k and v.
    pub qkv_bias: ProjectionBias,
    /// Bias of o.
    pub o_bias: ProjectionBias,
    /// Biases of gate, up and down.
    pub mlp_bias: ProjectionBias,
    /// Where the head takes its weight from.
    pub head: HeadKind,
    /// How the checkpoint stores q, k and v, and gate and up.
    pub projections: ProjectionLayout,
    /// The function that gates the MLP.
    pub activation: Activation,
    /// How the weights of the norms act.
    pub norm_form: NormForm,
    /// The norms of a layer.
    pub layer_norms: LayerNorms,
    /// The norms of queries and keys.
    pub head_norms: HeadNorms,
    /// Embeddings are multiplied by this number, rounded to the data type of the weights.
    pub embedding_multiplier: f64,
    /// What a sublayer adds to the residual stream is multiplied by this number.
    pub residual_multiplier: f64,
    /// The product of a query and a key is multiplied by this number; `None` for `1 / √head_dim`.
    pub attention_multiplier: Option<f64>,
    /// Bounds these products softly, `cap · tanh(product / cap)`.
    pub attention_soft_cap: Option<f64>,
    /// Logits are divided by this number.
    pub logits_divisor: f64,
    /// Bounds the logits softly, `cap · tanh(logit / cap)`.
    pub logits_soft_cap: Option<f64>,
}

impl DecoderConfig {
    /// Describes a decoder of these sizes, with a Llama's defaults for everything else: an MLP four times as wide as
    /// the residual stream, as many key/value heads as query heads, heads of `hidden_size / n_heads` numbers, an ε of
    /// 1e-6, 2048 positions, rotary positions of base 10000, no sliding window, no biases, an untied head, a norm before
    /// each sublayer, SiLU, no further norms, multipliers or bounds.
    pub fn new(vocab_size: usize, hidden_size: usize, n_layers: usize, n_heads: usize) -> Self {
        Self {
            vocab_size,
            hidden_size,
            intermediate_size: hidden_size.saturating_mul(4),
            experts: None,
            n_layers,
            n_heads,
            n_kv_heads: n_heads,
            head_dim: hidden_size.checked_div(n_heads).unwrap_or(0),
            rms_norm_eps: 1e-6,
            max_position_embeddings: 2048,
            rope: RopeConfig::new(10_000.0),
            sliding_rope: None,
            rotary_dim: None,
            unrotated_layers: Vec::new(),
            query_scale: None,
            sliding_window: None,
            full_attention_layers: Vec::new(),
            qkv_bias: ProjectionBias::Absent,
            o_bias: ProjectionBias::Absent,
            mlp_bias: ProjectionBias::Absent,
            head: HeadKind::Untied,
            projections: ProjectionLayout::Separate,
            activation: Activation::Silu,
            norm_form: NormForm::Weight,
            layer_norms: LayerNorms::Before,
            head_norms: HeadNorms::Absent,
            embedding_multiplier: 1.0,
            residual_multiplier: 1.0,
            attention_multiplier: None,
            attention_soft_cap: None,
            logits_divisor: 1.0,
            logits_soft_cap: None,
        }
    }

    /// Returns how many slots a query of a layer attends to, its own included; `None` for all earlier ones.
    pub fn window_of(&self, layer_idx: usize) -> Option<usize> {
        let is_full = self.full_attention_layers.contains(&layer_idx);
        self.sliding_window.filter(|_| !is_full)
    }

    /// Returns the experts of a layer; `None` for one with a dense MLP.
    pub fn experts_of(&self, layer_idx: usize) -> Option<&ExpertsConfig> {
        let experts = self.experts.as_ref();
        experts.filter(|experts| !experts.dense_layers.contains(&layer_idx))
    }

    /// Returns how many of a head's values are rotated.
    pub fn n_rotated(&self) -> usize {
        self.rotary_dim.unwrap_or(self.head_dim)
    }

    /// Returns the number that products of queries and keys are multiplied by.
    pub fn attention_scale(&self) -> f64 {
        let default = || (self.head_dim as f64).powf(-0.5);
        self.attention_multiplier.unwrap_or_else(default)
    }

    /// Sets the width inside the MLP.
    #[must_use]
    pub fn with_intermediate_size(mut self, intermediate_size: usize) -> Self {
        self.intermediate_size = intermediate_size;
        self
    }

    /// Sets the experts that stand in place of the MLP; `None` for an MLP in every layer.
    #[must_use]
    pub fn with_experts(mut self, experts: Option<ExpertsConfig>) -> Self {
        self.experts = experts;
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

    /// Sets the rotary positions of the layers with a sliding window; `None` for those of the other layers.
    #[must_use]
    pub fn with_sliding_rope(mut self, sliding_rope: Option<RopeConfig>) -> Self {
        self.sliding_rope = sliding_rope;
        self
    }

    /// Sets how many of a head's values are rotated, an even number; `None` for all of them.
    #[must_use]
    pub fn with_rotary_dim(mut self, rotary_dim: Option<usize>) -> Self {
        self.rotary_dim = rotary_dim;
        self
    }

    /// Sets the layers whose queries and keys are not rotated.
    #[must_use]
    pub fn with_unrotated_layers(mut self, unrotated_layers: Vec<usize>) -> Self {
        self.unrotated_layers = unrotated_layers;
        self
    }

    /// Sets how queries grow with their position; `None` where they do not.
    #[must_use]
    pub fn with_query_scale(mut self, query_scale: Option<QueryScale>) -> Self {
        self.query_scale = query_scale;
        self
    }

    /// Sets the layers that attend to all earlier keys although there is a window.
    #[must_use]
    pub fn with_full_attention_layers(mut self, full_attention_layers: Vec<usize>) -> Self {
        self.full_attention_layers = full_attention_layers;
        self
    }

    /// Sets how the checkpoint stores q, k and v, and gate and up.
    #[must_use]
    pub fn with_projections(mut self, projections: ProjectionLayout) -> Self {
        self.projections = projections;
        self
    }

    /// Sets the function that gates the MLP.
    #[must_use]
    pub fn with_activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// Sets how the weights of the norms act.
    #[must_use]
    pub fn with_norm_form(mut self, norm_form: NormForm) -> Self {
        self.norm_form = norm_form;
        self
    }

    /// Sets the norms of a layer.
    #[must_use]
    pub fn with_layer_norms(mut self, layer_norms: LayerNorms) -> Self {
        self.layer_norms = layer_norms;
        self
    }

    /// Sets the norms of queries and keys.
    #[must_use]
    pub fn with_head_norms(mut self, head_norms: HeadNorms) -> Self {
        self.head_norms = head_norms;
        self
    }

    /// Sets the number that embeddings are multiplied by.
    #[must_use]
    pub fn with_embedding_multiplier(mut self, embedding_multiplier: f64) -> Self {
        self.embedding_multiplier = embedding_multiplier;
        self
    }

    /// Sets the number that the outputs of sublayers are multiplied by.
    #[must_use]
    pub fn with_residual_multiplier(mut self, residual_multiplier: f64) -> Self {
        self.residual_multiplier = residual_multiplier;
        self
    }

    /// Sets the number that products of queries and keys are multiplied by; `None` for `1 / √head_dim`.
    #[must_use]
    pub fn with_attention_multiplier(mut self, attention_multiplier: Option<f64>) -> Self {
        self.attention_multiplier = attention_multiplier;
        self
    }

    /// Sets the soft bound of the products of queries and keys.
    #[must_use]
    pub fn with_attention_soft_cap(mut self, attention_soft_cap: Option<f64>) -> Self {
        self.attention_soft_cap = attention_soft_cap;
        self
    }

    /// Sets the number that logits are divided by.
    #[must_use]
    pub fn with_logits_divisor(mut self, logits_divisor: f64) -> Self {
        self.logits_divisor = logits_divisor;
        self
    }

    /// Sets the soft bound of the logits.
    #[must_use]
    pub fn with_logits_soft_cap(mut self, logits_soft_cap: Option<f64>) -> Self {
        self.logits_soft_cap = logits_soft_cap;
        self
    }
}
