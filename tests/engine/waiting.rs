//! How long somebody is kept waiting, and what they are told when that is too long.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::simulator::Simulator;
use crate::world::{World, picture};

#[tokio::test]
async fn whoever_would_rather_not_wait_gets_the_job_at_once() {
    let world = World::shared();
    let user = world.user().await;
    for prefer in ["respond-async", "wait=1, Respond-Async", "respond-async; wait=10"] {
        let body = json!({ "model": "flux/schnell", "prompt": "later", "parameters": { "sparkle": 1 } });
        let answer = user.send(Method::POST, "generate/image", &[("prefer", prefer)], &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let job = &answer.body;
        assert_eq!(answer.header("location"), format!("/api/custom/jobs/{}", job["id"].as_str().unwrap()));
        assert_eq!((&job["status"], &job["prompt"], &job["cost"]), (&json!("submitting"), &json!("later"), &Value::Null));
        assert_eq!((&job["ignored_parameters"], &job["images"], &job["error"]), (&json!(["sparkle"]), &json!([]), &Value::Null));
        let job = user.ended(job["id"].as_str().unwrap()).await;
        assert_eq!((&job["status"], &job["cost"], &job["estimated"]), (&json!("completed"), &json!(0.003), &json!(false)));
        for field in ["created", "submitted_at", "finished_at"] {
            assert!(job[field].as_str().unwrap().ends_with('Z'), "{job}");
        }
    }
}

#[tokio::test]
async fn a_wait_that_lasts_too_long_names_the_job_which_goes_on() {
    let world = World::with(Simulator::start(&["--run-time", "2500ms"]), &["--generation-timeout", "1s"]);
    let user = world.user().await;
    let begun = Instant::now();
    let answer = user.generate(&picture("slow")).await;
    assert_eq!((answer.status, &answer.body["error"]), (504, &json!("external_error")), "{answer:?}");
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&begun.elapsed()));
    let job = user.ended(answer.job()).await;
    assert_eq!((&job["status"], world.charges(answer.job())), (&json!("completed"), vec![3000]));
    assert_eq!(world.simulator.submits("slow").await, (1, 1));
}

#[tokio::test]
async fn a_wait_that_a_restart_cuts_names_the_job_which_is_taken_up() {
    let mut world = World::with(Simulator::start(&["--run-time", "3s"]), &[]);
    let user = world.user().await;
    let waiting = tokio::spawn({
        let user = user.clone();
        async move { user.generate(&picture("cut")).await }
    });
    let row = crate::world::until("the job is submitted", || world.rows("generations", "request_id != ''").pop()).await;
    world.ask_to_stop();
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status, &answer.body["error"]), (503, &json!("unavailable_error")), "{answer:?}");
    assert_eq!(answer.job(), row["id"].as_str().unwrap());
    assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    world.restart();
    let job = world.job_in(answer.job(), &["awaiting_unlock"]).await;
    assert_eq!(job["error"]["error"], "unavailable_error", "{job}");
    let user = world.again(&user).await;
    let job = user.ended(answer.job()).await;
    assert_eq!((&job["status"], world.charges(answer.job())), (&json!("completed"), vec![3000]));
    assert_eq!(world.simulator.submits("cut").await, (1, 1));
}
