//! A run that is killed leaves what it had written.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lac_core::{Observer, Pass};
use lac_trace::file::{FlushLimits, TraceState};
use lac_trace::{Statistics, TraceReader, TraceWriter};
use tempfile::TempDir;

use super::support::{Noise, info, record, tokens};

const LAYERS: usize = 6;

/// Where the child of `a_killed_run_can_be_read` writes; only the parent sets it.
const CHILD: &str = "LAC_TEST_TRACE_OF_CHILD";

fn passes() -> impl Iterator<Item = lac_core::PassRecord> {
    let mut noise = Noise::new(11);
    let mut pass = Pass::prompt(&[[1, 2, 3]], 0).unwrap();
    std::iter::from_fn(move || {
        let record = record(pass.clone(), LAYERS, &mut noise);
        pass = pass.next(vec![noise.below(50) as u32], vec![false]);
        Some(record)
    })
}

/// Not a test: what the child process does, until it is killed.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let limits = FlushLimits {
        bytes: 4096,
        after: Duration::from_secs(3600),
    };
    let mut writer = TraceWriter::create(Path::new(&path), info(LAYERS))
        .unwrap()
        .with_limits(limits);
    for record in passes() {
        writer.pass(&record).unwrap();
    }
}

#[test]
fn a_killed_run_can_be_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trace.parquet");
    let parts = folder.path().join("trace.parquet.parts");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "interrupted::child", "--nocapture"])
        .env(CHILD, &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let n_parts = |folder: &PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("part-"))
            .count()
    };
    while n_parts(&parts) < 5 {
        assert!(start.elapsed() < Duration::from_secs(60), "no parts came");
        std::thread::sleep(Duration::from_millis(2));
    }
    // On Unix this is SIGKILL: nothing is left to the child to clean up.
    child.kill().unwrap();
    child.wait().unwrap();

    assert!(!path.exists());
    let trace = TraceReader::open(&parts).unwrap();
    assert_eq!(trace.state(), TraceState::Interrupted);
    assert!(trace.n_tokens() > 50);
    let found = tokens(&trace);
    assert_eq!(found.len() as u64, trace.n_tokens());
    let positions: Vec<u32> = found.iter().map(|token| token.place.2).collect();
    let expected: Vec<u32> = (0..found.len() as u32).collect();
    assert_eq!(positions, expected, "no token is missing in between");
    let mut first = found.iter();
    for record in passes().take_while(|record| record.pass.past() < found.len()) {
        let gate = record.gate.as_ref().unwrap();
        for (row, slot) in record.counted() {
            let token = first.next().unwrap();
            for layer in 0..LAYERS {
                assert_eq!(token.norms[layer], gate.norms[record.at(layer, row, slot)]);
            }
        }
    }
    assert_eq!(
        Statistics::of(&trace).unwrap().phases.response.n_tokens,
        trace.n_tokens() - 3
    );

    // It is not written over, and can be made whole.
    let error = TraceWriter::create(&path, info(LAYERS)).err().unwrap();
    assert!(
        error.to_string().contains("trace.parquet.parts holds what"),
        "{error}"
    );
    assert_eq!(trace.write_parquet(&path).unwrap(), trace.n_tokens());
    let whole = TraceReader::open(&path).unwrap();
    assert_eq!(whole.state(), TraceState::Complete);
    assert_eq!(tokens(&whole), found);
}

/// An error on the way ends a run too: what was recorded before it is kept.
#[test]
fn a_dropped_recorder_leaves_its_parts() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trace.parquet");
    let mut writer = TraceWriter::create(&path, info(LAYERS)).unwrap();
    for record in passes().take(4) {
        writer.pass(&record).unwrap();
    }
    drop(writer);
    let trace = TraceReader::open(&folder.path().join("trace.parquet.parts")).unwrap();
    assert_eq!(trace.n_tokens(), 6);
}

/// Three batches of two prompts each: two fed tokens of the prompt, and one or more of the response.
fn batch(first: u32, n_passes: usize) -> Vec<lac_core::PassRecord> {
    let mut noise = Noise::new(u64::from(first) + 1);
    let mut pass = Pass::prompt(&[[first, 2], [first + 1, 3]], 0).unwrap();
    let records = (0..n_passes).map(|_| {
        let record = record(pass.clone(), LAYERS, &mut noise);
        pass = pass.next(vec![noise.below(50) as u32; 2], vec![false; 2]);
        record
    });
    records.collect()
}

/// Ended at any pass, flushed or not, a run that goes on is the run that was not interrupted.
#[test]
fn an_interrupted_run_goes_on_with_whole_sequences() {
    let batches: Vec<_> = [(0, 3), (2, 5), (4, 2)]
        .map(|(first, n_passes)| batch(first, n_passes))
        .into();
    let run = |writer: &mut TraceWriter<'_>, mut passes_left: usize| {
        for (idx, batch) in batches.iter().enumerate() {
            if (2 * idx as u32) < writer.n_sequences() {
                continue;
            }
            for record in batch {
                if passes_left == 0 {
                    return;
                }
                passes_left -= 1;
                writer.pass(record).unwrap();
            }
            writer.unfed(2 * idx as u32, 7);
            writer.sequences_are_whole();
        }
    };
    let folder = TempDir::new().unwrap();
    let whole = folder.path().join("whole.parquet");
    let mut writer = TraceWriter::create(&whole, info(LAYERS)).unwrap();
    run(&mut writer, usize::MAX);
    writer.finish().unwrap();
    let whole = TraceReader::open(&whole).unwrap();

    for n_bytes in [1, 1 << 20] {
        let limits = FlushLimits {
            bytes: n_bytes,
            after: Duration::from_secs(3600),
        };
        for n_passes in 0..10 {
            let path = folder.path().join(format!("{n_bytes}-{n_passes}.parquet"));
            let mut writer = TraceWriter::resume(&path, info(LAYERS))
                .unwrap()
                .with_limits(limits);
            run(&mut writer, n_passes);
            drop(writer);
            let n_whole = match n_passes {
                0..3 => 0,
                3..8 => 2,
                _ => 4,
            };
            let mut writer = TraceWriter::resume(&path, info(LAYERS)).unwrap();
            // What was over is known once something was written after it.
            let n_known = writer.n_sequences();
            assert!(
                n_known == n_whole || (n_bytes == 1 && [3, 8].contains(&n_passes)),
                "{n_known} of {n_whole} after {n_passes} passes"
            );
            run(&mut writer, usize::MAX);
            writer.finish().unwrap();
            let trace = TraceReader::open(&path).unwrap();
            assert_eq!(tokens(&trace), tokens(&whole), "{n_bytes}, {n_passes}");
            assert_eq!(trace.info(), whole.info());
        }
    }
}

#[test]
fn another_run_or_another_writer_is_told_apart() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trace.parquet");
    let mut writer = TraceWriter::create(&path, info(LAYERS)).unwrap();
    let error = TraceWriter::resume(&path, info(LAYERS)).err().unwrap();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.contains("being written by another process"),
        "{source}"
    );
    writer.pass(&batch(0, 1)[0]).unwrap();
    drop(writer);
    let other = info(LAYERS).with_note("run", "another");
    let error = TraceWriter::resume(&path, other).err().unwrap().to_string();
    assert!(error.contains("run: missing there, another now"), "{error}");
    // What could not be gone on with is as it was.
    let parts = folder.path().join("trace.parquet.parts");
    assert_eq!(TraceReader::open(&parts).unwrap().n_tokens(), 4);
}

/// Asking whether a folder holds another run changes nothing in it, unfinished files of a killed process included.
#[test]
fn a_refused_run_leaves_the_folder_as_it_was() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trace.parquet");
    let parts = folder.path().join("trace.parquet.parts");
    let mut writer = TraceWriter::create(&path, info(LAYERS)).unwrap();
    writer.pass(&batch(0, 1)[0]).unwrap();
    drop(writer);
    for file_idx in 0..20 {
        std::fs::write(parts.join(format!(".lac-{file_idx}.tmp")), "half").unwrap();
    }
    let names = || {
        let entries = std::fs::read_dir(&parts).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    assert_eq!(before.len(), 21);
    assert!(TraceWriter::create(&path, info(LAYERS)).is_err());
    assert_eq!(names(), before);
    let other = info(LAYERS).with_note("run", "another");
    assert!(TraceWriter::resume(&path, other).is_err());
    assert_eq!(names(), before);

    // The run itself clears them away: no sequence was finished, so nothing is left.
    drop(TraceWriter::resume(&path, info(LAYERS)).unwrap());
    assert!(!parts.exists());
}
