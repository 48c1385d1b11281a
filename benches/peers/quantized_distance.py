"""How far products of quantised weights are from the exact ones: lac's fast way, and llama.cpp.

    python quantized_distance.py TEXT LLAMA_LOGITS MODEL.gguf...

For 1,500 tokens of a text in windows of 500: the divergence (KL) of the next token's distribution from that of the exact
way (`dtype="f32"`), and how often the most likely token is the same. LLAMA_LOGITS is `llama_logits.cpp`, compiled.
"""

import subprocess
import sys
import tempfile

import lac
import numpy as np

WINDOW = 500


def log_softmax(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def llama_logits(program, model, ids):
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run([program, model, out.name, *map(str, ids)], check=True, stderr=subprocess.DEVNULL)
        return np.fromfile(out.name, np.float32).reshape(len(ids), -1)


def main():
    text, program, *models = sys.argv[1:]
    for path in models:
        exact, fast = lac.load(path, dtype="f32"), lac.load(path)
        with open(text, encoding="utf-8") as file:
            ids = [int(id) for id in exact.tokenize(file.read())][: 3 * WINDOW]
        ways = {
            "fast": lambda window: np.asarray(fast.logits(window)),
            "llama.cpp": lambda window: llama_logits(program, path, window),
        }
        seen = {name: [] for name in ways}
        for first in range(0, len(ids), WINDOW):
            window = ids[first : first + WINDOW]
            expected = log_softmax(np.asarray(exact.logits(window)))
            for name, logits in ways.items():
                actual = log_softmax(logits(window))
                divergence = (np.exp(expected) * (expected - actual)).sum(-1)
                seen[name].append((divergence, actual.argmax(-1) == expected.argmax(-1)))
        for name, windows in seen.items():
            divergence, same = (np.concatenate(part) for part in zip(*windows))
            error = divergence.std() / len(divergence) ** 0.5
            print(
                f"{path} {name}: KL {divergence.mean():.5f} ± {error:.5f}, at most {divergence.max():.4f};"
                f" {same.sum()} of {len(same)} the same"
            )


if __name__ == "__main__":
    main()
