//! `v3.fal.media`: pictures and uploaded files, public to whoever knows their address.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};

use super::answer::{Answer, Cut, Response, Stop, bytes, detail, set, with};
use super::call::Call;
use super::faults::{Faults, Knob};
use super::output::{paint, recipe};
use super::picture::Recipe;
use super::world::World;

/// `GET /files/b/{part}/{name}`: a picture of a finished request, painted when it is asked for.
pub(super) async fn picture(world: Arc<World>, call: Call) -> Answer {
    let (name, extension) = call.param("name").rsplit_once('.').unwrap_or_default();
    let found = world.act(|state, now| {
        let (key, id, index) = state.pictures.get(name)?.clone();
        let job = state.accounts.get_mut(&key)?.jobs.get_mut(&id)?;
        job.downloads += 1;
        let (at, outcome) = job.ended()?;
        let order = outcome.as_ref().ok()?;
        let kept = now < at.plus(job.media_lifetime) && order.format.extension() == extension;
        kept.then(|| (recipe(job, order, index), job.faults.clone(), job.downloads))
    });
    let (recipe, faults, nth) = found.ok_or_else(no_file)?;
    if faults.acts(Knob::Media404, nth) {
        return Err(no_file().into());
    }
    if faults.has(Knob::RedirectPrivate) {
        return Ok(with(bytes(302, "text/plain", ""), "location", "http://169.254.169.254/latest/meta-data/"));
    }
    if faults.has(Knob::WrongType) {
        return Ok(public(bytes(200, "text/html", "<!doctype html><title>Not a picture</title>")));
    }
    let etag = recipe.etag();
    if call.header("if-none-match") == Some(etag.as_str()) {
        return Ok(public(with(bytes(304, recipe.format.content_type(), ""), "etag", &etag)));
    }
    let content_type = recipe.format.content_type();
    let whole = painted(&world, recipe, &faults).await?;
    if faults.has(Knob::Truncate) || faults.has(Knob::MediaSlow) || faults.has(Knob::Oversize) {
        return Ok(public(trickled(world, content_type, whole, &faults)));
    }
    Ok(public(with(ranged(&call, content_type, whole), "etag", &etag)))
}

async fn painted(world: &Arc<World>, recipe: Recipe, faults: &Faults) -> Result<Bytes, Stop> {
    let whole = paint(world, recipe).await;
    if whole.is_empty() && !faults.has(Knob::Nsfw) {
        return Err(detail(500, "The picture could not be painted").into());
    }
    Ok(whole)
}

/// `GET /files/u/{id}/{name}`: a file a caller uploaded.
pub(super) async fn file(world: Arc<World>, call: Call) -> Answer {
    let file = world.act(|state, now| state.uploads.file(call.param("id"), now).cloned());
    let file = file.ok_or_else(no_file)?;
    let content = file.content.ok_or_else(no_file)?;
    Ok(public(ranged(&call, &file.content_type, content)))
}

fn no_file() -> Response {
    public(detail(404, "Not Found"))
}

/// The headers of FAL's CDN.
fn public(mut response: Response) -> Response {
    set(&mut response, "access-control-allow-origin", "*");
    set(&mut response, "cache-control", "public, max-age=5184000, immutable");
    response
}

/// All of it, or the one range that was asked for.
fn ranged(call: &Call, content_type: &str, whole: Bytes) -> Response {
    let length = whole.len();
    let wanted = call.header("range").and_then(|range| range.strip_prefix("bytes=")).filter(|range| !range.contains(','));
    let mut response = match wanted.map(|range| span(range, length)) {
        None => bytes(200, content_type, whole),
        Some(Some((first, last))) => {
            let part = bytes(206, content_type, whole.slice(first..=last));
            with(part, "content-range", &format!("bytes {first}-{last}/{length}"))
        }
        Some(None) => with(bytes(416, content_type, ""), "content-range", &format!("bytes */{length}")),
    };
    set(&mut response, "accept-ranges", "bytes");
    if call.method == Method::HEAD && response.status() == 200 {
        set(&mut response, "content-length", &length.to_string());
        *response.body_mut() = super::answer::full(Bytes::new());
    }
    response
}

/// `first-last`, `first-` or `-count`, if any of it lies within the length.
fn span(range: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = range.split_once('-')?;
    let end = length.checked_sub(1)?;
    let (first, last) = match (first.is_empty(), last.is_empty()) {
        (true, _) => (length.saturating_sub(last.parse().ok().filter(|count| *count > 0)?), end),
        (false, true) => (first.parse().ok()?, end),
        (false, false) => (first.parse().ok()?, last.parse::<usize>().ok()?.min(end)),
    };
    (first <= last).then_some((first, last))
}

/// A body that does not come as it should.
fn trickled(world: Arc<World>, content_type: &str, whole: Bytes, faults: &Faults) -> Response {
    let (sender, body) = Channel::<Bytes, Cut>::new(2);
    let mut response = Response::new(body.boxed());
    set(&mut response, "content-type", content_type);
    if !faults.has(Knob::Oversize) {
        set(&mut response, "content-length", &whole.len().to_string());
    }
    tokio::spawn(trickle(world, whole, faults.clone(), sender));
    response
}

/// Ends with the body, or when nobody reads on.
async fn trickle(world: Arc<World>, whole: Bytes, faults: Faults, mut sender: Sender<Bytes, Cut>) {
    let a_second = faults.number(Knob::MediaSlow).and_then(|speed| usize::try_from(speed).ok());
    let until = if faults.has(Knob::Truncate) { whole.len() / 2 } else { whole.len() };
    let step = a_second.map_or(64 << 10, |speed| (speed / 10).max(1));
    for from in (0..until).step_by(step) {
        if sender.send_data(whole.slice(from..until.min(from + step))).await.is_err() {
            return;
        }
        if a_second.is_some() {
            world.clock.pass(Duration::from_millis(100)).await;
        }
    }
    if faults.has(Knob::Truncate) {
        sender.abort(Cut);
        return;
    }
    let nothing = Bytes::from(vec![0; 1 << 20]);
    for _ in 0..faults.number(Knob::Oversize).unwrap_or(0) {
        if sender.send_data(nothing.clone()).await.is_err() {
            return;
        }
    }
}
