//! Which layers work on which token, the prompt and the response apart.

use lac_core::Phase;
use plotters::prelude::{DrawingBackend, RGBColor, Rectangle};
use plotters::style::{Color, ShapeStyle};

use super::style::{
    Area, Drawn, HEADING, INK, PROMPT, Picture, RESPONSE, SOFT, VOID, centred, font, from_left,
    from_right, heading, settings, text_of, tint, width_of,
};
use crate::display::on_one_line;
use crate::report::content::ReportedTrace;
use crate::report::token_columns::ShownToken;

/// Up to this many tokens of a phase stand in rows of their own, with their texts.
const MAX_ROWS: usize = 60;
const ROW: i32 = 16;
const LABEL: i32 = 118;
const TALLY: i32 = 48;
/// Width and height of a colour in the legend.
const SWATCH: i32 = 12;
/// Width of a phase whose tokens stand in columns.
const COLUMNS: i32 = 960;

/// The picture of a trace's first sequence.
pub(super) struct HeatMap<'a> {
    title: String,
    subtitle: String,
    n_layers: usize,
    phases: Vec<PhaseMap<'a>>,
}

struct PhaseMap<'a> {
    name: &'static str,
    color: RGBColor,
    tokens: Vec<ShownToken<'a>>,
}

impl<'a> HeatMap<'a> {
    pub(super) fn new(trace: &'a ReportedTrace) -> Self {
        let phases = [
            (Phase::Prompt, "Prompt (PP)", PROMPT),
            (Phase::Response, "Response (RG)", RESPONSE),
        ];
        Self {
            title: "Which layers work on which token".to_owned(),
            subtitle: settings(trace),
            n_layers: trace.summary.info.n_layers,
            phases: phases
                .into_iter()
                .map(|(phase, name, color)| PhaseMap {
                    name,
                    color,
                    tokens: trace.tokens.first_sequence(phase),
                })
                .filter(|phase| !phase.tokens.is_empty())
                .collect(),
        }
    }

    fn longest(&self) -> usize {
        let lengths = self.phases.iter().map(|phase| phase.tokens.len());
        lengths.max().unwrap_or_default()
    }

    fn has_rows(&self) -> bool {
        self.longest() <= MAX_ROWS
    }

    /// Returns the width of a layer in rows, or height of a layer in columns.
    fn cell(&self) -> i32 {
        let room = if self.has_rows() { 330 } else { 300 };
        (room / self.n_layers.max(1) as i32).clamp(4, 22)
    }

    fn draw_rows<DB: DrawingBackend>(&self, area: &Area<DB>, phase: &PhaseMap<'_>) -> Drawn {
        let cell = self.cell();
        phase_name(area, phase)?;
        area.draw_text("layer", &from_right(font(10.0, &SOFT)), (LABEL - 8, 34))
            .map_err(text_of)?;
        self.layer_numbers(area, |layer| (LABEL + layer * cell + cell / 2, 34))?;
        for (row, token) in phase.tokens.iter().enumerate() {
            let top = 44 + row as i32 * ROW;
            let label = cut(&on_one_line(&token.text), 15);
            area.draw_text(
                &label,
                &from_right(font(11.0, &INK)),
                (LABEL - 8, top + ROW / 2),
            )
            .map_err(text_of)?;
            for layer in 0..self.n_layers {
                let left = LABEL + layer as i32 * cell;
                let corners = [(left, top + 1), (left + cell - 1, top + ROW - 2)];
                let style = cell_style(phase, token, layer);
                area.draw(&Rectangle::new(corners, style))
                    .map_err(text_of)?;
            }
            let n_active = token.active.iter().filter(|&&active| active).count();
            let tally = format!("{n_active}/{}", self.n_layers);
            let right = LABEL + self.n_layers as i32 * cell;
            area.draw_text(
                &tally,
                &from_left(font(10.0, &SOFT)),
                (right + 6, top + ROW / 2),
            )
            .map_err(text_of)?;
        }
        Ok(())
    }

    /// Draws one column per token, or per several successive tokens: then the fuller the colour, the more of them the
    /// layer works on.
    fn draw_columns<DB: DrawingBackend>(&self, area: &Area<DB>, phase: &PhaseMap<'_>) -> Drawn {
        let (cell, n_tokens) = (self.cell(), phase.tokens.len());
        let n_columns = n_tokens.min(COLUMNS as usize);
        phase_name(area, phase)?;
        let left = 48;
        let y_of = |layer: i32| 36 + (self.n_layers as i32 - 1 - layer) * cell;
        let step = (14 / cell).max(1);
        for layer in (0..self.n_layers as i32).step_by(step as usize) {
            area.draw_text(
                &layer.to_string(),
                &from_right(font(10.0, &SOFT)),
                (left - 8, y_of(layer) + cell / 2),
            )
            .map_err(text_of)?;
        }
        // A few tokens beside many of the other phase do not become wide bars.
        let width = COLUMNS.min(16 * n_columns as i32);
        let gap = i32::from(width as usize / n_columns.max(1) > 5);
        for column in 0..n_columns {
            let tokens = column * n_tokens / n_columns..(column + 1) * n_tokens / n_columns;
            let x = |column: usize| left + (column * width as usize / n_columns) as i32;
            for layer in 0..self.n_layers {
                let n_active = phase.tokens[tokens.clone()]
                    .iter()
                    .filter(|token| token.active[layer])
                    .count();
                let share = n_active as f64 / tokens.len() as f64;
                let style = if n_active == 0 {
                    VOID.filled()
                } else {
                    tint(phase.color, 0.15 + 0.85 * share).filled()
                };
                let top = y_of(layer as i32);
                let corners = [
                    (x(column), top),
                    (x(column + 1) - gap, top + cell - i32::from(cell > 5)),
                ];
                area.draw(&Rectangle::new(corners, style))
                    .map_err(text_of)?;
            }
        }
        let bottom = 36 + self.n_layers as i32 * cell + 12;
        for (text, x) in [("0".to_owned(), 0), ((n_tokens - 1).to_string(), width)] {
            area.draw_text(&text, &centred(font(10.0, &SOFT)), (left + x, bottom))
                .map_err(text_of)?;
        }
        if width < 120 {
            return Ok(());
        }
        area.draw_text(
            "tokens",
            &centred(font(11.0, &SOFT)),
            (left + width / 2, bottom),
        )
        .map_err(text_of)
    }

    fn layer_numbers<DB: DrawingBackend>(
        &self,
        area: &Area<DB>,
        place: impl Fn(i32) -> (i32, i32),
    ) -> Drawn {
        let step = (20 / self.cell()).max(1);
        for layer in (0..self.n_layers as i32).step_by(step as usize) {
            area.draw_text(
                &layer.to_string(),
                &centred(font(10.0, &SOFT)),
                place(layer),
            )
            .map_err(text_of)?;
        }
        Ok(())
    }
}

impl Picture for HeatMap<'_> {
    fn size(&self) -> (u32, u32) {
        let cell = self.cell();
        if self.has_rows() {
            let panel = LABEL + self.n_layers as i32 * cell + TALLY;
            let width = 24 + self.phases.len().max(1) as i32 * (panel + 24);
            let height = HEADING as i32 + 56 + self.longest() as i32 * ROW + 16;
            // The title and the legend have room beside each other.
            (width.max(600) as u32, height as u32)
        } else {
            let panel = self.column_panel();
            let height = HEADING as i32 + self.phases.len() as i32 * panel + 8;
            (24 + 48 + COLUMNS as u32 + 32, height as u32)
        }
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn {
        self.draw_legend(area)?;
        let area = heading(area, &self.title, &self.subtitle)?.margin(0, 0, 24, 0);
        for (idx, phase) in self.phases.iter().enumerate() {
            if self.has_rows() {
                let panel = LABEL + self.n_layers as i32 * self.cell() + TALLY + 24;
                let (_, rest) = area.split_horizontally(idx as i32 * panel);
                self.draw_rows(&rest, phase)?;
            } else {
                let (_, rest) = area.split_vertically(idx as i32 * self.column_panel());
                self.draw_columns(&rest, phase)?;
            }
        }
        Ok(())
    }
}

impl HeatMap<'_> {
    fn column_panel(&self) -> i32 {
        36 + self.n_layers as i32 * self.cell() + 42
    }

    /// Draws what the colours mean, from the right edge to the left beside the heading.
    fn draw_legend<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn {
        let active = self.phases.iter().map(|phase| phase.color.filled());
        let mut entries = vec![("active", active.collect()), ("void", vec![VOID.filled()])];
        if self.shows_layers_not_run() {
            entries.push(("not run", vec![not_run()]));
        }
        let (mut x, y) = (self.size().0 as i32 - 24, 28);
        for (name, swatches) in entries.iter().rev() {
            x -= width_of(name, 12.0);
            area.draw_text(name, &from_left(font(12.0, &INK)), (x, y))
                .map_err(text_of)?;
            x -= 5;
            for &style in swatches.iter().rev() {
                x -= SWATCH + 2;
                let corners = [(x, y - SWATCH / 2), (x + SWATCH, y + SWATCH / 2)];
                area.draw(&Rectangle::new(corners, style))
                    .map_err(text_of)?;
            }
            x -= 16;
        }
        Ok(())
    }

    /// Returns whether the picture has a sign for a layer that was not run: in columns it looks like a void.
    fn shows_layers_not_run(&self) -> bool {
        let mut tokens = self.phases.iter().flat_map(|phase| &phase.tokens);
        self.has_rows() && tokens.any(|token| token.executed.contains(&false))
    }
}

fn phase_name<DB: DrawingBackend>(area: &Area<DB>, phase: &PhaseMap<'_>) -> Drawn {
    let text = format!("{}, {} tokens", phase.name, phase.tokens.len());
    area.draw_text(&text, &from_left(font(13.0, &phase.color)), (0, 12))
        .map_err(text_of)
}

fn cell_style(phase: &PhaseMap<'_>, token: &ShownToken<'_>, layer: usize) -> ShapeStyle {
    if token.active[layer] {
        phase.color.filled()
    } else if token.executed[layer] {
        VOID.filled()
    } else {
        not_run()
    }
}

/// Returns the style of a layer that was not run, which is neither active nor a void that was seen.
fn not_run() -> ShapeStyle {
    tint(SOFT, 0.35).stroke_width(1)
}

/// Cuts a text to at most this many characters.
fn cut(text: &str, n_chars: usize) -> String {
    let text = text.trim_matches(' ');
    if text.chars().count() <= n_chars {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(n_chars - 1).collect();
    cut.push('…');
    cut
}
