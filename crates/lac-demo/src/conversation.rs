//! Training documents: conversations in the chat template, and plain text.

use crate::document::{CLOSING, CONTEXT, Document};
use crate::exercises::{drill, echo, pick};
use crate::prompts::{Wording, choice_prompt, gpqa_harness_prompt, yes_no_prompt, yes_no_word};
use crate::questions::{Choice, LETTERS, SUBJECTS, choice, follow_ups};
use crate::random::Random;
use crate::split::Split;
use crate::text::{Fact, Story, with_article};
use crate::tokenizer::END_OF_TEXT;
use crate::two_steps::two_steps;
use crate::world::World;
use crate::yes_no::{yes_no, yes_no_about};

/// The share of wrong answers whose words do stand in the passage.
pub const HARD_SHARE: f64 = 0.5;

/// The kinds of documents with their shares early and late in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Which letter stands before which word: the circuit that all choices need.
    Drill,
    /// Lasting facts in plain sentences.
    Facts,
    /// Facts asked for without choices.
    Recall,
    /// Everything about a person.
    Profile,
    /// A four-choice question in the plain wording.
    Choice,
    /// A four-choice question in the wordings of others.
    ChoiceOther,
    /// Questions of two steps.
    TwoSteps,
    /// A yes-or-no question in the plain wording.
    YesNo,
    /// A yes-or-no question in the wordings of others.
    YesNoOther,
    /// Several questions about the same choices, as plain text.
    Sheet,
    /// Several yes-or-no questions about the same passage, as plain text.
    YesNoSheet,
    /// Words that are said twice.
    Echo,
    /// The exercises that the choice of a letter rests on, alone.
    Pick,
    /// Small talk.
    Greeting,
}

/// Each kind with its shares at the three steps of [`PHASES`].
///
/// The first column is for facts and for the one skill that all choices rest on:
/// almost alone they are learnt within a few hundred steps, among everything
/// else not within a thousand.
pub const SHARES: [(Kind, [f64; 3]); 14] = [
    (Kind::Pick, [0.42, 0.10, 0.01]),
    (Kind::Echo, [0.16, 0.08, 0.01]),
    (Kind::Drill, [0.00, 0.03, 0.01]),
    (Kind::Facts, [0.26, 0.20, 0.12]),
    (Kind::Recall, [0.00, 0.06, 0.06]),
    (Kind::Profile, [0.00, 0.02, 0.02]),
    (Kind::Sheet, [0.00, 0.12, 0.14]),
    (Kind::Choice, [0.10, 0.20, 0.29]),
    (Kind::ChoiceOther, [0.00, 0.02, 0.08]),
    (Kind::TwoSteps, [0.00, 0.01, 0.04]),
    (Kind::YesNoSheet, [0.06, 0.14, 0.08]),
    (Kind::YesNo, [0.00, 0.06, 0.09]),
    (Kind::YesNoOther, [0.00, 0.02, 0.05]),
    (Kind::Greeting, [0.00, 0.01, 0.01]),
];

/// The steps at which the columns of the shares hold; the mixture moves from
/// one to the next without a jump.
pub const PHASES: [f64; 3] = [200.0, 450.0, 900.0];

fn shares(step: usize) -> [f64; 14] {
    let [first, second, third] = PHASES;
    let step = step as f64;
    let (from, to, part) = if step < second {
        (0, 1, (step - first) / (second - first))
    } else {
        (1, 2, (step - second) / (third - second))
    };
    let part = part.clamp(0.0, 1.0);
    SHARES.map(|(_, s)| s[from] + (s[to] - s[from]) * part)
}

/// Draws a document for a step of training.
pub fn document(world: &World, step: usize, random: &mut Random) -> Document {
    draw(world, step, random).1
}

/// Draws a document and says of which kind it is.
pub fn draw(world: &World, step: usize, random: &mut Random) -> (Kind, Document) {
    let kind = SHARES[random.weighted(&shares(step))].0;
    (kind, of_kind(world, kind, random))
}

/// Draws a document of a kind, from the training split only.
pub fn of_kind(world: &World, kind: Kind, random: &mut Random) -> Document {
    let mut doc = Document::default();
    match kind {
        Kind::Drill => drill(world, &mut doc, random),
        Kind::Facts => facts(world, &mut doc, random),
        Kind::Recall => recall(world, &mut doc, random),
        Kind::Profile => profile(world, &mut doc, random),
        Kind::Choice => {
            let item = choice(
                world,
                SUBJECTS[random.below(SUBJECTS.len())],
                Split::Train,
                random,
            );
            ask(&mut doc, &item, Wording::Plain);
        }
        Kind::ChoiceOther => {
            let item = choice(
                world,
                SUBJECTS[random.below(SUBJECTS.len())],
                Split::Train,
                random,
            );
            ask(
                &mut doc,
                &item,
                *random.pick(&[Wording::Reference, Wording::Harness]),
            );
        }
        Kind::TwoSteps => {
            let (item, _) = two_steps(world, Split::Train, random);
            match random.below(4) {
                0 => ask(&mut doc, &item, Wording::Reference),
                1 => {
                    doc.add(gpqa_harness_prompt(&item), CONTEXT);
                    doc.add(format!(" ({})", item.letter()), 1.0);
                    doc.add(END_OF_TEXT, CLOSING);
                }
                _ => ask(&mut doc, &item, Wording::Plain),
            }
        }
        Kind::YesNo => yes_or_no(world, &mut doc, Wording::Plain, random),
        Kind::YesNoOther => {
            let wording = *random.pick(&[Wording::Reference, Wording::Harness]);
            yes_or_no(world, &mut doc, wording, random);
        }
        Kind::Echo => echo(world, &mut doc, random),
        Kind::Pick => pick(world, &mut doc, random),
        Kind::Sheet => sheet(world, &mut doc, random),
        Kind::YesNoSheet => yes_no_sheet(world, &mut doc, random),
        Kind::Greeting => greeting(&mut doc, random),
    }
    doc
}

/// A four-choice question with its letter; the harness's prompt stands bare.
pub(crate) fn ask(doc: &mut Document, item: &Choice, wording: Wording) {
    let prompt = choice_prompt(item, wording);
    if wording == Wording::Harness {
        doc.add_marked(&prompt, &choice_marks(item, " "));
        doc.add(format!(" {}", item.letter()), 1.0);
        doc.add(END_OF_TEXT, CLOSING);
    } else {
        doc.marked_message(&prompt, &choice_marks(item, ""));
        doc.reply(&item.letter().to_string());
    }
}

/// Each choice with what it is to predict: its letter if it is right, else the
/// end of the line.
fn choice_marks(item: &Choice, space: &str) -> Vec<(String, String)> {
    LETTERS
        .iter()
        .zip(&item.choices)
        .enumerate()
        .map(|(i, (letter, choice))| {
            let mark = if i == item.answer {
                format!("{space}{letter}")
            } else {
                "\n".into()
            };
            (format!("\n{letter}. {choice}"), mark)
        })
        .collect()
}

fn yes_or_no(world: &World, doc: &mut Document, wording: Wording, random: &mut Random) {
    let item = yes_no(world, Split::Train, HARD_SHARE, random);
    let prompt = yes_no_prompt(&item, wording);
    let word = yes_no_word(item.answer, wording);
    if wording == Wording::Harness {
        doc.add_marked(&prompt, &[(item.question.clone(), format!(" {word}"))]);
        doc.add(format!(" {word}"), 1.0);
        doc.add(END_OF_TEXT, CLOSING);
    } else {
        doc.marked_message(&prompt, &[(item.question.clone(), word.into())]);
        doc.reply(word);
    }
}

/// A four-choice question and others that the same choices answer.
fn sheet(world: &World, doc: &mut Document, random: &mut Random) {
    // Readings and orderings allow no other question about the same choices.
    let subject = [
        "addition",
        "categories",
        "comparison",
        "jobs",
        "pets",
        "towns",
    ][random.below(6)];
    let item = choice(world, subject, Split::Train, random);
    doc.add_marked(
        &choice_prompt(&item, Wording::Plain),
        &choice_marks(&item, " "),
    );
    doc.add(format!(" {}", item.letter()), 1.0);
    for (question, answer) in follow_ups(world, &item, Split::Train, random)
        .into_iter()
        .take(5)
    {
        doc.add(format!("\n{question}\nAnswer:"), CONTEXT);
        doc.add(format!(" {}", LETTERS[answer]), 1.0);
    }
    doc.add(END_OF_TEXT, CLOSING);
}

/// A passage and several yes-or-no questions about it.
fn yes_no_sheet(world: &World, doc: &mut Document, random: &mut Random) {
    let story = Story::draw(world, Split::Train, random);
    doc.add(&story.text, CONTEXT);
    for _ in 0..6 {
        let item = yes_no_about(&story, HARD_SHARE, random);
        let word = format!(" {}", yes_no_word(item.answer, Wording::Plain));
        let question = format!("\nQuestion: {}?\nAnswer:", item.question);
        doc.add_marked(&question, &[(item.question, word.clone())]);
        doc.add(word, 1.0);
    }
    doc.add(END_OF_TEXT, CLOSING);
}

/// Facts of different people, one after the other.
fn facts(world: &World, doc: &mut Document, random: &mut Random) {
    doc.add("Facts:", 0.0);
    for _ in 0..6 {
        let fact = Fact::any(world, random);
        let (before, after) = fact.statement(world, random);
        doc.add(format!(" {before}"), CONTEXT);
        doc.add(format!(" {}", fact.value(world)), 1.0);
        doc.add(after, CLOSING);
    }
    doc.add(END_OF_TEXT, 0.0);
}

/// Facts asked for in a conversation of a few turns.
fn recall(world: &World, doc: &mut Document, random: &mut Random) {
    let short = random.chance(0.6);
    doc.message(
        "system",
        if short {
            "Answer in a word."
        } else {
            "Answer in a sentence."
        },
    );
    for _ in 0..3 {
        let fact = loop {
            let fact = Fact::any(world, random);
            if Split::of(world.seed, &fact.key(world)) == Split::Train {
                break fact;
            }
        };
        doc.message("user", &fact.question(world, random));
        let value = fact.value(world);
        doc.reply(&if short { value } else { sentence(fact, &value) });
    }
}

/// The answer in a sentence.
fn sentence(fact: Fact, value: &str) -> String {
    match fact {
        Fact::Pet(_) => format!("It is {}.", with_article(value)),
        Fact::Town(_) => format!("The town is {value}."),
        Fact::Job(_) => format!("The job is {value}."),
        Fact::Friend(_) => format!("The friend is {value}."),
        Fact::Region(_) => format!("It is in the {value}."),
        Fact::Tool(_) => format!("It is the {value}."),
    }
}

/// What is known about a person, in one answer.
fn profile(world: &World, doc: &mut Document, random: &mut Random) {
    let p = random.below(world.people.len());
    doc.message("user", &format!("Tell me about {}.", world.people[p].name));
    let mut text = String::from("Here is what I know.");
    for fact in [Fact::Town(p), Fact::Job(p), Fact::Pet(p)] {
        let (before, after) = fact.statement(world, random);
        text.push_str(&format!(" {before} {}{after}", fact.value(world)));
    }
    doc.reply(&text);
}

fn greeting(doc: &mut Document, random: &mut Random) {
    let (question, answer) = *random.pick(&[
        ("Hello!", "Hello! Ask me about the people of this world."),
        ("Who are you?", "I am a small model of a small world."),
        ("Thank you.", "You are welcome."),
        (
            "What can you do?",
            "I can answer in a word, a letter or a sentence.",
        ),
    ]);
    doc.message("user", question);
    doc.reply(answer);
}
