//! A token × layer picture for the terminal.

use std::fmt::Write;

use anstyle::{AnsiColor, Style as AnsiStyle};
use lac_core::Phase;

use crate::display::on_one_line;
use crate::recorder::PhaseTrace;

/// How a picture is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Style {
    /// Characters only.
    Plain,
    /// With ANSI colours. Who prints decides whether they are shown: `anstream` heeds `NO_COLOR`
    /// and takes them out where the output is not a terminal.
    #[default]
    Coloured,
}

/// Characters a token's text may take.
const LABEL_WIDTH: usize = 14;

/// Draws one line per token and one column per layer: `█` where the layer was active, `·` where
/// it was void, with the number of active layers at the end of the line.
///
/// `pieces` are the tokens' texts, in the order of the trace.
pub fn heat_map(trace: &PhaseTrace, pieces: &[String], style: Style) -> String {
    let lines = TokenLines::new(trace.active.len(), style);
    let mut picture = String::new();
    let mut flags = Vec::with_capacity(trace.active.len());
    for (token_idx, piece) in pieces.iter().enumerate().take(trace.n_tokens()) {
        flags.clear();
        flags.extend(trace.active.iter().map(|layer| layer[token_idx] == 1));
        picture.push_str(&lines.line(piece, &flags, AnsiColor::Green));
    }
    picture
}

/// Draws tokens as lines of a terminal, as [`heat_map`] does, into a given width.
///
/// Where the width is too small for a column per layer, several successive layers share one: the
/// fuller the block, the more of them are active.
///
/// ```
/// use lac_core::Phase;
/// use lac_trace::picture::{Style, TokenLines};
///
/// let flags = [true, true, true, false, false, false, false, true];
/// let wide = TokenLines::new(8, Style::Plain);
/// assert_eq!(wide.token("Once", &flags, Phase::Prompt), "          Once ███····█   4/8\n");
/// // 26 characters leave room for four columns.
/// let narrow = wide.with_width(26);
/// assert_eq!(narrow.token("Once", &flags, Phase::Prompt), "          Once █▒·▒   4/8\n");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TokenLines {
    n_layers: usize,
    /// Layers that share a column.
    per_column: usize,
    style: Style,
}

impl TokenLines {
    /// TokenLines of any width.
    pub fn new(n_layers: usize, style: Style) -> Self {
        Self {
            n_layers,
            per_column: 1,
            style,
        }
    }

    /// Sets the greatest number of characters in a line; a line needs room for its label and one column at least.
    pub fn with_width(self, width: usize) -> Self {
        // The label, the count and the spaces around the columns.
        let tally = format!(" {:>3}/{}", 0, self.n_layers).len();
        let room = width.saturating_sub(LABEL_WIDTH + 1 + tally).max(1);
        Self {
            per_column: self.n_layers.div_ceil(room).max(1),
            ..self
        }
    }

    /// Layers that share a column.
    pub fn layers_per_column(&self) -> usize {
        self.per_column
    }

    /// Returns a token's line, its end included; the prompt's and the response's have colours of their own.
    pub fn token(&self, piece: &str, active: &[bool], phase: Phase) -> String {
        let colour = match phase {
            Phase::Prompt => AnsiColor::Cyan,
            Phase::Response => AnsiColor::Yellow,
        };
        self.line(piece, active, colour)
    }

    fn line(&self, piece: &str, active: &[bool], colour: AnsiColor) -> String {
        let mut line = format!("{} ", label(piece));
        for layers in active.chunks(self.per_column) {
            let n_active = layers.iter().filter(|&&active| active).count();
            let mark = match (4 * n_active).div_ceil(layers.len()) {
                0 => '·',
                1 => '░',
                2 => '▒',
                3 => '▓',
                _ => '█',
            };
            match self.style {
                Style::Plain => line.push(mark),
                Style::Coloured => {
                    let colour = if n_active > 0 {
                        colour
                    } else {
                        AnsiColor::BrightBlack
                    };
                    let paint = AnsiStyle::new().fg_color(Some(colour.into()));
                    let _ = write!(line, "{paint}{mark}{paint:#}");
                }
            }
        }
        let n_active = active.iter().filter(|&&active| active).count();
        let _ = writeln!(line, " {n_active:>3}/{}", self.n_layers);
        line
    }
}

/// Returns a token's text, made visible, cut and padded to a fixed number of characters.
fn label(piece: &str) -> String {
    let visible = on_one_line(piece);
    let mut cut: String = visible.chars().take(LABEL_WIDTH).collect();
    if visible.chars().count() > LABEL_WIDTH {
        cut.pop();
        cut.push('…');
    }
    format!("{cut:>LABEL_WIDTH$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_per_token_and_a_column_per_layer() {
        let trace = PhaseTrace {
            token_ids: vec![1, 2],
            active: vec![vec![1, 0], vec![0, 0], vec![1, 1]],
            ..PhaseTrace::default()
        };
        let pieces = ["a\n".to_owned(), "a very long token".to_owned()];
        let expected = "            a↵ █·█   2/3\na very long t… ··█   1/3\n";
        assert_eq!(heat_map(&trace, &pieces, Style::Plain), expected);
        assert!(heat_map(&trace, &pieces, Style::Coloured).contains("\u{1b}["));
    }

    #[test]
    fn lines_keep_to_their_width() {
        let flags: Vec<bool> = (0..80).map(|layer| layer % 3 == 0).collect();
        for width in [24, 40, 60, 80, 120] {
            let lines = TokenLines::new(80, Style::Plain).with_width(width);
            let line = lines.token("Once upon a time", &flags, Phase::Response);
            assert!(line.trim_end().chars().count() <= width, "{width}: {line}");
            assert!(line.ends_with(" 27/80\n"), "{line}");
        }
    }
}
