//! Keys, and the account behind each.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::clock::Moment;
use super::failure::Failure;
use super::faults::{Faults, Knob, UnknownKnob};
use super::job::Job;
use super::lane::{Jobs, Lane};

/// `id:secret`. Every such key is its own account.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

/// It is no `id:secret`.
#[derive(Debug)]
pub struct MalformedKey;

impl FromStr for Key {
    type Err = MalformedKey;

    fn from_str(text: &str) -> Result<Self, MalformedKey> {
        match text.split_once(':') {
            Some((id, secret)) if !id.is_empty() && !secret.is_empty() => Ok(Key(text.to_owned())),
            Some(_) | None => Err(MalformedKey),
        }
    }
}

impl Key {
    /// The half that may be shown.
    pub fn id(&self) -> &str {
        self.0.split_once(':').map_or("", |(id, _)| id)
    }

    /// The whole key, hashed: tells keys apart without holding one.
    pub fn fingerprint(&self) -> String {
        super::journal::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.0.as_bytes()).as_ref())
    }

    fn secret(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, secret)| secret)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}:…)", self.id())
    }
}

/// A key id that means something, whatever its secret.
#[derive(Debug)]
pub struct SpecialKey {
    /// Before the colon.
    pub id: &'static str,
    /// What FAL answers to it.
    pub seen: &'static str,
}

/// The documented keys. Any other `id:secret` is an account with the usual balance.
pub const SPECIAL_KEYS: [SpecialKey; 6] = [
    SpecialKey { id: "bad", seen: "401: FAL does not know it" },
    SpecialKey { id: "locked", seen: "403: locked by an administrator" },
    SpecialKey { id: "empty", seen: "403: exhausted balance" },
    SpecialKey { id: "scope", seen: "403: the key may not generate" },
    SpecialKey { id: "poor", seen: "a balance of one cent: works, then locks" },
    SpecialKey { id: "admin", seen: "may also read billing and usage (ADMIN scope)" },
];

/// Bills kept for one account.
const MOST_CHARGES: usize = 20_000;

const EXHAUSTED: &str = "Exhausted balance. Top up your balance at fal.ai/dashboard/billing.";

/// What a request may be refused for before anything else is looked at.
#[derive(Debug)]
pub enum Standing {
    /// Welcome.
    Good,
    /// 401.
    Unknown,
    /// 403, with FAL's reason.
    Locked(String),
    /// 403.
    OutOfScope,
}

/// One bill: a request, and what it cost.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The request.
    pub request: Uuid,
    /// Where it was submitted.
    pub endpoint: String,
    /// Megapixels.
    pub units: u64,
    /// Millionths of a dollar for each.
    pub unit_price_micros: u64,
    /// When.
    pub at: Moment,
}

/// An account, its queue and its requests.
#[derive(Debug)]
pub struct Account {
    /// Which key opens it; only the id.
    pub key_id: String,
    /// FAL's name for the user, in webhooks and `/users/current`.
    pub user_id: String,
    /// Millionths of a dollar; at zero or below the account is locked.
    pub balance_micros: i64,
    /// Faults that come with the key, or were set for it.
    pub faults: Faults,
    /// Its queue.
    pub lane: Lane,
    /// Its requests.
    pub jobs: Jobs,
    /// Its newest bills, the last one last.
    pub charges: VecDeque<Charge>,
    /// Requests that ended outside the lane and that nobody has been told of yet.
    ended: Vec<Uuid>,
}

impl Account {
    /// The account a key gets when it is first seen.
    pub fn open(key: &Key, user_id: String, balance_micros: i64, width: usize, now: Moment) -> Result<Self, UnknownKnob> {
        let balance_micros = match key.id() {
            "empty" => 0,
            "poor" => 10_000,
            _ => balance_micros,
        };
        Ok(Account {
            key_id: key.id().to_owned(),
            user_id,
            balance_micros,
            faults: Faults::in_text(key.secret())?,
            lane: Lane::new(width, now),
            jobs: Jobs::new(),
            charges: VecDeque::new(),
            ended: Vec::new(),
        })
    }

    /// Whether it may do anything, given the faults of the moment.
    pub fn standing(&self, faults: &Faults) -> Standing {
        if self.key_id == "bad" || faults.has(Knob::BadKey) {
            return Standing::Unknown;
        }
        if let Some(reason) = faults.word(Knob::Locked) {
            return Standing::Locked(reason.to_owned());
        }
        if self.key_id == "locked" {
            return Standing::Locked("Admin lock. Please contact hello@fal.ai.".to_owned());
        }
        if self.balance_micros <= 0 {
            return Standing::Locked(EXHAUSTED.to_owned());
        }
        if self.key_id == "scope" || faults.has(Knob::Scope) {
            return Standing::OutOfScope;
        }
        Standing::Good
    }

    /// Whether its key has ADMIN scope.
    pub fn is_admin(&self) -> bool {
        self.key_id == "admin"
    }

    /// Ends a request now, undelivered and unbilled.
    pub fn cancel(&mut self, id: Uuid, now: Moment) {
        self.end(id, now, Failure::infrastructure("client_cancelled"));
    }

    /// Ends a request now with a failure.
    pub fn end(&mut self, id: Uuid, now: Moment, failure: Failure) {
        self.lane.leave(id);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.outcome = Err(failure.clone());
            job.finish(now, Err(failure));
            self.ended.push(id);
        }
    }

    /// Lets its queue come up to `now`, and bills what was delivered. Returns the requests that ended.
    pub fn advance(&mut self, now: Moment) -> Vec<Uuid> {
        let mut ended = std::mem::take(&mut self.ended);
        ended.extend(self.lane.advance(&mut self.jobs, now));
        for id in &ended {
            let bill = self.jobs.get(id).and_then(bill);
            if let Some(charge) = bill {
                let cost = charge.units * charge.unit_price_micros;
                self.balance_micros = self.balance_micros.saturating_sub_unsigned(cost);
                self.charges.push_back(charge);
                if self.charges.len() > MOST_CHARGES {
                    self.charges.pop_front();
                }
            }
        }
        ended
    }
}

/// Failures cost nothing.
fn bill(job: &Job) -> Option<Charge> {
    let (at, outcome) = job.ended()?;
    let order = outcome.as_ref().ok()?;
    Some(Charge {
        request: job.id,
        endpoint: job.endpoint.clone(),
        units: order.units(),
        unit_price_micros: order.model.unit_price_micros,
        at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shows_only_its_id() {
        let key: Key = "demo:very-secret".parse().unwrap();
        assert_eq!(format!("{key:?}"), "Key(demo:…)");
        for malformed in ["", "demo", "demo:", ":secret"] {
            assert!(malformed.parse::<Key>().is_err(), "{malformed}");
        }
    }
}
