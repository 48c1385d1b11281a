//! Progress on stderr; nothing is drawn when stderr is not a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use lac_models::LoadProgress;

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

/// Shows how many of some things are done.
pub fn counting(what: &'static str, total: usize) -> ProgressBar {
    let bar = bar("{msg} {bar:32} {pos}/{len}");
    bar.set_message(what);
    bar.set_length(total as u64);
    bar
}

fn bar(template: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    // The templates are the constants above; one that does not parse leaves the default bar.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
