//! Reading what is not one's own: expand, filter, sort and fields as side channels, and realtime.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;

use serde_json::json;

use super::{SECRETS, Scene};
use crate::support::connect;
use crate::support::rest::Rest;

/// Nothing that is asked tells a secret, and no filter or order over hidden fields is taken.
pub fn side_channels(scene: &Scene, front: SocketAddr) {
    let ann = Rest::new(front).with_token(scene.ann.rest.token());
    for (path, refused) in questions(scene) {
        let (status, answer) = ann.get(&path);
        let told = answer.to_string();
        assert!(status < 500, "{path}: {status} {told}");
        assert!(!SECRETS.iter().any(|secret| told.contains(secret)), "{path}: {told}");
        assert!(!refused || [400, 403, 404].contains(&status) || answer["totalItems"] == 0, "{path}: {status} {told}");
        println!("  GET {path}: {status}");
    }
    let own = ann.get(&format!("/api/collections/generatio_users/records/{}", scene.ann.id)).1;
    assert!(own.get("fal_token").is_none() && own["email"] == "ann@example.com", "{own}");
}

/// What is asked, and whether it must be refused or find nothing.
fn questions(scene: &Scene) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let records = |collection: &str| format!("/api/collections/{collection}/records");
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    for (collection, [own, others]) in &scene.rows {
        found.push((format!("{}/{others}", records(collection)), true));
        found.push((format!("{}/{others}?expand=user_id,model_preferences", records(collection)), true));
        found
            .push((format!("{}/{own}?fields=*,fal_token,expand.*&expand=user_id,folder_id,model_preferences", records(collection)), false));
        found.push((
            format!(
                "{}?expand=user_id,images_via_user_id,generations_via_user_id,generatio_users_via_model_preferences",
                records(collection)
            ),
            false,
        ));
        found.push((format!("{}?filter={}", records(collection), encode(&format!("id = '{others}'"))), true));
    }
    let hidden = [
        ("generatio_users", "fal_token ~ 'sealed'"),
        ("generatio_users", "fal_token:lower ~ 'sealed'"),
        ("generatio_users", "tokenKey != ''"),
        ("generatio_users", "password != ''"),
        ("images", "user_id.fal_token ~ 'sealed'"),
        ("folders", "user_id.fal_token ~ 'sealed'"),
        ("generations", "key_fingerprint ~ 'sealed'"),
        ("generations", "status_url ~ 'fal'"),
        ("generations", "idempotency_key ~ 'sealed'"),
        ("generations", "seed ~ 'sealed'"),
        ("generations", "work ~ 'sealed'"),
        ("generations", "user_id.fal_token ~ 'sealed'"),
        ("generatio_users", "generations_via_user_id.key_fingerprint ?~ 'sealed'"),
        ("model_preferences", "generatio_users_via_model_preferences.fal_token ?~ 'sealed'"),
        ("images", "@collection.generatio_users.fal_token ?~ 'sealed'"),
        ("images", "@collection.images.prompt ?~ 'secret-of-bob'"),
        ("images", "@collection.spend_totals.spent_micros > 0"),
        ("folders", "user_id.email = 'bob@example.com'"),
        ("images", "user_id.images_via_user_id.prompt ?~ 'secret-of-bob'"),
        ("generatio_users", "email = 'bob@example.com'"),
    ];
    for (collection, filter) in hidden {
        found.push((format!("{}?filter={}", records(collection), encode(filter)), true));
    }
    // The oldest release takes a path into a hidden field, over one's own rows: `work` must hold no secret.
    found.push((format!("{}?filter={}", records("generations"), encode("work.note ~ 'sealed'")), false));
    for (collection, sort) in [
        ("generatio_users", "fal_token"),
        ("generatio_users", "-tokenKey"),
        ("generations", "key_fingerprint"),
        ("images", "user_id.fal_token"),
    ] {
        found.push((format!("{}?sort={sort}", records(collection)), true));
    }
    found.push(("/api/collections/generatio_users".into(), true));
    found.push(("/api/collections".into(), true));
    found.push(("/api/settings".into(), true));
    found
}

/// A listener to everything hears of their own rows alone, and no hidden field.
pub fn realtime(scene: &Scene, front: SocketAddr) {
    let mut stream = connect(front);
    write!(stream, "GET /api/realtime HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let connected = lines.find_map(|line| Some(line.split_once("\"clientId\":\"")?.1.split('"').next()?.to_owned())).unwrap();
    let mut topics: Vec<String> = scene.rows.keys().map(|name| format!("{name}/*")).collect();
    topics.extend(scene.rows.iter().map(|(name, [_, others])| format!("{name}/{others}")));
    topics.push(format!("generatio_users/*?options={}", r#"{"query":{"fields":"*,fal_token"}}"#));
    let ann = Rest::new(front).with_token(scene.ann.rest.token());
    assert_eq!(ann.post("/api/realtime", &json!({"clientId": connected, "subscriptions": topics})).0, 204);

    let change = |collection: &str, whose: usize, body: &serde_json::Value| {
        let path = format!("/api/collections/{collection}/records/{}", scene.rows[collection][whose]);
        assert_eq!(scene.store.superuser.patch(&path, body).0, 200);
    };
    for whose in [1, 0] {
        change("generations", whose, &json!({"seq": 2, "status": "running"}));
        change("images", whose, &json!({"title": "changed"}));
        change("spend_totals", whose, &json!({"images": 1}));
        change("generatio_users", whose, &json!({"name": "changed"}));
    }
    change("generatio_users", 0, &json!({"name": "the last change"}));
    let mut heard = String::new();
    for line in lines {
        heard.push_str(&line);
        if line.contains("the last change") {
            break;
        }
    }
    assert!(heard.contains("the last change") && heard.contains("running"), "{heard}");
    assert!(!SECRETS.iter().any(|secret| heard.contains(secret)), "{heard}");
    assert!(!heard.contains(&scene.bob.id) && !heard.contains("spent_micros"), "{heard}");
}
