//! The pictures for papers and slides: SVG and PNG, drawn by the same code.

mod canvas;
mod heat;
mod lines;
mod text;

use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::prelude::{DrawingBackend, RGBColor, SVGBackend, TextStyle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontFamily, FontStyle, IntoFont, register_font};

use super::{Report, TraceReport};
use crate::atomic::write_atomically;
use crate::error::{Error, Result};
use canvas::Canvas;
use heat::HeatMap;
use lines::Lines;
use text::ColouredText;

const PAPER: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(28, 35, 38);
const SOFT: RGBColor = RGBColor(91, 101, 106);
const LINE: RGBColor = RGBColor(228, 225, 217);
const VOID: RGBColor = RGBColor(239, 237, 230);
const PROMPT: RGBColor = RGBColor(15, 118, 110);
const RESPONSE: RGBColor = RGBColor(180, 84, 10);
/// One colour per trace where traces are compared.
const TRACES: [RGBColor; 6] = [
    PROMPT,
    RESPONSE,
    RGBColor(114, 87, 181),
    RGBColor(29, 111, 184),
    RGBColor(168, 54, 107),
    RGBColor(95, 122, 28),
];

/// The font's name in SVG files. Verdana has the same widths; PNG files are drawn with the font
/// that is embedded here.
const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";
const FONT: &[u8] = include_bytes!("../../assets/DejaVuSans-subset.ttf");

type Area<DB> = DrawingArea<DB, Shift>;
/// Backends have errors of their own; what remains of one is what it says.
type Drawn = std::result::Result<(), String>;

/// A picture that can be drawn anywhere.
trait Picture {
    /// Width and height, in pixels of an ordinary screen.
    fn size(&self) -> (u32, u32);

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn;
}

/// Draws all pictures of a report into a folder; returns the files.
pub(super) fn write(report: &Report, folder: &Path) -> Result<Vec<PathBuf>> {
    // A second registration of the same font changes nothing.
    let _ = register_font(FAMILY, FontStyle::Normal, FONT);
    let mut files = Vec::new();
    let is_single = report.traces.len() == 1;
    for (idx, trace) in report.traces.iter().enumerate() {
        let prefix = if is_single {
            String::new()
        } else {
            format!("{}-", idx + 1)
        };
        let mut save = |name: &str, picture: &dyn Fn(&Path) -> Result<[PathBuf; 2]>| {
            let path = folder.join(format!("{prefix}{name}"));
            picture(&path).map(|written| files.extend(written))
        };
        save("text", &|path| save_both(&ColouredText::new(trace), path))?;
        save("heat-map", &|path| save_both(&HeatMap::new(trace), path))?;
        save("usage", &|path| save_both(&Lines::usage(trace), path))?;
        save("norms", &|path| save_both(&Lines::norms(trace), path))?;
        if let Some(sweep) = &trace.summary.alpha_sweep {
            save("alpha", &|path| {
                save_both(&Lines::alpha(trace, sweep), path)
            })?;
        }
    }
    if !is_single {
        for (name, lines) in Lines::comparisons(&report.traces) {
            files.extend(save_both(&lines, &folder.join(name))?);
        }
    }
    Ok(files)
}

/// Writes a picture as SVG and as PNG; `path` has no ending yet.
fn save_both(picture: &impl Picture, path: &Path) -> Result<[PathBuf; 2]> {
    let with_ending = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |reason: String| Error::Picture { path, reason }
    };
    let (width, height) = picture.size();

    let svg_path = with_ending(".svg");
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        draw(picture, &area).map_err(failed(&svg_path))?;
    }
    write_atomically(&svg_path, |file| file.write_all(svg.as_bytes()))?;

    let png_path = with_ending(".png");
    let mut canvas = Canvas::new(width, height, FONT).map_err(failed(&png_path))?;
    {
        let area = (&mut canvas).into_drawing_area();
        draw(picture, &area).map_err(failed(&png_path))?;
    }
    write_atomically(&png_path, |file| canvas.write_png(file))?;
    Ok([svg_path, png_path])
}

fn draw<DB: DrawingBackend>(picture: &impl Picture, area: &Area<DB>) -> Drawn {
    area.fill(&PAPER).map_err(text_of)?;
    picture.draw(area)?;
    area.present().map_err(text_of)
}

fn text_of(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A text style; `size` is that of CSS.
fn font(size: f64, color: &RGBColor) -> TextStyle<'static> {
    // Plotters takes a font's size for 1.24 times what CSS takes it for.
    (FontFamily::Name(FAMILY), size * 1.24)
        .into_font()
        .color(&color.to_rgba())
}

fn centred(style: TextStyle<'static>) -> TextStyle<'static> {
    style.pos(Pos::new(HPos::Center, VPos::Center))
}

fn from_right(style: TextStyle<'static>) -> TextStyle<'static> {
    style.pos(Pos::new(HPos::Right, VPos::Center))
}

fn from_left(style: TextStyle<'static>) -> TextStyle<'static> {
    style.pos(Pos::new(HPos::Left, VPos::Center))
}

/// Width of a text in pixels.
fn width_of(text: &str, size: f64) -> i32 {
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
const EM_PER_LINE: f64 = 1.164;

/// A colour between the paper and another one.
fn tint(color: RGBColor, share: f64) -> RGBColor {
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

/// The heading of every picture; returns what is below it.
fn heading<DB: DrawingBackend>(
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
const HEADING: u32 = 68;

/// What a picture's subtitle says of its trace.
fn settings(trace: &TraceReport) -> String {
    trace.summary.info.title()
}
