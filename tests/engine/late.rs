//! A picture that FAL's media host did not give at once is stored later, and its job shows where it is then.

use serde_json::{Value, json};

use crate::world::{User, World, picture};

/// Where the job's pictures are, once all of them are here.
async fn stored(user: &User, job: &str) -> Vec<String> {
    let start = std::time::Instant::now();
    loop {
        let found = urls(&user.get(&format!("jobs/{job}")).await.expect(200)["images"]);
        if found.iter().all(|url| url.starts_with("/api/files/images/")) {
            return found;
        }
        assert!(start.elapsed() < crate::world::SOON, "{found:?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

fn urls(images: &Value) -> Vec<String> {
    images.as_array().unwrap().iter().map(|image| image["url"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_job_shows_its_late_picture_wherever_it_is_asked_for() {
    let world = World::start(&[]);
    let user = world.user().await;
    let body = json!({ "model": "flux/schnell", "prompt": "late [[sim:media.404:1]]", "parameters": { "num_images": 2 } });
    let ask = || user.send(reqwest::Method::POST, "generate/image", &[("idempotency-key", "late")], &body);
    let first = ask().await;
    let job = first.job().to_owned();
    let at_first = urls(&first.expect(200)["images"]);
    assert_eq!(at_first.iter().filter(|url| url.starts_with(&world.simulator.url)).count(), 1, "{at_first:?}");
    let before = world.row("generations", &job);

    let now = stored(&user, &job).await;
    let rows = world.rows("images", &format!("job_id = '{job}'"));
    for url in &now {
        assert!(rows.iter().any(|row| row["url"] == json!(url)), "{url}: {rows:?}");
        for size in ["", "?thumb=256x256"] {
            let (status, headers, bytes) = user.fetch(&format!("{url}{size}")).await;
            assert!(status == 200 && headers["content-type"].to_str().unwrap().starts_with("image/") && bytes.len() > 1000, "{url}{size}");
        }
    }
    let again = ask().await;
    assert_eq!((again.job(), urls(&again.body["images"])), (job.as_str(), now.clone()), "a repeat of the request");
    let listed = user.get("jobs").await.expect(200);
    assert_eq!(urls(&listed["jobs"][0]["images"]), now);
    for image in listed["jobs"][0]["images"].as_array().unwrap() {
        assert_eq!(image["thumbnail_url"], json!(format!("{}?thumb=256x256", image["url"].as_str().unwrap())));
    }
    let after = world.row("generations", &job);
    assert_eq!((urls(&after["images"]), after["seq"].as_u64() > before["seq"].as_u64()), (now, true), "natively");
    assert_eq!((world.charges(&job), &after["cost_micros"]), (vec![6000], &before["cost_micros"]), "money stays as it is");
}

#[tokio::test]
async fn what_a_crash_left_is_found_at_the_next_start() {
    let mut world = World::start(&[]);
    let user = world.user().await;
    let missing = user.generate(&picture("left behind [[sim:media.404:1]]")).await.job().to_owned();
    // The picture was stored, and the sidecar was killed before it wrote that into the job.
    let unsaid = user.generate(&picture("stored")).await.job().to_owned();
    let links = world.row("generations", &unsaid)["images"].clone();
    let elsewhere = format!("{}/media/gone.jpg", world.simulator.url);
    let stale = json!([{ "id": links[0]["id"], "url": elsewhere, "thumbnail_url": elsewhere }]);
    assert_eq!(world.superuser.patch(&format!("/api/collections/generations/records/{unsaid}"), &json!({ "images": stale })).0, 200);
    world.restart();
    let user = world.moved(&user);
    assert_eq!(stored(&user, &unsaid).await, urls(&links));
    assert_eq!(stored(&user, &missing).await.len(), 1);
    assert_eq!(world.row("generations", &unsaid)["images"], links);
}
