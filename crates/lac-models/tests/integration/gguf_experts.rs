//! Experts in GGUF files: stacked as llama.cpp's converter stacks them, and in blocks.

use burn::tensor::{Device, Int, Tensor};
use lac_core::CausalLm;
use lac_kernels::quantized::{BlockFormat, QuantizedMatrix};
use lac_models::decoder::LayerMlp;
use lac_models::{ModelFolder, WeightDtype};
use safetensors::tensor::Dtype;
use tempfile::TempDir;

use crate::gguf::{Stored, Tensors};
use crate::gguf_builder::small_llama;
use crate::parity::assert_close;

/// Puts the matrices of one kind of a layer's experts into one tensor, `[experts, out, in]`, by the converter's names.
pub fn stack_experts(tensors: Tensors) -> Tensors {
    let (of_experts, mut others): (Tensors, Tensors) = tensors
        .into_iter()
        .partition(|(name, _)| name.contains(".experts."));
    let number = |name: &str| -> Vec<usize> {
        name.split('.')
            .filter_map(|part| part.parse().ok())
            .collect()
    };
    let mut of_experts: Vec<(String, Stored)> = of_experts.into_iter().collect();
    of_experts.sort_by_key(|(name, _)| number(name));
    let mut add = |name: String, shape: &[usize], bytes: &[u8], values: &[f32]| {
        let stacked = others.entry(name).or_insert_with(|| Stored {
            dtype: Dtype::BF16,
            shape: [&[0], shape].concat(),
            bytes: Vec::new(),
            values: Vec::new(),
        });
        stacked.shape[0] += 1;
        stacked.bytes.extend(bytes);
        stacked.values.extend(values);
    };
    for (name, stored) in of_experts {
        let layer = number(&name)[0];
        let part = name.rsplit('.').find(|part| *part != "weight").unwrap();
        let names: &[&str] = match part {
            "w1" | "gate_proj" => &["ffn_gate_exps"],
            "w2" => &["ffn_down_exps"],
            "w3" | "up_proj" => &["ffn_up_exps"],
            "gate_up_proj" => &["ffn_gate_exps", "ffn_up_exps"],
            "down_proj" => &["ffn_down_exps"],
            other => panic!("{other}"),
        };
        // transformers 5 holds those of all experts together, and gate above up.
        let (n_experts, rows) = match stored.shape[..] {
            [n_experts, rows, _] => (n_experts, rows),
            _ => (1, stored.shape[0]),
        };
        let width = *stored.shape.last().unwrap();
        let rows = rows / names.len();
        let n_values = rows * width;
        let parts = stored
            .values
            .chunks(n_values)
            .zip(stored.bytes.chunks(2 * n_values));
        for (idx, (values, bytes)) in parts.enumerate() {
            let name = format!("blk.{layer}.{}.weight", names[idx % names.len()]);
            add(name, &[rows, width], bytes, values);
        }
        assert_eq!(stored.values.len(), n_experts * names.len() * n_values);
    }
    others
}

/// Experts in blocks are multiplied from their blocks, and give what their values give.
#[test]
fn experts_stay_in_blocks() {
    const Q8_0: u32 = 8;
    let (n_experts, hidden, inner) = (4, 32, 64);
    let mut builder = small_llama()
        .u32("llama.feed_forward_length", inner as u32)
        .u32("llama.expert_count", n_experts as u32)
        .u32("llama.expert_used_count", 2);
    builder
        .tensors
        .retain(|tensor| !tensor.name.contains("ffn_"));
    let mut state = 1u32;
    let mut random = |shape: &[usize]| -> Vec<f32> {
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..shape.iter().product()).map(next).collect()
    };
    for tensor in &mut builder.tensors {
        let shape: Vec<usize> = tensor.shape.iter().map(|&size| size as usize).collect();
        let values = match shape[..] {
            [width] => vec![1.0; width],
            _ => random(&shape),
        };
        let bytes = values.into_iter().flat_map(f32::to_le_bytes);
        tensor.bytes = bytes.collect();
    }
    let router = [n_experts, hidden];
    builder = builder
        .f32_tensor("blk.0.ffn_norm.weight", &[hidden], &vec![1.0; hidden])
        .f32_tensor("blk.0.ffn_gate_inp.weight", &router, &random(&router));
    for (name, rows, width) in [
        ("blk.0.ffn_gate_exps.weight", inner, hidden),
        ("blk.0.ffn_up_exps.weight", inner, hidden),
        ("blk.0.ffn_down_exps.weight", hidden, inner),
    ] {
        let values = random(&[n_experts * rows, width]);
        let shape = [n_experts * rows, width];
        let blocks = QuantizedMatrix::quantize(BlockFormat::Q8_0, shape, &values).unwrap();
        let bytes = blocks.bytes().to_vec();
        builder = builder.tensor(name, &[n_experts, rows, width], Q8_0, bytes);
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("m.gguf");
    builder.write(&path);
    let gguf = ModelFolder::open(&path).unwrap();
    assert_eq!(gguf.config().architecture.model_type(), "mixtral");
    // Under autodiff no blocks are kept.
    let [in_blocks, dequantised] = [Device::flex(), Device::flex().autodiff()]
        .map(|device| gguf.load(WeightDtype::F32, &device, &mut |_| {}).unwrap());
    let LayerMlp::Sparse(mlp) = &in_blocks.model.layers[0].mlp else {
        panic!("no experts");
    };
    assert!(mlp.experts.gate_proj.quantized().is_some());
    let [found, expected] = [&in_blocks, &dequantised].map(|model| {
        let ids: Vec<i32> = (2..14).collect();
        let ids = Tensor::<1, Int>::from_data(&ids[..], &model.device());
        let logits = model.forward(ids.reshape([1, 12])).into_data();
        logits.iter::<f32>().collect::<Vec<f32>>()
    });
    assert!(expected.iter().any(|logit| logit.abs() > 1.0));
    assert_close(&found, &expected, |_| 2e-4, "experts in blocks");

    // A tensor for each expert, in two formats.
    let mut mixed = builder.clone();
    mixed
        .tensors
        .retain(|tensor| !tensor.name.contains("_exps"));
    for expert in 0..n_experts {
        for (part, rows, width) in [
            ("ffn_gate", inner, hidden),
            ("ffn_up", inner, hidden),
            ("ffn_down", hidden, inner),
        ] {
            let name = format!("blk.0.{part}.{expert}.weight");
            let values = vec![0.5; rows * width];
            let blocks = QuantizedMatrix::quantize(BlockFormat::Q8_0, [rows, width], &values);
            mixed = match (expert, part) {
                (3, "ffn_up") => mixed.f32_tensor(&name, &[rows, width], &values),
                _ => mixed.tensor(
                    &name,
                    &[rows, width],
                    Q8_0,
                    blocks.unwrap().bytes().to_vec(),
                ),
            };
        }
    }
    mixed.write(&path);
    let gguf = ModelFolder::open(&path).unwrap();
    let error = gguf.load(WeightDtype::F32, &Device::flex(), &mut |_| {});
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("blk.0.ffn_up.3.weight"), "{error}");
    assert!(error.contains("F32") && error.contains("Q8_0"), "{error}");

    let too_few = builder.entry("blk.0.ffn_up_exps.weight", |tensor| {
        tensor.shape = vec![3, 64, 32]
    });
    too_few.write(&path);
    let gguf = ModelFolder::open(&path).unwrap();
    let error = gguf.load(WeightDtype::F32, &Device::flex(), &mut |_| {});
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("blk.0.ffn_up_exps.weight"), "{error}");
    assert!(error.contains("[3, 64, 32]"), "{error}");
}
