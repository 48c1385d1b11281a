"""lac beside llama.cpp on the same GGUF files: the two programs in turns, and the median ratio of the pairs.

    python beside_llama_cpp.py --lac lac --llama-bench build/bin/llama-bench --threads 1,2 --depths 8,128,2048 FILE...

Each measured pair is a line of --log, and what stands there is not measured again: an interrupted run goes on. --seconds
ends a run between two pairs, so that a long table can be made in pieces. The table is printed at the end, of all lines.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import time


def lac(args, file, threads, depth, prefill):
    prompt, new = (depth, 2) if prefill else (depth, args.new_tokens)
    command = [args.lac, "bench", "--threads", str(threads), "--model", str(file), "--policy", args.policy, "--json"]
    command += ["--prompt-tokens", str(prompt), "--new-tokens", str(new), "--repeats", str(args.repeats)]
    # A file in f32 or bf16 is computed in its own type, a quantised one by the fast products.
    for dtype in ["f32", "bf16", "f16"]:
        if file.stem.lower().endswith("-" + dtype):
            command += ["--dtype", dtype]
    case = json.loads(run(command))["cases"][-1]
    return case["prefill" if prefill else "decode"]["mean"], case["share_of_bandwidth"]


def llama(args, file, threads, depth, prefill):
    command = [args.llama_bench, "-m", str(file), "-t", str(threads), "-r", str(args.repeats), "-o", "json"]
    if prefill:
        command += ["-p", str(depth), "-n", "0"]
    else:
        command += ["-p", "0", "-n", str(args.new_tokens), "-d", str(depth)]
    return json.loads(run(command))[-1]["avg_ts"]


def run(command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def cells(args):
    for file in args.files:
        for threads in args.threads:
            for depth in args.depths:
                yield file, threads, depth, False
        for tokens in args.prefill:
            yield file, max(args.threads), tokens, True


def key(file, threads, depth, prefill):
    return f"{file.stem} {threads} {depth} {'prefill' if prefill else 'decode'}"


def table(rows):
    print("| file | what | threads | tokens/s, lac | llama.cpp | ratio of each pair | median |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, pairs in rows.items():
        file, threads, depth, what = name.split(" ")
        what = f"prefill of {depth}" if what == "prefill" else f"decode at depth {depth}"
        ratios = [ours / theirs for ours, theirs, _ in pairs]
        ours, theirs = (statistics.median(pair[idx] for pair in pairs) for idx in (0, 1))
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {file} | {what} | {threads} | {ours:.1f} | {theirs:.1f} | {each} | {statistics.median(ratios):.2f} |")


def numbers(text):
    return [int(number) for number in text.split(",") if number]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lac", required=True)
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--log", default="beside_llama_cpp.jsonl")
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--depths", type=numbers, default=[8, 128, 2048])
    parser.add_argument("--prefill", type=numbers, default=[])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--policy", default="off")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    args = parser.parse_args()

    log = pathlib.Path(args.log)
    rows = {}
    if log.exists():
        for line in log.read_text().splitlines():
            row = json.loads(line)
            rows.setdefault(row["cell"], []).append((row["lac"], row["llama.cpp"], row["share_of_bandwidth"]))
    end = time.monotonic() + args.seconds
    # A pair of every cell before the next of any: what else the machine does falls on all of them.
    for round_ in range(args.pairs):
        for cell in cells(args):
            if len(rows.get(key(*cell), [])) > round_ or time.monotonic() > end:
                continue
            # The two take turns in going first.
            if round_ % 2 == 0:
                (ours, share), theirs = lac(args, *cell), llama(args, *cell)
            else:
                theirs = llama(args, *cell)
                ours, share = lac(args, *cell)
            rows.setdefault(key(*cell), []).append((ours, theirs, share))
            row = {"cell": key(*cell), "lac": ours, "llama.cpp": theirs, "share_of_bandwidth": share}
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
    table(rows)


if __name__ == "__main__":
    main()
