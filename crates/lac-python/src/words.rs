//! Messages that name settings as the command's flags, in Python's words.

/// Flags that are parameters in Python, and what they are called there.
const FLAGS: [(&str, &str); 36] = [
    ("alpha", "alpha"),
    ("alphas", "alphas"),
    ("batch", "batch_size"),
    ("batch-size", "batch_size"),
    ("benchmark", "benchmark"),
    ("by", "by"),
    ("chat", "chat"),
    ("context", "context"),
    ("data", "data"),
    ("device", "device"),
    ("dtype", "dtype"),
    ("few-shot", "few_shot"),
    ("greedy", "greedy=True"),
    ("harness-task", "harness_task"),
    ("keep-at-least", "keep_at_least"),
    ("keep-layers", "keep_layers"),
    ("keep-share", "keep_share"),
    ("limit", "limit"),
    ("max-new-tokens", "max_new_tokens"),
    ("min-p", "min_p"),
    ("model", "model"),
    ("no-repeat-ngram-size", "no_repeat_ngram_size"),
    ("out", "out"),
    ("passages", "passages"),
    ("phase", "phase"),
    ("plan", "plan"),
    ("policy", "policy"),
    ("protocol", "protocol"),
    ("quantize", "quantize"),
    ("repetition-penalty", "repetition_penalty"),
    ("seed", "seed"),
    ("strict", "strict=True"),
    ("temperature", "temperature"),
    ("top-k", "top_k"),
    ("top-p", "top_p"),
    ("windows", "windows"),
];

/// Returns a message with Python's names in the place of flags: `--top-p 2` becomes `top_p 2`. Words that only look
/// like flags, as in a file's name, stay.
pub(crate) fn in_python(message: &str) -> String {
    let mut words = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(start) = rest.find("--") {
        let (before, flag) = rest.split_at(start);
        words.push_str(before);
        let name = &flag[2..];
        let end = name
            .find(|c: char| !(c.is_ascii_lowercase() || c == '-'))
            .unwrap_or(name.len());
        let begins_a_word = !before.ends_with(|c: char| !(c.is_whitespace() || "(`".contains(c)));
        let known = FLAGS.iter().find(|(flag, _)| *flag == &name[..end]);
        match known {
            Some((_, python)) if begins_a_word => words.push_str(python),
            _ => words.push_str(&flag[..2 + end]),
        }
        rest = &name[end..];
    }
    words.push_str(rest);
    words
}
