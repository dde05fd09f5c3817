//! A dozen of the moments; `scripts/crash` goes through all of them.

use crate::blow::When;
use crate::moment::{Link, Moment, Phase, Target};
use crate::world::{Order, World};

/// Strikes at a moment of a job of its own and wants everything to be right, and the job to have ended so.
#[track_caller]
fn crash(link: Link, label: &str, nth: usize, phase: Phase, target: Target, end: &str) {
    let mut world = World::new();
    let when = When::At(Moment::new(link, label, nth, phase));
    let (struck, verdict) = world.strike(&when, target, &[Order::new("a")]);
    assert!(struck, "{when:?} never came: {:#?}", world.gate.passed());
    assert_eq!(verdict.violations, Vec::<String>::new(), "{when:?}");
    assert_eq!(verdict.ends.keys().map(String::as_str).collect::<Vec<_>>(), [end], "{when:?}");
}

#[test]
fn every_moment_of_a_job_has_a_name() {
    let world = World::new();
    let moments = world.record(&Order::new("a"));
    for moment in &moments {
        println!("{moment}");
    }
    let verdict = world.judge(&[Order::new("a")]);
    assert_eq!(verdict.violations, Vec::<String>::new());
}
