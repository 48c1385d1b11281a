"""Questions a second of `lac eval` by batch size: short questions with four options of one token, in turns.

    cargo build --release -p lac-cli
    python3 benches/batching.py --model demo --words 3

Needs nothing but Python. What lac answers is of no interest here, only how long it takes: the questions are random
words. Times are those that lac writes into its results, without loading and tokenising.
"""

import argparse
import json
import random
import statistics
import subprocess
import tempfile
from pathlib import Path

# Each is one token, with a space before it, to the embedded model.
WORDS = ["Where", "is", "the", "a", "was", "of", "in", "What", "Who", "and"]
OPTIONS = [" a", " the", " is", " in"]


def write_questions(path, n_questions, n_words):
    """Writes them in the form in which lm-evaluation-harness logs samples."""
    random.seed(1)
    lines = []
    for idx in range(n_questions):
        context = " ".join(random.choice(WORDS) for _ in range(n_words))
        arguments = {
            f"gen_args_{place}": {"arg_0": context, "arg_1": option}
            for place, option in enumerate(OPTIONS)
        }
        responses = [["-1.0", "False"] for _ in OPTIONS]
        lines.append(
            json.dumps(
                {
                    "doc_id": idx,
                    "doc": {"question": f"{context} {idx}"},
                    "target": str(idx % len(OPTIONS)),
                    "arguments": arguments,
                    "resps": [[response] for response in responses],
                    "filtered_resps": responses,
                    "acc": 0.0,
                }
            )
        )
    path.write_text("\n".join(lines) + "\n")


def run(args, questions, batch_size, folder):
    """Questions a second of one run, and the mean number of their tokens."""
    results = folder / "results.jsonl"
    results.unlink(missing_ok=True)
    command = [args.lac, "eval", "--model", args.model, "--benchmark", "samples"]
    command += ["--data", questions, "--batch-size", str(batch_size), "--out", results]
    subprocess.run(command + args.options, check=True, capture_output=True)
    records = [json.loads(line) for line in results.read_text().splitlines()]
    records = [record for record in records if "item" in record]
    seconds = sum(record["seconds"] for record in records)
    tokens = sum(record["usage"]["prompt"]["tokens"] for record in records)
    return len(records) / seconds, tokens / len(records)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lac", default="target/release/lac")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--words", type=int, nargs="+", default=[3, 6, 10, 30])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--questions", type=int, default=3200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("options", nargs="*", help="further options of lac eval, after --")
    args = parser.parse_args()
    first, *others = args.batch_sizes
    print("| tokens |", " | ".join(f"batch {size}" for size in args.batch_sizes), end=" | ")
    print(" | ".join(f"{size} against {first}" for size in others), "|")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for n_words in args.words:
            questions = folder / f"samples_{n_words}_1.jsonl"
            write_questions(questions, args.questions, n_words)
            rates = {size: [] for size in args.batch_sizes}
            for _ in range(args.rounds):
                for size in args.batch_sizes:
                    rate, tokens = run(args, questions, size, folder)
                    rates[size].append(rate)
            cells = [f"{statistics.median(rates[size]):.0f}" for size in args.batch_sizes]
            for size in others:
                ratios = sorted(rate / one for rate, one in zip(rates[size], rates[first]))
                median = statistics.median(ratios)
                cells.append(f"{median:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
            print(f"| {tokens:.1f} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
