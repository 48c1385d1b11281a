//! Passages with questions that yes or no answers.

use crate::random::Random;
use crate::split::Split;
use crate::text::{Story, with_article};
use crate::world::{COLOURS, DEEDS, OBJECTS, PLACES, World};

/// A passage with a yes-or-no question.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct YesNo {
    /// The question in lower case and without a question mark, as in BoolQ.
    pub question: String,
    /// The passage's title.
    pub title: String,
    /// Whether the answer is yes.
    pub answer: bool,
    /// The text that answers the question.
    pub passage: String,
}

/// Draws a passage and a question that it answers; half of the answers are yes.
pub fn yes_no(world: &World, split: Split, hard: f64, random: &mut Random) -> YesNo {
    let story = Story::draw(world, split, random);
    yes_no_about(&story, hard, random)
}

/// Draws a question that a story answers.
///
/// `hard` is the share of the wrong details that the story does mention, but
/// of something else.
pub fn yes_no_about(story: &Story, hard: f64, random: &mut Random) -> YesNo {
    let (this, that) = match random.below(2) {
        0 => (&story.parts[0], &story.parts[1]),
        _ => (&story.parts[1], &story.parts[0]),
    };
    let kind = random.below(if this.place.is_some() { 3 } else { 2 });
    let answer = random.chance(0.5);
    let hard = random.chance(hard);
    let mut detail = |right: usize, trap: Option<usize>, n: usize| match (answer, hard, trap) {
        (true, ..) => right,
        (false, true, Some(trap)) => trap,
        _ => loop {
            let other = random.below(n);
            if other != right && Some(other) != trap {
                break other;
            }
        },
    };
    let question = match kind {
        0 => {
            let colour = detail(this.colour, Some(that.colour), COLOURS.len());
            format!("is the {} {}", OBJECTS[this.object], COLOURS[colour])
        }
        1 => {
            let object = detail(this.object, Some(that.object), OBJECTS.len());
            format!(
                "did {} {} {}",
                this.name,
                DEEDS[this.deed].1,
                with_article(OBJECTS[object])
            )
        }
        _ => {
            let place = detail(this.place.unwrap_or(0), that.place, PLACES.len());
            format!("did {} go to the {}", this.name, PLACES[place])
        }
    };
    YesNo {
        question,
        title: story.title(),
        answer,
        passage: story.text.clone(),
    }
}
