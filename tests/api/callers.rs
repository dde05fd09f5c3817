//! Whose a token is: how soon one that was revoked stops working, what asking costs PocketBase, and who is nobody.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use crate::support::pocketbase::{EMAIL, PASSWORD, PocketBase};
use crate::support::relay::Relay;
use crate::support::rest::Rest;
use crate::support::{Sidecar, body, connect, header, read_answer, status, until, until_within};

const USER_PASSWORD: &str = "12345678";
/// An answer of PocketBase's is good for so long at most.
const FRESH: Duration = Duration::from_secs(30);

/// A sidecar that is ready for calls, before this PocketBase.
fn ready(pocketbase: SocketAddr) -> Sidecar {
    let sidecar = unready(pocketbase);
    until("the sidecar listens to changes", || sidecar.log().contains("listening to PocketBase's changes"));
    sidecar
}

fn unready(pocketbase: SocketAddr) -> Sidecar {
    Sidecar::start(pocketbase, &["--pocketbase-email", EMAIL, "--pocketbase-password", PASSWORD])
}

/// A user and their token.
fn user(pocketbase: SocketAddr, collection: &str, email: &str) -> (String, String) {
    let nobody = Rest::new(pocketbase);
    let id = nobody.row(collection, &json!({"email": email, "password": USER_PASSWORD, "passwordConfirm": USER_PASSWORD}));
    let token = nobody.as_user(collection, email, USER_PASSWORD).token().to_owned();
    (id, token)
}

/// A call that asks nothing of PocketBase but whose the token is: 400 for a user, since it names no session.
fn call(sidecar: &Sidecar, authorization: &str) -> String {
    ask(sidecar, &format!("Authorization: {authorization}\r\n"))
}

fn ask(sidecar: &Sidecar, headers: &str) -> String {
    sidecar.raw(request(headers).as_bytes())
}

fn request(headers: &str) -> String {
    format!("DELETE /api/custom/auth/session HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

fn is_user(answer: &str) -> bool {
    status(answer) == 400 && body(answer).contains("X-Session-ID")
}

fn is_nobody(answer: &str) -> bool {
    status(answer) == 401 && body(answer).contains("authentication_error")
}

fn record(id: &str) -> String {
    format!("/api/collections/generatio_users/records/{id}")
}

/// A token that looks right in everything but its signature.
fn forged(pocketbase: &PocketBase, id: &str, seconds: i64) -> String {
    let collection = pocketbase.superuser().get("/api/collections/generatio_users").1["id"].clone();
    let expires = jiff::Timestamp::now().as_second() + seconds;
    let claims = json!({"collectionId": collection, "exp": expires, "id": id, "refreshable": true, "type": "auth"});
    let head = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    format!("{head}.{}.", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// In words, and done to a user by their id and token.
type Change<'a> = (&'static str, &'a dyn Fn(&str, &str) -> u16);

#[test]
fn a_token_that_was_revoked_stops_working_within_a_second() {
    let pocketbase = PocketBase::with_store();
    let superuser = pocketbase.superuser();
    let sidecar = ready(pocketbase.address);
    let changes: [Change<'_>; 4] = [
        ("a password changed by its user", &|id, token| {
            let change = json!({"oldPassword": USER_PASSWORD, "password": "another one", "passwordConfirm": "another one"});
            Rest::new(pocketbase.address).with_token(token).patch(&record(id), &change).0
        }),
        ("a password changed by a superuser", &|id, _| {
            superuser.patch(&record(id), &json!({"password": "another one", "passwordConfirm": "another one"})).0
        }),
        ("an e-mail address changed by a superuser", &|id, _| superuser.patch(&record(id), &json!({"email": "other@example.com"})).0),
        ("a user deleted", &|id, _| superuser.delete(&record(id)).0),
    ];
    for (number, (what, change)) in changes.into_iter().enumerate() {
        let (id, token) = user(pocketbase.address, "generatio_users", &format!("u{number}@example.com"));
        assert!(is_user(&call(&sidecar, &token)) && is_user(&call(&sidecar, &token)));
        assert!([200, 204].contains(&change(&id, &token)), "{what}");
        until_within(Duration::from_secs(1), what, || is_nobody(&call(&sidecar, &token)));
    }
}

#[test]
fn without_events_a_revoked_token_stops_working_within_thirty_seconds() {
    let pocketbase = PocketBase::with_store();
    let relay = Relay::before(pocketbase.address).without_events();
    let sidecar = unready(relay.address);
    let (id, token) = user(pocketbase.address, "generatio_users", "ann@example.com");
    until("the sidecar is ready", || is_user(&call(&sidecar, &token)));
    let change = json!({"password": "another one", "passwordConfirm": "another one"});
    assert_eq!(pocketbase.superuser().patch(&record(&id), &change).0, 200);
    until_within(FRESH + Duration::from_secs(1), "the token is refused", || is_nobody(&call(&sidecar, &token)));
    assert!(!sidecar.log().contains("listening to PocketBase's changes"));
}

/// No event tells of it.
#[test]
fn a_condition_for_signing_in_that_changes_ends_tokens_within_thirty_seconds() {
    let pocketbase = PocketBase::with_store();
    let sidecar = ready(pocketbase.address);
    let (_, token) = user(pocketbase.address, "generatio_users", "ann@example.com");
    assert!(is_user(&call(&sidecar, &token)));
    assert_eq!(pocketbase.superuser().patch("/api/collections/generatio_users", &json!({"authRule": "verified = true"})).0, 200);
    until_within(FRESH + Duration::from_secs(1), "the token is refused", || is_nobody(&call(&sidecar, &token)));
}

#[test]
fn a_subscription_that_fell_silent_is_found_out_and_replaced() {
    let pocketbase = PocketBase::with_store();
    let relay = Relay::before(pocketbase.address);
    let sidecar = ready(relay.address);
    let (id, token) = user(pocketbase.address, "generatio_users", "ann@example.com");
    assert!(is_user(&call(&sidecar, &token)));
    relay.silence_events(true);
    let change = json!({"password": "another one", "passwordConfirm": "another one"});
    assert_eq!(pocketbase.superuser().patch(&record(&id), &change).0, 200);
    until_within(FRESH + Duration::from_secs(1), "the token is refused", || is_nobody(&call(&sidecar, &token)));
    until_within(Duration::from_secs(45), "the silence is noticed", || sidecar.log().contains("the subscription to changes was lost"));
    relay.silence_events(false);
    until_within(Duration::from_secs(40), "another subscription", || {
        sidecar.log().matches("listening to PocketBase's changes").count() > 1
    });
    let (id, token) = user(pocketbase.address, "generatio_users", "bob@example.com");
    assert!(is_user(&call(&sidecar, &token)));
    assert_eq!(pocketbase.superuser().delete(&record(&id)).0, 204);
    until_within(Duration::from_secs(1), "events are heard again", || is_nobody(&call(&sidecar, &token)));
}

#[test]
fn ten_thousand_calls_with_one_token_are_fewer_than_five_checks_for_pocketbase() {
    let pocketbase = PocketBase::with_store();
    let relay = Relay::before(pocketbase.address);
    let sidecar = ready(relay.address);
    let (_, token) = user(pocketbase.address, "generatio_users", "ann@example.com");
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let mut stream = sidecar.connect();
                let request = request(&format!("Authorization: Bearer {token}\r\n"));
                for _ in 0..157 {
                    stream.write_all(request.as_bytes()).unwrap();
                    assert!(is_user(&read_answer(&mut stream)));
                }
            });
        }
    });
    assert!(start.elapsed() < FRESH, "too slow to say anything: {:?}", start.elapsed());
    let checks = relay.checks_of(&token);
    assert!((1..5).contains(&checks), "{checks} checks");
}

#[test]
fn a_flood_of_forged_tokens_takes_no_good_ones_place() {
    let pocketbase = PocketBase::with_store();
    let relay = Relay::before(pocketbase.address);
    let sidecar = ready(relay.address);
    let (id, token) = user(pocketbase.address, "generatio_users", "ann@example.com");
    let forged = forged(&pocketbase, &id, 3600);
    assert!(is_user(&call(&sidecar, &token)));
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (sidecar, forged) = (&sidecar, &forged);
            scope.spawn(move || {
                let mut stream = sidecar.connect();
                for number in 0..200 {
                    let signature = BASE64_URL_SAFE_NO_PAD.encode(format!("signature {thread} {number:>20}"));
                    stream.write_all(request(&format!("Authorization: {forged}{signature}\r\n")).as_bytes()).unwrap();
                    assert!(is_nobody(&read_answer(&mut stream)));
                }
            });
        }
    });
    assert!(is_user(&call(&sidecar, &token)));
    let checks = relay.checks_of(&token);
    assert!((1..3).contains(&checks), "{checks} checks of the good token");
}

#[test]
fn tokens_of_others_are_nobodys_here_whatever_they_open_elsewhere() {
    let pocketbase = PocketBase::with_store();
    let relay = Relay::before(pocketbase.address);
    let sidecar = ready(relay.address);
    let superuser = pocketbase.superuser();
    let (id, token) = user(pocketbase.address, "generatio_users", "ann@example.com");
    let (_, other) = user(pocketbase.address, "users", "ann@example.com");
    let file = Rest::new(pocketbase.address).with_token(&token).made("/api/files/token", &json!({}))["token"].as_str().unwrap().to_owned();
    let expired = format!("{}c2lnbmF0dXJl", forged(&pocketbase, &id, -1));
    let unsigned = forged(&pocketbase, &id, 60);
    for (what, token) in [
        ("a superuser's", superuser.token()),
        ("another collection's", &other),
        ("for files alone", &file),
        ("expired", &expired),
        ("unsigned", &unsigned),
        ("no token", "abc"),
        ("three parts of nothing", "a.b.c"),
    ] {
        let answer = call(&sidecar, token);
        assert!(is_nobody(&answer), "{what}: {answer}");
        assert_eq!(header(&answer, "www-authenticate"), Some("Bearer"), "{what}");
        // What cannot be one of our users' is not even asked about; what might be is.
        assert_eq!(relay.checks_of(token), usize::from(what == "unsigned"), "{what}");
    }
}

#[test]
fn a_token_may_stand_alone_or_after_bearer_in_any_case_and_only_once() {
    let pocketbase = PocketBase::with_store();
    let sidecar = ready(pocketbase.address);
    let (_, token) = user(pocketbase.address, "generatio_users", "ann@example.com");
    for good in [token.clone(), format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER {token}")] {
        assert!(is_user(&call(&sidecar, &good)), "{good}");
    }
    for bad in
        ["", "Bearer", "Bearer ", &format!("Bearer  {token}"), &format!("Token {token}"), &format!("Bearer{token}"), &format!("{token} x")]
    {
        assert!(is_nobody(&call(&sidecar, bad)), "{bad}");
    }
    assert!(is_nobody(&ask(&sidecar, "")));
    assert!(is_nobody(&ask(&sidecar, &format!("Authorization: {token}\r\nAuthorization: {token}\r\n"))));
}

#[test]
fn a_known_token_ends_when_it_says() {
    let pocketbase = PocketBase::with_store();
    let superuser = pocketbase.superuser();
    let sidecar = ready(pocketbase.address);
    assert_eq!(superuser.patch("/api/collections/generatio_users", &json!({"authToken": {"duration": 10}})).0, 200);
    let (_, token) = user(pocketbase.address, "generatio_users", "ann@example.com");
    assert!(is_user(&call(&sidecar, &token)));
    until_within(Duration::from_secs(12), "the token has expired", || is_nobody(&call(&sidecar, &token)));
}

#[test]
fn pocketbases_own_limit_is_passed_on_with_a_time_to_come_again() {
    let pocketbase = PocketBase::with_store();
    let sidecar = ready(pocketbase.address);
    let tokens: Vec<String> = (0..3).map(|n| user(pocketbase.address, "generatio_users", &format!("u{n}@example.com")).1).collect();
    let limits = json!({"rateLimits": {"enabled": true, "rules": [{"label": "*:authRefresh", "duration": 60, "maxRequests": 2}]}});
    assert_eq!(pocketbase.superuser().patch("/api/settings", &limits).0, 200);
    assert!(is_user(&call(&sidecar, &tokens[0])) && is_user(&call(&sidecar, &tokens[1])));
    let answer = call(&sidecar, &tokens[2]);
    assert_eq!(status(&answer), 429, "{answer}");
    assert!(header(&answer, "retry-after").and_then(|after| after.parse::<u32>().ok()).is_some_and(|after| after > 0));
    assert!(body(&answer).contains("rate_limit_error"));
    assert!(is_user(&call(&sidecar, &tokens[0])), "whoever is known goes on");
}

#[test]
fn with_pocketbase_away_the_answer_is_503_within_three_seconds_and_soon_after_its_return_all_is_well() {
    let mut pocketbase = PocketBase::with_store();
    let sidecar = ready(pocketbase.address);
    let (_, known) = user(pocketbase.address, "generatio_users", "ann@example.com");
    let (_, unknown) = user(pocketbase.address, "generatio_users", "bob@example.com");
    assert!(is_user(&call(&sidecar, &known)));
    pocketbase.kill();
    for token in [&unknown, &known] {
        let start = Instant::now();
        let stats =
            sidecar.raw(format!("GET /api/custom/financial/stats HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\n\r\n").as_bytes());
        assert_eq!(status(&stats), 503, "{stats}");
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert!(header(&stats, "retry-after").is_some() && body(&stats).contains("unavailable_error"), "{stats}");
    }
    pocketbase.serve();
    until_within(Duration::from_secs(5), "all is well again", || is_user(&call(&sidecar, &unknown)));
}

#[test]
fn a_pocketbase_that_hangs_keeps_nobody_for_longer_than_ten_seconds_however_many_wait() {
    let pocketbase = PocketBase::with_store();
    let relay = Relay::before(pocketbase.address);
    let sidecar = ready(relay.address);
    let (_, token) = user(pocketbase.address, "generatio_users", "ann@example.com");
    relay.freeze(true);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let start = Instant::now();
                let answer = call(&sidecar, &token);
                assert_eq!(status(&answer), 503, "{answer}");
                assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
            });
        }
    });
    relay.freeze(false);
    until("it is known again", || is_user(&call(&sidecar, &token)));
}

#[test]
fn a_sidecar_that_started_before_pocketbase_is_ready_soon_after_it() {
    let mut pocketbase = PocketBase::with_store();
    let (_, token) = user(pocketbase.address, "generatio_users", "ann@example.com");
    pocketbase.kill();
    let sidecar = unready(pocketbase.address);
    assert_eq!(status(&call(&sidecar, &token)), 503);
    std::thread::sleep(Duration::from_secs(8));
    pocketbase.serve();
    until_within(Duration::from_secs(4), "the sidecar is ready", || is_user(&call(&sidecar, &token)));
}

#[test]
fn without_our_hooks_pass_through_goes_on_and_ours_is_503_that_says_so() {
    let mut pocketbase = PocketBase::start();
    let sidecar = unready(pocketbase.address);
    until("the sidecar has looked", || call(&sidecar, "a.b.c").contains("503") || sidecar.log().contains("pb_hooks"));
    assert_eq!(status(&sidecar.get("/api/health")), 200);
    let passed = Rest::new(sidecar.address).as_superuser(EMAIL, PASSWORD);
    assert_eq!(passed.get("/api/collections").0, 200);
    let (_, token) = user(pocketbase.address, "users", "ann@example.com");
    until("the sidecar has looked", || sidecar.log().contains("has not loaded our pb_hooks"));
    let answer = call(&sidecar, &token);
    assert_eq!(status(&answer), 503, "{answer}");
    assert!(body(&answer).contains("pb_hooks") && header(&answer, "retry-after").is_some(), "{answer}");
    pocketbase.install();
    pocketbase.restart();
    let (_, token) = user(pocketbase.address, "generatio_users", "ann@example.com");
    until("hooks that came later are found", || is_user(&call(&sidecar, &token)));
}

#[test]
fn what_is_mended_while_the_sidecar_runs_is_noticed() {
    let mut pocketbase = PocketBase::with_store();
    let superuser = pocketbase.superuser();
    assert_eq!(superuser.delete("/api/collections/spend_events").0, 204);
    pocketbase.restart();
    let sidecar = ready(pocketbase.address);
    let (_, token) = user(pocketbase.address, "generatio_users", "ann@example.com");
    let stats = || {
        let mut stream = connect(sidecar.address);
        write!(stream, "GET /api/custom/financial/stats HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\n\r\n").unwrap();
        read_answer(&mut stream)
    };
    let answer = stats();
    assert!(status(&answer) == 503 && body(&answer).contains("spend_events: the collection is missing"), "{answer}");
    assert_eq!(superuser.made("/api/generatio/repair", &json!({}))["problems"], json!([]));
    until("the repair is noticed", || status(&stats()) == 200);
}
