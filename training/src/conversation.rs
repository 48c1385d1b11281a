//! Training documents: conversations in the chat template, and plain text.

use lac_demo::{Choice, LETTERS};

use crate::chat_format::END_OF_TEXT;
use crate::choice_question::{ask, choice_marks};
use crate::document::{CLOSING, CONTEXT, Document, EXERCISE, MARK};
use crate::exercises::{bind, drill, pick, seen};
use crate::prompts::{Wording, choice_prompt, gpqa_harness_prompt, yes_no_prompt, yes_no_word};
use crate::questions::{SUBJECTS, ask_about, choice, follow_ups, is_answered_without_choices};
use crate::random::Random;
use crate::split::Split;
use crate::text::{Fact, Story, with_article};
use crate::two_steps::two_steps;
use crate::world::World;
use crate::yes_no;

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
    /// Several questions about the same story that a word answers, as plain text.
    StorySheet,
    /// Several yes-or-no questions about the same passage, as plain text.
    YesNoSheet,
    /// Words of which some are said twice: has it been there before?
    Seen,
    /// The exercises that the choice of a letter rests on, alone.
    Pick,
    /// Small talk.
    Greeting,
    /// Short sentences of one kind, then what belongs to what in them, word by word.
    Bind,
}

/// Each kind with its shares at the steps of [`PHASES`].
///
/// The first column is for facts and for the few skills that all questions rest on: almost alone
/// they are learnt within a few hundred steps, among everything else not within a thousand.
pub const SHARES: [(Kind, [f64; 3]); 16] = [
    (Kind::Pick, [0.38, 0.07, 0.01]),
    (Kind::Bind, [0.16, 0.10, 0.04]),
    (Kind::Seen, [0.04, 0.00, 0.00]),
    (Kind::Drill, [0.00, 0.02, 0.01]),
    (Kind::Facts, [0.20, 0.15, 0.05]),
    (Kind::Recall, [0.00, 0.04, 0.05]),
    (Kind::Profile, [0.00, 0.01, 0.02]),
    (Kind::StorySheet, [0.03, 0.06, 0.06]),
    (Kind::Sheet, [0.00, 0.11, 0.07]),
    (Kind::Choice, [0.12, 0.29, 0.32]),
    (Kind::ChoiceOther, [0.00, 0.02, 0.09]),
    (Kind::TwoSteps, [0.00, 0.01, 0.04]),
    (Kind::YesNoSheet, [0.07, 0.08, 0.10]),
    (Kind::YesNo, [0.00, 0.03, 0.09]),
    (Kind::YesNoOther, [0.00, 0.01, 0.04]),
    (Kind::Greeting, [0.00, 0.00, 0.01]),
];

/// The steps at which the columns of the shares hold; the mixture moves from one to the next
/// without a jump.
pub const PHASES: [f64; 3] = [350.0, 800.0, 2500.0];

/// The share of wrong details in yes-or-no questions that do stand in the passage, but belong to
/// something else. With too few of them a model looks whether a word is there, and learns nothing
/// more.
const HARD_SHARE: f64 = 0.9;

/// How often each of [`SUBJECTS`] is asked about: those that are learnt last most often.
const SUBJECT_SHARES: [f64; 8] = [2.0, 0.7, 1.5, 0.8, 1.0, 0.8, 2.5, 0.8];

fn shares(step: usize) -> [f64; SHARES.len()] {
    let step = step as f64;
    let next = PHASES.partition_point(|&phase| phase <= step);
    let (from, to) = (next.saturating_sub(1), next.min(PHASES.len() - 1));
    let span = (PHASES[to] - PHASES[from]).max(1.0);
    let part = ((step - PHASES[from]) / span).clamp(0.0, 1.0);
    SHARES.map(|(_, s)| s[from] + (s[to] - s[from]) * part)
}

/// Draws a document for a step of training.
pub fn document(world: &World, step: usize, random: &mut Random) -> Document {
    draw(world, step, random).1
}

/// Draws a document; returns its kind and the document.
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
            let item = any_choice(world, random);
            ask(&mut doc, &item, Wording::Plain);
        }
        Kind::ChoiceOther => {
            let item = any_choice(world, random);
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
        Kind::Seen => seen(world, &mut doc, random),
        Kind::Bind => bind(world, &mut doc, random),
        Kind::Pick => pick(world, &mut doc, random),
        Kind::Sheet => sheet(world, &mut doc, random),
        Kind::StorySheet => story_sheet(world, &mut doc, random),
        Kind::YesNoSheet => yes_no_sheet(world, &mut doc, random),
        Kind::Greeting => greeting(&mut doc, random),
    }
    doc
}

/// Draws a four-choice question of any subject, from the training split.
fn any_choice(world: &World, random: &mut Random) -> Choice {
    let subject = SUBJECTS[random.weighted(&SUBJECT_SHARES)];
    choice(world, subject, Split::Train, random)
}

fn yes_or_no(world: &World, doc: &mut Document, wording: Wording, random: &mut Random) {
    let story = Story::draw(world, Split::Train, random);
    let asked = yes_no::ask_about(&story, HARD_SHARE, random);
    let prompt = yes_no_prompt(&asked.item, wording);
    let word = yes_no_word(asked.item.answer, wording);
    if wording == Wording::Harness {
        doc.add_marked(&prompt, &yes_no_marks(&asked, &format!(" {word}")));
        doc.add(format!(" {word}"), 1.0);
        doc.add(END_OF_TEXT, CLOSING);
    } else {
        doc.marked_message(&prompt, &yes_no_marks(&asked, word));
        doc.reply(word);
    }
}

/// Returns what the places of a yes-or-no question are to predict: its last word but one the word that would be right,
/// its last word the answer.
fn yes_no_marks(asked: &yes_no::Asked, word: &str) -> Vec<(String, String)> {
    let last = asked.item.question[asked.stem.len()..].to_owned();
    vec![
        (asked.stem.clone(), format!(" {}", asked.right)),
        (last, word.to_owned()),
    ]
}

/// Adds a four-choice question and others that the same choices answer.
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
    doc.topic = item.subject.clone();
    doc.add_marked(
        &choice_prompt(&item, Wording::Plain),
        &choice_marks(&item, " "),
    );
    doc.add(format!(" {}", item.letter()), 1.0);
    for (question, answer) in follow_ups(world, &item, Split::Train, random)
        .into_iter()
        .take(5)
    {
        doc.add("\n", CONTEXT);
        if is_answered_without_choices(&item) {
            doc.mark(
                &question,
                CONTEXT,
                &format!(" {}", item.choices[answer]),
                MARK,
            );
        } else {
            doc.add(question, CONTEXT);
        }
        doc.add("\nAnswer:", CONTEXT);
        doc.add(format!(" {}", LETTERS[answer]), 1.0);
    }
    doc.add(END_OF_TEXT, CLOSING);
}

/// Adds a story and several questions about it that a word answers.
fn story_sheet(world: &World, doc: &mut Document, random: &mut Random) {
    let story = Story::draw(world, Split::Train, random);
    doc.add(&story.text, CONTEXT);
    for _ in 0..5 {
        let asked = ask_about(world, &story, random);
        let word = format!(" {}", asked.right);
        doc.add("\n", CONTEXT);
        doc.mark(&asked.question, CONTEXT, &word, MARK);
        doc.add("\nAnswer:", CONTEXT);
        doc.add(word, EXERCISE);
    }
    doc.add(END_OF_TEXT, CLOSING);
}

/// Adds a passage and several yes-or-no questions about it.
fn yes_no_sheet(world: &World, doc: &mut Document, random: &mut Random) {
    let story = Story::draw(world, Split::Train, random);
    doc.add(&story.text, CONTEXT);
    for _ in 0..6 {
        let asked = yes_no::ask_about(&story, HARD_SHARE, random);
        let word = format!(" {}", yes_no_word(asked.item.answer, Wording::Plain));
        let question = format!("\nQuestion: {}?\nAnswer:", asked.item.question);
        doc.add_marked(&question, &yes_no_marks(&asked, &word));
        doc.add(word, 1.0);
    }
    doc.add(END_OF_TEXT, CLOSING);
}

/// Adds facts of different people, one after the other.
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

/// Adds facts asked for in a conversation of a few turns.
fn recall(world: &World, doc: &mut Document, random: &mut Random) {
    // Without a word on how to answer, a sentence is what people expect.
    let short = random.chance(0.5);
    if short {
        doc.message("system", "Answer in a word.");
    } else if random.chance(0.5) {
        doc.message("system", "Answer in a sentence.");
    }
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

/// Returns the answer in a sentence.
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

/// Adds what is known about a person, in one answer.
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
