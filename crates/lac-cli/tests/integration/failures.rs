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
        (
            "bench",
            &["--policy", "off,speculative", "--batch", "1,2"],
            "one row at a time",
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
            &[&["--draft", "ngram", "--policy", "bypass"], &prompt[..]].concat(),
            "takes no other --policy",
        ),
        (
            "trace",
            &[
                &["--draft", "ngram", "--json", "-", "--logits"],
                &prompt[..],
            ]
            .concat(),
            "leave --draft out",
        ),
        (
            "trace",
            &[&["--policy", "speculative"], &draft_nothing[..], &prompt].concat(),
            "draft nothing",
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

/// Every flag that is a number.
#[cfg(feature = "demo")]
#[test]
fn words_that_are_no_numbers_are_refused_with_what_is_expected() {
    let prompt = ["--model", "demo", "--prompt", "a"];
    let data = ["--model", "demo", "--data", "demo", "--benchmark", "mmlu"];
    let whole = "expected a whole number";
    let number = "expected a number, such as 0.5";
    // A command, its other flags, flags that are whole numbers, flags that are numbers.
    type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a [&'a str]);
    let commands: [Row<'_>; 8] = [
        (
            "generate",
            &prompt,
            &[
                "--max-new-tokens",
                "--top-k",
                "--seed",
                "--no-repeat-ngram-size",
                "--draft-tokens",
                "--threads",
            ],
            &[
                "--temperature",
                "--top-p",
                "--min-p",
                "--repetition-penalty",
                "--alpha",
            ],
        ),
        (
            "trace",
            &[
                "--model",
                "demo",
                "--prompts",
                "p.txt",
                "--out",
                "t.parquet",
            ],
            &["--batch", "--hidden", "--max-new-tokens"],
            &["--alpha"],
        ),
        ("tokenize", &["--model", "demo"], &["--prompt-ids"], &[]),
        (
            "plan",
            &[&prompt[..], &["--out", "-"]].concat(),
            &["--keep-layers", "--max-new-tokens"],
            &["--keep-share", "--keep-at-least", "--alpha"],
        ),
        (
            "verify",
            &prompt,
            &["--max-new-tokens", "--draft-tokens"],
            &[],
        ),
        (
            "bench",
            &["--model", "demo"],
            &["--batch", "--prompt-tokens", "--new-tokens", "--repeats"],
            &["--alpha"],
        ),
        (
            "eval",
            &data,
            &[
                "--limit",
                "--few-shot",
                "--batch-size",
                "--max-new-tokens",
                "--seed",
            ],
            &["--alphas", "--alpha"],
        ),
        (
            "report",
            &["t.parquet"],
            &["--tokens", "--max-tokens", "--width"],
            &[],
        ),
    ];
    for (command, base, whole_flags, number_flags) in commands {
        let check = |flag: &str, word: &str, expected: &str| {
            let args = [&[command], base, &[flag, word]].concat();
            check_failure(&args, 2, &[flag, expected]);
        };
        for flag in whole_flags {
            for word in [
                "",
                " ",
                "x",
                "-1",
                "1.5",
                "1e9",
                "NaN",
                "99999999999999999999",
            ] {
                check(flag, word, whole);
            }
        }
        for flag in number_flags {
            for word in ["", " ", "x", "0.5.5", "0x1"] {
                check(flag, word, number);
            }
        }
    }
}

/// Numbers out of their range; the folder has no weights, which a later check would miss.
#[cfg(feature = "demo")]
#[test]
fn numbers_out_of_their_range_are_refused_before_weights_are_read() {
    let folder = chat_model();
    let model = folder.path().display().to_string();
    let prompt = ["--prompt", "a"];
    let data = ["--data", "demo", "--benchmark", "mmlu"];
    let plan = ["--out", "-", "--prompt", "a"];
    let share = "expected a number from 0 to 1";
    let u64_max = "18446744073709551615";
    for (command, base, flag, words, expected) in [
        (
            "generate",
            &prompt[..],
            "--temperature",
            &["0", "-1", "NaN", "inf"][..],
            "--greedy",
        ),
        (
            "generate",
            &prompt,
            "--top-p",
            &["-0.1", "1.5", "NaN"],
            share,
        ),
        ("trace", &prompt, "--min-p", &["-0.1", "1.5", "NaN"], share),
        (
            "generate",
            &prompt,
            "--repetition-penalty",
            &["0", "-1", "NaN", "inf"],
            "above 0",
        ),
        (
            "generate",
            &prompt,
            "--alpha",
            &["-1", "NaN", "inf"],
            "not negative",
        ),
        (
            "verify",
            &prompt,
            "--alpha",
            &["-1", "NaN", "inf"],
            "not negative",
        ),
        (
            "plan",
            &plan,
            "--alpha",
            &["-1", "NaN", "inf"],
            "not negative",
        ),
        (
            "plan",
            &plan,
            "--keep-share",
            &["-0.1", "2", "NaN", "inf"],
            share,
        ),
        (
            "plan",
            &plan,
            "--keep-layers",
            &["5", u64_max],
            "as many as the model has",
        ),
        (
            "plan",
            &plan,
            "--keep-at-least",
            &["NaN", "inf"],
            "a finite number",
        ),
        ("eval", &data, "--batch-size", &["0"], "at least 1"),
        (
            "eval",
            &data,
            "--alphas",
            &["-1", "NaN", "0.2,inf"],
            "not negative",
        ),
        (
            "bench",
            &[],
            "--prompt-tokens",
            &["32767", u64_max],
            "the model's context",
        ),
        (
            "bench",
            &[],
            "--new-tokens",
            &[u64_max],
            "the model's context",
        ),
    ] {
        let base = [&["--model", &model], base].concat();
        for word in words {
            let args = [&[command], &base[..], &[flag, word]].concat();
            check_failure(&args, 1, &[flag, expected]);
        }
    }
}
