//! Deliveries, received over a real socket.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::{START, Sim, ask, start, text};

struct Receiver {
    url: String,
    deliveries: mpsc::Receiver<(HeaderMap, Bytes)>,
}

/// A server that answers its deliveries with these statuses in turn, the last one for ever.
async fn receiver(statuses: &[u16]) -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, deliveries) = mpsc::channel(100);
    let statuses = Arc::new(Mutex::new(statuses.to_vec()));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (sender, statuses) = (sender.clone(), statuses.clone());
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let (sender, statuses) = (sender.clone(), statuses.clone());
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let status = {
                        let mut left = statuses.lock();
                        if left.len() > 1 { left.remove(0) } else { left[0] }
                    };
                    sender.send((parts.headers, body)).await.unwrap();
                    let mut response = Response::new(Full::new(Bytes::new()));
                    *response.status_mut() = StatusCode::from_u16(status).unwrap();
                    Ok::<_, hyper::Error>(response)
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Receiver { url, deliveries }
}

impl Receiver {
    async fn next(&mut self) -> (HeaderMap, Bytes) {
        tokio::time::timeout(Duration::from_secs(10), self.deliveries.recv()).await.expect("a delivery").unwrap()
    }

    fn nothing_more(&mut self) -> bool {
        self.deliveries.try_recv().is_err()
    }
}

async fn submit(sim: &Sim, receiver: &Receiver, input: Value) -> Value {
    let url = format!("/queue/fal-ai/flux/schnell?fal_webhook={}", receiver.url.replace(':', "%3A").replace('/', "%2F"));
    sim.post(&url).key("a:1").json(&input).send().await.expect(200)
}

async fn genuine(sim: &Sim, headers: &HeaderMap, body: &Bytes) -> bool {
    let part = |name: &str| headers[&format!("x-fal-webhook-{name}")].to_str().unwrap().to_owned();
    let hash: String = digest(&SHA256, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let message = [part("request-id"), part("user-id"), part("timestamp"), hash].join("\n");
    let keys = sim.get("/rest/.well-known/jwks.json").send().await.expect(200);
    let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text(&keys["keys"][0], "x")).unwrap();
    let hex = part("signature");
    let signature: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    UnparsedPublicKey::new(&ED25519, key).verify(message.as_bytes(), &signature).is_ok()
}

/// Waits until the simulator has noted this many delivery attempts.
async fn attempts(sim: &Sim, count: u64) {
    while sim.sim("counters").await["webhook"].as_u64().unwrap_or(0) < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_finished_request_is_posted_once_signed_and_with_its_output() {
    let sim = start().await;
    let mut receiver = receiver(&[200]).await;
    let job = submit(&sim, &receiver, json!({ "prompt": "x", "seed": 5 })).await;
    sim.advance(0.5);
    let (headers, body) = receiver.next().await;
    assert!(genuine(&sim, &headers, &body).await);
    assert_eq!(headers["x-fal-webhook-timestamp"], ((START + 500) / 1000).to_string());
    let message: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&message["request_id"], &message["status"]), (&job["request_id"], &json!("OK")));
    assert_eq!((&message["payload"]["seed"], message.get("error")), (&json!(5), None));
    assert!(message["gateway_request_id"].is_string());
    attempts(&sim, 1).await;
    sim.advance(3600.0);
    sim.sim("counters").await;
    assert!(receiver.nothing_more());
}

#[tokio::test]
async fn failures_and_cancellations_are_posted_as_errors() {
    let sim = start().await;
    let mut receiver = receiver(&[200]).await;
    submit(&sim, &receiver, json!({ "prompt": "x", "num_images": 9 })).await;
    sim.advance(0.5);
    let (_, body) = receiver.next().await;
    let message: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&message["status"], &message["error"]), (&json!("ERROR"), &json!("Invalid status code: 422")));
    assert_eq!(message["payload"]["detail"][0]["type"], "less_than_equal");

    let job = submit(&sim, &receiver, json!({ "prompt": "x [[sim:stuck_queue]]" })).await;
    ask("PUT", text(&job, "cancel_url")).key("a:1").send().await.expect(202);
    let (_, body) = receiver.next().await;
    let message: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(message["error"], "Invalid status code: 499");
}

#[tokio::test]
async fn a_delivery_nobody_takes_is_tried_again_every_two_minutes() {
    let sim = start().await;
    let mut receiver = receiver(&[500, 503, 204]).await;
    submit(&sim, &receiver, json!({ "prompt": "x" })).await;
    sim.advance(0.5);
    let first = receiver.next().await;
    attempts(&sim, 1).await;
    sim.advance(119.0);
    sim.sim("counters").await;
    assert!(receiver.nothing_more());
    sim.advance(1.0);
    let second = receiver.next().await;
    assert_eq!(first.1, second.1);
    assert!(genuine(&sim, &second.0, &second.1).await);
    attempts(&sim, 2).await;
    sim.advance(120.0);
    receiver.next().await;
    attempts(&sim, 3).await;
    sim.advance(1200.0);
    sim.sim("counters").await;
    assert!(receiver.nothing_more());
}

#[tokio::test]
async fn attempts_end_with_the_results_life_and_at_a_redirect() {
    let sim = start().await;
    let mut refusing = receiver(&[500]).await;
    submit(&sim, &refusing, json!({ "prompt": "x" })).await;
    sim.advance(0.5);
    for attempt in 1..=31 {
        refusing.next().await;
        attempts(&sim, attempt).await;
        sim.advance(120.0);
    }
    sim.advance(7200.0);
    sim.sim("counters").await;
    assert!(refusing.nothing_more());

    let mut elsewhere = receiver(&[302]).await;
    submit(&sim, &elsewhere, json!({ "prompt": "y" })).await;
    sim.advance(0.5);
    elsewhere.next().await;
    attempts(&sim, 32).await;
    sim.advance(600.0);
    sim.sim("counters").await;
    assert!(elsewhere.nothing_more());
}

#[tokio::test]
async fn faults_of_webhooks() {
    let sim = start().await;
    let mut receiver = receiver(&[200]).await;

    submit(&sim, &receiver, json!({ "prompt": "x [[sim:dup]]" })).await;
    sim.advance(0.5);
    assert_eq!(receiver.next().await.1, receiver.next().await.1);

    submit(&sim, &receiver, json!({ "prompt": "x [[sim:bad_sig]]" })).await;
    sim.advance(0.5);
    let (headers, body) = receiver.next().await;
    assert!(!genuine(&sim, &headers, &body).await);

    submit(&sim, &receiver, json!({ "prompt": "x [[sim:old_ts]]" })).await;
    sim.advance(0.5);
    let (headers, body) = receiver.next().await;
    assert!(genuine(&sim, &headers, &body).await);
    let age = (START / 1000).saturating_sub(headers["x-fal-webhook-timestamp"].to_str().unwrap().parse().unwrap());
    assert!(age > 3500, "{age}");

    submit(&sim, &receiver, json!({ "prompt": "x [[sim:payload_null]]" })).await;
    sim.advance(0.5);
    let message: Value = serde_json::from_slice(&receiver.next().await.1).unwrap();
    assert_eq!((&message["status"], &message["payload"]), (&json!("OK"), &Value::Null));
    assert!(message["payload_error"].is_string());

    attempts(&sim, 5).await;
    submit(&sim, &receiver, json!({ "prompt": "x [[sim:never]]" })).await;
    submit(&sim, &receiver, json!({ "prompt": "late [[sim:late:90]]" })).await;
    sim.advance(0.5);
    sim.sim("counters").await;
    assert!(receiver.nothing_more());
    // Until the delivery has begun to wait, moving the clock would move its start too.
    let waited = async {
        loop {
            sim.advance(30.0);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let late = tokio::select! { late = receiver.next() => late, () = waited => unreachable!() };
    let message: Value = serde_json::from_slice(&late.1).unwrap();
    assert!(text(&message["payload"], "prompt").starts_with("late"));
}
