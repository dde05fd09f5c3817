//! Event streams: of a request's status, and of a direct run.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use serde_json::Value;
use uuid::Uuid;

use super::accounts::{Account, Key};
use super::answer::{Body, Cut, Response, set};
use super::faults::Knob;
use super::queue;
use super::world::World;

/// How often a comment keeps an idle stream open.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A stream that says how a request is doing until it is done.
pub fn status(world: Arc<World>, key: Key, id: Uuid, with_logs: bool) -> Response {
    let (sender, body) = Channel::<Bytes, Cut>::new(8);
    tokio::spawn(follow(world, key, id, with_logs, sender));
    stream(body.boxed())
}

/// A stream response.
pub fn stream(body: Body) -> Response {
    let mut response = Response::new(body);
    set(&mut response, "content-type", "text/event-stream");
    set(&mut response, "cache-control", "no-cache");
    response
}

/// One event.
pub fn event(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

/// Ends when the request does, or at the first event nobody takes: within a heartbeat of the reader's leaving.
async fn follow(world: Arc<World>, key: Key, id: Uuid, with_logs: bool, mut sender: Sender<Bytes, Cut>) {
    let mut changes = world.changes();
    let mut said = Value::Null;
    let mut silent_since = world.clock.now();
    loop {
        let seen = world.look(|state, now| {
            let (Account { lane, jobs, .. }, id) = state.job(&key, id)?;
            let job = jobs.get(&id)?;
            let next = lane.next_moment(jobs).into_iter().chain(job.next_line(now)).min();
            let body = queue::status_body(job, lane.position(id), with_logs, now);
            Some((body, job.ended().is_some(), job.faults.has(Knob::DropSse), next, now))
        });
        let Some((body, done, drop_here, next, now)) = seen else {
            return;
        };
        let line = if body != said {
            Some(event(&body))
        } else if now >= silent_since.plus(HEARTBEAT) {
            Some(Bytes::from_static(b": ping\n\n"))
        } else {
            None
        };
        said = body;
        if let Some(line) = line {
            silent_since = now;
            if sender.send_data(line).await.is_err() {
                return;
            }
            if drop_here {
                sender.abort(Cut);
                return;
            }
        }
        if done {
            return;
        }
        let heartbeat = silent_since.plus(HEARTBEAT);
        let wake = next.map_or(heartbeat, |next| next.min(heartbeat));
        world.change_or(&mut changes, Some(wake)).await;
    }
}
