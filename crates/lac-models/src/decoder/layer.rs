//! One layer: attention, MLP, and the residual connections around them.

use burn::module::Module;
use burn::tensor::Tensor;

use super::attention::DecoderAttention;
use super::config::{DecoderConfig, LayerNorms};
use super::context::DecoderContext;
use super::layer_mlp::LayerMlp;
use super::linear::DecoderLinear;
use super::norm::DecoderNorm;
use super::residual::ResidualAdd;
use super::source::TensorSource;

/// One layer: attention and MLP, each with a norm before it, after it, or both, and a residual connection around them.
#[derive(Module, Debug)]
pub struct DecoderLayer {
    /// Norm before the attention.
    pub input_layernorm: Option<DecoderNorm>,
    /// The attention.
    pub self_attn: DecoderAttention,
    /// Norm before the MLP, or after the attention: [`LayerNorms`] says which.
    pub post_attention_layernorm: DecoderNorm,
    /// Norm before the MLP, where the other one comes after the attention.
    pub pre_feedforward_layernorm: Option<DecoderNorm>,
    /// Norm after the MLP.
    pub post_feedforward_layernorm: Option<DecoderNorm>,
    /// The MLP, or the experts in its place.
    pub mlp: LayerMlp,
    #[module(skip)]
    norms: LayerNorms,
    residual_multiplier: f64,
}

impl DecoderLayer {
    pub(super) fn load<S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        layer_idx: usize,
        config: &DecoderConfig,
    ) -> Result<Self, S::Error> {
        let norm = |source: &mut S, part: &str| {
            DecoderNorm::load(
                source,
                &format!("{name}.{part}"),
                config.hidden_size,
                config,
            )
        };
        let norms = config.layer_norms;
        let norm_if = |is_there: bool, source: &mut S, part: &str| {
            if is_there {
                norm(source, part).map(Some)
            } else {
                Ok(None)
            }
        };
        let is_before = norms != LayerNorms::After;
        Ok(Self {
            input_layernorm: norm_if(is_before, source, "input_layernorm")?,
            self_attn: DecoderAttention::load(source, &format!("{name}.self_attn"), config)?,
            post_attention_layernorm: norm(source, "post_attention_layernorm")?,
            pre_feedforward_layernorm: norm_if(
                norms == LayerNorms::BeforeAndAfter,
                source,
                "pre_feedforward_layernorm",
            )?,
            post_feedforward_layernorm: norm_if(
                norms != LayerNorms::Before,
                source,
                "post_feedforward_layernorm",
            )?,
            mlp: LayerMlp::load(source, &format!("{name}.mlp"), layer_idx, config)?,
            norms,
            residual_multiplier: config.residual_multiplier,
        })
    }

    /// Returns the norm before the MLP.
    fn mlp_norm(&self) -> Option<&DecoderNorm> {
        match self.norms {
            LayerNorms::Before => Some(&self.post_attention_layernorm),
            _ => self.pre_feedforward_layernorm.as_ref(),
        }
    }

    /// Returns how the attention's outputs are added.
    fn attention_residual(&self) -> ResidualAdd<'_> {
        ResidualAdd {
            norm: (self.norms != LayerNorms::Before).then_some(&self.post_attention_layernorm),
            multiplier: self.residual_multiplier,
        }
    }

    /// Returns how the MLP's outputs are added.
    fn mlp_residual(&self) -> ResidualAdd<'_> {
        ResidualAdd {
            norm: self.post_feedforward_layernorm.as_ref(),
            multiplier: self.residual_multiplier,
        }
    }

    /// Returns keys and values, `[batch, kv_heads, seq, head_dim]` each, of the residual stream `[batch, seq, hidden]`.
    pub(super) fn keys_and_values(
        &self,
        hidden: &Tensor<3>,
        layer_idx: usize,
        context: &DecoderContext,
    ) -> (Tensor<4>, Tensor<4>) {
        let norm = self.input_layernorm.as_ref();
        let normed = DecoderNorm::forward_optional(norm, hidden.clone());
        self.self_attn.keys_and_values(normed, layer_idx, context)
    }

    pub(super) fn forward(
        &self,
        hidden: Tensor<3>,
        layer_idx: usize,
        context: &mut DecoderContext,
    ) -> Tensor<3> {
        if let Some(output) = self.forward_first(&hidden, layer_idx, context) {
            return output;
        }
        let hidden = self.forward_attention(hidden, layer_idx, context);
        self.forward_mlp(hidden, layer_idx, context)
    }

    /// Computes the layer with one kernel, where there is one: for sequences that begin with this pass.
    fn forward_first(
        &self,
        hidden: &Tensor<3>,
        layer_idx: usize,
        context: &mut DecoderContext,
    ) -> Option<Tensor<3>> {
        let attended = context
            .attended(layer_idx)
            .filter(|attended| attended.past == 0 && context.query_scale().is_none())?;
        let attention = &self.self_attn;
        let mlp = self.mlp.dense()?;
        let [gate, up, down] = mlp.linears();
        let weights = DecoderLinear::tensors([
            &attention.q_proj,
            &attention.k_proj,
            &attention.v_proj,
            &attention.o_proj,
            gate,
            up,
            down,
        ])?;
        lac_kernels::fuses_sequences(hidden, &weights).then_some(())?;
        let [output, keys, values] = lac_kernels::layer(
            hidden,
            &attention.as_kernel(self.input_layernorm.as_ref(), layer_idx, context)?,
            &attention.o_proj.as_kernel(self.attention_residual())?,
            &mlp.as_kernel(self.mlp_norm(), self.mlp_residual())?,
            attended,
            attention.scores,
        )?;
        let [keys, values] = [keys, values].map(|rows| attention.kv_heads(rows));
        context.store(layer_idx, keys, values);
        Some(output)
    }

    pub(super) fn forward_attention(
        &self,
        hidden: Tensor<3>,
        layer_idx: usize,
        context: &mut DecoderContext,
    ) -> Tensor<3> {
        let norm = self.input_layernorm.as_ref();
        let residual = self.attention_residual();
        self.self_attn
            .forward_residual(hidden, norm, residual, layer_idx, context)
    }

    pub(super) fn forward_mlp(
        &self,
        hidden: Tensor<3>,
        layer_idx: usize,
        context: &mut DecoderContext,
    ) -> Tensor<3> {
        let (norm, residual) = (self.mlp_norm(), self.mlp_residual());
        self.mlp
            .forward_residual(hidden, norm, residual, layer_idx, context)
    }
}
