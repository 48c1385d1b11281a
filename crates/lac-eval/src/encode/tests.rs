//! What is fed, with a tokenizer of bytes.

use lac_core::{
    BoxError,
    text_model::{AddSpecialTokens, ChatMessage, TextModel},
};

use super::*;
use crate::benchmark::{Benchmark, HarnessTask};
use crate::item::{Content, ItemNamer, Logged};
use crate::judgement::Judgement;
use crate::released_code::Quirk;

const BOS: u32 = 256;

/// Every byte is a token; plain text is given a beginning, and a chat has written one.
struct Bytes;

impl TextModel for Bytes {
    fn encode(&self, text: &str, special: AddSpecialTokens) -> Result<Vec<u32>, BoxError> {
        let bytes = text.strip_prefix("<s>").unwrap_or(text);
        let mut ids = Vec::new();
        if text.len() > bytes.len() || special == AddSpecialTokens::Once {
            ids.push(BOS);
        }
        if special == AddSpecialTokens::Always {
            ids.push(BOS);
        }
        ids.extend(bytes.bytes().map(u32::from));
        Ok(ids)
    }

    fn decode(&self, ids: &[u32]) -> Result<String, BoxError> {
        let bytes = ids.iter().filter_map(|&id| u8::try_from(id).ok());
        Ok(String::from_utf8(bytes.collect())?)
    }

    fn has_chat_template(&self) -> bool {
        true
    }

    fn render_chat(&self, messages: &[ChatMessage]) -> Result<String, BoxError> {
        let turns = messages
            .iter()
            .map(|message| format!("[{}]{}", message.role(), message.text().unwrap()));
        Ok(format!("<s>{}[answer]", turns.collect::<String>()))
    }

    fn stop_tokens(&self) -> &[u32] {
        &[]
    }

    fn start_token(&self) -> Option<u32> {
        Some(BOS)
    }
}

fn data(question: &str) -> DataSet {
    let content = Content::Choices {
        question: question.into(),
        choices: ["w", "xx", "y", "z"].map(String::from).to_vec(),
        answer: 1,
    };
    DataSet {
        benchmark: Benchmark::Mmlu,
        items: vec![ItemNamer::default().item("law".into(), content)],
        examples: Default::default(),
        files: Vec::new(),
    }
}

fn ask(settings: &PromptSettings, max_context: Option<usize>) -> Result<Request> {
    let all = requests(
        &data("Q?"),
        &ItemSelection::default(),
        settings,
        &Bytes,
        max_context,
    )?;
    Ok(all.into_iter().next().unwrap())
}

fn options(request: &Request) -> Vec<(String, Vec<u32>)> {
    let Feed::Score(options) = &request.feed else {
        panic!("options are scored");
    };
    let text = |option: &ScoredOption| Bytes.decode(&option.continuation).unwrap();
    let pairs = options
        .iter()
        .map(|option| (text(option), option.context.clone()));
    pairs.collect()
}

#[test]
fn options_follow_a_space_and_a_chat_has_none() {
    let plain = ask(&PromptSettings::lm_eval(HarnessTask::Mmlu, 0), None).unwrap();
    let expected = Bytes.encode(&plain.text, AddSpecialTokens::Once).unwrap();
    for ((continuation, context), letter) in options(&plain).into_iter().zip("ABCD".chars()) {
        assert_eq!(continuation, format!(" {letter}"));
        assert_eq!(context, expected);
    }
    assert_eq!(plain.option_lengths, [1, 1, 1, 1]);
    let texts = ask(
        &PromptSettings::lm_eval(HarnessTask::MmluContinuation, 0),
        None,
    )
    .unwrap();
    assert_eq!(options(&texts)[1].0, " xx");
    assert_eq!(texts.option_lengths, [1, 2, 1, 1]);

    let chat = PromptSettings {
        chat: true,
        ..PromptSettings::lm_eval(HarnessTask::Mmlu, 0)
    };
    let chat = ask(&chat, None).unwrap();
    let seen = options(&chat);
    assert_eq!(seen[2].0, "C");
    let n_bos = seen[2].1.iter().filter(|&&id| id == BOS).count();
    assert_eq!(n_bos, 1, "the template's own");
}

#[test]
fn spaces_at_a_contexts_end_go_over_to_the_continuation() {
    let mut data = data("Q?");
    data.benchmark = Benchmark::Samples;
    data.items[0].content = Content::Scripted {
        options: vec![
            ("So: \n".into(), "yes".into()),
            ("So:".into(), " no".into()),
        ],
        answer: 0,
        also_right: Vec::new(),
        judgement: Judgement::Highest,
        logged: Logged::default(),
    };
    let settings = PromptSettings::lm_eval(HarnessTask::Samples, 0);
    let all = requests(&data, &ItemSelection::default(), &settings, &Bytes, None).unwrap();
    let seen = options(&all[0]);
    assert_eq!((seen[0].0.as_str(), seen[1].0.as_str()), (" \nyes", " no"));
    assert_eq!(seen[0].1, seen[1].1);
    assert_eq!(all[0].option_lengths, [3, 2]);
}

#[test]
fn a_text_without_a_context_follows_the_token_that_begins_texts() {
    struct NoStart;

    impl TextModel for NoStart {
        fn encode(&self, text: &str, special: AddSpecialTokens) -> Result<Vec<u32>, BoxError> {
            Bytes.encode(text, special)
        }

        fn decode(&self, ids: &[u32]) -> Result<String, BoxError> {
            Bytes.decode(ids)
        }

        fn has_chat_template(&self) -> bool {
            false
        }

        fn render_chat(&self, _: &[ChatMessage]) -> Result<String, BoxError> {
            Ok(String::new())
        }

        fn stop_tokens(&self) -> &[u32] {
            &[]
        }
    }

    let mut data = data("Q?");
    data.benchmark = Benchmark::Samples;
    data.items[0].content = Content::Scripted {
        options: vec![
            (String::new(), "ab".into()),
            // The token itself is no part of what is scored.
            (String::new(), "<s>c".into()),
        ],
        answer: 0,
        also_right: Vec::new(),
        judgement: Judgement::Highest,
        logged: Logged::default(),
    };
    let settings = PromptSettings::lm_eval(HarnessTask::Samples, 0);
    let ask =
        |text: &dyn TextModel| requests(&data, &ItemSelection::default(), &settings, text, Some(3));
    let seen = options(&ask(&Bytes).unwrap()[0]);
    assert_eq!(seen, [("ab".into(), vec![BOS]), ("c".into(), vec![BOS])]);
    let error = ask(&NoStart).unwrap_err().to_string();
    assert!(error.contains("neither BOS nor EOS"), "{error}");
}

#[test]
fn a_long_context_loses_its_beginning() {
    let settings = PromptSettings::lm_eval(HarnessTask::MmluContinuation, 0);
    let whole = options(&ask(&settings, None).unwrap());
    let cut = options(&ask(&settings, Some(20)).unwrap());
    for ((continuation, context), (_, whole)) in cut.iter().zip(&whole) {
        // The last token of the continuation is not fed.
        assert_eq!(context.len() + continuation.len() - 1, 20);
        assert!(whole.ends_with(context));
    }
    let error = ask(&settings, Some(3)).unwrap_err().to_string();
    assert!(
        error.contains("has 3 tokens") && error.contains("holds 3"),
        "{error}"
    );
    let error = ask(&PromptSettings::generative(), Some(20))
        .unwrap_err()
        .to_string();
    assert!(error.contains("the answer needs room"), "{error}");
}

#[test]
fn the_released_codes_second_bos_comes_by_name_only() {
    let n_bos = |quirks: &[Quirk]| {
        let settings = PromptSettings {
            quirks: quirks.iter().copied().collect(),
            ..PromptSettings::paper(0)
        };
        let request = ask(&settings, None).unwrap();
        assert!(request.text.ends_with("[answer]"), "{}", request.text);
        let ids = request.prompt_ids().to_vec();
        ids.into_iter().filter(|&id| id == BOS).count()
    };
    assert_eq!(n_bos(&[]), 1);
    assert_eq!(n_bos(&[Quirk::DoubleBos]), 2);
}
