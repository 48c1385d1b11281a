//! What a file of results records: a run that differs in any of it is refused.

use lac_core::{Off, generation::Flow};
use lac_eval::data::Content;
use lac_eval::settings::Passages;
use lac_eval::{
    Benchmark, Error, HarnessTask, PromptSettings, ResultLog, Results, evaluate, requests,
};
use tempfile::TempDir;

use crate::resuming::Bench;
use crate::{evaluation, limit, load, policy_run, settings};

#[test]
fn whatever_a_model_is_shown_is_among_the_settings() {
    let mut bench = Bench::new();
    bench.prompt = PromptSettings::lm_eval(HarnessTask::Mmlu, 2);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("results.jsonl");
    bench.run(&path, &limit(2), Bench::runs()).unwrap();
    let refused = |bench: &Bench, parts: &[&str]| {
        let error = bench.run(&path, &limit(2), Bench::runs()).unwrap_err();
        let message = error.to_string();
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
    };
    // Other rows among the examples that are shown.
    let examples = bench.data.examples.clone();
    for rows in bench.data.examples.values_mut() {
        rows.swap(1, 2);
    }
    refused(&bench, &["examples: ", " in the file, "]);
    bench.data.examples = examples.clone();
    for rows in bench.data.examples.values_mut() {
        rows.swap(3, 4);
    }
    bench.run(&path, &limit(2), Bench::runs()).unwrap();
    bench.data.examples = examples;

    // A file of an earlier version is read, and not gone on with.
    let text = std::fs::read_to_string(&path).unwrap();
    let mut settings = Results::read(&path).unwrap().settings;
    let mut old = text.clone();
    for settings in &mut settings {
        let (hash, line) = (settings.hash(), serde_json::to_string(settings).unwrap());
        (settings.words, settings.examples) = (None, None);
        old = old.replace(&line, &serde_json::to_string(settings).unwrap());
        old = old.replace(&hash, &settings.hash());
    }
    assert!(!old.contains("\"words\""));
    std::fs::write(&path, &old).unwrap();
    assert_eq!(Results::read(&path).unwrap().records.len(), 4);
    refused(
        &bench,
        &[
            "words: not recorded in the file",
            "examples: not recorded in the file",
            "begin a new file",
        ],
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), old);

    // A title is no part of a question's name, and of its words.
    bench.data = load(Benchmark::Boolq);
    bench.prompt = PromptSettings {
        passages: Passages::WithTitle,
        ..PromptSettings::lm_eval(HarnessTask::Boolq, 0)
    };
    let path = folder.path().join("boolq.jsonl");
    bench.run(&path, &limit(1), Bench::runs()).unwrap();
    for item in &mut bench.data.items {
        if let Content::YesNo { title, .. } = &mut item.content {
            *title = Some("Another".to_owned());
        }
    }
    let error = bench.run(&path, &limit(1), Bench::runs()).unwrap_err();
    assert!(error.to_string().contains("words: "), "{error}");
}

#[test]
fn stop_tokens_are_recorded_and_have_to_be_the_models_own() {
    let bench = Bench::new();
    let tokens = |ids: &[u32]| {
        let named = ids.iter().map(|&id| (id, format!("token {id}")));
        PromptSettings::generative().with_stop_tokens(named.collect::<Vec<_>>())
    };
    let own = bench.tokenizer.stop_ids();
    let run = |prompt: &PromptSettings| {
        let (data, selection) = (&bench.data, limit(1));
        let all = requests(data, &selection, prompt, &bench.tokenizer, Some(512))?;
        let mut runs = vec![policy_run(Off)];
        let mut log = ResultLog::in_memory(settings(data, prompt, &runs));
        let evaluation = evaluation(&all, prompt, &bench.tokenizer, 1);
        evaluate(&bench.model, &evaluation, &mut runs, &mut log, &mut |_| {
            Flow::Continue
        })?;
        Ok::<_, Error>(log.into_results())
    };
    let results = run(&tokens(own)).unwrap();
    let recorded = results.settings[0].prompt.stop_tokens.clone().unwrap();
    assert_eq!(recorded.len(), own.len());
    assert_eq!(recorded[0].text, format!("token {}", recorded[0].id));
    let error = run(&tokens(&[9])).unwrap_err().to_string();
    assert!(error.contains("[9]"), "{error}");
    // They end no answer where nothing is generated.
    let scored = bench.prompt.clone().with_stop_tokens([(9, String::new())]);
    assert_eq!(scored.stop_tokens, None);
}
