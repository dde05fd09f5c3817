//! What is checked before a request becomes a job, in FAL's order, for the queue and for direct runs alike.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::accounts::Key;
use super::answer::{Stop, detail, failure, nginx_502, with};
use super::call::Call;
use super::clock::Moment;
use super::failure::Failure;
use super::faults::{Faults, Knob};
use super::job::{Job, Outcome, Phase};
use super::models;
use super::world::{State, USUAL_MEDIA_LIFETIME, World};

/// Namespaces that put one more segment before an app's owner.
pub const NAMESPACES: [&str; 2] = ["workflows", "comfy"];

/// Which app a path means, and which path under it.
#[derive(Debug)]
pub struct Target {
    /// `owner/app`, with a namespace before it where there is one.
    pub app: String,
    /// The rest, without a leading slash.
    pub sub: String,
}

impl Target {
    /// Reads the route's parameters.
    pub fn of(call: &Call) -> Self {
        let second = call.path.split('/').nth(2).unwrap_or_default();
        let namespace = NAMESPACES.iter().find(|name| **name == second).map(|name| format!("{name}/"));
        let app = format!("{}{}/{}", namespace.unwrap_or_default(), call.param("owner"), call.param("app"));
        Target { app, sub: call.param("sub").trim_end_matches('/').to_owned() }
    }

    /// The whole endpoint id.
    pub fn endpoint(&self) -> String {
        if self.sub.is_empty() { self.app.clone() } else { format!("{}/{}", self.app, self.sub) }
    }

    fn name(&self) -> &str {
        self.app.rsplit('/').next().unwrap_or_default()
    }
}

/// A request that passed every check but is no job yet.
#[derive(Debug)]
pub struct Accepted {
    /// Whose.
    pub key: Key,
    /// How often it has been sent, this time included.
    pub attempt: u64,
    /// The job it becomes.
    pub job: Job,
    fingerprint: String,
}

/// 401, 403, 404, then the deliberate refusals.
pub fn check(world: &World, state: &mut State, now: Moment, call: &Call, target: &Target, body: &Bytes) -> Result<Accepted, Stop> {
    let key = state.caller(call, &target.app, now)?;
    let parsed: Result<Value, _> = serde_json::from_slice(body);
    let prompt = parsed.as_ref().ok().and_then(|input| input["prompt"].as_str()).unwrap_or_default();
    let mut faults = Faults::in_text(prompt).map_err(|unknown| detail(400, &unknown.to_string()))?;
    faults.extend(&state.faults(&key));
    let input = parsed.as_ref().cloned().unwrap_or_default();
    let (fingerprint, attempt) = state.journal.posted(key.id(), &target.endpoint(), &input);
    state.admit(&key, &faults)?;
    if !models::app_exists(&target.app) {
        return Err(detail(404, &format!("Application \"{}\" not found", target.name())).into());
    }
    refuse(&faults, attempt)?;
    let outcome = match parsed {
        Ok(input) => outcome(target, &input, &faults),
        Err(error) => Err(Failure::validation(vec![json!({
            "loc": ["body", error.column()], "msg": "JSON decode error", "type": "json_invalid", "input": {},
        })])),
    };
    let job = job(world, call, target, now, input, faults, outcome);
    Ok(Accepted { key, attempt, job, fingerprint })
}

/// The faults that refuse a submit before it is accepted.
fn refuse(faults: &Faults, attempt: u64) -> Result<(), Stop> {
    if faults.acts(Knob::DropBeforeAccept, attempt) {
        return Err(Stop::Cut);
    }
    if faults.acts(Knob::TooMany, attempt) {
        return Err(detail(429, "Too many requests").into());
    }
    if faults.acts(Knob::ServerError, attempt) {
        return Err(failure(&Failure::infrastructure("runner_scheduling_failure")).into());
    }
    if faults.acts(Knob::Html502, attempt) {
        return Err(nginx_502().into());
    }
    Ok(())
}

/// How the model will end, known from the start.
fn outcome(target: &Target, input: &Value, faults: &Faults) -> Outcome {
    let Some(model) = models::find(&target.endpoint()) else {
        return Err(Failure::no_such_path(&format!("/{}", target.sub)));
    };
    let order = models::read(model, input, fresh_seed())?;
    if let Some(kind) = faults.word(Knob::ModelError) {
        return Err(Failure::model(kind, &input["prompt"]));
    }
    if let Some(kind) = faults.word(Knob::Fail) {
        return Err(Failure::infrastructure(kind));
    }
    Ok(order)
}

/// Any of 2^64: most do not fit a JavaScript number, and some clients must learn that here.
fn fresh_seed() -> u64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    high.rotate_left(32) ^ low
}

fn job(world: &World, call: &Call, target: &Target, now: Moment, input: Value, faults: Faults, outcome: Outcome) -> Job {
    let options = &world.options;
    let usual = models::find(&target.endpoint()).map_or(Duration::ZERO, |model| model.run_time);
    let laps = u32::try_from(faults.number(Knob::RunnerRetry).unwrap_or(0).min(10)).unwrap_or(0) + 1;
    let run_time = options.run_time.unwrap_or(usual).saturating_mul(laps);
    let deadline = if faults.has(Knob::StartTimeout) { Some(Duration::ZERO) } else { start_timeout(call) };
    Job {
        id: Uuid::new_v4(),
        endpoint: target.endpoint(),
        app: target.app.clone(),
        input,
        bases: call.bases.clone(),
        submitted: now,
        ready: (!faults.has(Knob::StuckQueue) && !faults.has(Knob::StartTimeout)).then(|| now.plus(options.queue_delay)),
        start_by: deadline.map(|deadline| now.plus(deadline)),
        run_time: (!faults.has(Knob::StuckProgress)).then_some(run_time),
        stored: call.header("x-fal-store-io") != Some("0"),
        media_lifetime: media_lifetime(call).unwrap_or(USUAL_MEDIA_LIFETIME),
        webhook: call.query("fal_webhook").map(str::to_owned),
        faults,
        outcome,
        phase: Phase::Waiting,
        polls: 0,
        fetches: 0,
        downloads: 0,
    }
}

/// The new name wins over the deprecated one, which published clients still send.
fn start_timeout(call: &Call) -> Option<Duration> {
    let value = call.header("x-fal-request-start-timeout").or_else(|| call.header("x-fal-request-timeout"))?;
    let seconds: f64 = value.trim().parse().ok().filter(|seconds| *seconds > 0.1)?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// From either of the two names FAL's clients use; an upload's is the shorter.
pub fn media_lifetime(call: &Call) -> Option<Duration> {
    let text = call.header("x-fal-object-lifecycle-preference").or_else(|| call.header("x-fal-object-lifecycle"))?;
    let wish: Value = serde_json::from_str(text).ok()?;
    wish["expiration_duration_seconds"].as_u64().map(Duration::from_secs)
}

impl Accepted {
    /// Writes it down. From here on it exists, whatever its caller learns of it.
    pub fn enter(self, state: &mut State) -> Result<Job, Stop> {
        state.remember(&self.key, self.job.id)?;
        state.journal.accepted(&self.fingerprint);
        state.journal.count("accepted");
        if let Some(account) = state.accounts.get_mut(&self.key) {
            account.jobs.insert(self.job.id, self.job.clone());
        }
        Ok(self.job)
    }
}

/// FAL's answer to more direct runs than an account may have at once.
pub fn too_many_at_once(width: usize) -> Stop {
    let words = format!("You have exceeded your limit of {width} concurrent requests");
    let body = json!({ "detail": words, "error_type": "concurrent_requests_limit" });
    let response = with(super::answer::json(429, &body), "x-fal-needs-retry", "1");
    with(response, "x-fal-error-type", "concurrent_requests_limit").into()
}
