//! How texts are cut into words before byte pairs are merged, by the names that converters give the ways.
//!
//! A file says `tokenizer.ggml.pre` and not the regular expressions, which are those of the original `tokenizer.json`.

use serde_json::{Value, json};

/// A named way to cut texts into words.
#[derive(Clone, Copy, Debug)]
pub(super) struct PreTokenizer {
    names: &'static [&'static str],
    steps: &'static [Step],
    /// Whether characters are composed first (Unicode's form C).
    composes: bool,
    /// Whether a word that is in the vocabulary is one token, whatever the merges say.
    pub(super) ignores_merges: bool,
    /// Whether a text begins with a BOS where the metadata does not say.
    pub(super) adds_bos: bool,
}

/// A step of cutting; each cuts the pieces of the one before.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Matches of the expression stand alone.
    Split(&'static str),
    /// Every digit stands alone.
    Digits,
    /// The words of GPT-2.
    Words,
}

/// What most entries of the table have in common.
const PLAIN: PreTokenizer = PreTokenizer {
    names: &[],
    steps: &[],
    composes: false,
    ignores_merges: false,
    adds_bos: false,
};

const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const QWEN_3_5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const SEED_CODER: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The words of GPT-2 as a step among others; what it leaves over stands alone, too.
const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";

/// Letters of scripts with cases, as DeepSeek's first models list them. Those that Unicode composes into others are written
/// as numbers.
const CASED_LETTERS: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\x{1F7D}ᾀ-ᾴᾶ-ᾼ\x{1FBE}ῂ-ῄῆ-ῌῐ-\x{1FD3}ῖ-\x{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

const TABLE: &[PreTokenizer] = &[
    PreTokenizer {
        names: &[
            "gpt-2",
            "phi-2",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "exaone4",
            "jais",
            "trillion",
            "granite-docling",
        ],
        steps: &[Step::Words],
        ..PLAIN
    },
    PreTokenizer {
        names: &["olmo", "mpt"],
        steps: &[Step::Words],
        composes: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        steps: &[Step::Digits, Step::Words],
        ..PLAIN
    },
    PreTokenizer {
        names: &["command-r"],
        steps: &[Step::Digits, Step::Words],
        composes: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
        ],
        steps: &[Step::Split(LLAMA_3)],
        ignores_merges: true,
        adds_bos: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["dbrx", "smaug-bpe", "chatglm-bpe"],
        steps: &[Step::Split(LLAMA_3)],
        ..PLAIN
    },
    PreTokenizer {
        names: &["glm4"],
        steps: &[Step::Split(LLAMA_3)],
        ignores_merges: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["qwen2", "deepseek-r1-qwen", "megrez"],
        steps: &[Step::Split(QWEN_2)],
        composes: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "stablelm2",
            "hunyuan",
            "solar-open",
            "kormo",
            "f2llmv2",
            "grok-2",
        ],
        steps: &[Step::Split(QWEN_2)],
        ..PLAIN
    },
    PreTokenizer {
        names: &["qwen35"],
        steps: &[Step::Split(QWEN_3_5)],
        ..PLAIN
    },
    PreTokenizer {
        names: &["tekken"],
        steps: &[Step::Split(TEKKEN)],
        ignores_merges: true,
        adds_bos: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["gpt-4o", "llama4", "kanana2"],
        steps: &[Step::Split(O200K)],
        ..PLAIN
    },
    PreTokenizer {
        names: &["seed-coder"],
        steps: &[Step::Split(SEED_CODER)],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-llm"],
        steps: &[
            Step::Split(r"[\r\n]"),
            Step::Split(CASED_LETTERS),
            Step::Split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
            Step::Split(r"\s+$"),
            Step::Split("[一-龥ࠀ-一가-퟿]+"),
            Step::Digits,
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-coder"],
        steps: &[
            Step::Split(r"[\r\n]"),
            Step::Split(r"\s?\p{L}+"),
            Step::Split(r"\s?\p{P}+"),
            Step::Split("[一-龥ࠀ-一가-퟿]+"),
            Step::Digits,
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm"],
        steps: &[
            Step::Split(r"\p{N}{1,3}"),
            Step::Split("[一-龥぀-ゟ゠-ヿ]+"),
            Step::Split(
                r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
            ),
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["falcon"],
        steps: &[
            Step::Split(r"[\p{P}\$\+<=>\^~\|`]+"),
            Step::Split(GPT_2),
            Step::Split("[0-9][0-9][0-9]"),
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &[DEFAULT],
        steps: &[
            Step::Split(r"[\p{P}\$\+<=>\^~\|]+"),
            Step::Split(GPT_2),
            Step::Split(r"\p{N}+"),
            Step::Split("[0-9][0-9][0-9]"),
        ],
        ..PLAIN
    },
];

/// The name of llama.cpp's own way, which files have that name no other.
pub(super) const DEFAULT: &str = "default";

impl PreTokenizer {
    /// Returns the way of that name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let mut ways = TABLE.iter();
        ways.find(|way| way.names.contains(&name)).copied()
    }

    /// Returns the name of the way that a `tokenizer.json` describes, by its normaliser and its steps.
    pub(super) fn name_of(
        normalizer: &Value,
        steps: &Value,
        ignores_merges: bool,
    ) -> Option<&'static str> {
        let composes = match normalizer["type"].as_str() {
            None => false,
            Some("NFC") => true,
            Some(_) => return None,
        };
        let steps = plain_steps(steps)?;
        let mut ways = TABLE.iter();
        let way = ways.find(|way| {
            way.composes == composes
                && way.ignores_merges == ignores_merges
                && plain_steps(&way.steps()).is_some_and(|own| own == steps)
        })?;
        way.names.first().copied()
    }

    /// Returns all names, for errors.
    pub(super) fn names() -> String {
        let names: Vec<&str> = TABLE.iter().flat_map(|way| way.names).copied().collect();
        format!("one of {}", names.join(", "))
    }

    /// Returns the normaliser, as `tokenizer.json` would write it.
    pub(super) fn normalizer(&self) -> Option<Value> {
        self.composes.then(|| json!({"type": "NFC"}))
    }

    /// Returns the steps, as `tokenizer.json` would write them. Words become bytes at the end.
    pub(super) fn steps(&self) -> Value {
        let byte_level = |use_regex| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let mut steps = Vec::new();
        let mut are_bytes = false;
        for step in self.steps {
            are_bytes = matches!(step, Step::Words);
            steps.push(match step {
                Step::Split(pattern) => json!({
                    "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false,
                }),
                Step::Digits => json!({"type": "Digits", "individual_digits": true}),
                Step::Words => byte_level(true),
            });
        }
        if !are_bytes {
            steps.push(byte_level(false));
        }
        json!({"type": "Sequence", "pretokenizers": steps})
    }
}

/// Returns steps without what does not change how texts are cut, one by one; `None` for those that the table has not.
fn plain_steps(steps: &Value) -> Option<Vec<String>> {
    let one = std::slice::from_ref(steps);
    let steps = steps["pretokenizers"].as_array().map_or(one, Vec::as_slice);
    let mut plain = Vec::new();
    for step in steps {
        plain.push(match step["type"].as_str()? {
            "Split" if step["behavior"] == "Isolated" && step["invert"] != true => {
                step["pattern"]["Regex"].as_str()?.to_owned()
            }
            "Digits" if step["individual_digits"] == true => "digits".to_owned(),
            "ByteLevel" if step["add_prefix_space"] == false => match step["use_regex"] {
                Value::Bool(false) => "bytes".to_owned(),
                _ => "words".to_owned(),
            },
            _ => return None,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_twice_and_every_way_can_be_made() {
        let mut seen = Vec::new();
        for way in TABLE {
            for name in way.names {
                assert!(!seen.contains(name), "{name}");
                seen.push(name);
            }
            let steps = way.steps();
            let made = serde_json::from_value::<tokenizers::PreTokenizerWrapper>(steps);
            assert!(made.is_ok(), "{:?}", way.names);
        }
        for way in TABLE {
            let normalizer = way.normalizer().unwrap_or_default();
            let name = PreTokenizer::name_of(&normalizer, &way.steps(), way.ignores_merges);
            // Two ways may differ in what they add around a text alone, which files say besides.
            let found = name.and_then(PreTokenizer::of_name).unwrap();
            assert_eq!(found.steps(), way.steps(), "{:?}", way.names);
            assert_eq!(found.ignores_merges, way.ignores_merges);
            assert_eq!(found.composes, way.composes);
        }
        assert!(PreTokenizer::of_name(DEFAULT).is_some());
        assert!(PreTokenizer::of_name("other").is_none());
    }
}
