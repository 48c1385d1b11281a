"""Prefill and decode of Hugging Face transformers, for a shape of `lac bench` with random weights.

    pip install torch==2.6.0 transformers==4.50.1
    python transformers_bench.py --dtype bf16 --threads 2
    python transformers_bench.py --shape qwen2.5-7b --dtype bf16 --device cuda --batch 8

Prints one JSON line: tokens a second, mean and standard deviation over the repeats.
"""

import argparse
import json
import statistics
import time

import torch
import transformers

SHAPES = {
    "qwen2.5-0.5b": transformers.Qwen2Config(
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        rms_norm_eps=1e-6,
        rope_theta=1e6,
        tie_word_embeddings=True,
        vocab_size=151936,
    ),
    "qwen2.5-7b": transformers.Qwen2Config(
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        max_position_embeddings=32768,
        rms_norm_eps=1e-6,
        rope_theta=1e6,
        tie_word_embeddings=False,
        vocab_size=152064,
    ),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-0.5b")
    parser.add_argument("--dtype", choices=["f32", "f16", "bf16"], default="f32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--save", help="write the random weights to this folder, for other peers, and stop")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[args.dtype]
    config = SHAPES[args.shape]
    torch.set_default_dtype(dtype)
    with torch.device(args.device):
        model = transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation=args.attention, torch_dtype=dtype
        ).eval()
    torch.set_default_dtype(torch.float32)
    synchronize = torch.cuda.synchronize if args.device.startswith("cuda") else lambda: None

    if args.save:
        model.save_pretrained(args.save)
        return

    prompt = torch.arange(1, args.prompt_tokens + 1, device=args.device)[None].repeat(args.batch, 1)
    prefill, decode = [], []
    with torch.inference_mode():
        for repeat in range(args.repeats + 1):
            cache = transformers.DynamicCache()
            start = time.perf_counter()
            out = model(prompt, past_key_values=cache, use_cache=True, logits_to_keep=1)
            token = out.logits[:, -1].argmax(-1, keepdim=True)
            synchronize()
            prefilled = time.perf_counter()
            for _ in range(args.new_tokens):
                out = model(token, past_key_values=cache, use_cache=True)
                token = out.logits[:, -1].argmax(-1, keepdim=True)
            synchronize()
            end = time.perf_counter()
            # The first round is the warm-up.
            if repeat > 0:
                prefill.append(args.batch * args.prompt_tokens / (prefilled - start))
                decode.append(args.batch * args.new_tokens / (end - prefilled))

    def summary(values):
        return {"mean": statistics.mean(values), "sd": statistics.stdev(values) if len(values) > 1 else 0.0}

    print(
        json.dumps(
            {
                "peer": f"transformers {transformers.__version__}, torch {torch.__version__}",
                "shape": args.shape,
                "dtype": args.dtype,
                "device": args.device,
                "batch": args.batch,
                "threads": args.threads,
                "prompt_tokens": args.prompt_tokens,
                "new_tokens": args.new_tokens,
                "prefill": summary(prefill),
                "decode": summary(decode),
            }
        )
    )


if __name__ == "__main__":
    main()
