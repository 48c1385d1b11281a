//! How commands fail: with a code and a reason.

#[cfg(feature = "demo")]
use crate::chat_model;
use crate::{check_failure, checkpoint};

#[test]
fn failures_have_a_code_and_a_reason() {
    let llama = checkpoint("llama");
    let generate = |extra: &[&'static str]| -> Vec<String> {
        let base = ["generate", "--model", &llama];
        base.iter()
            .chain(extra)
            .map(|arg| (*arg).to_owned())
            .collect()
    };
    let check = |extra: &[&'static str], code, parts: &[&str]| {
        let args = generate(extra);
        check_failure(
            &args.iter().map(String::as_str).collect::<Vec<_>>(),
            code,
            parts,
        );
    };
    // Usage errors are clap's: code 2.
    check(&[], 2, &["--prompt"]);
    check(
        &["--prompt", "a", "--prompt-ids", "1"],
        2,
        &["cannot be used with"],
    );
    check(&["--prompt-ids", "1,x"], 2, &["--prompt-ids"]);
    check(
        &["--prompt-ids", "1", "--device", "tpu"],
        2,
        &["unknown device"],
    );
    check(
        &["--prompt-ids", "1", "--greedy", "--temperature", "1"],
        2,
        &["--greedy"],
    );
    check(
        &["--prompt-ids", "1", "--policy", "magic"],
        2,
        &["last-active"],
    );
    // What turns out while running: code 1.
    check(&["--prompt-ids", "1"], 1, &["tokenizer.json"]);
    check(
        &["--prompt-ids", "1", "--alpha=-1"],
        1,
        &["--alpha", "not negative"],
    );
    check_failure(
        &["inspect", "--model", "/nowhere"],
        1,
        &["/nowhere", "not a folder"],
    );
    let trace = ["trace", "--model", &llama, "--json", "-", "--prompt-ids"];
    check_failure(
        &[&trace[..], &["96"]].concat(),
        1,
        &["token id 96", "vocabulary of 96"],
    );
    let unwritable = [
        "trace",
        "--model",
        &llama,
        "--prompt-ids",
        "1",
        "--json",
        "/nowhere/x.json",
    ];
    check_failure(&unwritable, 1, &["cannot write /nowhere/x.json"]);
    #[cfg(not(feature = "cuda"))]
    check_failure(
        &[
            "trace",
            "--model",
            &llama,
            "--prompt-ids",
            "1",
            "--device",
            "cuda",
        ],
        1,
        &["compiled without cuda", "--features cuda"],
    );
}

/// The folder has no weights: a command that reads them first would say so.
#[cfg(feature = "demo")]
#[test]
fn mistakes_in_flags_are_found_before_weights_are_read() {
    let folder = chat_model();
    let model = folder.path().display().to_string();
    let draft_nothing = ["--fixed-draft", "--draft-tokens", "0"];
    let data = ["--data", "demo", "--benchmark", "mmlu"];
    let prompt = ["--prompt", "a"];
    for (command, flags, reason) in [
        ("bench", &["--policy", "off,planned"][..], "needs --plan"),
        (
            "bench",
            &[&["--policy", "speculative"], &draft_nothing[..]].concat(),
            "draft nothing",
        ),
        ("bench", &["--alpha=-1"], "--alpha"),
        (
            "generate",
            &[&["--policy", "planned"], &prompt[..]].concat(),
            "needs --plan",
        ),
        (
            "trace",
            &[&["--policy", "planned"], &prompt[..]].concat(),
            "needs --plan",
        ),
        (
            "trace",
            &[&["--policy", "speculative"], &prompt[..]].concat(),
            "no trace of its own",
        ),
        (
            "eval",
            &[&["--policy", "planned"], &data[..]].concat(),
            "needs --plan",
        ),
        (
            "verify",
            &[&draft_nothing[..], &prompt].concat(),
            "draft nothing",
        ),
        ("verify", &["--prompts", "/nowhere"], "/nowhere"),
        ("plan", &["--out", "-", "--prompts", "/nowhere"], "/nowhere"),
        (
            "plan",
            &[&["--out", "-", "--keep-share", "2"], &prompt[..]].concat(),
            "from 0 to 1",
        ),
        (
            "plan",
            &[
                &["--out", "-", "--by", "agreement", "--phase", "prompt"],
                &prompt[..],
            ]
            .concat(),
            "of the response",
        ),
    ] {
        check_failure(
            &[&[command, "--model", &model], flags].concat(),
            1,
            &[reason],
        );
    }
    let other = ["bench", "--shape", "qwen2.5-0.5b", "--policy", "planned"];
    check_failure(&other, 1, &["needs --plan"]);
}
