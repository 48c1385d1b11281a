//! What the generated data promise: the same from the same seed, right answers,
//! nothing of the test split in training.

use std::collections::HashSet;

use lac_demo::Choice;
use lac_training::SEED;
use lac_training::conversation::document;
use lac_training::document::Document;
use lac_training::questions::SUBJECTS;
use lac_training::random::Random;
use lac_training::sets::{choices, two_step_questions, yes_no_questions};
use lac_training::split::Split;
use lac_training::text::Fact;
use lac_training::world::{JOBS, PETS, TOWNS, World};

fn world() -> World {
    World::new(SEED)
}

fn documents(n: usize) -> Vec<Document> {
    let (world, mut random) = (world(), Random::new(11));
    (0..n)
        .map(|i| document(&world, i * 1500 / n, &mut random))
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_world_and_documents() {
    assert_eq!(world(), World::new(SEED));
    assert_ne!(world(), World::new(SEED + 1));
    assert_eq!(documents(200), documents(200));
    assert_eq!(
        choices(&world(), Split::Test),
        choices(&world(), Split::Test)
    );
}

#[test]
fn there_are_a_few_hundred_entities_with_names_of_their_own() {
    let world = world();
    assert!(world.n_entities() > 200);
    let names: HashSet<String> = world.names().into_iter().collect();
    assert_eq!(names.len(), world.people.len());
}

#[test]
fn letters_are_balanced_in_every_subject() {
    for split in [Split::Dev, Split::Validation, Split::Test] {
        let items = choices(&world(), split);
        for subject in SUBJECTS {
            let mut counts = [0usize; 4];
            for item in items.iter().filter(|i| i.subject == subject) {
                counts[item.answer] += 1;
            }
            let (least, most) = (counts.iter().min(), counts.iter().max());
            assert!(
                most.zip(least).is_some_and(|(m, l)| m - l <= 1),
                "{subject}: {counts:?}"
            );
        }
    }
}

#[test]
fn choices_differ_and_questions_are_not_repeated() {
    let mut seen = HashSet::new();
    for item in choices(&world(), Split::Test) {
        let different: HashSet<&String> = item.choices.iter().collect();
        assert_eq!(different.len(), 4, "{item:?}");
        let mut sorted = item.choices.clone();
        sorted.sort();
        assert!(seen.insert((item.question.clone(), sorted)), "{item:?}");
    }
}

/// Solves a question by other means than the generator's, where that is possible.
fn solve(world: &World, item: &Choice) -> Option<String> {
    let words: Vec<&str> = item
        .question
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .collect();
    let person = || {
        world
            .people
            .iter()
            .find(|p| words.contains(&p.name.as_str()))
    };
    let numbers =
        |words: &[&str]| -> Vec<usize> { words.iter().filter_map(|w| w.parse().ok()).collect() };
    match item.subject.as_str() {
        "addition" => Some(numbers(&words).iter().sum::<usize>().to_string()),
        "comparison" => {
            let choices: Vec<&str> = item.choices.iter().map(String::as_str).collect();
            let values = numbers(&choices);
            let best = match words.last() {
                Some(&"smallest") => values.iter().min(),
                _ => values.iter().max(),
            };
            best.map(ToString::to_string)
        }
        "pets" => person().map(|p| PETS[p.pet].to_string()),
        "towns" => person().map(|p| TOWNS[p.town].to_string()),
        "jobs" => person().map(|p| JOBS[p.job].to_string()),
        "ordering" => {
            // "a is older than b and b is older than c": the one who is only
            // named first, or only named second.
            let at: Vec<usize> = (0..words.len()).filter(|&i| words[i] == "than").collect();
            let firsts = [words[at[0] - 3], words[at[1] - 3]];
            let seconds = [words[at[0] + 1], words[at[1] + 1]];
            let most = words
                .last()
                .is_some_and(|w| ["oldest", "tallest", "fastest"].contains(w));
            let (one, other) = if most {
                (firsts, seconds)
            } else {
                (seconds, firsts)
            };
            one.iter()
                .find(|n| !other.contains(n))
                .map(ToString::to_string)
        }
        "reading" => Some(item.choices[item.answer].clone())
            .filter(|answer| words.contains(&answer.as_str())),
        _ => None,
    }
}

#[test]
fn answers_are_right() {
    let world = world();
    for item in choices(&world, Split::Test) {
        if item.subject != "categories" {
            assert_eq!(
                solve(&world, &item).as_ref(),
                Some(&item.choices[item.answer]),
                "{item:?}"
            );
        }
    }
}

#[test]
fn yes_and_no_are_equally_frequent_and_right() {
    for split in [Split::Train, Split::Validation, Split::Test] {
        let items = yes_no_questions(&world(), split);
        let yes = items.iter().filter(|i| i.answer).count();
        assert_eq!(yes * 2, items.len());
        for item in &items {
            // What is asked stands in one sentence of the passage if and only
            // if the answer is yes.
            let question: Vec<&str> = item.question.split(' ').collect();
            let details: Vec<&str> = match question[0] {
                "is" => vec![question[2], question[3]],
                _ => vec![question[1], question[question.len() - 1]],
            };
            let found = item.passage.split('.').any(|sentence| {
                let words: Vec<&str> = sentence.split(' ').collect();
                details.iter().all(|d| words.contains(d))
            });
            assert_eq!(found, item.answer, "{item:?}");
        }
    }
}

#[test]
fn no_test_question_is_trained_on() {
    let world = world();
    let texts: Vec<String> = documents(20_000).iter().map(Document::text).collect();
    let trained: HashSet<&str> = texts.iter().flat_map(|t| t.lines()).collect();
    for item in choices(&world, Split::Test) {
        // These two ask the same words of ever new choices; their choices are split.
        if !["categories", "comparison"].contains(&item.subject.as_str()) {
            assert!(!trained.contains(item.question.as_str()), "{item:?}");
        }
    }
    for two in two_step_questions(&world) {
        assert!(!trained.contains(two.item.question.as_str()), "{two:?}");
    }
    for item in yes_no_questions(&world, Split::Test) {
        assert!(!trained.contains(item.passage.as_str()), "{item:?}");
    }
    for text in &texts {
        for person in 0..world.people.len() {
            let key = Fact::Pet(person).key(&world);
            if Split::of(world.seed, &key) != Split::Train {
                let question = format!("What is the pet of {}?", world.people[person].name);
                assert!(!text.contains(&question), "{text}");
            }
        }
    }
}

#[test]
fn facts_that_are_asked_for_in_tests_are_still_told() {
    let world = world();
    let texts: Vec<String> = documents(40_000).iter().map(Document::text).collect();
    let told = texts.join("\n");
    for (i, person) in world.people.iter().enumerate() {
        let (name, pet) = (&person.name, PETS[person.pet]);
        let fact = Fact::Pet(i);
        if Split::of(world.seed, &fact.key(&world)) == Split::Test {
            let wordings = [
                format!("{name} has a pet {pet}"),
                format!("pet of {name} is a"),
            ];
            assert!(wordings.iter().any(|w| told.contains(w)), "{name}");
        }
    }
}
