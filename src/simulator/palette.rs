//! Colours that go together.

use tiny_skia::Color;

use super::dice::Dice;

/// The colours of an hour and a season.
#[derive(Clone, Copy)]
pub(super) struct Palette {
    pub(super) zenith: u32,
    pub(super) sky: u32,
    pub(super) horizon: u32,
    pub(super) light: u32,
    pub(super) far: u32,
    pub(super) near: u32,
    pub(super) night: bool,
}

const fn day(zenith: u32, sky: u32, horizon: u32, light: u32, far: u32, near: u32) -> Palette {
    Palette { zenith, sky, horizon, light, far, near, night: false }
}

const fn night(zenith: u32, sky: u32, horizon: u32, light: u32, far: u32, near: u32) -> Palette {
    Palette { zenith, sky, horizon, light, far, near, night: true }
}

const PALETTES: [Palette; 14] = [
    day(0x2a5d9f, 0x7db5dd, 0xfbe7c2, 0xfff6da, 0x9db9c9, 0x23472f),
    day(0x283a6e, 0xc0607c, 0xffb56b, 0xffe3a3, 0xa8668a, 0x2a1836),
    day(0x1d3d5c, 0x4f93a8, 0xf7d9a8, 0xfff1c9, 0x7fa3a5, 0x143037),
    day(0x5b4a8a, 0xb084b4, 0xffd0c2, 0xfff0e4, 0xb094b8, 0x372a52),
    day(0x0f5e7d, 0x48b5b0, 0xf3efc1, 0xfffbe3, 0x8cc4b0, 0x1d4a3f),
    day(0x7a2e3f, 0xe0703f, 0xffd37a, 0xfff0b8, 0xc77a55, 0x3a1a1d),
    day(0x3e6a8f, 0xa8c8d8, 0xf4f1ea, 0xffffff, 0xb9c8d3, 0x3d5566),
    day(0x3b6b4f, 0x8fbf88, 0xf6edb5, 0xfffbe0, 0x8fb58a, 0x1f3d27),
    day(0x3f5f73, 0xd8a878, 0xfbe6b8, 0xfff4d6, 0xa9907c, 0x45352c),
    day(0x2f3f7f, 0x8a8fd0, 0xffc9a9, 0xffeeda, 0x8f86b5, 0x2b2749),
    night(0x070b20, 0x16264f, 0x3d5a86, 0xf3f0dc, 0x2f4a70, 0x050b18),
    night(0x0b0a24, 0x2b1e55, 0x7a4a86, 0xffe9d2, 0x4a3570, 0x0b0718),
    night(0x03161d, 0x0b3b44, 0x3f8a82, 0xe8fff2, 0x1f5a60, 0x020f13),
    day(0x1c6fb0, 0x6fc0ea, 0xdff4f4, 0xffffff, 0x86b6a2, 0x2d6b35),
];

impl Palette {
    /// One of them, tinted by another of the same half of the day.
    pub(super) fn pick(dice: &mut Dice) -> Self {
        let one = PALETTES[dice.below(PALETTES.len())];
        let other = PALETTES[dice.below(PALETTES.len())];
        let share = dice.between(0.0, 0.4);
        if one.night != other.night {
            return one;
        }
        let blend = |pick: fn(&Palette) -> u32| mix(pick(&one), pick(&other), share);
        Palette {
            zenith: blend(|palette| palette.zenith),
            sky: blend(|palette| palette.sky),
            horizon: blend(|palette| palette.horizon),
            light: blend(|palette| palette.light),
            far: blend(|palette| palette.far),
            near: blend(|palette| palette.near),
            night: one.night,
        }
    }
}

/// An opaque colour, made see-through.
pub(super) fn colour(rgb: u32, alpha: f32) -> Color {
    let [_, red, green, blue] = rgb.to_be_bytes();
    let mut colour = Color::from_rgba8(red, green, blue, 255);
    colour.set_alpha(alpha.clamp(0.0, 1.0));
    colour
}

/// Somewhere between two colours: 0 is the one, 1 the other.
pub(super) fn mix(one: u32, other: u32, share: f32) -> u32 {
    let (one, other) = (one.to_be_bytes(), other.to_be_bytes());
    let channel = |at: usize| (f32::from(one[at]) + (f32::from(other[at]) - f32::from(one[at])) * share) as u8;
    u32::from_be_bytes([0, channel(1), channel(2), channel(3)])
}
