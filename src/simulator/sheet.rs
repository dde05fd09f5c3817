//! Twelve prompts on one page, for somebody to look at.

use super::picture::{Format, Recipe, Size, painted, written};

const PROMPTS: [&str; 12] = [
    "a cat on a mat",
    "a lighthouse in a storm",
    "sunrise over rice terraces",
    "a quiet library at night",
    "an astronaut riding a horse",
    "a bowl of ramen, studio light",
    "the last train home",
    "a paper boat on a river",
    "red foxes in fresh snow",
    "an old map of an island",
    "a garden of glass flowers",
    "two robots playing chess",
];
const TILE: Size = Size { width: 480, height: 360 };
const COLUMNS: usize = 3;
const GAP: usize = 8;

/// A PNG of what the simulator paints for twelve prompts.
pub fn contact_sheet() -> Vec<u8> {
    let (tile_width, tile_height) = (TILE.width as usize, TILE.height as usize);
    let width = COLUMNS * (tile_width + GAP) + GAP;
    let height = PROMPTS.len() / COLUMNS * (tile_height + GAP) + GAP;
    let mut page = vec![0xff; width * height * 3];
    for (place, prompt) in PROMPTS.iter().enumerate() {
        let left = GAP + place % COLUMNS * (tile_width + GAP);
        let top = GAP + place / COLUMNS * (tile_height + GAP);
        for (row, pixels) in painted(&recipe(prompt)).chunks_exact(tile_width * 3).enumerate() {
            let start = ((top + row) * width + left) * 3;
            page[start..start + pixels.len()].copy_from_slice(pixels);
        }
    }
    let size = Size { width: width as u32, height: height as u32 };
    written(&page, size, Format::Png)
}

fn recipe(prompt: &str) -> Recipe {
    Recipe {
        model: "fal-ai/flux/schnell".to_owned(),
        prompt: prompt.to_owned(),
        seed: "1".to_owned(),
        index: 0,
        size: TILE,
        format: Format::Png,
        blank: false,
    }
}
