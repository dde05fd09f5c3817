//! Pictures: a landscape that follows from model, prompt, seed and index, in PNG or JPEG of exactly the size that was asked for.

use aws_lc_rs::digest;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use tiny_skia::{Color, Pixmap};

use super::dice::Dice;
use super::landscape;

/// Pixels across and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Across.
    pub width: u32,
    /// Down.
    pub height: u32,
}

impl Size {
    /// All of them.
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// How a picture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JPEG, the models' default.
    Jpeg,
    /// PNG.
    Png,
}

impl Format {
    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Jpeg => "image/jpeg",
            Format::Png => "image/png",
        }
    }

    /// Its usual file name extension.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Jpeg => "jpg",
            Format::Png => "png",
        }
    }
}

/// Everything a picture depends on: the same recipe gives the same bytes.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The endpoint id.
    pub model: String,
    /// The prompt.
    pub prompt: String,
    /// The seed, in decimal: it may be larger than any number type of a client.
    pub seed: String,
    /// Which of the request's pictures.
    pub index: u64,
    /// How large.
    pub size: Size,
    /// Encoded how.
    pub format: Format,
    /// Nothing to see: the content checker struck.
    pub blank: bool,
}

impl Recipe {
    /// A name for the bytes, known before they are painted.
    pub fn etag(&self) -> String {
        format!("\"{}\"", &super::journal::hex(&self.hash())[..32])
    }

    fn dice(&self) -> Dice {
        let mut seed = [0; 8];
        seed.copy_from_slice(&self.hash()[..8]);
        Dice::new(u64::from_be_bytes(seed))
    }

    fn hash(&self) -> [u8; 32] {
        let Recipe { model, prompt, seed, index, size, format, blank } = self;
        let text = format!("{model}\n{seed}\n{index}\n{size:?}\n{format:?}\n{blank}\n{prompt}");
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        hash
    }
}

/// Paints and encodes. It is work for a thread that may block: some tens of milliseconds for a megapixel.
pub fn encoded(recipe: &Recipe) -> Vec<u8> {
    written(&painted(recipe), recipe.size, recipe.format)
}

/// The bare pixels, row by row, three bytes each.
pub(super) fn painted(recipe: &Recipe) -> Vec<u8> {
    let Size { width, height } = recipe.size;
    let Some(mut canvas) = Pixmap::new(width, height) else {
        return Vec::new();
    };
    canvas.fill(Color::BLACK);
    if !recipe.blank {
        landscape::paint(&mut canvas, recipe.dice());
    }
    let opaque = canvas.data().chunks_exact(4);
    opaque.flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}

/// Pixels in a file format; nothing if the pixels are not of that size.
pub(super) fn written(pixels: &[u8], size: Size, format: Format) -> Vec<u8> {
    let Size { width, height } = size;
    let mut bytes = Vec::new();
    let colours = ExtendedColorType::Rgb8;
    let outcome = match format {
        Format::Jpeg => JpegEncoder::new_with_quality(&mut bytes, 88).write_image(pixels, width, height, colours),
        Format::Png => {
            PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Up).write_image(pixels, width, height, colours)
        }
    };
    outcome.map(|()| bytes).unwrap_or_default()
}
