//! `rest.fal.ai`.

use serde_json::{Value, json};

use crate::support::{ask, start, text};

#[tokio::test]
async fn a_balance_is_a_bare_number_and_the_cheapest_check_of_a_key() {
    let sim = start().await;
    sim.ended("a:1", "x").await;
    let scenarios = [
        (Some("a:1"), 200, json!(9.997)),
        (Some("empty:1"), 200, json!(0.0)),
        (Some("locked:1"), 200, json!(10.0)),
        (Some("bad:1"), 401, json!({ "detail": "No user found for Key ID and Secret" })),
        (None, 401, json!({ "detail": "No user found for Key ID and Secret" })),
    ];
    for (key, status, body) in scenarios {
        let mut asked = sim.get("/rest/billing/user_balance");
        if let Some(key) = key {
            asked = asked.key(key);
        }
        assert_eq!(asked.send().await.expect(status), body, "{key:?}");
    }
    let page = sim.get("/rest/billing/user_balance").key("a:[[sim:balance_html]]").send().await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html"));
}

#[tokio::test]
async fn the_current_user_says_whether_and_why_it_is_locked() {
    let sim = start().await;
    let user = sim.get("/rest/users/current").key("a:1").send().await.expect(200);
    assert_eq!((&user["is_locked"], &user["lock_reason"]), (&json!(false), &Value::Null));
    let locked = sim.get("/rest/users/current").key("locked:1").send().await.expect(200);
    assert_eq!(locked["lock_reason"], "Admin lock. Please contact hello@fal.ai.");
    assert_ne!(user["user_id"], locked["user_id"]);
    assert_eq!(sim.get("/rest/users/current").key("bad:1").send().await.status, 401);
}

#[tokio::test]
async fn an_upload_is_announced_put_and_found() {
    let sim = start().await;
    for (key, status) in [("bad:1", 401), ("empty:1", 403)] {
        for path in ["/rest/storage/upload/initiate?storage_type=fal-cdn-v3", "/rest/storage/auth/token", "/rest/tokens/"] {
            assert_eq!(sim.post(path).key(key).json(&json!({})).send().await.status, status, "{key} {path}");
        }
    }
    let wish = json!({ "content_type": "image/png", "file_name": "cat.png" });
    let place = sim.post("/rest/storage/upload/initiate").key("a:1").json(&wish).send().await.expect(200);
    assert_eq!(ask("GET", text(&place, "file_url")).send().await.status, 404);
    ask("PUT", text(&place, "upload_url")).bytes("bytes").send().await.expect(200);
    let file = ask("GET", text(&place, "file_url")).send().await;
    assert_eq!((file.header("content-type"), &file.body[..]), ("image/png", &b"bytes"[..]));
    assert!(text(&place, "file_url").ends_with("/cat.png"));
}

#[tokio::test]
async fn parts_are_joined_in_their_order_whatever_order_they_came_in() {
    let sim = start().await;
    let wish = json!({ "content_type": "text/plain", "file_name": "parts.txt" });
    let place = sim.post("/rest/storage/upload/initiate-multipart").key("a:1").json(&wish).send().await.expect(200);
    let url = text(&place, "upload_url");
    for (number, body) in [(2, "world"), (10, "!"), (1, "hello ")] {
        let reply = ask("PUT", &format!("{url}/{number}")).bytes(body).send().await;
        let etag = reply.header("etag").to_owned();
        let part = reply.expect(200);
        assert_eq!((&part["partNumber"], &part["etag"]), (&json!(number), &json!(etag)));
    }
    assert_eq!(ask("GET", text(&place, "file_url")).send().await.status, 404);
    ask("POST", &format!("{url}/complete")).json(&json!({ "parts": [] })).send().await.expect(200);
    assert_eq!(&ask("GET", text(&place, "file_url")).send().await.body[..], b"hello world!");
}

#[tokio::test]
async fn an_upload_goes_when_its_caller_said() {
    let sim = start().await;
    let asked = sim.post("/rest/storage/upload/initiate").key("a:1");
    let asked = asked.header("x-fal-object-lifecycle", "{\"expiration_duration_seconds\":60}");
    let place = asked.json(&json!({ "file_name": "x" })).send().await.expect(200);
    ask("PUT", text(&place, "upload_url")).bytes("x").send().await.expect(200);
    sim.advance(59.0);
    assert_eq!(ask("GET", text(&place, "file_url")).send().await.status, 200);
    sim.advance(1.0);
    assert_eq!(ask("GET", text(&place, "file_url")).send().await.status, 404);
}

#[tokio::test]
async fn a_temporary_token_is_a_bare_string() {
    let sim = start().await;
    let wish = json!({ "allowed_apps": ["flux"], "token_expiration": 120 });
    assert!(sim.post("/rest/tokens/").key("a:1").json(&wish).send().await.expect(200).is_string());
}

#[tokio::test]
async fn the_key_set_holds_one_ed25519_key() {
    let sim = start().await;
    let keys = sim.get("/rest/.well-known/jwks.json").send().await.expect(200);
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    let key = &keys["keys"][0];
    assert_eq!((text(key, "kty"), text(key, "crv"), text(key, "x").len()), ("OKP", "Ed25519", 43));
}
