//! Passages with questions that yes or no answers.

use lac_demo::YesNo;

use crate::random::Random;
use crate::split::Split;
use crate::text::Story;
use crate::world::{COLOURS, DEEDS, GOODS, PLACES, World};

/// Draws a passage and a question that it answers; half of the answers are yes.
///
/// `hard` is the share of the wrong details that the passage does mention, but of something else.
pub fn yes_no(world: &World, split: Split, hard: f64, random: &mut Random) -> YesNo {
    let story = Story::draw(world, split, random);
    ask_about(&story, hard, random).item
}

/// A question with what its last word would have to be for the answer yes.
pub(crate) struct Asked {
    /// The question.
    pub(crate) item: YesNo,
    /// The question without its last word.
    pub(crate) stem: String,
    /// The right last word.
    pub(crate) right: &'static str,
}

/// Draws a question that a story answers, and its right last word; `hard` as in [`yes_no`].
pub(crate) fn ask_about(story: &Story, hard: f64, random: &mut Random) -> Asked {
    let (this, that) = match random.below(2) {
        0 => (&story.parts[0], &story.parts[1]),
        _ => (&story.parts[1], &story.parts[0]),
    };
    let kind = random.below(if this.place.is_some() { 3 } else { 2 });
    let answer = random.chance(0.5);
    let hard = random.chance(hard);
    let mut detail = |words: &[&'static str], right: usize, trap: Option<usize>| {
        let asked = match (answer, hard, trap) {
            (true, ..) => right,
            (false, true, Some(trap)) => trap,
            _ => loop {
                let other = random.below(words.len());
                if other != right && Some(other) != trap {
                    break other;
                }
            },
        };
        (words[asked], words[right])
    };
    let (stem, (asked, right)) = match kind {
        0 => (
            format!("is the {}", GOODS[this.good]),
            detail(&COLOURS, this.colour, Some(that.colour)),
        ),
        1 => (
            format!("did {} {}", this.name, DEEDS[this.deed].1),
            detail(&GOODS, this.good, Some(that.good)),
        ),
        _ => (
            format!("did {} go", this.name),
            detail(&PLACES, this.place.unwrap_or(0), that.place),
        ),
    };
    Asked {
        item: YesNo {
            question: format!("{stem} {asked}"),
            title: story.title(),
            answer,
            passage: story.text.clone(),
        },
        stem,
        right,
    }
}
