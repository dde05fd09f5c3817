//! Outages and lost answers that are not one moment: PocketBase away for long, and jobs that look alike.

use std::time::Duration;

use crate::moment::{Link, Moment, Phase, Target};
use crate::moments::all_is_well;
use crate::support::until;
use crate::world::{Order, World};

/// FAL takes the job and cuts the connection.
const LOST: &str = "a cat [[sim:drop_after_accept]]";

#[test]
fn what_fal_made_while_pocketbase_was_away_is_fetched_at_once_and_stored_when_it_is_back() {
    let mut world = World::new();
    let order = Order::new("a");
    let moment = Moment::new(Link::PocketBase, "PATCH /api/collections/generations/records/*", 1, Phase::BeforeRequest);
    world.arm(Some((moment, Target::PocketBase)));
    let asked = world.generate(&order);
    until("PocketBase is killed", || world.gate.has_struck());
    world.pocketbase_is_away();
    until("the pictures are fetched", || world.simulator("/_sim/counters")["download"].as_u64() == Some(2));
    world.mend(Target::PocketBase, Duration::ZERO);
    let answer = asked.join().expect("a thread that ends");
    assert_eq!(answer.as_ref().map(|(status, _)| *status), Some(200), "{answer:?}");
    all_is_well(&world.judge(&[order]), &[("completed", 1)]);
}

#[test]
fn lost_jobs_of_one_prompt_are_told_apart_by_their_own_seeds() {
    let world = World::new();
    let orders = ["a", "b", "c"].map(|key| Order::new(key).prompt(LOST));
    found_again(&world, &orders);
}

#[test]
fn lost_jobs_that_asked_for_the_very_same_share_what_fal_has() {
    let world = World::new();
    let orders = ["a", "b", "c"].map(|key| Order::new(key).prompt(LOST).parameter("seed", 7));
    found_again(&world, &orders);
}

#[test]
fn a_job_that_its_user_was_told_was_not_begun_is_not_begun_later() {
    let mut world = World::new();
    let order = Order::new("");
    world.arm(Some((
        Moment::new(Link::PocketBase, "POST /api/collections/generations/records", 1, Phase::BeforeAnswer),
        Target::PocketBase,
    )));
    let asked = world.generate(&order);
    until("PocketBase is killed", || world.gate.has_struck());
    world.pocketbase_is_away();
    let answer = asked.join().expect("a thread that ends");
    assert_eq!(answer.as_ref().map(|(status, _)| *status), Some(503), "{answer:?}");
    world.mend(Target::PocketBase, Duration::ZERO);
    until("the job is over", || world.state_of(&order) == "failed");
    assert_eq!(world.accepted(&order), 0);
}

fn found_again(world: &World, orders: &[Order]) {
    world.arm(None);
    let asked: Vec<_> = orders.iter().map(|order| world.generate(order)).collect();
    for asked in asked {
        let _answer = asked.join();
    }
    all_is_well(&world.judge(orders), &[("completed", orders.len())]);
}

#[test]
fn a_lost_job_does_not_take_what_another_that_looks_the_same_was_answered_with() {
    let mut world = World::new();
    let [first, second] = ["a", "b"].map(|key| Order::new(key).prompt("a cat").parameter("seed", 7));
    let moment = Moment::new(Link::Fal, "POST /queue/fal-ai/flux/schnell", 1, Phase::BeforeRequest);
    world.arm(Some((moment, Target::Sidecar)));
    let asked = world.generate(&first);
    until("the sidecar is killed", || world.gate.has_struck());
    world.mend(Target::Sidecar, Duration::ZERO);
    let _answer = asked.join();
    let answer = world.generate(&second).join().expect("a thread that ends");
    assert_eq!(answer.as_ref().map(|(status, _)| *status), Some(200), "{answer:?}");
    let verdict = world.judge(std::slice::from_ref(&second));
    all_is_well(&verdict, &[("completed", 1)]);
    assert_eq!(world.state_of(&first), "unknown");
}
