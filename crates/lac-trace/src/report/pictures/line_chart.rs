//! Charts with lines: usage, norms, other α, and several traces side by side.

use plotters::prelude::{ChartBuilder, Circle, DrawingBackend, PathElement, Polygon, RGBColor};
use plotters::series::LineSeries;
use plotters::style::Color;

use super::style::{
    Area, Drawn, HEADING, INK, LINE, PAPER, PROMPT, Picture, RESPONSE, SOFT, TRACES, font,
    from_left, heading, settings, text_of, width_of,
};
use crate::report::content::ReportedTrace;
use crate::statistics::{PhaseSummary, SweepSummary};

/// Width of every chart.
const WIDTH: u32 = 820;

/// A chart with lines.
pub(super) struct LineChart {
    title: &'static str,
    subtitle: String,
    x: Axis,
    y: Axis,
    series: Vec<Line>,
    /// A vertical line, and what it says.
    mark: Option<(f64, String)>,
}

struct Axis {
    label: &'static str,
    from: f64,
    to: f64,
    unit: Unit,
}

#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Share,
    Layer,
    Number,
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Unit::Share => format!("{:.0} %", 100.0 * value),
            Unit::Layer if value < 0.0 => "E".to_owned(),
            Unit::Layer => format!("{value:.0}"),
            Unit::Number if value.abs() >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
            Unit::Number => format!("{value:.1}"),
        }
    }
}

struct Line {
    name: String,
    color: RGBColor,
    points: Vec<(f64, f64)>,
    /// Below and above each point.
    spread: Spread,
}

enum Spread {
    None,
    Intervals(Vec<(f64, f64)>),
    Band(Vec<(f64, f64)>),
}

const SHARES: Axis = Axis {
    label: "",
    from: 0.0,
    to: 1.0,
    unit: Unit::Share,
};

fn layers(n_layers: usize) -> Axis {
    Axis {
        label: "layer",
        from: -0.5,
        to: n_layers as f64 - 0.5,
        unit: Unit::Layer,
    }
}

/// Returns a line for each phase that has tokens.
fn per_phase(trace: &ReportedTrace, line: impl Fn(&PhaseSummary, Line) -> Line) -> Vec<Line> {
    trace
        .summary
        .seen_phases()
        .map(|(name, phase)| {
            let (name, color) = if name == "prompt" {
                ("prompt (PP)", PROMPT)
            } else {
                ("response (RG)", RESPONSE)
            };
            let empty = Line {
                name: name.to_owned(),
                color,
                points: Vec::new(),
                spread: Spread::None,
            };
            line(phase, empty)
        })
        .collect()
}

fn numbered(values: impl Iterator<Item = f64>) -> Vec<(f64, f64)> {
    values
        .enumerate()
        .map(|(idx, value)| (idx as f64, value))
        .collect()
}

impl LineChart {
    pub(super) fn usage(trace: &ReportedTrace) -> Self {
        Self {
            title: "Share of tokens for which each layer is active",
            subtitle: format!("{}; bars: 95 % intervals", settings(trace)),
            x: layers(trace.summary.info.n_layers),
            y: SHARES,
            series: per_phase(trace, |phase, line| {
                let usage = &phase.usage_per_layer;
                let intervals = usage
                    .iter()
                    .map(|share| (share.interval.low, share.interval.high));
                Line {
                    points: numbered(usage.iter().map(|share| share.share)),
                    spread: Spread::Intervals(intervals.collect()),
                    ..line
                }
            }),
            mark: None,
        }
    }

    pub(super) fn norms(trace: &ReportedTrace) -> Self {
        let series = per_phase(trace, |phase, line| {
            let bands = phase.norms.iter().map(|norm| {
                let low = (norm.mean - norm.deviation).max(norm.min);
                (low, norm.mean + norm.deviation)
            });
            Line {
                points: phase
                    .norms
                    .iter()
                    .enumerate()
                    .map(|(idx, norm)| (idx as f64 - 1.0, norm.mean))
                    .collect(),
                spread: Spread::Band(bands.collect()),
                ..line
            }
        });
        let highest = series.iter().flat_map(|line| match &line.spread {
            Spread::Band(band) => band.iter().map(|(_, high)| *high).collect(),
            _ => Vec::new(),
        });
        let highest = highest.fold(0.0, f64::max);
        Self {
            title: "Norm of the residual stream after each layer",
            subtitle: format!(
                "{}; mean and standard deviation, E: the embedding",
                settings(trace)
            ),
            x: Axis {
                from: -1.0,
                ..layers(trace.summary.info.n_layers)
            },
            y: Axis {
                label: "",
                from: 0.0,
                to: if highest > 0.0 { 1.05 * highest } else { 1.0 },
                unit: Unit::Number,
            },
            series,
            mark: None,
        }
    }

    pub(super) fn alpha(trace: &ReportedTrace, sweep: &SweepSummary) -> Self {
        let alpha = trace.summary.info.gate.alpha;
        let series = [
            ("prompt (PP)", PROMPT, &sweep.prompt),
            ("response (RG)", RESPONSE, &sweep.response),
        ];
        Self {
            title: "Share of active layers under other α",
            subtitle: format!("{}; recomputed from the deltas", settings(trace)),
            x: alphas(sweep),
            y: SHARES,
            series: series
                .into_iter()
                .filter(|(_, _, usage)| !usage.is_empty())
                .map(|(name, color, usage)| swept(name, color, sweep, usage))
                .collect(),
            mark: Some((f64::from(alpha), format!("recorded, {alpha}"))),
        }
    }

    /// Charts of several traces together, with the names of their files.
    pub(super) fn comparisons(traces: &[ReportedTrace]) -> Vec<(&'static str, Self)> {
        let depth = traces[0].summary.info.n_layers;
        let has_one_depth = traces
            .iter()
            .all(|trace| trace.summary.info.n_layers == depth);
        let color = |idx: usize| TRACES[idx % TRACES.len()];
        let mut charts = Vec::new();
        let files = [
            ["compare-usage-prompt", "compare-alpha-prompt"],
            ["compare-usage-response", "compare-alpha-response"],
        ];
        for (files, phase) in files.into_iter().zip(["prompt", "response"]) {
            let having = || {
                traces.iter().enumerate().filter_map(move |(idx, trace)| {
                    let found = trace.summary.seen_phases().find(|(name, _)| *name == phase);
                    Some((idx, trace, found?.1))
                })
            };
            let usage: Vec<Line> = having()
                .map(|(idx, trace, summary)| {
                    // Models of different depth are laid over each other from first to last layer.
                    let n_layers = trace.summary.info.n_layers;
                    let scale = match (has_one_depth, n_layers) {
                        (true, _) | (_, 0 | 1) => 1.0,
                        (false, n_layers) => 1.0 / (n_layers as f64 - 1.0),
                    };
                    let shares = summary.usage_per_layer.iter().map(|share| share.share);
                    Line {
                        name: trace.title.clone(),
                        color: color(idx),
                        points: numbered(shares)
                            .into_iter()
                            .map(|(layer, share)| (scale * layer, share))
                            .collect(),
                        spread: Spread::None,
                    }
                })
                .collect();
            if usage.is_empty() {
                continue;
            }
            let x = if has_one_depth {
                layers(depth)
            } else {
                Axis {
                    label: "depth, from the first layer to the last",
                    from: 0.0,
                    to: 1.0,
                    unit: Unit::Share,
                }
            };
            charts.push((
                files[0],
                Self {
                    title: "Share of tokens for which each layer is active",
                    subtitle: format!("of the {phase}"),
                    x,
                    y: SHARES,
                    series: usage,
                    mark: None,
                },
            ));
            let sweeps: Vec<(usize, &ReportedTrace, &SweepSummary)> = having()
                .filter_map(|(idx, trace, _)| {
                    Some((idx, trace, trace.summary.alpha_sweep.as_ref()?))
                })
                .collect();
            if let Some((_, _, first)) = sweeps.first() {
                let series = sweeps.iter().map(|(idx, trace, sweep)| {
                    let usage = match phase {
                        "prompt" => &sweep.prompt,
                        _ => &sweep.response,
                    };
                    swept(&trace.title, color(*idx), sweep, usage)
                });
                charts.push((
                    files[1],
                    Self {
                        title: "Share of active layers under other α",
                        subtitle: format!("of the {phase}; recomputed from the deltas"),
                        x: alphas(first),
                        y: SHARES,
                        series: series.collect(),
                        mark: None,
                    },
                ));
            }
        }
        charts
    }
}

fn alphas(sweep: &SweepSummary) -> Axis {
    let ends = (sweep.alphas.first(), sweep.alphas.last());
    Axis {
        label: "α",
        from: ends.0.copied().map_or(0.0, f64::from),
        to: ends.1.copied().map_or(1.0, f64::from),
        unit: Unit::Number,
    }
}

fn swept(name: &str, color: RGBColor, sweep: &SweepSummary, usage: &[f64]) -> Line {
    let alphas = sweep.alphas.iter().copied().map(f64::from);
    Line {
        name: name.to_owned(),
        color,
        points: alphas.zip(usage.iter().copied()).collect(),
        spread: Spread::None,
    }
}

impl Picture for LineChart {
    fn size(&self) -> (u32, u32) {
        (WIDTH, HEADING + 400)
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn {
        self.draw_legend(area)?;
        let area = heading(area, self.title, &self.subtitle)?;
        let (x, y) = (&self.x, &self.y);
        let mut chart = ChartBuilder::on(&area)
            .margin_top(14)
            .margin_left(14)
            .margin_right(28)
            .margin_bottom(12)
            .x_label_area_size(42)
            .y_label_area_size(52)
            .build_cartesian_2d(x.from..x.to.max(x.from + 1e-9), y.from..y.to)
            .map_err(text_of)?;
        let (small, soft) = (font(11.0, &SOFT), font(12.0, &SOFT));
        let n_layers = (x.to - x.from).round() as usize;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(LINE)
            .light_line_style(PAPER)
            .axis_style(SOFT)
            .x_labels(match x.unit {
                Unit::Layer => n_layers.min(20) + 1,
                _ => 9,
            })
            .y_labels(6)
            .x_label_formatter(&|value| match x.unit {
                // Between two layers there is none.
                Unit::Layer if value.fract().abs() > 1e-6 => String::new(),
                unit => unit.write(*value),
            })
            .y_label_formatter(&|value| y.unit.write(*value))
            .x_desc(x.label)
            .axis_desc_style(soft)
            .label_style(small)
            .draw()
            .map_err(text_of)?;

        for (idx, line) in self.series.iter().enumerate() {
            let color = line.color;
            // LineChart that lie upon each other stay visible where their points stand apart.
            let shift = match (&line.spread, x.unit) {
                (Spread::Intervals(_), Unit::Layer) => 0.12 * (idx as f64 - 0.5),
                _ => 0.0,
            };
            let points = || line.points.iter().map(move |&(px, py)| (px + shift, py));
            if let Spread::Band(band) = &line.spread {
                let xs = || line.points.iter().map(|point| point.0);
                let upper = xs().zip(band).map(|(px, band)| (px, band.1));
                let lower = xs().zip(band).map(|(px, band)| (px, band.0));
                let mut outline: Vec<(f64, f64)> = upper.collect();
                outline.extend(lower.collect::<Vec<_>>().into_iter().rev());
                chart
                    .draw_series([Polygon::new(outline, color.mix(0.16))])
                    .map_err(text_of)?;
            }
            if let Spread::Intervals(intervals) = &line.spread {
                let bars = points().zip(intervals).map(|((px, _), &(low, high))| {
                    PathElement::new([(px, low), (px, high)], color.mix(0.6).stroke_width(1))
                });
                chart.draw_series(bars).map_err(text_of)?;
            }
            chart
                .draw_series(LineSeries::new(points(), color.stroke_width(2)))
                .map_err(text_of)?;
            if x.unit == Unit::Layer && line.points.len() <= 48 {
                let dots = points().map(|point| Circle::new(point, 3, color.filled()));
                chart.draw_series(dots).map_err(text_of)?;
            }
        }
        if let Some((at, text)) = &self.mark
            && (x.from..=x.to).contains(at)
        {
            let style = SOFT.mix(0.7).stroke_width(1);
            chart
                .draw_series([PathElement::new([(*at, y.from), (*at, y.to)], style)])
                .map_err(text_of)?;
            let (px, _) = chart.backend_coord(&(*at, y.to));
            let place = (px + 6, 10);
            area.draw_text(text, &from_left(font(11.0, &SOFT)), place)
                .map_err(text_of)?;
        }
        Ok(())
    }
}

/// Room of the legend beside the heading.
const LEGEND: i32 = 24 + 16 * 6;

impl LineChart {
    /// Draws the series' names, from the right edge to the left beside the heading; what does not fit goes into the
    /// next line.
    fn draw_legend<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn {
        let (right, mut x, mut y) = (WIDTH as i32 - 28, WIDTH as i32 - 28, 28);
        let title_ends = 24 + width_of(self.title, 17.0) + 24;
        for line in self.series.iter().rev() {
            let width = width_of(&line.name, 12.0) + 44;
            if x - width < title_ends && x < right {
                x = right;
                y += 18;
            }
            if y > LEGEND {
                break;
            }
            x -= width;
            let stroke = line.color.stroke_width(3);
            area.draw(&PathElement::new([(x, y), (x + 18, y)], stroke))
                .map_err(text_of)?;
            let place = (x + 24, y);
            area.draw_text(&line.name, &from_left(font(12.0, &INK)), place)
                .map_err(text_of)?;
        }
        Ok(())
    }
}
