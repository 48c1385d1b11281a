//! Hashes of the texts that a run shows to a model, by which a file of results knows them again.

use sha2::{Digest, Sha256};

use crate::data_set::DataSet;
use crate::option_order::OptionOrders;
use crate::prompt_settings::PromptSettings;
use crate::question::{Prompt, Question};
use crate::short_hash::short_hash;
use crate::wording::question;

/// Hashes all questions of a data set in words, without solved examples.
pub(crate) fn words_hash(data: &DataSet, prompt: &PromptSettings) -> String {
    let prompt = PromptSettings {
        few_shot: 0,
        ..prompt.clone()
    };
    let orders = OptionOrders::new(data, &prompt);
    let mut hash = Sha256::new();
    for item in &data.items {
        match question(item, data, &orders, &prompt) {
            Ok(question) => add_question(&mut hash, &question),
            // The run is refused for the same reason.
            Err(error) => add(&mut hash, &error.to_string()),
        }
    }
    short_hash(hash)
}

/// Hashes the first examples of each subject; `None` where none are shown.
pub(crate) fn examples_hash(data: &DataSet, n_examples: usize) -> Option<String> {
    let mut hash = Sha256::new();
    for (subject, examples) in &data.examples {
        add(&mut hash, subject);
        for example in examples.iter().take(n_examples) {
            // The id is a hash of the question, its options and its answer.
            add(&mut hash, example.id.as_str());
        }
    }
    (n_examples > 0).then(|| short_hash(hash))
}

fn add_question(hash: &mut Sha256, question: &Question) {
    let Question {
        prompt,
        options,
        answer,
        also_right,
        judgement,
        order: _,
        kind,
    } = question;
    match prompt {
        Prompt::Text(text) => add(hash, text),
        Prompt::Chat(messages) => {
            for message in messages {
                add(hash, message.role());
                add(hash, message.text().unwrap_or_default());
            }
        }
        Prompt::PerOption(texts) => texts.iter().for_each(|text| add(hash, text)),
    }
    for option in options {
        add(hash, &option.continuation);
        add(hash, &option.text);
    }
    add(
        hash,
        &format!("{answer} {also_right:?} {judgement:?} {kind:?}"),
    );
}

fn add(hash: &mut Sha256, text: &str) {
    // The length keeps neighbouring texts apart.
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}
