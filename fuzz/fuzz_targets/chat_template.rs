//! Chat templates.
#![no_main]

use std::time::Duration;

use lac_fuzz::check;
use lac_models::{
    ChatMessage, ChatOptions,
    chat_template::{ChatTemplate, RenderLimits, TemplateSource},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    let template = ChatTemplate::new("t", TemplateSource::Single(source.to_owned()));
    let mut limits = RenderLimits::default();
    limits.steps = 100_000;
    limits.time = Duration::from_secs(5);
    let template = template.with_limits(limits);
    let messages = [
        ChatMessage::new("system", "Be <b>good</b>."),
        ChatMessage::new("user", " é x "),
    ];
    check(template.render(&messages, &Default::default(), &ChatOptions::default()));
});
