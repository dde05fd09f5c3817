//! The knobs: by prompt, by key, by rule. Each scenario says what a client sees.

use generatio::simulator::KNOBS;
use serde_json::{Value, json};

use crate::support::{Reply, Sim, ask, start, text};

fn submit(sim: &Sim, key: &str, prompt: &str) -> impl Future<Output = Result<Reply, hyper::Error>> + use<> {
    sim.post("/queue/fal-ai/flux/schnell").key(key).json(&json!({ "prompt": prompt })).try_send()
}

#[tokio::test]
async fn every_fault_before_acceptance_refuses_and_enqueues_nothing() {
    let sim = start().await;
    let scenarios = [
        ("auth.bad_key", 401, "invalid key credentials"),
        ("auth.locked", 403, "Admin lock"),
        ("auth.locked:User budget is exceeded", 403, "User is locked. Reason: User budget is exceeded"),
        ("auth.scope", 403, "Access denied"),
        ("submit.429", 429, "Too many requests"),
        ("submit.5xx", 503, "runner_scheduling_failure"),
        ("submit.html502", 502, "<center>nginx</center>"),
        ("submit.drop_before_accept", 0, ""),
        ("submit.no_such_knob", 400, "submit.no_such_knob"),
    ];
    for (knob, status, words) in scenarios {
        match submit(&sim, "a:1", &format!("x [[sim:{knob}]]")).await {
            Ok(reply) => {
                assert_eq!(reply.status, status, "{knob}");
                assert!(String::from_utf8_lossy(&reply.body).contains(words), "{knob}: {reply:?}");
            }
            Err(_) => assert_eq!(status, 0, "{knob}"),
        }
    }
    assert_eq!(sim.sim("counters").await.get("accepted"), None);
    let html = submit(&sim, "a:1", "y [[sim:html502]]").await.unwrap();
    assert_eq!((html.header("content-type"), html.header("x-fal-request-id")), ("text/html", ""));
}

#[tokio::test]
async fn a_fault_limited_to_the_first_n_lets_the_next_attempt_through() {
    let sim = start().await;
    for knob in ["429:2", "5xx:2", "html502:2", "drop_before_accept:2"] {
        let prompt = format!("x [[sim:{knob}]]");
        for attempt in 1..=3 {
            let reply = submit(&sim, "a:1", &prompt).await;
            let accepted = reply.is_ok_and(|reply| reply.status == 200);
            assert_eq!(accepted, attempt == 3, "{knob}, attempt {attempt}");
        }
        let submits = sim.get(&format!("/_sim/submits?prompt={}", prompt.replace(' ', "%20"))).send().await.json();
        assert_eq!(submits["submits"][0]["posts"], 3);
        assert_eq!(submits["submits"][0]["accepted"], 1);
    }
}

#[tokio::test]
async fn every_fault_after_acceptance_hides_a_job_that_runs_and_bills() {
    let sim = start().await;
    assert!(submit(&sim, "cut:1", "x [[sim:drop_after_accept]]").await.is_err());
    let garbage = submit(&sim, "garbage:1", "x [[sim:garbage_json]]").await.unwrap();
    assert_eq!(garbage.status, 200);
    assert!(serde_json::from_slice::<Value>(&garbage.body).is_err());
    let slow = tokio::spawn(submit(&sim, "slow:1", "x [[sim:submit.slow:3]]"));
    while sim.account("slow").await["requests"] != 1 {
        tokio::task::yield_now().await;
    }
    assert!(!slow.is_finished());
    sim.advance(3.0);
    assert_eq!(slow.await.unwrap().unwrap().status, 200);
    for key in ["cut", "garbage", "slow"] {
        assert_eq!(sim.account(key).await["charges"].as_array().unwrap().len(), 1, "{key}");
    }
}

#[tokio::test]
async fn faults_of_the_queue_and_of_status_answers() {
    let sim = start().await;
    let mut seen = Vec::new();
    for knob in [
        "stuck_queue",
        "stuck_progress",
        "start_timeout",
        "status.404_until:2",
        "status.500:2",
        "unknown_status",
        "omit_logs",
        "pos_jump",
        "runner_retry:2",
    ] {
        let job = sim.prompt(&format!("{}:1", knob.replace(':', "-")), &format!("x [[sim:{knob}]]")).await;
        let url = text(&job, "status_url").to_owned();
        let key = format!("{}:1", knob.replace(':', "-"));
        let mut row = Vec::new();
        for step in [0.0, 0.1, 0.4, 0.9] {
            sim.advance(step);
            let reply = ask("GET", &format!("{url}?logs=1")).key(&key).send().await;
            let body = reply.json();
            let state = body["status"].as_str().unwrap_or("error");
            let logs = body.get("logs").and_then(Value::as_array).map_or("-".to_owned(), |logs| logs.len().to_string());
            row.push(format!("{} {state} {} {logs}", reply.status, body["queue_position"]));
        }
        seen.push(format!("{knob}: {}", row.join(", ")));
    }
    assert_eq!(
        seen,
        [
            "stuck_queue: 202 IN_QUEUE 0 -, 202 IN_QUEUE 0 -, 202 IN_QUEUE 0 -, 202 IN_QUEUE 0 -",
            "stuck_progress: 202 IN_QUEUE 0 -, 202 IN_PROGRESS null 1, 202 IN_PROGRESS null 1, 202 IN_PROGRESS null 1",
            "start_timeout: 200 COMPLETED null 0, 200 COMPLETED null 0, 200 COMPLETED null 0, 200 COMPLETED null 0",
            "status.404_until:2: 404 NOT_FOUND null -, 404 NOT_FOUND null -, 200 COMPLETED null 4, 200 COMPLETED null 4",
            "status.500:2: 500 error null -, 500 error null -, 200 COMPLETED null 4, 200 COMPLETED null 4",
            "unknown_status: 202 PAUSED 0 -, 202 PAUSED null 1, 200 PAUSED null 4, 200 PAUSED null 4",
            "omit_logs: 202 IN_QUEUE 0 -, 202 IN_PROGRESS null -, 200 COMPLETED null -, 200 COMPLETED null -",
            "pos_jump: 202 IN_QUEUE 7 -, 202 IN_PROGRESS null 1, 200 COMPLETED null 4, 200 COMPLETED null 4",
            "runner_retry:2: 202 IN_QUEUE 0 -, 202 IN_PROGRESS null 1, 202 IN_PROGRESS null 6, 200 COMPLETED null 14",
        ]
    );
}

#[tokio::test]
async fn a_dropped_status_stream_ends_after_its_first_event() {
    let sim = start().await;
    let job = sim.prompt("a:1", "x [[sim:drop_sse]]").await;
    let cut = ask("GET", &format!("{}/stream", text(&job, "status_url"))).key("a:1").try_send().await;
    assert!(cut.is_err(), "{cut:?}");
}

/// Knob, status of the result, type.
const FAILURES: [(&str, u16, &str); 19] = [
    ("422", 422, "content_policy_violation"),
    ("422:image_too_small", 422, "image_too_small"),
    ("422:internal_server_error", 500, "internal_server_error"),
    ("422:generation_timeout", 504, "generation_timeout"),
    ("422:downstream_service_error", 400, "downstream_service_error"),
    ("422:downstream_service_unavailable", 500, "downstream_service_unavailable"),
    ("fail:request_timeout", 504, "request_timeout"),
    ("fail:startup_timeout", 504, "startup_timeout"),
    ("fail:runner_scheduling_failure", 503, "runner_scheduling_failure"),
    ("fail:runner_connection_timeout", 503, "runner_connection_timeout"),
    ("fail:runner_disconnected", 503, "runner_disconnected"),
    ("fail:runner_connection_refused", 503, "runner_connection_refused"),
    ("fail:runner_connection_error", 503, "runner_connection_error"),
    ("fail:runner_incomplete_response", 502, "runner_incomplete_response"),
    ("fail:runner_server_error", 500, "runner_server_error"),
    ("fail:client_disconnected", 499, "client_disconnected"),
    ("fail:client_cancelled", 499, "client_cancelled"),
    ("fail:bad_request", 400, "bad_request"),
    ("fail:internal_error", 500, "internal_error"),
];

#[tokio::test]
async fn every_model_and_infrastructure_error_comes_with_its_status_and_costs_nothing() {
    let sim = start().await;
    for (knob, status, kind) in FAILURES {
        let url = sim.ended("a:1", &format!("x [[sim:{knob}]]")).await;
        let said = ask("GET", &format!("{url}/status")).key("a:1").send().await.expect(200);
        assert_eq!((text(&said, "status"), text(&said, "error_type")), ("COMPLETED", kind));
        let reply = ask("GET", &url).key("a:1").send().await;
        let error_type = reply.header("x-fal-error-type").to_owned();
        let body = reply.expect(status);
        if knob.starts_with("fail") {
            assert_eq!((text(&body, "error_type"), error_type.as_str()), (kind, kind));
        } else {
            assert_eq!(text(&body["detail"][0], "type"), kind);
        }
    }
    assert_eq!(sim.account("a").await["charges"], json!([]));
}

#[tokio::test]
async fn faults_of_the_result() {
    let sim = start().await;
    let result = async |knob: &str| {
        let url = sim.ended("a:1", &format!("x [[sim:{knob}]]")).await;
        (ask("GET", &url).key("a:1").send().await, url)
    };
    let (early, url) = result("400_in_progress:1").await;
    assert_eq!(early.expect(400), json!({ "detail": "Request is still in progress" }));
    ask("GET", &url).key("a:1").send().await.expect(200);
    assert_eq!(result("expired").await.0.expect(404), json!({ "status": "NOT_FOUND" }));
    assert_eq!(result("no_images").await.0.expect(200)["images"], json!([]));
    assert_eq!(result("nsfw").await.0.expect(200)["has_nsfw_concepts"], json!([true]));
    assert_eq!(result("huge:3").await.0.body.len() >> 20, 3);
    assert_eq!(result("missing_dims").await.0.expect(200)["images"][0].get("width"), None);
    let (bare, _) = result("no_billable_header").await;
    assert_eq!((bare.status, bare.headers.get("x-fal-billable-units")), (200, None));
    assert_eq!(result("wrong_billable").await.0.header("x-fal-billable-units"), "999999");
    assert_eq!(result("wrong_billable:3").await.0.header("x-fal-billable-units"), "3");
    let bills = sim.account("a").await["charges"].clone();
    assert!(bills.as_array().unwrap().iter().all(|bill| bill["cost_total"] == 0.003), "{bills}");
    assert_eq!(bills.as_array().unwrap().len(), 9);
}

#[tokio::test]
async fn faults_of_cancelling() {
    let sim = start().await;
    let scenarios = [
        ("202_but_completes", 202, "CANCELLATION_REQUESTED", 200),
        ("cancel.400", 400, "ALREADY_COMPLETED", 200),
        ("cancel.404", 404, "NOT_FOUND", 200),
    ];
    for (knob, status, word, later) in scenarios {
        let job = sim.prompt("a:1", &format!("x [[sim:{knob}]]")).await;
        let cancel = ask("PUT", text(&job, "cancel_url")).key("a:1").send().await;
        assert_eq!(cancel.expect(status), json!({ "status": word }));
        sim.advance(5.0);
        assert_eq!(ask("GET", text(&job, "response_url")).key("a:1").send().await.status, later, "{knob}");
    }
    assert_eq!(sim.account("a").await["charges"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn faults_of_the_media_host() {
    let sim = start().await;
    let whole = ask("GET", &sim.picture("a:1", "x").await).send().await;
    let fetch = async |knob: &str| ask("GET", &sim.picture("a:1", &format!("x [[sim:media.{knob}]]")).await).try_send().await;
    assert_eq!(fetch("404").await.unwrap().status, 404);
    let twice = sim.picture("a:1", "x [[sim:media.404:2]]").await;
    for status in [404, 404, 200] {
        assert_eq!(ask("GET", &twice).send().await.status, status);
    }
    let redirect = fetch("redirect_private").await.unwrap();
    assert_eq!((redirect.status, redirect.header("location")), (302, "http://169.254.169.254/latest/meta-data/"));
    let page = fetch("wrong_type").await.unwrap();
    assert_eq!((page.status, page.header("content-type")), (200, "text/html"));
    assert!(fetch("truncate").await.is_err());
    let oversize = fetch("oversize:4").await.unwrap();
    assert_eq!((oversize.header("content-type"), oversize.body.len() >> 20), ("image/jpeg", 4));
    assert_eq!(whole.header("content-type"), "image/jpeg");

    let url = sim.picture("a:1", "x [[sim:media.slow:40000]]").await;
    let slow = tokio::spawn(ask("GET", &url).send());
    let mut seconds = 0;
    while !slow.is_finished() {
        sim.advance(1.0);
        seconds += 1;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let slow = slow.await.unwrap();
    assert!(slow.body.len() > 20_000 && seconds >= slow.body.len() / 400_000, "{seconds} s");
}

#[tokio::test]
async fn a_key_carries_faults_in_its_secret() {
    let sim = start().await;
    let key = "team:[[sim:422:no_media_generated]][[sim:pricing_down]]";
    let url = sim.ended(key, "an innocent prompt").await;
    let body = ask("GET", &url).key(key).send().await.expect(422);
    assert_eq!(body["detail"][0]["type"], "no_media_generated");
    let price = "/api/v1/models/pricing?endpoint_id=fal-ai/flux/schnell";
    sim.get(price).key(key).send().await.expect(503);
    sim.get(price).key("team:other").send().await.expect(200);
    let odd = sim.post("/queue/fal-ai/flux/schnell").key("x:[[sim:whatever]]").json(&json!({ "prompt": "x" })).send().await;
    assert!(text(&odd.expect(400), "detail").contains("whatever"));
}

#[tokio::test]
async fn a_balance_and_the_faults_of_a_key_can_be_set_from_outside() {
    let sim = start().await;
    let set = json!({ "key": "a:1", "balance": 0.0035, "faults": ["nsfw"] });
    sim.put("/_sim/accounts").json(&set).send().await.expect(200);
    let url = sim.ended("a:1", "x").await;
    assert_eq!(ask("GET", &url).key("a:1").send().await.expect(200)["has_nsfw_concepts"], json!([true]));
    assert_eq!(sim.account("a").await["balance"], 0.0005);
    sim.ended("a:1", "x").await;
    assert_eq!(submit(&sim, "a:1", "x").await.unwrap().status, 403);
    for wrong in [json!({ "key": "nonsense" }), json!({ "key": "a:1", "faults": ["nonsense"] })] {
        sim.put("/_sim/accounts").json(&wrong).send().await.expect(422);
    }
}

#[tokio::test]
async fn a_rule_strikes_everybody_or_one_key_until_rules_are_cleared() {
    let sim = start().await;
    let rule = json!({ "faults": ["429"], "key_id": "a" });
    sim.post("/_sim/faults").json(&rule).send().await.expect(200);
    assert_eq!(submit(&sim, "a:1", "x").await.unwrap().status, 429);
    assert_eq!(submit(&sim, "b:1", "x").await.unwrap().status, 200);
    sim.post("/_sim/faults").json(&json!({ "faults": ["html502"] })).send().await.expect(200);
    assert_eq!(submit(&sim, "b:1", "x").await.unwrap().status, 502);
    ask("DELETE", &format!("{}/_sim/faults", sim.base)).send().await.expect(200);
    assert_eq!(submit(&sim, "a:1", "x").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_rate_strikes_about_that_often_and_the_same_seed_the_same_way() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let sim = start().await;
        let rule = json!({ "faults": ["429"], "rate": 0.3, "seed": 7 });
        sim.post("/_sim/faults").json(&rule).send().await.expect(200);
        let mut struck = Vec::new();
        for n in 0..200 {
            struck.push(submit(&sim, "a:1", &format!("x {n}")).await.unwrap().status == 429);
        }
        runs.push(struck);
    }
    let count = runs[0].iter().filter(|struck| **struck).count();
    assert!((40..=80).contains(&count), "{count} of 200");
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn the_simulator_lists_its_knobs_and_its_keys() {
    let sim = start().await;
    let knobs = sim.sim("knobs").await;
    assert_eq!(knobs["knobs"].as_array().unwrap().len(), KNOBS.len());
    assert_eq!(knobs["knobs"][0]["knob"], "auth.bad_key");
    let keys = sim.sim("keys").await.to_string();
    for id in ["bad", "locked", "empty", "scope"] {
        assert!(keys.contains(&format!("\"{id}:any-secret\"")), "{keys}");
    }
}
