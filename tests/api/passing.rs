//! A password that is changed at PocketBase, through the sidecar.

use std::io::Write;
use std::time::Instant;

use generatio::vault::Method;
use serde_json::{Value, json};

use crate::stage::{Answer, Person, Stage, USERS};
use crate::support::until;

const OPENED: &str = "Login successful with auto-created session";

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn multipart(fields: &[(&str, &str)]) -> String {
    let parts = fields.iter().map(|(name, value)| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
    parts.collect::<String>() + "--b--\r\n"
}

/// A batch is for superusers unless the operator opens it.
fn open_batches(stage: &Stage) {
    let row = stage.superuser.rows("generatio_meta").into_iter().find(|row| row["key"] == "batch").unwrap();
    let path = format!("/api/collections/generatio_meta/records/{}", row["id"].as_str().unwrap());
    assert_eq!(stage.superuser.patch(&path, &json!({"value": {"opened_by_us": false}})).0, 200);
}

/// A change in one of its spellings: method, path, content type and body.
type Spelling = fn(&Person, &str, &str) -> (&'static str, String, &'static str, String);

const FORM: &str = "application/x-www-form-urlencoded";
const PARTS: &str = "multipart/form-data; boundary=b";

fn wish(person: &Person, new: &str) -> Value {
    json!({"oldPassword": person.password, "password": new, "passwordConfirm": new})
}

fn record(person: &Person) -> String {
    format!("{USERS}/records/{}", person.id)
}

const SPELLINGS: [(&str, Spelling); 12] = [
    ("JSON", |ann, new, _| ("PATCH", record(ann), "application/json", wish(ann, new).to_string())),
    ("by the collection's id", |ann, new, id| {
        (
            "PATCH",
            format!("/api/collections/{id}/records/{}?fields=id", ann.id),
            "application/json; charset=utf-8",
            wish(ann, new).to_string(),
        )
    }),
    ("in other letters", |ann, new, _| {
        ("PATCH", format!("/api/collections/Generatio_USERS/records/{}", ann.id), "application/json", wish(ann, new).to_string())
    }),
    ("in letters that Go folds", |ann, new, _| {
        ("PATCH", format!("/api/collections/generatio_u%C5%BFers/records/{}", ann.id), "application/json", wish(ann, new).to_string())
    }),
    ("percent-encoded", |ann, new, _| {
        let path = format!("/%61pi/collections/generatio%5Fusers/%72ecords/{}", percent(&ann.id));
        ("PATCH", path, "application/json", wish(ann, new).to_string())
    }),
    ("multipart", |ann, new, _| {
        ("PATCH", record(ann), PARTS, multipart(&[("oldPassword", &ann.password), ("password", new), ("passwordConfirm", new)]))
    }),
    ("multipart with JSON", |ann, new, _| ("PATCH", record(ann), PARTS, multipart(&[("@jsonPayload", &wish(ann, new).to_string())]))),
    ("urlencoded", |ann, new, _| {
        let (old, new) = (percent(&ann.password), percent(new));
        ("PATCH", record(ann), FORM, format!("oldPassword={old}&password={new}&passwordConfirm={new}"))
    }),
    ("a batch's PATCH", |ann, new, _| {
        let batch = json!({"requests": [{"method": "PATCH", "url": record(ann), "body": wish(ann, new)}]});
        ("POST", "/api/batch".into(), "application/json", batch.to_string())
    }),
    ("a batch's PUT", |ann, new, id| {
        let mut body = wish(ann, new);
        body["id"] = json!(ann.id);
        let batch = json!({"requests": [{"method": "PUT", "url": format!("/api/collections/{id}/records?fields=id"), "body": body}]});
        ("POST", "/%61pi/batch".into(), "application/json", batch.to_string())
    }),
    ("a batch in multipart", |ann, new, _| {
        let batch = json!({"requests": [{"method": "PATCH", "url": record(ann), "body": wish(ann, new)}]});
        ("POST", "/api/batch".into(), PARTS, multipart(&[("@jsonPayload", &batch.to_string())]))
    }),
    ("a batch, urlencoded", |ann, new, _| {
        let batch = json!({"requests": [{"method": "PATCH", "url": record(ann), "body": wish(ann, new)}]});
        ("POST", "/api/batch".into(), FORM, format!("%40jsonPayload={}", percent(&batch.to_string())))
    }),
];

#[test]
fn a_change_in_any_spelling_is_followed_before_the_next_sign_in() {
    let stage = Stage::new();
    open_batches(&stage);
    let collection = stage.superuser.get(USERS).1["id"].as_str().unwrap().to_owned();
    for (name, spelling) in SPELLINGS {
        let (mut ann, key) = stage.person_with_key();
        stage.session(&ann, &ann.password);
        let new = stage.secret(&format!("the new päss & \"word\" of {}", ann.id));
        let (method, path, kind, body) = spelling(&ann, &new, &collection);
        let changed = stage.ask(method, &path).by(&ann).body(kind, body).send();
        assert_eq!(changed.status, 200, "{name}: {}", changed.whole);
        ann.password = new;
        let login = stage.login(&ann, &ann.password).expect(200);
        assert_eq!(login["message"], OPENED, "{name}");
        assert_eq!(stage.opened(&ann, &ann.password), Some(key), "{name}");
        let statistics = stage.ask("GET", "/api/custom/status").send().expect(200)["services"]["sessions"]["active"].clone();
        ann.token = login["token"].as_str().unwrap().to_owned();
        let session = login["session_id"].as_str().unwrap();
        stage.ask("DELETE", "/api/custom/auth/session").by(&ann).session(session).send().expect(200);
        assert_eq!(statistics, 1, "{name}: the session of before has ended");
    }
    stage.assert_secrets_are_kept();
}

#[test]
fn half_of_a_form_may_stand_in_the_query() {
    let stage = Stage::new();
    let (ann, key) = stage.person_with_key();
    let (old, new) = (percent(&ann.password), "the new password of ann");
    let path = format!("{}?oldPassword={old}", record(&ann));
    let body = format!("password={0}&passwordConfirm={0}", percent(new));
    stage.ask("PATCH", &path).by(&ann).body(FORM, body).send().expect(200);
    // PocketBase writes queries into its log, so no secrets are looked for there.
    assert_eq!(stage.login(&ann, new).expect(200)["message"], OPENED);
    assert_eq!(stage.opened(&ann, new), Some(key));
    assert!(!stage.sidecar.log().contains(&ann.password) && !stage.sidecar.log().contains(&old));
}

fn change(stage: &Stage, person: &Person, body: &Value) -> Answer {
    stage.ask("PATCH", &record(person)).by(person).json(body).send()
}

#[test]
fn what_pocketbase_refuses_or_does_not_mean_a_password_changes_nothing() {
    let stage = Stage::new();
    let (ann, key) = stage.person_with_key();
    let (bob, _) = stage.person_with_key();
    stage.session(&ann, &ann.password);
    let (before, new) = (stage.derivations(), stage.secret("a password that is not taken"));
    for (body, expected) in [
        (json!({"oldPassword": "wrong", "password": new, "passwordConfirm": new}), 400),
        (json!({"oldPassword": ann.password, "password": new, "passwordConfirm": "other"}), 400),
        (json!({"oldPassword": ann.password, "password": [new], "passwordConfirm": new}), 400),
        (json!({"password": new, "passwordConfirm": new}), 400),
        (json!({"oldPassword": ann.password, "password": "short", "passwordConfirm": "short"}), 400),
        (json!({"name": "Ann"}), 200),
        (json!({"profile": {"oldPassword": ann.password, "password": new}}), 200),
        (json!({"oldPassword": ann.password, "name": "Ann"}), 400),
    ] {
        assert_eq!(change(&stage, &ann, &body).status, expected, "{body}");
    }
    open_batches(&stage);
    let rename = json!({"requests": [{"method": "PATCH", "url": record(&ann), "body": {"name": "Ann"}}]}).to_string();
    // Only files come like this.
    let apart = ["requests.0.oldPassword", "requests[0].password", "requests.0.passwordConfirm"];
    let parts = multipart(&[("@jsonPayload", &rename), (apart[0], &ann.password), (apart[1], &new), (apart[2], &new)]);
    stage.ask("POST", "/api/batch").by(&ann).body(PARTS, parts).send().expect(200);
    let foreign = stage.ask("PATCH", &record(&bob)).by(&ann).json(&wish(&ann, &new)).send();
    assert_eq!(foreign.status, 404, "{}", foreign.whole);
    assert!(stage.has_session(&ann), "the session goes on");
    assert_eq!((stage.derivations(), stage.opened(&ann, &ann.password)), (before, Some(key)));
    stage.assert_secrets_are_kept();
}

#[test]
fn a_key_under_a_password_of_its_own_stays_under_it() {
    let stage = Stage::new();
    let mut ann = stage.person();
    stage.setup(&ann, "ann:under-another-password", "a password for the key alone").expect(200);
    let new = stage.secret("the new password of ann");
    assert_eq!(change(&stage, &ann, &wish(&ann, &new)).status, 200);
    until("it was tried", || stage.sidecar.log().contains("a FAL key stays under a password of its own"));
    assert_eq!(stage.opened(&ann, "a password for the key alone").as_deref(), Some("ann:under-another-password"));
    ann.password = new;
    stage.sign_in(&mut ann);
    assert_eq!(stage.token_status(&ann)["needs_setup"], false);
    stage.assert_secrets_are_kept();
}

#[test]
fn what_a_superuser_says_of_the_old_password_is_an_attempt_like_any_other() {
    let stage = Stage::new();
    let (ann, key) = stage.person_with_key();
    let before = stage.derivations();
    for number in 0..8 {
        let new = stage.secret(&format!("guess number {number}"));
        let body = json!({"oldPassword": format!("wrong {number}"), "password": new, "passwordConfirm": new});
        stage.ask("PATCH", &record(&ann)).header("Authorization", stage.superuser.token()).json(&body).send().expect(200);
    }
    until("all were looked at", || {
        let log = stage.sidecar.log();
        log.matches("a FAL key stays under").count() + log.matches("could not be sealed under").count() == 8
    });
    assert_eq!((stage.derivations(), stage.opened(&ann, &ann.password)), (before + 4, Some(key)));
    stage.assert_secrets_are_kept();
}

#[test]
fn a_client_that_leaves_after_it_has_asked_is_followed_too() {
    let stage = Stage::new();
    let (mut ann, key) = stage.person_with_key();
    let new = stage.secret("the new password of someone in a hurry");
    let wish = wish(&ann, &new);
    ann.password = new;
    until("one that left got through to PocketBase", || {
        drop(stage.ask("PATCH", &record(&ann)).by(&ann).json(&wish).begin());
        stage.login(&ann, &ann.password).status == 200
    });
    until("the key is under it", || stage.opened(&ann, &ann.password).is_some());
    assert_eq!(stage.opened(&ann, &ann.password), Some(key));
    stage.assert_secrets_are_kept();
}

#[test]
fn a_record_with_more_than_a_mebibyte_passes_whole_and_is_not_looked_at() {
    let stage = Stage::new();
    let (mut ann, key) = stage.person_with_key();
    let old = ann.password.clone();
    let mut body = wish(&ann, &stage.secret("the new password in a long body"));
    body["padding"] = json!("x".repeat(1 << 20));
    assert_eq!(change(&stage, &ann, &body).status, 200);
    ann.password = "the new password in a long body".into();
    until("it is said", || stage.sidecar.log().contains("too long to be looked at"));
    let login = stage.login(&ann, &ann.password).expect(200);
    assert_eq!((&login["needs_setup"], stage.opened(&ann, &old)), (&json!(true), Some(key)));
    stage.assert_secrets_are_kept();
}

#[test]
fn a_change_is_answered_before_the_key_is_sealed_anew_and_a_sign_in_waits_for_that() {
    let stage = Stage::with(&["--kdf-iterations", "1000000"]);
    let (mut ann, key) = stage.person_with_key();
    let new = stage.secret("the new password of ann");
    assert_eq!(change(&stage, &ann, &wish(&ann, &new)).status, 200);
    assert!(!stage.sidecar.log().contains("sealed under the user's new password"), "the answer did not wait");
    ann.password = new;
    assert_eq!(stage.login(&ann, &ann.password).expect(200)["message"], OPENED, "whoever needs the seal did");
    assert_eq!(stage.opened(&ann, &ann.password), Some(key));
    stage.assert_secrets_are_kept();
}

#[test]
fn too_much_work_on_the_seal_neither_delays_nor_fails_the_change() {
    // Nothing of this work is waited for: it takes half a second on a quiet machine, and very long on a busy one.
    let stage = Stage::with(&["--kdf-iterations", "6000000"]);
    let mut bob = stage.person();
    stage.seal_elsewhere(&bob, Method::V2 { iterations: 100_000.try_into().unwrap() });
    // Sixteen at a time may work on one user's seal, and no more.
    let unlocks: Vec<_> = (0..20)
        .map(|_| stage.ask("POST", "/api/custom/auth/create-session").by(&bob).json(&json!({"password": bob.password})).begin())
        .collect();
    let is_refused = |stream: &std::net::TcpStream| {
        let mut head = [0; 12];
        stream.set_nonblocking(true).unwrap();
        stream.peek(&mut head).is_ok_and(|length| &head[..length] == b"HTTP/1.1 503")
    };
    until("the places are taken", || unlocks.iter().any(is_refused));
    let (new, start) = (stage.secret("the new password of bob"), Instant::now());
    assert_eq!(change(&stage, &bob, &wish(&bob, &new)).status, 200);
    let took = start.elapsed();
    until("it was given up", || stage.sidecar.log().contains("could not be sealed under the user's new password"));
    bob.password = new;
    stage.sign_in(&mut bob);
    assert_eq!(stage.token_status(&bob)["needs_setup"], true);
    assert!(took.as_secs() < 10, "{took:?}");
    drop(unlocks);
    stage.assert_secrets_are_kept();
}

#[test]
fn bytes_of_a_change_reach_pocketbase_as_they_were_sent() {
    let upstream = crate::support::upstream::Upstream::ok();
    let sidecar = crate::support::Sidecar::start(upstream.address, &[]);
    let body = "{\"password\":\"b\",  \"oldPassword\":\"a\"}\r\n\0\u{ff}";
    let path = "/api/collections/generatio_users/records/abcdefghij01234?x=%20&y";
    let mut stream = sidecar.connect();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nX-Extra: 1\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    assert_eq!(crate::support::status(&crate::support::read_answer(&mut stream)), 200);
    let seen = upstream.requests().pop().unwrap();
    assert!(seen.starts_with(&format!("PATCH {path} HTTP/1.1\r\n")) && seen.ends_with(&format!("\r\n\r\n{body}")), "{seen}");
}
