//! The end of a job at its user's wish, from each state.

use reqwest::Method;
use serde_json::{Value, json};

use crate::simulator::Simulator;
use crate::world::{World, picture};

fn slow() -> World {
    World::with(Simulator::start(&["--queue-delay", "2s", "--run-time", "20s"]), &["--jobs-per-user", "1"])
}

#[tokio::test]
async fn a_job_that_waits_for_a_slot_ends_at_once_and_was_never_sent() {
    let world = slow();
    let user = world.user().await;
    let first = user.begin(&picture("first")).await;
    let second = user.begin(&picture("second")).await;
    assert_eq!(user.get(&format!("jobs/{second}")).await.body["status"], "created");
    let cancelled = user.post(&format!("jobs/{second}/cancel"), &Value::Null).await.expect(200);
    assert_eq!((&cancelled["status"], &cancelled["cost"], &cancelled["error"]), (&json!("cancelled"), &json!(0.0), &Value::Null));
    let again = user.post(&format!("jobs/{second}/cancel"), &Value::Null).await;
    assert_eq!((again.status, &again.body["error"]), (409, &json!("conflict_error")));
    user.post(&format!("jobs/{first}/cancel"), &Value::Null).await.expect(200);
    assert_eq!(user.ended(&first).await["status"], "cancelled");
    assert_eq!(world.simulator.submits("second").await, (0, 0));
    assert_eq!(world.superuser.rows("spend_events").len(), 0);
}

#[tokio::test]
async fn a_job_in_fals_hands_is_cancelled_there_and_costs_nothing() {
    let world = slow();
    for state in ["queued", "running"] {
        let user = world.user().await;
        let waiting = tokio::spawn({
            let user = user.clone();
            async move { user.generate(&picture("cancelled")).await }
        });
        let job = crate::world::until(state, || {
            let filter = format!("user_id = '{}' && status = '{state}'", user.id);
            world.rows("generations", &filter).pop()
        })
        .await;
        let id = job["id"].as_str().unwrap();
        let answer = user.post(&format!("jobs/{id}/cancel"), &Value::Null).await.expect(200);
        assert_eq!((&answer["status"], &answer["cost"]), (&json!("cancelled"), &json!(0.0)), "{state}");
        let waited = waiting.await.unwrap();
        assert_eq!((waited.status, &waited.body["error"]), (409, &json!("conflict_error")), "{waited:?}");
        assert!(world.charges(id).is_empty());
    }
}

#[tokio::test]
async fn what_cannot_be_cancelled_says_so() {
    let world = World::shared();
    let (user, stranger) = (world.user().await, world.user().await);
    let done = user.generate(&picture("done")).await;
    let failed = user.generate(&picture("done [[sim:result.fail]]")).await;
    for job in [done.job(), failed.job()] {
        let answer = user.post(&format!("jobs/{job}/cancel"), &Value::Null).await;
        assert_eq!((answer.status, &answer.body["error"]), (409, &json!("conflict_error")));
        for (method, path) in [(Method::POST, format!("jobs/{job}/cancel")), (Method::GET, format!("jobs/{job}"))] {
            let foreign = stranger.send(method.clone(), &path, &[], &Value::Null).await;
            let nobodys = stranger.send(method, &path.replace(job, "nosuchjob000000"), &[], &Value::Null).await;
            assert_eq!((foreign.status, &foreign.body), (404, &nobodys.body));
        }
    }
    let malformed = user.post("jobs/NOT-AN-ID/cancel", &Value::Null).await;
    assert_eq!(malformed.status, 404);
    let job = done.job();
    let without = user.send(Method::POST, &format!("jobs/{job}/cancel"), &[("x-session-id", "")], &Value::Null).await;
    assert_eq!(without.status, 401, "{without:?}");
}

#[tokio::test]
async fn a_job_whose_submit_was_lost_cannot_be_cancelled_before_it_is_found() {
    let world = World::with(Simulator::start(&["--queue-delay", "10ms", "--run-time", "30s"]), &[]);
    let user = world.user().await;
    let job = user.begin(&picture("lost [[sim:drop_after_accept]]")).await;
    world.job_in(&job, &["unknown"]).await;
    let answer = user.post(&format!("jobs/{job}/cancel"), &Value::Null).await.expect(200);
    assert!(["unknown", "queued", "running", "cancelled"].contains(&answer["status"].as_str().unwrap()), "{answer}");
    let ended = user.ended(&job).await;
    assert_eq!(ended["status"], "cancelled", "once it was found: {ended}");
    assert_eq!(world.simulator.submits("lost [[sim:drop_after_accept]]").await, (1, 1));
}

#[tokio::test]
async fn a_job_that_waits_for_its_user_can_be_cancelled_without_being_sent() {
    let mut world = slow();
    let user = world.user().await;
    let first = user.begin(&picture("first")).await;
    let second = user.begin(&picture("second")).await;
    world.job_in(&first, &["queued"]).await;
    world.restart();
    for job in [&first, &second] {
        world.job_in(job, &["awaiting_unlock"]).await;
    }
    let user = world.again(&user).await;
    for job in [&second, &first] {
        user.post(&format!("jobs/{job}/cancel"), &Value::Null).await.expect(200);
        assert_eq!(user.ended(job).await["status"], "cancelled");
    }
    assert_eq!((world.simulator.submits("first").await, world.simulator.submits("second").await), ((1, 1), (0, 0)));
}
