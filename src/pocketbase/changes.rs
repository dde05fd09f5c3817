//! The watch over PocketBase: is it ready for us, and whose record changed?

use std::sync::Arc;
use std::time::Duration;

use form_urlencoded::byte_serialize;
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, timeout};

use super::Error;
use super::admin::{Admin, Repeat, parse};
use super::callers::Callers;
use super::events::{Changed, Events};
use super::http::{Call, Http};
use super::readiness::{Found, HOOKS_VERSION, Readiness};
use super::refusal::Refusal;
use super::rows::Table;
use crate::id::UserId;
use crate::sse::Event;

/// What others want to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The record of this user was written, or deleted.
    User(UserId),
    /// PocketBase was away, or deaf: anything may have changed.
    Anything,
    /// PocketBase is ready for us, again or for the first time.
    Ready,
}

/// The row that is written to see whether its event comes: a subscription can fall silent while it is open (`facts/store.md` 0.9).
const CANARY: &str = "generatiocanary";
const CANARY_EVERY: Duration = Duration::from_secs(25);
/// Longer than a batch may hold the writer that the canary waits for.
const CANARY_WITHIN: Duration = Duration::from_secs(12);
/// Between two looks while something is missing: somebody may be mending it.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// PocketBase greets at once.
const GREETING_WITHIN: Duration = Duration::from_secs(15);
/// Between two looks at a PocketBase that is not ready; longer and longer ones, as long as nobody needs it.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Looks after everything that depends on PocketBase's state, for as long as the sidecar runs.
pub(super) struct Watch {
    pub(super) admin: Arc<Admin>,
    pub(super) callers: Arc<Callers>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) changes: broadcast::Sender<Change>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Greeting {
    client_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Subscribe<'a> {
    client_id: &'a str,
    subscriptions: [&'a str; 2],
}

impl Watch {
    /// Never ends by itself.
    pub(super) async fn run(self) {
        let mut pause = PAUSE;
        loop {
            let since = Instant::now();
            match look(&self.admin).await {
                Ok(found) => {
                    self.readiness.keep(found);
                    match self.subscribe().await {
                        Ok(()) => tracing::debug!("PocketBase ended the subscription to changes"),
                        Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "the subscription to changes was lost"),
                    }
                }
                // PocketBase being away is said by the pool, and a call made now would say it too.
                Err(Error::Exchange(error)) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "PocketBase was not looked at");
                    pause = PAUSE;
                }
                Err(error) => self.readiness.lose(&error),
            }
            self.callers.forget_all();
            self.tell(Change::Anything);
            pause = if since.elapsed() > LONGEST_PAUSE { PAUSE } else { pause };
            sleep(PAUSE).await;
            tokio::select! {
                () = sleep(pause - PAUSE) => {}
                () = self.readiness.doubted.notified() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Until the subscription ends.
    async fn subscribe(&self) -> Result<(), Error> {
        let topics = [topic(self.admin.name(Table::Users)), topic(self.admin.name(Table::Meta))];
        let (mut events, greeting) = timeout(GREETING_WITHIN, greeted(self.admin.http())).await.map_err(|_| silent())??;
        let wish = Subscribe { client_id: &greeting.client_id, subscriptions: [&topics[0], &topics[1]] };
        self.admin.call(Method::POST, "/api/realtime", Some(super::admin::json(&wish)), Repeat::Never).await?;
        // What changed before this moment may not have been heard.
        self.callers.forget_all();
        tracing::debug!("listening to PocketBase's changes");
        self.tell(Change::Ready);
        self.listen(&mut events, &topics).await
    }

    /// Again and again: is the canary heard?
    async fn listen(&self, events: &mut Events, topics: &[String; 2]) -> Result<(), Error> {
        loop {
            let heard = timeout(CANARY_WITHIN, self.hear_the_canary(events, topics)).await.map_err(|_| silent())??;
            if !heard {
                return Ok(());
            }
            let pause = if self.readiness.lacks_something() { LOOK_AGAIN } else { CANARY_EVERY };
            if let Ok(ended) = timeout(pause, self.hear(events, topics)).await {
                return ended;
            }
            if self.readiness.lacks_something() {
                self.readiness.keep(look(&self.admin).await?);
            }
        }
    }

    /// Until the stream ends.
    async fn hear(&self, events: &mut Events, topics: &[String; 2]) -> Result<(), Error> {
        while let Some(event) = events.next().await? {
            if event.name != topics[1] {
                self.changed(&event);
            }
        }
        Ok(())
    }

    /// Sings and listens at once, so that a slow answer to the song does not keep other events waiting. False when the stream has ended.
    async fn hear_the_canary(&self, events: &mut Events, topics: &[String; 2]) -> Result<bool, Error> {
        let mut song = std::pin::pin!(self.sing());
        let (mut sung, mut heard) = (false, false);
        while !(sung && heard) {
            tokio::select! {
                done = &mut song, if !sung => {
                    done?;
                    sung = true;
                }
                event = events.next() => match event? {
                    None => return Ok(false),
                    Some(event) if event.name == topics[1] => heard = true,
                    Some(event) => self.changed(&event),
                }
            }
        }
        Ok(true)
    }

    async fn sing(&self) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Song {
            id: &'static str,
            key: &'static str,
        }
        let table = self.admin.name(Table::Meta);
        let target = format!("/api/collections/{table}/records/{CANARY}?fields=id");
        let body = || Some(super::admin::json(&Song { id: CANARY, key: "canary" }));
        match self.admin.call(Method::PATCH, &target, body(), Repeat::Harmless).await {
            Err(Error::Refused(refusal)) if refusal.status == StatusCode::NOT_FOUND => {
                self.admin.call(Method::POST, &format!("/api/collections/{table}/records?fields=id"), body(), Repeat::Never).await.map(drop)
            }
            outcome => outcome.map(drop),
        }
    }

    fn changed(&self, event: &Event) {
        match parse::<Changed>(event.data.as_bytes()).ok().and_then(|changed| changed.record.id.parse::<UserId>().ok()) {
            Some(user) => {
                self.callers.forget(user);
                self.tell(Change::User(user));
            }
            None => {
                tracing::warn!(topic = event.name, "an event of PocketBase's could not be read");
                self.callers.forget_all();
            }
        }
    }

    fn tell(&self, change: Change) {
        // Nobody may be listening yet.
        let _ = self.changes.send(change);
    }
}

/// Connects, and is told who we are there.
async fn greeted(http: &Http) -> Result<(Events, Greeting), Error> {
    let mut events = Events::open(http).await?;
    let greeting = events.next().await?.ok_or_else(silent)?;
    Ok((events, parse(greeting.data.as_bytes())?))
}

/// Asks our hooks what they think of this PocketBase.
pub(super) async fn look(admin: &Admin) -> Result<Found, Error> {
    let token = admin.token().await?;
    let said = admin.http().call(Call::new(Method::GET, "/api/generatio/version").token(&token)).await?;
    let found: Found = match said.status {
        StatusCode::OK => match parse(&said.body) {
            Ok(found) => found,
            // A single-page app in pb_public answers every unknown path with its index.
            Err(_) => return Err(no_hooks()),
        },
        StatusCode::NOT_FOUND => return Err(no_hooks()),
        StatusCode::UNAUTHORIZED => {
            admin.call(Method::GET, "/api/generatio/version", None, Repeat::Harmless).await.and_then(|body| parse(&body))?
        }
        _ => return Err(Refusal::parse(&said).into()),
    };
    if found.version != HOOKS_VERSION {
        let words = format!(
            "its pb_hooks are of version {}, this sidecar needs version {HOOKS_VERSION}: copy pb_hooks and pb_migrations of this release to PocketBase and restart it",
            found.version
        );
        return Err(Error::NotReady(words.into()));
    }
    let users = admin.name(Table::Users);
    if found.users_collection != users {
        let words = format!(
            "its pb_hooks guard the users in `{}` and this sidecar serves those in `{users}`: set GENERATIO_USERS_COLLECTION to the same name for both",
            found.users_collection
        );
        return Err(Error::NotReady(words.into()));
    }
    Ok(found)
}

fn no_hooks() -> Error {
    Error::NotReady(
        "it has not loaded our pb_hooks: copy the pb_hooks folder of this release to where --hooksDir points and restart it".into(),
    )
}

fn silent() -> Error {
    Error::Exchange(super::pool::Error::TimedOut)
}

/// All rows of a collection, each event with the id alone: as a superuser we would be sent hidden fields.
fn topic(collection: &str) -> String {
    let options: String = byte_serialize(br#"{"query":{"fields":"id"}}"#).collect();
    format!("{collection}/*?options={options}")
}
