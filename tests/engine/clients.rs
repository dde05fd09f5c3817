//! Clients that leave, and clients that ask twice.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::world::{Answer, User, World, picture};

/// Not random, and spread like it.
fn scattered(index: u64, below: u64) -> u64 {
    index.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407).rotate_left(29) % below
}

#[tokio::test]
async fn a_hundred_clients_that_leave_cost_nobody_a_picture() {
    const CLIENTS: u64 = 100;
    let world = World::start(&["--jobs-per-user", "200"]);
    let users: Vec<User> = world.users(4).await;
    let leave = |index: u64| {
        let user = &users[usize::try_from(index % 4).unwrap()];
        async move {
            let key = format!("client-{index}");
            let body = picture(&format!("left {index}"));
            let headers = [("idempotency-key", key.as_str())];
            let asked = user.send(Method::POST, "generate/image", &headers, &body);
            // The request is on its way after a few milliseconds, and answered after a few hundred.
            tokio::time::timeout(Duration::from_millis(5 + scattered(index, 400)), asked).await.is_err()
        }
    };
    let left = join_all((0..CLIENTS).map(leave)).await.into_iter().filter(|left| *left).count();
    assert!(left > 10, "only {left} clients left before their answer");
    for index in 0..CLIENTS {
        let user = &users[usize::try_from(index % 4).unwrap()];
        // The same request again gives the first one's outcome, or begins what never arrived.
        let key = format!("client-{index}");
        let body = picture(&format!("left {index}"));
        let answer = user.send(Method::POST, "generate/image", &[("idempotency-key", &key)], &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(world.simulator.submits(&format!("left {index}")).await, (1, 1));
    }
    assert_eq!(world.superuser.rows("generations").len(), 100);
    assert!(world.superuser.rows("generations").iter().all(|job| job["status"] == "completed"));
    assert_eq!((world.superuser.rows("images").len(), world.superuser.rows("spend_events").len()), (100, 100));
}

async fn clicks(user: &User, key: &str, prompt: &str, count: usize) -> Vec<Answer> {
    let body = picture(prompt);
    let headers = [("idempotency-key", key)];
    join_all((0..count).map(|_| user.send(Method::POST, "generate/image", &headers, &body))).await
}

#[tokio::test]
async fn fifty_clicks_at_once_are_one_job_and_fifty_equal_answers() {
    let mut world = World::start(&["--jobs-per-minute", "10"]);
    let mut user = world.user().await;
    for (prompt, status) in [("clicked", 200), ("clicked [[sim:result.fail]]", 502), ("clicked [[sim:auth.locked]]", 402)] {
        let key = format!("double-click-{status}");
        let answers = clicks(&user, &key, prompt, 50).await;
        let different: BTreeSet<String> = answers.iter().map(|answer| format!("{} {}", answer.status, answer.body)).collect();
        assert_eq!(different.len(), 1, "{different:?}");
        assert_eq!(answers[0].status, status, "{different:?}");
        assert_eq!(world.simulator.submits(prompt).await.0, 1, "{prompt}");
        let replayed = clicks(&user, &key, prompt, 1).await.remove(0);
        assert_eq!((replayed.status, &replayed.body), (status, &answers[0].body), "after it was over");
        world.restart();
        user = world.again(&user).await;
        let replayed = clicks(&user, &key, prompt, 1).await.remove(0);
        assert_eq!((replayed.status, &replayed.body), (status, &answers[0].body), "after a restart");
        assert_eq!(world.simulator.submits(prompt).await.0, 1, "{prompt}");
    }
    assert_eq!(world.superuser.rows("generations").len(), 3);
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_one_request_of_one_user() {
    let world = World::shared();
    let (user, stranger) = (world.user().await, world.user().await);
    let send = |user: &User, key: &str, body| {
        let (user, key) = (user.clone(), key.to_owned());
        async move { user.send(Method::POST, "generate/image", &[("idempotency-key", &key)], &body).await }
    };
    let first = send(&user, "k", picture("mine")).await;
    assert_eq!(first.status, 200);
    let bodies = [
        picture("another"),
        json!({ "model": "hidream/hidream-i1-dev", "prompt": "mine" }),
        json!({ "model": "flux/schnell", "prompt": "mine", "parameters": { "num_images": 2 } }),
    ];
    for body in bodies {
        let refused = send(&user, "k", body.clone()).await;
        assert_eq!((refused.status, &refused.body["error"]), (409, &json!("conflict_error")), "{body}");
    }
    let reordered = json!({ "prompt": "mine", "model": "flux/schnell" });
    assert_eq!(send(&user, "k", reordered).await.body, first.body, "the order of members means nothing");
    let theirs = send(&stranger, "k", picture("mine")).await;
    assert!(theirs.status == 200 && theirs.job() != first.job(), "{theirs:?}");
    let longest = "k".repeat(128);
    assert_eq!(send(&user, &longest, picture("longest key")).await.status, 200);
    for bad in ["k".repeat(129), "two words".into(), "k\tk".into()] {
        let refused = send(&user, &bad, picture("never sent")).await;
        assert_eq!(refused.status, 400, "{bad:?}");
        assert!(refused.body["data"]["Idempotency-Key"]["code"].is_string(), "{refused:?}");
    }
    assert_eq!(world.simulator.submits("never sent").await, (0, 0));
}
