//! The closed world: who lives in it, and what is true there.

use crate::random::Random;

/// Pets that people keep.
pub const PETS: [&str; 8] = ["cat", "dog", "owl", "fox", "hen", "pig", "cow", "goat"];
/// The towns of the world.
pub const TOWNS: [&str; 12] = [
    "Ash", "Bray", "Cove", "Dale", "Elm", "Ford", "Glen", "Holt", "Kirk", "Lund", "Moor", "Wick",
];
/// The regions that the towns lie in.
pub const REGIONS: [&str; 4] = ["north", "south", "east", "west"];
/// The jobs that people have.
pub const JOBS: [&str; 8] = [
    "baker", "farmer", "miner", "painter", "tailor", "sailor", "barber", "teacher",
];
/// The tool of each job, in the order of [`JOBS`].
pub const TOOLS: [&str; 8] = [
    "pan", "rake", "axe", "brush", "needle", "rope", "comb", "chalk",
];
/// Colours of things.
pub const COLOURS: [&str; 8] = [
    "red", "blue", "green", "black", "white", "pink", "grey", "brown",
];
/// Fruits.
pub const FRUITS: [&str; 8] = [
    "apple", "pear", "plum", "fig", "lemon", "grape", "peach", "melon",
];
/// Things that people count.
pub const OBJECTS: [&str; 10] = [
    "hat", "coat", "cup", "bag", "kite", "lamp", "bell", "drum", "ring", "book",
];
/// What people buy, find and lose in stories.
pub const GOODS: [&str; 10] = [
    "wool", "silk", "clay", "wax", "soap", "glass", "paper", "cloth", "paint", "wood",
];
/// Where people go in stories.
pub const PLACES: [&str; 8] = [
    "home", "away", "uphill", "inland", "abroad", "ashore", "upstream", "offshore",
];
/// The days of the week.
pub const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
/// What people do with goods in stories: past tense and infinitive.
pub const DEEDS: [(&str, &str); 6] = [
    ("bought", "buy"),
    ("found", "find"),
    ("lost", "lose"),
    ("made", "make"),
    ("sold", "sell"),
    ("hid", "hide"),
];

/// How many people live in the world.
pub const N_PEOPLE: usize = 144;

/// One inhabitant and what is true of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The name, unique in the world.
    pub name: String,
    /// Index into [`PETS`].
    pub pet: usize,
    /// Index into [`TOWNS`].
    pub town: usize,
    /// Index into [`JOBS`].
    pub job: usize,
    /// Index of the friend among the people.
    pub friend: usize,
}

/// What is true, drawn from a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// The seed that everything was drawn from.
    pub seed: u64,
    /// Everyone.
    pub people: Vec<Person>,
    /// The region of each town, an index into [`REGIONS`].
    pub region: Vec<usize>,
}

impl World {
    /// Draws the world that belongs to a seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        // Names of two open syllables share their beginnings and ends, so that
        // a small vocabulary holds each of them as one token.
        let mut names = Vec::new();
        for first in ["B", "D", "K", "L", "M", "N", "R", "S", "T", "V"] {
            for vowel in ["a", "e", "i", "o"] {
                for last in ["la", "ma", "na", "ra", "sa", "to", "ko", "do", "ri", "ni"] {
                    names.push(format!("{first}{vowel}{last}"));
                }
            }
        }
        let names = random.sample(&names, N_PEOPLE);
        let people = names
            .into_iter()
            .enumerate()
            .map(|(i, name)| Person {
                name,
                pet: random.below(PETS.len()),
                town: random.below(TOWNS.len()),
                job: random.below(JOBS.len()),
                friend: (i + 1 + random.below(N_PEOPLE - 1)) % N_PEOPLE,
            })
            .collect();
        let mut region: Vec<usize> = (0..TOWNS.len()).map(|i| i % REGIONS.len()).collect();
        random.shuffle(&mut region);
        Self {
            seed,
            people,
            region,
        }
    }

    /// Returns the names of all people.
    pub fn names(&self) -> Vec<String> {
        self.people.iter().map(|p| p.name.clone()).collect()
    }

    /// Returns how many things the world speaks of: people, towns, animals, jobs and so on.
    pub fn n_entities(&self) -> usize {
        self.people.len()
            + PETS.len()
            + TOWNS.len()
            + REGIONS.len()
            + JOBS.len()
            + TOOLS.len()
            + COLOURS.len()
            + FRUITS.len()
            + OBJECTS.len()
            + GOODS.len()
            + PLACES.len()
    }
}
