//! Exercises: dense texts for the skills that all questions rest on.

use crate::conversation::ask;
use crate::document::{CONTEXT, Document};
use crate::prompts::Wording;
use crate::questions::{Choice, LETTERS};
use crate::random::Random;
use crate::tokenizer::END_OF_TEXT;
use crate::world::{COLOURS, FRUITS, JOBS, OBJECTS, PETS, PLACES, TOOLS, TOWNS, World};

/// Four words under letters, and the letter of each, asked again and again: a
/// row of such questions teaches far more per token than whole prompts do.
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
            doc.add(options, CONTEXT);
            for w in order {
                doc.add(format!("\nWhich is {}? Answer:", words[w]), 0.0);
                doc.add(format!(" {}", LETTERS[w]), 1.0);
            }
            doc.add(END_OF_TEXT, 0.0);
        }
        1 => {
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

/// Exercises in looking up what stood before, dense where real questions are
/// sparse: nearly every token teaches. All questions rest on these few skills,
/// and none of them shows in the loss of real questions before all are there.
pub(crate) fn echo(world: &World, doc: &mut Document, random: &mut Random) {
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
    let n = 8 + random.below(9);
    match random.below(10) {
        // The same words again: what came next?
        0..2 => {
            let list = random.sample(&pool, n).concat();
            doc.add(format!("Echo:{list}"), 0.0);
            doc.add(list, 1.0);
        }
        // The same words in another order: what stood before each?
        2..5 => {
            let list = random.sample(&pool, n);
            doc.add(format!("Before:{}", list.concat()), 0.0);
            let mut order: Vec<usize> = (1..n).collect();
            random.shuffle(&mut order);
            for i in order {
                doc.mark(&list[i], 0.0, &list[i - 1], 1.0);
            }
            doc.add(END_OF_TEXT, 0.0);
        }
        // Words under letters: which letter stood before each?
        5 => {
            letters(&pool, doc, random);
            doc.add(END_OF_TEXT, 0.0);
        }
        // Has the word been there?
        _ => {
            let some = random.sample(&pool, 10);
            let mut seen: Vec<&String> = Vec::new();
            doc.add("Seen:", 0.0);
            for _ in 0..n + 4 {
                let word = random.pick(&some);
                doc.mark(
                    word,
                    0.0,
                    if seen.contains(&word) { "yes" } else { "no" },
                    1.0,
                );
                seen.push(word);
            }
            doc.add(END_OF_TEXT, 0.0);
        }
    }
}

/// Words under letters and in random order again, each to predict its letter.
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

/// Letters of words, densely, or one at a time as in a real question.
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
