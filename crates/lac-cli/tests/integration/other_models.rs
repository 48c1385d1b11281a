//! What belongs to one model is refused on another, however small the difference is.

use std::path::Path;

use crate::support::{Lac, Place};

/// Fills a tensor of a safetensors file with zeros.
fn zero(path: &Path, name: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let data_start = 8 + header_len;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..data_start]).unwrap();
    let offset = |idx: usize| {
        let offset = header[name]["data_offsets"][idx].as_u64().unwrap();
        data_start + offset as usize
    };
    bytes[offset(0)..offset(1)].fill(0);
    std::fs::write(path, bytes).unwrap();
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {}", path.display());
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// Matrices of all kinds, first, last and in between.
const MATRICES: [&str; 4] = [
    "model.embed_tokens.weight",
    "model.layers.0.self_attn.k_proj.weight",
    "model.layers.5.mlp.gate_proj.weight",
    "model.layers.11.mlp.down_proj.weight",
];

/// A change of a model's files, and the part of the fingerprint that the refusal names.
type Change<'a> = (&'a str, &'a dyn Fn());

#[test]
fn results_of_another_model_are_refused() {
    let place = Place::new();
    let args = place.eval("r.jsonl", &["--limit", "2"]);
    Lac::start(&args).end().check(0, &[]);
    let model = place.path("model");
    let in_model = |name: &str| model.join(name);
    let refused = |part: &str, change: &dyn Fn(), file: &str| {
        let original = std::fs::read(in_model(file)).unwrap();
        change();
        let started = "r.jsonl was started with other settings";
        Lac::start(&args).end().check(1, &[started, part]);
        std::fs::write(in_model(file), original).unwrap();
    };
    for matrix in MATRICES {
        let weights = in_model("model.safetensors");
        let change = || zero(&weights, matrix);
        refused("weights", &change, "model.safetensors");
    }
    let config = in_model("tokenizer_config.json");
    let cases: [(Change<'_>, &str); 3] = [
        (
            ("chat template", &|| edit(&config, "assistant", "answer")),
            "tokenizer_config.json",
        ),
        (
            ("tokenizer", &|| {
                edit(&config, "{", r#"{"split_special_tokens": true,"#)
            }),
            "tokenizer_config.json",
        ),
        (
            ("stop tokens", &|| {
                edit(&in_model("generation_config.json"), "2,", "5,")
            }),
            "generation_config.json",
        ),
    ];
    for ((part, change), file) in cases {
        refused(part, change, file);
    }
    // As it was, the file goes on, wherever the model is.
    std::fs::write(model.join("README.md"), "text").unwrap();
    let ended = Lac::start(&args).end();
    ended.check(
        0,
        &["nothing was asked", "r.jsonl has the answers to all 2"],
    );
    let as_json = [&args[..], &["--format".into(), "json".into()]].concat();
    let n_asked = |args: &[String]| {
        let ended = Lac::start(args).end();
        let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        (report["n_asked"].clone(), ended.stderr)
    };
    let (n, stderr) = n_asked(&as_json);
    assert_eq!(n, 0, "{stderr}");
    let more = [
        &place.eval("r.jsonl", &["--limit", "3"])[..],
        &as_json[as_json.len() - 2..],
    ]
    .concat();
    let (n, stderr) = n_asked(&more);
    assert_eq!(n, 1);
    assert!(!stderr.contains("nothing was asked"), "{stderr}");
}

/// What decides a generated text, or what is shown before a question.
#[test]
fn results_of_other_prompts_and_other_generation_are_refused() {
    let place = Place::new();
    let model = place.path("model");
    let generation = model.join("generation_config.json");
    let generative = [
        "--limit",
        "1",
        "--protocol",
        "generative",
        "--max-new-tokens",
        "2",
    ];
    let shots = ["--limit", "1", "--few-shot", "3"];
    let dev = place.path("sets/mmlu/all/dev-00000-of-00001.parquet");
    let other_dev = place.path("sets/mmlu/all/validation-00000-of-00001.parquet");
    // The file of results, how it is made, the file that changes and how, and what the refusal names.
    type Case<'a> = (&'a str, &'a [&'a str], &'a Path, &'a dyn Fn(), &'a str);
    let cases: [Case<'_>; 4] = [
        (
            "stop.jsonl",
            &generative,
            &generation,
            &|| edit(&generation, "2,", "5,"),
            "asking.stop_tokens",
        ),
        (
            "penalty.jsonl",
            &generative,
            &generation,
            &|| edit(&generation, "{", r#"{"repetition_penalty": 1.1,"#),
            "asking.processors",
        ),
        (
            "template.jsonl",
            &generative,
            &model.join("tokenizer_config.json"),
            &|| edit(&model.join("tokenizer_config.json"), "assistant", "answer"),
            "chat template",
        ),
        (
            "shots.jsonl",
            &shots,
            &dev,
            &|| {
                std::fs::copy(&other_dev, &dev).unwrap();
            },
            "examples: ",
        ),
    ];
    for (out, extra, file, change, part) in cases {
        let args = place.eval(out, extra);
        Lac::start(&args).end().check(0, &[]);
        let results = std::fs::read(place.path(out)).unwrap();
        let original = std::fs::read(file).unwrap();
        change();
        let started = format!("{out} was started with other settings");
        Lac::start(&args)
            .end()
            .check(1, &[&started, part, "in the file"]);
        assert_eq!(std::fs::read(place.path(out)).unwrap(), results, "{out}");
        std::fs::write(file, original).unwrap();
    }
}

#[test]
fn plans_of_another_model_are_refused() {
    let place = Place::new();
    let (model, plan) = (place.text("model"), place.text("plan.json"));
    let prompt = ["--model", &model, "--prompt", "Tell me about Modo."];
    let learn = [
        "--keep-layers",
        "8",
        "--max-new-tokens",
        "4",
        "--out",
        &plan,
    ];
    let learn = [&["plan"], &prompt[..], &learn].concat();
    Lac::start(&learn).end().check(0, &[]);
    let follow = [
        "--policy",
        "planned",
        "--plan",
        &plan,
        "--max-new-tokens",
        "2",
    ];
    let follow = [&["generate"], &prompt[..], &follow].concat();
    let verify = ["--plan", &plan, "--max-new-tokens", "2"];
    let verify = [&["verify"], &prompt[..], &verify].concat();
    Lac::start(&follow).end().check(0, &[]);
    let weights = place.path("model/model.safetensors");
    let original = std::fs::read(&weights).unwrap();
    for matrix in MATRICES {
        zero(&weights, matrix);
        for args in [&follow, &verify] {
            let parts = ["the plan was made on another model", "weights"];
            Lac::start(args).end().check(1, &parts);
        }
        std::fs::write(&weights, &original).unwrap();
    }
    // A plan of a version that sampled the weights.
    let text = std::fs::read_to_string(&plan).unwrap();
    std::fs::write(&plan, text.replacen("blake3:", "sha256-sample:", 1)).unwrap();
    Lac::start(&follow)
        .end()
        .check(1, &["a sample of the weights", "make the plan again"]);
}

#[cfg(target_os = "linux")]
#[test]
fn traces_of_another_model_are_not_gone_on_with() {
    let place = Place::new();
    let (model, prompts, out) = (
        place.text("model"),
        place.prompts(80),
        place.text("t.parquet"),
    );
    let args = [
        "trace",
        "--model",
        &model,
        "--prompts",
        &prompts,
        "--out",
        &out,
    ];
    let args = [&args[..], &["--batch", "2", "--max-new-tokens", "12"]].concat();
    let mut run = Lac::start(&args);
    run.wait_until_running();
    std::thread::sleep(std::time::Duration::from_millis(300));
    run.signal("-INT");
    run.end().check(130, &["t.parquet.parts holds"]);
    let weights = place.path("model/model.safetensors");
    let original = std::fs::read(&weights).unwrap();
    for matrix in MATRICES {
        zero(&weights, matrix);
        let parts = ["interrupted run of other settings", "model weights: "];
        Lac::start(&args).end().check(1, &parts);
        std::fs::write(&weights, &original).unwrap();
    }
    Lac::start(&args).end().check(0, &["going on after"]);
}
