//! Who is calling: PocketBase is asked about each token, and its answer kept for a short while.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::Error;
use super::claims::Claims;
use super::http::{Call, Http};
use super::pool;
use super::readiness::Readiness;
use super::refusal::Refusal;
use crate::id::{CollectionId, UserId};
use crate::metrics;

/// An answer is good for this long at most: not everything that ends a token is told to us (`facts/store.md` I).
const FRESH: Duration = Duration::from_secs(30);
/// How long anybody waits to be known, those included who wait for the answer to somebody else with the same token.
const WITHIN: Duration = Duration::from_secs(10);
/// Tokens remembered; one more takes the place of the oldest.
const MAX: usize = 20_000;

const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Somebody whose token PocketBase took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// The users collection.
    pub collection: CollectionId,
}

/// Why a caller is nobody.
#[derive(Debug, thiserror::Error)]
pub enum Stranger {
    /// The token is missing, malformed, ended, or nobody's any more.
    #[error("PocketBase does not take the token")]
    NoToken,
    /// Another collection's: a superuser's, or of users that are not ours.
    #[error("the token is of another collection")]
    OtherCollection,
    /// PocketBase asks this address to slow down.
    #[error("PocketBase's rate limit is used up")]
    TooMany,
    /// PocketBase could not be asked.
    #[error(transparent)]
    Store(#[from] Error),
}

type Key = [u8; 32];

/// Asks PocketBase whose a token is, and remembers.
pub struct Callers {
    http: Arc<Http>,
    readiness: Arc<Readiness>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_token: HashMap<Key, Kept>,
    /// Checks under way; whoever comes with the same token waits for that one.
    asked: HashMap<Key, Asked>,
}

struct Kept {
    user: User,
    /// When PocketBase was asked.
    at: Instant,
    expires: i64,
}

struct Asked {
    claimed: UserId,
    turn: Arc<tokio::sync::Mutex<()>>,
    waiting: usize,
    /// The user's record changed since PocketBase was asked: the answer may be too old to keep.
    overtaken: bool,
}

#[derive(Deserialize)]
struct Refreshed {
    record: Record,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    id: UserId,
    collection_id: String,
}

impl Callers {
    /// Nobody is known yet.
    pub fn new(http: Arc<Http>, readiness: Arc<Readiness>) -> Self {
        Self { http, readiness, known: Mutex::default() }
    }

    /// Whose token this is, from memory if PocketBase said so in the last 30 s. `address` is the caller's, for PocketBase's own limits.
    pub async fn check(&self, token: &str, address: IpAddr) -> Result<User, Stranger> {
        let (claims, key) = (counted(self.plausible(token).await)?, digest(token));
        if let Some(user) = self.known.lock().find(&key) {
            metrics::TOKEN_CHECKS.one(["remembered"]);
            return Ok(user);
        }
        let asked = timeout(WITHIN, self.in_turn(token, &claims, key, address)).await;
        let user = counted(asked.unwrap_or_else(|_| Err(Error::from(pool::Error::TimedOut).into())))?;
        metrics::TOKEN_CHECKS.one(["asked"]);
        Ok(user)
    }

    /// Tokens that are remembered.
    pub fn remembered(&self) -> usize {
        self.known.lock().by_token.len()
    }

    async fn in_turn(&self, token: &str, claims: &Claims, key: Key, address: IpAddr) -> Result<User, Stranger> {
        let turn = Turn::take(self, key, claims.id);
        let _guard = turn.turn.lock().await;
        if let Some(user) = self.known.lock().find(&key) {
            return Ok(user);
        }
        self.known.lock().begin(&key);
        let at = Instant::now();
        let user = self.ask(token, claims, address).await?;
        self.known.lock().keep(key, Kept { user: user.clone(), at, expires: claims.expires });
        Ok(user)
    }

    /// Whose token this is, as PocketBase says at this moment: for what must not be done with a token that was just revoked.
    pub async fn check_now(&self, token: &str, address: IpAddr) -> Result<User, Stranger> {
        let claims = counted(self.plausible(token).await)?;
        let user = counted(self.ask(token, &claims, address).await)?;
        metrics::TOKEN_CHECKS.one(["asked"]);
        Ok(user)
    }

    /// Whether a token that we hold for somebody is still good; one that cannot be renewed is good with 403 on old versions.
    pub(crate) async fn is_alive(&self, collection: &CollectionId, token: &HeaderValue) -> Result<bool, Error> {
        let said = self.http.call(refresh(collection, token)).await?;
        match said.status {
            StatusCode::OK | StatusCode::FORBIDDEN => Ok(true),
            StatusCode::UNAUTHORIZED => Ok(false),
            _ => Err(Refusal::parse(&said).into()),
        }
    }

    /// The user's record changed: what is known of their tokens may be wrong.
    pub(super) fn forget(&self, user: UserId) {
        let mut known = self.known.lock();
        known.by_token.retain(|_, kept| kept.user.id != user);
        known.asked.values_mut().filter(|asked| asked.claimed == user).for_each(|asked| asked.overtaken = true);
    }

    /// Changes may have been missed: nothing is known.
    pub(super) fn forget_all(&self) {
        let mut known = self.known.lock();
        known.by_token.clear();
        known.asked.values_mut().for_each(|asked| asked.overtaken = true);
    }

    /// What cannot be a token of our users does not reach PocketBase.
    async fn plausible(&self, token: &str) -> Result<Claims, Stranger> {
        let claims = Claims::peek(token).ok_or(Stranger::NoToken)?;
        if claims.expires <= Timestamp::now().as_second() {
            return Err(Stranger::NoToken);
        }
        self.readiness.first_look().await;
        if claims.collection != self.readiness.users_collection()? {
            return Err(Stranger::OtherCollection);
        }
        Ok(claims)
    }

    async fn ask(&self, token: &str, claims: &Claims, address: IpAddr) -> Result<User, Stranger> {
        let mut header = HeaderValue::from_str(token).map_err(|_| Stranger::NoToken)?;
        header.set_sensitive(true);
        let call = || with_address(refresh(&claims.collection, &header), address).within(WITHIN);
        let said = match self.http.call(call()).await {
            // A kept connection that PocketBase closed at this moment; asking twice changes nothing.
            Err(pool::Error::Cut(_)) => self.http.call(call()).await,
            outcome => outcome,
        };
        let said = said.map_err(Error::from)?;
        match said.status {
            StatusCode::OK => {
                let Refreshed { record } = serde_json::from_slice(&said.body).map_err(Error::Unexpected)?;
                let ours = record.collection_id == claims.collection.as_str();
                ours.then(|| User { id: record.id, collection: claims.collection.clone() }).ok_or(Stranger::OtherCollection)
            }
            // 403: the collection's own condition for signing in is not met any more.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Err(Stranger::NoToken),
            StatusCode::TOO_MANY_REQUESTS => Err(Stranger::TooMany),
            _ => Err(Error::from(Refusal::parse(&said)).into()),
        }
    }
}

/// Counts what was not answered with a user.
fn counted<T>(outcome: Result<T, Stranger>) -> Result<T, Stranger> {
    outcome.inspect_err(|stranger| {
        let failed = matches!(stranger, Stranger::Store(_) | Stranger::TooMany);
        metrics::TOKEN_CHECKS.one([if failed { "failed" } else { "refused" }]);
    })
}

fn refresh(collection: &CollectionId, token: &HeaderValue) -> Call {
    let target = format!("/api/collections/{}/auth-refresh?fields=record.id,record.collectionId", collection.as_str());
    Call::new(Method::POST, target).token(token)
}

/// On behalf of a caller from this address, as the proxy would say it.
pub(super) fn with_address(call: Call, address: IpAddr) -> Call {
    let from = HeaderValue::from_str(&address.to_string()).expect("an address has only digits, letters, dots and colons");
    call.header(X_REAL_IP, from.clone()).header(X_FORWARDED_FOR, from)
}

fn digest(token: &str) -> Key {
    Sha256::digest(token).into()
}

/// A place among those who ask about one token.
struct Turn<'a> {
    callers: &'a Callers,
    key: Key,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl<'a> Turn<'a> {
    fn take(callers: &'a Callers, key: Key, claimed: UserId) -> Self {
        let mut known = callers.known.lock();
        let asked = known.asked.entry(key).or_insert_with(|| Asked { claimed, turn: Arc::default(), waiting: 0, overtaken: false });
        asked.waiting += 1;
        Self { callers, key, turn: Arc::clone(&asked.turn) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut known = self.callers.known.lock();
        if let Some(asked) = known.asked.get_mut(&self.key) {
            asked.waiting -= 1;
            if asked.waiting == 0 {
                known.asked.remove(&self.key);
            }
        }
    }
}

impl Known {
    fn find(&self, key: &Key) -> Option<User> {
        let kept = self.by_token.get(key)?;
        let good = kept.at.elapsed() < FRESH && kept.expires > Timestamp::now().as_second();
        good.then(|| kept.user.clone())
    }

    fn begin(&mut self, key: &Key) {
        if let Some(asked) = self.asked.get_mut(key) {
            asked.overtaken = false;
        }
    }

    fn keep(&mut self, key: Key, kept: Kept) {
        if self.asked.get(&key).is_some_and(|asked| asked.overtaken) {
            return;
        }
        if self.by_token.len() >= MAX {
            self.make_room();
        }
        self.by_token.insert(key, kept);
    }

    /// Only good tokens are kept, so a flood of wrong ones takes nobody's place.
    fn make_room(&mut self) {
        self.by_token.retain(|_, kept| kept.at.elapsed() < FRESH);
        if self.by_token.len() >= MAX
            && let Some(oldest) = self.by_token.iter().min_by_key(|(_, kept)| kept.at).map(|(key, _)| *key)
        {
            self.by_token.remove(&oldest);
        }
    }
}
