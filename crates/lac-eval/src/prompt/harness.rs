//! The prompts of lm-evaluation-harness (tasks as of August 2026): a description, solved
//! examples, the question. In a chat the description is the system's message and the rest one
//! message of the user.

use super::{
    OptionKind, Prompt, Question, QuestionOption, Shown, letter_options, lettered, word_options,
};
use crate::item::{Content, Item};
use crate::settings::{Asking, HarnessTask, Passages};
use lac_core::Turn;

/// Between examples.
const DELIMITER: &str = "\n\n";

pub(super) fn question(shown: &Shown<'_>, examples: &[Shown<'_>], asking: &Asking) -> Question {
    if matches!(shown.item.content, Content::Scripted { .. }) {
        return scripted(shown);
    }
    let Some(task) = asking.task else {
        return scripted(shown);
    };
    let (body, options, kind) = body(shown, task, asking);
    let mut text = String::new();
    for example in examples {
        let (body, options, _) = super::harness::body(example, task, asking);
        let solution = &options[example.answer()].continuation;
        text.push_str(&format!("{body} {solution}{DELIMITER}"));
    }
    text.push_str(&body);
    let description = description(task, &shown.item.subject);
    let prompt = match (asking.chat, description) {
        (false, description) => Prompt::Text(description.unwrap_or_default() + &text),
        (true, description) => {
            let system = description.map(|content| Turn {
                role: "system",
                content,
            });
            let user = Turn {
                role: "user",
                content: text,
            };
            Prompt::Chat(system.into_iter().chain([user]).collect())
        }
    };
    shown.with_prompt(prompt, options, kind)
}

fn description(task: HarnessTask, subject: &str) -> Option<String> {
    let subject = subject.replace('_', " ");
    match task {
        HarnessTask::Mmlu => Some(format!(
            "The following are multiple choice questions (with answers) about {subject}.\n\n"
        )),
        HarnessTask::MmluContinuation => Some(format!(
            "The following are questions (with answers) about {subject}.\n\n"
        )),
        HarnessTask::GpqaNShot => Some(
            "Here are some example questions from experts. Answer the final question yourself, \
             following the format of the previous questions exactly.\n"
                .to_owned(),
        ),
        HarnessTask::GpqaZeroshot | HarnessTask::Boolq | HarnessTask::Samples => None,
    }
}

fn body(
    shown: &Shown<'_>,
    task: HarnessTask,
    asking: &Asking,
) -> (String, Vec<QuestionOption>, OptionKind) {
    let Content::Choices { question, .. } = &shown.item.content else {
        let options = word_options("no", "yes");
        return (yes_no(shown.item, asking), options, OptionKind::NoYes);
    };
    let choices = shown.choices();
    match task {
        HarnessTask::MmluContinuation => {
            let options = choices
                .iter()
                .map(|choice| QuestionOption {
                    continuation: (*choice).to_owned(),
                    text: (*choice).to_owned(),
                })
                .collect();
            let text = format!("Question: {}\nAnswer:", question.trim());
            (text, options, OptionKind::Letters)
        }
        HarnessTask::GpqaZeroshot | HarnessTask::GpqaNShot => gpqa(question, &choices, task),
        HarnessTask::Mmlu | HarnessTask::Boolq | HarnessTask::Samples => {
            let text = format!("{}\n{}\nAnswer:", question.trim(), lettered(&choices));
            (text, letter_options(&choices), OptionKind::Letters)
        }
    }
}

fn gpqa(
    question: &str,
    choices: &[&str],
    task: HarnessTask,
) -> (String, Vec<QuestionOption>, OptionKind) {
    let choices: Vec<String> = choices.iter().map(|choice| cleaned(choice)).collect();
    let choices: Vec<&str> = choices.iter().map(String::as_str).collect();
    let mut options = letter_options(&choices);
    let mut lines = Vec::new();
    for option in &mut options {
        option.continuation = format!("({})", option.continuation);
        lines.push(format!("{} {}", option.continuation, option.text));
    }
    let lead = match task {
        HarnessTask::GpqaNShot => "Question: ",
        _ => "What is the correct answer to this question:",
    };
    let text = format!("{lead}{question}\nChoices:\n{}\nAnswer:", lines.join("\n"));
    (text, options, OptionKind::Letters)
}

/// What the harness does to GPQA's choices, and not to its questions.
fn cleaned(choice: &str) -> String {
    choice.trim().replace(" [title]", ". ").replace("  ", " ")
}

/// The harness's words for a yes-or-no question.
pub(super) fn yes_no(item: &Item, asking: &Asking) -> String {
    let Content::YesNo {
        passage,
        title,
        question,
        ..
    } = &item.content
    else {
        return String::new();
    };
    let title = match (asking.passages, title) {
        (Passages::WithTitle, Some(title)) => format!("{title} -- "),
        _ => String::new(),
    };
    format!("{title}{passage}\nQuestion: {question}?\nAnswer:")
}

/// Contexts and continuations as they were written down; a continuation brings its delimiter.
pub(super) fn scripted(shown: &Shown<'_>) -> Question {
    let options: &[(String, String)] = match &shown.item.content {
        Content::Scripted { options, .. } => options,
        _ => &[],
    };
    let prompt = Prompt::PerOption(options.iter().map(|(context, _)| context.clone()).collect());
    let options = options
        .iter()
        .map(|(_, continuation)| QuestionOption {
            continuation: continuation.clone(),
            text: continuation.trim_start().to_owned(),
        })
        .collect();
    shown.with_prompt(prompt, options, OptionKind::Letters)
}
