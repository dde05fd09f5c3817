//! The key goes away while a job runs.

use reqwest::Method;
use serde_json::{Value, json};

use crate::simulator::Simulator;
use crate::support::rest::Rest;
use crate::world::{USERS_PASSWORD, User, World, picture};

const OTHER_KEY: &str = "other:s3cret-of-a-key";

async fn take_away(world: &World, user: &mut User, how: &str) {
    match how {
        "logout" => {
            user.send(Method::DELETE, "auth/session", &[], &Value::Null).await.expect(200);
        }
        "five further sessions" => {
            let first = user.session.clone();
            for _ in 0..5 {
                user.open().await;
            }
            let old = user.send(Method::POST, "generate/image", &[("x-session-id", &first)], &picture("too late")).await;
            assert_eq!(old.status, 401, "the oldest session is over: {old:?}");
        }
        "a replaced token" => user.store(OTHER_KEY).await,
        "a deleted token" => {
            user.send(Method::DELETE, "tokens", &[], &Value::Null).await.expect(200);
        }
        "a changed password" => {
            let body = json!({ "oldPassword": USERS_PASSWORD, "password": "another password", "passwordConfirm": "another password" });
            let path = format!("/api/collections/generatio_users/records/{}", user.id);
            let (status, found) = Rest::new(world.sidecar.address).with_token(&user.token).patch(&path, &body);
            assert_eq!(status, 200, "{found}");
        }
        _ => panic!("{how}"),
    }
}

#[tokio::test]
async fn a_job_settles_with_the_key_it_began_with_whatever_becomes_of_the_session() {
    let world = World::with(Simulator::start(&["--queue-delay", "10ms", "--run-time", "3s"]), &["--jobs-per-user", "1"]);
    for how in ["logout", "five further sessions", "a replaced token", "a deleted token", "a changed password"] {
        let mut user = world.user().await;
        let key = user.key.clone();
        let running = user.begin(&picture(&format!("{how}, running"))).await;
        let waiting = user.begin(&picture(&format!("{how}, waiting"))).await;
        world.job_in(&running, &["queued", "running"]).await;
        take_away(&world, &mut user, how).await;
        for job in [&running, &waiting] {
            let row = world.job_in(job, &["completed", "failed", "cancelled", "awaiting_unlock"]).await;
            assert_eq!(row["status"], "completed", "{how}: {row}");
            assert_eq!(world.charges(job), [3000], "{how}");
        }
        let submits = world.simulator.ask("submits").await;
        let keys: Vec<&Value> = submits["submits"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|submit| submit["prompt"].as_str().unwrap().starts_with(how))
            .map(|submit| &submit["key_id"])
            .collect();
        assert_eq!(keys, [key.split(':').next().unwrap(); 2], "{how}: the key that it began with");
    }
}

#[tokio::test]
async fn after_a_restart_a_job_waits_for_the_key_that_it_began_with() {
    let mut world = World::with(Simulator::start(&["--queue-delay", "10ms", "--run-time", "2s"]), &["--jobs-per-user", "1"]);
    let user = world.user().await;
    let key = user.key.clone();
    let submitted = user.begin(&picture("submitted")).await;
    let waiting = user.begin(&picture("never submitted")).await;
    world.job_in(&submitted, &["queued", "running"]).await;
    world.restart();
    for job in [&submitted, &waiting] {
        world.job_in(job, &["awaiting_unlock"]).await;
    }

    // Another key: what was submitted stays, what was not is nobody's yet.
    let mut user = world.moved(&user);
    user.session.clear();
    user.store(OTHER_KEY).await;
    user.open().await;
    assert_eq!(user.ended(&waiting).await["status"], "completed");
    let row = world.row("generations", &submitted);
    assert_eq!((&row["status"], world.charges(&submitted).len()), (&json!("awaiting_unlock"), 0), "{row}");
    let answer = user.get(&format!("jobs/{submitted}")).await.expect(200);
    let why = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(answer["status"] == "awaiting_unlock" && why.contains("another FAL key"), "{answer}");
    let cancel = user.post(&format!("jobs/{submitted}/cancel"), &Value::Null).await.expect(200);
    assert_eq!(cancel["status"], "awaiting_unlock", "nobody can ask FAL about it");

    user.store(&key).await;
    user.open().await;
    let row = user.ended(&submitted).await;
    assert_eq!((&row["status"], world.charges(&submitted)), (&json!("completed"), vec![3000]), "{row}");
    assert_eq!(world.simulator.submits("submitted").await, (1, 1));
    assert_eq!(world.simulator.submits("never submitted").await, (1, 1));
}

#[tokio::test]
async fn a_key_that_fal_stops_taking_keeps_the_job_until_it_takes_it_again() {
    let world = World::with(Simulator::start(&["--queue-delay", "10ms", "--run-time", "3s"]), &[]);
    let mut user = world.user().await;
    let waiting = tokio::spawn({
        let user = user.clone();
        async move { user.generate(&picture("interrupted")).await }
    });
    let row = crate::world::until("the job is submitted", || world.rows("generations", "request_id != ''").pop()).await;
    let id = row["id"].as_str().unwrap();
    world.simulator.set_faults(&user.key, &["auth.bad_key"]).await;
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status, answer.job()), (502, id), "{answer:?}");
    let row = world.job_in(id, &["awaiting_unlock"]).await;
    assert!(row["error"]["message"].is_string(), "{row}");
    world.simulator.set_faults(&user.key, &[]).await;
    user.open().await;
    let job = user.ended(id).await;
    assert_eq!((&job["status"], &job["error"], world.charges(id)), (&json!("completed"), &Value::Null, vec![3000]), "{job}");
    assert_eq!(world.simulator.submits("interrupted").await, (1, 1));
}
