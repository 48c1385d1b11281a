//! The page in a real browser: that its script runs, draws and answers, at two widths.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lac_trace::report::ReportConfig;
use lac_trace::{TraceReader, TraceReport};
use serde_json::Value;
use tempfile::TempDir;

use super::support::{HOSTILE, Noise, generation, info, routed, routed_info, write};

const LAYERS: usize = 24;

/// Set where a missing browser is a failure: by the checks that every change has to pass.
const REQUIRED: &str = "LAC_REQUIRE_BROWSER";

/// The browser that `LAC_BROWSER` names, or the first that is installed.
fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("LAC_BROWSER") {
        return Some(named.into());
    }
    let names = [
        "chromium-headless-shell",
        "chrome-headless-shell",
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ];
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

/// Looks around in the page and tells the one that frames it.
const VISITOR: &str = r##"<script>
addEventListener('load', () => setTimeout(() => {
  const root = document.documentElement, panel = panels[1];
  const seen = { ...root.dataset, width: innerWidth, overflow: root.scrollWidth - innerWidth };
  seen.title = document.getElementById('title').textContent;
  const key = (name, ctrlKey = false) => panel.scroller.dispatchEvent(new KeyboardEvent('keydown', { key: name, ctrlKey, bubbles: true, cancelable: true }));
  panel.scroller.focus();
  key('ArrowDown'); key('ArrowDown'); key('ArrowRight');
  seen.live = document.getElementById('live').textContent;
  seen.tip = document.getElementById('tip').textContent;
  seen.tipShown = !document.getElementById('tip').hidden;
  key('End', true);
  seen.scrolled = panel.scroller.scrollTop;
  seen.last = document.getElementById('live').textContent;
  key('Escape');
  const box = panel.canvas.getBoundingClientRect();
  panel.scroller.scrollTop = 0;
  panel.scroller.dispatchEvent(new MouseEvent('click', { clientX: box.left + box.width / 2, clientY: box.top + 60, bubbles: true }));
  seen.clicked = document.getElementById('tip').textContent;
  seen.spans = document.querySelectorAll('.text span').length;
  seen.first = document.querySelector('#panel-prompt .text span').textContent;
  const pixels = panel.canvas.getContext('2d').getImageData(0, 0, panel.canvas.width, panel.canvas.height).data;
  const colors = new Set();
  for (let at = 0; at < pixels.length; at += 4) colors.add(pixels.slice(at, at + 4).join());
  seen.colors = colors.size;
  seen.share = panel.share.textContent;
  const alpha = document.getElementById('alpha');
  alpha.value = 0;
  alpha.dispatchEvent(new Event('input'));
  seen.shareAtZero = panel.share.textContent;
  document.querySelector('input[value=delta]').click();
  document.querySelectorAll('#traces button')[1].click();
  seen.second = document.documentElement.dataset.tokens;
  seen.experts = document.querySelectorAll('#experts:not([hidden]) tbody tr').length;
  seen.compared = document.querySelectorAll('#compare-charts svg').length;
  seen.overflowAtEnd = root.scrollWidth - innerWidth;
  seen.errors = root.dataset.errors;
  seen.pwned = window.pwned === undefined ? 'no' : 'yes';
  parent.postMessage(JSON.stringify(seen), '*');
}, 300));
</script></body>"##;

/// Frames of both widths, and what they tell.
const FRAMES: &str = r#"<!doctype html><body><pre id="seen"></pre>
<iframe src="visited.html" style="width:400px;height:900px;border:0"></iframe>
<iframe src="visited.html" style="width:1280px;height:900px;border:0"></iframe>
<script>addEventListener('message', (event) => { document.getElementById('seen').append(event.data + '\n'); });</script></body>"#;

#[test]
fn the_page_runs_in_a_browser() {
    let Some(browser) = browser() else {
        assert!(
            std::env::var_os(REQUIRED).is_none(),
            "no browser was found: install chromium, or name one in LAC_BROWSER"
        );
        eprintln!("skipped: no browser was found; install chromium, or name one in LAC_BROWSER");
        return;
    };
    let folder = TempDir::new().unwrap();
    let long = folder.path().join("long.parquet");
    // Five thousand tokens; the first eight ids are pieces that try to break out.
    let mut records = generation(&[40], 4960, LAYERS, &mut Noise::new(1));
    records.truncate(4961);
    write(&long, info(LAYERS), &records);
    let short = folder.path().join("short.parquet");
    let mut noise = Noise::new(2);
    let records = generation(&[6], 8, LAYERS, &mut noise).into_iter();
    let records: Vec<_> = records.map(|record| routed(record, &mut noise)).collect();
    write(&short, routed_info(LAYERS), &records);
    let traces = [&long, &short].map(|path| TraceReader::open(path).unwrap());
    let report = TraceReport::read(&traces, &ReportConfig::default()).unwrap();
    let page = folder.path().join("report.html");
    report.write_page(&page).unwrap();
    let html = std::fs::read_to_string(&page).unwrap();
    let visited = html.replace("</body>", VISITOR);
    assert_ne!(visited, html);
    std::fs::write(folder.path().join("visited.html"), visited).unwrap();
    std::fs::write(folder.path().join("frames.html"), FRAMES).unwrap();

    for seen in visit(&browser, folder.path()) {
        let text = |key: &str| seen[key].as_str().unwrap_or_default().to_owned();
        let width = seen["width"].as_f64().unwrap();
        let context = format!("{width}: {seen:#}");
        assert_eq!(text("errors"), "[]", "{context}");
        assert_eq!(text("pwned"), "no", "{context}");
        assert_eq!(text("ready"), "1", "{context}");
        assert_eq!(text("tokens"), "5000", "{context}");
        assert_eq!(seen["spans"], 5000, "{context}");
        assert_eq!(seen["overflow"], 0, "{context}");
        assert_eq!(seen["overflowAtEnd"], 0, "{context}");
        assert!(text("charts").parse::<usize>().unwrap() >= 8, "{context}");
        // What is in view is drawn, and not the other thousands of rows.
        let cells: usize = text("cells").parse().unwrap();
        assert!((200..100 * LAYERS).contains(&cells), "{context}");
        assert!(seen["colors"].as_u64().unwrap() > 3, "{context}");
        // The first key selects, the second one walks down, the third to the right.
        assert!(text("live").contains("layer 1: "), "{context}");
        assert!(seen["tipShown"].as_bool().unwrap(), "{context}");
        for word in ["Layer 1: ", "Δ", "λ", "norm", "position 41"] {
            assert!(text("tip").contains(word), "{word} in {context}");
        }
        assert!(seen["scrolled"].as_f64().unwrap() > 90_000.0, "{context}");
        assert!(text("last").contains("layer 23"), "{context}");
        assert!(text("clicked").contains("Layer "), "{context}");
        assert!(
            text("share").starts_with("4\u{202f}960 tokens"),
            "{context}"
        );
        assert_ne!(text("share"), text("shareAtZero"), "{context}");
        assert_eq!(text("second"), "14", "{context}");
        assert_eq!(seen["compared"], 4, "{context}");
        // The second trace has experts in all layers but the first.
        assert_eq!(seen["experts"], 2 * (LAYERS - 1), "{context}");
        assert!(!text("first").is_empty(), "{context}");
    }
    assert!(html.contains("pwned"), "{}", HOSTILE[0]);
}

/// What the page says of itself at 400 and at 1280 pixels.
fn visit(browser: &Path, folder: &Path) -> [Value; 2] {
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--allow-file-access-from-files",
            "--enable-logging=stderr",
            "--virtual-time-budget=20000",
            "--window-size=1400,1000",
            "--dump-dom",
        ])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("profile").display()
        ))
        .arg(format!("file://{}", folder.join("frames.html").display()))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", browser.display()));
    let log = String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(":CONSOLE"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    let dom = String::from_utf8_lossy(&output.stdout);
    let seen = dom
        .split("<pre id=\"seen\">")
        .nth(1)
        .and_then(|rest| rest.split("</pre>").next())
        .unwrap_or_else(|| panic!("{} gave no page: {log}", browser.display()));
    let seen = seen
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&nbsp;", "\u{a0}")
        .replace("&amp;", "&");
    let mut pages: Vec<Value> = seen
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    pages.sort_by_key(|page| page["width"].as_u64());
    let widths: Vec<u64> = pages
        .iter()
        .filter_map(|page| page["width"].as_u64())
        .collect();
    assert_eq!(widths, [400, 1280], "{dom:.3000}\n{log}");
    [pages.remove(0), pages.remove(0)]
}
