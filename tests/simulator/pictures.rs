//! The pictures themselves.

use std::collections::HashSet;

use generatio::simulator::{Format, Recipe, Size, picture};
use image::ImageFormat;
use serde_json::json;

use crate::support::{ask, start, text};

fn recipe(prompt: &str) -> Recipe {
    Recipe {
        model: "fal-ai/flux/schnell".to_owned(),
        prompt: prompt.to_owned(),
        seed: "1".to_owned(),
        index: 0,
        size: Size { width: 96, height: 64 },
        format: Format::Png,
        blank: false,
    }
}

#[test]
fn a_picture_has_exactly_the_size_and_format_that_was_asked_for() {
    for (width, height) in [(1024, 768), (1, 1), (1, 700), (513, 257), (576, 1024)] {
        for (format, expected) in [(Format::Png, ImageFormat::Png), (Format::Jpeg, ImageFormat::Jpeg)] {
            let bytes = picture(&Recipe { size: Size { width, height }, format, ..recipe("x") });
            assert_eq!(image::guess_format(&bytes).unwrap(), expected);
            let decoded = image::load_from_memory(&bytes).unwrap();
            assert_eq!((decoded.width(), decoded.height()), (width, height));
        }
    }
}

#[test]
fn model_prompt_seed_and_index_each_change_the_picture_and_nothing_else_does() {
    let same = recipe("a cat");
    let different = [
        recipe("a dog"),
        Recipe { model: "fal-ai/flux/dev".to_owned(), ..same.clone() },
        Recipe { seed: "18446744073709551615".to_owned(), ..same.clone() },
        Recipe { index: 1, ..same.clone() },
    ];
    assert_eq!(picture(&same), picture(&same));
    for other in different {
        assert_ne!(picture(&same), picture(&other), "{other:?}");
    }
}

/// Average colours of the corners and the middle, in coarse steps: what a glance takes in.
fn glance(bytes: &[u8]) -> Vec<u8> {
    let small = image::load_from_memory(bytes).unwrap().thumbnail_exact(6, 4).to_rgb8();
    small.into_raw().into_iter().map(|channel| channel / 16).collect()
}

#[test]
fn prompts_look_different_from_each_other_and_no_picture_is_noise_or_blank() {
    let pictures: Vec<Vec<u8>> = (0..40).map(|n| picture(&recipe(&format!("prompt {n}")))).collect();
    let glances: HashSet<Vec<u8>> = pictures.iter().map(|bytes| glance(bytes)).collect();
    assert_eq!(glances.len(), pictures.len());
    for bytes in &pictures {
        let pixels = image::load_from_memory(bytes).unwrap().to_rgb8();
        let step = |x: u32, y: u32| {
            let (one, next) = (pixels.get_pixel(x, y).0, pixels.get_pixel(x + 1, y).0);
            one.iter().zip(next).map(|(one, next)| u32::from(one.abs_diff(next))).sum::<u32>()
        };
        let rough: u32 = (0..95).flat_map(|x| (0..64).map(move |y| (x, y))).map(|(x, y)| step(x, y)).sum();
        let average = f64::from(rough) / (95.0 * 64.0);
        assert!(average < 40.0, "noise: {average}");
        let colours: HashSet<[u8; 3]> = pixels.pixels().map(|pixel| pixel.0).collect();
        assert!(colours.len() > 100, "blank: {} colours", colours.len());
    }
}

#[tokio::test]
async fn what_a_client_downloads_is_what_the_result_promised() {
    let sim = start().await;
    for (endpoint, input, size, format) in [
        ("fal-ai/flux/schnell", json!({}), (1024, 768), ImageFormat::Jpeg),
        ("fal-ai/hidream-i1-dev", json!({ "output_format": "png" }), (1024, 1024), ImageFormat::Png),
        ("fal-ai/hidream-i1-fast", json!({ "image_size": { "width": 300, "height": 200 } }), (300, 200), ImageFormat::Jpeg),
        ("fal-ai/flux/dev", json!({ "image_size": "portrait_16_9" }), (576, 1024), ImageFormat::Jpeg),
    ] {
        let mut input = input;
        input["prompt"] = json!("x");
        let job = sim.submit("a:1", endpoint, input).await;
        sim.advance(5.0);
        let result = ask("GET", text(&job, "response_url")).key("a:1").send().await.expect(200);
        let image = &result["images"][0];
        assert_eq!((&image["width"], &image["height"]), (&json!(size.0), &json!(size.1)));
        let bytes = ask("GET", text(image, "url")).send().await.body;
        assert_eq!(image::guess_format(&bytes).unwrap(), format);
        let decoded = image::load_from_memory(&bytes).unwrap();
        assert_eq!((decoded.width(), decoded.height()), size, "{endpoint}");
    }
}

#[tokio::test]
async fn sync_mode_puts_the_picture_into_the_answer() {
    use base64::Engine;
    let sim = start().await;
    let input = json!({ "prompt": "x", "sync_mode": true, "image_size": "square" });
    let job = sim.submit("a:1", "fal-ai/flux/schnell", input).await;
    sim.advance(5.0);
    let result = ask("GET", text(&job, "response_url")).key("a:1").send().await.expect(200);
    let encoded = text(&result["images"][0], "url").strip_prefix("data:image/jpeg;base64,").unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    assert_eq!(image::load_from_memory(&bytes).unwrap().width(), 512);
}

#[tokio::test]
async fn a_flagged_picture_is_small_and_black() {
    let sim = start().await;
    let url = sim.picture("a:1", "x [[sim:nsfw]]").await;
    let bytes = ask("GET", &url).send().await.body;
    let decoded = image::load_from_memory(&bytes).unwrap().to_rgb8();
    assert!(decoded.pixels().all(|pixel| pixel.0 == [0, 0, 0]));
    assert!(bytes.len() < 30_000, "{}", bytes.len());
}
