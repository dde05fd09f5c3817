//! What `queue.fal.run` refuses, at once or at the result.

use generatio::simulator::Options;
use serde_json::{Value, json};

use crate::support::{FAST, SCHNELL, Sim, ask, start, start_with, text};

/// `Authorization`, path, status, words.
const REFUSALS: [(&str, &str, u16, &str); 8] = [
    ("", EVERYTHING, 401, NO_KEY),
    ("Key nonsense", EVERYTHING, 401, "invalid key credentials"),
    ("Key bad:1", EVERYTHING, 401, "invalid key credentials"),
    ("Key locked:1", EVERYTHING, 403, ADMIN_LOCK),
    ("Key empty:1", EVERYTHING, 403, EXHAUSTED),
    ("Key scope:1", EVERYTHING, 403, "Access denied"),
    ("Key a:1", EVERYTHING, 404, "Application \"nothing\" not found"),
    ("Key a:1", FULL, 429, "Queue is full: 1 requests are waiting, at most 0 wanted"),
];

const EVERYTHING: &str = "/queue/nobody/nothing?fal_max_queue_length=0";
const FULL: &str = "/queue/fal-ai/flux/schnell?fal_max_queue_length=0";
const NO_KEY: &str = "Cannot access application \"nobody/nothing\". \
                      Authentication is required to access this application.";
const ADMIN_LOCK: &str = "User is locked. Reason: Admin lock. Please contact hello@fal.ai.";
const EXHAUSTED: &str = "User is locked. Reason: Exhausted balance. \
                         Top up your balance at fal.ai/dashboard/billing.";

#[tokio::test]
async fn refusals_come_in_the_order_401_403_404_429() {
    let sim = start().await;
    sim.prompt("a:1", "fill [[sim:stuck_queue]]").await;
    for (authorization, path, status, words) in REFUSALS {
        let mut submit = sim.post(path).json(&json!({ "prompt": 1, "num_images": "wrong too" }));
        if !authorization.is_empty() {
            submit = submit.header("authorization", authorization);
        }
        let said = submit.send().await.expect(status);
        assert_eq!(said, json!({ "detail": words }), "{authorization} {path}");
    }
    assert_eq!(sim.sim("counters").await["accepted"], 1);
    sim.submit("a:1", "fal-ai/flux/schnell?fal_max_queue_length=1", json!({ "prompt": "fits" })).await;
}

/// Endpoint, what is sent beside a prompt, and each fault's place and type.
const WRONG_INPUTS: [(&str, &str, &str); 14] = [
    (SCHNELL, r#"{"prompt":null}"#, "prompt string_type"),
    (SCHNELL, r#"{"prompt":7}"#, "prompt string_type"),
    (SCHNELL, r#"{"num_inference_steps":13}"#, "num_inference_steps less_than_equal"),
    ("fal-ai/flux/dev", r#"{"num_inference_steps":51}"#, "num_inference_steps less_than_equal"),
    (FAST, r#"{"num_inference_steps":0}"#, "num_inference_steps greater_than_equal"),
    ("fal-ai/hidream-i1-dev", r#"{"negative_prompt":1}"#, "negative_prompt string_type"),
    (SCHNELL, r#"{"guidance_scale":20.5}"#, "guidance_scale less_than_equal"),
    (SCHNELL, r#"{"seed":0.5,"num_images":0}"#, "seed int_type, num_images greater_than_equal"),
    (SCHNELL, r#"{"image_size":"huge"}"#, "image_size enum"),
    (SCHNELL, r#"{"image_size":{"width":0}}"#, "width greater_than"),
    (SCHNELL, r#"{"image_size":{"height":14143}}"#, "height less_than_equal"),
    (SCHNELL, r#"{"output_format":"webp"}"#, "output_format enum"),
    (SCHNELL, r#"{"acceleration":"warp"}"#, "acceleration enum"),
    (SCHNELL, r#"{"sync_mode":"yes"}"#, "sync_mode bool_type"),
];

#[tokio::test]
async fn a_wrong_input_is_accepted_and_fails_at_the_result_with_pydantics_items() {
    let sim = start().await;
    for (endpoint, wrong, expected) in WRONG_INPUTS {
        let mut input = json!({ "prompt": "x" });
        let wrong: serde_json::Map<String, Value> = serde_json::from_str(wrong).unwrap();
        input.as_object_mut().unwrap().extend(wrong);
        let job = sim.submit("a:1", endpoint, input).await;
        assert_eq!(faults(&sim, &job).await, expected);
    }
    let job = sim.submit("a:1", SCHNELL, json!({})).await;
    assert_eq!(faults(&sim, &job).await, "prompt missing");
    assert_eq!(sim.account("a").await["charges"], json!([]));
}

/// Lets a job fail, and reads what was wrong with it: place and type of each item.
async fn faults(sim: &Sim, job: &Value) -> String {
    sim.advance(5.0);
    let status = ask("GET", text(job, "status_url")).key("a:1").send().await.expect(200);
    assert_eq!(status["status"], "COMPLETED", "{job}");
    let reply = ask("GET", text(job, "response_url")).key("a:1").send().await;
    assert_eq!(reply.header("x-fal-billable-units"), "0");
    let body = reply.expect(422);
    let items = body["detail"].as_array().unwrap();
    assert_eq!(status["error_type"], items[0]["type"]);
    let place = |item: &Value| item["loc"].as_array().unwrap().last().unwrap().as_str().unwrap().to_owned();
    let found = items.iter().map(|item| format!("{} {}", place(item), text(item, "type")));
    found.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn unknown_parameters_are_ignored_and_broken_json_fails_at_the_result() {
    let sim = start().await;
    let job = sim.submit("a:1", SCHNELL, json!({ "prompt": "x", "quality": "best" })).await;
    let broken = sim.post("/queue/fal-ai/flux/schnell").key("a:1").bytes("{\"prompt\"").send().await.expect(200);
    sim.advance(5.0);
    ask("GET", text(&job, "response_url")).key("a:1").send().await.expect(200);
    let body = ask("GET", text(&broken, "response_url")).key("a:1").send().await.expect(422);
    assert_eq!(body["detail"][0]["type"], "json_invalid");
}

#[tokio::test]
async fn a_path_the_app_does_not_have_is_accepted_and_completes_with_404() {
    let sim = start().await;
    let job = sim.submit("a:1", "fal-ai/flux/pro/fill", json!({ "prompt": "x" })).await;
    assert!(text(&job, "status_url").contains("/fal-ai/flux/requests/"));
    sim.advance(5.0);
    let body = ask("GET", text(&job, "response_url")).key("a:1").send().await.expect(404);
    assert_eq!(body, json!({ "detail": "Path /pro/fill not found" }));
}

#[tokio::test]
async fn the_subpath_form_is_405_unless_lenient() {
    for (lenient, status) in [(false, 405), (true, 200)] {
        let sim = start_with(Options { lenient, ..Options::default() }).await;
        let job = sim.prompt("a:1", "x").await;
        sim.advance(5.0);
        let id = text(&job, "request_id");
        for path in ["", "/status", "/response"] {
            let url = format!("/queue/fal-ai/flux/schnell/requests/{id}{path}");
            assert_eq!(sim.get(&url).key("a:1").send().await.status, status, "{url}");
        }
        let cancel = sim.put(&format!("/queue/fal-ai/flux/schnell/requests/{id}/cancel")).key("a:1").send().await;
        assert_eq!(cancel.status, if lenient { 400 } else { 405 });
    }
}

#[tokio::test]
async fn an_unknown_request_is_404_even_without_a_key_and_401_with_a_bad_one() {
    let sim = start().await;
    let job = sim.prompt("a:1", "x").await;
    let nobody = format!("{}/queue/fal-ai/flux/requests/00000000-0000-4000-8000-000000000000/status", sim.base);
    let mine = text(&job, "status_url").to_owned();
    let wrong_app = mine.replace("/flux/", "/hidream-i1-dev/");
    let scenarios = [
        (&nobody, None, 404),
        (&nobody, Some("a:1"), 404),
        (&nobody, Some("bad:1"), 401),
        (&mine, None, 401),
        (&mine, Some("bad:1"), 401),
        (&mine, Some("b:1"), 404),
        (&mine, Some("a:2"), 404),
        (&wrong_app, Some("a:1"), 404),
        (&mine, Some("a:1"), 202),
    ];
    for (url, key, status) in scenarios {
        let asked = match key {
            Some(key) => ask("GET", url).key(key),
            None => ask("GET", url),
        };
        let reply = asked.send().await;
        assert_eq!(reply.status, status, "{key:?} {url}");
        if status == 404 {
            assert_eq!(reply.json(), json!({ "status": "NOT_FOUND" }));
        }
    }
}
