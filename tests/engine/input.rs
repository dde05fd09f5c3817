//! What is refused before anything is paid, and in which words.

use reqwest::Method;
use serde_json::{Value, json};

use crate::simulator::Simulator;
use crate::world::{User, World, picture};

/// Who, with which headers; the status and the error.
type Stranger<'a> = (&'a User, &'a [(&'a str, &'a str)], u16, &'a str);

fn with(parameters: Value) -> Value {
    json!({ "model": "flux/schnell", "prompt": "never sent", "parameters": parameters })
}

fn foldered(field: &str, id: &str) -> Value {
    let mut body = picture("never sent");
    body[field] = id.into();
    body
}

#[tokio::test]
async fn a_wrong_body_is_400_and_names_the_field() {
    let world = World::shared();
    let (user, stranger) = (world.user().await, world.user().await);
    let foreign = world.superuser.row("folders", &json!({ "name": "Theirs", "user_id": stranger.id }));
    let deleted = world.superuser.row("folders", &json!({ "name": "Gone", "user_id": user.id, "deleted_at": "2026-01-01 00:00:00.000Z" }));
    let cases: Vec<(Value, &str)> = vec![
        (json!({ "prompt": "never sent" }), "model"),
        (json!({ "model": "", "prompt": "never sent" }), "model"),
        (json!({ "model": "flux/nosuch", "prompt": "never sent" }), "model"),
        (json!({ "model": 1, "prompt": "never sent" }), "model"),
        (json!({ "model": "flux/schnell" }), "prompt"),
        (json!({ "model": "flux/schnell", "prompt": "" }), "prompt"),
        (json!({ "model": "flux/schnell", "prompt": null }), "prompt"),
        (json!({ "model": "flux/schnell", "prompt": ["never sent"] }), "prompt"),
        (picture(&"ä".repeat(1001)), "prompt"),
        (with(json!([])), "parameters"),
        (with(json!({ "num_images": 0 })), "parameters.num_images"),
        (with(json!({ "num_images": 5 })), "parameters.num_images"),
        (with(json!({ "num_images": "2" })), "parameters.num_images"),
        (with(json!({ "num_images": 1.5 })), "parameters.num_images"),
        (with(json!({ "num_images": -1 })), "parameters.num_images"),
        (with(json!({ "num_inference_steps": 13 })), "parameters.num_inference_steps"),
        (with(json!({ "guidance_scale": 0.5 })), "parameters.guidance_scale"),
        (with(json!({ "guidance_scale": true })), "parameters.guidance_scale"),
        (with(json!({ "enable_safety_checker": "yes" })), "parameters.enable_safety_checker"),
        (with(json!({ "output_format": "webp" })), "parameters.output_format"),
        (with(json!({ "acceleration": "warp" })), "parameters.acceleration"),
        (with(json!({ "image_size": "huge" })), "parameters.image_size"),
        (with(json!({ "image_size": { "width": 0, "height": 64 } })), "parameters.image_size"),
        (with(json!({ "image_size": { "width": 20000, "height": 64 } })), "parameters.image_size"),
        (with(json!({ "image_size": { "width": 640 } })), "parameters.image_size"),
        (with(json!({ "seed": "lucky" })), "parameters.seed"),
        (foldered("collection_id", "NOT-AN-ID"), "collection_id"),
        (foldered("folder_id", "NOT-AN-ID"), "folder_id"),
        (foldered("collection_id", "nosuchfolder000"), "collection_id"),
        (foldered("folder_id", "nosuchfolder000"), "folder_id"),
        (foldered("collection_id", &foreign), "collection_id"),
        (foldered("collection_id", &deleted), "collection_id"),
    ];
    for (body, field) in cases {
        let answer = user.generate(&body).await;
        assert_eq!((answer.status, &answer.body["error"]), (400, &json!("validation_error")), "{body}: {answer:?}");
        let faults = answer.body["data"].as_object().unwrap();
        assert!(faults.keys().any(|name| name.starts_with(field)), "{field} is not named: {}", answer.body);
        assert!(answer.body["message"].as_str().unwrap().contains(field), "{}", answer.body);
    }
    let both = user.generate(&with(json!({ "num_images": 9, "seed": "x" }))).await;
    assert_eq!(both.body["data"].as_object().unwrap().len(), 2, "every fault is named: {}", both.body);
    for body in [json!([]), json!("text")] {
        assert_eq!(user.generate(&body).await.status, 400, "{body}");
    }
    let long = user.generate(&picture(&"x".repeat(70_000))).await;
    assert_eq!((long.status, &long.body["error"]), (413, &json!("validation_error")));
    assert_eq!(world.simulator.submits("never sent").await, (0, 0));
    assert!(world.rows("generations", &format!("user_id = '{}'", user.id)).is_empty());
}

#[tokio::test]
async fn what_is_allowed_at_the_edges_is_taken() {
    let world = World::shared();
    let user = world.user().await;
    for body in [
        picture(&"ä".repeat(1000)),
        picture(" "),
        json!({ "model": "flux/schnell", "prompt": "edge", "parameters": null, "collection_id": null, "folder_id": null, "more": [1] }),
        json!({ "model": "flux/schnell", "prompt": "edge", "parameters": { "num_images": 4, "image_size": { "width": 64, "height": 64 } } }),
        json!({ "model": "flux/schnell", "prompt": "edge", "parameters": { "seed": null, "guidance_scale": 20, "num_inference_steps": 12 } }),
    ] {
        let answer = user.generate(&body).await;
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn what_a_model_does_not_have_is_not_sent_and_is_named() {
    let world = World::shared();
    let user = world.user().await;
    let parameters = json!({ "sync_mode": true, "sparkle": 11, "negative_prompt": "rain", "seed": 7 });
    let answer = user.generate(&json!({ "model": "flux/schnell", "prompt": "too much", "parameters": parameters })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut ignored: Vec<&str> = answer.body["ignored_parameters"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    ignored.sort_unstable();
    assert_eq!(ignored, ["negative_prompt", "sparkle", "sync_mode"]);
    let job = user.get(&format!("jobs/{}", answer.job())).await.expect(200);
    assert_eq!(job["parameters"], json!({ "seed": 7 }));
    assert!(answer.body["images"][0]["url"].as_str().unwrap().starts_with("/api/files/"), "no data URI: {answer:?}");
}

#[tokio::test]
async fn only_a_user_with_their_own_session_may_generate() {
    let world = World::shared();
    let (user, stranger, guest) = (world.user().await, world.user().await, world.guest());
    let body = picture("not mine");
    let token = world.superuser.token();
    let cases: [Stranger; 8] = [
        (&user, &[("authorization", "")], 401, "authentication_error"),
        (&user, &[("authorization", "Bearer nonsense")], 401, "authentication_error"),
        (&user, &[("authorization", token)], 401, "authentication_error"),
        (&user, &[("x-session-id", "")], 401, "authentication_error"),
        (&user, &[("x-session-id", "nonsense")], 401, "authentication_error"),
        (&user, &[("x-session-id", "00000000-0000-4000-8000-000000000000")], 401, "authentication_error"),
        (&user, &[("x-session-id", &stranger.session)], 403, "authorization_error"),
        (&guest, &[], 401, "authentication_error"),
    ];
    for (user, headers, status, error) in cases {
        let answer = user.send(Method::POST, "generate/image", headers, &body).await;
        assert_eq!((answer.status, &answer.body["error"]), (status, &json!(error)), "{headers:?}: {answer:?}");
    }
    // Refused before the body is read.
    let answer = guest.send(Method::POST, "generate/image", &[], &json!([])).await;
    assert_eq!(answer.status, 401);
    assert_eq!(world.simulator.submits("not mine").await, (0, 0));
}

fn limited(words: &str) -> Value {
    json!({ "status": 429, "error": "rate_limit_error", "message": words, "data": {} })
}

#[tokio::test]
async fn too_many_in_a_minute_are_429_and_the_next_user_does_not_notice() {
    let world = World::start(&["--jobs-per-minute", "3"]);
    let (user, stranger) = (world.user().await, world.user().await);
    for _ in 0..3 {
        assert_eq!(user.generate(&picture("often")).await.status, 200);
    }
    let refused = user.generate(&picture("too often")).await;
    let words = "Too many generations in a minute. Please try again later.";
    assert_eq!((refused.status, &refused.body), (429, &limited(words)));
    // One more every twenty seconds.
    assert!((1..=20).contains(&refused.header("retry-after").parse::<u32>().unwrap()));
    assert_eq!(world.simulator.submits("too often").await, (0, 0));
    assert_eq!(stranger.generate(&picture("seldom")).await.status, 200);
    assert_eq!(user.get("jobs").await.status, 200, "looking costs nothing");
}

#[tokio::test]
async fn too_many_that_wait_are_429_and_one_users_crowd_is_in_nobody_elses_way() {
    let world = World::with(Simulator::start(&["--run-time", "30s"]), &["--jobs-per-user", "1"]);
    let (user, stranger) = (world.user().await, world.user().await);
    // One in progress, and a hundred that wait for its slot.
    let begun = futures_util::future::join_all((0..101).map(|index| {
        let user = user.clone();
        async move { user.begin(&picture(&format!("crowd {index}"))).await }
    }));
    begun.await;
    let refused = user.generate(&picture("crowd, refused")).await;
    let words = "Too many generations are waiting. Please try again when some are done.";
    assert_eq!((refused.status, &refused.body), (429, &limited(words)), "{refused:?}");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
    let theirs = stranger.begin(&picture("a stranger's")).await;
    world.job_in(&theirs, &["queued", "running"]).await;
    let sent = world.simulator.ask("counters").await["submit"].as_u64().unwrap();
    assert_eq!(sent, 2, "one of each user's");
}

#[tokio::test]
async fn jobs_are_listed_newest_first_page_by_page_and_by_status() {
    let world = World::shared();
    let (user, stranger) = (world.user().await, world.user().await);
    stranger.generate(&picture("a stranger's")).await.expect(200);
    let mut begun = Vec::new();
    for index in 0..7 {
        let mark = if index % 3 == 0 { "[[sim:result.fail]]" } else { "" };
        begun.insert(0, user.generate(&picture(&format!("listed {index} {mark}"))).await.job().to_owned());
    }
    let mut seen = Vec::new();
    let mut query = "jobs?limit=3".to_owned();
    loop {
        let page = user.get(&query).await.expect(200);
        let jobs = page["jobs"].as_array().unwrap();
        seen.extend(jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        assert_eq!(jobs.len(), 3);
        query = format!("jobs?limit=3&cursor={next}");
    }
    assert_eq!(seen, begun);
    for (status, count) in [("completed", 4), ("failed", 3), ("running", 0)] {
        let page = user.get(&format!("jobs?status={status}")).await.expect(200);
        let jobs = page["jobs"].as_array().unwrap();
        assert!(jobs.len() == count && jobs.iter().all(|job| job["status"] == status), "{status}: {page}");
    }
    let failed = user.get("jobs?status=failed&limit=1").await.expect(200)["jobs"][0].clone();
    assert_eq!((&failed["error"]["error"], &failed["cost"]), (&json!("external_error"), &json!(0.0)), "{failed}");
    for query in ["status=done", "limit=0", "limit=101", "limit=x", "cursor=x"] {
        let answer = user.get(&format!("jobs?{query}")).await;
        assert_eq!((answer.status, &answer.body["error"]), (400, &json!("validation_error")), "{query}");
        let field = query.split('=').next().unwrap();
        assert!(answer.body["data"][field]["code"].is_string(), "{query}: {answer:?}");
    }
    let one = user.get(&format!("jobs/{}", begun[0])).await.expect(200);
    let listed = user.get("jobs?limit=1").await.expect(200)["jobs"][0].clone();
    assert_eq!(one, listed);
}
