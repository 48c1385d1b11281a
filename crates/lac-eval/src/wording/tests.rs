//! Prompts to the byte. Questions are made up.

use std::collections::BTreeMap;

use super::*;
use crate::benchmark::{Benchmark, HarnessTask};
use crate::item::{Content, ItemNamer};
use crate::question::Prompt;
use crate::released_code::Quirk;
use crate::words::Passages;

fn choices(question: &str, answer: usize) -> Content {
    Content::Choices {
        question: question.into(),
        choices: ["un  [title]", "b", "c", "d"].map(String::from).to_vec(),
        answer,
    }
}

fn data(benchmark: Benchmark, contents: Vec<Content>) -> DataSet {
    let mut namer = ItemNamer::default();
    let mut named = |content| namer.item("big_maths".into(), content);
    let items = contents.into_iter().map(&mut named).collect();
    let example = named(choices("Shown?", 1));
    DataSet {
        benchmark,
        items,
        examples: BTreeMap::from([("big_maths".to_owned(), vec![example])]),
        files: Vec::new(),
    }
}

fn ask(data: &DataSet, settings: &PromptSettings) -> Question {
    let orders = OptionOrders::new(data, settings);
    question(&data.items[0], data, &orders, settings).unwrap()
}

fn text(question: &Question) -> String {
    match &question.prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Chat(messages) => messages
            .iter()
            .map(|message| format!("<{}>{}", message.role(), message.text().unwrap()))
            .collect(),
        Prompt::PerOption(texts) => texts.join("|"),
    }
}

fn continuations(question: &Question) -> Vec<&str> {
    let options = question.options.iter();
    options.map(|option| option.continuation.as_str()).collect()
}

#[test]
fn mmlu_is_asked_as_the_harness_does() {
    let data = data(Benchmark::Mmlu, vec![choices(" What? ", 2)]);
    let seen = ask(&data, &PromptSettings::lm_eval(HarnessTask::Mmlu, 1));
    assert_eq!(
        text(&seen),
        "The following are multiple choice questions (with answers) about big maths.\n\n\
         Shown?\nA. un  [title]\nB. b\nC. c\nD. d\nAnswer: B\n\n\
         What?\nA. un  [title]\nB. b\nC. c\nD. d\nAnswer:"
    );
    assert_eq!(continuations(&seen), ["A", "B", "C", "D"]);
    assert_eq!((seen.answer, &seen.order), (2, &None));

    let chat = PromptSettings {
        chat: true,
        ..PromptSettings::lm_eval(HarnessTask::Mmlu, 0)
    };
    assert_eq!(
        text(&ask(&data, &chat)),
        "<system>The following are multiple choice questions (with answers) about big maths.\n\n\
         <user>What?\nA. un  [title]\nB. b\nC. c\nD. d\nAnswer:"
    );

    let seen = ask(
        &data,
        &PromptSettings::lm_eval(HarnessTask::MmluContinuation, 1),
    );
    assert_eq!(
        text(&seen),
        "The following are questions (with answers) about big maths.\n\n\
         Question: Shown?\nAnswer: b\n\nQuestion: What?\nAnswer:"
    );
    assert_eq!(continuations(&seen), ["un  [title]", "b", "c", "d"]);

    let orders = OptionOrders::default();
    let two = PromptSettings::lm_eval(HarnessTask::Mmlu, 2);
    let error = question(&data.items[0], &data, &orders, &two).unwrap_err();
    assert!(error.to_string().contains("at most 1"), "{error}");
}

#[test]
fn gpqa_is_asked_as_the_harness_does() {
    let data = data(Benchmark::Gpqa, vec![choices(" Why? ", 0)]);
    let seen = ask(
        &data,
        &PromptSettings::lm_eval(HarnessTask::GpqaZeroshot, 0),
    );
    // One question only: its right answer takes the first place.
    let order = seen.order.clone().unwrap();
    assert_eq!((order[0], seen.answer), (0, 0));
    let shown: Vec<&str> = order.iter().map(|&i| ["un . ", "b", "c", "d"][i]).collect();
    assert_eq!(
        text(&seen),
        format!(
            "What is the correct answer to this question: Why? \nChoices:\n(A) {}\n(B) {}\n\
             (C) {}\n(D) {}\nAnswer:",
            shown[0], shown[1], shown[2], shown[3]
        )
    );
    assert_eq!(continuations(&seen), ["(A)", "(B)", "(C)", "(D)"]);
    let seen = ask(&data, &PromptSettings::lm_eval(HarnessTask::GpqaNShot, 0));
    assert!(
        text(&seen).starts_with(
            "Here are some example questions from experts. Answer the final question yourself, \
             following the format of the previous questions exactly.\nQuestion:  Why? \nChoices:\n(A) "
        ),
        "{}",
        text(&seen)
    );
}

#[test]
fn the_right_answer_takes_each_place_equally_often() {
    let contents = (0..198).map(|i| choices(&format!("Question {i}?"), 0));
    let mut data = data(Benchmark::Gpqa, contents.collect());
    let settings = PromptSettings::generative();
    let orders = OptionOrders::new(&data, &settings);
    let mut counts = [0; 4];
    let mut wrong_orders = std::collections::HashSet::new();
    for item in &data.items {
        let order = orders.of(item).unwrap();
        let place = order.iter().position(|&i| i == 0).unwrap();
        counts[place] += 1;
        wrong_orders.insert(order.into_iter().filter(|&i| i > 0).collect::<Vec<_>>());
    }
    counts.sort_unstable();
    assert_eq!(counts, [49, 49, 50, 50]);
    assert_eq!(wrong_orders.len(), 6, "every order of the wrong answers");

    // The rows' order has no part in it.
    data.items.reverse();
    let reversed = OptionOrders::new(&data, &settings);
    assert!(
        data.items
            .iter()
            .all(|item| orders.of(item) == reversed.of(item))
    );

    let mut quirky = PromptSettings::paper(0);
    quirky.quirks = [Quirk::CorrectIsD].into();
    let orders = OptionOrders::new(&data, &quirky);
    assert!(
        data.items
            .iter()
            .all(|item| orders.of(item) == Some(vec![1, 2, 3, 0]))
    );
}

fn yes_no(title: Option<&str>) -> Content {
    Content::YesNo {
        passage: "It is so.".into(),
        title: title.map(String::from),
        question: "is it so".into(),
        answer: true,
    }
}

#[test]
fn boolq_is_asked_as_the_harness_does() {
    let data = data(Benchmark::Boolq, vec![yes_no(Some("Truth"))]);
    let mut settings = PromptSettings::lm_eval(HarnessTask::Boolq, 0);
    let seen = ask(&data, &settings);
    assert_eq!(text(&seen), "It is so.\nQuestion: is it so?\nAnswer:");
    assert_eq!(continuations(&seen), ["no", "yes"]);
    assert_eq!(seen.answer, 1);
    settings.passages = Passages::WithTitle;
    assert_eq!(
        text(&ask(&data, &settings)),
        "Truth -- It is so.\nQuestion: is it so?\nAnswer:"
    );
}

#[test]
fn the_papers_prompts_have_its_indents() {
    let mmlu = data(Benchmark::Mmlu, vec![choices("What?", 2)]);
    let mut settings = PromptSettings::paper(0);
    assert_eq!(
        text(&ask(&mmlu, &settings)),
        "<user>\n    Question:\n    What?\n\n    Options:\n    A. un  [title]\nB. b\nC. c\nD. d\n\n    \
         Output format:\n    [Option]\n\n    "
    );
    let boolq = data(Benchmark::Boolq, vec![yes_no(None)]);
    let expected = |heading: &str| {
        format!(
            "<user>\n    Respond to the given question based on the passage with True or False.\n    \
             Passage:\n    It is so.\n\n    {heading}\n    is it so\n\n    Output Format:\n    \
             [True/False]\n    "
        )
    };
    assert_eq!(text(&ask(&boolq, &settings)), expected("Question:"));
    settings.quirks = [Quirk::QuestionUnderOptions].into();
    assert_eq!(text(&ask(&boolq, &settings)), expected("Options:"));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let check = |settings: &PromptSettings, benchmark, part: &str| {
        let error = settings.validate(benchmark).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    let mut quirky = PromptSettings::generative();
    quirky.quirks = [Quirk::DoubleBos].into();
    check(&quirky, Benchmark::Mmlu, "double-bos");
    let mmlu = PromptSettings::lm_eval(HarnessTask::Mmlu, 0);
    check(&mmlu, Benchmark::Boolq, "a task of boolq");
    let shots = PromptSettings::lm_eval(HarnessTask::Boolq, 5);
    check(&shots, Benchmark::Boolq, "few-shot is 5");
    check(
        &PromptSettings::paper(0),
        Benchmark::Samples,
        "lm-eval for samples",
    );
}
