//! From a prompt to a stored picture.

use serde_json::{Value, json};

use crate::world::{Answer, User, World, picture};

const CASES: &[(&str, &str, &str)] = &[
    ("flux/schnell", "fal-ai/flux/schnell", "flux/schnell"),
    ("fal-ai/flux/schnell", "fal-ai/flux/schnell", "flux/schnell"),
    ("hidream/hidream-i1-dev", "fal-ai/hidream-i1-dev", "hidream/hidream-i1-dev"),
    ("fal-ai/hidream-i1-dev", "fal-ai/hidream-i1-dev", "hidream/hidream-i1-dev"),
    ("hidream/hidream-i1-fast", "fal-ai/hidream-i1-fast", "hidream/hidream-i1-fast"),
    ("fal-ai/hidream-i1-fast", "fal-ai/hidream-i1-fast", "hidream/hidream-i1-fast"),
];

/// A folder of the user's, made as a front end would.
fn folder(world: &World, user: &User, more: &Value) -> String {
    let mut row = json!({ "name": "Holidays", "user_id": user.id });
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.superuser.row("folders", &row)
}

/// What FAL still serves for a request of this key.
async fn served(world: &World, user: &User, endpoint: &str, request_id: &str) -> Vec<Vec<u8>> {
    let app: Vec<&str> = endpoint.split('/').take(2).collect();
    let url = format!("{}/queue/{}/requests/{request_id}", world.simulator.url, app.join("/"));
    let client = reqwest::Client::new();
    let result: Value = client.get(url).header("authorization", format!("Key {}", user.key)).send().await.unwrap().json().await.unwrap();
    let mut files = Vec::new();
    for image in result["images"].as_array().unwrap() {
        files.push(client.get(image["url"].as_str().unwrap()).send().await.unwrap().bytes().await.unwrap().to_vec());
    }
    files
}

/// Everything that must be true of a job that gave pictures.
async fn check(world: &World, user: &User, answer: &Answer, endpoint: &str, canonical: &str, size: (u32, u32), format: &str) {
    let job = world.row("generations", answer.job());
    assert_eq!(job["status"], "completed", "{job}");
    let files = served(world, user, endpoint, job["request_id"].as_str().unwrap()).await;
    let images = answer.body["images"].as_array().unwrap();
    assert_eq!(files.len(), images.len());
    let mut sum = 0;
    for (index, (image, file)) in images.iter().zip(&files).enumerate() {
        let (status, headers, bytes) = user.fetch(image["url"].as_str().unwrap()).await;
        assert_eq!(status, 200, "{image}");
        assert!(bytes == *file, "the stored copy of {image} differs from what FAL serves");
        assert_eq!(headers["content-type"], format!("image/{format}"));
        let decoded = image::load_from_memory(&bytes).unwrap();
        assert_eq!((decoded.width(), decoded.height()), size);
        let (status, _, thumbnail) = user.fetch(image["thumbnail_url"].as_str().unwrap()).await;
        let thumbnail = image::load_from_memory(&thumbnail).unwrap();
        assert_eq!((status, thumbnail.width().max(thumbnail.height())), (200, 256));

        let row = world.row("images", image["id"].as_str().unwrap());
        assert_eq!(row["url"], image["url"], "{row}");
        assert_eq!(row["user_id"], user.id.as_str());
        assert_eq!((&row["prompt"], &row["request_id"]), (&job["prompt"], &job["request_id"]));
        assert_eq!((&row["model"], &row["batch_number"]), (&json!(canonical), &json!(index)), "{row}");
        assert_eq!(row["image_size"], json!({ "width": size.0, "height": size.1 }), "{row}");
        assert_eq!((&row["folder_id"], &row["job_id"]), (&job["collection_id"], &job["id"]));
        assert_eq!((&row["title"], &row["deleted_at"]), (&json!(""), &json!("")));
        assert_eq!(row["other_info"]["content_type"], format!("image/{format}"));
        assert!(!row["file"].as_str().unwrap().is_empty() && !row["created"].as_str().unwrap().is_empty());
        assert!(row["other_info"]["seed"].is_string(), "{row}");
        sum += row["cost_micros"].as_i64().unwrap();
    }
    assert_eq!(sum, job["cost_micros"].as_i64().unwrap());
    assert_eq!(world.charges(answer.job()), [sum]);
    assert_eq!(answer.body["cost"].as_f64().unwrap(), sum as f64 / 1e6);
    assert_eq!(answer.body["estimated"], false);
}

#[tokio::test]
async fn every_model_under_each_of_its_names_gives_pictures_that_are_kept() {
    let world = World::shared();
    let user = world.user().await;
    for (name, endpoint, canonical) in CASES {
        let parameters = json!({ "num_images": 1, "image_size": "square" });
        let answer = user.generate(&json!({ "model": name, "prompt": format!("{name} at work"), "parameters": parameters })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["model"], *name);
        check(&world, &user, &answer, endpoint, canonical, (512, 512), "jpeg").await;
        let micros = if name.contains("dev") { 4000 } else { 3000 };
        assert_eq!(world.charges(answer.job()), [micros], "{name}");
    }
}

#[tokio::test]
async fn presets_sizes_formats_and_numbers_are_what_was_asked_for() {
    let world = World::shared();
    let user = world.user().await;
    let cases = [
        (json!({}), (1024, 768), "jpeg", 1, 3000),
        (json!({ "image_size": "square_hd", "output_format": "png", "num_images": 4 }), (1024, 1024), "png", 4, 12_000),
        (json!({ "image_size": "portrait_16_9", "output_format": "jpeg", "num_images": 4 }), (576, 1024), "jpeg", 4, 12_000),
        (json!({ "image_size": "landscape_16_9", "output_format": "png" }), (1024, 576), "png", 1, 3000),
        (json!({ "image_size": { "width": 640, "height": 448 }, "output_format": "png", "num_images": 2 }), (640, 448), "png", 2, 6000),
        // More than a megapixel counts as two.
        (json!({ "image_size": { "width": 1280, "height": 1024 } }), (1280, 1024), "jpeg", 1, 6000),
    ];
    for (parameters, size, format, count, micros) in cases {
        let prompt = format!("a boat {parameters}");
        let answer = user.generate(&json!({ "model": "flux/schnell", "prompt": prompt, "parameters": parameters })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["images"].as_array().unwrap().len(), count);
        check(&world, &user, &answer, "fal-ai/flux/schnell", "flux/schnell", size, format).await;
        assert_eq!(world.charges(answer.job()), [micros], "{parameters}");
        assert_eq!(world.simulator.submits(&prompt).await, (1, 1));
    }
}

#[tokio::test]
async fn pictures_go_to_the_folder_that_was_named_under_either_name() {
    let world = World::shared();
    let user = world.user().await;
    let folder = folder(&world, &user, &json!({}));
    for field in ["collection_id", "folder_id"] {
        let mut body = picture("a tree");
        body[field] = folder.as_str().into();
        let answer = user.generate(&body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        check(&world, &user, &answer, "fal-ai/flux/schnell", "flux/schnell", (1024, 768), "jpeg").await;
        let row = world.row("images", answer.body["images"][0]["id"].as_str().unwrap());
        assert_eq!(row["folder_id"], folder.as_str());
        assert_eq!(user.get(&format!("jobs/{}", answer.job())).await.expect(200)["collection_id"], folder.as_str());
    }
    let mut body = picture("a tree");
    body["collection_id"] = "".into();
    assert_eq!(user.generate(&body).await.status, 200, "an empty folder is none");
}

#[tokio::test]
async fn a_folder_that_is_deleted_meanwhile_costs_nobody_a_picture() {
    let world = World::with(crate::simulator::Simulator::start(&["--queue-delay", "10ms", "--run-time", "1500ms"]), &[]);
    let user = world.user().await;
    for remove in ["softly", "for good"] {
        let folder = folder(&world, &user, &json!({}));
        let job = user.begin(&json!({ "model": "flux/schnell", "prompt": remove, "collection_id": folder })).await;
        world.job_in(&job, &["queued", "running"]).await;
        let gone = if remove == "softly" {
            world.superuser.post("/api/generatio/folders/delete", &json!({ "user": user.id, "folder": folder })).0
        } else {
            world.superuser.delete(&format!("/api/collections/folders/records/{folder}")).0
        };
        assert!((200..300).contains(&gone), "{remove}: {gone}");
        let job = user.ended(&job).await;
        assert_eq!(job["status"], "completed", "{job}");
        let row = world.row("images", job["images"][0]["id"].as_str().unwrap());
        assert_eq!((&row["folder_id"], &row["deleted_at"]), (&json!(""), &json!("")), "{remove}: {row}");
        assert_eq!(world.charges(job["id"].as_str().unwrap()), [3000]);
    }
}

#[tokio::test]
async fn urls_begin_with_what_browsers_call_us_where_that_is_known() {
    let world = World::start(&["--public-url", "https://pictures.example.com"]);
    let user = world.user().await;
    let answer = user.generate(&picture("a house")).await;
    let image = &answer.body["images"][0];
    for field in ["url", "thumbnail_url"] {
        let url = image[field].as_str().unwrap();
        let path = url.strip_prefix("https://pictures.example.com").unwrap_or_else(|| panic!("{url}"));
        assert!(path.starts_with("/api/files/"), "{path}");
        assert_eq!(user.fetch(path).await.0, 200);
    }
    let row = world.row("images", image["id"].as_str().unwrap());
    assert!(row["url"].as_str().unwrap().starts_with("/api/files/"), "the row holds the path: {row}");
    let job = user.get(&format!("jobs/{}", answer.job())).await.expect(200);
    assert_eq!(job["images"], answer.body["images"]);
}
