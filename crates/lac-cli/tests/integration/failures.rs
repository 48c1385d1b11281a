//! How commands fail: with a code and a reason.

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
