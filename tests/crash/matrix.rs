//! All moments with every target, and many more at random; `scripts/crash` runs it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::blow::When;
use crate::books::Verdict;
use crate::moment::{Link, Target};
use crate::world::{Order, World};

/// One crash to be.
#[derive(Clone, Debug)]
struct Blow {
    when: When,
    target: Target,
    orders: Vec<Order>,
}

/// What came of the blows of one kind.
#[derive(Default)]
struct Row {
    blows: usize,
    missed: usize,
    ends: BTreeMap<String, usize>,
    violations: usize,
}

#[derive(Default)]
struct Summary {
    rows: BTreeMap<String, Row>,
    violations: Vec<String>,
}

#[expect(clippy::disallowed_methods, reason = "scripts/crash has no other way to say it")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str, default: u64) -> u64 {
    setting(name).map_or(default, |value| value.parse().expect("a number"))
}

#[test]
#[ignore = "takes minutes: scripts/crash"]
fn nothing_is_lost_or_paid_twice_at_any_moment_or_at_random_ones() {
    let start = Instant::now();
    let seed = number("CRASH_SEED", std::process::id().into());
    let moments = World::new().record(&Order::new("recorded"));
    let mut blows = Vec::new();
    for target in Target::ALL {
        for moment in &moments {
            let orders = vec![Order::new(&format!("m{}", blows.len()))];
            blows.push(Blow { when: When::At(moment.clone()), target, orders });
        }
    }
    println!("{} moments of {} exchanges, {} targets; random seed {seed}", moments.len(), moments.len() / 6, Target::ALL.len());
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for n in 0..number("CRASH_RANDOM", 300) {
        let target = Target::ALL[dice.below(3) as usize];
        let (first, second) = (Duration::from_millis(dice.below(1800)), Duration::from_millis(dice.below(1200)));
        let when = if n % 3 == 0 { When::Twice(first, second) } else { When::After(first) };
        blows.push(Blow { when, target, orders: several(n) });
    }
    blows.reverse();
    let (queue, summary) = (Mutex::new(blows), Mutex::new(Summary::default()));
    std::thread::scope(|scope| {
        for _ in 0..number("CRASH_WORKERS", 4) {
            scope.spawn(|| work(&queue, &summary));
        }
    });
    let summary = summary.into_inner();
    summary.print(start.elapsed());
    assert!(summary.violations.is_empty(), "{} violations", summary.violations.len());
}

/// Two that differ in their own seeds alone, and one of another model with the user's seed.
fn several(n: u64) -> Vec<Order> {
    let prompt = format!("crash at random {n}");
    let one = Order::new(&format!("r{n}a")).prompt(&prompt);
    let same = Order::new(&format!("r{n}b")).prompt(&prompt);
    let other = Order::new(&format!("r{n}c")).model("hidream/hidream-i1-fast").parameter("seed", n).parameter("num_images", 1);
    vec![one, same, other.parameter("output_format", "jpeg")]
}

fn work(queue: &Mutex<Vec<Blow>>, summary: &Mutex<Summary>) {
    let mut world = World::new();
    loop {
        let Some(blow) = queue.lock().pop() else { return };
        let mut outcome = catch_unwind(AssertUnwindSafe(|| world.strike(&blow.when, blow.target, &blow.orders)));
        if matches!(&outcome, Ok((false, verdict)) if verdict.violations.is_empty()) {
            // Some exchanges belong to a session's first job alone.
            world = World::new();
            outcome = catch_unwind(AssertUnwindSafe(|| world.strike(&blow.when, blow.target, &blow.orders)));
        }
        let (struck, verdict) = outcome.unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            (true, Verdict { violations: vec![format!("it could not be judged: {words}")], ..Verdict::default() })
        });
        if !verdict.violations.is_empty() {
            println!("--- {:?} killed, {:?}\n{}", blow.target, blow.when, verdict.violations.join("\n"));
            if setting("CRASH_LOGS").is_some() {
                println!("{}", world.sidecar.as_ref().map(crate::support::Sidecar::log).unwrap_or_default());
            }
            world = World::new();
        }
        summary.lock().add(&blow, struck, verdict);
    }
}

impl Summary {
    fn add(&mut self, blow: &Blow, struck: bool, verdict: Verdict) {
        let place = match &blow.when {
            When::At(moment) if moment.link == Link::Fal => format!("{:?} of FAL's", moment.phase),
            When::At(moment) => format!("{:?} of PocketBase's", moment.phase),
            When::After(_) => "at random".to_owned(),
            When::Twice(..) => "at random, and again".to_owned(),
        };
        let row = self.rows.entry(format!("{:<10} {place}", format!("{:?}", blow.target))).or_default();
        row.blows += 1;
        row.missed += usize::from(!struck);
        row.violations += verdict.violations.len();
        for (end, count) in verdict.ends {
            *row.ends.entry(end).or_default() += count;
        }
        self.violations.extend(verdict.violations);
    }

    fn print(&self, took: Duration) {
        println!("\n{:<42} {:>6} {:>6} {:>10}  ends", "killed, at", "kills", "missed", "violations");
        for (name, row) in &self.rows {
            println!("{name:<42} {:>6} {:>6} {:>10}  {:?}", row.blows - row.missed, row.missed, row.violations, row.ends);
        }
        let sum = |of: fn(&Row) -> usize| self.rows.values().map(of).sum::<usize>();
        let (kills, missed) = (sum(|row| row.blows - row.missed), sum(|row| row.missed));
        println!("{kills} kills in {} s, {missed} moments that did not come, {} violations", took.as_secs(), self.violations.len());
    }
}

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
