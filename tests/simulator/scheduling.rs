//! Which of a key's requests runs when, and which never does.

use serde_json::json;

use crate::support::{FAST, SCHNELL, ask, start, text};

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
