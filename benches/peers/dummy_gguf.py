"""A GGUF file of a Qwen2.5 model's shape with random weights, which lac and llama.cpp's llama-bench both take.

    pip install gguf numpy
    python dummy_gguf.py --shape 1.5b --dtype q8_0 qwen2.5-1.5b-q8_0.gguf

llama.cpp's llama-quantize makes other types (Q4_1, Q4_K_M) out of the f32 file.
"""

import argparse

import gguf
import numpy
from gguf import GGMLQuantizationType as Type

# hidden, intermediate, layers, heads, key-value heads, vocabulary, whether the head is the embedding
SHAPES = {
    "0.5b": (896, 4864, 24, 14, 2, 151936, True),
    "1.5b": (1536, 8960, 28, 12, 2, 151936, True),
    "7b": (3584, 18944, 28, 28, 4, 152064, False),
}
DTYPES = {
    "f32": Type.F32,
    "f16": Type.F16,
    "bf16": Type.BF16,
    "q8_0": Type.Q8_0,
    "q4_0": Type.Q4_0,
    "q4_1": Type.Q4_1,
}
# Rows that are drawn and quantised at once, so that a 7B shape fits into little memory.
ROWS = 8192


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, default="0.5b")
    parser.add_argument("--dtype", choices=DTYPES, default="f32")
    parser.add_argument("path")
    args = parser.parse_args()

    hidden, intermediate, layers, heads, kv_heads, vocabulary, tied = SHAPES[args.shape]
    head_dim = hidden // heads
    dtype = DTYPES[args.dtype]
    generator = numpy.random.default_rng(0)
    writer = gguf.GGUFWriter(args.path, "qwen2", use_temp_file=True)
    writer.add_block_count(layers)
    writer.add_context_length(32768)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(intermediate)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(vocabulary)

    def rows_of(n_rows, columns):
        values = generator.standard_normal((n_rows, columns), dtype=numpy.float32) * numpy.float32(0.02)
        return gguf.quants.quantize(values, dtype)

    def matrix(name, rows, columns):
        parts = [rows_of(min(ROWS, rows - first), columns) for first in range(0, rows, ROWS)]
        values = numpy.concatenate(parts)
        if dtype in (Type.F32, Type.F16):
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, values, raw_dtype=dtype)

    def vector(name, value, length):
        writer.add_tensor(name, numpy.full(length, value, dtype=numpy.float32))

    matrix("token_embd.weight", vocabulary, hidden)
    vector("output_norm.weight", 1.0, hidden)
    if not tied:
        matrix("output.weight", vocabulary, hidden)
    for layer in range(layers):
        prefix = f"blk.{layer}"
        vector(f"{prefix}.attn_norm.weight", 1.0, hidden)
        vector(f"{prefix}.ffn_norm.weight", 1.0, hidden)
        for name, rows in [("q", hidden), ("k", kv_heads * head_dim), ("v", kv_heads * head_dim)]:
            matrix(f"{prefix}.attn_{name}.weight", rows, hidden)
            vector(f"{prefix}.attn_{name}.bias", 0.0, rows)
        matrix(f"{prefix}.attn_output.weight", hidden, hidden)
        matrix(f"{prefix}.ffn_gate.weight", intermediate, hidden)
        matrix(f"{prefix}.ffn_up.weight", intermediate, hidden)
        matrix(f"{prefix}.ffn_down.weight", hidden, intermediate)

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
