//! Reports on disk.

use std::path::Path;

use lac_trace::report::{ReportConfig, TerminalConfig};
use lac_trace::{Style, TraceReader, TraceReport};
use tempfile::TempDir;

use super::support::{HOSTILE, Noise, generation, info, write};

fn trace(path: &Path, seed: u64) -> TraceReader {
    let records = generation(&[9, 4], 14, 5, &mut Noise::new(seed));
    write(path, info(5), &records);
    TraceReader::open(path).unwrap()
}

#[test]
fn a_report_has_a_page_the_numbers_and_pictures() {
    let folder = TempDir::new().unwrap();
    let traces = [
        trace(&folder.path().join("one.parquet"), 1),
        trace(&folder.path().join("two.parquet"), 2),
    ];
    let out = folder.path().join("report");
    for (n_traces, expected) in [
        (
            1,
            &[
                "report.html",
                "statistics.json",
                "text.svg",
                "heat-map.png",
                "heat-map.svg",
                "usage.svg",
                "norms.png",
                "alpha.svg",
            ][..],
        ),
        (
            2,
            &[
                "1-text.png",
                "2-alpha.svg",
                "compare-usage-prompt.svg",
                "compare-alpha-response.png",
            ][..],
        ),
    ] {
        let report = TraceReport::read(&traces[..n_traces], &ReportConfig::default()).unwrap();
        let files = report.write(&out).unwrap();
        for name in expected {
            assert!(files.contains(&out.join(name)), "{name} of {files:?}");
        }
        for path in files {
            let bytes = std::fs::read(&path).unwrap();
            match path.extension().unwrap().to_str().unwrap() {
                "png" => check_png(&path, &bytes),
                "svg" => check_svg(&path, &bytes),
                "json" => {
                    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                    assert_eq!(json["traces"].as_array().unwrap().len(), n_traces);
                    assert_eq!(json["traces"][0]["info"]["model"], "noise");
                }
                _ => check_page(&String::from_utf8(bytes).unwrap()),
            }
        }
    }
}

/// A picture with something on it.
fn check_png(path: &Path, bytes: &[u8]) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    assert!(
        frame.width >= 800 && frame.height >= 200,
        "{}",
        path.display()
    );
    let n_inked = pixels[..frame.buffer_size()]
        .chunks(3)
        .filter(|pixel| pixel.iter().any(|&value| value < 200))
        .count();
    assert!(n_inked > 2000, "{} is empty", path.display());
}

/// Well-formed as far as brackets go, and nothing in it is markup that came from a token.
fn check_svg(path: &Path, bytes: &[u8]) {
    let svg = std::str::from_utf8(bytes).unwrap();
    assert!(svg.contains("<svg") && svg.trim_end().ends_with("</svg>"));
    for hostile in ["<script", "<img", "<!--w", "\u{1b}", "\u{0}"] {
        assert!(!svg.contains(hostile), "{} in {}", hostile, path.display());
    }
    assert!(svg.contains("<text"), "{}", path.display());
    if path.ends_with("heat-map.svg") {
        assert!(svg.contains("\nactive\n") && svg.contains("\nvoid\n"));
        // All layers of these traces were run.
        assert!(!svg.contains("\nnot run\n"));
    }
}

/// One data element, whatever the tokens say, and nothing that is loaded from elsewhere.
fn check_page(page: &str) {
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(!page.contains(HOSTILE[4]));
    assert!(!page.contains(['\u{2028}', '\u{2029}', '\u{0}']));
    for elsewhere in ["src=\"http", "href=\"http", "url(", "@import"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    let data = page.split("id=\"data\">").nth(1).unwrap();
    let data = data.split("</script>").next().unwrap();
    let json: serde_json::Value = serde_json::from_str(data).unwrap();
    let pieces = json["traces"][0]["tokens"]["pieces"].to_string();
    assert!(pieces.contains("{{data}}"), "pieces come through unchanged");
}

#[test]
fn the_terminal_shows_both_phases_in_its_width() {
    let folder = TempDir::new().unwrap();
    let traces = [trace(&folder.path().join("one.parquet"), 1)];
    let report = TraceReport::read(&traces, &ReportConfig::default()).unwrap();
    let config = TerminalConfig {
        width: 80,
        max_tokens: 5,
        style: Style::Plain,
    };
    let text = report.to_terminal(&config);
    assert!(text.contains("prompt: 13 tokens"), "{text}");
    assert!(text.contains("response: 27 tokens"), "{text}");
    assert!(text.contains("… 4 more of this sequence"), "{text}");
    assert!(text.contains("other α"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let coloured = report.to_terminal(&TerminalConfig {
        style: Style::Coloured,
        ..config
    });
    assert!(coloured.contains("\u{1b}["));
}
