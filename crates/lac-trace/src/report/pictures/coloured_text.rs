//! The text, its tokens coloured by the number of active layers, as in the paper.

use lac_core::Phase;
use plotters::prelude::{DrawingBackend, RGBColor, Rectangle};
use plotters::style::Color;

use super::style::{
    Area, Drawn, HEADING, INK, PROMPT, Picture, RESPONSE, SOFT, font, from_left, heading, settings,
    text_of, tint, width_of,
};
use crate::display::on_one_line;
use crate::report::content::ReportedTrace;

/// Up to this many tokens of each phase are drawn.
const MAX_TOKENS: usize = 600;
const WIDTH: i32 = 860;
const LINE_HEIGHT: i32 = 27;
const SIZE: f64 = 14.0;

/// The picture of a trace's first sequence.
pub(super) struct ColouredText {
    subtitle: String,
    n_layers: usize,
    phases: Vec<PhaseText>,
}

struct PhaseText {
    heading: String,
    color: RGBColor,
    tokens: Vec<PlacedToken>,
    n_lines: i32,
}

/// A token where it stands.
struct PlacedToken {
    text: String,
    line: i32,
    left: i32,
    width: i32,
    n_active: usize,
}

impl ColouredText {
    pub(super) fn new(trace: &ReportedTrace) -> Self {
        let phases = [
            (Phase::Prompt, "Prompt (PP)", PROMPT),
            (Phase::Response, "Response (RG)", RESPONSE),
        ];
        let phases = phases.into_iter().filter_map(|(phase, name, color)| {
            let tokens = trace.tokens.first_sequence(phase);
            if tokens.is_empty() {
                return None;
            }
            let heading = if tokens.len() > MAX_TOKENS {
                format!("{name}, the first {MAX_TOKENS} of {} tokens", tokens.len())
            } else {
                format!("{name}, {} tokens", tokens.len())
            };
            let texts = tokens.iter().take(MAX_TOKENS).map(|token| {
                let n_active = token.active.iter().filter(|&&active| active).count();
                (token.text.clone(), n_active)
            });
            let (tokens, n_lines) = place(texts);
            Some(PhaseText {
                heading,
                color,
                tokens,
                n_lines,
            })
        });
        Self {
            subtitle: settings(trace),
            n_layers: trace.summary.info.n_layers,
            phases: phases.collect(),
        }
    }
}

/// Breaks the text into lines.
fn place(texts: impl Iterator<Item = (String, usize)>) -> (Vec<PlacedToken>, i32) {
    let (mut line, mut left) = (0, 0);
    let mut tokens = Vec::new();
    for (text, n_active) in texts {
        let ends_line = text.ends_with('\n');
        let text = on_one_line(&text);
        let width = width_of(&text, SIZE).max(4);
        if left + width > WIDTH && left > 0 {
            line += 1;
            left = 0;
        }
        tokens.push(PlacedToken {
            text,
            line,
            left,
            width,
            n_active,
        });
        left += width;
        if ends_line {
            line += 1;
            left = 0;
        }
    }
    let n_lines = tokens.last().map_or(0, |token| token.line + 1);
    (tokens, n_lines)
}

impl Picture for ColouredText {
    fn size(&self) -> (u32, u32) {
        let lines: i32 = self.phases.iter().map(PhaseText::height).sum();
        (WIDTH as u32 + 48, (HEADING as i32 + lines + 36) as u32)
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn {
        let title = "How many layers work on each token";
        let mut rest = heading(area, title, &self.subtitle)?.margin(0, 0, 24, 24);
        for phase in &self.phases {
            let (own, below) = rest.split_vertically(phase.height());
            self.draw_phase(&own, phase)?;
            rest = below;
        }
        self.draw_scale(&rest)
    }
}

impl PhaseText {
    fn height(&self) -> i32 {
        26 + self.n_lines * LINE_HEIGHT + 18
    }
}

/// Returns the colour of a token; the ink on it stays readable.
fn shade(color: RGBColor, n_active: usize, n_layers: usize) -> RGBColor {
    tint(color, 0.55 * n_active as f64 / n_layers.max(1) as f64)
}

impl ColouredText {
    fn draw_phase<DB: DrawingBackend>(&self, area: &Area<DB>, phase: &PhaseText) -> Drawn {
        area.draw_text(
            &phase.heading,
            &from_left(font(13.0, &phase.color)),
            (0, 12),
        )
        .map_err(text_of)?;
        for token in &phase.tokens {
            let top = 26 + token.line * LINE_HEIGHT;
            let color = shade(phase.color, token.n_active, self.n_layers);
            let corners = [
                (token.left, top + 2),
                (token.left + token.width - 1, top + LINE_HEIGHT - 3),
            ];
            area.draw(&Rectangle::new(corners, color.filled()))
                .map_err(text_of)?;
            // The space that most tokens begin with is kept as room, and not drawn.
            let ink = token.text.trim_start();
            let shift = token.width - width_of(ink, SIZE).max(4);
            area.draw_text(
                ink,
                &from_left(font(SIZE, &INK)),
                (token.left + shift.max(0), top + LINE_HEIGHT / 2),
            )
            .map_err(text_of)?;
        }
        Ok(())
    }

    fn draw_scale<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn {
        let small = || from_left(font(11.0, &SOFT));
        area.draw_text("active layers: 0", &small(), (0, 10))
            .map_err(text_of)?;
        let from = width_of("active layers: 0", 11.0) + 10;
        for (row, color) in [PROMPT, RESPONSE].into_iter().enumerate() {
            for step in 0..=self.n_layers.min(40) {
                let n_steps = self.n_layers.clamp(1, 40);
                let width = 160 / (n_steps as i32 + 1);
                let left = from + step as i32 * width;
                let top = 4 + 7 * row as i32;
                let style = shade(color, step, n_steps).filled();
                area.draw(&Rectangle::new(
                    [(left, top), (left + width, top + 6)],
                    style,
                ))
                .map_err(text_of)?;
            }
        }
        let n_steps = self.n_layers.clamp(1, 40) as i32 + 1;
        let end = from + n_steps * (160 / n_steps) + 8;
        area.draw_text(&self.n_layers.to_string(), &small(), (end, 10))
            .map_err(text_of)
    }
}
