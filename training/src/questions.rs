//! Questions with known answers: four choices by subject, and yes or no.

use lac_demo::Choice;

use crate::random::Random;
use crate::split::Split;
use crate::text::{Fact, Story, pair};
use crate::world::{
    COLOURS, DEEDS, FRUITS, GOODS, JOBS, OBJECTS, PETS, PLACES, TOOLS, TOWNS, World,
};

/// The subjects of the MMLU-like set, in the order of their files.
pub const SUBJECTS: [&str; 8] = [
    "addition",
    "categories",
    "comparison",
    "jobs",
    "ordering",
    "pets",
    "reading",
    "towns",
];

/// Puts the right choice among three wrong ones at a random place.
pub(crate) fn place(
    subject: &str,
    question: String,
    right: String,
    wrong: Vec<String>,
    random: &mut Random,
) -> Choice {
    debug_assert_eq!(wrong.len(), 3);
    let answer = random.below(4);
    let mut choices = wrong;
    choices.insert(answer, right);
    Choice {
        subject: subject.into(),
        question,
        choices,
        answer,
    }
}

/// Returns whether the right word follows from the question alone.
pub(crate) fn is_answered_without_choices(item: &Choice) -> bool {
    !["categories", "comparison", "drill"].contains(&item.subject.as_str())
}

/// Draws a question of a subject whose entity combination belongs to the split.
pub fn choice(world: &World, subject: &str, split: Split, random: &mut Random) -> Choice {
    match subject {
        "addition" => addition(world, split, random),
        "categories" => categories(world, split, random),
        "comparison" => comparison(world, split, random),
        "ordering" => ordering(world, split, random),
        "reading" => reading(world, split, random),
        _ => recall(world, subject, split, random),
    }
}

/// Returns the other values that a fact could have had.
pub(crate) fn others(values: &[&str], right: &str, random: &mut Random) -> Vec<String> {
    let rest: Vec<String> = values
        .iter()
        .filter(|v| **v != right)
        .map(ToString::to_string)
        .collect();
    random.sample(&rest, 3)
}

/// Draws a question for a fact to be remembered: nothing in the prompt gives it away.
fn recall(world: &World, subject: &str, split: Split, random: &mut Random) -> Choice {
    let fact = loop {
        let person = random.below(world.people.len());
        let fact = match subject {
            "pets" => Fact::Pet(person),
            "towns" => Fact::Town(person),
            _ => Fact::Job(person),
        };
        if Split::of(world.seed, &fact.key(world)) == split {
            break fact;
        }
    };
    let values: &[&str] = match fact {
        Fact::Pet(_) => &PETS,
        Fact::Town(_) => &TOWNS,
        _ => &JOBS,
    };
    let right = fact.value(world);
    let wrong = others(values, &right, random);
    place(subject, fact.question(world, random), right, wrong, random)
}

fn addition(world: &World, split: Split, random: &mut Random) -> Choice {
    let (name, a, b) = loop {
        let name = &random.pick(&world.people).name;
        let (a, b) = (1 + random.below(9), 1 + random.below(9));
        if Split::of(world.seed, &format!("add|{name}|{a}|{b}")) == split {
            break (name, a, b);
        }
    };
    let question = sum_question(name, a, b, random);
    let sum = a + b;
    let near: Vec<String> = (sum.saturating_sub(4).max(1)..=sum + 4)
        .filter(|n| *n != sum)
        .map(|n| n.to_string())
        .collect();
    let wrong = random.sample(&near, 3);
    place("addition", question, sum.to_string(), wrong, random)
}

/// What words stand for.
const KINDS: [(&str, &[&str]); 6] = [
    ("an animal", &PETS),
    ("a job", &JOBS),
    ("a colour", &COLOURS),
    ("a fruit", &FRUITS),
    ("a tool", &TOOLS),
    ("a town", &TOWNS),
];

fn categories(world: &World, split: Split, random: &mut Random) -> Choice {
    loop {
        let picked = random.sample(&KINDS, 4);
        let words: Vec<String> = picked
            .iter()
            .map(|(_, words)| random.pick(words).to_string())
            .collect();
        let mut key = words.clone();
        key.sort();
        if Split::of(world.seed, &format!("kind|{}", key.join("|"))) == split {
            let question = kind_question(picked[0].0, random);
            let right = words[0].clone();
            return place("categories", question, right, words[1..].to_vec(), random);
        }
    }
}

fn kind_question(kind: &str, random: &mut Random) -> String {
    match random.below(2) {
        0 => format!("Which of these is {kind}?"),
        _ => format!("Which word stands for {kind}?"),
    }
}

/// Returns further questions of an item's subject that its choices answer as well, with the index of the answer. They
/// belong to the same split.
pub fn follow_ups(
    world: &World,
    item: &Choice,
    split: Split,
    random: &mut Random,
) -> Vec<(String, usize)> {
    let place_of = |value: &str| item.choices.iter().position(|c| c == value);
    let mut all = Vec::new();
    match item.subject.as_str() {
        "categories" => {
            for (i, word) in item.choices.iter().enumerate() {
                let kind = KINDS
                    .iter()
                    .find(|(_, words)| words.contains(&word.as_str()));
                all.extend(kind.map(|(kind, _)| (kind_question(kind, random), i)));
            }
        }
        "comparison" => {
            let value = |c: &String| c.parse::<usize>().unwrap_or(0);
            let least = (0..4).min_by_key(|&i| value(&item.choices[i])).unwrap_or(0);
            let most = (0..4).max_by_key(|&i| value(&item.choices[i])).unwrap_or(0);
            all.push(("Which number is the smallest?".into(), least));
            all.push(("Which number is the largest?".into(), most));
        }
        "addition" => {
            for _ in 0..200 {
                let (a, b) = (1 + random.below(9), 1 + random.below(9));
                let name = &random.pick(&world.people).name;
                if let Some(i) = place_of(&(a + b).to_string())
                    && Split::of(world.seed, &format!("add|{name}|{a}|{b}")) == split
                {
                    all.push((sum_question(name, a, b, random), i));
                }
            }
        }
        "pets" | "towns" | "jobs" => {
            for person in 0..world.people.len() {
                let fact = match item.subject.as_str() {
                    "pets" => Fact::Pet(person),
                    "towns" => Fact::Town(person),
                    _ => Fact::Job(person),
                };
                if let Some(i) = place_of(&fact.value(world))
                    && Split::of(world.seed, &fact.key(world)) == split
                {
                    all.push((fact.question(world, random), i));
                }
            }
        }
        _ => {}
    }
    all.retain(|(question, _)| *question != item.question);
    random.shuffle(&mut all);
    all
}

fn sum_question(name: &str, a: usize, b: usize, random: &mut Random) -> String {
    let thing = random.pick(&OBJECTS);
    match random.below(2) {
        0 => format!("If {name} has {a} {thing}s and finds {b} more, how many are there?"),
        _ => format!("What is the sum if {name} adds {a} and {b}?"),
    }
}

fn comparison(world: &World, split: Split, random: &mut Random) -> Choice {
    loop {
        let mut numbers = random.sample(&Vec::from_iter(1..=20usize), 4);
        numbers.sort_unstable();
        let key = format!("compare|{numbers:?}");
        if Split::of(world.seed, &key) != split {
            continue;
        }
        let question = if random.chance(0.5) {
            "Which number is the smallest?"
        } else {
            numbers.reverse();
            "Which number is the largest?"
        };
        let words: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        let mut wrong = words[1..].to_vec();
        random.shuffle(&mut wrong);
        return place(
            "comparison",
            question.into(),
            words[0].clone(),
            wrong,
            random,
        );
    }
}

fn ordering(world: &World, split: Split, random: &mut Random) -> Choice {
    let [a, c] = pair(world, "order", split, random);
    let rest: Vec<String> = world
        .names()
        .into_iter()
        .filter(|n| *n != a && *n != c)
        .collect();
    let extra = random.sample(&rest, 2);
    let b = &extra[0];
    let (more, most, least) = *random.pick(&[
        ("older", "oldest", "youngest"),
        ("taller", "tallest", "shortest"),
        ("faster", "fastest", "slowest"),
    ]);
    let mut steps = [
        format!("{a} is {more} than {b}"),
        format!("{b} is {more} than {c}"),
    ];
    random.shuffle(&mut steps);
    let (asked, right, other) = if random.chance(0.5) {
        (most, &a, &c)
    } else {
        (least, &c, &a)
    };
    let question = format!("We know that {}. Who is the {asked}?", steps.join(" and "));
    let wrong = vec![other.clone(), b.clone(), extra[1].clone()];
    let mut wrong = wrong;
    random.shuffle(&mut wrong);
    place("ordering", question, right.clone(), wrong, random)
}

fn reading(world: &World, split: Split, random: &mut Random) -> Choice {
    let story = Story::draw(world, split, random);
    let Asked {
        question,
        right,
        trap,
        values,
    } = ask_about(world, &story, random);
    let free: Vec<String> = values
        .into_iter()
        .filter(|v| *v != right && Some(v) != trap.as_ref())
        .collect();
    let mut wrong = random.sample(&free, 3 - usize::from(trap.is_some()));
    wrong.extend(trap);
    random.shuffle(&mut wrong);
    let question = format!("{} {question}", story.text);
    place("reading", question, right, wrong, random)
}

/// A question that a word of a story answers.
pub(crate) struct Asked {
    /// The question.
    pub(crate) question: String,
    /// The word.
    pub(crate) right: String,
    /// The same detail of the other person, if the story tells it.
    trap: Option<String>,
    /// All words that such a question may have for an answer.
    values: Vec<String>,
}

/// Asks for a detail of a story.
pub(crate) fn ask_about(world: &World, story: &Story, random: &mut Random) -> Asked {
    let (this, that) = match random.below(2) {
        0 => (&story.parts[0], &story.parts[1]),
        _ => (&story.parts[1], &story.parts[0]),
    };
    let strings = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    let kind = random.below(if this.place.is_some() { 4 } else { 3 });
    let (question, right, trap, values): (String, String, Option<String>, Vec<String>) = match kind
    {
        0 => (
            format!("What colour is the {}?", GOODS[this.good]),
            COLOURS[this.colour].into(),
            Some(COLOURS[that.colour].into()),
            strings(&COLOURS),
        ),
        1 => (
            format!("Who {} the {}?", DEEDS[this.deed].0, GOODS[this.good]),
            this.name.clone(),
            Some(that.name.clone()),
            world.names(),
        ),
        2 => (
            format!("What did {} {}?", this.name, DEEDS[this.deed].1),
            GOODS[this.good].into(),
            Some(GOODS[that.good].into()),
            strings(&GOODS),
        ),
        _ => (
            format!("Where did {} go?", this.name),
            PLACES[this.place.unwrap_or(0)].into(),
            that.place.map(|p| PLACES[p].to_string()),
            strings(&PLACES),
        ),
    };
    Asked {
        question,
        right,
        trap,
        values,
    }
}
