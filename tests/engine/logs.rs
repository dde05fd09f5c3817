//! What the log says of requests, keys, sessions, jobs and money.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::simulator::Simulator;
use crate::support::relay::Relay;
use crate::support::{Sidecar, header, until};
use crate::world::{SOON, USERS_PASSWORD, World, picture};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Every line of the log, read as JSON.
fn lines(sidecar: &Sidecar) -> Vec<Value> {
    sidecar.log().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
}

fn audit(sidecar: &Sidecar, event: &str) -> Vec<Value> {
    lines(sidecar).into_iter().filter(|line| line["target"] == "audit" && line["event"] == event).collect()
}

#[tokio::test]
async fn a_request_its_job_and_all_that_is_asked_of_pocketbase_have_one_id() {
    let relayed = std::sync::OnceLock::new();
    // The relay carries no files.
    let world = World::before(Simulator::quick(), &["--log", "info", "--log-format", "json"], |pocketbase| {
        let relay = Relay::before(pocketbase);
        let address = relay.address;
        assert!(relayed.set(relay).is_ok());
        address
    });
    let user = world.user().await;
    let headers = [("x-request-id", "one-2.3"), ("traceparent", PARENT), ("prefer", "respond-async")];
    let begun = user.send(Method::POST, "generate/image?hidden=query", &headers, &picture("a lighthouse [[sim:result.422]]")).await;
    assert_eq!((begun.status, begun.header("x-request-id")), (202, "one-2.3"));
    let job = begun.body["id"].as_str().unwrap().to_owned();
    user.ended(&job).await;
    until("the end was logged", || audit(&world.sidecar, "job_settled").iter().any(|line| line["job"] == job.as_str()));

    let all = lines(&world.sidecar);
    let line = all.iter().find(|line| line["target"] == "request" && line["request_id"] == "one-2.3").unwrap();
    for (field, expected) in
        [("method", "POST"), ("route", "/api/custom/generate/image"), ("user", &user.id), ("address", "127.0.0.1"), ("trace_id", TRACE)]
    {
        assert_eq!(line[field], expected, "{line}");
    }
    assert!(line["status"] == 202 && line["duration_ms"].is_number(), "{line}");
    let of_the_job: Vec<&Value> = all.iter().filter(|line| line["job"] == job.as_str()).collect();
    for event in ["job_begun", "job_submitted", "job_settled"] {
        assert!(of_the_job.iter().any(|line| line["event"] == event), "{event}: {of_the_job:#?}");
    }
    for status in ["submitting", "queued"] {
        assert!(of_the_job.iter().any(|line| line["status"] == status), "{status}: {of_the_job:#?}");
    }
    assert!(of_the_job.iter().all(|line| line["span"]["request_id"] == "one-2.3" && line["span"]["trace_id"] == TRACE), "{of_the_job:#?}");

    let heads = relayed.get().unwrap().heads();
    let told: Vec<&String> = heads.iter().filter(|head| header(head, "x-request-id") == Some("one-2.3")).collect();
    for path in ["POST /api/collections/generations/records", "PATCH /api/collections/generations/records/"] {
        assert!(told.iter().any(|head| head.starts_with(path)), "{path}: {told:#?}");
    }
    assert!(told.iter().all(|head| header(head, "traceparent") == Some(PARENT)), "{told:#?}");
    for secret in [user.token.as_str(), &user.session, "s3cret-of-a-key", USERS_PASSWORD, "hidden=query", "a lighthouse"] {
        assert!(!world.sidecar.log().contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn keys_and_sessions_leave_a_trail() {
    let world = World::start(&["--log", "info", "--log-format", "json"]);
    let mut user = world.user().await;
    user.store(&user.key.clone()).await;
    assert_eq!(user.post("auth/create-session", &json!({ "password": "wrong" })).await.status, 401);
    for password in ["wrong again", "wrong again", "wrong again"] {
        let answer = user.post("tokens/verify", &json!({ "password": password })).await;
        assert!([200, 429].contains(&answer.status), "{answer:?}");
    }
    let throttled = user.post("auth/create-session", &json!({ "password": USERS_PASSWORD })).await;
    assert_eq!(throttled.status, 429, "{throttled:?}");
    assert_eq!(user.send(Method::DELETE, "auth/session", &[], &Value::Null).await.status, 200);
    assert_eq!(user.send(Method::DELETE, "tokens", &[], &Value::Null).await.status, 200);
    for event in ["key_stored", "key_replaced", "session_opened", "wrong_password", "unlock_throttled", "session_ended", "key_deleted"] {
        let found = audit(&world.sidecar, event);
        assert!(found.iter().any(|line| line["user"] == user.id.as_str()), "{event}: {found:?}\n{}", world.sidecar.log());
    }
    assert_eq!(audit(&world.sidecar, "session_ended")[0]["reason"], "logged_out");
    // Nobody is known to have asked, and everybody's monitor asks.
    assert_eq!(user.send(Method::GET, "status", &[], &Value::Null).await.status, 200);
    assert_eq!(user.send(Method::GET, "no/such/route", &[("authorization", "")], &Value::Null).await.status, 404);
    let strange = lines(&world.sidecar).into_iter().find(|line| line["route"] == "none").unwrap();
    assert!(strange["status"] == 404 && strange["user"].is_null(), "{strange}");
    assert!(!lines(&world.sidecar).iter().any(|line| line["route"] == "/api/custom/status"), "at debug alone");
}

#[tokio::test]
async fn what_is_done_after_the_client_left_is_still_logged_under_its_request() {
    let world = World::start(&["--log", "info", "--log-format", "json"]);
    let user = world.user().await;
    let asked = user.clone();
    let request =
        tokio::spawn(
            async move { asked.try_send(Method::POST, "generate/image", &[("x-request-id", "left-early")], &picture("a boat")).await },
        );
    until_async(|| !audit(&world.sidecar, "job_begun").is_empty()).await;
    request.abort();
    until_async(|| lines(&world.sidecar).iter().any(|line| line["target"] == "request" && line["request_id"] == "left-early")).await;
    let settled = audit(&world.sidecar, "job_settled");
    assert!(settled.iter().any(|line| line["span"]["request_id"] == "left-early"), "{settled:?}");
}

async fn until_async(mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "not within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
