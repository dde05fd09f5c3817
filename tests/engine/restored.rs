//! What docs/operate.md says of a PocketBase that was put back to an older state.

use serde_json::{Value, json};

use crate::simulator::Simulator;
use crate::world::{World, picture, until};

#[tokio::test]
async fn a_restored_pocketbase_finishes_and_charges_what_was_in_progress_and_its_books_agree() {
    let mut world = World::with(Simulator::start(&["--run-time", "4s"]), &["--jobs-per-user", "1"]);
    let user = world.user().await;
    let running = user.begin(&picture("in progress")).await;
    let waiting = user.begin(&picture("not begun")).await;
    until("the first is submitted", || (world.row("generations", &running)["request_id"] != "").then_some(())).await;
    world.pocketbase.back_up();
    assert_eq!(world.row("generations", &waiting)["status"], "created");
    for job in [&running, &waiting] {
        assert_eq!(user.ended(job).await["status"], "completed");
    }
    let since = user.begin(&picture("since")).await;
    assert_eq!(user.ended(&since).await["status"], "completed");
    let newcomer = world.user().await;

    world.ask_to_stop();
    until("the sidecar has stopped", || world.sidecar.log().contains("stopped").then_some(())).await;
    world.pocketbase.restore();
    world.restart();
    let row = world.job_in(&running, &["awaiting_unlock"]).await;
    assert!(world.charges(&running).is_empty(), "{row}");

    let user = world.again(&user).await;
    for (job, prompt, submits) in [(&running, "in progress", 1), (&waiting, "not begun", 2)] {
        let ended = user.ended(job).await;
        assert_eq!((&ended["status"], world.charges(job)), (&json!("completed"), vec![3000]), "{ended}");
        assert_eq!(world.simulator.submits(prompt).await, (submits, submits), "{prompt}");
        let url = ended["images"][0]["url"].as_str().unwrap();
        assert_eq!(user.fetch(url).await.0, 200, "{ended}");
    }
    assert_eq!(user.get(&format!("jobs/{since}")).await.status, 404);
    assert_eq!(world.moved(&newcomer).get("auth/token-status").await.status, 401);
    let (stats, books) = (user.get("financial/stats").await.body, world.superuser.get("/api/generatio/books?limit=1000").1);
    assert_eq!((&stats["total_spent"], &stats["total_images"], &books["users"]), (&json!(0.006), &json!(2), &Value::Array(Vec::new())));
}
