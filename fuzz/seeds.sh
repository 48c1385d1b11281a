#!/usr/bin/env bash
# Puts files that the project carries into the fuzz targets' corpora, for a start that is no guess.
set -euo pipefail
cd "$(dirname "$0")"
fixtures=../crates/lac-models/tests/fixtures
sets=../crates/lac-demo/assets/sets
seed() { mkdir -p "corpus/$1" && cp "$2" "corpus/$1/$3"; }
for model in llama llama3-scaled mistral-window qwen2; do
    seed config "$fixtures/checkpoints/$model/config.json" "$model"
done
seed safetensors "$fixtures/checkpoints/qwen2/model.safetensors.index.json" index
for family in llama3 mistral qwen; do
    seed tokenizer "$fixtures/chat/$family/tokenizer.json" "$family"
done
seed trace_parquet ../crates/lac-trace/tests/fixtures/trace.parquet fixture
for codec in gzip lz4 brotli zstd; do
    seed trace_parquet "../crates/lac-trace/tests/fixtures/codecs/pyarrow-$codec.parquet" "$codec"
done
seed chat_template "$fixtures/chat/llama3/chat_template.jinja" llama3
mkdir -p corpus/dataset
with_choice() { { printf "\\x0$1"; cat "$2"; } >"corpus/dataset/$3"; }
with_choice 0 "$sets/mmlu/all/dev-00000-of-00001.parquet" mmlu
with_choice 1 "$sets/mmlu/data/val/pets_val.csv" csv
with_choice 4 "$sets/boolq/data/train-00000-of-00001.parquet" boolq
for codec in gzip lz4 brotli zstd; do
    with_choice 4 "../crates/lac-eval/tests/fixtures/codecs/boolq-pyarrow-$codec.parquet" "boolq-$codec"
done
with_choice 5 <(head -n 3 "$sets/boolq/train.jsonl") jsonl
for file in ../crates/lac-eval/tests/fixtures/samples/*.jsonl; do
    with_choice 6 "$file" "$(basename "$file" .jsonl)"
done
