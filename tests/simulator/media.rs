//! `v3.fal.media`.

use serde_json::json;

use crate::support::{ask, start, text};

#[tokio::test]
async fn a_picture_is_public_cacheable_and_has_an_etag() {
    let sim = start().await;
    let url = sim.picture("a:1", "a cat").await;
    assert!(url.starts_with(&format!("{}/media/files/b/", sim.base)) && url.ends_with(".jpg"), "{url}");
    let reply = ask("GET", &url).send().await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "image/jpeg"));
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    assert_eq!(reply.header("cache-control"), "public, max-age=5184000, immutable");
    let again = ask("GET", &url).header("if-none-match", reply.header("etag")).send().await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let head = ask("HEAD", &url).send().await;
    assert_eq!((head.header("content-length"), head.body.len()), (reply.body.len().to_string().as_str(), 0));
    assert_eq!(sim.sim("counters").await["download"], 3);
}

#[tokio::test]
async fn a_range_gives_that_part_or_says_there_is_none() {
    let sim = start().await;
    let url = sim.picture("a:1", "a cat").await;
    let whole = ask("GET", &url).send().await.body;
    let length = whole.len();
    let scenarios = [
        ("bytes=0-9".to_owned(), 206, 0..10),
        ("bytes=10-".to_owned(), 206, 10..length),
        ("bytes=-5".to_owned(), 206, length - 5..length),
        (format!("bytes=5-{}", length * 2), 206, 5..length),
        (format!("bytes={length}-"), 416, 0..0),
        ("bytes=9-5".to_owned(), 416, 0..0),
        ("bytes=0-1,4-5".to_owned(), 200, 0..length),
    ];
    for (range, status, part) in scenarios {
        let reply = ask("GET", &url).header("range", &range).send().await;
        assert_eq!((reply.status, &reply.body), (status, &whole.slice(part.clone())), "{range}");
        if status == 206 {
            assert_eq!(reply.header("content-range"), format!("bytes {}-{}/{length}", part.start, part.end - 1));
        }
    }
}

#[tokio::test]
async fn a_picture_goes_when_its_caller_said_and_otherwise_after_a_week() {
    let sim = start().await;
    for (wish, seconds) in [(Some("{\"expiration_duration_seconds\":60}"), 60.0), (None, 7.0 * 86_400.0)] {
        let mut submit = sim.post("/queue/fal-ai/flux/schnell").key("a:1").json(&json!({ "prompt": "x" }));
        if let Some(wish) = wish {
            submit = submit.header("x-fal-object-lifecycle-preference", wish);
        }
        let job = submit.send().await.expect(200);
        sim.advance(0.5);
        let result = ask("GET", text(&job, "response_url")).key("a:1").send().await.expect(200);
        let url = text(&result["images"][0], "url").to_owned();
        sim.advance(seconds - 1.0);
        assert_eq!(ask("GET", &url).send().await.status, 200);
        sim.advance(1.0);
        assert_eq!(ask("GET", &url).send().await.status, 404);
    }
}

#[tokio::test]
async fn an_unknown_file_is_404() {
    let sim = start().await;
    let url = sim.picture("a:1", "a cat").await;
    for wrong in [url.replace(".jpg", ".png"), url.replace(".jpg", ""), format!("{}/media/files/u/none/x", sim.base)] {
        assert_eq!(ask("GET", &wrong).send().await.status, 404, "{wrong}");
    }
}

#[tokio::test]
async fn the_cdn_takes_uploads_with_its_own_token_only() {
    let sim = start().await;
    let refused = sim.post("/media/files/upload").key("a:1").bytes("x").send().await;
    assert_eq!(refused.status, 401);
    let token = sim.post("/rest/storage/auth/token").key("a:1").json(&json!({})).send().await.expect(200);
    assert_eq!(token["token_type"], "Bearer");
    assert_eq!(token["base_url"], format!("{}/media", sim.base));
    let bearer = format!("Bearer {}", text(&token, "token"));
    let upload = || {
        let upload = sim.post("/media/files/upload").header("authorization", &bearer).header("content-type", "text/plain");
        upload.header("x-fal-file-name", "../note.txt").bytes("hello").send()
    };
    let url = upload().await.expect(200);
    assert!(text(&url, "access_url").ends_with("/.._note.txt"), "{url}");
    let file = ask("GET", text(&url, "access_url")).send().await;
    assert_eq!((file.header("content-type"), &file.body[..]), ("text/plain", &b"hello"[..]));
    sim.advance(600.0);
    assert_eq!(upload().await.status, 401);
}
