//! `queue.fal.run`.

use generatio::simulator::Options;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::support::{Sim, ask, start, start_with, text};

const SCHNELL: &str = "fal-ai/flux/schnell";

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
const FAST: &str = "fal-ai/hidream-i1-fast";

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

#[tokio::test]
async fn two_of_a_keys_requests_run_at_once_and_the_rest_move_up() {
    let sim = start().await;
    let mut urls = Vec::new();
    for seed in 0..5 {
        let job = sim.submit("a:1", SCHNELL, json!({ "prompt": "x", "seed": seed })).await;
        urls.push(text(&job, "status_url").to_owned());
    }
    let other = sim.prompt("b:1", "not held up").await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        let mut row = Vec::new();
        for url in &urls {
            let body = ask("GET", url).key("a:1").send().await.json();
            row.push(match text(&body, "status") {
                "IN_QUEUE" => body["queue_position"].to_string(),
                other => other[..4].to_owned(),
            });
        }
        seen.push(row.join(" "));
        sim.advance(if seen.len() == 1 { 0.1 } else { 0.4 });
    }
    assert_eq!(seen, ["0 1 2 3 4", "IN_P IN_P 0 1 2", "COMP COMP IN_P IN_P 0", "COMP COMP COMP COMP IN_P", "COMP COMP COMP COMP COMP"]);
    let status = ask("GET", text(&other, "status_url")).key("b:1").send().await.expect(200);
    assert_eq!(status["status"], "COMPLETED");
}

#[tokio::test]
async fn asking_late_or_often_changes_nothing() {
    let mut histories = Vec::new();
    for steps in [1, 97] {
        let sim = start().await;
        for (endpoint, prompt) in [(SCHNELL, "a"), ("fal-ai/hidream-i1-dev", "b"), (FAST, "c [[sim:runner_retry:2]]"), (SCHNELL, "d")] {
            sim.submit("a:1", endpoint, json!({ "prompt": prompt })).await;
        }
        for _ in 0..steps {
            sim.advance(9.7 / f64::from(steps));
            sim.sim("accounts").await;
        }
        let mut times = Vec::new();
        for endpoint in [SCHNELL, "fal-ai/hidream-i1-dev", FAST] {
            let url = format!("/api/v1/models/requests/by-endpoint?endpoint_id={endpoint}");
            let found = sim.get(&url).key("a:1").send().await.expect(200);
            let items = found["items"].as_array().unwrap().iter();
            let mut rows: Vec<String> = items.map(|item| format!("{} {}", item["started_at"], item["ended_at"])).collect();
            rows.sort();
            times.extend(rows);
        }
        histories.push(times);
    }
    assert_eq!(histories[0], histories[1]);
}

#[tokio::test]
async fn low_priority_waits_behind_everybody() {
    let sim = start().await;
    for _ in 0..2 {
        sim.prompt("a:1", "busy").await;
    }
    let low = sim.post("/queue/fal-ai/flux/schnell").key("a:1").header("x-fal-queue-priority", "low");
    let low = low.json(&json!({ "prompt": "patient" })).send().await.expect(200);
    assert_eq!(low["queue_position"], 2);
    assert_eq!(sim.prompt("a:1", "urgent").await["queue_position"], 2);
    let status = ask("GET", text(&low, "status_url")).key("a:1").send().await.expect(202);
    assert_eq!(status["queue_position"], 3);
}

#[tokio::test]
async fn a_request_that_does_not_start_in_time_is_504_with_the_users_time_out() {
    for header in ["x-fal-request-start-timeout", "x-fal-request-timeout"] {
        let sim = start().await;
        for _ in 0..2 {
            sim.submit("a:1", "fal-ai/hidream-i1-dev", json!({ "prompt": "three seconds" })).await;
        }
        let late = sim.post("/queue/fal-ai/flux/schnell").key("a:1").header(header, "1.5");
        let late = late.json(&json!({ "prompt": "late" })).send().await.expect(200);
        sim.advance(1.4);
        ask("GET", text(&late, "status_url")).key("a:1").send().await.expect(202);
        sim.advance(0.1);
        let status = ask("GET", text(&late, "status_url")).key("a:1").send().await.expect(200);
        assert_eq!((&status["status"], &status["error_type"]), (&json!("COMPLETED"), &json!("request_timeout")));
        let reply = ask("GET", text(&late, "response_url")).key("a:1").send().await;
        assert_eq!(reply.header("x-fal-request-timeout-type"), "user");
        assert_eq!(reply.header("x-fal-error-type"), "request_timeout");
        reply.expect(504);
    }
}

#[tokio::test]
async fn cancelling_is_202_while_pending_400_afterwards_404_for_nobodys() {
    let sim = start().await;
    let waiting = sim.prompt("a:1", "x [[sim:stuck_queue]]").await;
    let running = sim.prompt("a:1", "x [[sim:stuck_progress]]").await;
    sim.advance(1.0);
    for job in [&waiting, &running] {
        let cancel = || ask("PUT", text(job, "cancel_url")).key("a:1").send();
        assert_eq!(cancel().await.expect(202), json!({ "status": "CANCELLATION_REQUESTED" }));
        assert_eq!(cancel().await.expect(400), json!({ "status": "ALREADY_COMPLETED" }));
        let status = ask("GET", text(job, "status_url")).key("a:1").send().await.expect(200);
        assert_eq!((&status["status"], &status["error_type"]), (&json!("COMPLETED"), &json!("client_cancelled")));
        let result = ask("GET", text(job, "response_url")).key("a:1").send().await.expect(499);
        assert_eq!(result["error_type"], "client_cancelled");
    }
    let theirs = ask("PUT", text(&running, "cancel_url")).key("b:1").send().await.expect(404);
    assert_eq!(theirs, json!({ "status": "NOT_FOUND" }));
    assert_eq!(sim.account("a").await["charges"], json!([]));
}

#[tokio::test]
async fn a_cancelled_request_makes_room_for_the_next() {
    let sim = start().await;
    let stuck = sim.prompt("a:1", "x [[sim:stuck_progress]]").await;
    sim.prompt("a:1", "y [[sim:stuck_progress]]").await;
    let next = sim.prompt("a:1", "z").await;
    sim.advance(60.0);
    ask("GET", text(&next, "status_url")).key("a:1").send().await.expect(202);
    ask("PUT", text(&stuck, "cancel_url")).key("a:1").send().await.expect(202);
    sim.advance(0.4);
    ask("GET", text(&next, "status_url")).key("a:1").send().await.expect(200);
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
async fn a_default_picture_costs_what_the_catalogue_says_and_large_ones_count_by_megapixel() {
    let sim = start().await;
    let scenarios = [
        (SCHNELL, json!({}), 1, 0.003),
        ("fal-ai/hidream-i1-dev", json!({}), 1, 0.004),
        ("fal-ai/hidream-i1-fast", json!({}), 1, 0.003),
        ("fal-ai/flux/dev", json!({}), 1, 0.025),
        (SCHNELL, json!({ "num_images": 4 }), 4, 0.012),
        (SCHNELL, json!({ "image_size": { "width": 1025, "height": 1024 }, "num_images": 2 }), 4, 0.012),
        (SCHNELL, json!({ "image_size": "square" }), 1, 0.003),
    ];
    for (at, (endpoint, mut input, units, cost)) in scenarios.into_iter().enumerate() {
        input["prompt"] = json!("x");
        let job = sim.submit("a:1", endpoint, input).await;
        sim.advance(5.0);
        let reply = ask("GET", text(&job, "response_url")).key("a:1").send().await;
        assert_eq!(reply.header("x-fal-billable-units"), units.to_string());
        let bill = &sim.account("a").await["charges"][at];
        assert_eq!((&bill["output_units"], &bill["cost_total"]), (&json!(units), &json!(cost)), "{endpoint}");
    }
    assert_eq!(sim.account("a").await["balance"], 9.938);
}

#[tokio::test]
async fn an_account_that_has_spent_its_balance_is_locked_but_may_fetch_what_it_paid_for() {
    let sim = start().await;
    let mut last = String::new();
    for _ in 0..4 {
        last = sim.ended("poor:1", "x").await;
    }
    assert_eq!(sim.account("poor").await["balance"], -0.002);
    let refused = sim.post("/queue/fal-ai/flux/schnell").key("poor:1").json(&json!({ "prompt": "x" })).send().await;
    assert!(text(&refused.expect(403), "detail").contains("Exhausted balance"));
    ask("GET", &last).key("poor:1").send().await.expect(200);
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
