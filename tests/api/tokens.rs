//! The routes below `/api/custom/tokens/`.

use std::io::Write;

use serde_json::{Value, json};

use crate::stage::{Stage, USERS, stranger};
use crate::support::{connect, read_answer, status};

const SETUP: &str = "/api/custom/tokens/setup";
const VERIFY: &str = "/api/custom/tokens/verify";
const CHANGE: &str = "/api/custom/tokens/change-password";
const TOKENS: &str = "/api/custom/tokens";
const CREATE: &str = "/api/custom/auth/create-session";
const LOGIN: &str = "/api/custom/auth/login";

#[test]
fn a_key_lives_from_setup_to_deletion() {
    let stage = Stage::new();
    let ann = stage.person();
    let verify = |password: &str| stage.ask("POST", VERIFY).by(&ann).json(&json!({"password": password})).send().expect(200);
    let change = |old: &str, new: &str| stage.ask("POST", CHANGE).by(&ann).json(&json!({"old_password": old, "new_password": new})).send();
    let [key, first, second] = ["ann:her-first-key", "the first password", "the second password"].map(|text| stage.secret(text));
    assert_eq!(verify(&first), json!({"has_token": false, "can_decrypt": false}));
    let refused = change(&first, &second).expect(400);
    assert_eq!((&refused["error"], &refused["message"]), (&json!("validation_error"), &json!("No FAL token is stored: set one up first.")));
    let stored = stage.setup(&ann, &key, &first).expect(200);
    assert_eq!(stored, json!({"success": true, "message": "FAL token setup successfully", "verified": true}));
    assert!(stage.seal(&ann).contains(".$pbkdf2-sha256$v=2,i=100000$"), "{}", stage.seal(&ann));
    assert_eq!(verify(&first), json!({"has_token": true, "can_decrypt": true}));
    assert_eq!(verify(&second), json!({"has_token": true, "can_decrypt": false}));
    let refused = change(&second, &first).expect(401);
    assert_eq!(refused, json!({"status": 401, "error": "authentication_error", "message": "Invalid password.", "data": {}}));
    let session = stage.session(&ann, &first);
    assert_eq!(change(&first, &second).expect(200), json!({"success": true, "message": "Password changed successfully"}));
    assert_eq!((stage.opened(&ann, &first), stage.opened(&ann, &second)), (None, Some(key)));
    assert!(stage.has_session(&ann), "sessions stay");
    let deleted = stage.ask("DELETE", TOKENS).by(&ann).send().expect(200);
    assert_eq!(deleted, json!({"success": true, "message": "FAL token deleted successfully"}));
    assert_eq!(stage.seal(&ann), "");
    stage.ask("DELETE", "/api/custom/auth/session").by(&ann).session(&session).send().expect(404);
    assert_eq!(stage.ask("DELETE", TOKENS).by(&ann).send().expect(200)["success"], true, "there is nothing left to delete");
    stage.assert_secrets_are_kept();
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    let stage = Stage::new();
    let (ann, key) = stage.person_with_key();
    let seal = stage.seal(&ann);
    let secret = stage.secret("a wrong value that is secret too");
    let long = "x".repeat(129);
    for (path, body, field, code) in [
        (SETUP, json!({}), "fal_token", "validation_required"),
        (SETUP, json!({"password": secret}), "fal_token", "validation_required"),
        (SETUP, json!({"fal_token": "", "password": secret}), "fal_token", "validation_required"),
        (SETUP, json!({"fal_token": null, "password": secret}), "fal_token", "validation_required"),
        (SETUP, json!({"fal_token": 1234567890, "password": secret}), "fal_token", "validation_invalid_value"),
        (SETUP, json!({"fal_token": [secret], "password": secret}), "fal_token", "validation_invalid_value"),
        (SETUP, json!({"fal_token": "a:2345678", "password": secret}), "fal_token", "validation_invalid_value"),
        (SETUP, json!({"fal_token": "a:".repeat(101), "password": secret}), "fal_token", "validation_invalid_value"),
        (SETUP, json!({"fal_token": "a key:with-a-space", "password": secret}), "fal_token", "validation_invalid_value"),
        (SETUP, json!({"fal_token": "schlüssel:0123456", "password": secret}), "fal_token", "validation_invalid_value"),
        (SETUP, json!({"fal_token": key}), "password", "validation_required"),
        (SETUP, json!({"fal_token": key, "password": {"a": secret}}), "password", "validation_invalid_value"),
        (SETUP, json!({"fal_token": key, "password": "1234567"}), "password", "validation_length_out_of_range"),
        (SETUP, json!({"fal_token": key, "password": long}), "password", "validation_length_out_of_range"),
        (VERIFY, json!({}), "password", "validation_required"),
        (VERIFY, json!({"password": true}), "password", "validation_invalid_value"),
        (CHANGE, json!({"new_password": secret}), "old_password", "validation_required"),
        (CHANGE, json!({"old_password": ann.password}), "new_password", "validation_required"),
        (CHANGE, json!({"old_password": ann.password, "new_password": "short"}), "new_password", "validation_length_out_of_range"),
        (CHANGE, json!({"old_password": ann.password, "new_password": long}), "new_password", "validation_length_out_of_range"),
        (CHANGE, json!({"old_password": 1.5, "new_password": secret}), "old_password", "validation_invalid_value"),
        (CREATE, json!({"password": ""}), "password", "validation_required"),
        (CREATE, json!({"password": []}), "password", "validation_invalid_value"),
        (LOGIN, json!({"password": secret}), "email", "validation_required"),
        (LOGIN, json!({"email": ann.email}), "password", "validation_required"),
        (LOGIN, json!({"email": 5, "password": secret}), "email", "validation_invalid_value"),
    ] {
        let refused = stage.ask("POST", path).by(&ann).json(&body).send().expect(400);
        let message = refused["message"].as_str().unwrap();
        assert!(message.starts_with(field), "{path} {body}: {refused}");
        assert_eq!((&refused["error"], &refused["data"][field]["code"]), (&json!("validation_error"), &json!(code)), "{path} {body}");
        assert!(refused["data"][field]["message"].as_str().is_some_and(|words| words.ends_with('.')), "{refused}");
    }
    assert_eq!(stage.seal(&ann), seal, "nothing of that was stored");
    stage.assert_secrets_are_kept();
}

#[test]
fn bodies_that_are_no_json_objects_are_refused_whole() {
    let stage = Stage::new();
    let (ann, _) = stage.person_with_key();
    let right = json!({"password": ann.password}).to_string();
    let padded = |length: usize| json!({"password": ann.password, "padding": "x".repeat(length)}).to_string();
    for (kind, body, expected) in [
        ("application/json", String::new(), 400),
        ("application/json", "{".into(), 400),
        ("application/json", "null".into(), 400),
        ("application/json", "\"text\"".into(), 400),
        ("application/json", format!("[\"{}\"]", ann.password), 400),
        ("application/json", format!("{right}x"), 400),
        ("application/json", format!("{right}{right}"), 400),
        ("application/json", "{\"password\":\"\\ud800\"}".into(), 400),
        ("application/json", format!("{}1{}", "[".repeat(1000), "]".repeat(1000)), 400),
        ("application/json", padded(66_000), 413),
        ("application/x-www-form-urlencoded", format!("password={}", ann.password.replace(' ', "+")), 415),
        ("multipart/form-data; boundary=b", right.clone(), 415),
        ("application/octet-stream", right.clone(), 415),
        ("application/json; charset=utf-8", format!(" \n{right}\t"), 200),
        ("APPLICATION/JSON", right.clone(), 200),
        ("text/plain;charset=UTF-8", right.clone(), 200),
        ("application/json", padded(60_000), 200),
    ] {
        for path in [VERIFY, CREATE] {
            let answer = stage.ask("POST", path).by(&ann).body(kind, body.clone()).send();
            let shown: String = body.chars().take(60).collect();
            assert_eq!(answer.status, expected, "{path} {kind} {shown}: {}", answer.whole);
            if expected != 200 {
                assert_eq!((&answer.json["error"], &answer.json["data"]), (&json!("validation_error"), &json!({})), "{shown}");
            }
        }
    }
    let chunked = format!("POST {VERIFY} HTTP/1.1\r\nHost: a\r\nAuthorization: {}\r\nTransfer-Encoding: chunked\r\n\r\n", ann.token);
    let mut stream = connect(stage.sidecar.address);
    stream.write_all(chunked.as_bytes()).unwrap();
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    (0..5).for_each(|_| drop(stream.write_all(chunk.as_bytes())));
    assert_eq!(status(&read_answer(&mut stream)), 413, "a body that does not say how long it is");
    stage.assert_secrets_are_kept();
}

#[test]
fn whoever_is_no_user_is_refused_before_the_body_is_read() {
    let stage = Stage::new();
    let (ann, _) = stage.person_with_key();
    let (stranger, seal) = (stranger(&stage), stage.seal(&ann));
    let tampered = format!("{}x", ann.token);
    let superuser = stage.superuser.token();
    let routes = [("POST", SETUP), ("POST", VERIFY), ("POST", CHANGE), ("DELETE", TOKENS), ("POST", CREATE)];
    let routes = routes.into_iter().chain([("DELETE", "/api/custom/auth/session"), ("GET", "/api/custom/auth/token-status")]);
    for (method, path) in routes {
        for lines in [
            String::new(),
            "Authorization: \r\n".into(),
            "Authorization: Bearer \r\n".into(),
            "Authorization: garbage\r\n".into(),
            "Authorization: a.b.c\r\n".into(),
            "Authorization: Basic dXNlcjpwYXNz\r\n".into(),
            format!("Authorization: {tampered}\r\n"),
            format!("Authorization: Bearer {superuser}\r\n"),
            format!("Authorization: {stranger}\r\n"),
            format!("Authorization: {0}\r\nAuthorization: {0}\r\n", ann.token),
            format!("Authorization: {},{}\r\n", ann.token, ann.token),
        ] {
            // A body is announced and never sent.
            let length = if method == "GET" { 0 } else { 100 };
            let mut stream = connect(stage.sidecar.address);
            let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{lines}\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            let answer = read_answer(&mut stream);
            let json: Value = serde_json::from_str(crate::support::body(&answer)).unwrap_or_else(|error| panic!("{error}: {answer}"));
            let message = &json["message"];
            let shape = json!({"status": 401, "error": "authentication_error", "message": message, "data": {}});
            assert_eq!((status(&answer), &json), (401, &shape), "{method} {path} {lines}");
        }
    }
    for spelling in [ann.token.clone(), format!("Bearer {}", ann.token), format!("bearer {}", ann.token)] {
        stage.ask("GET", "/api/custom/auth/token-status").header("Authorization", &spelling).send().expect(200);
    }
    assert_eq!(stage.superuser.delete(&format!("{USERS}/records/{}", ann.id)).0, 204);
    stage.ask("POST", VERIFY).by(&ann).json(&json!({"password": ann.password})).send().expect(401);
    assert!(!seal.is_empty());
    stage.assert_secrets_are_kept();
}

#[test]
fn a_key_that_fal_rejects_is_not_stored_and_one_that_it_knows_costs_nothing() {
    let stage = Stage::new();
    let ann = stage.person();
    let refused = stage.setup(&ann, "bad:not-a-key-of-fals", &ann.password).expect(400);
    assert_eq!(
        (&refused["error"], &refused["data"]["fal_token"]["code"]),
        (&json!("validation_error"), &json!("validation_invalid_value"))
    );
    assert_eq!(stage.seal(&ann), "");
    for id in ["good", "locked", "empty", "scope", "poor"] {
        let stored = stage.setup(&ann, &format!("{id}:a-key-that-fal-knows"), &ann.password).expect(200);
        assert_eq!(stored["verified"], true, "{id}");
    }
    let seal = stage.seal(&ann);
    stage.setup(&ann, "bad:another-key-of-nobodys", &ann.password).expect(400);
    assert_eq!(stage.seal(&ann), seal, "the key before stays");
    let (_, counters) = crate::support::rest::Rest::new(stage.fal).get("/_sim/counters");
    assert!(counters.as_object().is_some_and(|kinds| !kinds.is_empty() && !kinds.contains_key("submit")), "{counters}");
    stage.assert_secrets_are_kept();
}

#[test]
fn a_fal_that_is_down_keeps_nobody_from_storing_a_key() {
    let stage = Stage::with(&["--fal-api-url", "http://127.0.0.1:1", "--fal-rest-url", "http://127.0.0.1:1"]);
    let ann = stage.person();
    let stored = stage.setup(&ann, "ann:a-key-unseen-by-fal", &ann.password).expect(200);
    assert_eq!(stored, json!({"success": true, "message": "FAL token setup successfully", "verified": false}));
    assert_eq!(stage.opened(&ann, &ann.password).as_deref(), Some("ann:a-key-unseen-by-fal"));
    stage.assert_secrets_are_kept();
}

#[test]
fn a_replaced_key_reaches_open_sessions_if_the_password_opened_the_one_before() {
    let stage = Stage::new();
    let (ann, _) = stage.person_with_key();
    stage.session(&ann, &ann.password);
    stage.setup(&ann, "ann:her-second-key", &ann.password).expect(200);
    assert!(stage.has_session(&ann));
    stage.setup(&ann, "ann:her-third-key", "a password for the key alone").expect(200);
    assert!(!stage.has_session(&ann));
    assert_eq!(
        stage.token_status(&ann),
        json!({"has_token": true, "has_active_session": false, "requires_login": true, "needs_setup": false})
    );
    stage.session(&ann, "a password for the key alone");
    stage.assert_secrets_are_kept();
}

#[test]
fn a_store_that_is_away_is_a_503_and_changes_nothing() {
    let mut stage = Stage::new();
    let (ann, key) = stage.person_with_key();
    stage.pocketbase.kill();
    let answer = stage.ask("POST", VERIFY).by(&ann).json(&json!({"password": ann.password})).send();
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{}", answer.whole);
    assert_eq!(answer.expect(503)["error"], "unavailable_error");
    stage.pocketbase.serve();
    crate::support::until("the sidecar works again", || {
        stage.ask("POST", VERIFY).by(&ann).json(&json!({"password": ann.password})).send().status == 200
    });
    assert_eq!(stage.opened(&ann, &ann.password), Some(key));
    stage.assert_secrets_are_kept();
}
