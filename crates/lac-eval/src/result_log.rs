//! Files of results: JSON lines that are only appended to.
//!
//! The first lines hold the settings, one line for each variant; every other line is a [`Record`].
//! A process that is killed leaves at most a torn last line, which the next run removes. The file
//! is locked while it is written, and the lock ends with the process, whatever ends it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lac_files::{LineEnds, is_busy, open_locked, text_of};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::excerpt::excerpt;
use crate::item::ItemId;
use crate::record::Record;
use crate::settings::Settings;

/// How often data is forced to the disk; it is at the end, too.
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// The first lines of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    settings: Settings,
    hash: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Header(Box<Header>),
    Record(Box<Record>),
}

/// The contents of a file of results.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Results {
    /// The settings of each variant, in the order they were run.
    pub settings: Vec<Settings>,
    /// The records, in the order they were made, one per question and variant.
    pub records: Vec<Record>,
}

impl Results {
    /// Reads a file. A torn last line is left out: it is still being written, or its process was
    /// killed.
    ///
    /// # Errors
    /// [`Error::Read`] for a file that cannot be read; [`Error::Line`] for a line that is neither
    /// settings nor a result.
    pub fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|source| Error::Read {
                file: path.to_owned(),
                source,
            })?;
        keep_complete_lines(path, &mut bytes)?;
        parse(path, bytes)
    }

    /// Returns the records of a variant.
    pub fn of<'a>(&'a self, settings: &Settings) -> impl Iterator<Item = &'a Record> + use<'a> {
        let hash = settings.hash();
        self.records
            .iter()
            .filter(move |record| record.settings == hash)
    }

    /// Returns the file's text: settings, then records by variant and row.
    pub fn to_lines(&self) -> String {
        let places: HashMap<String, usize> = self
            .settings
            .iter()
            .enumerate()
            .map(|(i, settings)| (settings.hash(), i))
            .collect();
        let mut records: Vec<&Record> = self.records.iter().collect();
        records.sort_by_key(|record| (places.get(&record.settings), record.row));
        let mut text = headers(&self.settings);
        records
            .iter()
            .for_each(|record| text.push_str(&line(record)));
        text
    }
}

fn line(value: &impl Serialize) -> String {
    // Plain data with text keys: this cannot fail.
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

fn headers(settings: &[Settings]) -> String {
    settings
        .iter()
        .map(|settings| {
            line(&Header {
                hash: settings.hash(),
                settings: settings.clone(),
            })
        })
        .collect()
}

/// How every file of results begins.
const BEGINNING: &[u8] = b"{\"settings\":";

/// Leaves a torn last line out.
///
/// # Errors
/// [`Error::Line`] for a file of one line that is not the beginning of settings: it is somebody else's.
fn keep_complete_lines(path: &Path, bytes: &mut Vec<u8>) -> Result<()> {
    let end = bytes.iter().rposition(|&byte| byte == b'\n');
    if end.is_none() && !(bytes.starts_with(BEGINNING) || BEGINNING.starts_with(bytes)) {
        return Err(Error::Line {
            file: path.to_owned(),
            line: 1,
            reason: NEITHER.to_owned(),
        });
    }
    bytes.truncate(end.map_or(0, |end| end + 1));
    Ok(())
}

/// What a line is that this program did not write.
const NEITHER: &str = "neither settings nor a result of this program";

/// Parses complete lines, also those of a file that an editor has saved again.
fn parse(path: &Path, bytes: Vec<u8>) -> Result<Results> {
    let text = text_of(bytes, LineEnds::AsWritten).map_err(|source| Error::Read {
        file: path.to_owned(),
        source,
    })?;
    let mut results = Results::default();
    let mut hashes = HashSet::new();
    let mut seen: HashSet<(ItemId, String)> = HashSet::new();
    for (i, text) in text.lines().enumerate() {
        if text.trim().is_empty() {
            continue;
        }
        let fail = |reason: String| Error::Line {
            file: path.to_owned(),
            line: i + 1,
            reason,
        };
        let line = serde_json::from_str(text).map_err(|_| fail(NEITHER.to_owned()))?;
        match line {
            Line::Header(header) => {
                let hash = header.settings.hash();
                if hash != header.hash {
                    return Err(fail(format!(
                        "its hash is {}, and that of its settings {hash}: they were changed, or \
                         another version wrote them",
                        excerpt(&header.hash)
                    )));
                }
                hashes.insert(hash);
                results.settings.push(header.settings);
            }
            Line::Record(record) => {
                if !hashes.contains(&record.settings) {
                    let hash = excerpt(&record.settings);
                    return Err(fail(format!("no line before it holds the settings {hash}")));
                }
                record.check().map_err(fail)?;
                if seen.insert((record.item.clone(), record.settings.clone())) {
                    results.records.push(*record);
                }
            }
        }
    }
    Ok(results)
}

/// A file of results that is being written, or results in memory.
#[derive(Debug)]
pub struct ResultLog {
    file: Option<LogFile>,
    results: Results,
    hashes: Vec<String>,
    done: HashSet<(ItemId, usize)>,
}

#[derive(Debug)]
struct LogFile {
    file: File,
    /// Bytes of complete lines.
    len: u64,
    path: PathBuf,
    synced: Instant,
}

impl ResultLog {
    /// Keeps results in memory only.
    pub fn in_memory(settings: Vec<Settings>) -> Self {
        let hashes = settings.iter().map(Settings::hash).collect();
        Self {
            file: None,
            results: Results {
                settings,
                records: Vec::new(),
            },
            hashes,
            done: HashSet::new(),
        }
    }

    /// Opens a file of results, or starts one, and locks it.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process writes to the file; [`Error::OtherSettings`] when it
    /// was started with other settings, naming the differences; [`Error::Line`] for a line that is
    /// neither settings nor a result; [`Error::Write`].
    pub fn open(path: &Path, settings: Vec<Settings>) -> Result<Self> {
        let failed = |source| Error::Write {
            file: path.to_owned(),
            source,
        };
        let mut file = open_locked(path).map_err(|error| match is_busy(&error) {
            Some(busy) => Error::Locked {
                file: path.to_owned(),
                source: busy.clone(),
            },
            None => failed(error),
        })?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let n_bytes = bytes.len();
        keep_complete_lines(path, &mut bytes)?;
        let n_complete = bytes.len();
        let results = parse(path, bytes)?;
        check_settings(path, &results.settings, &settings)?;
        if n_complete < n_bytes {
            file.set_len(n_complete as u64).map_err(failed)?;
        }
        let mut log = Self {
            file: Some(LogFile {
                file,
                len: n_complete as u64,
                path: path.to_owned(),
                synced: Instant::now(),
            }),
            ..Self::in_memory(settings)
        };
        let missing = headers(&log.results.settings[results.settings.len()..]);
        log.write(&missing)?;
        log.sync()?;
        log.take(results.records);
        Ok(log)
    }

    /// Returns whether a question has a result for a variant, given by its place among the
    /// settings.
    pub fn has(&self, item: &ItemId, variant: usize) -> bool {
        self.done.contains(&(item.clone(), variant))
    }

    /// Returns the hashes of the variants' settings.
    pub fn hashes(&self) -> &[String] {
        &self.hashes
    }

    /// Returns the results so far.
    pub fn results(&self) -> &Results {
        &self.results
    }

    /// Returns the results and closes the file.
    pub fn into_results(self) -> Results {
        self.results
    }

    /// Appends records in one write.
    ///
    /// # Errors
    /// [`Error::Write`], for instance when the disk is full. Earlier records stay in the file.
    pub fn append(&mut self, records: Vec<Record>) -> Result<()> {
        let text: String = records.iter().map(line).collect();
        self.write(&text)?;
        if self
            .file
            .as_ref()
            .is_some_and(|file| file.synced.elapsed() > SYNC_EVERY)
        {
            self.sync()?;
        }
        self.take(records);
        Ok(())
    }

    /// Forces the records to the disk.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn sync(&mut self) -> Result<()> {
        if let Some(LogFile {
            file, path, synced, ..
        }) = &mut self.file
        {
            file.sync_data().map_err(|source| Error::Write {
                file: path.clone(),
                source,
            })?;
            *synced = Instant::now();
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<()> {
        if let Some(log) = &mut self.file {
            if let Err(source) = log.file.write_all(text.as_bytes()) {
                // A torn line is removed at once, because nothing may be written after it.
                let _ = log.file.set_len(log.len);
                return Err(Error::Write {
                    file: log.path.clone(),
                    source,
                });
            }
            log.len += text.len() as u64;
        }
        Ok(())
    }

    fn take(&mut self, records: Vec<Record>) {
        for record in records {
            if let Some(variant) = self.hashes.iter().position(|hash| *hash == record.settings) {
                self.done.insert((record.item.clone(), variant));
            }
            self.results.records.push(record);
        }
    }
}

/// The largest number of differences that an error lists.
const MOST_DIFFERENCES: usize = 20;

/// Checks that a file's settings are the first of those asked for. They are all of them, unless the
/// file's process was killed while it wrote them.
fn check_settings(path: &Path, before: &[Settings], now: &[Settings]) -> Result<()> {
    let mut differences = Vec::new();
    for (before, now) in before.iter().zip(now) {
        differences.extend(before.differences(now));
    }
    for extra in before.get(now.len()..).unwrap_or_default() {
        differences.push(format!(
            "{}: in the file, not asked for now",
            extra.policy.label()
        ));
    }
    if differences.is_empty() {
        return Ok(());
    }
    let n_more = differences.len().saturating_sub(MOST_DIFFERENCES);
    differences.truncate(MOST_DIFFERENCES);
    if n_more > 0 {
        differences.push(format!("and {n_more} more"));
    }
    let differences: Vec<String> = differences.iter().map(|line| excerpt(line)).collect();
    Err(Error::OtherSettings {
        file: path.to_owned(),
        differences: differences.join("\n"),
    })
}
