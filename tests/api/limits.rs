//! How often anybody may come: 429 with `Retry-After`, in words that name the limit.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Instant;

use serde_json::{Value, json};

use crate::stage::{Answer, Person, Stage, USERS};
use crate::support::upstream::Upstream;
use crate::support::{Sidecar, body, connect, header, read_answer, status};

const LOGIN: &str = "/api/custom/auth/login";
const CREATE: &str = "/api/custom/auth/create-session";
const VERIFY: &str = "/api/custom/tokens/verify";

/// The contract's refusal; the seconds that it says to wait.
#[track_caller]
fn refused(answer: &Answer, words: &str) -> u64 {
    assert_eq!((answer.status, answer.header("content-type")), (429, Some("application/json")), "{}", answer.whole);
    let message = answer.json["message"].as_str().unwrap();
    assert_eq!(answer.json, json!({"status": 429, "error": "rate_limit_error", "message": message, "data": {}}));
    assert!(message.contains(words), "{message}");
    assert!(answer.header("x-request-id").is_some() && answer.header("vary").is_some(), "{}", answer.whole);
    let seconds = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    seconds
}

fn login(stage: &Stage, identity: &str, password: &str, from: &str) -> Answer {
    stage.ask("POST", LOGIN).json(&json!({"email": identity, "password": password})).from(from).send()
}

#[test]
fn sign_ins_are_limited_by_address_and_pocketbase_is_not_asked() {
    let stage = Stage::with(&["--logins-per-minute-per-address", "3"]);
    let ann = stage.person();
    for number in 0..3 {
        let answer = login(&stage, &format!("nobody{number}@example.com"), "not a password", &format!("2001:db8::{number}"));
        assert_eq!(answer.status, 400, "PocketBase's refusal: {}", answer.whole);
    }
    refused(&login(&stage, &ann.email, &ann.password, "2001:db8::ffff"), "sign-ins from this address");
    login(&stage, &ann.email, &ann.password, "2001:db8:0:1::1").expect(200);
    let itself = stage.ask("POST", &format!("{USERS}/auth-with-password")).from("2001:db8::ffff");
    itself.json(&json!({"identity": ann.email, "password": ann.password})).send().expect(200);
    stage.assert_secrets_are_kept();
}

#[test]
fn a_crowd_cannot_shut_anybody_out_of_where_they_have_signed_in_before() {
    let stage = Stage::with(&["--logins-per-minute-per-user", "4"]);
    let (ann, bob) = (stage.person(), stage.person());
    login(&stage, &ann.email, &ann.password, "192.0.2.1").expect(200);
    for number in 0..3 {
        assert_eq!(login(&stage, &format!(" {} ", ann.email.to_uppercase()), "not hers", &format!("198.51.100.{number}")).status, 400);
    }
    refused(&login(&stage, &ann.email, &ann.password, "203.0.113.1"), "sign-ins to this account");
    login(&stage, &ann.email, &ann.password, "192.0.2.1").expect(200);
    login(&stage, &bob.email, &bob.password, "203.0.113.1").expect(200);
    stage.assert_secrets_are_kept();
}

#[test]
fn whatever_needs_a_password_for_a_key_is_limited_by_user_before_anything_is_derived() {
    let stage = Stage::with(&["--unlocks-per-minute-per-user", "5"]);
    let ((ann, key), (bob, _)) = (stage.person_with_key(), stage.person_with_key());
    let tries = [
        (CREATE, json!({"password": ann.password})),
        (VERIFY, json!({"password": ann.password})),
        ("/api/custom/tokens/change-password", json!({"old_password": ann.password, "new_password": ann.password})),
        ("/api/custom/tokens/setup", json!({"fal_token": key, "password": ann.password})),
    ];
    for (path, body) in &tries {
        stage.ask("POST", path).by(&ann).json(body).send().expect(200);
    }
    let derivations = stage.derivations();
    for (path, body) in &tries {
        refused(&stage.ask("POST", path).by(&ann).json(body).send(), "by this user");
    }
    assert_eq!(stage.derivations(), derivations);
    stage.session(&bob, &bob.password);
    stage.assert_secrets_are_kept();
}

#[test]
fn whatever_needs_a_password_for_a_key_is_limited_by_address_before_pocketbase_is_asked() {
    let stage = Stage::with(&["--unlocks-per-minute-per-address", "2"]);
    let (ann, _) = stage.person_with_key();
    let unlock = |person: &Person, from: &str| {
        let body = json!({"password": person.password});
        stage.ask("POST", VERIFY).by(person).json(&body).from(from).send()
    };
    let stranger = Person { token: "not.a.token".into(), ..ann.clone() };
    assert_eq!(unlock(&stranger, "192.0.2.1").status, 401);
    unlock(&ann, "192.0.2.1").expect(200);
    refused(&unlock(&ann, "192.0.2.1"), "from this address");
    unlock(&ann, "192.0.2.2").expect(200);
    stage.assert_secrets_are_kept();
}

/// All of them at once, from one address.
fn open_at_once(stage: &Stage, people: &[Person], from: &str, password: impl Fn(&Person) -> String + Sync) -> Vec<Answer> {
    let open = |person: &Person| {
        let body = json!({"password": password(person)});
        stage.ask("POST", CREATE).by(person).json(&body).from(from).send()
    };
    std::thread::scope(|scope| {
        let asked: Vec<_> = people.iter().map(|person| scope.spawn(|| open(person))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    })
}

#[test]
fn more_right_passwords_at_once_than_may_be_wrong_are_all_taken_and_a_fifth_wrong_one_is_not_looked_at() {
    let stage = Stage::new();
    let people: Vec<Person> = (0..8).map(|_| stage.person_with_key().0).collect();
    let right = open_at_once(&stage, &people, "192.0.2.1", |person| person.password.clone());
    assert_eq!(right.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200; 8]);
    let before = stage.derivations();
    let wrong = open_at_once(&stage, &people, "192.0.2.9", |person| format!("a guess at that of {}", person.id));
    let (looked_at, not_looked_at): (Vec<Answer>, Vec<Answer>) = wrong.into_iter().partition(|answer| answer.status == 401);
    assert_eq!((looked_at.len(), stage.derivations() - before), (4, 4));
    for answer in &not_looked_at {
        refused(answer, "Too many wrong passwords");
    }
    open_at_once(&stage, &people[..1], "192.0.2.10", |person| person.password.clone()).remove(0).expect(200);
    stage.assert_secrets_are_kept();
}

/// How many requests one after the other were answered and how many refused, and how many seconds that took.
fn flood(times: u32, ask: impl Fn() -> u16) -> (u32, u32, u32) {
    let start = Instant::now();
    let statuses: Vec<u16> = (0..times).map(|_| ask()).collect();
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count() as u32;
    (count(200), count(429), start.elapsed().as_secs() as u32 + 1)
}

#[test]
fn everything_from_one_address_has_a_ceiling_whoever_it_is_for() {
    let stage = Stage::with(&["--requests-per-second-per-address", "1"]);
    let health = |from: &str| stage.ask("GET", "/api/health").from(from).send();
    let (answered, refusals, seconds) = flood(60, || health("2001:db8::7").status);
    assert!((10..=10 + seconds).contains(&answered) && answered + refusals == 60, "{answered} in {seconds} s, {refusals} refused");
    let neighbour = || [("GET", "/api/health"), ("GET", "/api/custom/test"), ("OPTIONS", "/api/custom/test"), ("POST", "/api/batch")];
    // A second brings one more; of several in a row most are refused.
    let answers = neighbour().map(|(method, path)| stage.ask(method, path).from("2001:db8::8").header("Origin", "http://a.example").send());
    let limited: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(limited.len() >= 2, "{}", answers.iter().map(|answer| answer.status.to_string()).collect::<Vec<_>>().join(" "));
    for answer in limited {
        refused(answer, "Too many requests from this address");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    assert_eq!(health("2001:db8:0:1::7").status, 200, "another network");
    stage.superuser.get("/api/health");
}

/// An address of this machine that is not loopback, where there is one.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback() && !address.is_unspecified())
}

#[test]
fn connections_of_one_address_share_its_ceiling_and_this_machine_has_none() {
    let sidecar = Sidecar::start(Upstream::ok().address, &["--listen", "0.0.0.0:0", "--requests-per-second-per-address", "2"]);
    let one_each = |ip: IpAddr| {
        let mut stream = connect(SocketAddr::new(ip, sidecar.address.port()));
        std::io::Write::write_all(&mut stream, b"GET /api/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        read_answer(&mut stream)
    };
    let (answered, refusals, _) = flood(100, || status(&one_each([127, 0, 0, 1].into())));
    assert_eq!((answered, refusals), (100, 0));
    let Some(ip) = own_address() else { return eprintln!("this machine has no address but loopback: half of this test is left out") };
    let start = Instant::now();
    let kept = connect(SocketAddr::new(ip, sidecar.address.port()));
    let on_one = || {
        std::io::Write::write_all(&mut &kept, b"GET /api/health HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        read_answer(&mut kept.try_clone().unwrap())
    };
    let on_kept = flood(50, || status(&on_one()));
    let on_many = flood(50, || status(&one_each(ip)));
    let (answered, brought) = (on_kept.0 + on_many.0, 2 * (start.elapsed().as_secs() as u32 + 1));
    assert!((20..=20 + brought).contains(&answered), "{answered} of 20 and {brought}");
    assert!(on_many.1 > 0, "{on_many:?}");
    let refusal = on_one();
    if status(&refusal) == 429 {
        let json: Value = serde_json::from_str(body(&refusal)).unwrap();
        assert_eq!(json["error"], "rate_limit_error");
        assert!(header(&refusal, "retry-after").is_some() && header(&refusal, "connection").is_none(), "{refusal}");
    }
}

#[test]
fn limits_that_are_off_refuse_nobody() {
    let flags = ["--requests-per-second-per-address", "--logins-per-minute-per-address", "--logins-per-minute-per-user"];
    let stage = Stage::with(&flags.map(|flag| [flag, "off"]).concat());
    let ann = stage.person();
    assert_eq!(flood(200, || stage.ask("GET", "/api/custom/test").from("192.0.2.1").send().status).0, 200);
    let guess = || login(&stage, &ann.email, "not hers", "192.0.2.1").status;
    assert!((0..130).all(|_| guess() == 400));
}
