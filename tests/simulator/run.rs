//! `fal.run`.

use generatio::simulator::{Clock, Options};
use serde_json::{Value, json};
use std::time::Duration;

use crate::support::{start, start_at, text};

fn fast() -> Options {
    Options { run_time: Some(Duration::from_millis(5)), ..Options::default() }
}

#[tokio::test]
async fn a_run_answers_with_the_output_and_bills_it() {
    let sim = start_at(fast(), Clock::ticking()).await;
    let reply = sim.post("/run/fal-ai/flux/schnell").key("a:1").json(&json!({ "prompt": "x", "seed": 3 })).send().await;
    assert_eq!(reply.header("x-fal-billable-units"), "1");
    assert_eq!(reply.header("x-fal-request-id").len(), 36);
    let output = reply.expect(200);
    assert_eq!((&output["seed"], output["images"].as_array().map(Vec::len)), (&json!(3), Some(1)));
    assert_eq!(sim.account("a").await["charges"][0]["cost_total"], 0.003);
}

#[tokio::test]
async fn a_wrong_input_fails_a_run_at_once_and_costs_nothing() {
    let sim = start().await;
    let reply = sim.post("/run/fal-ai/flux/schnell").key("a:1").json(&json!({ "num_images": 5, "prompt": "x" })).send().await;
    assert_eq!(reply.header("x-fal-billable-units"), "0");
    assert_eq!(reply.expect(422)["detail"][0]["ctx"], json!({ "le": 4 }));
    let reply = sim.post("/run/fal-ai/flux/nosuch").key("a:1").json(&json!({ "prompt": "x" })).send().await;
    assert_eq!(reply.expect(404), json!({ "detail": "Path /nosuch not found" }));
    assert_eq!(sim.account("a").await["charges"], json!([]));
}

#[tokio::test]
async fn a_run_beyond_the_accounts_slots_is_429_and_says_to_retry() {
    let sim = start().await;
    for _ in 0..2 {
        sim.prompt("a:1", "x [[sim:stuck_progress]]").await;
    }
    sim.advance(1.0);
    let reply = sim.post("/run/fal-ai/flux/schnell").key("a:1").json(&json!({ "prompt": "x" })).send().await;
    assert_eq!(reply.header("x-fal-needs-retry"), "1");
    assert_eq!(reply.expect(429)["error_type"], "concurrent_requests_limit");
}

#[tokio::test]
async fn a_streamed_run_ends_with_the_output() {
    let sim = start_at(fast(), Clock::ticking()).await;
    for endpoint in ["fal-ai/flux/schnell", "fal-ai/hidream-i1-dev"] {
        let reply = sim.post(&format!("/run/{endpoint}/stream")).key("a:1").json(&json!({ "prompt": "x" })).send().await;
        assert_eq!(reply.header("content-type"), "text/event-stream");
        let events = String::from_utf8(reply.body.to_vec()).unwrap();
        let last = events.trim_end().rsplit("\n\n").next().unwrap().strip_prefix("data: ").unwrap();
        let output: Value = serde_json::from_str(last).unwrap();
        assert_eq!(text(&output, "prompt"), "x");
    }
}

#[tokio::test]
async fn runs_and_the_queue_share_an_accounts_refusals() {
    let sim = start().await;
    for (key, status) in [("bad:1", 401), ("locked:1", 403), ("empty:1", 403), ("scope:1", 403)] {
        let reply = sim.post("/run/fal-ai/flux/schnell").key(key).json(&json!({ "prompt": "x" })).send().await;
        assert_eq!(reply.status, status, "{key}");
    }
    let reply = sim.post("/run/nobody/nothing").key("a:1").json(&json!({ "prompt": "x" })).send().await;
    assert_eq!(reply.expect(404), json!({ "detail": "Application \"nothing\" not found" }));
}
