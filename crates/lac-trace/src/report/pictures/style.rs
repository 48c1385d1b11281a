//! What all pictures share: colours, fonts, the heading.

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::prelude::{DrawingBackend, RGBColor, TextStyle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontFamily, IntoFont};

use crate::report::content::ReportedTrace;

pub(super) const PAPER: RGBColor = RGBColor(255, 255, 255);
pub(super) const INK: RGBColor = RGBColor(28, 35, 38);
pub(super) const SOFT: RGBColor = RGBColor(91, 101, 106);
pub(super) const LINE: RGBColor = RGBColor(228, 225, 217);
pub(super) const VOID: RGBColor = RGBColor(239, 237, 230);
pub(super) const PROMPT: RGBColor = RGBColor(15, 118, 110);
pub(super) const RESPONSE: RGBColor = RGBColor(180, 84, 10);
/// One colour per trace where traces are compared.
pub(super) const TRACES: [RGBColor; 6] = [
    PROMPT,
    RESPONSE,
    RGBColor(114, 87, 181),
    RGBColor(29, 111, 184),
    RGBColor(168, 54, 107),
    RGBColor(95, 122, 28),
];

/// The font's name in SVG files. Verdana has the same widths; PNG files are drawn with the embedded font.
pub(super) const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

pub(super) type Area<DB> = DrawingArea<DB, Shift>;
/// Backends have errors of their own; what remains of one is what it says.
pub(super) type Drawn = std::result::Result<(), String>;

/// A picture that can be drawn anywhere.
pub(super) trait Picture {
    /// Returns the width and height, in pixels of an ordinary screen.
    fn size(&self) -> (u32, u32);

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn;
}

pub(super) fn text_of(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Returns a text style; `size` is that of CSS.
pub(super) fn font(size: f64, color: &RGBColor) -> TextStyle<'static> {
    // Plotters takes a font's size for 1.24 times what CSS takes it for.
    (FontFamily::Name(FAMILY), size * 1.24)
        .into_font()
        .color(&color.to_rgba())
}

pub(super) fn centred(style: TextStyle<'static>) -> TextStyle<'static> {
    style.pos(Pos::new(HPos::Center, VPos::Center))
}

pub(super) fn from_right(style: TextStyle<'static>) -> TextStyle<'static> {
    style.pos(Pos::new(HPos::Right, VPos::Center))
}

pub(super) fn from_left(style: TextStyle<'static>) -> TextStyle<'static> {
    style.pos(Pos::new(HPos::Left, VPos::Center))
}

/// Returns the width of a text in pixels.
pub(super) fn width_of(text: &str, size: f64) -> i32 {
    let font = (FontFamily::Name(FAMILY), size).into_font();
    // Measured larger than it is drawn: widths come in whole pixels.
    let (width, _) = (FontFamily::Name(FAMILY), 10.0 * size * 1.24)
        .into_font()
        .box_size(text)
        .unwrap_or_else(|_| {
            (
                (text.chars().count() as f64 * font.get_size() * 6.0) as u32,
                0,
            )
        });
    // Plotters measures with the line's height for the font's size.
    (f64::from(width) / 10.0 / 1.24 * EM_PER_LINE).ceil() as i32
}

/// What plotters' measurement makes of a font's size: the line's height instead of the em. DejaVu
/// Sans has 1.164 em in a line.
pub(super) const EM_PER_LINE: f64 = 1.164;

/// Returns a colour between the paper and another one.
pub(super) fn tint(color: RGBColor, share: f64) -> RGBColor {
    let mix = |paper: u8, ink: u8| {
        (f64::from(paper) + (f64::from(ink) - f64::from(paper)) * share.clamp(0.0, 1.0)).round()
            as u8
    };
    RGBColor(
        mix(PAPER.0, color.0),
        mix(PAPER.1, color.1),
        mix(PAPER.2, color.2),
    )
}

/// Draws the heading of every picture; returns what is below it.
pub(super) fn heading<DB: DrawingBackend>(
    area: &Area<DB>,
    title: &str,
    subtitle: &str,
) -> std::result::Result<Area<DB>, String> {
    area.draw_text(title, &from_left(font(17.0, &INK)), (24, 28))
        .map_err(text_of)?;
    area.draw_text(subtitle, &from_left(font(12.0, &SOFT)), (24, 50))
        .map_err(text_of)?;
    Ok(area.margin(HEADING, 0, 0, 0))
}

/// Height of the heading.
pub(super) const HEADING: u32 = 68;

/// Returns what a picture's subtitle says of its trace.
pub(super) fn settings(trace: &ReportedTrace) -> String {
    trace.summary.info.title()
}
