"""The Python package beside the command: time and memory of the same work, in turns.

    pip install ./python
    python benches/peers/from_python.py --lac target/release/lac --model DIR --boolq FILE
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMPT = "Explain in a few sentences why the sky is blue at noon and red in the evening."
N_TOKENS = 128
WORKER = """
import sys, time
start = time.perf_counter()
import lac
imported = time.perf_counter() - start
model = lac.load(sys.argv[1], progress=False)
{work}
hwm = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
import json
print(json.dumps({{"import": imported, "mib": int(hwm.split()[1]) / 1024, **result}}))
"""
GENERATE = """
text = model.generate({prompt!r}, policy={policy!r}, max_new_tokens={n}, greedy=True, ignore_generation_config=True)
result = {{"pass": text.decode_seconds / text.decode_passes, "prefill": text.prefill_seconds, "ids": text.ids.tolist()}}
"""
TRACE = """
model.trace({prompt!r}, max_new_tokens={n}, greedy=True, ignore_generation_config=True, out={out!r}, progress=False)
result = {{}}
"""
SCORE = """
import json
pairs = json.load(open({pairs!r}))
start = time.perf_counter()
if {single}:
    for pair in pairs:
        model.loglikelihood(*pair)
else:
    model.loglikelihood(pairs, progress=False)
result = {{"score": time.perf_counter() - start}}
"""


def python(model, work):
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", WORKER.format(work=work), model], check=True, capture_output=True, text=True
    )
    return {**json.loads(done.stdout), "wall": time.perf_counter() - start}


def command(arguments):
    """Runs the command; returns its output, its time, and the most memory that it had."""
    start = time.perf_counter()
    done = subprocess.run(["/usr/bin/env", "time", "-f", "%M", *arguments], check=True, capture_output=True, text=True)
    wall = time.perf_counter() - start
    return done.stdout, {"wall": wall, "mib": int(done.stderr.split()[-1]) / 1024}


def compare(name, unit, of_command, of_python):
    a, b = statistics.median(of_command), statistics.median(of_python)
    ratio = statistics.median(y / x for x, y in zip(of_command, of_python))
    print(f"{name:34} command {a:9.4g} {unit}, Python {b:9.4g} {unit}, paired ratio {ratio:.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lac", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--boolq", help="BoolQ in Google's format, of which short questions are made")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--questions", type=int, default=500)
    args = parser.parse_args()
    greedy = ["--greedy", "--ignore-generation-config", "--prompt", PROMPT, "--max-new-tokens", str(N_TOKENS)]

    imports = []
    for policy in ["off", "trace"]:
        passes, prompts = ([], []), ([], [])
        for _ in range(args.repeats):
            told, _ = command([args.lac, "generate", "--model", args.model, "--policy", policy, "--json", *greedy])
            told = json.loads(told)
            ours = python(args.model, GENERATE.format(prompt=PROMPT, policy=policy, n=N_TOKENS))
            assert told["ids"] == ours["ids"], "the texts differ"
            passes[0].append(1000 * told["decode_seconds"] / told["decode_passes"])
            passes[1].append(1000 * ours["pass"])
            prompts[0].append(1000 * told["prefill_seconds"])
            prompts[1].append(1000 * ours["prefill"])
            imports.append(ours["import"])
        compare(f"a pass, policy {policy}", "ms", *passes)
        compare(f"the prompt, policy {policy}", "ms", *prompts)

    with tempfile.TemporaryDirectory() as folder:
        walls, memory = ([], []), ([], [])
        for turn in range(args.repeats):
            out = f"{folder}/{turn}"
            _, told = command([args.lac, "trace", "--model", args.model, *greedy, "--out", out + "-command.parquet"])
            ours = python(args.model, TRACE.format(prompt=PROMPT, n=N_TOKENS, out=out + "-python.parquet"))
            for one, other, key in [(walls, told, "wall"), (memory, told, "mib")]:
                one[0].append(other[key])
                one[1].append(ours[key])
            imports.append(ours["import"])
        compare("a whole process that traces", "s", *walls)
        compare("its peak of memory", "MiB", *memory)
        print(f"import: median {statistics.median(imports):.3f} s, most {max(imports):.3f} s")

        if args.boolq:
            lines = Path(args.boolq).read_text(encoding="utf-8").splitlines()[: args.questions]
            rows = [json.loads(line) for line in lines]
            rows = [{**row, "passage": row["passage"].split(". ")[0][:80]} for row in rows]
            for row in rows:
                row.pop("title", None)
            data = Path(folder, "boolq.jsonl")
            data.write_text("".join(json.dumps(row) + "\n" for row in rows))
            contexts = [f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:" for row in rows]
            pairs = Path(folder, "pairs.json")
            pairs.write_text(json.dumps([(context, word) for context in contexts for word in (" no", " yes")]))
            evaluate = [args.lac, "eval", "--model", args.model, "--benchmark", "boolq", "--data", str(data)]
            nothing = python(args.model, "result = {}")["wall"]
            _, told = command(evaluate)
            batched = python(args.model, SCORE.format(pairs=str(pairs), single=False))
            single = python(args.model, SCORE.format(pairs=str(pairs), single=True))
            print(
                f"{2 * len(rows)} log-likelihoods: the command's whole process {told['wall']:.2f} s; "
                f"Python {batched['wall']:.2f} s "
                f"(the call {batched['score']:.2f} s), pair by pair {single['wall']:.2f} s; "
                f"a process that only loads {nothing:.2f} s"
            )


if __name__ == "__main__":
    main()
