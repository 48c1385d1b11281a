//! Sentences about the world: facts that are always true, and stories.

use crate::random::Random;
use crate::split::Split;
use crate::world::{COLOURS, DAYS, DEEDS, GOODS, JOBS, PETS, PLACES, REGIONS, TOOLS, TOWNS, World};

/// A lasting fact of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// The pet of a person.
    Pet(usize),
    /// The town of a person.
    Town(usize),
    /// The job of a person.
    Job(usize),
    /// The friend of a person.
    Friend(usize),
    /// The region of a town.
    Region(usize),
    /// The tool of a job.
    Tool(usize),
}

impl Fact {
    /// Returns the word that completes the fact.
    pub fn value(self, world: &World) -> String {
        match self {
            Fact::Pet(p) => PETS[world.people[p].pet].into(),
            Fact::Town(p) => TOWNS[world.people[p].town].into(),
            Fact::Job(p) => JOBS[world.people[p].job].into(),
            Fact::Friend(p) => world.people[world.people[p].friend].name.clone(),
            Fact::Region(t) => REGIONS[world.region[t]].into(),
            Fact::Tool(j) => TOOLS[j].into(),
        }
    }

    /// Returns the combination of entities that questions about this fact are split by.
    pub fn key(self, world: &World) -> String {
        match self {
            Fact::Pet(p) => format!("pet|{}", world.people[p].name),
            Fact::Town(p) => format!("town|{}", world.people[p].name),
            Fact::Job(p) => format!("job|{}", world.people[p].name),
            Fact::Friend(p) => format!("friend|{}", world.people[p].name),
            Fact::Region(t) => format!("region|{}", TOWNS[t]),
            Fact::Tool(j) => format!("tool|{}", JOBS[j]),
        }
    }

    /// Returns a sentence that states the fact; the value stands between the two parts.
    pub fn statement(self, world: &World, random: &mut Random) -> (String, String) {
        let wordings: &[(&str, &str)] = match self {
            Fact::Pet(_) => &[
                ("{} has a pet", "."),
                ("The pet of {} is a", "."),
                ("{} owns a", "."),
            ],
            Fact::Town(_) => &[
                ("{} lives in", "."),
                ("The town of {} is", "."),
                ("The home of {} is in", "."),
            ],
            Fact::Job(_) => &[
                ("{} works as a", "."),
                ("The job of {} is", "."),
                ("{} is a", "."),
            ],
            Fact::Friend(_) => &[
                ("The friend of {} is", "."),
                ("The best friend of {} is", "."),
            ],
            Fact::Region(_) => &[
                ("The town of {} lies in the", "."),
                ("{} is a town in the", "."),
            ],
            Fact::Tool(_) => &[("The tool of a {} is the", "."), ("Each {} uses a", ".")],
        };
        let subject = match self {
            Fact::Pet(p) | Fact::Town(p) | Fact::Job(p) | Fact::Friend(p) => {
                world.people[p].name.as_str()
            }
            Fact::Region(t) => TOWNS[t],
            Fact::Tool(j) => JOBS[j],
        };
        let (before, after) = random.pick(wordings);
        let mut before = before.replace("{}", subject);
        // "an owl", but "a pet owl".
        if before.ends_with(" a") && starts_with_vowel(&self.value(world)) {
            before.push('n');
        }
        (before, (*after).to_string())
    }

    /// Returns a question for the fact, without choices.
    pub fn question(self, world: &World, random: &mut Random) -> String {
        let (wordings, subject): (&[&str], &str) = match self {
            Fact::Pet(p) => (
                &[
                    "What pet does {} have?",
                    "Which pet does {} own?",
                    "What is the pet of {}?",
                ],
                &world.people[p].name,
            ),
            Fact::Town(p) => (
                &[
                    "Where does {} live?",
                    "In which town does {} live?",
                    "What is the town of {}?",
                ],
                &world.people[p].name,
            ),
            Fact::Job(p) => (
                &[
                    "What is the job of {}?",
                    "What does {} work as?",
                    "Which job does {} have?",
                ],
                &world.people[p].name,
            ),
            Fact::Friend(p) => (&["Who is the friend of {}?"], &world.people[p].name),
            Fact::Region(t) => (&["In which region is the town of {}?"], TOWNS[t]),
            Fact::Tool(j) => (&["Which tool does a {} use?"], JOBS[j]),
        };
        random.pick(wordings).replace("{}", subject)
    }

    /// Draws any fact, those of people far more often than those of towns and jobs.
    pub fn any(world: &World, random: &mut Random) -> Self {
        let person = random.below(world.people.len());
        match random.weighted(&[3.0, 3.0, 3.0, 1.0, 0.5, 0.4]) {
            0 => Fact::Pet(person),
            1 => Fact::Town(person),
            2 => Fact::Job(person),
            3 => Fact::Friend(person),
            4 => Fact::Region(random.below(TOWNS.len())),
            _ => Fact::Tool(random.below(JOBS.len())),
        }
    }
}

/// Returns a word with its indefinite article.
pub fn with_article(word: &str) -> String {
    let article = if starts_with_vowel(word) { "an" } else { "a" };
    format!("{article} {word}")
}

fn starts_with_vowel(word: &str) -> bool {
    word.starts_with(['a', 'e', 'i', 'o', 'u'])
}

/// What one person did in a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The person's name.
    pub name: String,
    /// Index into [`DEEDS`].
    pub deed: usize,
    /// The colour of the good, an index into [`COLOURS`].
    pub colour: usize,
    /// Index into [`GOODS`].
    pub good: usize,
    /// Index into [`PLACES`], if the story says where the person went.
    pub place: Option<usize>,
}

/// A short story about two people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The two people, in no particular order.
    pub parts: [Part; 2],
    /// The story's text.
    pub text: String,
}

impl Story {
    /// Tells a story about a pair of people that belongs to the split.
    pub fn draw(world: &World, split: Split, random: &mut Random) -> Self {
        let names = pair(world, "story", split, random);
        let deeds = random.sample(&[0, 1, 2, 3, 4, 5], 2);
        let colours: Vec<usize> = random.sample(&Vec::from_iter(0..COLOURS.len()), 2);
        let goods: Vec<usize> = random.sample(&Vec::from_iter(0..GOODS.len()), 2);
        let places: Vec<usize> = random.sample(&Vec::from_iter(0..PLACES.len()), 2);
        let n_places = random.below(3);
        let part = |i: usize| Part {
            name: names[i].clone(),
            deed: deeds[i],
            colour: colours[i],
            good: goods[i],
            place: (i < n_places).then_some(places[i]),
        };
        let parts = [part(0), part(1)];
        let mut sentences = Vec::new();
        for part in &parts {
            let good = GOODS[part.good];
            sentences.push(format!("{} {} {good}.", part.name, DEEDS[part.deed].0));
            sentences.push(format!("The {good} was {}.", COLOURS[part.colour]));
            if let Some(place) = part.place {
                sentences.push(format!("{} went {}.", part.name, PLACES[place]));
            }
        }
        random.shuffle(&mut sentences);
        let text = format!("On {} {}", random.pick(&DAYS), sentences.join(" "));
        Self { parts, text }
    }

    /// Returns the title, as an encyclopedia would give it.
    pub fn title(&self) -> String {
        format!("{} and {}", self.parts[0].name, self.parts[1].name)
    }
}

/// Draws two different names whose pair belongs to the split.
pub fn pair(world: &World, kind: &str, split: Split, random: &mut Random) -> [String; 2] {
    loop {
        let a = &random.pick(&world.people).name;
        let b = &random.pick(&world.people).name;
        if a != b && Split::of_pair(world.seed, kind, a, b) == split {
            return [a.clone(), b.clone()];
        }
    }
}
