//! Progress on stderr; nothing is drawn when stderr is not a terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use lac_eval::run::Progress;
use lac_models::checkpoint::LoadProgress;

use crate::output::note;

/// Shows a bar while weights are loaded.
pub fn while_loading<T>(load: impl FnOnce(&mut dyn FnMut(LoadProgress)) -> T) -> T {
    let bar = bar("loading {bar:32} {bytes}/{total_bytes} {binary_bytes_per_sec}");
    let result = load(&mut |progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes_read);
    });
    bar.finish_and_clear();
    result
}

/// Shows a counter while tokens are generated.
pub fn generating(max_new_tokens: usize) -> ProgressBar {
    let bar = bar("generating {bar:32} {pos}/{len} tokens {per_sec}");
    bar.set_length(max_new_tokens as u64);
    bar
}

/// Shows a counter of bytes whose end is not known.
pub fn bytes(what: &'static str) -> ProgressBar {
    let bar = bar("{msg} {bytes} {binary_bytes_per_sec}");
    bar.set_message(what);
    bar
}

/// Shows how many of some things are done.
pub fn counting(what: &'static str, total: usize) -> ProgressBar {
    let bar = bar("{msg} {bar:32} {pos}/{len}");
    bar.set_message(what);
    bar.set_length(total as u64);
    bar
}

/// Shows how far a benchmark is: questions, time left, accuracy so far. Without a terminal, as in
/// the log of a batch job, a line a minute.
pub struct Answering {
    bar: ProgressBar,
    labels: Vec<String>,
    last_line: Instant,
    is_terminal: bool,
}

/// Between two lines of a log.
const LINE_EVERY: Duration = Duration::from_secs(60);

impl Answering {
    /// Starts at no question; `labels` are the variants' names.
    pub fn new(labels: Vec<String>) -> Self {
        Self {
            bar: bar("answering {bar:24} {pos}/{len} {wide_msg}"),
            labels,
            last_line: Instant::now(),
            is_terminal: std::io::stderr().is_terminal(),
        }
    }

    pub fn show(&mut self, progress: &Progress) {
        let left = progress.time_left().map_or(String::new(), |left| {
            format!("{} left", HumanDuration(left))
        });
        let shares: Vec<String> = self
            .labels
            .iter()
            .zip(&progress.right)
            .filter(|(_, (_, n))| *n > 0)
            .map(|(label, (n_right, n))| {
                format!("{label}: {:.1} %", 100.0 * *n_right as f64 / *n as f64)
            })
            .collect();
        let message = format!("{left}  {}", shares.join("; "));
        if self.is_terminal {
            self.bar.set_length(progress.n_total as u64);
            self.bar.set_position(progress.n_done as u64);
            self.bar.set_message(message);
        } else if self.last_line.elapsed() > LINE_EVERY {
            self.last_line = Instant::now();
            note!("{}/{}  {message}", progress.n_done, progress.n_total);
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn bar(template: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    // The templates are the constants above; one that does not parse leaves the default bar.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
