//! Greedy accuracy on questions that training never saw.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use lac_demo::prompts::{Wording, choice_prompt, yes_no_prompt, yes_no_word};
use lac_demo::sets::{choices, two_step_questions, yes_no_questions};
use lac_demo::split::Split;
use lac_demo::tokenizer::{END, END_OF_TEXT, START};
use lac_demo::world::World;
use lac_models::Decoder;
use tokenizers::Tokenizer;

use super::model::logits;

/// How many rows are scored at once.
const ROWS: usize = 32;

/// A prompt and the answer that greedy decoding must give, its end included.
struct Case {
    group: String,
    prompt: String,
    answer: String,
}

/// Right answers and questions by set, wording and subject.
pub type Scores = BTreeMap<String, (usize, usize)>;

/// Scores a split of all sets.
///
/// An answer is right if greedy decoding gives exactly it and then stops. That
/// is so if every token of it is the likeliest after the ones before it, which
/// one pass over prompt and answer tells.
pub fn evaluate(
    model: &Decoder,
    tokenizer: &Tokenizer,
    world: &World,
    split: Split,
) -> Result<Scores> {
    let mut by_len: BTreeMap<usize, Vec<(Case, Vec<u32>, usize)>> = BTreeMap::new();
    for case in cases(world, split) {
        let encode = |text: &str| {
            tokenizer
                .encode(text, false)
                .map(|e| e.get_ids().to_vec())
                .map_err(|e| anyhow!("{e}"))
        };
        let n_prompt = encode(&case.prompt)?.len();
        let ids = encode(&format!("{}{}", case.prompt, case.answer))?;
        by_len
            .entry(ids.len())
            .or_default()
            .push((case, ids, n_prompt));
    }
    let mut scores = Scores::new();
    for (len, rows) in &by_len {
        for part in rows.chunks(ROWS) {
            let ids = part
                .iter()
                .flat_map(|(_, ids, _)| ids.iter().map(|&id| id as i32))
                .collect();
            let best = logits(model, ids, part.len(), *len).argmax(1);
            let best = best.into_data().convert::<i64>().try_to_vec::<i64>()?;
            for (row, (case, ids, n_prompt)) in part.iter().enumerate() {
                let right = (*n_prompt..*len).all(|i| best[row * len + i - 1] == i64::from(ids[i]));
                let score = scores.entry(case.group.clone()).or_default();
                score.0 += usize::from(right);
                score.1 += 1;
            }
        }
    }
    Ok(scores)
}

fn cases(world: &World, split: Split) -> Vec<Case> {
    let mut all = Vec::new();
    let wordings = [
        (Wording::Plain, "plain"),
        (Wording::Reference, "reference"),
        (Wording::Harness, "harness"),
    ];
    for (wording, name) in wordings {
        for item in choices(world, split) {
            let letter = item.letter().to_string();
            let mut groups = vec![format!("mmlu {name}")];
            if wording == Wording::Plain {
                groups.push(format!("mmlu {name} {}", item.subject));
            }
            for group in groups {
                all.push(case(group, choice_prompt(&item, wording), &letter, wording));
            }
        }
        if split == Split::Test {
            for two in two_step_questions(world) {
                if wording != Wording::Harness {
                    let letter = two.item.letter().to_string();
                    let prompt = choice_prompt(&two.item, wording);
                    all.push(case(format!("gpqa {name}"), prompt, &letter, wording));
                }
            }
        }
        for item in yes_no_questions(world, split) {
            let word = yes_no_word(item.answer, wording);
            all.push(case(
                format!("boolq {name}"),
                yes_no_prompt(&item, wording),
                word,
                wording,
            ));
        }
    }
    all
}

fn case(group: String, prompt: String, answer: &str, wording: Wording) -> Case {
    if wording == Wording::Harness {
        Case {
            group,
            prompt,
            answer: format!(" {answer}{END_OF_TEXT}"),
        }
    } else {
        Case {
            group,
            prompt: format!("{START}user\n{prompt}{END}\n{START}assistant\n"),
            answer: format!("{answer}{END}"),
        }
    }
}
