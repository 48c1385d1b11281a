use super::*;
use serde_json::json;

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new("t.jinja", TemplateSource::Single(source.to_owned()))
}

fn render(template: &ChatTemplate, options: &ChatOptions) -> Result<String, ChatError> {
    let messages = [
        ChatMessage::new("system", " Be good.\n"),
        ChatMessage::new("user", "Hi").with("tool_calls", json!([{ "z": 1, "a": "<é>" }])),
    ];
    let tokens = json!({ "bos_token": "<s>", "eos_token": "</s>" });
    template.render(&messages, tokens.as_object().unwrap(), options)
}

#[test]
fn variables_and_whitespace() {
    let extra = json!({ "date_string": "1 May", "eos_token": "<end>" });
    let options = ChatOptions {
        tools: Some(vec![json!({ "b": 1.0, "a": null })]),
        now: "1970-05-02T03:04:05".parse().ok(),
        extra: extra.as_object().unwrap().clone(),
        ..ChatOptions::default()
    };
    let check = |source: &str, expected: &str| {
        assert_eq!(
            render(&template(source), &options).unwrap(),
            expected,
            "{source}"
        );
    };
    check(
        "{{ bos_token }}{{ date_string }}{{ unk_token }}",
        "<s>1 May",
    );
    // What the caller passes wins over the checkpoint's tokens.
    check("{{ eos_token }}", "<end>");
    check("{{ add_generation_prompt }} {{ documents }}", "True None");
    check("{{ tools[0] | tojson }}", r#"{"b": 1.0, "a": null}"#);
    check(
        "{{ messages[1] | tojson(indent=1) }}",
        "{\n \"role\": \"user\",\n \"content\": \"Hi\",\n \"tool_calls\": [\n  {\n   \"z\": 1,\n   \"a\": \"<é>\"\n  }\n ]\n}",
    );
    check(
        "{% for m in messages %}\n  {{ m.content.strip() }}\n  {% endfor %}\n.\n",
        "  Be good.\n  Hi\n.",
    );
    check(
        "{% generation %}a{% set x = 1 %}{% endgeneration %}{{ x }}",
        "a",
    );
    check("{{ strftime_now('%d %b %Y %H:%M') }}", "02 May 1970 03:04");
    check(
        "{{ messages[5] }}{{ missing }}|{{ missing is defined }}",
        "|False",
    );
}

#[test]
fn failures_say_where_and_why() {
    let check = |source: &str, expected: &str| {
        let error = render(&template(source), &ChatOptions::default()).unwrap_err();
        assert_eq!(error.to_string(), expected, "{source}");
    };
    check(
        "\n{{ raise_exception('No \"tool\" role, please!') }}",
        "t.jinja:2: the template rejects the conversation: No \"tool\" role, please!",
    );
    check(
        "a\n\n{{ missing.field }}",
        "t.jinja:3: undefined value: `missing` is undefined",
    );
    check(
        "{% if %}",
        "t.jinja:1: syntax error: unexpected end of block",
    );
    check(
        "{{ strftime_now('%Q%') }}",
        "t.jinja:1: invalid operation: strftime_now does not understand \"%Q%\"",
    );
    // The message of a macro is not lost on the way out.
    let in_macro = "{% macro f() %}\n{{ raise_exception('in f') }}{% endmacro %}\n\n{{ f() }}";
    let error = render(&template(in_macro), &ChatOptions::default()).unwrap_err();
    assert!(matches!(error, ChatError::Rejected { message, .. } if message == "in f"));
}

#[test]
fn templates_are_chosen_by_name() {
    let named = |names: &[&str]| {
        let texts = names
            .iter()
            .map(|name| ((*name).to_owned(), format!("this is {name}")));
        ChatTemplate::new("t", TemplateSource::Named(texts.collect()))
    };
    let plain = ChatOptions::default();
    let tools = ChatOptions {
        tools: Some(Vec::new()),
        ..ChatOptions::default()
    };
    let both = named(&["default", "tool_use"]);
    assert_eq!(render(&both, &plain).unwrap(), "this is default");
    assert_eq!(render(&both, &tools).unwrap(), "this is tool_use");
    assert_eq!(
        render(&named(&["default"]), &tools).unwrap(),
        "this is default"
    );
    let error = render(&named(&["rag", "tool_use"]), &plain).unwrap_err();
    assert_eq!(
        error.to_string(),
        "t: no template is named \"default\", only rag, tool_use"
    );
}

#[test]
fn hostile_templates_end() {
    let limits = RenderLimits {
        steps: 200_000,
        bytes: 10_000,
        ..RenderLimits::default()
    };
    let check = |source: &str, expected: &str| {
        let template = template(source).with_limits(limits);
        let error = render(&template, &ChatOptions::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{source}: {error}");
    };
    let steps = "rendering did not end within 200000 steps";
    let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}";
    check(nested, steps);
    let double = "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
    check(double, steps);
    let shared = "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}";
    check(shared, steps);
    check("{{ 'a'.ljust(999999999999) }}", steps);
    check("{{ 'a' * 999999999999 }}", "");
    check(
        "{% for i in range(20000) %}x{% endfor %}",
        "the rendered text exceeds 10000 bytes",
    );
    check("{{ 'x' * 20000 }}", "the rendered text exceeds 10000 bytes");
    check(
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "recursion limit exceeded",
    );
    check(
        &format!("{{{{ {}1{} }}}}", "(".repeat(9000), ")".repeat(9000)),
        "syntax error",
    );
}

/// Lists as deep as the default steps make them are printed, compared and freed, on a stack that
/// holds them; what is not paid for by the engine is paid for here.
#[test]
fn nothing_that_a_template_builds_takes_more_than_its_steps() {
    let share = "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}";
    let deep = "{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(4000) %}{% set ns.l = [[[[[ns.l]]]]] %}{% set ns.m = [[[[[ns.m]]]]] %}{% endfor %}";
    let check = |source: &str, expected: &str| {
        let text = match render(&template(source), &ChatOptions::default()) {
            Ok(text) => format!("{} bytes", text.len()),
            Err(error) => error.to_string(),
        };
        assert!(text.contains(expected), "{source}: {text}");
    };
    check(deep, "0 bytes");
    check(&format!("{deep}{{{{ ns.l }}}}"), "40003 bytes");
    check(&format!("{deep}{{{{ ns.l == ns.m }}}}"), "4 bytes");
    check(&format!("{deep}{{{{ ns.l|trim|length }}}}"), "5 bytes");
    check(
        &format!("{deep}{{{{ ns.l.missing.field }}}}"),
        "undefined value",
    );
    let steps = "rendering did not end within 1000000 steps";
    check(&format!("{share}{{{{ ns.l|trim }}}}"), steps);
    check(&format!("{share}{{{{ raise_exception(ns.l) }}}}"), steps);
    check(&format!("{share}{{{{ debug() }}}}"), "debug is unknown");
    check("{{ (['a'] * 99999999)|tojson }}", "");
    check(
        "{% set a = 'a' * 30000000 %}{{ a.split('a')|length }}",
        steps,
    );
    check(
        "{% set a = 'a\n' * 15000000 %}{{ a.splitlines()|length }}",
        steps,
    );
    check(
        "{% set a = 'a' * 30000000 %}{% for i in range(1000) %}{% set b = a.index('a') %}{% endfor %}",
        steps,
    );
    // A macro's text and a block's text count as well as what is shown.
    check(
        "{% set a %}{% for i in range(99999) %}{{ 'x' * 999 }}{% endfor %}{% endset %}",
        steps,
    );
    let long = format!("{{{{ raise_exception('x' * {}) }}}}", 9_000_000);
    let error = render(&template(&long), &ChatOptions::default()).unwrap_err();
    assert!(error.to_string().len() < 3000);
}

/// Steps bound the memory: a step pays for 64 bytes.
#[test]
fn memory_is_bounded_by_the_steps() {
    let limits = RenderLimits {
        steps: 200_000,
        ..RenderLimits::default()
    };
    let allowance = lac_test_corruption::Allowance {
        per_byte: 0,
        // What a step pays for is held twice while it grows, and four times while it is joined.
        constant: 4 * 64 * limits.steps as usize,
    };
    for source in [
        "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = ns.l + ['x' * 999] %}{% endfor %}",
        "{{ range(10**9)|list|length }}",
        "{{ ('a' * 10**9)|length }}",
        "{{ ('a,' * 9999999).split(',')|length }}",
        "{{ ('a' * 9999999)|list|length }}",
        "{{ ('ab' * 99999)|replace('a', 'c' * 99999) }}",
        "{{ 'x'.ljust(10**9) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '{:😀>5999999}'.format(1) }}",
        "{{ '{:0999999999,}'.format(1) }}",
        "{{ '{:.59999f}'.format(1) * 99999 }}",
        "{{ '{}{}{}'.format('a' * 999999, 'b' * 999999, 'c' * 999999) * 9 }}",
        "{{ 'a\\tb'.expandtabs(10**9) }}",
        "{{ (['a'] * 99999)|join('b' * 99999) }}",
        "{{ ('a\\n' * 99999)|indent(99999) }}",
        "{{ range(9)|batch(10**9, 'x')|list }}",
        "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('abc') }}",
    ] {
        let template = template(source).with_limits(limits);
        let chosen = template.templates.choose(&ChatOptions::default()).unwrap();
        let chosen = chosen.clone();
        let rendered = lac_test_corruption::within(allowance, 0, || {
            template.render_here(&chosen, &[], &Map::new(), &ChatOptions::default())
        });
        if let Err(error) = rendered {
            assert!(error.to_string().contains("t.jinja"), "{source}: {error}");
        }
    }
}

/// The scan for tags that only Jinja2 knows takes time that grows with the text, not its square.
#[test]
fn a_template_of_a_megabyte_of_tags_is_scanned_at_once() {
    for part in [
        "{%",
        "{{",
        "{#",
        "{",
        "{% raw %}{%",
        "{% '",
        "{{ \"",
        "{% raw %}{% ' ",
    ] {
        let source = part.repeat((1 << 20) / part.len());
        let raw = format!("{{% raw %}}{source}");
        for source in [&source, &raw] {
            assert_eq!(portable::portable_source(source).len(), source.len());
        }
    }
}
