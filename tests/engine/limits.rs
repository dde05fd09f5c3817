//! How many jobs are in progress at once: of one user, and of all together.

use reqwest::Method;
use serde_json::Value;

use crate::simulator::Simulator;
use crate::world::{World, picture};

#[tokio::test]
async fn only_so_many_are_in_progress_in_all_and_the_next_one_begins_when_one_ends() {
    let flags = ["--jobs", "2", "--jobs-per-user", "2"];
    let world = World::with(Simulator::start(&["--run-time", "60s"]), &flags);
    let users = world.users(3).await;
    let mut jobs = Vec::new();
    for (index, user) in users[..2].iter().enumerate() {
        jobs.push(user.begin(&picture(&format!("full house {index}"))).await);
        world.job_in(&jobs[index], &["queued", "running"]).await;
    }
    let waiting = users[2].begin(&picture("full house, waiting")).await;
    let view = users[2].get(&format!("jobs/{waiting}")).await.expect(200);
    assert_eq!(view["status"], "created", "{view}");
    assert_eq!(world.simulator.submits("full house, waiting").await, (0, 0));
    users[0].send(Method::POST, &format!("jobs/{}/cancel", jobs[0]), &[], &Value::Null).await.expect(200);
    world.job_in(&waiting, &["queued", "running"]).await;
    assert_eq!(world.simulator.submits("full house, waiting").await.0, 1);
}

#[tokio::test]
async fn one_users_jobs_wait_for_each_other() {
    let world = World::with(Simulator::start(&["--run-time", "60s"]), &["--jobs-per-user", "1"]);
    let (user, stranger) = (world.user().await, world.user().await);
    let first = user.begin(&picture("in a row, first")).await;
    world.job_in(&first, &["queued", "running"]).await;
    let second = user.begin(&picture("in a row, second")).await;
    let theirs = stranger.begin(&picture("in a row, a stranger's")).await;
    world.job_in(&theirs, &["queued", "running"]).await;
    assert_eq!(user.get(&format!("jobs/{second}")).await.expect(200)["status"], "created");
    assert_eq!(world.simulator.submits("in a row, second").await, (0, 0));
    user.send(Method::POST, &format!("jobs/{second}/cancel"), &[], &Value::Null).await.expect(200);
    assert_eq!(user.ended(&second).await["status"], "cancelled");
    assert_eq!(world.simulator.submits("in a row, second").await, (0, 0), "who waited and was cancelled cost nothing");
}
