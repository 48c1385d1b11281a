//! The same seed, the same text, the same bits: at any number of threads.

use crate::stdout;

#[test]
fn threads_change_no_bit() {
    let prompt = ["--model", "demo", "--prompt", "Tell me about Kodo."];
    let short = ["--max-new-tokens", "24"];
    let cases: [(&str, &[&str]); 5] = [
        // Norms, deltas and logits are printed with all their digits.
        ("trace", &["--logits", "--json", "-"]),
        (
            "trace",
            &[
                "--logits", "--json", "-", "--dtype", "bf16", "--policy", "bypass",
            ],
        ),
        (
            "generate",
            &["--temperature", "1.2", "--top-p", "0.95", "--seed", "11"],
        ),
        ("generate", &["--temperature", "1.2", "--dtype", "f16"]),
        ("generate", &["--speculative", "--fixed-draft"]),
    ];
    for (command, extra) in cases {
        let run = |threads: &str| {
            let args = [&["--threads", threads, command][..], &prompt, &short, extra];
            stdout(&args.concat())
        };
        let one = run("1");
        assert!(one.len() > 20, "{one}");
        for threads in ["2", "3", "5", "2"] {
            assert_eq!(run(threads), one, "{command} {extra:?}, {threads} threads");
        }
    }
}
