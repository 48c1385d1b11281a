//! One layer: attention, MLP, and the residual connections around them.

use burn::module::Module;
use burn::tensor::Tensor;

use super::attention::DecoderAttention;
use super::config::DecoderConfig;
use super::context::DecoderContext;
use super::mlp::DecoderMlp;
use super::norm::DecoderNorm;
use super::source::TensorSource;

/// One layer: attention and MLP, each with a norm before it and a residual connection around both.
#[derive(Module, Debug)]
pub struct DecoderLayer {
    /// Norm before the attention.
    pub input_layernorm: DecoderNorm,
    /// The attention.
    pub self_attn: DecoderAttention,
    /// Norm before the MLP.
    pub post_attention_layernorm: DecoderNorm,
    /// The MLP.
    pub mlp: DecoderMlp,
}

impl DecoderLayer {
    pub(super) fn load<S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        config: &DecoderConfig,
    ) -> Result<Self, S::Error> {
        let norm = |source: &mut S, part: &str| {
            DecoderNorm::load(source, &format!("{name}.{part}"), config)
        };
        Ok(Self {
            input_layernorm: norm(source, "input_layernorm")?,
            self_attn: DecoderAttention::load(source, &format!("{name}.self_attn"), config)?,
            post_attention_layernorm: norm(source, "post_attention_layernorm")?,
            mlp: DecoderMlp::load(source, &format!("{name}.mlp"), config)?,
        })
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
        self.forward_mlp(hidden)
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
        let norm = &self.input_layernorm;
        self.self_attn
            .forward_residual(hidden, norm, layer_idx, context)
    }

    pub(super) fn forward_mlp(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.mlp
            .forward_residual(hidden, &self.post_attention_layernorm)
    }
}
