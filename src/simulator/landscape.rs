//! Landscapes: sky, sun or moon, clouds, ranges of hills, perhaps a lake, and the bank they are seen from.

use std::f32::consts::TAU;

use tiny_skia::{
    Color, FillRule, GradientStop, LinearGradient, Paint, Path, PathBuilder, Pixmap, Point, RadialGradient, Rect, Shader, SpreadMode,
    Stroke, Transform,
};

use super::dice::Dice;
use super::palette::{Palette, colour, mix};

/// Paints one over the whole canvas; the dice decide everything about it.
pub(super) fn paint(canvas: &mut Pixmap, dice: Dice) {
    Scene::new(canvas, dice).paint();
}

/// A landscape being painted, from the sky forwards. Lengths are in shares of the shorter side.
struct Scene<'a> {
    canvas: &'a mut Pixmap,
    dice: Dice,
    palette: Palette,
    width: f32,
    height: f32,
    unit: f32,
    horizon: f32,
    sun: Point,
    lake: bool,
}

impl<'a> Scene<'a> {
    fn new(canvas: &'a mut Pixmap, mut dice: Dice) -> Self {
        let (width, height) = (canvas.width() as f32, canvas.height() as f32);
        let palette = Palette::pick(&mut dice);
        let horizon = height * dice.between(0.5, 0.66);
        let height_of_sun = if palette.night { dice.between(0.12, 0.3) } else { dice.between(0.2, 0.5) };
        let sun = Point::from_xy(width * dice.between(0.15, 0.85), height * height_of_sun);
        let lake = dice.share() < 0.45;
        Scene { canvas, dice, palette, width, height, unit: width.min(height), horizon, sun, lake }
    }

    fn paint(&mut self) {
        self.sky();
        if self.palette.night {
            self.stars();
        }
        self.light();
        self.clouds();
        if !self.palette.night {
            self.birds();
        }
        let layers = 3 + self.dice.below(3);
        let bottom = if self.lake { self.horizon + 0.08 * self.height } else { self.height * 0.86 };
        for layer in 0..layers {
            let depth = layer as f32 / (layers - 1) as f32;
            let base = self.horizon + (bottom - self.horizon) * depth * depth.sqrt();
            self.ridge(base, depth, layer == 0);
        }
        if self.lake {
            self.water(bottom);
        }
        self.foreground();
    }

    fn sky(&mut self) {
        let Palette { zenith, sky, horizon, .. } = self.palette;
        let stops = [(0.0, zenith, 1.0), (0.55, sky, 1.0), (1.0, horizon, 1.0)];
        let shader = vertical(0.0, self.horizon * 1.05, &stops);
        self.wash(0.0, (self.horizon * 1.45).min(self.height), shader);
    }

    fn stars(&mut self) {
        for _ in 0..160 {
            let (x, y) = (self.dice.share() * self.width, self.dice.share().powf(1.4) * self.horizon);
            let radius = self.unit * self.dice.between(0.0008, 0.0024);
            let alpha = self.dice.between(0.25, 0.95) * (1.0 - y / self.horizon).max(0.15);
            self.disc(x, y, radius, colour(0xffffff, alpha));
        }
    }

    fn light(&mut self) {
        let (sun, light) = (self.sun, self.palette.light);
        let radius = self.unit * if self.palette.night { self.dice.between(0.035, 0.06) } else { self.dice.between(0.045, 0.09) };
        let reach = self.unit * if self.palette.night { 0.4 } else { 0.6 };
        let strength = if self.palette.night { 0.35 } else { 0.75 };
        let stops = vec![
            GradientStop::new(0.0, colour(light, strength)),
            GradientStop::new(0.25, colour(light, strength * 0.32)),
            GradientStop::new(1.0, colour(light, 0.0)),
        ];
        let glow = RadialGradient::new(sun, 0.0, sun, reach, stops, SpreadMode::Pad, Transform::identity());
        let around = Rect::from_ltrb(sun.x - reach, sun.y - reach, sun.x + reach, (sun.y + reach).min(self.horizon * 1.2));
        if let (Some(shader), Some(rect)) = (glow, around) {
            self.canvas.fill_rect(rect, &filled(shader), Transform::identity(), None);
        }
        self.disc(sun.x, sun.y, radius, colour(mix(light, 0xffffff, 0.4), 0.97));
    }

    fn clouds(&mut self) {
        let tint = mix(self.palette.light, self.palette.horizon, 0.35);
        let strength = if self.palette.night { 0.07 } else { 0.24 };
        for _ in 0..self.dice.below(5) {
            let (x, y) = (self.dice.share() * self.width, self.dice.between(0.12, 0.8) * self.horizon);
            for _ in 0..9 {
                let (dx, dy) = (self.dice.between(-0.22, 0.22) * self.unit, self.dice.between(-0.012, 0.012) * self.unit);
                let (long, thick) = (self.dice.between(0.08, 0.24) * self.unit, self.dice.between(0.006, 0.018) * self.unit);
                let alpha = strength * self.dice.between(0.35, 1.0);
                let oval = Rect::from_xywh(x + dx - long / 2.0, y + dy - thick / 2.0, long, thick);
                if let Some(path) = oval.and_then(PathBuilder::from_oval) {
                    self.fill(&path, Shader::SolidColor(colour(tint, alpha)));
                }
            }
        }
    }

    fn birds(&mut self) {
        let (x, y) = (self.dice.between(0.15, 0.85) * self.width, self.dice.between(0.2, 0.6) * self.horizon);
        for _ in 0..self.dice.below(7) {
            let span = self.unit * self.dice.between(0.008, 0.016);
            let (x, y) = (x + self.dice.between(-0.1, 0.1) * self.unit, y + self.dice.between(-0.05, 0.05) * self.unit);
            let mut wings = PathBuilder::new();
            wings.move_to(x - span, y - span * 0.4);
            wings.quad_to(x - span * 0.4, y - span * 0.5, x, y);
            wings.quad_to(x + span * 0.4, y - span * 0.5, x + span, y - span * 0.4);
            let Some(path) = wings.finish() else { continue };
            let paint = filled(Shader::SolidColor(colour(self.palette.near, 0.7)));
            let stroke = Stroke { width: (self.unit * 0.0022).max(0.6), ..Stroke::default() };
            self.canvas.stroke_path(&path, &paint, &stroke, Transform::identity(), None);
        }
    }

    /// One range of hills. The farthest is rugged and pale, the nearest smooth and dark.
    fn ridge(&mut self, base: f32, depth: f32, rugged: bool) {
        let line = self.outline(base, depth, rugged);
        let near = mix(self.palette.far, self.palette.near, depth);
        let crest = line.iter().map(|point| point.y).fold(f32::MAX, f32::min);
        let mist = mix(near, self.palette.horizon, 0.5 * (1.0 - depth) + 0.06);
        let shader = vertical(crest, base + self.height * 0.16, &[(0.0, near, 1.0), (1.0, mist, 1.0)]);
        if let Some(path) = self.ground(&line, (base + self.height * 0.36).min(self.height)) {
            self.fill(&path, shader);
        }
        if depth > 0.3 && self.dice.share() < 0.6 {
            self.trees(&line, depth, mix(near, 0x000000, 0.16));
        }
    }

    fn outline(&mut self, base: f32, depth: f32, rugged: bool) -> Vec<Point> {
        let swell = self.height * if rugged { self.dice.between(0.08, 0.2) } else { 0.09 - 0.035 * depth };
        let mut waves = Vec::new();
        for octave in 0..if rugged { 6 } else { 3 } {
            let pitch = self.dice.between(0.7, 1.5) * 1.9_f32.powi(octave);
            waves.push((pitch, self.dice.share() * TAU, 0.52_f32.powi(octave)));
        }
        let steps = 220;
        let across = self.width / self.unit;
        let point = |step: usize| {
            let share = step as f32 / steps as f32;
            let wave = |(pitch, phase, size): &(f32, f32, f32)| {
                let angle = share * across * pitch * TAU * 0.55 + phase;
                if rugged { (1.0 - 2.0 * angle.sin().abs()) * size } else { angle.sin() * size }
            };
            let height: f32 = waves.iter().map(wave).sum();
            Point::from_xy(share * self.width, base - height * swell * 0.6)
        };
        (0..=steps).map(point).collect()
    }

    fn ground(&self, line: &[Point], foot: f32) -> Option<Path> {
        let mut path = PathBuilder::new();
        path.move_to(0.0, foot);
        for point in line {
            path.line_to(point.x, point.y);
        }
        path.line_to(self.width, foot);
        path.close();
        path.finish()
    }

    /// Conifers along a crest, in groups.
    fn trees(&mut self, line: &[Point], depth: f32, shade: u32) {
        let mut forest = PathBuilder::new();
        let density = self.dice.between(0.25, 0.8);
        let phase = self.dice.share() * TAU;
        for point in line {
            let grove = ((point.x / self.width * 3.0 * TAU + phase).sin() + 1.0) / 2.0;
            if self.dice.share() > grove * density {
                continue;
            }
            let tall = self.unit * self.dice.between(0.018, 0.04) * (0.5 + depth);
            let x = point.x + self.dice.between(-0.004, 0.004) * self.unit;
            conifer(&mut forest, x, point.y + tall * 0.08, tall);
        }
        if let Some(path) = forest.finish() {
            self.fill(&path, Shader::SolidColor(colour(shade, 1.0)));
        }
    }

    /// A lake that holds the sky, and the light on it.
    fn water(&mut self, shore: f32) {
        let Palette { sky, horizon, near, light, .. } = self.palette;
        let stops = [(0.0, mix(horizon, near, 0.18), 1.0), (0.45, mix(sky, near, 0.3), 1.0), (1.0, mix(sky, near, 0.68), 1.0)];
        self.wash(shore, self.height, vertical(shore, self.height, &stops));
        for _ in 0..70 {
            let down = self.dice.share().powf(1.5);
            let y = shore + (self.height - shore) * down;
            let spread = self.unit * (0.03 + 0.2 * down);
            let x = self.sun.x + self.dice.between(-1.0, 1.0) * spread;
            let long = self.unit * self.dice.between(0.01, 0.05) * (0.6 + down);
            self.dash(x, y, long, colour(light, self.dice_alpha(0.5, down)));
        }
        for _ in 0..40 {
            let (x, down) = (self.dice.share() * self.width, self.dice.share());
            let long = self.unit * self.dice.between(0.02, 0.12);
            self.dash(x, shore + (self.height - shore) * down, long, colour(horizon, 0.1));
        }
    }

    fn dice_alpha(&self, most: f32, down: f32) -> f32 {
        most * (1.0 - 0.75 * down)
    }

    fn dash(&mut self, x: f32, y: f32, long: f32, colour: Color) {
        let oval = Rect::from_xywh(x - long / 2.0, y, long, (self.unit * 0.0026).max(0.5));
        if let Some(path) = oval.and_then(PathBuilder::from_oval) {
            self.fill(&path, Shader::SolidColor(colour));
        }
    }

    /// The bank the picture is seen from.
    fn foreground(&mut self) {
        let line = self.outline(self.height * 0.955, 0.9, false);
        let dark = mix(self.palette.near, 0x000000, 0.38);
        let shader = vertical(self.height * 0.88, self.height, &[(0.0, dark, 1.0), (1.0, mix(dark, 0x000000, 0.3), 1.0)]);
        if let Some(path) = self.ground(&line, self.height) {
            self.fill(&path, shader);
        }
        self.trees(&line, 1.7, dark);
    }

    fn disc(&mut self, x: f32, y: f32, radius: f32, colour: Color) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius.max(0.3)) {
            self.fill(&path, Shader::SolidColor(colour));
        }
    }

    fn wash(&mut self, top: f32, bottom: f32, shader: Shader<'_>) {
        if let Some(rect) = Rect::from_ltrb(0.0, top, self.width, bottom) {
            self.canvas.fill_rect(rect, &filled(shader), Transform::identity(), None);
        }
    }

    fn fill(&mut self, path: &Path, shader: Shader<'_>) {
        self.canvas.fill_path(path, &filled(shader), FillRule::Winding, Transform::identity(), None);
    }
}

/// Three tiers, wider downwards.
fn conifer(path: &mut PathBuilder, x: f32, foot: f32, tall: f32) {
    for (from, to, half) in [(1.0, 0.55, 0.13), (0.78, 0.3, 0.19), (0.52, 0.0, 0.25)] {
        path.move_to(x, foot - tall * from);
        path.line_to(x + tall * half, foot - tall * to);
        path.line_to(x - tall * half, foot - tall * to);
        path.close();
    }
}

fn vertical(top: f32, bottom: f32, stops: &[(f32, u32, f32)]) -> Shader<'static> {
    let stops: Vec<GradientStop> = stops.iter().map(|(at, rgb, alpha)| GradientStop::new(*at, colour(*rgb, *alpha))).collect();
    let (from, to) = (Point::from_xy(0.0, top), Point::from_xy(0.0, bottom.max(top + 1.0)));
    let gradient = LinearGradient::new(from, to, stops, SpreadMode::Pad, Transform::identity());
    gradient.unwrap_or(Shader::SolidColor(Color::BLACK))
}

fn filled(shader: Shader<'_>) -> Paint<'_> {
    Paint { shader, anti_alias: true, ..Paint::default() }
}
