//! Ledger, totals, what users see and what FAL billed are one and the same after hundreds of jobs, some of which failed.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::world::{User, World};

const USERS: usize = 20;
const JOBS: usize = 300;

/// What FAL bills is what the ledger must say, down to the micro-dollar: so nothing here makes FAL lie about it.
const FAULTS: [&str; 12] = [
    "",
    "[[sim:result.fail]]",
    "",
    "[[sim:drop_after_accept]]",
    "[[sim:result.422]]",
    "[[sim:no_billable_header]]",
    "[[sim:submit.429]]",
    "[[sim:media.404]]",
    "",
    "[[sim:submit.garbage_json]]",
    "[[sim:status.500:2]]",
    "[[sim:nsfw]]",
];

fn order(index: usize) -> Value {
    let model = ["flux/schnell", "hidream/hidream-i1-dev", "hidream/hidream-i1-fast"][index % 3];
    let size = ["square", "square_hd", "landscape_4_3"][index / 3 % 3];
    let parameters = json!({ "num_images": 1 + index % 4, "image_size": size, "output_format": (["jpeg", "png"][index % 2]) });
    json!({ "model": model, "prompt": format!("{} {index}", FAULTS[index % FAULTS.len()]), "parameters": parameters })
}

fn sum(rows: &[Value], field: &str) -> i64 {
    rows.iter().map(|row| row[field].as_i64().unwrap()).sum()
}

/// Everything that is kept of one user's money agrees; gives it in micro-dollars.
async fn balanced(world: &World, user: &User) -> i64 {
    let theirs = format!("user_id = '{}'", user.id);
    let ledger = world.rows("spend_events", &theirs);
    let (spent, pictures) = (sum(&ledger, "amount_micros"), sum(&ledger, "images"));
    let totals = world.row("spend_totals", &user.id);
    assert_eq!((&totals["spent_micros"], &totals["images"]), (&json!(spent), &json!(pictures)), "{}", user.email);
    let images = world.rows("images", &theirs);
    assert_eq!((sum(&images, "cost_micros"), images.len()), (spent, usize::try_from(pictures).unwrap()));
    let jobs = world.rows("generations", &theirs);
    assert_eq!(sum(&jobs, "cost_micros"), spent);
    assert!(jobs.iter().all(|job| ["completed", "failed"].contains(&job["status"].as_str().unwrap())));
    let dollars = spent as f64 / 1e6;
    let shown = world.row("generatio_users", &user.id)["financial_data"].clone();
    assert_eq!((shown["total_spent"].as_f64(), shown["total_images"].as_i64()), (Some(dollars), Some(pictures)), "{shown}");
    let stats = user.get("financial/stats").await.expect(200);
    assert_eq!((stats["total_spent"].as_f64(), stats["recent_spending"].as_f64()), (Some(dollars), Some(dollars)), "{stats}");
    let average = if pictures == 0 { 0 } else { (spent + pictures / 2) / pictures };
    assert_eq!((stats["total_images"].as_i64(), stats["average_cost"].as_f64()), (Some(pictures), Some(average as f64 / 1e6)), "{stats}");
    spent
}

#[tokio::test]
async fn the_books_balance_after_hundreds_of_jobs_at_once() {
    let world = World::start(&["--jobs", "60"]);
    let users: Vec<User> = world.users(USERS).await;
    let asked = (0..JOBS).map(|index| {
        let user = &users[index % USERS];
        // A multiple of neither, so that every user meets every fault.
        let body = order(index / USERS + index * 7);
        async move { user.generate(&body).await }
    });
    let answers = join_all(asked).await;
    let mut seen = BTreeMap::new();
    for answer in &answers {
        *seen.entry(answer.status).or_insert(0) += 1;
        assert!([200, 422, 502, 503].contains(&answer.status), "{answer:?}");
    }
    assert!(seen[&200] > JOBS / 2 && seen.len() == 4, "{seen:?}");
    let mut spent = BTreeMap::new();
    for user in &users {
        spent.insert(user.key.split(':').next().unwrap().to_owned(), balanced(&world, user).await);
    }
    let accounts = world.simulator.ask("accounts").await;
    for account in accounts["accounts"].as_array().unwrap() {
        let billed = 1_000_000_000 - (account["balance"].as_f64().unwrap() * 1e6).round() as i64;
        let key = account["key_id"].as_str().unwrap();
        assert_eq!(spent[key], billed, "what FAL billed to {key}");
    }
    // Deleting pictures changes nothing of it.
    let user = &users[0];
    let before = user.get("financial/stats").await.expect(200);
    for image in world.rows("images", &format!("user_id = '{}'", user.id)) {
        let (status, _) = world.superuser.delete(&format!("/api/collections/images/records/{}", image["id"].as_str().unwrap()));
        assert_eq!(status, 204);
    }
    assert_eq!(user.get("financial/stats").await.expect(200), before);
}

#[tokio::test]
async fn a_user_whose_totals_are_missing_is_charged_and_gets_them() {
    let world = World::shared();
    let user = world.user().await;
    let first = user.generate(&json!({ "model": "flux/schnell", "prompt": "one" })).await;
    assert_eq!(first.status, 200, "{first:?}");
    let (status, found) = world.superuser.delete(&format!("/api/collections/spend_totals/records/{}", user.id));
    assert_eq!(status, 204, "{found}");
    let second = user.generate(&json!({ "model": "flux/schnell", "prompt": "two" })).await;
    assert_eq!(second.status, 200, "{second:?}");
    assert_eq!(balanced(&world, &user).await, 6000);
}
