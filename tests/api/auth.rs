//! The routes below `/api/custom/auth/`.

use serde_json::{Value, json};

use crate::stage::{Person, Stage, USERS};
use crate::support::rest::Rest;
use crate::support::until;

const LOGIN: &str = "/api/custom/auth/login";
const SESSION: &str = "/api/custom/auth/session";
const CREATE: &str = "/api/custom/auth/create-session";

/// PocketBase's settings of a collection, changed by its operator.
fn operator(stage: &Stage, path: &str, change: &Value) {
    let (status, answer) = stage.superuser.patch(path, change);
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn a_sign_in_says_what_came_of_the_session() {
    let stage = Stage::new();
    let ann = stage.person();
    let login = || stage.login(&ann, &ann.password).expect(200);
    let none = login();
    assert_eq!(none["message"], "Login successful. No FAL token configured - setup required");
    assert_eq!((&none["session_id"], &none["expires_at"], &none["needs_setup"]), (&json!(""), &Value::Null, &json!(true)));
    stage.setup(&ann, "ann:the-key-of-ann", &ann.password).expect(200);
    let opened = login();
    assert_eq!((&opened["message"], &opened["needs_setup"]), (&json!("Login successful with auto-created session"), &json!(false)));
    let session = opened["session_id"].as_str().unwrap();
    assert!(session.parse::<uuid::Uuid>().is_ok_and(|id| id.get_version_num() == 4), "{session}");
    let expires: jiff::Timestamp = opened["expires_at"].as_str().unwrap().parse().unwrap();
    let left = expires.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((86_300..=86_400).contains(&left), "{left} s");
    let (direct, theirs) = Rest::new(stage.pocketbase.address)
        .post(&format!("{USERS}/auth-with-password"), &json!({"identity": ann.email, "password": ann.password}));
    assert_eq!((direct, &theirs["record"]), (200, &opened["record"]), "the record is PocketBase's");
    assert!(opened["record"].get("fal_token").is_none());
    let token = Person { token: opened["token"].as_str().unwrap().to_owned(), ..ann.clone() };
    stage.ask("DELETE", SESSION).by(&token).session(session).send().expect(200);
    stage.setup(&ann, "ann:the-key-of-ann", "a password for the key alone").expect(200);
    let other = login();
    assert_eq!(other["message"], "Login successful. FAL token found but password doesn't match - please call create-session manually");
    assert_eq!((&other["session_id"], &other["expires_at"]), (&json!(""), &Value::Null));
    assert_eq!(stage.token_status(&ann)["needs_setup"], true, "for all that is known, nobody knows the password");
    stage.session(&ann, "a password for the key alone");
    assert_eq!(stage.token_status(&ann)["needs_setup"], false, "somebody does");
    stage.put_seal(&ann, "what no vault has sealed");
    let malformed = login();
    assert_eq!(malformed["message"], "Login successful. Invalid FAL token format - please setup token again");
    assert_eq!((&malformed["session_id"], &malformed["needs_setup"]), (&json!(""), &json!(true)));
    stage.assert_secrets_are_kept();
}

#[test]
fn a_sign_in_takes_what_pocketbase_calls_the_address() {
    let stage = Stage::new();
    let ann = stage.person();
    for body in [
        json!({"identity": ann.email, "password": ann.password}),
        json!({"identity": "ignored", "email": ann.email, "password": ann.password, "unknown": [1, {}]}),
    ] {
        stage.ask("POST", LOGIN).json(&body).send().expect(200);
    }
    stage.assert_secrets_are_kept();
}

/// What PocketBase itself says, without the sidecar.
fn direct(stage: &Stage, email: &str, password: &str) -> (u16, Value) {
    let body = json!({"identity": email, "password": password});
    Rest::new(stage.pocketbase.address).post(&format!("{USERS}/auth-with-password"), &body)
}

#[test]
fn pocketbases_refusals_are_passed_on_unchanged() {
    let stage = Stage::new();
    let ann = stage.person();
    let same = |password: &str, expected: u16| {
        let ours = stage.login(&ann, password);
        let theirs = direct(&stage, &ann.email, password);
        assert_eq!((ours.status, &ours.json), (theirs.0, &theirs.1));
        assert_eq!(ours.status, expected, "{}", ours.whole);
    };
    same("a wrong password", 400);
    operator(&stage, USERS, &json!({"authRule": "verified = true"}));
    same(&ann.password, 403);
    operator(&stage, USERS, &json!({"authRule": ""}));
    operator(&stage, USERS, &json!({"otp": {"enabled": true}, "mfa": {"enabled": true, "duration": 600}}));
    let halfway = stage.login(&ann, &ann.password);
    let id = halfway.json["mfaId"].as_str().unwrap_or_default().to_owned();
    assert_eq!((halfway.status, id.len(), halfway.json), (401, 15, json!({"mfaId": id})));
    let again = json!({"email": ann.email, "password": ann.password, "mfaId": id});
    let repeated = stage.ask("POST", LOGIN).json(&again).send();
    assert_eq!((repeated.status, repeated.json.get("token")), (400, None), "the same factor twice is one");
    operator(&stage, USERS, &json!({"mfa": {"enabled": false}, "passwordAuth": {"enabled": false}}));
    same(&ann.password, 403);
    operator(&stage, USERS, &json!({"passwordAuth": {"enabled": true}}));
    stage.login(&ann, &ann.password).expect(200);
    stage.assert_secrets_are_kept();
}

#[test]
fn the_password_as_the_second_factor_signs_in() {
    let stage = Stage::new();
    let ann = stage.person();
    operator(&stage, USERS, &json!({"otp": {"enabled": true}, "mfa": {"enabled": true, "duration": 600}}));
    let otp = stage.ask("POST", &format!("{USERS}/request-otp")).json(&json!({"email": ann.email})).send().expect(200);
    let otps = "/api/collections/_otps/records";
    let code = stage.secret("a one-time password");
    let known = json!({"collectionRef": stage.superuser.get(USERS).1["id"], "recordRef": ann.id, "password": code});
    assert!(otp["otpId"].is_string());
    let made = stage.superuser.made(otps, &known);
    let first = json!({"otpId": made["id"], "password": code});
    let halfway = stage.ask("POST", &format!("{USERS}/auth-with-otp")).json(&first).send().expect(401);
    let body = json!({"email": ann.email, "password": ann.password, "mfaId": halfway["mfaId"]});
    let signed_in = stage.ask("POST", LOGIN).json(&body).send().expect(200);
    assert_eq!(signed_in["message"], "Login successful. No FAL token configured - setup required");
    stage.assert_secrets_are_kept();
}

#[test]
fn pocketbases_rate_limit_is_passed_on() {
    let stage = Stage::new();
    let ann = stage.person();
    let rules = json!([{"label": "*:auth", "audience": "", "duration": 60, "maxRequests": 2}]);
    operator(&stage, "/api/settings", &json!({"rateLimits": {"enabled": true, "rules": rules}}));
    let answers: Vec<_> = (0..3).map(|_| stage.login(&ann, &ann.password)).collect();
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200, 429]);
    assert_eq!(answers[2].json, json!({"data": {}, "message": "Too Many Requests.", "status": 429}));
    stage.assert_secrets_are_kept();
}

#[test]
fn a_session_belongs_to_one_user() {
    let stage = Stage::new();
    let ((ann, _), (bob, _)) = (stage.person_with_key(), stage.person_with_key());
    let session = stage.session(&ann, &ann.password);
    let end = |person: &Person, id: Option<&str>| {
        let ask = stage.ask("DELETE", SESSION).by(person);
        id.into_iter().fold(ask, |ask, id| ask.session(id)).send()
    };
    let missing = end(&ann, None).expect(400);
    assert_eq!(missing["data"]["X-Session-ID"]["code"], "validation_required", "{missing}");
    for id in ["", "x", "00000000-0000-4000-8000-000000000000", &session.replace('-', ""), &session.to_uppercase()] {
        let answer = end(&ann, Some(id));
        assert!(answer.status == 404 || id == session.to_uppercase(), "{id}: {}", answer.whole);
    }
    let session = stage.session(&ann, &ann.password);
    let foreign = end(&bob, Some(&session)).expect(403);
    assert_eq!(foreign["error"], "authorization_error");
    assert!(stage.has_session(&ann));
    let ended = end(&ann, Some(&session)).expect(200);
    assert_eq!(ended, json!({"success": true, "message": "Session deleted successfully"}));
    end(&ann, Some(&session)).expect(404);
    stage.assert_secrets_are_kept();
}

#[test]
fn a_user_holds_five_sessions_and_the_oldest_goes() {
    let stage = Stage::new();
    let (ann, _) = stage.person_with_key();
    let sessions: Vec<String> = (0..6).map(|_| stage.session(&ann, &ann.password)).collect();
    let statistics = stage.ask("GET", "/api/custom/status").send().expect(200)["services"]["sessions"].clone();
    assert_eq!(statistics, json!({"active": 5, "total": 5}));
    let ends = sessions.iter().map(|id| stage.ask("DELETE", SESSION).by(&ann).session(id).send().status);
    assert_eq!(ends.collect::<Vec<_>>(), [404, 200, 200, 200, 200, 200]);
    stage.assert_secrets_are_kept();
}

#[test]
fn a_session_lasts_as_long_as_the_operator_says_and_is_swept() {
    let stage = Stage::with(&["--session-ttl", "2s", "--session-sweep", "1s"]);
    let (ann, _) = stage.person_with_key();
    stage.session(&ann, &ann.password);
    assert!(stage.has_session(&ann));
    let total = || stage.ask("GET", "/api/custom/status").send().expect(200)["services"]["sessions"].clone();
    until("the session has ended and was swept", || total() == json!({"active": 0, "total": 0}));
    assert_eq!(
        stage.token_status(&ann),
        json!({"has_token": true, "has_active_session": false, "requires_login": true, "needs_setup": false})
    );
    stage.assert_secrets_are_kept();
}

#[test]
fn sessions_end_when_the_password_is_reset_or_the_user_is_gone() {
    let stage = Stage::new();
    let active = || stage.ask("GET", "/api/custom/status").send().expect(200)["services"]["sessions"]["active"].clone();
    let (mut ann, _) = stage.person_with_key();
    stage.session(&ann, &ann.password);
    let record = format!("{USERS}/records/{}", ann.id);
    operator(&stage, &record, &json!({"emailVisibility": true}));
    // The next change is looked at after this one.
    let bob = stage.person();
    operator(&stage, &format!("{USERS}/records/{}", bob.id), &json!({"emailVisibility": true}));
    assert_eq!(active(), 1, "another change ends nothing");
    ann.password = stage.secret("the password after the reset");
    operator(&stage, &record, &json!({"password": ann.password, "passwordConfirm": ann.password}));
    until("the session has ended", || active() == 0);
    let login = stage.login(&ann, &ann.password).expect(200);
    assert_eq!(login["message"], "Login successful. FAL token found but password doesn't match - please call create-session manually");
    assert_eq!(login["needs_setup"], true);
    stage.sign_in(&mut ann);
    assert_eq!(stage.token_status(&ann)["needs_setup"], true);
    stage.setup(&ann, "ann:the-key-once-more", &ann.password).expect(200);
    assert_eq!(
        stage.token_status(&ann),
        json!({"has_token": true, "has_active_session": false, "requires_login": true, "needs_setup": false})
    );
    stage.session(&ann, &ann.password);
    assert_eq!(stage.superuser.delete(&record).0, 204);
    until("the session has ended", || active() == 0);
    stage.assert_secrets_are_kept();
}

#[test]
fn no_key_is_a_400_and_a_store_that_is_away_still_lets_nobody_in() {
    let mut stage = Stage::new();
    let ann = stage.person();
    let refused = stage.ask("POST", CREATE).by(&ann).json(&json!({"password": ann.password})).send().expect(400);
    assert_eq!(refused["message"], "No FAL token is stored: set one up first.");
    assert_eq!(
        stage.token_status(&ann),
        json!({"has_token": false, "has_active_session": false, "requires_login": false, "needs_setup": true})
    );
    stage.pocketbase.kill();
    let away = stage.login(&ann, &ann.password);
    assert!(away.header("retry-after").is_some());
    assert_eq!(away.expect(503)["error"], "unavailable_error");
    stage.pocketbase.serve();
    until("a sign-in works again", || stage.login(&ann, &ann.password).status == 200);
    stage.assert_secrets_are_kept();
}
