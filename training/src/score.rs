//! Greedy accuracy on questions that training never saw.

use std::collections::BTreeMap;

use anyhow::Result;
use lac_core::LayerPolicy;
use lac_eval::exact_match::{ExactMatch, Exercise, exact_match};
use lac_models::{
    AddSpecialTokens, ChatMessage, ChatOptions, DecodedSpecialTokens, Decoder, Tokenizer,
};

use crate::prompts::{Wording, choice_prompt, yes_no_prompt, yes_no_word};
use crate::sets::{choices, two_step_questions, yes_no_questions};
use crate::split::Split;
use crate::world::World;

/// How many rows are answered at once.
const BATCH_SIZE: usize = 32;

/// The benchmark that a question belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Set {
    /// Four choices, one remembered fact or a small skill.
    Mmlu,
    /// Four choices, two remembered facts.
    Gpqa,
    /// Yes or no about a passage.
    Boolq,
}

impl Set {
    /// Returns the name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Set::Mmlu => "mmlu",
            Set::Gpqa => "gpqa",
            Set::Boolq => "boolq",
        }
    }
}

/// A question as the model is asked it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The benchmark.
    pub set: Set,
    /// The subject; empty for yes-or-no questions.
    pub subject: String,
    /// Prompt and right answer.
    pub exercise: Exercise,
}

/// Returns all questions of a split in one wording. Those of two steps belong to the test split only.
///
/// # Errors
/// Fails if the tokenizer or its template does.
pub fn cases(
    tokenizer: &Tokenizer,
    world: &World,
    split: Split,
    wording: Wording,
) -> Result<Vec<Case>> {
    let mut all = Vec::new();
    let mut add = |set, subject: &str, prompt: &str, answer: &str| -> Result<()> {
        all.push(Case {
            set,
            subject: subject.into(),
            exercise: exercise(tokenizer, wording, prompt, answer)?,
        });
        Ok(())
    };
    for item in choices(world, split) {
        let (prompt, letter) = (choice_prompt(&item, wording), item.letter().to_string());
        add(Set::Mmlu, &item.subject, &prompt, &letter)?;
    }
    if split == Split::Test {
        for two in two_step_questions(world) {
            let item = two.item;
            let (prompt, letter) = (choice_prompt(&item, wording), item.letter().to_string());
            add(Set::Gpqa, &item.subject, &prompt, &letter)?;
        }
    }
    for item in yes_no_questions(world, split) {
        let word = yes_no_word(item.answer, wording);
        add(Set::Boolq, "", &yes_no_prompt(&item, wording), word)?;
    }
    Ok(all)
}

fn exercise(
    tokenizer: &Tokenizer,
    wording: Wording,
    prompt: &str,
    answer: &str,
) -> Result<Exercise> {
    // The harness's prompts are plain text, which a space and the answer continue.
    let (prompt, answer) = if wording == Wording::Harness {
        let prompt = tokenizer.encode(prompt, AddSpecialTokens::Once)?;
        (prompt, format!(" {answer}"))
    } else {
        let messages = [ChatMessage::new("user", prompt)];
        let chat = tokenizer.encode_chat(&messages, &ChatOptions::default())?;
        (chat.ids, answer.to_owned())
    };
    Ok(Exercise {
        prompt,
        answer: tokenizer.encode(&answer, AddSpecialTokens::Never)?,
    })
}

/// Answers the questions under a policy.
///
/// # Errors
/// Fails if the model does.
pub fn answer(
    model: &Decoder,
    tokenizer: &Tokenizer,
    cases: &[Case],
    wording: Wording,
    policy: &mut dyn LayerPolicy,
) -> Result<ExactMatch> {
    let exercises: Vec<Exercise> = cases.iter().map(|case| case.exercise.clone()).collect();
    // What would follow the harness's answers does not count.
    let stop_ids = match wording {
        Wording::Harness => &[],
        _ => tokenizer.stop_ids(),
    };
    Ok(exact_match(
        model, &exercises, stop_ids, BATCH_SIZE, policy,
    )?)
}

/// Counts right answers and questions of each group that `group` names.
pub fn count(
    cases: &[Case],
    result: &ExactMatch,
    group: impl Fn(&Case) -> Option<String>,
) -> BTreeMap<String, (usize, usize)> {
    let mut groups = BTreeMap::new();
    for (case, &right) in cases.iter().zip(&result.right) {
        if let Some(name) = group(case) {
            let (n_right, n) = groups.entry(name).or_insert((0, 0));
            *n_right += usize::from(right);
            *n += 1;
        }
    }
    groups
}

/// Returns what the model answers to a user's message, under a policy.
///
/// # Errors
/// Fails if the model or the tokenizer does.
pub fn reply(
    model: &Decoder,
    tokenizer: &Tokenizer,
    message: &str,
    policy: &mut dyn LayerPolicy,
) -> Result<String> {
    let Exercise { prompt, .. } = exercise(tokenizer, Wording::Plain, message, "")?;
    let config =
        lac_core::GenerationConfig::greedy(48).with_stop_tokens(tokenizer.stop_ids().to_vec());
    let output = lac_core::generate(
        model,
        &[prompt],
        &config,
        lac_core::GenerateArgs::new(policy),
    )?;
    Ok(tokenizer.decode(&output.rows[0].ids, DecodedSpecialTokens::Skip)?)
}
