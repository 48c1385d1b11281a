//! Answers as models write them.

use super::{chosen_option, said_yes};

const CITIES: [&str; 4] = ["Paris", "Rome", "Oslo", "Bern"];

/// What was written, and the letter that was meant; `-` for none.
const LETTERED: &[(&str, char)] = &[
    // A letter and nothing else.
    ("C", 'C'),
    (" C", 'C'),
    ("c", 'C'),
    ("C.", 'C'),
    ("C\n", 'C'),
    ("(C)", 'C'),
    ("[C]", 'C'),
    ("**C**", 'C'),
    ("**C.**", 'C'),
    ("`B`", 'B'),
    ("\"D\"", 'D'),
    ("'A'", 'A'),
    ("<B>", 'B'),
    ("{D}", 'D'),
    ("$C$", 'C'),
    ("C)", 'C'),
    ("C:", 'C'),
    ("(A).", 'A'),
    ("A", 'A'),
    ("（C）", 'C'),
    // A letter and its option.
    ("C. Oslo", 'C'),
    ("(C) Oslo", 'C'),
    ("C) Oslo", 'C'),
    ("C: Oslo", 'C'),
    ("C - Oslo", 'C'),
    ("C – Oslo is the capital of Norway", 'C'),
    ("**C. Oslo**", 'C'),
    ("[Option] C", 'C'),
    ("[Option]\nC. Oslo", 'C'),
    ("Option C", 'C'),
    ("Option C: Oslo", 'C'),
    ("option c", 'C'),
    (
        "A. Paris\n\nParis is the capital of France, whereas B is in Italy.",
        'A',
    ),
    ("B\n\nExplanation: A and C are both wrong.", 'B'),
    ("D. Bern\nA. Paris", 'D'),
    ("A, because it lies on the Seine.", 'A'),
    ("C Oslo", 'C'),
    // Sentences.
    ("The answer is C.", 'C'),
    ("The answer is (C).", 'C'),
    ("The answer is: C", 'C'),
    ("the answer is c", 'C'),
    ("Answer: C", 'C'),
    ("Answer: (C) Oslo", 'C'),
    ("Answer:C", 'C'),
    ("**Answer:** C", 'C'),
    ("**Answer: C**", 'C'),
    ("### Answer\nC", 'C'),
    ("Final answer: D", 'D'),
    ("Final Answer: **D. Bern**", 'D'),
    ("The correct answer is B.", 'B'),
    ("The correct answer is **B**.", 'B'),
    ("The correct answer is option B.", 'B'),
    ("The correct option is B.", 'B'),
    ("The correct choice is (B) Rome.", 'B'),
    ("The best answer is A.", 'A'),
    ("The best answer is A", 'A'),
    ("The right answer would be D.", 'D'),
    ("So the answer must be D.", 'D'),
    ("Therefore, the answer is A.", 'A'),
    ("Thus the correct answer is \\boxed{C}.", 'C'),
    ("\\boxed{C}", 'C'),
    ("$\\boxed{\\text{C}}$", 'C'),
    ("\\boxed{C. Oslo}", 'C'),
    ("\\boxed{(D)}", 'D'),
    ("The answer to this question is C.", 'C'),
    ("The answer to the question above is C.", 'C'),
    ("My answer is C", 'C'),
    ("answer = C", 'C'),
    ("Answer -> C", 'C'),
    ("The answer is most likely C.", 'C'),
    ("The answer is therefore B.", 'B'),
    ("The correct answer is the option C.", 'C'),
    ("I believe the answer is A) Paris.", 'A'),
    ("The answer is 'B'.", 'B'),
    ("The answer is \"B\"", 'B'),
    ("Sure! The correct answer is:\n\nC. Oslo", 'C'),
    ("The correct answer is:\n\n**(C) Oslo**", 'C'),
    // The other way round.
    ("C is the correct answer.", 'C'),
    ("C is correct.", 'C'),
    ("Option C is correct.", 'C'),
    ("Option B is the best answer.", 'B'),
    ("(D) is the right answer.", 'D'),
    ("B. Rome is the correct answer.", 'B'),
    // Choosing.
    ("I choose C.", 'C'),
    ("I would choose option C.", 'C'),
    ("I'd go with B.", 'B'),
    ("I'll go with (D).", 'D'),
    ("I pick A.", 'A'),
    ("It has to be D.", 'D'),
    ("I would say B", 'B'),
    ("My guess: I select D.", 'D'),
    // Thinking aloud.
    (
        "A is wrong because it is in France. B is wrong too. So the answer is C.",
        'C',
    ),
    (
        "A) is wrong because it lies in France. The correct answer is C.",
        'C',
    ),
    (
        "Let's think step by step. Norway's capital is Oslo. The answer is C.",
        'C',
    ),
    ("The answer is not A. The answer is C.", 'C'),
    (
        "At first the answer is B, but on reflection the answer is C.",
        'C',
    ),
    ("Norway's capital is Oslo.\n\nC", 'C'),
    ("Norway's capital is Oslo.\n\nC. Oslo", 'C'),
    ("Both A and B are in the south. Hence the answer: D", 'D'),
    ("We can exclude A and B. Answer: C", 'C'),
    // By its words.
    ("Oslo", 'C'),
    ("Oslo.", 'C'),
    ("oslo", 'C'),
    ("\"Oslo\"", 'C'),
    ("It is Oslo.", 'C'),
    ("The capital of Norway is Oslo.", 'C'),
    ("The answer is Oslo.", 'C'),
    ("The correct answer is Bern, the federal city.", 'D'),
    ("The city is Rome (B).", 'B'),
    ("That would be Paris, of course", 'A'),
    // No answer.
    ("", '-'),
    ("I am not sure.", '-'),
    ("I don't know.", '-'),
    ("None of the above.", '-'),
    ("A good question.", '-'),
    ("The answer is a matter of taste.", '-'),
    ("It could be A or B.", '-'),
    ("Either Paris or Rome.", '-'),
    ("E", '-'),
    ("The answer is Z.", '-'),
    ("42", '-'),
    ("As an AI language model, I cannot answer.", '-'),
    ("The question refers to J. R. Smith.", '-'),
];

#[test]
fn letters_are_found_in_real_looking_answers() {
    let wrong: Vec<_> = LETTERED
        .iter()
        .map(|(text, letter)| (text, "ABCD".find(*letter), chosen_option(text, &CITIES)))
        .filter(|(_, expected, seen)| expected != seen)
        .collect();
    assert!(wrong.is_empty(), "text, expected, seen: {wrong:#?}");
    assert!(LETTERED.len() >= 100);
}

#[test]
fn options_that_contain_one_another_are_told_apart() {
    let options = ["red", "dark red", "blue", "dark blue green"];
    for (text, expected) in [
        ("It is dark red.", Some(1)),
        ("red", Some(0)),
        ("The colour is red", Some(0)),
        ("It is a dark blue green thing", Some(3)),
        ("reddish", None),
        ("red and blue", None),
    ] {
        assert_eq!(chosen_option(text, &options), expected, "{text:?}");
    }
    let numbers = ["1", "2", "12", "21"];
    assert_eq!(chosen_option("12", &numbers), Some(2));
    assert_eq!(chosen_option("The answer is (B) 2", &numbers), Some(1));
}

/// What was written, and whether it says yes.
const YES_NO: &[(&str, Option<bool>)] = &[
    ("yes", Some(true)),
    ("Yes.", Some(true)),
    (" Yes", Some(true)),
    ("YES", Some(true)),
    ("**Yes**", Some(true)),
    ("True", Some(true)),
    ("[True]", Some(true)),
    ("[True/False]\nTrue", Some(true)),
    ("[True/False]", None),
    ("true.", Some(true)),
    ("Yes, it does.", Some(true)),
    ("Yes, ethanol takes more energy.", Some(true)),
    ("The answer is yes.", Some(true)),
    ("The answer is: True", Some(true)),
    ("Answer: True", Some(true)),
    ("**Answer:** Yes", Some(true)),
    ("The statement is true.", Some(true)),
    ("Based on the passage, the answer is True.", Some(true)),
    ("According to the passage, it is true that …", Some(true)),
    ("\\boxed{True}", Some(true)),
    ("Correct.", Some(true)),
    ("no", Some(false)),
    ("No.", Some(false)),
    ("No, it does not.", Some(false)),
    ("No it does not.", Some(false)),
    ("False", Some(false)),
    ("[False]", Some(false)),
    ("<False>", Some(false)),
    ("'False'", Some(false)),
    ("Answer: False", Some(false)),
    ("The answer is no.", Some(false)),
    ("The answer to the question is no.", Some(false)),
    ("The statement is false.", Some(false)),
    ("The statement is not true.", Some(false)),
    ("That is incorrect.", Some(false)),
    ("Not true.", Some(false)),
    ("Output: False", Some(false)),
    (
        "The correct answer is False, because the passage says so.",
        Some(false),
    ),
    ("It is false.", Some(false)),
    ("", None),
    ("I am not sure.", None),
    ("The passage does not mention it.", None),
    ("No information is given about that.", None),
    ("It could be true or false.", None),
    ("There is no mention of this in the passage.", None),
    ("It depends.", None),
];

#[test]
fn yes_and_no_are_found_in_real_looking_answers() {
    let wrong: Vec<_> = YES_NO
        .iter()
        .map(|(text, expected)| (text, *expected, said_yes(text)))
        .filter(|(_, expected, seen)| expected != seen)
        .collect();
    assert!(wrong.is_empty(), "text, expected, seen: {wrong:#?}");
}
