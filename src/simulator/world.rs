//! Everything the simulator remembers, behind one lock that is never held across a wait.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::Options;
use super::accounts::{Account, Key, Standing};
use super::answer::{Stop, detail};
use super::call::{Call, Credentials};
use super::clock::{Clock, Moment};
use super::faults::Faults;
use super::job::Job;
use super::journal::{Journal, hex};
use super::rules::Rule;
use super::storage::Uploads;
use super::webhook::Signer;

/// Accounts at most; a new key beyond them is refused.
const MOST_ACCOUNTS: usize = 2_000;
/// Requests remembered; the oldest that have ended are forgotten first.
const MOST_JOBS: usize = 20_000;

/// The simulator itself, shared by every connection.
#[derive(Debug)]
pub struct World {
    /// How it was started.
    pub options: Options,
    /// Its time.
    pub clock: Clock,
    /// Its webhook key.
    pub signer: Signer,
    /// How many pictures may be painted at once.
    pub painters: Semaphore,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

/// What changes.
#[derive(Debug)]
pub struct State {
    /// By whole key.
    pub accounts: HashMap<Key, Account>,
    /// Where each picture's file name leads: whose, of which request, the how manieth.
    pub pictures: HashMap<String, (Key, Uuid, u64)>,
    /// What callers uploaded.
    pub uploads: Uploads,
    /// What was asked.
    pub journal: Journal,
    /// Faults set at `/_sim/faults`.
    pub rules: Vec<Rule>,
    /// Requests that ended and whose caller wants to be told.
    pub outbox: Vec<(Key, Uuid)>,
    order: VecDeque<(Key, Uuid)>,
    balance_micros: i64,
    concurrency: usize,
}

impl World {
    /// An empty one.
    pub fn new(options: Options, clock: Clock, signer: Signer) -> Self {
        let state = State {
            accounts: HashMap::new(),
            pictures: HashMap::new(),
            uploads: Uploads::default(),
            journal: Journal::default(),
            rules: Vec::new(),
            outbox: Vec::new(),
            order: VecDeque::new(),
            balance_micros: options.balance_micros,
            concurrency: options.concurrency,
        };
        let painters = Semaphore::new(2);
        World { options, clock, signer, painters, state: Mutex::new(state), changed: watch::Sender::default() }
    }

    /// Looks at, or changes, the state as it is now, and wakes whoever waits for a change.
    pub fn act<T>(&self, act: impl FnOnce(&mut State, Moment) -> T) -> T {
        let outcome = self.look(act);
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
        outcome
    }

    /// As [`World::act`], but wakes nobody unless time itself ended a request: for those who only wait.
    pub fn look<T>(&self, look: impl FnOnce(&mut State, Moment) -> T) -> T {
        let mut state = self.state.lock();
        let now = self.clock.now();
        let something_ended = state.advance(now);
        let outcome = look(&mut state, now);
        drop(state);
        if something_ended {
            self.changed.send_modify(|version| *version = version.wrapping_add(1));
        }
        outcome
    }

    /// Hears of changes from here on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Waits for a change or for a moment, whichever is first.
    pub async fn change_or(&self, changes: &mut watch::Receiver<u64>, moment: Option<Moment>) {
        tokio::select! {
            _ = changes.changed() => {}
            () = self.clock.reach(moment) => {}
        }
    }
}

impl State {
    /// Brings every account up to now. True if any request ended.
    fn advance(&mut self, now: Moment) -> bool {
        let mut something_ended = false;
        for (key, account) in &mut self.accounts {
            for id in account.advance(now) {
                something_ended = true;
                let Some(job) = account.jobs.get(&id) else {
                    continue;
                };
                if job.webhook.is_some() {
                    self.outbox.push((key.clone(), id));
                }
                for index in 0..job.outcome.as_ref().map_or(0, |order| order.count) {
                    self.pictures.insert(picture_name(id, index), (key.clone(), id, index));
                }
            }
        }
        something_ended
    }

    /// When something happens next of itself.
    pub fn next_moment(&self) -> Option<Moment> {
        self.accounts.values().filter_map(|account| account.lane.next_moment(&account.jobs)).min()
    }

    /// Who is calling, known or new. Says 401 as FAL's gateway does; `app` is what it says cannot be accessed.
    pub fn caller(&mut self, call: &Call, app: &str, now: Moment) -> Result<Key, Stop> {
        match call.credentials() {
            Credentials::None => {
                Err(detail(401, &format!("Cannot access application \"{app}\". Authentication is required to access this application."))
                    .into())
            }
            Credentials::Malformed => Err(invalid_key()),
            Credentials::Key(key) => {
                self.open(&key, now)?;
                Ok(key)
            }
        }
    }

    /// A key's account, opened if this is its first appearance.
    pub fn account(&mut self, key: &Key, now: Moment) -> Result<&mut Account, Stop> {
        self.open(key, now)?;
        self.accounts.get_mut(key).ok_or_else(invalid_key)
    }

    fn open(&mut self, key: &Key, now: Moment) -> Result<(), Stop> {
        if self.accounts.contains_key(key) {
            return Ok(());
        }
        if self.accounts.len() >= MOST_ACCOUNTS {
            return Err(detail(503, "The simulator has no room for another account").into());
        }
        let account = Account::open(key, user_id(key), self.balance_micros, self.concurrency, now)
            .map_err(|unknown| detail(400, &unknown.to_string()))?;
        self.accounts.insert(key.clone(), account);
        Ok(())
    }

    /// The faults that act on this key's next request: those of the key, then those of the rules that strike.
    pub fn faults(&mut self, key: &Key) -> Faults {
        let mut faults = self.accounts.get(key).map(|account| account.faults.clone()).unwrap_or_default();
        for rule in &mut self.rules {
            if rule.means(key) && rule.strikes() {
                faults.extend(&rule.faults);
            }
        }
        faults
    }

    /// The faults that always act on this key: looking at a request rolls no dice, so that polling changes nobody's luck.
    fn certain_faults(&self, key: &Key) -> Faults {
        let mut faults = self.accounts.get(key).map(|account| account.faults.clone()).unwrap_or_default();
        for rule in self.rules.iter().filter(|rule| rule.rate >= 1.0 && rule.means(key)) {
            faults.extend(&rule.faults);
        }
        faults
    }

    /// The order FAL refuses in: 401, then 403.
    pub fn admit(&self, key: &Key, faults: &Faults) -> Result<(), Stop> {
        match self.accounts.get(key).map(|account| account.standing(faults)) {
            Some(Standing::Good) => Ok(()),
            Some(Standing::Unknown) | None => Err(invalid_key()),
            Some(Standing::Locked(reason)) => Err(detail(403, &format!("User is locked. Reason: {reason}")).into()),
            Some(Standing::OutOfScope) => Err(detail(403, "Access denied").into()),
        }
    }

    /// Only 401: an empty account may still fetch what it paid for.
    pub fn identify(&self, key: &Key) -> Result<(), Stop> {
        let faults = self.certain_faults(key);
        match self.accounts.get(key).map(|account| account.standing(&faults)) {
            Some(Standing::Good | Standing::Locked(_) | Standing::OutOfScope) => Ok(()),
            Some(Standing::Unknown) | None => Err(invalid_key()),
        }
    }

    /// Makes room for one more job.
    pub fn remember(&mut self, key: &Key, id: Uuid) -> Result<(), Stop> {
        if self.order.len() >= MOST_JOBS {
            let accounts = &self.accounts;
            let ended = |(key, id): &(Key, Uuid)| job(accounts, key, *id).is_none_or(|job| job.ended().is_some());
            let Some(oldest) = self.order.iter().position(ended) else {
                return Err(detail(503, "The simulator has no room for another request").into());
            };
            if let Some((key, id)) = self.order.remove(oldest) {
                self.forget(&key, id);
            }
        }
        self.order.push_back((key.clone(), id));
        Ok(())
    }

    fn forget(&mut self, key: &Key, id: Uuid) {
        let job = self.accounts.get_mut(key).and_then(|account| account.jobs.remove(&id));
        let count = job.and_then(|job| job.outcome.ok()).map_or(0, |order| order.count);
        for index in 0..count {
            self.pictures.remove(&picture_name(id, index));
        }
    }

    /// A request of this caller's. Another's is as unknown as one that never was.
    pub fn job(&mut self, key: &Key, id: Uuid) -> Option<(&mut Account, Uuid)> {
        let account = self.accounts.get_mut(key)?;
        account.jobs.contains_key(&id).then_some((account, id))
    }
}

fn job<'a>(accounts: &'a HashMap<Key, Account>, key: &Key, id: Uuid) -> Option<&'a Job> {
    accounts.get(key)?.jobs.get(&id)
}

fn invalid_key() -> Stop {
    detail(401, "invalid key credentials").into()
}

fn user_id(key: &Key) -> String {
    format!("user_{}", &digest_hex(&format!("{}\nuser", key.fingerprint()))[..16])
}

/// A file name nobody guesses and everybody who knows the request can compute: it needs no storage.
pub fn picture_name(id: Uuid, index: u64) -> String {
    digest_hex(&format!("{id}\n{index}"))[..21].to_owned()
}

fn digest_hex(text: &str) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref())
}

/// How long pictures are kept where the caller did not say: FAL's "at least seven days".
pub const USUAL_MEDIA_LIFETIME: Duration = Duration::from_secs(7 * 86_400);
