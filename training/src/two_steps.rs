//! Questions whose answer takes two remembered facts.

use lac_demo::Choice;

use crate::questions::{others, place};
use crate::random::Random;
use crate::split::Split;
use crate::world::{JOBS, PETS, REGIONS, TOOLS, TOWNS, World};

/// The domains of the GPQA-like set.
pub const DOMAINS: [&str; 3] = ["Geography", "Society", "Trades"];

/// Draws a question whose answer takes two remembered facts.
pub fn two_steps(world: &World, split: Split, random: &mut Random) -> (Choice, String) {
    loop {
        let p = random.below(world.people.len());
        let person = &world.people[p];
        let name = &person.name;
        let kind = random.below(3);
        if Split::of(world.seed, &format!("two|{kind}|{name}")) != split {
            continue;
        }
        let (question, right, values, why): (String, &str, &[&str], String) = match kind {
            0 => (
                format!("In which region does {name} live?"),
                REGIONS[world.region[person.town]],
                &REGIONS,
                format!("{name} lives in {}.", TOWNS[person.town]),
            ),
            1 => {
                let friend = &world.people[person.friend];
                (
                    format!("Which pet does the friend of {name} own?"),
                    PETS[friend.pet],
                    &PETS,
                    format!("The friend of {name} is {}.", friend.name),
                )
            }
            _ => (
                format!("Which tool does {name} use at work?"),
                TOOLS[person.job],
                &TOOLS,
                format!("{name} works as a {}.", JOBS[person.job]),
            ),
        };
        let wrong = others(values, right, random);
        let choice = place(DOMAINS[kind], question, right.into(), wrong, random);
        return (choice, why);
    }
}
