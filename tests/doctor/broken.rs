//! Deployments that are broken in one way each: the doctor names it, and says what to do.

use std::io::Write;
use std::net::SocketAddr;

use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::clinic::{Clinic, NEWEST, OLDEST, doctor, on_oldest_and_newest};
use crate::support::pocketbase::{EMAIL, PASSWORD, PocketBase};
use crate::support::upstream::{Next, Upstream};

on_oldest_and_newest! {
    a_wrong_password;
    second_factors_for_superusers;
    no_hooks;
    batch_switched_off;
    a_field_of_another_type;
    an_address_that_is_not_believed;
    a_header_that_clients_can_forge;
}

const NOWHERE: &str = "127.0.0.1:1";

fn nowhere() -> SocketAddr {
    NOWHERE.parse().unwrap()
}

fn settings(clinic: &Clinic, settings: &Value) {
    assert_eq!(clinic.superuser().patch("/api/settings", settings).0, 200);
}

#[test]
fn pocketbase_away() {
    let fal = Upstream::ok();
    let said = doctor(nowhere(), fal.address, &["--pocketbase-email", EMAIL, "--pocketbase-password", PASSWORD]);
    said.is_broken_in("pocketbase", &[NOWHERE, "GENERATIO_POCKETBASE_URL"]);
    assert_eq!(said.named("skipped").len(), 10, "{}", said.answer);
}

#[test]
fn something_else_in_the_place_of_pocketbase() {
    let other = Upstream::ok();
    doctor(other.address, other.address, &[]).is_broken_in("pocketbase", &["not PocketBase"]);
}

#[test]
fn no_superuser_and_settings_that_contradict_each_other() {
    let clinic = Clinic::on(NEWEST);
    let address = clinic.pocketbase.address;
    doctor(address, clinic.fal.address, &[]).is_broken_in("superuser", &["GENERATIO_POCKETBASE_EMAIL"]);
    let said = doctor(address, clinic.fal.address, &["--pocketbase-email", EMAIL]);
    assert_eq!((said.status, said.named("broken")), (1, vec!["settings", "superuser"]), "{}", said.answer);
    let said = clinic.doctor(&["--fal-queue-url", "http://queue.example", "--models", "/nowhere"]);
    said.is_broken_in("settings", &["http://queue.example", "/nowhere"]);
}

fn a_wrong_password(release: &str) {
    let clinic = Clinic::on(release);
    clinic.doctor_with("wrong password", &[]).is_broken_in("superuser", &["e-mail address and password", "GENERATIO_POCKETBASE_TOKEN"]);
}

fn second_factors_for_superusers(release: &str) {
    let clinic = Clinic::on(release);
    let token = impersonation(&clinic, 3600);
    clinic.change("_superusers", |there| {
        there["otp"]["enabled"] = json!(true);
        there["mfa"]["enabled"] = json!(true);
    });
    clinic.doctor(&[]).is_broken_in("superuser", &["multi-factor", "GENERATIO_POCKETBASE_TOKEN"]);
    let said = doctor(clinic.pocketbase.address, clinic.fal.address, &["--pocketbase-token", &token]);
    said.warns_of("superuser", &["ends in 0 days", "GENERATIO_POCKETBASE_TOKEN"]);
    assert!(!said.answer.to_string().contains(&token));
}

fn impersonation(clinic: &Clinic, seconds: u32) -> String {
    let superuser = clinic.superuser();
    let id = superuser.rows("_superusers")[0]["id"].as_str().unwrap().to_owned();
    let made = superuser.made(&format!("/api/collections/_superusers/impersonate/{id}"), &json!({"duration": seconds}));
    made["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_token_that_pocketbase_takes_no_more() {
    let clinic = Clinic::on(NEWEST);
    let token = impersonation(&clinic, 3_000_000);
    let flags = ["--pocketbase-token", &token];
    doctor(clinic.pocketbase.address, clinic.fal.address, &flags).is_well();
    clinic.pocketbase.run(&["superuser", "upsert", EMAIL, PASSWORD]);
    let said = doctor(clinic.pocketbase.address, clinic.fal.address, &flags);
    said.is_broken_in("superuser", &["GENERATIO_POCKETBASE_TOKEN"]);
}

#[test]
fn superusers_that_may_not_come_from_the_sidecars_address() {
    let clinic = Clinic::on(NEWEST);
    settings(&clinic, &json!({"superuserIPs": ["127.0.0.1"]}));
    clinic.doctor(&[]).is_well();
    let elsewhere = ["192.0.2.77"];
    // As the last thing that a superuser does from here.
    let (status, _) = clinic.superuser().patch("/api/settings", &json!({"superuserIPs": elsewhere}));
    assert_eq!(status, 200);
    clinic.doctor(&[]).is_broken_in("superuser", &["superuserIPs"]);
}

fn no_hooks(release: &str) {
    let clinic = Clinic { pocketbase: PocketBase::of(release), fal: Upstream::ok() };
    clinic.pocketbase.install_migrations("");
    let said = clinic.doctor(&["--fix"]);
    assert_eq!((said.status, said.named("broken"), said.done().len()), (1, vec!["hooks"], 0), "{}", said.answer);
    assert!(said.line("hooks")["says"].as_str().unwrap().contains("pb_hooks"));
}

#[test]
fn a_page_in_the_place_of_the_hooks() {
    let clinic = Clinic { pocketbase: PocketBase::of(NEWEST), fal: Upstream::ok() };
    clinic.pocketbase.publish("index.html", b"<!doctype html>");
    let said = clinic.doctor(&[]);
    assert_eq!(said.named("broken"), ["hooks"], "{}", said.answer);
}

#[test]
fn hooks_of_another_version() {
    let mut clinic = Clinic::on(NEWEST);
    let file = clinic.pocketbase.hooks().join("generatio/schema.js");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("const VERSION = 1\n"));
    std::fs::write(&file, text.replace("const VERSION = 1\n", "const VERSION = 0\n")).unwrap();
    clinic.pocketbase.restart();
    clinic.doctor(&["--fix"]).is_broken_in("hooks", &["version 0", "copy pb_hooks and pb_migrations"]);
}

#[test]
fn users_that_the_hooks_do_not_guard() {
    let clinic = Clinic::on(NEWEST);
    let said = clinic.doctor(&["--users-collection", "users"]);
    said.is_broken_in("hooks", &["`generatio_users`", "`users`", "GENERATIO_USERS_COLLECTION"]);
}

fn batch_switched_off(release: &str) {
    let clinic = Clinic::on(release);
    settings(&clinic, &json!({"batch": {"enabled": false}}));
    clinic.doctor(&[]).is_broken_in("batch", &["the batch API is off", "--fix"]);
    settings(&clinic, &json!({"batch": {"enabled": true, "maxRequests": 20, "timeout": 3}}));
    clinic.doctor(&[]).is_broken_in("batch", &["20 requests", "3 s", "--fix"]);
}

fn a_field_of_another_type(release: &str) {
    let clinic = Clinic::on(release);
    retype(&clinic, "generations", "units");
    let said = clinic.doctor(&["--fix"]);
    said.is_broken_in("collections", &["generations.units", "text field", "number field is needed", "rename or remove it"]);
    assert!(said.done().is_empty(), "{}", said.answer);
    clinic.change("generations", |there| field(there, "units")["name"] = json!("my_units"));
    clinic.doctor(&[]).is_broken_in("collections", &["generations.units", "the field is missing", "--fix"]);
    let said = clinic.doctor(&["--fix"]);
    assert_eq!((said.status, said.done()), (0, &vec![json!("generations: units added or hidden")]), "{}", said.answer);
}

/// An administrator's text field in the place of ours.
fn retype(clinic: &Clinic, collection: &str, name: &str) {
    clinic.change(collection, |there| {
        let fields = there["fields"].as_array_mut().unwrap();
        fields.retain(|field| field["name"] != name);
        fields.push(json!({"type": "text", "name": name}));
    });
}

fn field<'a>(collection: &'a mut Value, name: &str) -> &'a mut Value {
    collection["fields"].as_array_mut().unwrap().iter_mut().find(|field| field["name"] == name).unwrap()
}

fn an_address_that_is_not_believed(release: &str) {
    let clinic = Clinic::on(release);
    settings(&clinic, &json!({"trustedProxy": {"headers": [], "useLeftmostIP": false}}));
    clinic.doctor(&[]).warns_of("address", &["127.0.0.1", "GENERATIO_TRUST_X_REAL_IP", "--trust-x-real-ip"]);
    let said = clinic.doctor(&["--fix"]);
    said.warns_of("address", &[]);
    assert!(said.done().is_empty(), "it was not asked for: {}", said.answer);
    let said = clinic.doctor(&["--fix", "--trust-x-real-ip"]);
    said.is_well();
    assert_eq!(said.done(), &[json!("settings: the client's address is taken from X-Real-IP")]);
    settings(&clinic, &json!({"trustedProxy": {"headers": ["X-Forwarded-For"]}}));
    clinic.doctor(&["--fix", "--trust-x-real-ip"]).is_well();
    let kept = clinic.superuser().get("/api/settings").1["trustedProxy"]["headers"].clone();
    assert_eq!(kept, json!(["X-Forwarded-For"]), "the sidecar writes that one too");
}

fn a_header_that_clients_can_forge(release: &str) {
    let clinic = Clinic::on(release);
    settings(&clinic, &json!({"trustedProxy": {"headers": ["CF-Connecting-IP", "X-Real-IP"]}}));
    clinic.doctor(&[]).is_broken_in("address", &["CF-Connecting-IP", "X-Real-IP alone"]);
}

#[test]
fn fal_away_whole_or_in_part() {
    let clinic = Clinic::on(NEWEST);
    let [queue, rest, api] = ["queue", "rest", "api"].map(|part| format!("--fal-{part}-url=http://{NOWHERE}"));
    clinic.doctor(&[&queue, &rest, &api]).is_broken_in("fal", &[NOWHERE, "GENERATIO_FAL_"]);
    clinic.doctor(&[&rest]).warns_of("fal", &["balances"]);
}

/// A FAL whose clock is so far from ours.
fn fal_at(offset: i64) -> Upstream {
    Upstream::new(move |head, stream| {
        assert!(!head.to_lowercase().contains("authorization"), "{head}");
        let time = Timestamp::now() + SignedDuration::from_secs(offset);
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap();
        let _ = write!(stream, "HTTP/1.1 404 Not Found\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n");
        Next::Continue
    })
}

#[test]
fn a_clock_that_is_wrong() {
    let mut clinic = Clinic::on(NEWEST);
    for (offset, words) in [(60, "behind"), (-60, "ahead")] {
        clinic.fal = fal_at(offset);
        clinic.doctor(&[]).warns_of("clock", &[words, "FAL", "NTP"]);
    }
    clinic.fal = fal_at(3600);
    clinic.doctor(&[]).is_broken_in("clock", &["behind", "FAL", "NTP"]);
    clinic.fal = fal_at(0);
    clinic.doctor(&[]).is_well();
}

#[test]
fn the_oldest_release_is_known_by_what_it_cannot_do() {
    for (release, words) in [(OLDEST, "is 0.23,"), ("0.36.9", "between 0.24 and 0.37"), ("0.39.11", "is 0.39,"), (NEWEST, "0.40 or newer")]
    {
        let said = Clinic::on(release).doctor(&[]);
        assert!(said.line("version")["says"].as_str().unwrap().contains(words), "{release}: {}", said.answer);
    }
}
