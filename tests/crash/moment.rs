//! Names of moments: which exchange, which time, and how far it has come; and the gate at which one of them strikes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

/// Between the sidecar and whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Link {
    PocketBase,
    Fal,
}

/// How far an exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    BeforeRequest,
    AmidRequest,
    AfterRequest,
    BeforeAnswer,
    AmidAnswer,
    AfterAnswer,
}

impl Phase {
    pub const REQUEST: [Self; 3] = [Self::BeforeRequest, Self::AmidRequest, Self::AfterRequest];
    pub const ANSWER: [Self; 3] = [Self::BeforeAnswer, Self::AmidAnswer, Self::AfterAnswer];
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Sidecar,
    PocketBase,
    Both,
    /// Nobody: the connection alone is cut.
    Wire,
}

impl Target {
    pub const ALL: [Self; 4] = [Self::Sidecar, Self::PocketBase, Self::Both, Self::Wire];

    pub fn hits_sidecar(self) -> bool {
        matches!(self, Self::Sidecar | Self::Both)
    }

    pub fn hits_pocketbase(self) -> bool {
        matches!(self, Self::PocketBase | Self::Both)
    }
}

/// One moment of one exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Moment {
    pub link: Link,
    /// `POST /api/batch`.
    pub label: String,
    /// The first such exchange is 1.
    pub nth: usize,
    pub phase: Phase,
}

impl Moment {
    pub fn new(link: Link, label: &str, nth: usize, phase: Phase) -> Self {
        Self { link, label: label.to_owned(), nth, phase }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?} {} ({})", self.phase, self.link, self.label, self.nth)
    }
}

/// What a request is called: its method and path, without what differs from run to run.
pub fn label(request: &[u8]) -> String {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path: Vec<&str> = target.split('?').next().unwrap_or_default().split('/').map(plain).collect();
    format!("{method} {}", path.join("/"))
}

fn plain(segment: &str) -> &str {
    let is_id = segment.len() == 15 && segment.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_hex = segment.len() == 8 && segment.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_random = is_hex || segment.len() >= 20 && segment.contains(|letter: char| letter.is_ascii_digit());
    if (is_id && segment != "generatio_users") || is_random { "*" } else { segment }
}

/// Every moment of every exchange passes here; at one of them somebody is killed.
#[derive(Default)]
pub struct Gate(Mutex<State>);

#[derive(Default)]
struct State {
    counts: HashMap<(Link, String), usize>,
    passed: Vec<Moment>,
    blow: Option<(Moment, Target)>,
    struck: bool,
    sidecar: Option<Pid>,
    pocketbase: Option<Pid>,
}

/// One request and its answer.
pub struct Exchange {
    gate: Arc<Gate>,
    link: Link,
    label: String,
    nth: usize,
}

impl Gate {
    /// Counting begins anew. At `moment` the target is killed, once.
    pub fn arm(&self, blow: Option<(Moment, Target)>, sidecar: u32, pocketbase: u32) {
        let pid = |id: u32| i32::try_from(id).ok().and_then(Pid::from_raw);
        *self.0.lock() = State { blow, sidecar: pid(sidecar), pocketbase: pid(pocketbase), ..State::default() };
    }

    /// Kills right now, unless it was done.
    pub fn strike(&self, target: Target) {
        self.0.lock().kill(target);
    }

    pub fn has_struck(&self) -> bool {
        self.0.lock().struck
    }

    /// All moments since it was armed, in their order.
    pub fn passed(&self) -> Vec<Moment> {
        self.0.lock().passed.clone()
    }

    pub fn exchange(self: &Arc<Self>, link: Link, label: String) -> Exchange {
        let mut state = self.0.lock();
        let nth = state.counts.entry((link, label.clone())).or_default();
        *nth += 1;
        Exchange { gate: Arc::clone(self), link, nth: *nth, label }
    }
}

impl State {
    fn kill(&mut self, target: Target) {
        if self.struck {
            return;
        }
        self.struck = true;
        let ids = [self.sidecar.filter(|_| target.hits_sidecar()), self.pocketbase.filter(|_| target.hits_pocketbase())];
        for pid in ids.into_iter().flatten() {
            // Whoever is dead already was killed by somebody else, and the checks will say so.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Exchange {
    /// None when somebody was killed here who holds an end of this connection: what is on the wire is lost.
    pub fn at(&self, phase: Phase) -> Option<()> {
        let mut state = self.gate.0.lock();
        let moment = Moment { link: self.link, label: self.label.clone(), nth: self.nth, phase };
        let hit = state.blow.as_ref().filter(|(wanted, _)| *wanted == moment && !state.struck).map(|(_, target)| *target);
        state.passed.push(moment);
        let Some(target) = hit else { return Some(()) };
        state.kill(target);
        let severed = target != Target::PocketBase || self.link == Link::PocketBase;
        (!severed).then_some(())
    }
}
