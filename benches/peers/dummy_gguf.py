"""A GGUF file of Qwen2.5-0.5B's shape with random weights, for llama.cpp's llama-bench.

    pip install gguf numpy
    python dummy_gguf.py --dtype bf16 qwen2.5-0.5b-bf16.gguf
"""

import argparse

import gguf
import numpy

HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, VOCABULARY = 896, 4864, 24, 14, 2, 151936
HEAD_DIM = HIDDEN // HEADS


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dtype", choices=["f32", "f16", "bf16"], default="f32")
    parser.add_argument("path")
    args = parser.parse_args()

    generator = numpy.random.default_rng(0)
    writer = gguf.GGUFWriter(args.path, "qwen2")
    writer.add_block_count(LAYERS)
    writer.add_context_length(32768)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(VOCABULARY)

    def matrix(name, rows, columns):
        values = generator.standard_normal((rows, columns), dtype=numpy.float32) * numpy.float32(0.02)
        if args.dtype == "f32":
            writer.add_tensor(name, values)
        elif args.dtype == "f16":
            writer.add_tensor(name, values.astype(numpy.float16))
        else:
            quantised = gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16)
            writer.add_tensor(name, quantised, raw_dtype=gguf.GGMLQuantizationType.BF16)

    def vector(name, value, length):
        writer.add_tensor(name, numpy.full(length, value, dtype=numpy.float32))

    matrix("token_embd.weight", VOCABULARY, HIDDEN)
    vector("output_norm.weight", 1.0, HIDDEN)
    for layer in range(LAYERS):
        prefix = f"blk.{layer}"
        vector(f"{prefix}.attn_norm.weight", 1.0, HIDDEN)
        vector(f"{prefix}.ffn_norm.weight", 1.0, HIDDEN)
        for name, rows in [("q", HIDDEN), ("k", KV_HEADS * HEAD_DIM), ("v", KV_HEADS * HEAD_DIM)]:
            matrix(f"{prefix}.attn_{name}.weight", rows, HIDDEN)
            vector(f"{prefix}.attn_{name}.bias", 0.0, rows)
        matrix(f"{prefix}.attn_output.weight", HIDDEN, HIDDEN)
        matrix(f"{prefix}.ffn_gate.weight", INTERMEDIATE, HIDDEN)
        matrix(f"{prefix}.ffn_up.weight", INTERMEDIATE, HIDDEN)
        matrix(f"{prefix}.ffn_down.weight", HIDDEN, INTERMEDIATE)

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
