//! One request on its way through the queue: what it will become is decided when it is submitted.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::clock::Moment;
use super::failure::Failure;
use super::faults::{Faults, Knob};
use super::models::Order;

/// How the work ends if nobody interferes.
pub type Outcome = Result<Order, Failure>;

/// One accepted request.
#[derive(Clone, Debug)]
pub struct Job {
    /// FAL's request id.
    pub id: Uuid,
    /// The whole endpoint id it was submitted to.
    pub endpoint: String,
    /// `owner/app`, with its namespace: the part its URLs are built from.
    pub app: String,
    /// What was sent.
    pub input: Value,
    /// The deliberate faults it carries.
    pub faults: Faults,
    /// Where absolute URLs point.
    pub bases: super::call::Bases,
    /// When it was accepted.
    pub submitted: Moment,
    /// When it may start at the earliest.
    pub ready: Option<Moment>,
    /// When it fails if it has not started.
    pub start_by: Option<Moment>,
    /// How long it runs; `None` is for ever.
    pub run_time: Option<Duration>,
    /// Whether FAL keeps its payloads (`x-fal-store-io`).
    pub stored: bool,
    /// How long its pictures can be downloaded after it is done.
    pub media_lifetime: Duration,
    /// Where the outcome is posted.
    pub webhook: Option<String>,
    /// What it becomes.
    pub outcome: Outcome,
    /// Where it is now.
    pub phase: Phase,
    /// How often its status was asked for.
    pub polls: u64,
    /// How often its result was asked for.
    pub fetches: u64,
    /// How often one of its pictures was asked for.
    pub downloads: u64,
}

/// The three states FAL has. A failure or a cancellation is `Done` too.
#[derive(Clone, Debug)]
pub enum Phase {
    /// IN_QUEUE.
    Waiting,
    /// IN_PROGRESS.
    Running {
        /// Since when.
        since: Moment,
    },
    /// COMPLETED.
    Done {
        /// When it ran, if it did.
        started: Option<Moment>,
        /// When it ended.
        at: Moment,
        /// How.
        outcome: Outcome,
    },
}

/// A result below ten kilobytes lives an hour, a larger one six minutes, one with stored payloads thirty days.
const SMALL_RESULT: Duration = Duration::from_secs(3600);
const LARGE_RESULT: Duration = Duration::from_secs(360);
const STORED_RESULT: Duration = Duration::from_secs(30 * 86_400);

impl Job {
    /// When it will end of itself, once it runs.
    pub fn ends(&self) -> Option<Moment> {
        match self.phase {
            Phase::Running { since } => Some(since.plus(self.run_time?)),
            Phase::Waiting | Phase::Done { .. } => None,
        }
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Option<(Moment, &Outcome)> {
        match &self.phase {
            Phase::Done { at, outcome, .. } => Some((*at, outcome)),
            Phase::Waiting | Phase::Running { .. } => None,
        }
    }

    /// When it began to run, if it did.
    pub fn started(&self) -> Option<Moment> {
        match self.phase {
            Phase::Waiting => None,
            Phase::Running { since } => Some(since),
            Phase::Done { started, .. } => started,
        }
    }

    /// Ends it now.
    pub fn finish(&mut self, at: Moment, outcome: Outcome) {
        self.phase = Phase::Done { started: self.started(), at, outcome };
    }

    /// When FAL forgets the result. A result of 10 KB or more, which here only a picture inside it makes, goes sooner.
    pub fn forgotten(&self) -> Option<Moment> {
        let (at, outcome) = self.ended()?;
        let large = outcome.as_ref().is_ok_and(|order| order.inline) || self.faults.has(Knob::Huge);
        let lifetime = match (self.stored, large) {
            (true, _) => STORED_RESULT,
            (false, true) => LARGE_RESULT,
            (false, false) => SMALL_RESULT,
        };
        Some(at.plus(lifetime))
    }

    /// What the runner has printed so far.
    pub fn logs(&self, now: Moment) -> Vec<Value> {
        let until = self.ended().map_or(now, |(at, _)| at);
        let lines = self.lines().into_iter().filter(|(at, ..)| *at <= until);
        let written = |(at, level, message): (Moment, &str, String)| json!({ "message": message, "level": level, "source": "USER", "timestamp": at.iso() });
        lines.map(written).collect()
    }

    /// When the runner prints next.
    pub fn next_line(&self, now: Moment) -> Option<Moment> {
        let running = matches!(self.phase, Phase::Running { .. });
        let moments = self.lines().into_iter().map(|(at, ..)| at);
        moments.filter(|at| running && *at > now).min()
    }

    /// All a run prints: four lines of progress, for each time it is started.
    fn lines(&self) -> Vec<(Moment, &'static str, String)> {
        let Some(started) = self.started() else {
            return Vec::new();
        };
        let retries = u32::try_from(self.faults.number(Knob::RunnerRetry).unwrap_or(0).min(10)).unwrap_or(0);
        let lap = self.run_time.unwrap_or(Duration::from_secs(10)) / (retries + 1);
        let mut lines = Vec::new();
        for attempt in 0..=retries {
            let begun = started.plus(lap * attempt);
            if attempt > 0 {
                let words = format!("Runner disconnected, retrying ({attempt}/{retries})");
                lines.push((begun, "WARN", words));
            }
            for quarter in 0..4_u8 {
                let words = format!("{:3}%|{}|", quarter * 25, "█".repeat(usize::from(quarter) * 5));
                lines.push((begun.plus(lap * u32::from(quarter) / 4), "INFO", words));
            }
        }
        lines
    }
}
