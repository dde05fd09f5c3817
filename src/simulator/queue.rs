//! `queue.fal.run`: submit, status, result and cancel.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::accounts::{Account, Key};
use super::answer::{Answer, Response, Stop, bytes, detail, failure, not_found, set, with};
use super::call::{Call, Credentials, USUAL_BODY};
use super::clock::Moment;
use super::failure::Failure;
use super::faults::Knob;
use super::intake::{self, Target};
use super::job::{Job, Phase};
use super::lane::Priority;
use super::output;
use super::sse;
use super::world::{State, World};

/// `POST /{owner}/{app}[/…]`: a job for every request, however often it is sent.
pub(super) async fn submit(world: Arc<World>, mut call: Call) -> Answer {
    let body = call.body(USUAL_BODY).await?;
    let target = Target::of(&call);
    let (job, position, attempt) = world.act(|state, now| {
        let accepted = intake::check(&world, state, now, &call, &target, &body)?;
        let (key, attempt) = (accepted.key.clone(), accepted.attempt);
        room(state, &key, &call)?;
        let job = accepted.enter(state)?;
        let position = join(state, &key, &job, &call);
        Ok::<_, Stop>((job, position, attempt))
    })?;
    if job.faults.acts(Knob::DropAfterAccept, attempt) {
        return Err(Stop::Cut);
    }
    if let Some(seconds) = job.faults.number(Knob::SlowSubmit) {
        world.clock.pass(Duration::from_secs(seconds)).await;
    }
    let answer = described(&job, "IN_QUEUE", json!({ "queue_position": position }));
    if job.faults.acts(Knob::GarbageJson, attempt) {
        let text = answer.to_string();
        return Ok(bytes(200, "application/json", text.chars().take(text.len() / 2).collect::<String>()));
    }
    Ok(tagged(super::answer::json(200, &answer), job.id))
}

/// `fal_max_queue_length`: 429 if more than that many wait already.
fn room(state: &State, key: &Key, call: &Call) -> Result<(), Stop> {
    let Some(most) = call.query("fal_max_queue_length").and_then(|most| most.parse::<usize>().ok()) else {
        return Ok(());
    };
    let waiting = state.accounts.get(key).map_or(0, |account| account.lane.waiting());
    if waiting > most {
        return Err(detail(429, &format!("Queue is full: {waiting} requests are waiting, at most {most} wanted")).into());
    }
    Ok(())
}

fn join(state: &mut State, key: &Key, job: &Job, call: &Call) -> usize {
    let low = call.header("x-fal-queue-priority") == Some("low");
    let Some(account) = state.accounts.get_mut(key) else {
        return 0;
    };
    account.lane.join(job.id, if low { Priority::Low } else { Priority::Normal });
    account.lane.position(job.id)
}

/// `GET …/status`: 202 while pending, 200 when completed.
pub(super) async fn status(world: Arc<World>, call: Call) -> Answer {
    world.act(|state, now| {
        let (account, id) = request(state, &call, now)?;
        let Account { lane, jobs, .. } = account;
        let job = jobs.get_mut(&id).ok_or_else(not_found)?;
        if let Some(refused) = refused(job) {
            return Ok(refused);
        }
        let status = if job.ended().is_some() { 200 } else { 202 };
        let body = status_body(job, lane.position(id), wants_logs(&call), now);
        Ok(tagged(super::answer::json(status, &body), id))
    })
}

/// What a knob makes of a look at how a job stands, by one request or by a stream.
fn refused(job: &mut Job) -> Option<Response> {
    job.polls += 1;
    if job.faults.acts(Knob::Status404, job.polls) {
        return Some(not_found());
    }
    job.faults.acts(Knob::Status500, job.polls).then(|| failure(&Failure::infrastructure("internal_error")))
}

/// `GET …/status/stream`: an event for every change, a comment every 15 seconds, the end after COMPLETED.
pub(super) async fn status_stream(world: Arc<World>, call: Call) -> Answer {
    let (key, id) = world.act(|state, now| {
        let (account, id) = request(state, &call, now)?;
        if let Some(refused) = account.jobs.get_mut(&id).and_then(refused) {
            return Err(refused.into());
        }
        Ok::<_, Stop>((state.caller(&call, "", now)?, id))
    })?;
    Ok(tagged(sse::status(world, key, id, wants_logs(&call)), id))
}

/// JavaScript writes `1`, Python `true`.
fn wants_logs(call: &Call) -> bool {
    matches!(call.query("logs"), Some("1" | "true"))
}

/// `GET …/requests/{id}`: what the model returned, errors included, with its status and headers.
pub(super) async fn result(world: Arc<World>, call: Call) -> Answer {
    let job = world.act(|state, now| {
        let (account, id) = request(state, &call, now)?;
        let job = account.jobs.get_mut(&id).ok_or_else(not_found)?;
        job.fetches += 1;
        let gone = job.forgotten().is_some_and(|end| now >= end) || job.faults.has(Knob::Expired);
        let pending = job.ended().is_none() || job.faults.acts(Knob::StillInProgress, job.fetches);
        match (pending, gone) {
            (true, _) => Err(tagged(detail(400, "Request is still in progress"), id).into()),
            (false, true) => Err(Stop::from(not_found())),
            (false, false) => Ok(job.clone()),
        }
    })?;
    Ok(finished(&world, &job).await)
}

/// The response of a job that has ended, from the queue and from a direct run.
pub(super) async fn finished(world: &Arc<World>, job: &Job) -> Response {
    match job.ended() {
        Some((_, Ok(order))) => {
            let body = output::body(world, job, order).await;
            let mut response = super::answer::json(200, &body);
            let units = order.units().to_string();
            if !job.faults.has(Knob::NoBillableHeader) {
                let units = job.faults.word(Knob::WrongBillable).unwrap_or(&units);
                set(&mut response, "x-fal-billable-units", units);
            }
            tagged(response, job.id)
        }
        Some((_, Err(error))) => tagged(with(failure(error), "x-fal-billable-units", "0"), job.id),
        None => tagged(detail(400, "Request is still in progress"), job.id),
    }
}

/// `PUT …/cancel`: 202 if there was something to cancel.
pub(super) async fn cancel(world: Arc<World>, call: Call) -> Answer {
    world.act(|state, now| {
        let (account, id) = request(state, &call, now)?;
        let job = account.jobs.get_mut(&id).ok_or_else(not_found)?;
        if job.faults.has(Knob::Cancel404) {
            return Ok(not_found());
        }
        if job.ended().is_some() || job.faults.has(Knob::Cancel400) {
            return Ok(super::answer::json(400, &json!({ "status": "ALREADY_COMPLETED" })));
        }
        if !job.faults.has(Knob::CancelIgnored) {
            account.cancel(id, now);
        }
        Ok(tagged(super::answer::json(202, &json!({ "status": "CANCELLATION_REQUESTED" })), id))
    })
}

/// An endpoint's own path where only the app's was meant: FAL answers 405, a lenient simulator serves it.
pub(super) async fn subpath(world: Arc<World>, call: Call) -> Answer {
    let refusal = || Err(detail(405, "Method Not Allowed").into());
    if !world.options.lenient {
        return refusal();
    }
    let sub = call.param("sub").to_owned();
    let Some((_, tail)) = sub.split_once("requests/") else {
        return refusal();
    };
    let (id, action) = tail.split_once('/').unwrap_or((tail, ""));
    let method = call.method.as_str().to_owned();
    let call = call.renamed("id", id);
    match (method.as_str(), action) {
        ("GET", "" | "response") => result(world, call).await,
        ("GET", "status") => status(world, call).await,
        ("GET", "status/stream") => status_stream(world, call).await,
        ("PUT", "cancel") => cancel(world, call).await,
        _ => refusal(),
    }
}

/// The request a URL names, if it is the caller's. An unknown one is 404 even without a key, a bad key 401 before that.
fn request<'a>(state: &'a mut State, call: &Call, now: Moment) -> Result<(&'a mut Account, Uuid), Stop> {
    let id = Uuid::parse_str(call.param("id")).ok();
    let known = |id: &Uuid| state.accounts.values().any(|account| account.jobs.contains_key(id));
    if matches!(call.credentials(), Credentials::None) && !id.as_ref().is_some_and(known) {
        return Err(not_found().into());
    }
    let app = Target::of(call).app;
    let key = state.caller(call, &app, now)?;
    state.identify(&key)?;
    let (account, id) = id.and_then(|id| state.job(&key, id)).ok_or_else(not_found)?;
    let of_this_app = account.jobs.get(&id).is_some_and(|job| job.app == app);
    if of_this_app { Ok((account, id)) } else { Err(not_found().into()) }
}

/// The members every status has, and those of this one.
fn described(job: &Job, status: &str, more: Value) -> Value {
    let url = format!("{}/{}/requests/{}", job.bases.queue, job.app, job.id);
    let mut body = json!({
        "status": status,
        "request_id": job.id.to_string(),
        "response_url": url,
        "status_url": format!("{url}/status"),
        "cancel_url": format!("{url}/cancel"),
    });
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    body
}

/// What a status answer or event says.
pub(super) fn status_body(job: &Job, position: usize, with_logs: bool, now: Moment) -> Value {
    let logs = || {
        if with_logs { json!(job.logs(now)) } else { Value::Null }
    };
    let mut body = match &job.phase {
        Phase::Waiting => {
            let jump = if job.faults.has(Knob::PosJump) { (job.polls as usize % 3) * 7 } else { 0 };
            described(job, "IN_QUEUE", json!({ "queue_position": position + jump }))
        }
        Phase::Running { .. } => described(job, "IN_PROGRESS", json!({ "logs": logs() })),
        Phase::Done { started, at, outcome } => {
            let seconds = started.map_or(0.0, |started| at.since(started).as_secs_f64());
            let metrics = json!({ "inference_time": seconds });
            let mut more = json!({ "logs": logs(), "metrics": metrics });
            if let Err(failure) = outcome {
                more["error"] = json!(failure.error);
                more["error_type"] = json!(failure.kind);
            }
            described(job, "COMPLETED", more)
        }
    };
    if job.faults.has(Knob::UnknownStatus) {
        body["status"] = json!("PAUSED");
    }
    if let Some(body) = body.as_object_mut().filter(|_| job.faults.has(Knob::OmitLogs)) {
        body.remove("logs");
    }
    body
}

fn tagged(response: Response, id: Uuid) -> Response {
    with(response, "x-fal-request-id", &id.to_string())
}
