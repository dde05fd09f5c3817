//! `queue.fal.run`: its URLs, the states of a request, and what it comes to.

use generatio::simulator::Options;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::support::{SCHNELL, ask, start, start_with, text};

#[tokio::test]
async fn a_submit_is_answered_with_urls_that_name_only_owner_and_app() {
    let sim = start().await;
    let job = sim.prompt("a:1", "a cat").await;
    let url = format!("{}/queue/fal-ai/flux/requests/{}", sim.base, text(&job, "request_id"));
    assert_eq!(job["status"], "IN_QUEUE");
    assert_eq!(job["queue_position"], 0);
    assert_eq!(job["response_url"], url);
    assert_eq!(job["status_url"], format!("{url}/status"));
    assert_eq!(job["cancel_url"], format!("{url}/cancel"));
}

#[tokio::test]
async fn a_status_is_202_while_pending_and_200_when_completed() {
    let sim = start().await;
    let job = sim.prompt("a:1", "a cat").await;
    let url = text(&job, "status_url");
    let status = || ask("GET", &format!("{url}?logs=1")).key("a:1").send();

    let waiting = status().await.expect(202);
    assert_eq!((&waiting["status"], &waiting["queue_position"]), (&json!("IN_QUEUE"), &json!(0)));
    sim.advance(0.1);
    let running = status().await.expect(202);
    assert_eq!(running["status"], "IN_PROGRESS");
    assert_eq!(running["logs"][0]["source"], "USER");
    sim.advance(0.399);
    status().await.expect(202);
    sim.advance(0.001);
    let reply = status().await;
    assert_eq!(reply.header("x-fal-request-id"), text(&job, "request_id"));
    let done = reply.expect(200);
    assert_eq!(done["status"], "COMPLETED");
    assert_eq!(done["metrics"]["inference_time"], 0.4);
    for name in ["response_url", "status_url", "cancel_url", "request_id"] {
        assert_eq!(done[name], job[name]);
    }
    let quiet = ask("GET", url).key("a:1").send().await.expect(200);
    assert_eq!(quiet.get("logs"), Some(&Value::Null));
}

#[tokio::test]
async fn a_result_before_the_end_is_400_and_after_it_what_the_model_returned() {
    let sim = start().await;
    let job = sim.submit("a:1", SCHNELL, json!({ "prompt": "two", "num_images": 2, "seed": u64::MAX - 1 })).await;
    let url = text(&job, "response_url");
    let early = ask("GET", url).key("a:1").send().await.expect(400);
    assert_eq!(early, json!({ "detail": "Request is still in progress" }));
    sim.advance(1.0);
    let reply = ask("GET", url).key("a:1").send().await;
    assert_eq!(reply.header("x-fal-billable-units"), "2");
    assert_eq!(reply.header("x-fal-request-id"), text(&job, "request_id"));
    let result = reply.expect(200);
    assert_eq!(result["seed"], u64::MAX - 1);
    assert_eq!(result["has_nsfw_concepts"], json!([false, false]));
    assert_eq!(result["prompt"], "two");
    assert_eq!(result["images"][1]["content_type"], "image/jpeg");
    assert_eq!((&result["images"][1]["width"], &result["images"][1]["height"]), (&json!(1024), &json!(768)));
}

#[tokio::test]
async fn a_missing_seed_becomes_any_of_2_to_the_64() {
    let sim = start().await;
    let mut seeds = Vec::new();
    for _ in 0..8 {
        let job = sim.submit("a:1", SCHNELL, json!({ "prompt": "any", "seed": null })).await;
        sim.advance(1.0);
        let result = ask("GET", text(&job, "response_url")).key("a:1").send().await.expect(200);
        seeds.push(result["seed"].as_u64().unwrap());
    }
    assert!(seeds.iter().any(|seed| *seed > 1 << 53), "{seeds:?}");
    seeds.dedup();
    assert_eq!(seeds.len(), 8);
}

#[tokio::test]
async fn namespaces_shift_owner_and_app_by_one_segment() {
    let sim = start().await;
    for namespace in ["workflows", "comfy"] {
        let job = sim.submit("a:1", &format!("{namespace}/simulator/postcard"), json!({ "prompt": "x" })).await;
        let prefix = format!("{}/queue/{namespace}/simulator/postcard/requests/", sim.base);
        assert!(text(&job, "status_url").starts_with(&prefix), "{job}");
        sim.advance(5.0);
        ask("GET", text(&job, "response_url")).key("a:1").send().await.expect(200);
    }
}

#[tokio::test]
async fn a_result_lives_as_long_as_its_size_and_its_payload_storage_say() {
    let sim = start().await;
    const MINUTE: f64 = 60.0;
    let scenarios = [
        ("0", false, 60.0 * MINUTE),
        ("0", true, 6.0 * MINUTE),
        ("1", false, 30.0 * 24.0 * 60.0 * MINUTE),
        ("1", true, 30.0 * 24.0 * 60.0 * MINUTE),
    ];
    for (store, inline, lifetime) in scenarios {
        let submit = sim.post("/queue/fal-ai/flux/schnell").key("a:1").header("x-fal-store-io", store);
        let job = submit.json(&json!({ "prompt": "x", "sync_mode": inline })).send().await.expect(200);
        sim.advance(0.5);
        let result = || ask("GET", text(&job, "response_url")).key("a:1").send();
        sim.advance(lifetime - 1.0);
        assert_eq!(result().await.status, 200, "{store} {inline}");
        sim.advance(1.0);
        assert_eq!(result().await.status, 404, "{store} {inline}");
    }
}

#[tokio::test]
async fn nothing_makes_a_submit_idempotent() {
    let sim = start().await;
    let (first, second) = (sim.prompt("a:1", "same").await, sim.prompt("a:1", "same").await);
    assert_ne!(first["request_id"], second["request_id"]);
    sim.advance(5.0);
    assert_eq!(sim.account("a").await["charges"].as_array().unwrap().len(), 2);
    let submits = sim.sim("submits?prompt=same").await;
    assert_eq!((&submits["submits"][0]["posts"], &submits["submits"][0]["accepted"]), (&json!(2), &json!(2)));
}

#[tokio::test]
async fn a_status_stream_sends_changes_and_comments_and_ends_after_completed() {
    let sim = start().await;
    let job = sim.submit("a:1", "fal-ai/hidream-i1-dev", json!({ "prompt": "x" })).await;
    let stuck = sim.prompt("a:1", "x [[sim:stuck_queue]]").await;
    let stream = ask("GET", &format!("{}/stream?logs=1", text(&job, "status_url"))).key("a:1").open().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut body = stream.into_body();
    let mut heard = String::new();
    while let Some(frame) = body.frame().await {
        heard.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
        sim.advance(1.0);
    }
    let events: Vec<Value> = heard.split("\n\n").filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok()).collect();
    let states: Vec<&str> = events.iter().map(|event| text(event, "status")).collect();
    assert_eq!(states.first(), Some(&"IN_QUEUE"), "{heard}");
    assert_eq!(states.last(), Some(&"COMPLETED"), "{heard}");
    assert!(states.contains(&"IN_PROGRESS"), "{heard}");

    let quiet = ask("GET", &format!("{}/stream", text(&stuck, "status_url"))).key("a:1").open().await.unwrap();
    let mut quiet = quiet.into_body();
    quiet.frame().await.unwrap().unwrap();
    sim.advance(15.0);
    let ping = quiet.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(ping.starts_with(b":"), "{ping:?}");
}

#[tokio::test]
async fn fals_host_names_route_without_a_prefix_and_come_back_in_urls() {
    let sim = start().await;
    let submit = sim.post("/fal-ai/flux/schnell").header("host", "queue.fal.run").key("a:1");
    let job = submit.json(&json!({ "prompt": "x" })).send().await.expect(200);
    assert!(text(&job, "status_url").starts_with("http://queue.fal.run/fal-ai/flux/requests/"), "{job}");
    let scenarios = [
        ("fal.run", "POST", "/fal-ai/flux/schnell", 422),
        ("rest.fal.ai", "GET", "/billing/user_balance", 200),
        ("api.fal.ai", "GET", "/v1/meta", 200),
        ("v3.fal.media", "GET", "/files/b/0/none.jpg", 404),
        ("example.org", "GET", "/billing/user_balance", 404),
    ];
    for (host, method, path, status) in scenarios {
        let asked = ask(method, &format!("{}{path}", sim.base)).header("host", host).key("a:1").json(&json!({}));
        assert_eq!(asked.send().await.status, status, "{host}");
    }
    let public = start_with(Options { public_url: Some("https://fal.test/".to_owned()), ..Options::default() }).await;
    let job = public.prompt("a:1", "x").await;
    assert!(text(&job, "status_url").starts_with("https://fal.test/queue/fal-ai/flux/"), "{job}");
}
