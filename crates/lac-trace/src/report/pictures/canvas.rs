//! A bitmap to draw on: smooth edges, and texts in a font of our own.

use std::convert::Infallible;
use std::io::Write;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    rasterizer,
};

/// Pixels of the file per unit: for screens with two pixels where there used to be one.
const DENSITY: u32 = 2;
/// Drawn pixels per pixel of the file, in each direction; they are averaged.
const SAMPLES: u32 = 2;
const SCALE: i32 = (DENSITY * SAMPLES) as i32;

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

/// A bitmap of `width × height` units.
pub(super) struct Canvas {
    pixels: Pixels,
    font: FontRef<'static>,
}

impl Canvas {
    pub(super) fn new(width: u32, height: u32, font: &'static [u8]) -> Result<Self, String> {
        let font = FontRef::try_from_slice(font).map_err(|error| error.to_string())?;
        let (width, height) = (width * SCALE as u32, height * SCALE as u32);
        Ok(Self {
            pixels: Pixels {
                width,
                height,
                rgb: vec![255; 3 * (width * height) as usize],
            },
            font,
        })
    }

    pub(super) fn write_png(&self, file: &mut dyn Write) -> std::io::Result<()> {
        let (width, height) = (self.pixels.width / SAMPLES, self.pixels.height / SAMPLES);
        let mut rgb = Vec::with_capacity(3 * (width * height) as usize);
        let mut sums = vec![0u32; 3 * width as usize];
        let row = 3 * self.pixels.width as usize;
        for rows in self.pixels.rgb.chunks_exact(row * SAMPLES as usize) {
            sums.fill(0);
            for row in rows.chunks_exact(row) {
                let samples = row.chunks_exact(3 * SAMPLES as usize);
                for (sums, samples) in sums.chunks_exact_mut(3).zip(samples) {
                    for pixel in samples.chunks_exact(3) {
                        sums[0] += u32::from(pixel[0]);
                        sums[1] += u32::from(pixel[1]);
                        sums[2] += u32::from(pixel[2]);
                    }
                }
            }
            rgb.extend(sums.iter().map(|sum| (sum / (SAMPLES * SAMPLES)) as u8));
        }
        let mut encoder = png::Encoder::new(file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&rgb)?;
        Ok(writer.finish()?)
    }

    /// Draws a text from left to right, its baseline beginning at a drawn pixel.
    fn text(&mut self, text: &str, em: f32, (x, y): (f32, f32), color: BackendColor) -> Drawn {
        let scale = self.scale(em);
        let mut x = x;
        for character in text.chars() {
            let id = self.font.glyph_id(character);
            let glyph = id.with_scale_and_position(scale, point(x, y));
            x += self.font.as_scaled(scale).h_advance(id);
            let Some(outline) = self.font.outline_glyph(glyph) else {
                continue;
            };
            let bounds = outline.px_bounds();
            let (left, top) = (bounds.min.x as i32, bounds.min.y as i32);
            let pixels = &mut self.pixels;
            outline.draw(|dx, dy, coverage| {
                let alpha = color.alpha * f64::from(coverage);
                pixels.blend((left + dx as i32, top + dy as i32), color.rgb, alpha);
            });
        }
        Ok(())
    }

    fn scale(&self, em: f32) -> PxScale {
        let units = self.font.units_per_em().unwrap_or(1000.0);
        PxScale::from(em * self.font.height_unscaled() / units)
    }

    fn text_width(&self, text: &str, em: f32) -> f32 {
        let font = self.font.as_scaled(self.scale(em));
        text.chars()
            .map(|character| font.h_advance(font.glyph_id(character)))
            .sum()
    }
}

fn scaled((x, y): BackendCoord) -> BackendCoord {
    (x * SCALE, y * SCALE)
}

/// A style whose lines are as thick in drawn pixels as they are in units.
struct Thick {
    color: BackendColor,
    width: u32,
}

impl Thick {
    fn of(style: &impl BackendStyle) -> Self {
        Self {
            color: style.color(),
            width: style.stroke_width() * SCALE as u32,
        }
    }
}

impl BackendStyle for Thick {
    fn color(&self) -> BackendColor {
        self.color
    }

    fn stroke_width(&self) -> u32 {
        self.width
    }
}

impl DrawingBackend for &mut Canvas {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        let scale = SCALE as u32;
        (self.pixels.width / scale, self.pixels.height / scale)
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn {
        let (x, y) = scaled(point);
        self.pixels.fill((x, y), (x + SCALE, y + SCALE), color);
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        if fill {
            self.pixels
                .fill(scaled(upper_left), scaled(bottom_right), style.color());
            return Ok(());
        }
        let ((left, top), (right, bottom)) = (upper_left, bottom_right);
        let corners = [
            (left, top),
            (right, top),
            (right, bottom),
            (left, bottom),
            (left, top),
        ];
        self.draw_path(corners, style)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        let mut points: Vec<BackendCoord> = path.into_iter().map(scaled).collect();
        points.dedup();
        if points.len() < 2 {
            return Ok(());
        }
        self.pixels.draw_path(points, &Thick::of(style))
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Drawn {
        self.pixels.draw_circle(
            scaled(center),
            radius * SCALE as u32,
            &Thick::of(style),
            fill,
        )
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        vert: I,
        style: &S,
    ) -> Drawn {
        let points: Vec<BackendCoord> = vert.into_iter().map(scaled).collect();
        rasterizer::fill_polygon(&mut self.pixels, &points, style)
    }

    fn draw_text<TStyle: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &TStyle,
        pos: BackendCoord,
    ) -> Drawn {
        // What plotters writes into SVG files for the same style.
        let em = style.size() as f32 / 1.24 * SCALE as f32;
        let (x, y) = scaled(pos);
        let anchor = style.anchor();
        let shift = match anchor.h_pos {
            HPos::Left => 0.0,
            HPos::Center => 0.5,
            HPos::Right => 1.0,
        };
        let baseline = match anchor.v_pos {
            VPos::Top => 0.76,
            VPos::Center => 0.27,
            VPos::Bottom => -0.27,
        };
        let left = x as f32 - shift * self.text_width(text, em);
        self.text(text, em, (left, y as f32 + baseline * em), style.color())
    }
}

/// The drawn pixels.
struct Pixels {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Pixels {
    fn blend(&mut self, (x, y): BackendCoord, rgb: (u8, u8, u8), alpha: f64) {
        let is_inside = (0..self.width as i32).contains(&x) && (0..self.height as i32).contains(&y);
        if !is_inside || alpha <= 0.0 {
            return;
        }
        let at = 3 * (y as usize * self.width as usize + x as usize);
        let alpha = alpha.min(1.0);
        for (below, above) in self.rgb[at..at + 3].iter_mut().zip([rgb.0, rgb.1, rgb.2]) {
            let mixed = f64::from(*below) + (f64::from(above) - f64::from(*below)) * alpha;
            *below = mixed.round() as u8;
        }
    }

    /// Fills from the upper left corner to before the lower right one.
    fn fill(
        &mut self,
        (left, top): BackendCoord,
        (right, bottom): BackendCoord,
        color: BackendColor,
    ) {
        let (left, right) = (left.max(0), right.min(self.width as i32));
        let rgb = [color.rgb.0, color.rgb.1, color.rgb.2];
        for y in top.max(0)..bottom.min(self.height as i32) {
            if color.alpha < 1.0 {
                (left..right).for_each(|x| self.blend((x, y), color.rgb, color.alpha));
            } else if left < right {
                let row = 3 * y as usize * self.width as usize;
                let row = &mut self.rgb[row + 3 * left as usize..row + 3 * right as usize];
                row.chunks_exact_mut(3)
                    .for_each(|pixel| pixel.copy_from_slice(&rgb));
            }
        }
    }
}

impl DrawingBackend for Pixels {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn {
        self.blend(point, color.rgb, color.alpha);
        Ok(())
    }
}
