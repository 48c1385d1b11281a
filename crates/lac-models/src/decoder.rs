//! The decoder that Llama, Mistral and Qwen2 share: RMSNorm, rotary positions, grouped-query
//! attention, a gated MLP. What differs between them is in [`DecoderConfig`]; field names equal
//! checkpoint keys.

mod attention;
mod config;
mod context;
mod kv_holes;
mod linear;
mod rope;
mod source;

pub use config::{DecoderConfig, HeadKind, ProjectionBias};
pub use context::DecoderContext;
pub use linear::Linear;
pub use rope::{RopeConfig, RopeScaling};
pub use source::{DummyWeights, TensorSource};

use burn::module::{Module, Param};
use burn::tensor::activation::silu;
use burn::tensor::{DType, Device, FloatDType, Int, Tensor};
use lac_core::{
    CausalLm, LayerStack, Pass,
    stack::{Sublayer, Sublayers},
};

use attention::attend;
use linear::project;
use rope::rotate;

/// Root-mean-square norm, computed in f32 whatever the data type is (Zhang and Sennrich 2019).
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[hidden]`.
    pub weight: Param<Tensor<1>>,
    epsilon: f64,
}

impl RmsNorm {
    fn load<S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        config: &DecoderConfig,
    ) -> Result<Self, S::Error> {
        Ok(Self {
            weight: Param::from_tensor(
                source.vector(&format!("{name}.weight"), config.hidden_size)?,
            ),
            epsilon: config.rms_norm_eps,
        })
    }

    /// `[batch, seq, hidden]` to the same shape.
    pub fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        let weight = self.weight.val();
        if lac_kernels::has_cpu_kernel(&hidden) && lac_kernels::has_cpu_kernel(&weight) {
            return lac_kernels::rms_norm(hidden, weight, self.epsilon);
        }
        let dtype = hidden.dtype();
        let hidden = cast(hidden, DType::F32);
        let mean_square = hidden.clone().square().mean_dim(2);
        let normed = hidden * (mean_square + self.epsilon).sqrt().recip();
        cast(normed, dtype) * weight.unsqueeze()
    }

    fn as_kernel(&self) -> Option<lac_kernels::Norm> {
        lac_kernels::Norm::new(self.weight.val(), self.epsilon)
    }
}

/// Casts where the data type differs, and leaves the tensor alone where it does not.
fn cast<const D: usize>(tensor: Tensor<D>, dtype: DType) -> Tensor<D> {
    if tensor.dtype() == dtype {
        return tensor;
    }
    match dtype {
        DType::F16 => tensor.cast(FloatDType::F16),
        DType::BF16 => tensor.cast(FloatDType::BF16),
        _ => tensor.cast(FloatDType::F32),
    }
}

/// Grouped-query self-attention with rotary positions.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[heads * head_dim, hidden]`.
    pub q_proj: Linear,
    /// `[kv_heads * head_dim, hidden]`.
    pub k_proj: Linear,
    /// `[kv_heads * head_dim, hidden]`.
    pub v_proj: Linear,
    /// `[hidden, heads * head_dim]`.
    pub o_proj: Linear,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
}

impl Attention {
    fn load<S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        config: &DecoderConfig,
    ) -> Result<Self, S::Error> {
        let hidden = config.hidden_size;
        let queries = config.n_heads * config.head_dim;
        let keys = config.n_kv_heads * config.head_dim;
        let mut linear =
            |part: &str, shape, bias| Linear::load(source, &format!("{name}.{part}"), shape, bias);
        Ok(Self {
            q_proj: linear("q_proj", [queries, hidden], config.qkv_bias)?,
            k_proj: linear("k_proj", [keys, hidden], config.qkv_bias)?,
            v_proj: linear("v_proj", [keys, hidden], config.qkv_bias)?,
            o_proj: linear("o_proj", [hidden, queries], config.o_bias)?,
            n_heads: config.n_heads,
            n_kv_heads: config.n_kv_heads,
            head_dim: config.head_dim,
        })
    }

    /// The residual stream `[batch, seq, hidden]` with the attention's outputs added, after a norm.
    fn forward_residual(
        &self,
        hidden: Tensor<3>,
        norm: &RmsNorm,
        layer_idx: usize,
        context: &mut DecoderContext,
    ) -> Tensor<3> {
        let [queries, keys, values] = self.queries_keys_values(&hidden, norm, context);
        let (keys, values) = context.store(layer_idx, keys, values);
        let attended = attend(queries, keys, values, layer_idx, context);
        self.o_proj.forward_residual(hidden, attended)
    }

    /// Rotated queries and keys, and values, `[batch, heads, seq, head_dim]` each, of `[batch, seq, hidden]`.
    fn queries_keys_values(
        &self,
        hidden: &Tensor<3>,
        norm: &RmsNorm,
        context: &DecoderContext,
    ) -> [Tensor<4>; 3] {
        let heads = |[queries, keys, values]: [Tensor<3>; 3]| {
            [
                self.heads(queries, self.n_heads),
                self.heads(keys, self.n_kv_heads),
                self.heads(values, self.n_kv_heads),
            ]
        };
        let projections = [&self.q_proj, &self.k_proj, &self.v_proj];
        if lac_kernels::fuses_tokens(hidden, &projections.map(|linear| &*linear.weight))
            && let Some(qkv) = self.as_kernel(norm, context)
            && let Some(rotated) = lac_kernels::queries_keys_values(hidden, &qkv)
        {
            return heads(rotated);
        }
        let rotation = context.rotation();
        let input = norm.forward(hidden.clone());
        let [queries, keys, values] = heads(Linear::forward_together(input, projections));
        [rotate(queries, rotation), rotate(keys, rotation), values]
    }

    fn as_kernel(
        &self,
        norm: &RmsNorm,
        context: &DecoderContext,
    ) -> Option<lac_kernels::QkvProjection> {
        let projections = [&self.q_proj, &self.k_proj, &self.v_proj];
        let rotation = context.rotation();
        lac_kernels::QkvProjection::new(
            norm.as_kernel()?,
            projections.map(|linear| linear.weight.val()),
            projections.map(|linear| linear.bias.as_ref().map(Param::val)),
            [rotation.cos.clone(), rotation.sin.clone()],
        )
    }

    /// Rotated keys and values of `[batch, seq, hidden]`, `[batch, kv_heads, seq, head_dim]` each.
    fn keys_and_values(
        &self,
        input: Tensor<3>,
        context: &DecoderContext,
    ) -> (Tensor<4>, Tensor<4>) {
        let [keys, values] = Linear::forward_together(input, [&self.k_proj, &self.v_proj]);
        let keys = rotate(self.heads(keys, self.n_kv_heads), context.rotation());
        (keys, self.heads(values, self.n_kv_heads))
    }

    /// `[batch, seq, heads * head_dim]` to `[batch, heads, seq, head_dim]`.
    fn heads(&self, projected: Tensor<3>, n_heads: usize) -> Tensor<4> {
        let [batch, seq, _] = projected.dims();
        projected
            .reshape([batch, seq, n_heads, self.head_dim])
            .swap_dims(1, 2)
    }
}

/// The gated MLP: `down(silu(gate(x)) * up(x))`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[intermediate, hidden]`.
    pub gate_proj: Linear,
    /// `[intermediate, hidden]`.
    pub up_proj: Linear,
    /// `[hidden, intermediate]`.
    pub down_proj: Linear,
}

impl Mlp {
    fn load<S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        config: &DecoderConfig,
    ) -> Result<Self, S::Error> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let mut linear = |part: &str, shape| {
            Linear::load(source, &format!("{name}.{part}"), shape, config.mlp_bias)
        };
        Ok(Self {
            gate_proj: linear("gate_proj", [intermediate, hidden])?,
            up_proj: linear("up_proj", [intermediate, hidden])?,
            down_proj: linear("down_proj", [hidden, intermediate])?,
        })
    }

    /// `[batch, seq, hidden]` to the same shape.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let has_biases = self.gate_proj.bias.is_some() || self.up_proj.bias.is_some();
        let (gate, up) = (self.gate_proj.weight.val(), self.up_proj.weight.val());
        let inner = if !has_biases
            && lac_kernels::has_cpu_kernel(&input)
            && lac_kernels::has_cpu_kernel(&gate)
        {
            let [batch, seq, hidden] = input.dims();
            let [intermediate, _] = gate.dims();
            lac_kernels::swiglu(input.reshape([batch * seq, hidden]), gate, up).reshape([
                batch,
                seq,
                intermediate,
            ])
        } else {
            let [gate, up] = Linear::forward_together(input, [&self.gate_proj, &self.up_proj]);
            silu(gate) * up
        };
        self.down_proj.forward(inner)
    }

    /// The residual stream `[batch, seq, hidden]` with the MLP's outputs added, after a norm.
    fn forward_residual(&self, hidden: Tensor<3>, norm: &RmsNorm) -> Tensor<3> {
        if lac_kernels::fuses_tokens(&hidden, &self.linears().map(|linear| &*linear.weight))
            && let Some(mlp) = self.as_kernel(norm)
            && let Some(sum) = lac_kernels::add_mlp(&hidden, &mlp)
        {
            return sum;
        }
        let normed = norm.forward(hidden.clone());
        hidden + self.forward(normed)
    }

    /// `None` with biases, for which there is no kernel.
    fn as_kernel(&self, norm: &RmsNorm) -> Option<lac_kernels::GatedMlp> {
        let linears = self.linears();
        if linears.iter().any(|linear| linear.bias.is_some()) {
            return None;
        }
        let weights = linears.map(|linear| linear.weight.val());
        lac_kernels::GatedMlp::new(norm.as_kernel()?, weights)
    }

    fn linears(&self) -> [&Linear; 3] {
        [&self.gate_proj, &self.up_proj, &self.down_proj]
    }
}

/// One layer: attention and MLP, each with its norm before it and a residual connection around.
#[derive(Module, Debug)]
pub struct DecoderLayer {
    /// Norm before the attention.
    pub input_layernorm: RmsNorm,
    /// The attention.
    pub self_attn: Attention,
    /// Norm before the MLP.
    pub post_attention_layernorm: RmsNorm,
    /// The MLP.
    pub mlp: Mlp,
}

impl DecoderLayer {
    fn load<S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        config: &DecoderConfig,
    ) -> Result<Self, S::Error> {
        let norm =
            |source: &mut S, part: &str| RmsNorm::load(source, &format!("{name}.{part}"), config);
        Ok(Self {
            input_layernorm: norm(source, "input_layernorm")?,
            self_attn: Attention::load(source, &format!("{name}.self_attn"), config)?,
            post_attention_layernorm: norm(source, "post_attention_layernorm")?,
            mlp: Mlp::load(source, &format!("{name}.mlp"), config)?,
        })
    }

    fn forward(
        &self,
        hidden: Tensor<3>,
        layer_idx: usize,
        context: &mut DecoderContext,
    ) -> Tensor<3> {
        if let Some(output) = self.forward_first(&hidden, layer_idx, context) {
            return output;
        }
        let hidden = self.forward_attention(hidden, layer_idx, context);
        self.forward_mlp(hidden)
    }

    /// The layer as one kernel, where there is one: for sequences that begin with this pass.
    fn forward_first(
        &self,
        hidden: &Tensor<3>,
        layer_idx: usize,
        context: &mut DecoderContext,
    ) -> Option<Tensor<3>> {
        let attended = context
            .attended(layer_idx)
            .filter(|attended| attended.past == 0)?;
        let attention = &self.self_attn;
        let [gate, up, down] = self.mlp.linears();
        let weights = [
            &attention.q_proj,
            &attention.k_proj,
            &attention.v_proj,
            &attention.o_proj,
            gate,
            up,
            down,
        ]
        .map(|linear| &*linear.weight);
        lac_kernels::fuses_sequences(hidden, &weights).then_some(())?;
        let [output, keys, values] = lac_kernels::layer(
            hidden,
            &attention.as_kernel(&self.input_layernorm, context)?,
            &attention.o_proj.as_kernel()?,
            &self.mlp.as_kernel(&self.post_attention_layernorm)?,
            attended,
        )?;
        let [keys, values] = [keys, values].map(|rows| attention.heads(rows, attention.n_kv_heads));
        context.store(layer_idx, keys, values);
        Some(output)
    }

    fn forward_attention(
        &self,
        hidden: Tensor<3>,
        layer_idx: usize,
        context: &mut DecoderContext,
    ) -> Tensor<3> {
        let norm = &self.input_layernorm;
        self.self_attn
            .forward_residual(hidden, norm, layer_idx, context)
    }

    fn forward_mlp(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.mlp
            .forward_residual(hidden, &self.post_attention_layernorm)
    }
}

/// Embedding, layers and final norm: what stands under `model.` in a checkpoint.
#[derive(Module, Debug)]
pub struct DecoderModel {
    /// `[vocab, hidden]`.
    pub embed_tokens: Param<Tensor<2>>,
    /// The layers.
    pub layers: Vec<DecoderLayer>,
    /// The final norm.
    pub norm: RmsNorm,
}

/// A decoder with a language-model head.
///
/// # Shapes
/// Token ids `[batch, seq]` to logits `[batch, seq, vocab]`.
#[derive(Module, Debug)]
pub struct Decoder {
    /// Embedding, layers, final norm.
    pub model: DecoderModel,
    /// `[vocab, hidden]`; absent when the embedding serves as the head.
    pub lm_head: Option<Linear>,
    #[module(skip)]
    config: DecoderConfig,
}

impl Decoder {
    /// Builds the decoder from a source of tensors: a checkpoint, or [`DummyWeights`].
    ///
    /// # Errors
    /// Whatever the source reports: a missing or mis-shaped tensor, an unreadable file.
    pub fn load<S: TensorSource + ?Sized>(
        config: &DecoderConfig,
        source: &mut S,
    ) -> Result<Self, S::Error> {
        let vocab_shape = [config.vocab_size, config.hidden_size];
        let embed_tokens =
            Param::from_tensor(source.matrix("model.embed_tokens.weight", vocab_shape)?);
        let layers = (0..config.n_layers)
            .map(|layer_idx| {
                DecoderLayer::load(source, &format!("model.layers.{layer_idx}"), config)
            })
            .collect::<Result<_, _>>()?;
        let norm = RmsNorm::load(source, "model.norm", config)?;
        let lm_head = match config.head {
            HeadKind::Tied => None,
            HeadKind::Untied => Some(Linear::load(
                source,
                "lm_head",
                vocab_shape,
                ProjectionBias::Absent,
            )?),
        };
        Ok(Self {
            model: DecoderModel {
                embed_tokens,
                layers,
                norm,
            },
            lm_head,
            config: config.clone(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The data type of the weights.
    pub fn dtype(&self) -> DType {
        self.model.embed_tokens.val().dtype()
    }

    /// A context for a single pass of at most `capacity` slots, without a cache: for training
    /// and for scoring whole texts.
    pub fn uncached_context(&self, capacity: usize) -> DecoderContext {
        DecoderContext::uncached(&self.config, capacity, self.dtype(), &self.device())
    }
}

impl LayerStack for Decoder {
    type Context = DecoderContext;

    fn n_layers(&self) -> usize {
        self.model.layers.len()
    }

    fn forward_layer(
        &self,
        layer_idx: usize,
        hidden: Tensor<3>,
        context: &mut DecoderContext,
    ) -> Tensor<3> {
        self.model.layers[layer_idx].forward(hidden, layer_idx, context)
    }

    /// Fills the cache with keys and values of the state that passes by, so that a later token
    /// that does run this layer finds them (as in CALM, arXiv 2207.07061, section 3.3).
    fn skip_layer(
        &self,
        layer_idx: usize,
        hidden: &Tensor<3>,
        context: &mut DecoderContext,
    ) -> lac_core::Result<()> {
        let layer = &self.model.layers[layer_idx];
        let normed = layer.input_layernorm.forward(hidden.clone());
        let (keys, values) = layer.self_attn.keys_and_values(normed, context);
        context.fill(layer_idx, keys, values);
        Ok(())
    }

    fn sublayers(&self) -> Option<&dyn Sublayers<Context = DecoderContext>> {
        Some(self)
    }
}

impl Sublayers for Decoder {
    type Context = DecoderContext;

    fn forward_sublayer(
        &self,
        layer_idx: usize,
        part: Sublayer,
        hidden: Tensor<3>,
        context: &mut DecoderContext,
    ) -> Tensor<3> {
        let layer = &self.model.layers[layer_idx];
        match part {
            Sublayer::Attention => layer.forward_attention(hidden, layer_idx, context),
            Sublayer::Mlp => layer.forward_mlp(hidden),
        }
    }

    fn omit_kv(&self, layer_idx: usize, context: &mut DecoderContext) {
        context.omit(layer_idx);
    }
}

impl CausalLm for Decoder {
    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn max_context(&self) -> Option<usize> {
        Some(self.config.max_position_embeddings)
    }

    fn device(&self) -> Device {
        self.model.embed_tokens.val().device()
    }

    fn new_context(&self, batch: usize, capacity: usize) -> DecoderContext {
        DecoderContext::cached(&self.config, batch, capacity, self.dtype(), &self.device())
    }

    fn begin_pass(&self, pass: &Pass, context: &mut DecoderContext) {
        context.begin_pass(pass);
    }

    fn embed(&self, token_ids: Tensor<2, Int>, _context: &DecoderContext) -> Tensor<3> {
        burn::tensor::module::embedding(self.model.embed_tokens.val(), token_ids)
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let normed = self.model.norm.forward(hidden);
        match &self.lm_head {
            Some(lm_head) => lm_head.forward(normed),
            None => {
                let [batch, seq, hidden] = normed.dims();
                let embedding = self.model.embed_tokens.val();
                let [logits] = project(normed.reshape([batch * seq, hidden]), [embedding], [None]);
                logits.reshape([batch, seq, self.config.vocab_size])
            }
        }
    }

    fn repeat_context(
        &self,
        context: &DecoderContext,
        rows: &[usize],
        n_slots: usize,
        capacity: usize,
    ) -> Option<DecoderContext> {
        context.repeat(&self.config, rows, n_slots, capacity)
    }
}
