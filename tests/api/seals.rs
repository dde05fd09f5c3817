//! What is stored, and what attackers do with it: older formats, seals that were changed or moved, guessing.

use generatio::vault::Method;
use serde_json::{Value, json};

use crate::stage::{Person, Stage};

const VERIFY: &str = "/api/custom/tokens/verify";

fn former() -> Vec<[String; 3]> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/former.json")).unwrap();
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let found = vectors["seals"].as_array().unwrap().iter();
    found.map(|seal| ["password", "fal_token", "sealed"].map(|name| seal[name].as_str().unwrap().to_owned())).collect()
}

#[test]
fn seals_of_the_former_format_open_and_are_renewed() {
    let stage = Stage::new();
    for [password, key, seal] in former() {
        let ann = stage.person();
        stage.secret(&password);
        stage.secret(&key);
        stage.put_seal(&ann, &seal);
        let refused = stage.ask("POST", VERIFY).by(&ann).json(&json!({"password": "wrong"})).send().expect(200);
        assert_eq!((refused, stage.seal(&ann)), (json!({"has_token": true, "can_decrypt": false}), seal));
        stage.session(&ann, &password);
        assert!(stage.seal(&ann).contains("$pbkdf2-sha256$v=2,"), "{}", stage.seal(&ann));
        assert_eq!(stage.opened(&ann, &password), Some(key));
    }
    stage.assert_secrets_are_kept();
}

#[test]
fn the_way_back_stays_open_where_the_operator_wants_it() {
    let stage = Stage::with(&["--seal-format", "former"]);
    let [password, _, seal] = former().swap_remove(0);
    let ann = stage.person();
    stage.secret(&password);
    stage.put_seal(&ann, &seal);
    stage.session(&ann, &password);
    assert_eq!(stage.seal(&ann), seal, "it is left alone");
    stage.setup(&ann, "ann:a-new-key", &ann.password).expect(200);
    assert!(!stage.seal(&ann).contains('$'), "{}", stage.seal(&ann));
    assert_eq!(stage.opened(&ann, &ann.password).as_deref(), Some("ann:a-new-key"));
    stage.assert_secrets_are_kept();
}

#[test]
fn a_seal_that_was_changed_or_moved_is_refused_plainly_and_without_long_work() {
    let stage = Stage::new();
    let (ann, key) = stage.person_with_key();
    let (bob, seal) = (stage.person(), stage.seal(&ann));
    let (bytes, salt) = seal.split_once('.').unwrap();
    let flipped = format!("{}{}{}.{salt}", &bytes[..20], if &bytes[20..21] == "A" { "B" } else { "A" }, &bytes[21..]);
    for (person, changed, is_a_seal) in [
        (&bob, seal.clone(), true),
        (&ann, flipped, true),
        (&ann, seal.replace("i=100000", "i=1000000000"), false),
        (&ann, seal.replace("i=100000", "i=1"), false),
        (&ann, seal.replace("i=100000", "i=-1"), false),
        (&ann, format!("{}.{salt}", &bytes[..8]), false),
        (&ann, bytes.to_owned(), false),
        (&ann, ".".to_owned(), false),
        (&ann, "not a seal at all".to_owned(), false),
        (&ann, seal.replace("v=2", "v=3"), false),
    ] {
        stage.put_seal(person, &changed);
        let start = std::time::Instant::now();
        let password = json!({"password": ann.password});
        let said = stage.ask("POST", VERIFY).by(person).json(&password).send().expect(200);
        assert_eq!(said, json!({"has_token": true, "can_decrypt": false}), "{changed}");
        if !is_a_seal {
            let refused = stage.ask("POST", "/api/custom/auth/create-session").by(person).json(&password).send().expect(400);
            assert_eq!(refused["message"], "Invalid FAL token format: please set up the token again.");
            assert_eq!(stage.token_status(person)["needs_setup"], true);
        }
        assert!(start.elapsed().as_secs() < 10, "{:?} for {changed}", start.elapsed());
    }
    stage.put_seal(&ann, &seal);
    assert_eq!(stage.opened(&ann, &ann.password), Some(key));
    stage.assert_secrets_are_kept();
}

fn wrong(stage: &Stage, person: &Person, address: &str) -> crate::stage::Answer {
    let body = json!({"password": "a wrong password"});
    stage.ask("POST", "/api/custom/auth/create-session").by(person).from(address).json(&body).send()
}

#[test]
fn the_fifth_wrong_attempt_in_a_minute_costs_nothing_and_ends_nobodys_session() {
    let stage = Stage::new();
    let (ann, _) = stage.person_with_key();
    let session = stage.session(&ann, &ann.password);
    let before = stage.derivations();
    for number in 0..4 {
        wrong(&stage, &ann, &format!("192.0.2.{number}")).expect(401);
    }
    assert_eq!(stage.derivations(), before + 4);
    for (path, body) in [
        ("/api/custom/auth/create-session", json!({"password": "a wrong password"})),
        ("/api/custom/auth/create-session", json!({"password": ann.password})),
        ("/api/custom/tokens/verify", json!({"password": ann.password})),
        ("/api/custom/tokens/change-password", json!({"old_password": ann.password, "new_password": "another password"})),
    ] {
        let refused = stage.ask("POST", path).by(&ann).json(&body).send();
        let after: u64 = refused.header("retry-after").unwrap_or_default().parse().unwrap_or_default();
        assert!((1..=60).contains(&after), "{}", refused.whole);
        assert_eq!(refused.expect(429)["error"], "rate_limit_error", "{path}");
    }
    assert_eq!(stage.derivations(), before + 4, "nobody looked at the password");
    let login = stage.login(&ann, &ann.password).expect(200);
    assert_eq!(login["message"], "Login successful. Session not created - please call create-session");
    assert_eq!((&login["session_id"], &login["expires_at"], stage.derivations()), (&json!(""), &Value::Null, before + 4));
    assert!(stage.has_session(&ann), "the attacker locks nobody out of an open session");
    stage.ask("DELETE", "/api/custom/auth/session").by(&ann).session(&session).send().expect(200);
    stage.assert_secrets_are_kept();
}

#[test]
fn an_address_that_is_wrong_for_many_users_is_refused_and_other_addresses_are_not() {
    let stage = Stage::new();
    let people: Vec<Person> = (0..5).map(|_| stage.person_with_key().0).collect();
    for person in &people[..4] {
        wrong(&stage, person, "2001:db8::1").expect(401);
    }
    let before = stage.derivations();
    wrong(&stage, &people[4], "2001:db8::ffff").expect(429);
    assert_eq!(stage.derivations(), before);
    stage.session(&people[4], &people[4].password);
    stage.assert_secrets_are_kept();
}

#[test]
fn a_seal_of_fewer_iterations_is_renewed_with_todays() {
    let stage = Stage::with(&["--kdf-iterations", "200000"]);
    let ann = stage.person();
    stage.seal_elsewhere(&ann, Method::V2 { iterations: 100_000.try_into().unwrap() });
    assert_eq!(stage.login(&ann, &ann.password).expect(200)["message"], "Login successful with auto-created session");
    assert!(stage.seal(&ann).contains("i=200000$"), "{}", stage.seal(&ann));
    stage.assert_secrets_are_kept();
}
