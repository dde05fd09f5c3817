//! Webhooks: a signed POST when a request ends, sent again until somebody takes it or the result is gone.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use aws_lc_rs::{digest, error};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::accounts::Key;
use super::faults::Knob;
use super::job::Job;
use super::journal::{Entry, hex};
use super::output;
use super::world::World;

/// How long FAL waits for the first answer, and for those after it.
const FIRST_WAIT: Duration = Duration::from_secs(15);
const LATER_WAIT: Duration = Duration::from_secs(120);
/// The time between two attempts.
const PAUSE: Duration = Duration::from_secs(120);
const MOST_ATTEMPTS: u32 = 31;
/// Attempts end with the result's life, at most an hour.
const LONGEST: Duration = Duration::from_secs(3600);
/// Deliveries under way at once; further ones wait in line.
const AT_ONCE: usize = 256;

/// The simulator's own Ed25519 key.
#[derive(Debug)]
pub struct Signer {
    pair: Ed25519KeyPair,
    id: String,
}

impl Signer {
    /// A new key.
    pub fn new() -> Result<Self, error::Unspecified> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())?;
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| error::Unspecified)?;
        Ok(Signer { pair, id: Uuid::new_v4().simple().to_string() })
    }

    /// What `/.well-known/jwks.json` says.
    pub fn jwks(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.id, "x": x }] })
    }

    /// Signs request id, user id, time stamp and the hash of the body, a line each.
    pub fn sign(&self, request: &str, user: &str, timestamp: &str, body: &[u8]) -> String {
        let hash = hex(digest::digest(&digest::SHA256, body).as_ref());
        hex(self.pair.sign(format!("{request}\n{user}\n{timestamp}\n{hash}").as_bytes()).as_ref())
    }
}

/// Sends what the outbox holds, until it is told to stop. It owns every delivery.
pub async fn deliver_all(world: Arc<World>, stop: CancellationToken) {
    let mut changes = world.changes();
    let mut deliveries = JoinSet::new();
    loop {
        let room = AT_ONCE.saturating_sub(deliveries.len());
        let (due, next) = world.look(|state, _| {
            let count = room.min(state.outbox.len());
            (state.outbox.drain(..count).collect::<Vec<_>>(), state.next_moment())
        });
        for (key, id) in due {
            deliveries.spawn(deliver(world.clone(), key, id));
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = world.change_or(&mut changes, next) => {}
            Some(_) = deliveries.join_next() => {}
        }
    }
}

/// One request's delivery, with its attempts.
async fn deliver(world: Arc<World>, key: Key, id: Uuid) {
    let found = world.look(|state, _| {
        let (account, id) = state.job(&key, id)?;
        Some((account.jobs.get(&id)?.clone(), account.user_id.clone()))
    });
    let Some((job, user)) = found else { return };
    if job.faults.has(Knob::WebhookNever) {
        return;
    }
    let Some((ended, target)) = job.ended().map(|(at, _)| at).zip(job.webhook.clone()) else {
        return;
    };
    if let Some(seconds) = job.faults.number(Knob::WebhookLate) {
        world.clock.pass(Duration::from_secs(seconds)).await;
    }
    let last = job.forgotten().unwrap_or(ended).min(ended.plus(LONGEST));
    let body = Bytes::from(message(&world, &job).await.to_string());
    let repeats = if job.faults.has(Knob::WebhookDup) { 2 } else { 1 };
    for attempt in 0..MOST_ATTEMPTS {
        let wait = if attempt == 0 { FIRST_WAIT } else { LATER_WAIT };
        let mut taken = Attempt::Again;
        for _ in 0..repeats {
            taken = post(&world, &job, &user, &target, body.clone(), wait).await;
        }
        let next = world.clock.now().plus(PAUSE);
        if !matches!(taken, Attempt::Again) || next > last {
            return;
        }
        world.clock.reach(Some(next)).await;
    }
}

/// What FAL posts: success or failure, and what the model returned.
async fn message(world: &Arc<World>, job: &Job) -> Value {
    let mut message =
        json!({ "request_id": job.id.to_string(), "gateway_request_id": job.id.to_string(), "status": "OK", "payload": null });
    match job.ended() {
        Some((_, Ok(_))) if job.faults.has(Knob::WebhookPayloadNull) => {
            message["payload_error"] = json!("Response payload is not JSON serializable");
        }
        Some((_, Ok(order))) => message["payload"] = output::body(world, job, order).await,
        Some((_, Err(failure))) => {
            message["status"] = json!("ERROR");
            message["error"] = json!(format!("Invalid status code: {}", failure.status));
            message["payload"] = failure.body.clone();
        }
        None => {}
    }
    message
}

enum Attempt {
    Taken,
    Again,
    Never,
}

async fn post(world: &World, job: &Job, user: &str, target: &str, body: Bytes, wait: Duration) -> Attempt {
    let Ok(uri) = target.parse::<Uri>() else {
        return Attempt::Never;
    };
    let request = signed(world, job, user, &uri, body);
    let status = match request {
        Some(request) => tokio::time::timeout(wait, send(&uri, request)).await.ok().and_then(Result::ok),
        None => return Attempt::Never,
    };
    world.act(|state, now| {
        state.journal.note(Entry {
            at: now.iso(),
            kind: "webhook",
            method: "POST".to_owned(),
            path: uri.path().to_owned(),
            status: status.map_or(0, |status| status.as_u16()),
            key_id: None,
        });
    });
    match status {
        Some(status) if status.is_success() => Attempt::Taken,
        Some(status) if status.is_redirection() => Attempt::Never,
        Some(_) | None => Attempt::Again,
    }
}

fn signed(world: &World, job: &Job, user: &str, uri: &Uri, body: Bytes) -> Option<Request<Full<Bytes>>> {
    let age = if job.faults.has(Knob::WebhookOldTs) { 3600 } else { 0 };
    let timestamp = world.clock.now().unix_seconds().saturating_sub(age).to_string();
    let id = job.id.to_string();
    let mut signature = world.signer.sign(&id, user, &timestamp, &body);
    if job.faults.has(Knob::WebhookBadSig) {
        signature = "0".repeat(signature.len());
    }
    Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, uri.authority()?.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, "generatio-fal-sim")
        .header("x-fal-webhook-request-id", id)
        .header("x-fal-webhook-user-id", user)
        .header("x-fal-webhook-timestamp", timestamp)
        .header("x-fal-webhook-signature", signature)
        .body(Full::new(body))
        .ok()
}

/// Plain HTTP only: who receives from a simulator sits on the same machine.
async fn send(uri: &Uri, request: Request<Full<Bytes>>) -> std::io::Result<StatusCode> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if uri.scheme_str() != Some("http") {
        return Err(std::io::Error::other("only http targets are spoken to"));
    }
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    // Owning the sender, this ends the connection when it has its answer.
    let answer = async move { sender.send_request(request).await.map(|response| response.status()) };
    let (status, _) = tokio::join!(answer, connection);
    status.map_err(std::io::Error::other)
}
