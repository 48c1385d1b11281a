//! Environment variables, each in the forms that huggingface_hub's `constants.py` and `utils/_auth.py` honour.

use std::path::PathBuf;
use std::time::Duration;

use lac_hub::{Environment, HubSettings};

use crate::write_files;

fn of(variables: &[(&str, &str)]) -> HubSettings {
    HubSettings::from_environment(&Environment::new("/home/me", variables.iter().copied()))
}

#[test]
fn the_cache_lies_where_huggingface_hub_has_it() {
    for (variables, cache) in [
        (&[][..], "/home/me/.cache/huggingface/hub"),
        (&[("HF_HOME", "/hf")], "/hf/hub"),
        (&[("HF_HOME", "~/hf")], "/home/me/hf/hub"),
        (&[("HF_HOME", "~")], "/home/me/hub"),
        (
            &[("HF_HOME", "$DATA/hf"), ("DATA", "/data")],
            "/data/hf/hub",
        ),
        (
            &[("HF_HOME", "${DATA}hf"), ("DATA", "/data/")],
            "/data/hf/hub",
        ),
        // What is not set stays, and what was put in is not expanded again.
        (
            &[("HF_HOME", "/x/$NONE/${NONE}/$")],
            "/x/$NONE/${NONE}/$/hub",
        ),
        (
            &[("HF_HOME", "/x/$A"), ("A", "$B"), ("B", "b")],
            "/x/$B/hub",
        ),
        (&[("HF_HOME", "/x/${A")], "/x/${A/hub"),
        (&[("HF_HOME", "/x/~")], "/x/~/hub"),
        (&[("HF_HOME", "~no-such-user/x")], "~no-such-user/x/hub"),
        (&[("XDG_CACHE_HOME", "/xdg")], "/xdg/huggingface/hub"),
        (
            &[("XDG_CACHE_HOME", "~/xdg")],
            "/home/me/xdg/huggingface/hub",
        ),
        (&[("XDG_CACHE_HOME", "/xdg"), ("HF_HOME", "/hf")], "/hf/hub"),
        (&[("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
        (
            &[("HUGGINGFACE_HUB_CACHE", "~/$A"), ("A", "a")],
            "/home/me/a",
        ),
        (
            &[("HF_HUB_CACHE", "/new"), ("HUGGINGFACE_HUB_CACHE", "/old")],
            "/new",
        ),
        (
            &[("HF_HUB_CACHE", "~/new"), ("HF_HOME", "/hf")],
            "/home/me/new",
        ),
        (&[("HF_HUB_CACHE", "relative")], "relative"),
        // What is set to nothing counts as not set.
        (
            &[("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", "/old")],
            "/old",
        ),
        (
            &[("HF_HOME", ""), ("XDG_CACHE_HOME", "")],
            "/home/me/.cache/huggingface/hub",
        ),
    ] {
        assert_eq!(of(variables).cache, PathBuf::from(cache), "{variables:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_home_folder_of_another_user_is_found() {
    assert_eq!(
        of(&[("HF_HOME", "~root/hf")]).cache,
        PathBuf::from("/root/hf/hub")
    );
}

#[test]
fn caches_of_older_transformers_are_looked_into_too() {
    let settings = of(&[
        ("TRANSFORMERS_CACHE", "~/t"),
        ("PYTORCH_TRANSFORMERS_CACHE", "/p"),
        (
            "PYTORCH_PRETRAINED_BERT_CACHE",
            "/home/me/.cache/huggingface/hub",
        ),
    ]);
    // One that is the cache itself is looked into once.
    assert_eq!(
        settings.older_caches,
        [PathBuf::from("/home/me/t"), PathBuf::from("/p")]
    );
}

#[test]
fn the_hub_is_not_asked_where_a_variable_says_so() {
    let (hub, transformers) = (Some("HF_HUB_OFFLINE"), Some("TRANSFORMERS_OFFLINE"));
    for (hub_value, transformers_value, expected) in [
        (None, None, None),
        (Some("1"), None, hub),
        (Some("true"), None, hub),
        (Some("TRUE"), None, hub),
        (Some("Yes"), None, hub),
        (Some("on"), None, hub),
        (Some("0"), None, None),
        (Some("false"), None, None),
        (Some("no"), None, None),
        (Some("2"), None, None),
        (Some(" 1"), None, None),
        (Some("y"), None, None),
        (Some(""), None, None),
        (None, Some("1"), transformers),
        (None, Some("ON"), transformers),
        (None, Some("0"), None),
        (Some(""), Some("1"), transformers),
        // The first one that is set decides.
        (Some("0"), Some("1"), None),
        (Some("1"), Some("0"), hub),
    ] {
        let both = [
            ("HF_HUB_OFFLINE", hub_value),
            ("TRANSFORMERS_OFFLINE", transformers_value),
        ];
        let set = both
            .iter()
            .filter_map(|(name, value)| Some((*name, (*value)?)));
        let variables: Vec<(&str, &str)> = set.collect();
        assert_eq!(of(&variables).offline, expected, "{variables:?}");
    }
}

#[test]
fn the_hub_has_the_address_that_is_set() {
    for (variables, endpoint) in [
        (&[][..], "https://huggingface.co"),
        (&[("HF_ENDPOINT", "")], "https://huggingface.co"),
        (
            &[("HF_ENDPOINT", "https://mirror.example")],
            "https://mirror.example",
        ),
        (
            &[("HF_ENDPOINT", "https://mirror.example//")],
            "https://mirror.example",
        ),
        (
            &[("HF_ENDPOINT", "http://localhost:80/hf/")],
            "http://localhost:80/hf",
        ),
        (
            &[
                ("HUGGINGFACE_CO_STAGING", "1"),
                ("HF_ENDPOINT", "https://mirror.example"),
            ],
            "https://hub-ci.huggingface.co",
        ),
    ] {
        assert_eq!(of(variables).endpoint, endpoint, "{variables:?}");
    }
}

#[test]
fn the_token_is_found_and_never_printed() {
    let home = tempfile::tempdir().unwrap();
    let files = [
        ("hf/token", "of-file\n"),
        ("other", " of-path \r\n"),
        ("empty/token", "\n"),
    ];
    write_files(home.path(), files);
    for (variables, token) in [
        (&[][..], None),
        (&[("HF_TOKEN", "of-variable")], Some("of-variable")),
        (&[("HF_TOKEN", " of-\nvariable\r\n")], Some("of-variable")),
        (&[("HUGGING_FACE_HUB_TOKEN", "hf_old")], Some("hf_old")),
        (
            &[("HF_TOKEN", "hf_new"), ("HUGGING_FACE_HUB_TOKEN", "hf_old")],
            Some("hf_new"),
        ),
        (
            &[("HF_TOKEN", ""), ("HUGGING_FACE_HUB_TOKEN", "hf_old")],
            Some("hf_old"),
        ),
        (&[("HF_HOME", "~/hf")], Some("of-file")),
        (&[("HF_HOME", "~/empty")], None),
        (
            &[("HF_HOME", "~/hf"), ("HF_TOKEN", "hf_new")],
            Some("hf_new"),
        ),
        (&[("HF_HOME", "~/hf"), ("HF_TOKEN", " \n")], Some("of-file")),
        (
            &[("HF_HOME", "~/hf"), ("HF_TOKEN_PATH", "~/other")],
            Some("of-path"),
        ),
        (&[("HF_TOKEN_PATH", "$X/other"), ("X", "~")], None),
        (&[("HF_TOKEN_PATH", "~/missing")], None),
        // A folder in its place.
        (&[("HF_TOKEN_PATH", "~/hf")], None),
        (
            &[
                ("HF_TOKEN", "hf_new"),
                ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"),
            ],
            None,
        ),
        (
            &[
                ("HF_HOME", "~/hf"),
                ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "Yes"),
            ],
            None,
        ),
        (
            &[
                ("HF_TOKEN", "hf_new"),
                ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0"),
            ],
            Some("hf_new"),
        ),
    ] {
        let environment = Environment::new(home.path(), variables.iter().copied());
        let settings = HubSettings::from_environment(&environment);
        assert_eq!(settings.token.as_deref(), token, "{variables:?}");
        if let Some(token) = token {
            assert!(!format!("{settings:?}").contains(token), "{settings:?}");
        }
    }
}

#[test]
fn waiting_and_progress_are_set() {
    for (seconds, expected) in [("3", 3), ("0", 10), ("", 10), ("soon", 10), (" 7 ", 7)] {
        let settings = of(&[("HF_HUB_ETAG_TIMEOUT", seconds)]);
        assert_eq!(
            settings.timeout,
            Duration::from_secs(expected),
            "{seconds:?}"
        );
    }
    for (value, shows) in [("1", false), ("true", false), ("0", true), ("", true)] {
        let settings = of(&[("HF_HUB_DISABLE_PROGRESS_BARS", value)]);
        assert_eq!(settings.shows_progress, shows, "{value:?}");
    }
}
