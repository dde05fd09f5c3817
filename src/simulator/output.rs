//! What a finished model returns.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::faults::Knob;
use super::job::Job;
use super::models::Order;
use super::picture::{self, Recipe};
use super::world::{World, picture_name};

/// The body of the result.
pub async fn body(world: &Arc<World>, job: &Job, order: &Order) -> Value {
    let flagged = job.faults.has(Knob::Nsfw);
    let count = if job.faults.has(Knob::NoImages) { 0 } else { order.count };
    let mut images = Vec::new();
    for index in 0..count {
        let url =
            if order.inline { data_uri(order, &paint(world, recipe(job, order, index)).await) } else { picture_url(job, order, index) };
        let mut image = json!({ "url": url, "content_type": order.format.content_type() });
        if !job.faults.has(Knob::MissingDims) {
            image["width"] = json!(order.size.width);
            image["height"] = json!(order.size.height);
        }
        images.push(image);
    }
    let seconds = job.run_time.unwrap_or_default().as_secs_f64();
    let mut body = json!({
        "images": images,
        "timings": { "inference": seconds },
        "seed": order.seed,
        "has_nsfw_concepts": vec![flagged; images.len()],
        "prompt": order.prompt,
    });
    if let Some(mebibytes) = job.faults.number(Knob::Huge) {
        body["padding"] = json!("x".repeat(usize::try_from(mebibytes.min(64)).unwrap_or(64) << 20));
    }
    body
}

/// Everything one picture of a request depends on.
pub fn recipe(job: &Job, order: &Order, index: u64) -> Recipe {
    Recipe {
        model: order.model.id.to_owned(),
        prompt: order.prompt.clone(),
        seed: order.seed.to_string(),
        index,
        size: order.size,
        format: order.format,
        blank: job.faults.has(Knob::Nsfw),
    }
}

/// Paints away from the threads that answer requests, two at a time.
pub async fn paint(world: &Arc<World>, recipe: Recipe) -> Bytes {
    let _turn = world.painters.acquire().await;
    let painted = tokio::task::spawn_blocking(move || picture::encoded(&recipe)).await;
    Bytes::from(painted.unwrap_or_default())
}

fn picture_url(job: &Job, order: &Order, index: u64) -> String {
    let id = job.id.simple().to_string();
    let (base, name, extension) = (&job.bases.media, picture_name(job.id, index), order.format.extension());
    format!("{base}/files/b/{}/{name}.{extension}", &id[..8])
}

fn data_uri(order: &Order, picture: &Bytes) -> String {
    format!("data:{};base64,{}", order.format.content_type(), STANDARD.encode(picture))
}
