//! Which matrices a decoded token reads.

use super::{Decoder, DecoderLayer, DecoderLinear, DecoderMatrix, DecoderMlp, LayerMlp};

impl Decoder {
    /// Moves the matrices' memory into large pages, where the operating system has some.
    pub(super) fn use_large_pages(&self) {
        let matrices = self.matrices();
        let tensors = matrices.iter().filter_map(|matrix| matrix.tensor());
        let blocks = matrices.iter().filter_map(|matrix| matrix.quantized());
        lac_kernels::use_large_pages(tensors, blocks.map(|weight| &weight.matrix));
    }

    fn matrices(&self) -> Vec<&DecoderMatrix> {
        let mut matrices = vec![&self.model.embed_tokens];
        matrices.extend(self.lm_head.iter().map(|head| &head.weight));
        for layer in &self.model.layers {
            layer.add_matrices(&mut matrices);
        }
        matrices
    }
}

impl DecoderLayer {
    fn add_matrices<'a>(&'a self, matrices: &mut Vec<&'a DecoderMatrix>) {
        let attention = &self.self_attn;
        let projections = [&attention.q_proj, &attention.k_proj, &attention.v_proj];
        add(&projections, matrices);
        add(&[&attention.o_proj], matrices);
        match &self.mlp {
            LayerMlp::Dense(mlp) => add(&mlp.linears(), matrices),
            LayerMlp::Sparse(mlp) => {
                let experts = &mlp.experts;
                matrices.extend([&experts.gate_proj, &experts.up_proj, &experts.down_proj]);
                let shared = mlp.shared_expert.as_ref().map(DecoderMlp::linears);
                add(shared.as_ref().map_or(&[], |linears| linears), matrices);
            }
        }
    }
}

fn add<'a>(linears: &[&'a DecoderLinear], matrices: &mut Vec<&'a DecoderMatrix>) {
    matrices.extend(linears.iter().map(|linear| &linear.weight));
}
