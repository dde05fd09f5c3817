//! When a connection has waited too long.

use super::*;

const LIMITS: Limits = Limits { idle: 300, head: 30, stall: 60, upstream: 360 };

fn at(second: Second) -> (Arc<Shared>, Arc<Pulse>) {
    let worker = Shared::at(second);
    (Arc::clone(&worker), Arc::new(Pulse::new(worker)))
}

#[test]
fn a_silent_connection_has_the_time_of_a_head_and_then_that_of_an_idle_one() {
    let (worker, pulse) = at(1);
    worker.clock.store(31, Ordering::Relaxed);
    assert_eq!(pulse.overdue(&LIMITS), None);
    worker.clock.store(32, Ordering::Relaxed);
    assert_eq!(pulse.overdue(&LIMITS), Some(Overdue::Head));
    drop(Busy::begin(&pulse));
    worker.clock.store(332, Ordering::Relaxed);
    assert_eq!(pulse.overdue(&LIMITS), None);
    worker.clock.store(333, Ordering::Relaxed);
    assert_eq!(pulse.overdue(&LIMITS), Some(Overdue::Idle));
}

#[test]
fn a_connection_whose_last_answer_is_not_out_is_not_idle() {
    let (worker, pulse) = at(1);
    drop(Busy::begin(&pulse));
    worker.clock.store(300, Ordering::Relaxed);
    pulse.wrote(false);
    worker.clock.store(350, Ordering::Relaxed);
    assert_eq!(pulse.overdue(&LIMITS), None, "idle for long, but for the tail of an answer");
    worker.clock.store(361, Ordering::Relaxed);
    assert_eq!(pulse.overdue(&LIMITS), Some(Overdue::Reading));
    pulse.wrote(true);
    assert_eq!(pulse.overdue(&LIMITS), None, "idle only from now on");
    worker.clock.store(662, Ordering::Relaxed);
    assert_eq!(pulse.overdue(&LIMITS), Some(Overdue::Idle));
}

#[test]
fn a_head_that_waits_behind_the_last_answer_has_its_time_from_the_end_of_that() {
    let (worker, pulse) = at(1);
    drop(Busy::begin(&pulse));
    pulse.wrote(false);
    pulse.heard();
    worker.clock.store(50, Ordering::Relaxed);
    assert_eq!(pulse.overdue(&LIMITS), None);
    pulse.wrote(true);
    worker.clock.store(80, Ordering::Relaxed);
    assert_eq!(pulse.overdue(&LIMITS), None);
    worker.clock.store(81, Ordering::Relaxed);
    assert_eq!(pulse.overdue(&LIMITS), Some(Overdue::Head));
}

#[test]
fn a_busy_connection_has_no_total_limit() {
    let (worker, pulse) = at(1);
    let busy = Busy::begin(&pulse);
    worker.clock.store(100_000, Ordering::Relaxed);
    assert_eq!(pulse.overdue(&LIMITS), None);
    busy.pulse().body_owed(true);
    busy.pulse().upstream_silent(true);
    worker.clock.store(100_061, Ordering::Relaxed);
    assert_eq!(pulse.overdue(&LIMITS), Some(Overdue::Body));
    busy.pulse().body_owed(false);
    assert_eq!(pulse.overdue(&LIMITS), None);
    worker.clock.store(100_361, Ordering::Relaxed);
    assert_eq!(pulse.overdue(&LIMITS), Some(Overdue::Upstream));
    drop(busy);
    assert_eq!(pulse.overdue(&LIMITS), None);
}

#[test]
fn a_connection_is_parked_when_it_was_idle_at_two_looks_and_its_answer_is_out() {
    let (worker, pulse) = at(1);
    for _ in 0..3 {
        pulse.look();
    }
    assert!(!pulse.is_without_hyper(), "its first request may be on its way");
    drop(Busy::begin(&pulse));
    pulse.look();
    assert!(!pulse.is_without_hyper());
    pulse.wrote(false);
    pulse.look();
    assert!(!pulse.is_without_hyper(), "its answer is not out");
    pulse.wrote(true);
    pulse.look();
    pulse.look();
    assert!(pulse.is_without_hyper());
    worker.clock.store(301, Ordering::Relaxed);
    assert_eq!(pulse.overdue(&LIMITS), None);
    worker.clock.store(302, Ordering::Relaxed);
    assert_eq!(pulse.overdue(&LIMITS), Some(Overdue::Idle), "idle since its answer was out, parked or not");
    pulse.heard();
    assert!(!pulse.is_without_hyper());
    pulse.look();
    pulse.look();
    assert!(!pulse.is_without_hyper(), "a head is coming");
}

#[test]
fn a_stream_of_events_needs_no_hyper_once_what_comes_before_it_is_out() {
    let (_worker, pulse) = at(1);
    let busy = Busy::begin(&pulse);
    pulse.wrote(false);
    busy.pulse().streams();
    assert!(!pulse.is_without_hyper(), "the end of the answer before it is not out");
    pulse.wrote(true);
    assert!(pulse.is_without_hyper());
    drop(busy);
    assert!(!pulse.is_without_hyper(), "its connection is idle");
}
