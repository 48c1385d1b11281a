//! Exercises: dense texts for the skills that all questions rest on.

use lac_demo::{Choice, LETTERS};

use crate::chat_format::END_OF_TEXT;
use crate::choice_question::ask;
use crate::document::{CONTEXT, Document, EXERCISE};
use crate::prompts::Wording;
use crate::random::Random;
use crate::world::{
    COLOURS, DEEDS, FRUITS, GOODS, JOBS, OBJECTS, PETS, PLACES, TOOLS, TOWNS, World,
};

/// Adds four words under letters, and the letter of each, asked again and again: a row of such questions teaches far
/// more per token than whole prompts do.
pub(crate) fn drill(world: &World, doc: &mut Document, random: &mut Random) {
    let numbers: Vec<String> = (1..=20).map(|n| n.to_string()).collect();
    let fixed: [&[&str]; 6] = [&COLOURS, &FRUITS, &JOBS, &OBJECTS, &PETS, &TOWNS];
    let pool = match random.below(8) {
        0 => world.names(),
        1 => numbers,
        i => fixed[i - 2].iter().map(ToString::to_string).collect(),
    };
    let words = random.sample(&pool, 4);
    let options: Vec<String> = LETTERS
        .iter()
        .zip(&words)
        .map(|(letter, word)| format!("{letter}. {word}"))
        .collect();
    let options = options.join("\n");
    let order = random.sample(&[0usize, 1, 2, 3], 4);
    match random.below(4) {
        0 => {
            doc.topic = "which".into();
            doc.add(options, CONTEXT);
            for w in order {
                doc.add(format!("\nWhich is {}? Answer:", words[w]), 0.0);
                doc.add(format!(" {}", LETTERS[w]), 1.0);
            }
            doc.add(END_OF_TEXT, 0.0);
        }
        1 => {
            doc.topic = "the".into();
            doc.add(options, CONTEXT);
            for w in order {
                doc.add(format!("\nThe {}:\n", words[w]), 0.0);
                doc.add(LETTERS[w].to_string(), 1.0);
            }
            doc.add(END_OF_TEXT, 0.0);
        }
        _ => {
            let question = format!("Which is {}?", words[order[0]]);
            let choices = words;
            let item = Choice {
                subject: "drill".into(),
                question,
                choices,
                answer: order[0],
            };
            ask(doc, &item, Wording::Plain);
        }
    }
}

/// Adds exercises in looking up what stood before, dense where real questions are sparse: nearly every token teaches.
/// All questions rest on these few skills, and none of them shows in the loss of real questions before all are there.
pub(crate) fn seen(world: &World, doc: &mut Document, random: &mut Random) {
    let lists: [&[&str]; 8] = [
        &COLOURS, &FRUITS, &JOBS, &OBJECTS, &PETS, &TOWNS, &PLACES, &TOOLS,
    ];
    let mut pool: Vec<String> = lists.concat().iter().map(|w| format!(" {w}")).collect();
    pool.extend((1..=20).map(|n| format!(" {n}")));
    pool.extend(
        random
            .sample(&world.names(), 30)
            .iter()
            .map(|n| format!(" {n}")),
    );
    let some = random.sample(&pool, 10);
    let mut seen: Vec<&String> = Vec::new();
    doc.add("Seen:", 0.0);
    for _ in 0..12 + random.below(8) {
        let word = random.pick(&some);
        let answer = if seen.contains(&word) { "yes" } else { "no" };
        doc.mark(word, 0.0, answer, 1.0);
        seen.push(word);
    }
    doc.add(END_OF_TEXT, 0.0);
}

/// Makes a sentence of a key, its value and a deed.
type Sentence = fn(&str, &str, &str) -> String;

/// Sentences of one kind, then their words: what belongs to each, or which belong together.
/// Nearly every token teaches what a question about a passage rests on.
pub(crate) fn bind(world: &World, doc: &mut Document, random: &mut Random) {
    let names = random.sample(&world.names(), 4);
    let goods = random.sample(&GOODS, 4);
    let words = |list: &[&str], random: &mut Random| -> Vec<String> {
        random
            .sample(list, 4)
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let (sentence, keys, values): (Sentence, Vec<String>, Vec<String>) = match random.below(3) {
        0 => (
            |good, colour, _| format!(" The {good} was {colour}."),
            goods.iter().map(ToString::to_string).collect(),
            words(&COLOURS, random),
        ),
        1 => (
            |name, place, _| format!(" {name} went {place}."),
            names,
            words(&PLACES, random),
        ),
        _ => (
            |name, good, deed| format!(" {name} {deed} {good}."),
            names,
            goods.iter().map(ToString::to_string).collect(),
        ),
    };
    let deeds = random.sample(&DEEDS, 4);
    let triples: Vec<[&str; 3]> = (0..4)
        .map(|i| [keys[i].as_str(), values[i].as_str(), deeds[i].0])
        .collect();
    doc.add("Story:", 0.0);
    for [key, value, deed] in &triples {
        doc.add(sentence(key, value, deed), 0.0);
    }
    let query = random.below(3);
    doc.add(["\nForth:", "\nBack:", "\nTrue:"][query], 0.0);
    for _ in 0..10 {
        let [key, value, _] = *random.pick(&triples);
        match query {
            0 => doc.mark(&format!(" {key}"), 0.0, &format!(" {value}"), 1.0),
            1 => doc.mark(&format!(" {value}"), 0.0, &format!(" {key}"), 1.0),
            _ => {
                let asked = if random.chance(0.5) {
                    value
                } else {
                    random.pick(&triples)[1]
                };
                let answer = if asked == value { "yes" } else { "no" };
                doc.mark(&format!(" {key}"), 0.0, &format!(" {value}"), EXERCISE);
                doc.mark(&format!(" {asked}"), 0.0, answer, 1.0);
            }
        }
    }
    doc.add(END_OF_TEXT, 0.0);
}

/// Adds words under letters and in random order again, each to predict its letter.
fn letters(pool: &[String], doc: &mut Document, random: &mut Random) {
    let list = random.sample(pool, 4);
    for (letter, word) in LETTERS.iter().zip(&list) {
        doc.add(format!("{letter}.{word}\n"), 0.0);
    }
    for _ in 0..12 {
        let i = random.below(4);
        doc.mark(&list[i], 0.0, &LETTERS[i].to_string(), 1.0);
    }
}

/// Adds letters of words, densely, or one at a time as in a real question.
pub(crate) fn pick(world: &World, doc: &mut Document, random: &mut Random) {
    let names: Vec<String> = random.sample(&world.names(), 12);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let lists: [&[&str]; 7] = [&COLOURS, &FRUITS, &JOBS, &OBJECTS, &PETS, &TOWNS, &names];
    if random.chance(0.5) {
        let pool: Vec<String> = lists.concat().iter().map(|w| format!(" {w}")).collect();
        letters(&pool, doc, random);
        doc.add(END_OF_TEXT, 0.0);
    } else {
        let list: Vec<String> = random
            .pick(&lists)
            .iter()
            .map(ToString::to_string)
            .collect();
        let choices = random.sample(&list, 4);
        let answer = random.below(4);
        let question = format!("Which is {}?", choices[answer]);
        let item = Choice {
            subject: "drill".into(),
            question,
            choices,
            answer,
        };
        ask(doc, &item, Wording::Plain);
    }
}
