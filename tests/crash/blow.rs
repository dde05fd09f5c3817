//! One crash: jobs are begun, somebody is killed and comes back, and everything is looked at.

use std::time::{Duration, Instant};

use crate::books::Verdict;
use crate::moment::{Moment, Target};
use crate::world::{AWAY, Order, World};

/// When somebody is killed.
#[derive(Clone, Debug)]
pub enum When {
    At(Moment),
    /// So long after the first request was sent.
    After(Duration),
    /// The same, and once more so long after everybody is back.
    Twice(Duration, Duration),
}

impl World {
    /// Says whether the moment came, and what was found afterwards.
    pub fn strike(&mut self, when: &When, target: Target, orders: &[Order]) -> (bool, Verdict) {
        let start = Instant::now();
        match when {
            When::At(moment) => self.arm(Some((moment.clone(), target))),
            When::After(_) | When::Twice(..) => self.arm(None),
        }
        let asked: Vec<_> = orders.iter().map(|order| self.generate(order)).collect();
        match when {
            When::At(_) => {
                while !self.gate.has_struck() && !asked.iter().all(std::thread::JoinHandle::is_finished) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            When::After(pause) | When::Twice(pause, _) => {
                std::thread::sleep(pause.saturating_sub(start.elapsed()));
                self.gate.strike(target);
            }
        }
        let struck = self.gate.has_struck();
        if struck {
            self.mend(target, AWAY);
        }
        if let When::Twice(_, pause) = when {
            self.arm(None);
            std::thread::sleep(*pause);
            self.gate.strike(target);
            self.mend(target, AWAY);
        }
        let verdict = self.judge(orders);
        for asked in asked {
            let _answer = asked.join();
        }
        (struck, verdict)
    }

    /// An order without a crash: every moment that it has.
    pub fn record(&self, order: &Order) -> Vec<Moment> {
        self.arm(None);
        let answer = self.generate(order).join().expect("a thread that ends");
        assert_eq!(answer.as_ref().map(|(status, _)| *status), Some(200), "{answer:?}");
        let mut moments: Vec<Moment> = Vec::new();
        for moment in self.gate.passed() {
            if !moments.contains(&moment) {
                moments.push(moment);
            }
        }
        moments
    }
}
