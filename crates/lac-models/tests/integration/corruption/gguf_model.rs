//! GGUF files whose parts are right one by one: models, vocabularies and split models that cannot be.

use std::fs;
use std::path::Path;

use lac_models::ModelFolder;
use tempfile::TempDir;

use super::check_parts;
use super::gguf::{check, load, load_bytes};
use crate::gguf_builder::{GgufBuilder, small_llama};

#[test]
fn metadata_that_describes_no_model_is_refused() {
    let good = small_llama;
    check(
        "no architecture",
        good().without("general.architecture"),
        &["general.architecture is missing", "llama, qwen2"],
    );
    check(
        "another architecture",
        good().text("general.architecture", "mamba"),
        &["general.architecture", "mamba", "llama, qwen2"],
    );
    for (what, builder, parts) in [
        (
            "no layers said",
            good().without("llama.block_count"),
            &["llama.block_count is missing"][..],
        ),
        (
            "no layers",
            good().u32("llama.block_count", 0),
            &["llama.block_count", "0"],
        ),
        (
            "layers without end",
            good().u32("llama.block_count", u32::MAX),
            &["llama.block_count"],
        ),
        (
            "a text for a number",
            good().text("llama.block_count", "1"),
            &["llama.block_count", "integer"],
        ),
        (
            "a layer too many",
            good().u32("llama.block_count", 2),
            &["blk.1.", "missing"],
        ),
        (
            "heads that do not divide",
            good().u32("llama.attention.head_count_kv", 3),
            &["llama.attention.head_count_kv", "3"],
        ),
        (
            "heads that differ",
            good().i32s("llama.attention.head_count", &[4, 2]),
            &["llama.attention.head_count", "same"],
        ),
        (
            "an epsilon of nothing",
            good().f32("llama.attention.layer_norm_rms_epsilon", f32::NAN),
            &["rms_epsilon", "finite"],
        ),
        (
            "another width",
            good().u32("llama.embedding_length", 64),
            &["token_embd.weight", "[16, 32]", "[16, 64]"],
        ),
        (
            "experts, but not how many of them",
            good().u32("llama.expert_count", 8),
            &["llama.expert_used_count is missing"],
        ),
        (
            "a router that takes no softmax",
            good()
                .u32("llama.expert_count", 8)
                .u32("llama.expert_used_count", 2)
                .u32("llama.expert_gating_func", 2),
            &["llama.expert_gating_func", "2"],
        ),
        (
            "more experts for a token than there are",
            good()
                .u32("llama.expert_count", 8)
                .u32("llama.expert_used_count", 9),
            &["llama.expert_used_count", "9"],
        ),
        (
            "half a rotation",
            good().u32("llama.rope.dimension_count", 4),
            &["llama.rope.dimension_count", "8"],
        ),
        (
            "a scaling of rotary positions",
            good().text("llama.rope.scaling.type", "other"),
            &["llama.rope.scaling", "other"],
        ),
        (
            "values of another width",
            good().u32("llama.attention.value_length", 4),
            &["value_length", "key_length"],
        ),
        (
            "a base of 0",
            good().f32("llama.rope.freq_base", 0.0),
            &["llama.rope.freq_base"],
        ),
    ] {
        check(what, builder, parts);
    }
}

#[test]
fn vocabularies_that_contradict_themselves_are_refused() {
    let good = small_llama;
    let tokens: Vec<String> = ('a'..='p').map(String::from).collect();
    let changed = |at: usize, token: &str| {
        let mut tokens = tokens.clone();
        tokens[at] = token.to_owned();
        good().texts("tokenizer.ggml.tokens", &tokens)
    };
    load_bytes(&changed(5, "").build()).unwrap();
    let spm = || good().text("tokenizer.ggml.model", "llama");
    for (what, builder, parts) in [
        (
            "no model",
            good().without("tokenizer.ggml.model"),
            &["tokenizer.ggml.model is missing", "gpt2 or llama"][..],
        ),
        (
            "another model",
            good().text("tokenizer.ggml.model", "bert"),
            &["tokenizer.ggml.model", "bert", "gpt2 or llama"],
        ),
        (
            "other words",
            good().text("tokenizer.ggml.pre", "klingon"),
            &["tokenizer.ggml.pre", "klingon", "llama-bpe", "smollm"],
        ),
        (
            "no tokens",
            good().texts::<&str>("tokenizer.ggml.tokens", &[]),
            &["tokenizer.ggml.tokens"],
        ),
        (
            "numbers for tokens",
            good().i32s("tokenizer.ggml.tokens", &[1; 16]),
            &["tokenizer.ggml.tokens"],
        ),
        (
            "a token too few",
            good().texts("tokenizer.ggml.tokens", &tokens[..15]),
            &["token_embd.weight"],
        ),
        (
            "a token twice",
            changed(5, "c"),
            &["tokenizer.ggml.tokens", "\"c\" twice", "2", "5"],
        ),
        (
            "a kind too few",
            good().i32s("tokenizer.ggml.token_type", &[1; 15]),
            &["tokenizer.ggml.token_type", "15", "16"],
        ),
        (
            "texts for kinds",
            good().texts("tokenizer.ggml.token_type", &tokens),
            &["tokenizer.ggml.token_type"],
        ),
        (
            "no merges",
            good().without("tokenizer.ggml.merges"),
            &["tokenizer.ggml.merges is missing"],
        ),
        (
            "half a merge",
            good().texts("tokenizer.ggml.merges", &["ab"]),
            &["tokenizer.ggml.merges", "\"ab\"", "a space between"],
        ),
        (
            "a merge of nothing",
            good().texts("tokenizer.ggml.merges", &[""]),
            &["tokenizer.ggml.merges", "merge 0"],
        ),
        (
            "a merge of no tokens",
            good().texts("tokenizer.ggml.merges", &["a z"]),
            &["tokenizer.ggml.merges", "\"z\""],
        ),
        (
            "a merge to no token",
            good().texts("tokenizer.ggml.merges", &["a b"]),
            &["tokenizer.ggml.merges", "\"ab\""],
        ),
        (
            "an end beyond all",
            good().u32("tokenizer.ggml.eos_token_id", 16),
            &["tokenizer.ggml.eos_token_id", "16"],
        ),
        (
            "a beginning that is not said",
            good()
                .without("tokenizer.ggml.bos_token_id")
                .flag("tokenizer.ggml.add_bos_token", true),
            &["tokenizer.ggml.bos_token_id is missing", "add_bos_token"],
        ),
        (
            "scores of no number",
            spm().f32s("tokenizer.ggml.scores", &[f32::NAN; 16]),
            &["tokenizer.ggml.scores", "token 0"],
        ),
        (
            "a score too few",
            spm().f32s("tokenizer.ggml.scores", &[0.0; 15]),
            &["tokenizer.ggml.scores", "15"],
        ),
        (
            "a template of numbers",
            good().u32("tokenizer.chat_template", 7),
            &["tokenizer.chat_template", "7"],
        ),
    ] {
        check(what, builder, parts);
    }
    let long = changed(5, &"x".repeat(5000)).text("tokenizer.ggml.model", "llama");
    check(
        "a token of thousands of letters",
        long,
        &["tokenizer.ggml.tokens", "5000 bytes"],
    );
}

/// The files of the small Llama, split in three; the change is made before they are written.
fn split(change: impl Fn(usize, GgufBuilder) -> GgufBuilder) -> TempDir {
    let folder = TempDir::new().unwrap();
    let whole = small_llama();
    for part in 0..3 {
        let mut builder = if part == 0 {
            small_llama()
        } else {
            GgufBuilder::default()
        };
        let tensors = whole.tensors.iter().enumerate();
        builder.tensors = tensors
            .filter(|(idx, _)| idx % 3 == part)
            .map(|(_, tensor)| tensor.clone())
            .collect();
        let builder = builder
            .value("split.no", 2, (part as u16).to_le_bytes().to_vec())
            .value("split.count", 2, 3u16.to_le_bytes().to_vec())
            .value("split.tensors.count", 5, 11i32.to_le_bytes().to_vec());
        let name = format!("m-{:05}-of-00003.gguf", part + 1);
        change(part, builder).write(&folder.path().join(name));
    }
    folder
}

#[test]
fn files_of_a_split_model_have_to_belong_together() {
    let good = split(|_, builder| builder);
    for path in ["m-00001-of-00003.gguf", "m-00003-of-00003.gguf", ""] {
        load(&good.path().join(path), 3 << 16).unwrap();
    }
    let whole = TempDir::new().unwrap();
    small_llama().write(&whole.path().join("m.gguf"));
    let fingerprint = |folder: &Path| ModelFolder::open(folder).unwrap().fingerprint().unwrap();
    assert_eq!(fingerprint(good.path()), fingerprint(whole.path()));

    let check = |what: &str, folder: &TempDir, parts: &[&str]| {
        let error = load(folder.path(), 3 << 16).expect_err(what);
        check_parts(&error, parts, what);
    };
    let number = |key: &'static str, at: usize, value: u16| {
        split(move |part, builder| {
            if part == at {
                builder.value(key, 2, value.to_le_bytes().to_vec())
            } else {
                builder
            }
        })
    };
    fs::remove_file(good.path().join("m-00002-of-00003.gguf")).unwrap();
    check(
        "a file too few",
        &good,
        &["one of 3 files", "m-00002-of-00003.gguf is not beside it"],
    );
    check(
        "another place",
        &number("split.no", 1, 2),
        &["m-00002-of-00003.gguf", "split.no", "is 2", "expected 1"],
    );
    check(
        "another number",
        &number("split.count", 2, 2),
        &["m-00003-of-00003.gguf", "split.count", "expected 3"],
    );
    check(
        "another count",
        &number("split.count", 0, 65535),
        &["m-00001-of-00003.gguf", "split.count", "65535"],
    );
    check(
        "tensors too few",
        &split(|part, mut builder| {
            if part == 2 {
                builder.tensors.pop();
            }
            builder
        }),
        &["split.tensors.count", "11", "10"],
    );
    check(
        "a tensor in two files",
        &split(|part, builder| {
            if part == 1 {
                builder.f32_tensor("token_embd.weight", &[1], &[1.0])
            } else {
                builder
            }
        }),
        &["token_embd.weight", "m-00001-of-00003.gguf", "too"],
    );
    let renamed = split(|_, builder| builder);
    let path = renamed.path().join("other.gguf");
    fs::rename(renamed.path().join("m-00001-of-00003.gguf"), &path).unwrap();
    let error = load(&path, 3 << 16).unwrap_err();
    check_parts(
        &error,
        &["other.gguf", "-00001-of-00003.gguf"],
        "another name",
    );

    let two = TempDir::new().unwrap();
    for name in ["a.gguf", "b.gguf"] {
        small_llama().write(&two.path().join(name));
    }
    check("two models", &two, &["several", "a.gguf, b.gguf"]);
}
