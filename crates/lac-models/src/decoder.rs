//! The decoder that all families share: RMSNorm, rotary positions, grouped-query attention, a gated MLP or experts.
//! [`DecoderConfig`] says in what they differ. Fields of the modules have the names of the checkpoint's tensors.
//!
//! [`DecoderConfig::init`] makes a decoder with random weights, [`ModelFolder::load`](crate::ModelFolder::load) one
//! with those of a checkpoint, and [`Decoder::load`] one of any [`TensorSource`].

mod attention;
mod cast;
mod config;
mod context;
mod experts;
mod experts_config;
mod kv_holes;
mod large_pages;
mod layer;
mod layer_mlp;
mod linear;
mod matrix;
mod mlp;
mod norm;
mod query_block;
mod query_scale;
mod reach;
mod residual;
mod rope;
mod rotation;
mod second_context;
mod shown_keys;
mod sizes;
mod source;
mod sparse_mlp;

pub use attention::DecoderAttention;
pub use config::{
    Activation, DecoderConfig, HeadKind, HeadNorms, LayerNorms, NormForm, ProjectionBias,
    ProjectionLayout,
};
pub use context::DecoderContext;
pub use experts::DecoderExperts;
pub use experts_config::{ExpertsConfig, RouterWeights};
pub use layer::DecoderLayer;
pub use layer_mlp::LayerMlp;
pub use linear::DecoderLinear;
pub use matrix::{DecoderMatrix, QuantizedWeight};
pub use mlp::DecoderMlp;
pub use norm::DecoderNorm;
pub use query_scale::QueryScale;
pub use rope::{RampEnds, RopeConfig, RopeScaling};
pub(crate) use source::load_experts;
pub use source::{DummyWeights, ExpertsShape, TensorSource};
pub use sparse_mlp::DecoderSparseMlp;

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor};
use lac_core::{
    CausalLm, LayerStack, Off, Pass,
    routing::LayerRouting,
    run_layers,
    stack::{Sublayer, Sublayers},
};

use cast::cast;
use matrix::project;
use residual::{scaled, soft_capped};

/// Embedding, layers and final norm: the tensors whose names begin with `model.` in a checkpoint.
#[derive(Module, Debug)]
pub struct DecoderModel {
    /// `[vocab, hidden]`.
    pub embed_tokens: DecoderMatrix,
    /// The layers.
    pub layers: Vec<DecoderLayer>,
    /// The final norm.
    pub norm: DecoderNorm,
}

/// A decoder with a language-model head.
///
/// It is a burn module; [`forward`](Self::forward) computes logits of whole texts. As a
/// [`CausalLm`] it generates under every policy of lac-core.
///
/// # Shapes
/// Token ids `[batch, seq]` to logits `[batch, seq, vocab]`.
#[derive(Module, Debug)]
pub struct Decoder {
    /// Embedding, layers, final norm.
    pub model: DecoderModel,
    /// `[vocab, hidden]`; absent when the embedding serves as the head.
    pub lm_head: Option<DecoderLinear>,
    #[module(skip)]
    config: DecoderConfig,
}

impl Decoder {
    /// Builds the decoder from a source of tensors: a checkpoint, or [`DummyWeights`].
    ///
    /// # Errors
    /// The source's own: a missing or mis-shaped tensor, an unreadable file.
    ///
    /// # Panics
    /// When a configuration made by hand is impossible: a size or a multiplier is 0, `head_dim` is odd, `n_kv_heads` does
    /// not divide `n_heads`, or a rotary angle is infinite. [`ModelConfig`](crate::ModelConfig) reads no such configuration.
    pub fn load<S: TensorSource + ?Sized>(
        config: &DecoderConfig,
        source: &mut S,
    ) -> Result<Self, S::Error> {
        if let Some(contradiction) = config.contradiction() {
            panic!("impossible decoder, {contradiction}: {config:?}");
        }
        let vocab_shape = [config.vocab_size, config.hidden_size];
        let embed_tokens = source.matrix("model.embed_tokens.weight", vocab_shape)?;
        let layers = (0..config.n_layers)
            .map(|layer_idx| {
                let name = format!("model.layers.{layer_idx}");
                DecoderLayer::load(source, &name, layer_idx, config)
            })
            .collect::<Result<_, _>>()?;
        let norm = DecoderNorm::load(source, "model.norm", config.hidden_size, config)?;
        let lm_head = match config.head {
            HeadKind::Tied => None,
            HeadKind::Untied => Some(DecoderLinear::load(
                source,
                "lm_head",
                vocab_shape,
                ProjectionBias::Absent,
            )?),
        };
        let decoder = Self {
            model: DecoderModel {
                embed_tokens,
                layers,
                norm,
            },
            lm_head,
            config: config.clone(),
        };
        decoder.use_large_pages();
        Ok(decoder)
    }

    /// Computes the logits of whole texts. A token's logits depend on itself and on the tokens before it.
    ///
    /// All layers run, and there is no KV cache. All rows have one length: pad shorter texts at their ends, and ignore
    /// the logits of the padding. To generate, call [`lac_core::generate`].
    ///
    /// # Shapes
    /// - `token_ids`: `[batch, seq]`
    /// - returned logits: `[batch, seq, vocab]`
    ///
    /// # Panics
    /// burn panics for token ids outside the vocabulary.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::tensor::{Device, Int, Tensor};
    /// use lac_models::DecoderConfig;
    ///
    /// let device = Device::flex();
    /// let decoder = DecoderConfig::new(64, 16, 2, 4).init(&device);
    /// let logits = |ids: [i32; 3]| {
    ///     decoder.forward(Tensor::<1, Int>::from_data(ids, &device).unsqueeze())
    /// };
    /// let (first, second) = (logits([1, 2, 3]), logits([1, 2, 4]));
    /// assert_eq!(first.dims(), [1, 3, 64]);
    ///
    /// // The decoder is causal: the last token changes nothing before it.
    /// let head = |logits: &Tensor<3>| logits.clone().narrow(1, 0, 2).into_data();
    /// assert_eq!(head(&first), head(&second));
    /// assert_ne!(first.into_data(), second.into_data());
    /// # }
    /// ```
    pub fn forward(&self, token_ids: Tensor<2, Int>) -> Tensor<3> {
        let [batch, seq] = token_ids.dims();
        let pass = Pass::states(batch, seq);
        let mut context = self.uncached_context(seq);
        context.begin_pass(&pass);
        let embedding = self.embed(token_ids, &context);
        let output = run_layers(self, embedding, &mut context, &pass, &mut Off);
        self.logits(
            output
                .expect("Off never fails, and all shapes follow from the ids")
                .hidden,
        )
    }

    /// Returns the configuration.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Returns the data type of the hidden states, which is that of all weights that are tensors.
    pub fn dtype(&self) -> DType {
        self.model.norm.weight.dtype()
    }

    /// Makes a context for a single pass of at most `capacity` slots, without a cache: for training
    /// and for scoring whole texts.
    pub fn uncached_context(&self, capacity: usize) -> DecoderContext {
        DecoderContext::uncached(&self.config, capacity, self.dtype(), &self.device())
    }
}

impl DecoderConfig {
    /// Makes a decoder with random weights in f32, the same at every call: those of [`DummyWeights`] with seed 0.
    /// [`dummy_model`](crate::dummy_model) takes another seed or data type.
    ///
    /// # Panics
    /// When the configuration is impossible, as in [`Decoder::load`].
    pub fn init(&self, device: &Device) -> Decoder {
        let Ok(decoder) = Decoder::load(self, &mut DummyWeights::new(0, DType::F32, device));
        decoder
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
        let context = context.of_dtype(self.dtype());
        self.model.layers[layer_idx].forward(hidden, layer_idx, context)
    }

    /// Fills the cache with keys and values of the state that skips the layer, so that a later token that runs the
    /// layer finds them (as in CALM, arXiv 2207.07061, section 3.3).
    fn skip_layer(
        &self,
        layer_idx: usize,
        hidden: &Tensor<3>,
        context: &mut DecoderContext,
    ) -> lac_core::Result<()> {
        let context = context.of_dtype(self.dtype());
        let layer = &self.model.layers[layer_idx];
        let (keys, values) = layer.keys_and_values(hidden, layer_idx, context);
        context.fill(layer_idx, keys, values);
        Ok(())
    }

    fn sublayers(&self) -> Option<&dyn Sublayers<Context = DecoderContext>> {
        Some(self)
    }

    fn take_routing(&self, context: &mut DecoderContext) -> Vec<LayerRouting> {
        context.take_routing()
    }
}

impl Sublayers for Decoder {
    type Context = DecoderContext;

    fn forward_sublayer(
        &self,
        layer_idx: usize,
        sublayer: Sublayer,
        hidden: Tensor<3>,
        context: &mut DecoderContext,
    ) -> Tensor<3> {
        let context = context.of_dtype(self.dtype());
        let layer = &self.model.layers[layer_idx];
        match sublayer {
            Sublayer::Attention => layer.forward_attention(hidden, layer_idx, context),
            Sublayer::Mlp => layer.forward_mlp(hidden, layer_idx, context),
        }
    }

    fn omit_kv(&self, layer_idx: usize, context: &mut DecoderContext) {
        context.of_dtype(self.dtype()).omit(layer_idx);
    }
}

impl CausalLm for Decoder {
    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn max_context(&self) -> Option<usize> {
        Some(self.config.max_context())
    }

    fn device(&self) -> Device {
        self.model.norm.weight.device()
    }

    fn new_context(&self, batch: usize, capacity: usize) -> DecoderContext {
        DecoderContext::cached(&self.config, batch, capacity, self.dtype(), &self.device())
    }

    fn begin_pass(&self, pass: &Pass, context: &mut DecoderContext) {
        context.begin_pass_of(&self.config, self.dtype(), pass);
    }

    fn embed(&self, token_ids: Tensor<2, Int>, _context: &DecoderContext) -> Tensor<3> {
        let embeddings = self.model.embed_tokens.look_up(token_ids);
        if self.config.embedding_multiplier == 1.0 {
            return embeddings;
        }
        // Rounded as the weights are.
        let (dtype, device) = (embeddings.dtype(), embeddings.device());
        let multiplier =
            Tensor::<1>::full([1], self.config.embedding_multiplier, (&device, DType::F32));
        embeddings * cast(multiplier, dtype).unsqueeze()
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let normed = self.model.norm.forward(hidden);
        let logits = match &self.lm_head {
            Some(lm_head) => lm_head.forward(normed),
            None => {
                let [batch, seq, hidden] = normed.dims();
                let normed = normed.reshape([batch * seq, hidden]);
                let [logits] = project(normed, [&self.model.embed_tokens], [None]);
                logits.reshape([batch, seq, self.config.vocab_size])
            }
        };
        let logits = scaled(logits, self.config.logits_divisor.recip());
        match self.config.logits_soft_cap {
            None => logits,
            Some(cap) => soft_capped(logits, cap),
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

    /// True where the kernels of the CPU compute everything: an output of theirs is one sum whose order depends on its own
    /// row and weight alone.
    fn computes_tokens_alone(&self) -> bool {
        lac_kernels::has_cpu_kernel(&self.model.norm.weight.val())
    }
}
