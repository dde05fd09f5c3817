//! FAL misbehaving, knob by knob: what the caller gets, what the job says, what is charged. It is asked once, whatever happens.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::Value;

use crate::simulator::Simulator;
use crate::world::{USERS_PASSWORD, User, World, picture};

/// What the test does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Asks, and waits.
    Waits,
    /// Asks, and cancels once the job is in FAL's hands.
    Cancels,
}
use Does::{Cancels, Waits};

/// What becomes of the picture.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Picture {
    Kept,
    /// The row has FAL's link while the picture cannot be fetched.
    Linked,
    None,
}
use Picture::{Kept, Linked, None as Nothing};

struct Row {
    knob: &'static str,
    does: Does,
    http: u16,
    error: &'static str,
    /// In the message to the caller.
    says: &'static str,
    status: &'static str,
    charged: &'static [i64],
    estimated: bool,
    copy: Picture,
}

const fn fine(knob: &'static str) -> Row {
    Row { knob, does: Waits, http: 200, error: "", says: "", status: "completed", charged: &[3000], estimated: false, copy: Kept }
}

const fn linked(knob: &'static str) -> Row {
    Row { copy: Linked, ..fine(knob) }
}

const fn refused(knob: &'static str, http: u16, error: &'static str, says: &'static str) -> Row {
    Row { http, error, says, status: "failed", charged: &[], copy: Nothing, ..fine(knob) }
}

const fn cancelled(knob: &'static str) -> Row {
    Row { does: Cancels, status: "cancelled", charged: &[], copy: Nothing, ..fine(knob) }
}

const EXTERNAL: &str = "external_error";
const ROWS: &[Row] = &[
    refused("auth.bad_key", 502, EXTERNAL, "FAL rejected the stored key"),
    refused("auth.locked", 402, EXTERNAL, "FAL has locked the account"),
    refused("auth.scope", 502, EXTERNAL, "Access denied"),
    refused("submit.429", 503, "unavailable_error", "FAL is asked too often"),
    refused("submit.5xx", 502, EXTERNAL, "FAL failed"),
    // Nothing says that these two were not accepted.
    Row { status: "unknown", ..refused("submit.html502", 502, EXTERNAL, "not known yet") },
    Row { status: "unknown", ..refused("submit.drop_before_accept", 502, EXTERNAL, "not known yet") },
    fine("submit.drop_after_accept"),
    fine("submit.slow:1"),
    fine("submit.garbage_json"),
    cancelled("queue.stuck_queue"),
    cancelled("queue.stuck_progress"),
    fine("queue.pos_jump"),
    fine("queue.runner_retry:1"),
    refused("queue.start_timeout", 504, EXTERNAL, "FAL gave up"),
    fine("status.404_until:3"),
    fine("status.500:3"),
    fine("status.unknown_status"),
    fine("status.omit_logs"),
    fine("status.drop_sse"),
    refused("result.422:content_policy_violation", 422, EXTERNAL, "FAL refused the content"),
    refused("result.422:image_too_large", 502, EXTERNAL, "FAL refused the input"),
    refused("result.fail", 502, EXTERNAL, "FAL failed"),
    fine("result.400_in_progress:3"),
    refused("result.expired", 502, EXTERNAL, "may have been billed"),
    // FAL reports that it billed.
    Row { charged: &[3000], ..refused("result.no_images", 502, EXTERNAL, "without a picture") },
    fine("result.nsfw"),
    refused("result.huge:40", 502, EXTERNAL, "may have been billed"),
    fine("result.missing_dims"),
    Row { estimated: true, ..fine("result.no_billable_header") },
    Row { charged: &[9000], ..fine("result.wrong_billable:3") },
    // More than a hundred for a picture is nobody's bill.
    Row { estimated: true, ..fine("result.wrong_billable:101") },
    Row { does: Cancels, ..fine("cancel.202_but_completes") },
    Row { does: Cancels, ..fine("cancel.400") },
    Row { does: Cancels, ..fine("cancel.404") },
    linked("media.404"),
    fine("media.slow:200000"),
    linked("media.truncate"),
    linked("media.wrong_type"),
    linked("media.redirect_private"),
    linked("media.oversize:70"),
];

/// Knobs that a generation does not touch: the engine asks for no webhook and no stream. The last two belong to a key: see below.
const EXEMPT: [&str; 8] = [
    "webhook.dup",
    "webhook.late",
    "webhook.bad_sig",
    "webhook.old_ts",
    "webhook.payload_null",
    "webhook.never",
    "platform.pricing_down",
    "platform.balance_html",
];

fn name(knob: &str) -> &str {
    knob.split(':').next().unwrap()
}

/// Runs one row and says everything that is wrong.
async fn run(world: &World, user: &User, row: &Row) -> Vec<String> {
    let prompt = format!("a lighthouse [[sim:{}]]", row.knob);
    let body = picture(&prompt);
    let (http, answer, job) = if row.does == Waits {
        let answer = user.generate(&body).await;
        let job = answer.job().to_owned();
        (answer.status, answer.body, job)
    } else {
        let job = user.begin(&body).await;
        world.job_in(&job, &["queued", "running"]).await;
        let answer = user.post(&format!("jobs/{job}/cancel"), &Value::Null).await;
        user.ended(&job).await;
        (answer.status, answer.body, job)
    };
    let stored = world.row("generations", &job);
    let images = world.rows("images", &format!("job_id = '{job}'"));
    let copy = match images.as_slice() {
        [] => Nothing,
        [image] if image["file"] == "" && image["url"].as_str().unwrap().starts_with(&world.simulator.url) => Linked,
        [image] if image["url"].as_str().unwrap().starts_with("/api/files/") => Kept,
        _ => panic!("{}: {images:?}", row.knob),
    };
    let charged = world.charges(&job);
    let cost = stored["cost_micros"].as_i64().unwrap();
    let submits = world.simulator.submits(&prompt).await.0;
    let facts = [
        ("HTTP", http == row.http),
        ("error", answer["error"].as_str().unwrap_or("") == row.error),
        ("message", answer["message"].as_str().unwrap_or("").contains(row.says)),
        ("status", stored["status"] == row.status),
        ("charge", charged == row.charged && cost == row.charged.iter().sum::<i64>()),
        ("estimated", stored["estimated"] == row.estimated),
        ("picture", copy == row.copy),
        ("reason", stored["error"].is_null() == (row.http == 200)),
        ("submits", submits == 1),
    ];
    let wrong = facts.iter().filter(|(_, holds)| !holds);
    wrong.map(|(fact, _)| format!("{}: {fact}: {http} {answer} charged {charged:?}, {submits} submits, {stored}", row.knob)).collect()
}

#[tokio::test]
async fn every_fault_of_fals_has_one_outcome_and_is_paid_for_at_most_once() {
    let world = World::with(Simulator::start(&["--queue-delay", "100ms", "--run-time", "900ms"]), &["--jobs-per-user", "100"]);
    let user = world.user().await;
    let wrong: Vec<String> = join_all(ROWS.iter().map(|row| run(&world, &user, row))).await.concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let log = world.sidecar.log();
    for secret in ["s3cret-of-a-key", USERS_PASSWORD, &user.session, &user.token] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}

#[tokio::test]
async fn the_table_has_every_knob_of_the_simulators() {
    let world = World::shared();
    let knobs = world.simulator.ask("knobs").await;
    let knobs: BTreeSet<&str> = knobs["knobs"].as_array().unwrap().iter().map(|knob| knob["knob"].as_str().unwrap()).collect();
    let here: BTreeSet<&str> = ROWS.iter().map(|row| name(row.knob)).chain(EXEMPT).collect();
    assert_eq!(knobs, here);
}

#[tokio::test]
async fn prices_that_cannot_be_learnt_are_estimated_and_a_balance_that_cannot_be_read_is_in_nobodys_way() {
    let world = World::shared();
    for (index, (fault, estimated)) in [("pricing_down", true), ("balance_html", false)].into_iter().enumerate() {
        let key = format!("faulty{index}:s3cret-of-a-key");
        world.simulator.set_faults(&key, &[fault]).await;
        let user = world.user_with(&key).await;
        let answer = user.generate(&picture(fault)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!((world.charges(answer.job()), &answer.body["estimated"]), (vec![3000], &Value::Bool(estimated)), "{fault}");
        let ledger = &world.rows("spend_events", &format!("job_id = '{}'", answer.job()))[0];
        assert_eq!(ledger["estimated"], estimated, "{ledger}");
    }
}
