//! One account's queue: first come, first served, two at a time.
//!
//! [`Lane::advance`] replays everything that happened until now, in order and at its own moment. It reads no clock, so asking late
//! or often changes nothing.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use super::clock::Moment;
use super::failure::Failure;
use super::job::{Job, Phase};

/// The jobs of one account by id.
pub type Jobs = HashMap<Uuid, Job>;

/// Who waits and who runs.
#[derive(Debug)]
pub struct Lane {
    normal: VecDeque<Uuid>,
    low: VecDeque<Uuid>,
    running: Vec<Uuid>,
    /// How many may run at once.
    width: usize,
    /// The moment up to which everything has happened.
    reached: Moment,
}

/// The two values of `x-fal-queue-priority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// In order of arrival.
    Normal,
    /// Behind everybody.
    Low,
}

enum Event {
    Finish(Uuid),
    Start(Uuid),
    Miss(Uuid),
}

impl Lane {
    /// An empty lane that runs `width` jobs at once.
    pub fn new(width: usize, now: Moment) -> Self {
        Lane { normal: VecDeque::new(), low: VecDeque::new(), running: Vec::new(), width, reached: now }
    }

    /// Puts a job at the end.
    pub fn join(&mut self, id: Uuid, priority: Priority) {
        match priority {
            Priority::Normal => self.normal.push_back(id),
            Priority::Low => self.low.push_back(id),
        }
    }

    /// Starts a job past the queue, as a direct run does. False when the lane is full.
    pub fn start_at_once(&mut self, job: &mut Job, now: Moment) -> bool {
        if self.running.len() >= self.width {
            return false;
        }
        job.phase = Phase::Running { since: now };
        self.running.push(job.id);
        true
    }

    /// Takes a job out, wherever it is.
    pub fn leave(&mut self, id: Uuid) {
        self.normal.retain(|other| *other != id);
        self.low.retain(|other| *other != id);
        self.running.retain(|other| *other != id);
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.normal.len() + self.low.len()
    }

    /// How many are ahead of a waiting job.
    pub fn position(&self, id: Uuid) -> usize {
        self.queue().position(|other| other == id).unwrap_or(0)
    }

    /// Lets everything happen that has become due. Returns the jobs that ended, in the order in which they did.
    pub fn advance(&mut self, jobs: &mut Jobs, now: Moment) -> Vec<Uuid> {
        let mut ended = Vec::new();
        while let Some((at, event)) = self.next(jobs).filter(|(at, _)| *at <= now) {
            self.reached = self.reached.max(at);
            let (id, missed) = match event {
                Event::Start(id) => {
                    self.leave(id);
                    self.running.push(id);
                    if let Some(job) = jobs.get_mut(&id) {
                        job.phase = Phase::Running { since: at };
                    }
                    continue;
                }
                Event::Finish(id) => (id, false),
                Event::Miss(id) => (id, true),
            };
            self.leave(id);
            if let Some(job) = jobs.get_mut(&id) {
                let outcome = if missed { Err(Failure::start_timeout()) } else { job.outcome.clone() };
                job.finish(at, outcome);
                ended.push(id);
            }
        }
        self.reached = self.reached.max(now);
        ended
    }

    /// When something happens next, if nobody interferes.
    pub fn next_moment(&self, jobs: &Jobs) -> Option<Moment> {
        self.next(jobs).map(|(at, _)| at)
    }

    /// The next event. At one moment, a finish comes before a start, and a start before a missed deadline.
    fn next(&self, jobs: &Jobs) -> Option<(Moment, Event)> {
        let finish = self.running.iter().filter_map(|id| Some((jobs.get(id)?.ends()?, Event::Finish(*id))));
        let free = self.running.len() < self.width;
        let first = self.queue().find_map(|id| Some((jobs.get(&id)?.ready?, id)));
        let start = first.filter(|_| free).map(|(ready, id)| (ready.max(self.reached), Event::Start(id)));
        let miss = self.queue().filter_map(|id| Some((jobs.get(&id)?.start_by?, Event::Miss(id))));
        finish.chain(start).chain(miss).min_by_key(|(at, _)| *at)
    }

    fn queue(&self) -> impl Iterator<Item = Uuid> {
        self.normal.iter().chain(&self.low).copied()
    }
}
