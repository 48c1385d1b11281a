//! The Python of docs/traces.md, run on the fixture.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

#[test]
fn the_documented_python_runs() {
    let python = std::env::var_os("LAC_PYTHON").unwrap_or_else(|| "python3".into());
    let has_pandas = Command::new(&python)
        .args(["-c", "import numpy, pandas, pyarrow"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_pandas {
        eprintln!("skipped: {python:?} has no pandas and pyarrow; LAC_PYTHON names another one");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_to_string(root.join("../../docs/traces.md")).unwrap();
    let snippet = docs.split("```python\n").nth(1).unwrap();
    let snippet = snippet.split("```").next().unwrap();
    let folder = TempDir::new().unwrap();
    let fixture = root.join("tests/fixtures/trace.parquet");
    std::fs::copy(fixture, folder.path().join("trace.parquet")).unwrap();
    let output = Command::new(&python)
        .args(["-c", snippet])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(said.contains("demo at alpha 0.4"), "{said}");
    assert!(said.contains("prompt 46 tokens, 33.0 % active"), "{said}");
}
