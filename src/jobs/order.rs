//! From a request to a job's row: everything is checked before anything is paid.

use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Jobs;
use super::row::{JobRow, Status};
use super::run::{Origin, stamp};
use super::slots::Place;
use super::unsent::Fate;
use crate::fal::FieldFault;
use crate::id::{FolderId, JobId, UserId};
use crate::metrics;
use crate::pocketbase;
use crate::pocketbase::admin::Repeat;
use crate::pocketbase::rows::FolderRow;
use crate::rates::Exceeded;
use crate::sessions::Session;
use crate::vault::Opened;

/// What is to be seen: 1 to 1000 characters.
#[derive(Clone, Debug)]
pub struct Prompt(String);

/// The text is no prompt.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must have 1 to 1000 characters")]
pub struct NotAPrompt;

impl FromStr for Prompt {
    type Err = NotAPrompt;

    fn from_str(text: &str) -> Result<Self, NotAPrompt> {
        (1..=1000).contains(&text.chars().count()).then(|| Self(text.to_owned())).ok_or(NotAPrompt)
    }
}

/// By which a repeated request is recognised: 1 to 128 visible ASCII characters.
#[derive(Clone, Debug)]
pub struct IdempotencyKey(String);

/// The text is no idempotency key.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must have 1 to 128 visible ASCII characters")]
pub struct NotAnIdempotencyKey;

impl FromStr for IdempotencyKey {
    type Err = NotAnIdempotencyKey;

    fn from_str(text: &str) -> Result<Self, NotAnIdempotencyKey> {
        let sane = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        sane.then(|| Self(text.to_owned())).ok_or(NotAnIdempotencyKey)
    }
}

/// What a user asks for.
#[derive(Clone, Debug)]
pub struct Order {
    /// The model's name as the user wrote it.
    pub model: String,
    /// What is to be seen.
    pub prompt: Prompt,
    /// As they were sent.
    pub parameters: Map<String, Value>,
    /// Where the pictures go.
    pub folder: Option<FolderId>,
    /// Where a repeat must not begin another job.
    pub idempotency: Option<IdempotencyKey>,
}

/// Why no job was begun.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No model has this name.
    #[error("no such model")]
    Model,
    /// Parameters that the model does not take so.
    #[error("{} parameters are wrong", .0.len())]
    Parameters(Vec<FieldFault>),
    /// No such folder of the user's.
    #[error("no such folder")]
    Folder,
    /// The idempotency key belongs to another request.
    #[error("the idempotency key was used with another body")]
    Reused,
    /// Too many in too short a time.
    #[error(transparent)]
    Pace(#[from] Exceeded),
    /// Too many at once.
    #[error("too many jobs at once")]
    Crowded,
    /// The store failed; nothing was submitted.
    #[error(transparent)]
    Store(#[from] pocketbase::Error),
}

impl Order {
    /// The same for the same request, whatever the order of its members was.
    fn hash(&self) -> String {
        // `Map` keeps its keys sorted.
        let whole = json!([self.model, self.prompt.0, self.parameters, self.folder]);
        hex(&Sha256::digest(whole.to_string()).into())
    }

    /// What becomes of its row if its creation fails: a repeat without an idempotency key is another job, and this one must not be begun too.
    fn fate(&self) -> Fate {
        if self.idempotency.is_none() { Fate::Withdrawn } else { Fate::Expected }
    }

    /// With a key the id follows from it: two requests at once cannot both create the row.
    fn id(&self, user: UserId) -> JobId {
        let mut hasher = Sha256::new().chain_update(b"generatio/job\0").chain_update(user.as_str());
        match &self.idempotency {
            Some(key) => hasher.update(key.0.as_bytes()),
            None => hasher.update(Uuid::new_v4().as_bytes()),
        }
        JobId::derived(&hasher.finalize().into())
    }
}

impl Jobs {
    /// Begins the job that is asked for, or finds the one that was begun by the same request before.
    ///
    /// # Errors
    /// When it is refused: then nothing was submitted, and nothing will be.
    pub async fn begin(self: &Arc<Self>, session: Session, order: Order) -> Result<JobRow, Refusal> {
        let user = session.user;
        let id = order.id(user);
        let _turn = self.turns.take(id).await;
        if order.idempotency.is_some()
            && let Some(row) = self.view(user, id).await?
        {
            let row = same(row, &order)?;
            self.go_on(row.clone(), session.key, &CancellationToken::new());
            return Ok(row);
        }
        let (mut row, place) = self.prepare(user, id, &order, &session).await?;
        let slot = if self.stopping.is_cancelled() { None } else { place.slot_now() };
        if slot.is_some() {
            // One write for what would be two: nothing is sent before it is answered.
            row["status"] = json!(Status::Submitting);
            row["submitted_at"] = stamp(Timestamp::now()).into();
        }
        match self.admin.create::<JobRow>(&row, Repeat::Harmless).await {
            Ok(row) => {
                metrics::JOBS_BEGUN.one([self.model_word(&row.model)]);
                tracing::info!(target: "audit", event = "job_begun", job = %id, %user, model = row.model, status = row.status.word(), "a job was begun");
                self.start(row.clone(), session.key, place, Origin::Begun(slot), CancellationToken::new());
                Ok(row)
            }
            Err(error) if error.refusal().is_some_and(pocketbase::refusal::Refusal::is_not_unique) => {
                drop((slot, place));
                self.taken(user, id, &order, session.key, error).await
            }
            Err(error) => {
                // Whatever stands between us and PocketBase may have refused what PocketBase had done.
                if error.was_sent() {
                    self.unsent.add(id, order.fate());
                }
                Err(error.into())
            }
        }
    }

    /// A row with this id was there: our own, from an attempt whose answer was lost. Nobody else can have begun it, so nothing was sent.
    async fn taken(
        self: &Arc<Self>,
        user: UserId,
        id: JobId,
        order: &Order,
        key: Arc<Opened>,
        error: pocketbase::Error,
    ) -> Result<JobRow, Refusal> {
        self.unsent.add(id, order.fate());
        let Some(row) = self.view(user, id).await? else { return Err(error.into()) };
        let row = same(row, order)?;
        self.go_on(row.clone(), key, &CancellationToken::new());
        Ok(row)
    }

    async fn prepare(self: &Arc<Self>, user: UserId, id: JobId, order: &Order, session: &Session) -> Result<(Value, Place), Refusal> {
        let model = self.catalogue.find(&order.model).ok_or(Refusal::Model)?;
        let mut accepted = model.validate(&order.parameters).map_err(Refusal::Parameters)?;
        if let Some(folder) = order.folder {
            self.check_folder(user, folder).await?;
        }
        self.pace.check(&user)?;
        let place = self.slots.take(user).ok_or(Refusal::Crowded)?;
        if model.has("seed") && !accepted.send.contains_key("seed") {
            // By which FAL's history tells this request from others.
            accepted.send.insert("seed".into(), own_seed().into());
        }
        let row = json!({
            "id": id,
            "user_id": user,
            "status": "created",
            "model": order.model,
            "prompt": order.prompt.0,
            "parameters": accepted.send,
            "ignored_parameters": accepted.ignored,
            "collection_id": order.folder.map(|folder| folder.to_string()).unwrap_or_default(),
            "key_fingerprint": session.key.fingerprint(),
            "idempotency_key": order.idempotency.as_ref().map(|key| key.0.as_str()).unwrap_or_default(),
            "body_hash": order.hash(),
            "endpoint": model.endpoint.as_str(),
            "seq": 1,
        });
        Ok((row, place))
    }

    pub(super) async fn check_folder(&self, user: UserId, folder: FolderId) -> Result<(), Refusal> {
        let row = self.admin.get::<FolderRow>(folder).await?;
        let theirs = row.is_some_and(|row| row.user_id == user && row.deleted_at.is_empty());
        if theirs { Ok(()) } else { Err(Refusal::Folder) }
    }
}

fn same(row: JobRow, order: &Order) -> Result<JobRow, Refusal> {
    if row.body_hash == order.hash() { Ok(row) } else { Err(Refusal::Reused) }
}

/// 31 bits: every model takes that much.
fn own_seed() -> u32 {
    (Uuid::new_v4().as_u128() as u32) >> 1
}

pub(super) fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
