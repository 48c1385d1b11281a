//! A token × layer picture for the terminal.

use std::fmt::Write;

use anstyle::{AnsiColor, Style as AnsiStyle};

use crate::recorder::PhaseTrace;

/// How a picture is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Style {
    /// Characters only.
    Plain,
    /// With ANSI colours.
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
    let n_layers = trace.active.len();
    let mut picture = String::new();
    for (token_idx, piece) in pieces.iter().enumerate().take(trace.n_tokens()) {
        let flags = trace.active.iter().map(|layer| layer[token_idx] == 1);
        let n_active = flags.clone().filter(|&active| active).count();
        let _ = write!(picture, "{} ", label(piece));
        for active in flags {
            let (mark, colour) = if active {
                ('█', AnsiColor::Green)
            } else {
                ('·', AnsiColor::BrightBlack)
            };
            match style {
                Style::Plain => picture.push(mark),
                Style::Coloured => {
                    let paint = AnsiStyle::new().fg_color(Some(colour.into()));
                    let _ = write!(picture, "{paint}{mark}{paint:#}");
                }
            }
        }
        let _ = writeln!(picture, " {n_active:>3}/{n_layers}");
    }
    picture
}

/// A token's text, made visible, cut and padded to a fixed number of characters.
fn label(piece: &str) -> String {
    let visible: String = piece
        .chars()
        .map(|c| match c {
            '\n' => '↵',
            '\t' => '→',
            c if c.is_control() => '?',
            c => c,
        })
        .collect();
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
}
