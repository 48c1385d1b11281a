//! Which tensors a file has, in which formats, and their bytes.

use half::{bf16, f16};
use lac_kernels::quantized::{BlockFormat, QuantizedError, QuantizedMatrix};

use super::error::ExportError;
use crate::decoder::{
    DecoderConfig, HeadKind, HeadNorms, LayerNorms, ProjectionBias, ProjectionLayout,
};
use crate::gguf::layout::{EMBEDDING, HEAD, gguf_name};

/// A tensor that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedTensor {
    /// The name in the file.
    pub(crate) name: String,
    /// The name in a checkpoint, or in the file that is read.
    pub(crate) source: String,
    /// Outermost dimension first.
    pub(crate) shape: Vec<usize>,
}

/// Lists the tensors of a decoder with dense MLPs, in the order of the file.
pub(crate) fn tensors(config: &DecoderConfig) -> Vec<PlannedTensor> {
    let hidden = config.hidden_size;
    let (queries, keys) = (
        config.n_heads * config.head_dim,
        config.n_kv_heads * config.head_dim,
    );
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: Vec<usize>| {
        // All names are ones that the layout knows.
        if let Some(in_file) = gguf_name(&name, config.layer_norms) {
            tensors.push(PlannedTensor {
                name: in_file,
                source: name,
                shape,
            });
        }
    };
    add(
        "model.embed_tokens.weight".to_owned(),
        vec![config.vocab_size, hidden],
    );
    add("model.norm.weight".to_owned(), vec![hidden]);
    if config.head == HeadKind::Untied {
        add("lm_head.weight".to_owned(), vec![config.vocab_size, hidden]);
    }
    let inner = config.intermediate_size;
    for layer_idx in 0..config.n_layers {
        let name = |part: &str, kind: &str| format!("model.layers.{layer_idx}.{part}.{kind}");
        let mut linear = |part: &str, n_outs: usize, n_ins: usize, bias: ProjectionBias| {
            add(name(part, "weight"), vec![n_outs, n_ins]);
            if bias == ProjectionBias::Present {
                add(name(part, "bias"), vec![n_outs]);
            }
        };
        let (qkv_bias, mlp_bias) = (config.qkv_bias, config.mlp_bias);
        match config.projections {
            ProjectionLayout::Separate => {
                linear("self_attn.q_proj", queries, hidden, qkv_bias);
                linear("self_attn.k_proj", keys, hidden, qkv_bias);
                linear("self_attn.v_proj", keys, hidden, qkv_bias);
            }
            ProjectionLayout::Fused => {
                linear("self_attn.qkv_proj", queries + 2 * keys, hidden, qkv_bias);
            }
        }
        linear("self_attn.o_proj", hidden, queries, config.o_bias);
        match config.projections {
            ProjectionLayout::Separate => {
                linear("mlp.gate_proj", inner, hidden, mlp_bias);
                linear("mlp.up_proj", inner, hidden, mlp_bias);
            }
            ProjectionLayout::Fused => linear("mlp.gate_up_proj", 2 * inner, hidden, mlp_bias),
        }
        linear("mlp.down_proj", hidden, inner, mlp_bias);
        let (query_norm, key_norm) = match config.head_norms {
            HeadNorms::Absent => (0, 0),
            HeadNorms::PerHead => (config.head_dim, config.head_dim),
            HeadNorms::AllHeads => (queries, keys),
        };
        for (part, width) in [
            ("self_attn.q_norm", query_norm),
            ("self_attn.k_norm", key_norm),
        ] {
            if width > 0 {
                add(name(part, "weight"), vec![width]);
            }
        }
        for part in layer_norms(config.layer_norms) {
            add(name(part, "weight"), vec![hidden]);
        }
    }
    tensors
}

/// Returns the names of a layer's norms.
fn layer_norms(norms: LayerNorms) -> &'static [&'static str] {
    match norms {
        LayerNorms::Before => &["input_layernorm", "post_attention_layernorm"],
        LayerNorms::After => &["post_attention_layernorm", "post_feedforward_layernorm"],
        LayerNorms::BeforeAndAfter => &[
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        ],
    }
}

impl PlannedTensor {
    /// Returns a tensor of factors of the rotary wavelengths, which no checkpoint has.
    pub(crate) fn rope_factors(name: &str, n_pairs: usize) -> Self {
        Self {
            name: name.to_owned(),
            source: name.to_owned(),
            shape: vec![n_pairs],
        }
    }

    /// Returns the number of bytes that the tensor takes in a format that its rows allow.
    pub(super) fn n_bytes(&self, format: BlockFormat) -> usize {
        let n_values: usize = self.shape.iter().product();
        n_values / format.block_len() * format.block_bytes()
    }

    fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
}

/// In which format each tensor is written.
pub(super) struct FormatChoice {
    format: BlockFormat,
    has_head: bool,
}

impl FormatChoice {
    pub(super) fn new(format: BlockFormat, tensors: &[PlannedTensor]) -> Self {
        let has_head = tensors.iter().any(|tensor| tensor.name == HEAD);
        Self { format, has_head }
    }

    /// Returns a tensor's format: that of the file for matrices, f32 for vectors, which are few. The head is written in
    /// eight bits where the others have four: each logit is one sum of it. Rows that are no whole number of blocks are
    /// written in f16, as llama.cpp does.
    pub(super) fn format_of(&self, tensor: &PlannedTensor) -> BlockFormat {
        if tensor.shape.len() < 2 {
            return BlockFormat::F32;
        }
        let is_head = tensor.name == HEAD || (tensor.name == EMBEDDING && !self.has_head);
        let format = match self.format {
            BlockFormat::Q4_0 if is_head => BlockFormat::Q8_0,
            format => format,
        };
        if tensor.width().is_multiple_of(format.block_len()) {
            format
        } else {
            BlockFormat::F16
        }
    }
}

/// Writes values in a format.
pub(super) fn encode(
    tensor: &PlannedTensor,
    format: BlockFormat,
    values: &[f32],
) -> Result<Vec<u8>, ExportError> {
    Ok(match format {
        BlockFormat::F32 => values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        BlockFormat::F16 => {
            let too_large = |&(_, value): &(usize, &f32)| !f16::from_f32(*value).is_finite();
            if let Some((at, value)) = values.iter().enumerate().find(too_large) {
                return Err(ExportError::Values {
                    name: tensor.name.clone(),
                    source: QuantizedError::Unrepresentable {
                        format,
                        row: at / tensor.width(),
                        index: at % tensor.width(),
                        value: *value,
                    },
                });
            }
            values
                .iter()
                .flat_map(|&value| f16::from_f32(value).to_le_bytes())
                .collect()
        }
        BlockFormat::BF16 => values
            .iter()
            .flat_map(|&value| bf16::from_f32(value).to_le_bytes())
            .collect(),
        _ => {
            let width = tensor.width();
            let shape = [values.len() / width.max(1), width];
            let matrix = QuantizedMatrix::quantize(format, shape, values);
            let matrix = matrix.map_err(|source| ExportError::Values {
                name: tensor.name.clone(),
                source,
            })?;
            matrix.bytes().to_vec()
        }
    })
}
