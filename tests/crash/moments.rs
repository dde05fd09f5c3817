//! A representative dozen of the moments; `scripts/crash` goes through all of them.

use crate::blow::When;
use crate::books::Verdict;
use crate::moment::Phase::{AfterAnswer, AfterRequest, AmidRequest, BeforeAnswer, BeforeRequest};
use crate::moment::{Link, Moment, Phase, Target};
use crate::world::{Order, World};

const CREATE: &str = "POST /api/collections/generations/records";
const WRITE: &str = "PATCH /api/collections/generations/records/*";
const STORE: &str = "POST /api/collections/images/records";
const SETTLE: &str = "POST /api/batch";
const SUBMIT: &str = "POST /queue/fal-ai/flux/schnell";
const RESULT: &str = "GET /queue/fal-ai/flux/requests/*";

/// Strikes at a moment of a job of its own and wants everything to be right, and the job to have ended so.
#[track_caller]
fn crash(target: Target, phase: Phase, link: Link, label: &str, nth: usize, end: &str) {
    let mut world = World::new();
    let when = When::At(Moment::new(link, label, nth, phase));
    let (struck, verdict) = world.strike(&when, target, &[Order::new("a")]);
    assert!(struck, "{when:?} never came: {:#?}", world.gate.passed());
    all_is_well(&verdict, &[(end, 1)]);
}

#[track_caller]
pub fn all_is_well(verdict: &Verdict, ends: &[(&str, usize)]) {
    assert_eq!(verdict.violations, Vec::<String>::new());
    let found: Vec<(&str, usize)> = verdict.ends.iter().map(|(end, count)| (end.as_str(), *count)).collect();
    assert_eq!(found, ends);
}

#[test]
fn a_job_whose_row_says_submitting_and_whose_sidecar_died_before_it_knew_is_not_sent() {
    crash(Target::Sidecar, BeforeAnswer, Link::PocketBase, CREATE, 1, "unknown");
}

#[test]
fn a_job_whose_row_was_made_by_a_pocketbase_that_died_before_it_said_so_is_done_once() {
    crash(Target::PocketBase, BeforeAnswer, Link::PocketBase, CREATE, 1, "completed");
}

#[test]
fn a_job_whose_row_was_made_and_whose_answer_was_cut_is_done_once() {
    crash(Target::Wire, BeforeAnswer, Link::PocketBase, CREATE, 1, "completed");
}

#[test]
fn a_job_that_may_have_been_sent_is_found_or_says_that_nobody_knows() {
    // It dies a moment after the answer has passed: whether it had written to FAL by then differs from run to run.
    let mut world = World::new();
    let when = When::At(Moment::new(Link::PocketBase, CREATE, 1, AfterAnswer));
    let (struck, verdict) = world.strike(&when, Target::Sidecar, &[Order::new("a")]);
    assert!(struck, "{when:?} never came: {:#?}", world.gate.passed());
    assert_eq!(verdict.violations, Vec::<String>::new());
    assert!(verdict.ends.keys().all(|end| ["unknown", "completed"].contains(&end.as_str())), "{:?}", verdict.ends);
}

#[test]
fn a_job_of_which_fal_got_half_is_not_sent_again() {
    crash(Target::Sidecar, AmidRequest, Link::Fal, SUBMIT, 1, "unknown");
}

#[test]
fn a_job_that_fal_took_without_anybody_hearing_of_it_is_found_again() {
    crash(Target::Sidecar, BeforeAnswer, Link::Fal, SUBMIT, 1, "completed");
}

#[test]
fn a_job_whose_sidecar_and_pocketbase_died_when_fal_had_answered_is_found_again() {
    crash(Target::Both, AfterAnswer, Link::Fal, SUBMIT, 1, "completed");
}

#[test]
fn a_job_that_fal_took_on_a_connection_that_was_cut_is_found_again_without_a_crash() {
    crash(Target::Wire, BeforeAnswer, Link::Fal, SUBMIT, 1, "completed");
}

#[test]
fn a_job_whose_id_at_fal_could_not_be_written_is_followed_all_the_same() {
    crash(Target::PocketBase, BeforeRequest, Link::PocketBase, WRITE, 1, "completed");
}

#[test]
fn a_job_whose_sidecar_died_with_the_result_in_hand_is_fetched_again() {
    crash(Target::Sidecar, AfterAnswer, Link::Fal, RESULT, 1, "completed");
}

#[test]
fn a_picture_whose_row_was_made_before_the_crash_is_not_made_twice() {
    crash(Target::Sidecar, BeforeAnswer, Link::PocketBase, STORE, 1, "completed");
}

#[test]
fn a_picture_of_which_pocketbase_got_half_when_it_died_is_stored_whole() {
    crash(Target::PocketBase, AmidRequest, Link::PocketBase, STORE, 2, "completed");
}

#[test]
fn a_job_that_was_charged_before_the_crash_is_not_charged_twice() {
    crash(Target::Sidecar, BeforeAnswer, Link::PocketBase, SETTLE, 1, "completed");
}

#[test]
fn a_settlement_on_its_way_when_both_died_is_there_once_or_is_made() {
    crash(Target::Both, AfterRequest, Link::PocketBase, SETTLE, 1, "completed");
}
