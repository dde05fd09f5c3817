//! The superuser's client: every read and write of ours in PocketBase goes through it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::Error;
use super::filter::Query;
use super::http::{Call, Http, Said};
use super::readiness::Readiness;
use super::refusal::Refusal;
use super::rows::{Row, Table};
use super::superuser::SignIn;
use crate::config::{CollectionName, Credentials};
use crate::id::UserId;

/// Pauses between attempts at a call that may be repeated; PocketBase restarts itself in one to three seconds.
const PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(500), Duration::from_millis(1500)];

/// PocketBase, as a superuser. Its calls carry no client's address.
pub struct Admin {
    http: Arc<Http>,
    users: CollectionName,
    sign_in: SignIn,
    readiness: Arc<Readiness>,
}

/// Whether a call whose answer was lost may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// A second time would change what the first one did not.
    Never,
    /// A second time changes nothing: it reads, it sets what it set before, or a unique key of ours stands against it.
    Harmless,
}

/// A page of rows.
#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
}

impl Admin {
    /// A client that signs in when it is first used.
    pub fn new(http: Arc<Http>, users: CollectionName, credentials: Option<Credentials>, readiness: Arc<Readiness>) -> Self {
        Self { http, users, sign_in: SignIn::new(credentials), readiness }
    }

    /// The name of a table in this deployment.
    pub fn name(&self, table: Table) -> &str {
        table.fixed_name().unwrap_or_else(|| self.users.as_str())
    }

    /// # Errors
    /// Names what PocketBase lacks, if work in this table needs it.
    pub fn require(&self, table: Table) -> Result<(), Error> {
        self.readiness.require(table, self.name(table))
    }

    /// # Errors
    /// Names what PocketBase lacks for several writes in one transaction.
    pub(super) fn require_batch(&self) -> Result<(), Error> {
        self.readiness.require_batch()
    }

    /// Where the rows of a table are, if they can be worked with.
    pub(super) fn path(&self, table: Table) -> Result<String, Error> {
        self.require(table)?;
        Ok(format!("/api/collections/{}/records", self.name(table)))
    }

    /// One row, or none.
    pub async fn get<R: Row>(&self, id: impl AsRef<str>) -> Result<Option<R>, Error> {
        let target = format!("{}/{}?fields={}", self.path(R::TABLE)?, id.as_ref(), R::FIELDS);
        match self.call(Method::GET, &target, None, Repeat::Harmless).await {
            Ok(body) => parse(&body).map(Some),
            Err(Error::Refused(refusal)) if refusal.status == StatusCode::NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The rows that a query finds, without counting all of them.
    pub async fn list<R: Row>(&self, query: &Query) -> Result<Vec<R>, Error> {
        let target = format!("{}?fields={}&{query}", self.path(R::TABLE)?, R::FIELDS);
        let body = self.call(Method::GET, &target, None, Repeat::Harmless).await?;
        parse::<Page<R>>(&body).map(|page| page.items)
    }

    /// Creates a row. With an id of ours in it a repeat is recognised, so it may be [`Repeat::Harmless`].
    pub async fn create<R: Row>(&self, row: &impl Serialize, repeat: Repeat) -> Result<R, Error> {
        let target = format!("{}?fields={}", self.path(R::TABLE)?, R::FIELDS);
        parse(&self.call(Method::POST, &target, Some(json(row)), repeat).await?)
    }

    /// Creates a row with this id of ours; one that was created by an attempt whose answer was lost is as good.
    pub async fn create_once<R: Row>(&self, id: impl AsRef<str>, row: &impl Serialize) -> Result<R, Error> {
        match self.create(row, Repeat::Harmless).await {
            Err(Error::Refused(refusal)) if refusal.is_not_unique() => self.get(id).await?.ok_or(Error::Refused(refusal)),
            created => created,
        }
    }

    /// Sets fields of a row.
    pub async fn update(&self, table: Table, id: impl AsRef<str>, fields: &impl Serialize) -> Result<(), Error> {
        let target = format!("{}/{}?fields=id", self.path(table)?, id.as_ref());
        self.call(Method::PATCH, &target, Some(json(fields)), Repeat::Harmless).await.map(drop)
    }

    /// A token of a user's, made for us: it cannot be renewed, and PocketBase takes it until the user's password changes.
    pub async fn impersonate(&self, user: UserId, duration: Duration) -> Result<HeaderValue, Error> {
        #[derive(Serialize)]
        struct Wish {
            duration: u64,
        }
        #[derive(Deserialize)]
        struct Issued {
            token: String,
        }
        let target = format!("/api/collections/{}/impersonate/{user}?fields=token", self.name(Table::Users));
        let issued: Issued =
            parse(&self.call(Method::POST, &target, Some(json(&Wish { duration: duration.as_secs() })), Repeat::Harmless).await?)?;
        let mut token = HeaderValue::from_str(&issued.token).map_err(|_| Error::NotReady("it issues tokens that are none".into()))?;
        token.set_sensitive(true);
        Ok(token)
    }

    /// Asks a superuser-only route of our hooks.
    pub async fn hook<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        needs: &[Table],
        body: Option<&(impl Serialize + Sync)>,
        repeat: Repeat,
    ) -> Result<T, Error> {
        needs.iter().try_for_each(|table| self.require(*table))?;
        parse(&self.call(method, &format!("/api/generatio/{path}"), body.map(json), repeat).await?)
    }

    /// Makes a call as the superuser and gives back the body of its success.
    ///
    /// A refused token is replaced once, in one sign-in for all who wait. A lost answer is asked for again only where that is harmless.
    pub(super) async fn call(&self, method: Method, target: &str, body: Option<Bytes>, repeat: Repeat) -> Result<Bytes, Error> {
        let mut pauses = PAUSES.into_iter();
        loop {
            match self.once(&method, target, body.clone()).await {
                Err(error) if repeat == Repeat::Harmless && may_pass(&error) => match pauses.next() {
                    Some(pause) => sleep(pause).await,
                    None => return Err(error),
                },
                outcome => return outcome,
            }
        }
    }

    async fn once(&self, method: &Method, target: &str, body: Option<Bytes>) -> Result<Bytes, Error> {
        let token = self.token().await?;
        let mut said = self.send(method, target, body.clone(), &token).await?;
        if self.was_nobody(&said, &token).await? {
            let token = self.sign_in.another(&self.http, &token).await?;
            said = self.send(method, target, body, &token).await?;
        }
        if said.status.is_success() { Ok(said.body) } else { Err(Refusal::parse(&said).into()) }
    }

    /// Whether PocketBase does not know our token any more, and took us for nobody when it said this.
    ///
    /// It answers 401 only where nobody is let in at all. Elsewhere nobody is a caller too, who finds nothing and may do nothing: a row that
    /// is there is 404, a batch is 403. So PocketBase is asked before any such answer is believed. (A list would be empty, but for what
    /// [`Query`] adds to its filter.)
    pub(super) async fn was_nobody(&self, said: &Said, token: &HeaderValue) -> Result<bool, Error> {
        if !is_doubtful(said) {
            return Ok(false);
        }
        let probe = match said.status {
            StatusCode::UNAUTHORIZED => return Ok(true),
            _ => Call::new(Method::GET, "/api/settings?fields=batch.enabled").token(token),
        };
        Ok(self.http.call(probe).await?.status == StatusCode::UNAUTHORIZED)
    }

    async fn send(&self, method: &Method, target: &str, body: Option<Bytes>, token: &HeaderValue) -> Result<Said, Error> {
        let mut call = Call::new(method.clone(), target).token(token);
        if let Some(body) = body {
            call = call.body(HeaderValue::from_static("application/json"), super::body::RequestBody::whole(body));
        }
        Ok(self.http.call(call).await?)
    }

    /// A superuser's token that PocketBase takes, as far as is known.
    pub(super) async fn token(&self) -> Result<HeaderValue, Error> {
        self.sign_in.token(&self.http).await
    }

    /// A token other than this one, which PocketBase refused.
    pub(super) async fn another_token(&self, refused: &HeaderValue) -> Result<HeaderValue, Error> {
        self.sign_in.another(&self.http, refused).await
    }

    /// The connections that calls go over.
    pub(super) fn http(&self) -> &Http {
        &self.http
    }
}

/// Whether nobody would have been answered like this. A key that is taken is seen only by who may write.
fn is_doubtful(said: &Said) -> bool {
    match said.status {
        StatusCode::BAD_REQUEST => !Refusal::parse(said).is_not_unique(),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => true,
        _ => false,
    }
}

/// Whether the next attempt may fare better: the connection failed, or PocketBase was stopping.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Refused(refusal) => matches!(refusal.status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE),
        // The pool has been patient already, and whoever waits has waited long enough.
        Error::Exchange(super::pool::Error::Unreachable(_) | super::pool::Error::TimedOut) => false,
        Error::Exchange(_) => error.is_unknown(),
        Error::NoSuperuser | Error::Credentials(_) | Error::NotReady(_) | Error::Unexpected(_) => false,
    }
}

pub(super) fn json(value: &impl Serialize) -> Bytes {
    // Only a map with keys that are not strings, or a Serialize that fails on its own, cannot be written. Ours are plain structs.
    serde_json::to_vec(value).expect("plain structs can always be written as JSON").into()
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(Error::Unexpected)
}
