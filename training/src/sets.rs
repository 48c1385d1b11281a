//! The three benchmark sets: fixed lists of questions drawn from the seed.

use std::collections::HashSet;

use lac_demo::{Choice, YesNo};

use crate::questions::{SUBJECTS, choice};
use crate::random::Random;
use crate::split::Split;
use crate::two_steps::two_steps;
use crate::world::World;
use crate::yes_no::yes_no;

/// How many questions a subject has in the dev, validation and test split.
pub const PER_SUBJECT: [(Split, usize); 3] =
    [(Split::Dev, 5), (Split::Validation, 10), (Split::Test, 50)];
/// How many questions of two steps the GPQA-like set has.
pub const N_TWO_STEPS: usize = 100;
/// How many yes-or-no questions are given for training and for tests.
pub const N_YES_NO: [(Split, usize); 3] = [
    (Split::Train, 200),
    (Split::Validation, 100),
    (Split::Test, 300),
];

/// A question of the GPQA-like set with the step that leads to its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwoSteps {
    /// The question; its answer's place means nothing, readers shuffle.
    pub item: Choice,
    /// The first of the two steps.
    pub explanation: String,
}

/// The share of wrong details in yes-or-no questions that do stand in the passage.
const HARD_SHARE: f64 = 0.5;

/// Returns the MMLU-like questions of one split, subject by subject.
pub fn choices(world: &World, split: Split) -> Vec<Choice> {
    let n = PER_SUBJECT
        .iter()
        .find(|(s, _)| *s == split)
        .map_or(0, |(_, n)| *n);
    let mut all = Vec::new();
    for (i, subject) in SUBJECTS.iter().enumerate() {
        let mut random = stream(world, split, i as u64);
        let mut items = unique(
            n,
            |c: &Choice| format!("{}{:?}", c.question, sorted(c)),
            || choice(world, subject, split, &mut random),
        );
        balance(&mut items, &mut random);
        all.extend(items);
    }
    all
}

/// Returns the GPQA-like questions, all from the test split.
pub fn two_step_questions(world: &World) -> Vec<TwoSteps> {
    let mut random = stream(world, Split::Test, 100);
    let key = |t: &TwoSteps| t.item.question.clone();
    // A test split of 15 % of 3 × 144 names holds some 65 questions; different
    // choices make the rest.
    let mut rows = unique(
        N_TWO_STEPS,
        |t| format!("{}{:?}", key(t), sorted(&t.item)),
        || {
            let (item, explanation) = two_steps(world, Split::Test, &mut random);
            TwoSteps { item, explanation }
        },
    );
    // The file knows no order of the choices; its readers put the right one there.
    for (i, row) in rows.iter_mut().enumerate() {
        let right = row.item.choices.remove(row.item.answer);
        row.item.answer = i % (row.item.choices.len() + 1);
        row.item.choices.insert(row.item.answer, right);
    }
    rows
}

/// Returns the BoolQ-like questions of the training or the test split; as many yes as no.
pub fn yes_no_questions(world: &World, split: Split) -> Vec<YesNo> {
    let n = N_YES_NO
        .iter()
        .find(|(s, _)| *s == split)
        .map_or(0, |(_, n)| *n);
    let mut random = stream(world, split, 200);
    let mut left = [n / 2, n - n / 2];
    unique(
        n,
        |q: &YesNo| format!("{}{}", q.passage, q.question),
        || {
            loop {
                let item = yes_no(world, split, HARD_SHARE, &mut random);
                let free = &mut left[usize::from(item.answer)];
                if *free > 0 {
                    *free -= 1;
                    return item;
                }
            }
        },
    )
}

fn stream(world: &World, split: Split, part: u64) -> Random {
    Random::new(world.seed ^ 0x5e75 ^ ((split as u64 + 1) << 32) ^ (part << 40))
}

fn sorted(item: &Choice) -> Vec<&String> {
    let mut choices: Vec<&String> = item.choices.iter().collect();
    choices.sort();
    choices
}

/// Draws until there are `n` items with different keys.
fn unique<T>(n: usize, key: impl Fn(&T) -> String, mut draw: impl FnMut() -> T) -> Vec<T> {
    let mut seen = HashSet::new();
    let mut items = Vec::with_capacity(n);
    while items.len() < n {
        let item = draw();
        if seen.insert(key(&item)) {
            items.push(item);
        }
    }
    items
}

/// Moves the right choices so that each letter is right equally often.
fn balance(items: &mut [Choice], random: &mut Random) {
    let mut places: Vec<usize> = (0..items.len()).map(|i| i % 4).collect();
    random.shuffle(&mut places);
    for (item, place) in items.iter_mut().zip(places) {
        item.choices.swap(item.answer, place);
        item.answer = place;
    }
}
