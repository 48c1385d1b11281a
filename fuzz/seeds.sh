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
mkdir -p corpus/gguf
printf 'GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x14\0\0\0\0\0\0\0general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama' >corpus/gguf/header
for family in llama3 mistral qwen; do
    seed tokenizer "$fixtures/chat/$family/tokenizer.json" "$family"
done
seed trace_parquet ../crates/lac-trace/tests/fixtures/trace.parquet fixture
for codec in gzip lz4 brotli zstd; do
    seed trace_parquet "../crates/lac-trace/tests/fixtures/codecs/pyarrow-$codec.parquet" "$codec"
done
seed chat_template "$fixtures/chat/llama3/chat_template.jinja" llama3
mkdir -p corpus/dataset corpus/tokenizer_files
side_file() { { printf "\\x0$1"; cat "$2"; } >"corpus/tokenizer_files/$3"; }
side_file 0 "$fixtures/chat/mistral/tokenizer_config.json" mistral
side_file 0 "$fixtures/chat/llama3/tokenizer_config.json" llama3
side_file 1 <(echo '{"bos_token": {"content": "<s>"}, "additional_special_tokens": ["<x>"]}') map
side_file 2 <(echo '{"<|user|>": 426}') added
side_file 3 <(echo '{"eos_token_id": [1, 2]}') generation
side_file 4 "$fixtures/checkpoints/llama/config.json" config
side_file 5 <(echo '{"chat_template": {"default": "{{ messages }}"}}') processor
side_file 6 "$fixtures/chat/llama3/chat_template.jinja" template
with_choice() { { printf "\\x0$1"; cat "$2"; } >"corpus/dataset/$3"; }
with_choice 0 "$sets/mmlu/all/dev-00000-of-00001.parquet" mmlu
with_choice 1 "$sets/mmlu/data/val/pets_val.csv" csv
with_choice 4 "$sets/boolq/data/train-00000-of-00001.parquet" boolq
for codec in gzip lz4 brotli zstd; do
    with_choice 4 "../crates/lac-eval/tests/fixtures/codecs/boolq-pyarrow-$codec.parquet" "boolq-$codec"
done
with_choice 5 <(head -n 3 "$sets/boolq/train.jsonl") jsonl
mkdir -p corpus/hub_cache corpus/foreign_folder
commit=5f0b02c75b57c5855da9ae460ce51323ea669d8a
printf '%s\n{"format_version": 1, "files": {"a": {}, "b": {}}}' "$commit" >corpus/hub_cache/listing
printf '%s' 'hf://org/name@refs/pr/1' >corpus/hub_cache/name
printf '%s' '~/$A/${A}/hub' >corpus/hub_cache/path
printf '\x00{"base_model_name_or_path": "org/base"}' >corpus/foreign_folder/adapter
printf '\x02%s' "$commit" >corpus/foreign_folder/reference
printf '\x03version https://git-lfs.github.com/spec/v1\n' >corpus/foreign_folder/pointer
for file in ../crates/lac-eval/tests/fixtures/samples/*.jsonl; do
    with_choice 6 "$file" "$(basename "$file" .jsonl)"
done
