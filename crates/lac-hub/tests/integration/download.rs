//! Downloads from a hub on this machine, which notes what it is asked.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use lac_hub::{HubError, SnapshotChoice, find};
use serde_json::json;

use crate::wanted::Files;
use crate::{COMMIT, OTHER, model, repository_folder, settings, write_files};

/// A hub with one model, `org/name`.
struct Hub {
    address: String,
    /// The paths that were asked for, with the tokens.
    requests: Requests,
}

/// Paths that were asked for, with the tokens.
type Requests = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// The files of the model and their texts.
type Texts = &'static [(&'static str, &'static str)];

impl Hub {
    fn with(files: Texts) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = answer(stream, files, &noted);
            }
        });
        Self { address, requests }
    }

    fn take_requests(&self) -> Vec<(String, Option<String>)> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

fn answer(
    mut stream: TcpStream,
    files: Texts,
    noted: &Mutex<Vec<(String, Option<String>)>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut token, mut is_look) = (None, false);
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("authorization: ") {
            token = Some(value.to_owned());
        }
        is_look |= line == "range: bytes=0-0";
    }
    noted.lock().unwrap().push((path.clone(), token));
    let mut send = |status: &str, headers: &str, body: &str| {
        write!(
            stream,
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        )
    };
    if path.starts_with("/api/models/org/name/revision/") {
        let siblings: Vec<_> = files
            .iter()
            .map(|(name, _)| json!({"rfilename": name}))
            .collect();
        let body = json!({"sha": COMMIT, "siblings": siblings}).to_string();
        return send("200 OK", "", &body);
    }
    let name = path.strip_prefix(&format!("/org/name/resolve/{COMMIT}/"));
    match files.iter().find(|(file, _)| Some(*file) == name) {
        None => send("404 Not Found", "", "Entry not found"),
        Some((name, text)) => {
            let len = text.len();
            let headers = format!(
                "ETag: \"e-{name}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes 0-0/{len}\r\n"
            );
            let body = if is_look { &text[..1] } else { text };
            send("206 Partial Content", &headers, body)
        }
    }
}

const WHOLE: Texts = &[
    ("a", "text of a"),
    ("b", "text of b"),
    ("c", "text of c"),
    ("d", "large"),
];
const NO_OPTIONAL: Texts = &[("a", "text of a"), ("b", "text of b"), ("d", "large")];

#[test]
fn what_the_cache_lacks_is_downloaded_once() {
    let hub = Hub::with(WHOLE);
    let home = tempfile::tempdir().unwrap();
    let slash = format!("{}/", hub.address);
    let variables = [
        ("HF_ENDPOINT", slash.as_str()),
        ("HF_TOKEN", "me"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
    ];
    let online = settings(home.path(), &variables);
    let found = find(&online, &model("org/name"), &Files).unwrap();
    assert_eq!(
        (found.commit(), found.choice()),
        (COMMIT, SnapshotChoice::Named)
    );
    for (name, text) in WHOLE {
        let read = fs::read_to_string(found.folder().join(name)).ok();
        assert_eq!(read.as_deref(), (*name != "d").then_some(*text), "{name}");
    }
    let folder = repository_folder(home.path());
    assert_eq!(
        fs::read_to_string(folder.join("refs/main")).unwrap(),
        COMMIT
    );
    let references: Vec<_> = fs::read_dir(folder.join("refs")).unwrap().collect();
    assert_eq!(references.len(), 1, "{references:?}");
    let requests = hub.take_requests();
    assert_eq!(requests[0].0, "/api/models/org/name/revision/main");
    assert!(
        requests
            .iter()
            .all(|(_, token)| token.as_deref() == Some("bearer me")),
        "{requests:?}"
    );
    // Everything is there now, under any name of the revision.
    for id in ["org/name", "org/name@main", "org/name@5f0b02c"] {
        assert_eq!(find(&online, &model(id), &Files).unwrap(), found);
    }
    assert_eq!(hub.take_requests(), []);
}

#[test]
fn offline_asks_no_hub() {
    let hub = Hub::with(WHOLE);
    let home = tempfile::tempdir().unwrap();
    for variable in [("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_OFFLINE", "true")] {
        let offline = settings(home.path(), &[("HF_ENDPOINT", &hub.address), variable]);
        let error = find(&offline, &model("org/name"), &Files).unwrap_err();
        assert!(error.to_string().contains(variable.0), "{error}");
        let snapshot = repository_folder(home.path()).join("snapshots").join(OTHER);
        write_files(&snapshot, [("a", ""), ("b", "")]);
        assert!(find(&offline, &model("org/name"), &Files).is_ok());
        fs::remove_dir_all(home.path().join("hub")).unwrap();
    }
    assert_eq!(hub.take_requests(), []);
}

#[test]
fn a_snapshot_is_completed_and_its_absent_files_are_noted() {
    for (files, has_optional) in [(WHOLE, true), (NO_OPTIONAL, false)] {
        let hub = Hub::with(files);
        let home = tempfile::tempdir().unwrap();
        let folder = repository_folder(home.path());
        write_files(&folder, [("refs/main", COMMIT)]);
        let snapshot = folder.join("snapshots").join(COMMIT);
        write_files(&snapshot, [("a", "mine"), ("b", "mine")]);
        let variables = [
            ("HF_ENDPOINT", hub.address.as_str()),
            ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"),
            ("HF_TOKEN", "me"),
        ];
        let online = settings(home.path(), &variables);
        find(&online, &model("org/name"), &Files).unwrap();
        assert_eq!(fs::read_to_string(snapshot.join("a")).unwrap(), "mine");
        assert_eq!(snapshot.join("c").exists(), has_optional);
        let requests = hub.take_requests();
        assert!(
            !requests.is_empty() && requests.iter().all(|(_, token)| token.is_none()),
            "{requests:?}"
        );
        find(&online, &model("org/name"), &Files).unwrap();
        assert_eq!(hub.take_requests(), []);
    }
}

#[test]
fn the_hub_says_which_commit_main_is_at() {
    let hub = Hub::with(WHOLE);
    let home = tempfile::tempdir().unwrap();
    let snapshots = repository_folder(home.path()).join("snapshots");
    write_files(&snapshots.join(OTHER), [("a", ""), ("b", ""), ("c", "")]);
    let online = settings(home.path(), &[("HF_ENDPOINT", &hub.address)]);
    let found = find(&online, &model("org/name"), &Files).unwrap();
    assert_eq!(
        (found.commit(), found.choice()),
        (COMMIT, SnapshotChoice::Named)
    );
}

#[test]
fn a_repository_that_cannot_be_used_is_not_downloaded() {
    let hub = Hub::with(&[("d", "large"), ("b", "text of b")]);
    let home = tempfile::tempdir().unwrap();
    let online = settings(home.path(), &[("HF_ENDPOINT", &hub.address)]);
    let error = find(&online, &model("org/name"), &Files).unwrap_err();
    assert!(matches!(error, HubError::Unusable { .. }), "{error:?}");
    assert_eq!(error.to_string(), "org/name: it has no a");
    assert_eq!(hub.take_requests().len(), 1);
    assert!(!repository_folder(home.path()).exists());
    // Its checks pass, and a file that is needed is not there.
    let hub = Hub::with(&[("a", "text of a")]);
    let online = settings(home.path(), &[("HF_ENDPOINT", &hub.address)]);
    let error = find(&online, &model("org/name"), &Files).unwrap_err();
    assert!(error.to_string().contains("does not hold b"), "{error}");
}

#[test]
fn a_refusal_is_explained() {
    let hub = Hub::with(WHOLE);
    let home = tempfile::tempdir().unwrap();
    let online = settings(home.path(), &[("HF_ENDPOINT", &hub.address)]);
    let error = find(&online, &model("org/other"), &Files).unwrap_err();
    let message = error.to_string();
    for part in ["org/other", "no such repository", &hub.address, "no folder"] {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

#[test]
fn a_hub_that_is_silent_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let home = tempfile::tempdir().unwrap();
    let variables = [
        ("HF_ENDPOINT", address.as_str()),
        ("HF_HUB_ETAG_TIMEOUT", "1"),
    ];
    let error = find(
        &settings(home.path(), &variables),
        &model("org/name"),
        &Files,
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("did not answer within 1 second"),
        "{error}"
    );
}
