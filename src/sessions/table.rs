//! Open sessions: whose they are, which key they use, and when they end.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::session_id::{Hash, SessionId};
use crate::id::UserId;
use crate::metrics;
use crate::vault::Opened;

/// How long sessions last and how many there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From opening to end.
    pub lifetime: Duration,
    /// Of one user; the oldest makes room for one more.
    pub per_user: usize,
    /// Of all users; the one that was used the longest ago makes room for one more.
    pub total: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { lifetime: Duration::from_secs(24 * 60 * 60), per_user: 5, total: 10_000 }
    }
}

/// Why there is no such session for who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotYours {
    /// It never was, or it has ended.
    #[error("no such session")]
    Missing,
    /// It is another user's.
    #[error("another user's session")]
    Foreign,
}

/// What a session lends to a request or a job. The key stays in memory for as long as anybody holds it.
pub struct Session {
    /// Whose it is.
    pub user: UserId,
    /// The user's key.
    pub key: Arc<Opened>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its user ended it.
    LoggedOut,
    /// Its time was over.
    Expired,
    /// Another one needed its place.
    Displaced,
    /// Its user's key was taken away.
    KeyDeleted,
    /// Another key was stored, under another password.
    KeyReplaced,
    /// A change of its user's password passed through here.
    PasswordChanged,
    /// PocketBase does not take its user's tokens any more: their password or address changed, or they are gone.
    UserChanged,
}

impl Ending {
    fn word(self) -> &'static str {
        match self {
            Self::LoggedOut => "logged_out",
            Self::Expired => "expired",
            Self::Displaced => "displaced",
            Self::KeyDeleted => "key_deleted",
            Self::KeyReplaced => "key_replaced",
            Self::PasswordChanged => "password_changed",
            Self::UserChanged => "user_changed",
        }
    }
}

/// How many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// That can be used.
    pub active: usize,
    /// That are in memory: those, and the ended ones that were not swept yet.
    pub total: usize,
}

/// All sessions, in memory alone.
///
/// `W` is a session's witness: whatever tells later whether its user may still have sessions. It decides by the clock that never jumps;
/// the time of day is only for people to read.
pub struct Sessions<W> {
    limits: Limits,
    table: Mutex<Table<W>>,
}

struct Table<W> {
    sessions: HashMap<Hash, Entry<W>>,
    /// Each user's, the oldest first.
    by_user: HashMap<UserId, Vec<Hash>>,
    /// By their last use, the longest ago first.
    by_use: BTreeMap<u64, Hash>,
    uses: u64,
}

struct Entry<W> {
    user: UserId,
    key: Arc<Opened>,
    witness: Arc<W>,
    ends: Instant,
    last_use: u64,
}

impl<W> Sessions<W> {
    /// None yet. Limits of zero would admit nobody, and count as one.
    pub fn new(limits: Limits) -> Self {
        let limits = Limits { per_user: limits.per_user.max(1), total: limits.total.max(1), ..limits };
        let table = Table { sessions: HashMap::new(), by_user: HashMap::new(), by_use: BTreeMap::new(), uses: 0 };
        Self { limits, table: Mutex::new(table) }
    }

    /// Opens one, and says until when: the time of day now, and the lifetime. It is never refused: the user's oldest goes where they have
    /// as many as they may, else the one that was used the longest ago where the table is full.
    pub fn open(&self, user: UserId, key: Arc<Opened>, witness: Arc<W>, now: Instant, clock: Timestamp) -> (SessionId, Timestamp) {
        let id = SessionId::fresh();
        let mut table = self.table.lock();
        let gone = table.make_room(user, &self.limits, now);
        table.insert(id.hash(), user, key, witness, now + self.limits.lifetime);
        drop(table);
        // Zeroing is left for after the lock, here and below.
        gone.into_iter().for_each(|(entry, why)| entry.ended(why));
        metrics::SESSIONS_OPENED.happened();
        let expires = clock.checked_add(self.limits.lifetime).unwrap_or(Timestamp::MAX);
        (id, expires)
    }

    /// The session of this id, which counts as used.
    ///
    /// # Errors
    /// When there is none, or it is not this user's.
    pub fn find(&self, id: &SessionId, user: UserId, now: Instant) -> Result<Session, NotYours> {
        let mut table = self.table.lock();
        let hash = id.hash();
        let key = Arc::clone(&table.check(&hash, user, now)?.key);
        table.touch(&hash);
        Ok(Session { user, key })
    }

    /// Ends one.
    ///
    /// # Errors
    /// When there is none, or it is not this user's.
    pub fn end(&self, id: &SessionId, user: UserId, now: Instant) -> Result<(), NotYours> {
        let mut table = self.table.lock();
        let hash = id.hash();
        table.check(&hash, user, now)?;
        let gone = table.remove(&hash);
        drop(table);
        gone.into_iter().for_each(|entry| entry.ended(Ending::LoggedOut));
        Ok(())
    }

    /// Ends all of a user's, and says how many.
    pub fn end_user(&self, user: UserId, why: Ending) -> usize {
        self.end_where(Some(user), why, |_| true)
    }

    /// Ends those of a user's that have this witness, and says how many.
    pub fn end_witnessed(&self, user: UserId, witness: &Arc<W>) -> usize {
        self.end_where(Some(user), Ending::UserChanged, |entry| Arc::ptr_eq(&entry.witness, witness))
    }

    /// Ends what has expired, and says how many.
    pub fn sweep(&self, now: Instant) -> usize {
        self.end_where(None, Ending::Expired, |entry| entry.ends <= now)
    }

    /// Gives all of a user's sessions another key: the next request uses it.
    pub fn replace_key(&self, user: UserId, key: &Arc<Opened>) {
        let mut table = self.table.lock();
        let Table { sessions, by_user, .. } = &mut *table;
        let hashes = by_user.get(&user).map(Vec::as_slice).unwrap_or_default();
        let mut gone = Vec::new();
        for hash in hashes {
            gone.extend(sessions.get_mut(hash).map(|entry| std::mem::replace(&mut entry.key, Arc::clone(key))));
        }
        drop(table);
        drop(gone);
    }

    /// Whether a user has one that can be used.
    pub fn has_session(&self, user: UserId, now: Instant) -> bool {
        self.table.lock().of(user).any(|entry| entry.ends > now)
    }

    /// The key of a user's youngest session, for work of theirs that waits for one.
    pub fn key_of(&self, user: UserId, now: Instant) -> Option<Arc<Opened>> {
        self.table.lock().of(user).rfind(|entry| entry.ends > now).map(|entry| Arc::clone(&entry.key))
    }

    /// Users who have one in memory.
    pub fn users(&self) -> Vec<UserId> {
        self.table.lock().by_user.keys().copied().collect()
    }

    /// The witnesses of a user's sessions, the oldest first, each once.
    pub fn witnesses(&self, user: UserId) -> Vec<Arc<W>> {
        let mut witnesses: Vec<Arc<W>> = Vec::new();
        for entry in self.table.lock().of(user) {
            if !witnesses.iter().any(|known| Arc::ptr_eq(known, &entry.witness)) {
                witnesses.push(Arc::clone(&entry.witness));
            }
        }
        witnesses
    }

    /// How many there are.
    pub fn statistics(&self, now: Instant) -> Statistics {
        let table = self.table.lock();
        Statistics { active: table.sessions.values().filter(|entry| entry.ends > now).count(), total: table.sessions.len() }
    }

    fn end_where(&self, user: Option<UserId>, why: Ending, ends: impl Fn(&Entry<W>) -> bool) -> usize {
        let mut table = self.table.lock();
        let mut ending: Vec<Hash> = match user {
            Some(user) => table.by_user.get(&user).cloned().unwrap_or_default(),
            None => table.sessions.keys().copied().collect(),
        };
        ending.retain(|hash| table.sessions.get(hash).is_some_and(&ends));
        let gone: Vec<_> = ending.iter().filter_map(|hash| table.remove(hash)).collect();
        drop(table);
        gone.into_iter().map(|entry| entry.ended(why)).count()
    }
}

impl<W> Entry<W> {
    fn ended(self, why: Ending) {
        metrics::SESSIONS_ENDED.one([why.word()]);
        tracing::info!(target: "audit", event = "session_ended", user = %self.user, reason = why.word(), "a session ended");
    }
}

impl<W> Table<W> {
    fn of(&self, user: UserId) -> impl DoubleEndedIterator<Item = &Entry<W>> {
        self.by_user.get(&user).into_iter().flatten().filter_map(|hash| self.sessions.get(hash))
    }

    /// What has expired is not kept for the sweep once somebody asked for it.
    fn check(&mut self, hash: &Hash, user: UserId, now: Instant) -> Result<&Entry<W>, NotYours> {
        if self.sessions.get(hash).is_some_and(|entry| entry.ends <= now) {
            self.remove(hash).into_iter().for_each(|entry| entry.ended(Ending::Expired));
        }
        let entry = self.sessions.get(hash).ok_or(NotYours::Missing)?;
        if entry.user == user { Ok(entry) } else { Err(NotYours::Foreign) }
    }

    fn make_room(&mut self, user: UserId, limits: &Limits, now: Instant) -> Vec<(Entry<W>, Ending)> {
        let theirs = self.by_user.get(&user).cloned().unwrap_or_default();
        let expired = theirs.iter().filter(|hash| self.sessions.get(*hash).is_some_and(|entry| entry.ends <= now));
        let expired: Vec<Hash> = expired.copied().collect();
        let open: Vec<Hash> = theirs.into_iter().filter(|hash| !expired.contains(hash)).collect();
        let displaced = open.iter().take((open.len() + 1).saturating_sub(limits.per_user));
        let leaving = expired.iter().map(|hash| (hash, Ending::Expired)).chain(displaced.map(|hash| (hash, Ending::Displaced)));
        let mut gone: Vec<_> = leaving.filter_map(|(hash, why)| Some((self.remove(hash)?, why))).collect();
        while self.sessions.len() >= limits.total {
            let Some(hash) = self.by_use.first_key_value().map(|(_, hash)| *hash) else { break };
            gone.extend(self.remove(&hash).map(|entry| (entry, Ending::Displaced)));
        }
        gone
    }

    fn insert(&mut self, hash: Hash, user: UserId, key: Arc<Opened>, witness: Arc<W>, ends: Instant) {
        self.sessions.insert(hash, Entry { user, key, witness, ends, last_use: 0 });
        self.by_user.entry(user).or_default().push(hash);
        self.touch(&hash);
    }

    fn touch(&mut self, hash: &Hash) {
        let Some(entry) = self.sessions.get_mut(hash) else { return };
        self.uses += 1;
        self.by_use.remove(&entry.last_use);
        entry.last_use = self.uses;
        self.by_use.insert(self.uses, *hash);
    }

    fn remove(&mut self, hash: &Hash) -> Option<Entry<W>> {
        let entry = self.sessions.remove(hash)?;
        self.by_use.remove(&entry.last_use);
        if let Some(theirs) = self.by_user.get_mut(&entry.user) {
            theirs.retain(|other| other != hash);
            if theirs.is_empty() {
                self.by_user.remove(&entry.user);
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests;
