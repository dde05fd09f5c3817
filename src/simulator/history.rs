//! `api.fal.ai/v1/models/requests/by-endpoint`: what the caller has asked for before.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Answer, Stop, json as reply, platform_error};
use super::call::Call;
use super::clock::Moment;
use super::job::Job;
use super::platform::allowed;
use super::world::World;

/// `GET /models/requests/by-endpoint`: the caller's requests, newest first; how a lost submit is found again.
pub(super) async fn requests(world: Arc<World>, call: Call) -> Answer {
    let key = allowed(&world, &call)?;
    let wish = Wish::read(&call)?;
    let payloads = call.query("expand") == Some("payloads");
    let (items, more) = world.look(|state, now| {
        let Some(account) = state.accounts.get(&key) else {
            return (Vec::new(), false);
        };
        let mut jobs: Vec<&Job> = account.jobs.values().filter(|job| wish.wants(job, now)).collect();
        jobs.sort_by_key(|job| (std::cmp::Reverse(job.submitted), job.id));
        let more = jobs.len() > wish.skip + wish.limit;
        let page = jobs.into_iter().skip(wish.skip).take(wish.limit);
        (page.map(|job| history(job, payloads)).collect::<Vec<_>>(), more)
    });
    let next = more.then(|| (wish.skip + wish.limit).to_string());
    Ok(reply(200, &json!({ "items": items, "next_cursor": next, "has_more": more })))
}

/// Which requests a caller wants to see again.
struct Wish<'a> {
    endpoint: &'a str,
    request: Option<&'a str>,
    status: Option<&'a str>,
    start: Option<Moment>,
    end: Option<Moment>,
    skip: usize,
    limit: usize,
}

impl<'a> Wish<'a> {
    fn read(call: &'a Call) -> Result<Self, Stop> {
        let wrong = |words: &str| platform_error(400, "validation_error", words);
        let number = |name: &str| call.query(name).and_then(|text| text.parse().ok());
        let moment = |name: &str| match call.query(name) {
            None => Ok(None),
            Some(text) => {
                let moment = Moment::from_iso(text);
                moment.map(Some).ok_or_else(|| Stop::from(wrong(&format!("{name} must be an RFC 3339 time"))))
            }
        };
        Ok(Wish {
            endpoint: call.query("endpoint_id").ok_or_else(|| wrong("endpoint_id is required"))?,
            request: call.query("request_id"),
            status: call.query("status"),
            start: moment("start")?,
            end: moment("end")?,
            skip: number("cursor").unwrap_or(0),
            limit: number("limit").unwrap_or(50).clamp(1, 100),
        })
    }

    /// The last day, or the last ninety where one request is named.
    fn wants(&self, job: &Job, now: Moment) -> bool {
        let days = if self.request.is_some() { 90 } else { 1 };
        let from = self.start.unwrap_or(now.minus(Duration::from_secs(days * 86_400)));
        let in_time = job.submitted >= from && job.submitted <= self.end.unwrap_or(now);
        let ended_well = job.ended().map(|(_, outcome)| outcome.is_ok());
        let in_state = match self.status {
            Some("success") => ended_well == Some(true),
            Some("error") => ended_well == Some(false),
            Some(_) | None => true,
        };
        job.endpoint == self.endpoint && self.request.is_none_or(|id| id == job.id.to_string()) && in_time && in_state
    }
}

/// Payloads are there only where FAL was allowed to keep them; pictures inside an answer are never kept.
fn history(job: &Job, payloads: bool) -> Value {
    let ended = job.ended();
    let status = ended.map(|(_, outcome)| outcome.as_ref().map_or_else(|failure| failure.status, |_| 200));
    let started = job.started();
    let mut item = json!({
        "request_id": job.id.to_string(),
        "endpoint_id": job.endpoint,
        "sent_at": job.submitted.iso(),
        "started_at": started.map(Moment::iso),
        "ended_at": ended.map(|(at, _)| at.iso()),
        "status_code": status,
        "duration": ended.map(|(at, _)| at.since(started.unwrap_or(at)).as_secs_f64()),
    });
    if payloads && job.stored {
        item["json_input"] = job.input.clone();
        if let Some((_, Ok(order))) = ended.filter(|(_, outcome)| outcome.as_ref().is_ok_and(|order| !order.inline)) {
            item["json_output"] = json!({ "seed": order.seed, "prompt": order.prompt });
        }
    }
    item
}
