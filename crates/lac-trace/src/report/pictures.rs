//! The pictures for papers and slides: SVG and PNG, drawn by the same code.

mod canvas;
mod coloured_text;
mod heat_map;
mod line_chart;
mod style;

use std::path::{Path, PathBuf};

use plotters::drawing::IntoDrawingArea;
use plotters::prelude::{DrawingBackend, SVGBackend};
use plotters::style::{FontStyle, register_font};

use super::content::TraceReport;
use crate::atomic::write_atomically;
use crate::error::{Error, Result};
use canvas::Canvas;
use coloured_text::ColouredText;
use heat_map::HeatMap;
use line_chart::LineChart;
use style::{Area, Drawn, FAMILY, PAPER, Picture, text_of};

/// The font of PNG files.
const FONT: &[u8] = include_bytes!("../../assets/DejaVuSans-subset.ttf");

/// Draws all pictures of a report into a folder; returns the files.
pub(super) fn write(report: &TraceReport, folder: &Path) -> Result<Vec<PathBuf>> {
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
        save("usage", &|path| save_both(&LineChart::usage(trace), path))?;
        save("norms", &|path| save_both(&LineChart::norms(trace), path))?;
        if let Some(sweep) = &trace.summary.alpha_sweep {
            save("alpha", &|path| {
                save_both(&LineChart::alpha(trace, sweep), path)
            })?;
        }
    }
    if !is_single {
        for (name, chart) in LineChart::comparisons(&report.traces) {
            files.extend(save_both(&chart, &folder.join(name))?);
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
