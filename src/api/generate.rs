//! Making pictures.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderValue, LOCATION};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::extract::{Wishes, given};
use super::jobs::{Job, Picture};
use crate::app::App;
use crate::error::{Error, Fault};
use crate::id::{JobId, UserId};
use crate::jobs::{Failure, JobRow, Order, Refusal, Status, Waited};
use crate::money::Dollars;
use crate::rates::{Exceeded, Limit};
use crate::reply::{self, Reply};
use crate::sessions::Session;

/// Body of `POST /api/custom/generate/image`.
#[derive(Deserialize, ToSchema)]
pub(super) struct Generate {
    model: Option<String>,
    prompt: Option<String>,
    #[schema(value_type = Option<Object>)]
    parameters: Option<Map<String, Value>>,
    collection_id: Option<String>,
    folder_id: Option<String>,
}

impl Generate {
    /// The name under which the caller sent the folder.
    fn folder_field(&self) -> &'static str {
        if self.collection_id.is_none() && self.folder_id.is_some() { "folder_id" } else { "collection_id" }
    }
}

/// Answer of `POST /api/custom/generate/image` to whoever waited.
#[derive(Serialize, ToSchema)]
pub(super) struct Generated<'a> {
    images: Vec<Picture>,
    cost: Dollars,
    model: &'a str,
    job_id: JobId,
    estimated: bool,
    ignored_parameters: &'a [String],
}

/// Begins a job and waits for it, unless the caller would rather not.
pub(super) async fn image(app: &App, session: Session, wishes: Wishes, body: Generate) -> Result<Reply, Error> {
    let user = session.user;
    let folder_field = body.folder_field();
    let order = order(body, &wishes)?;
    let row = app.jobs.begin(session, order).await.map_err(|refusal| refused(refusal, folder_field))?;
    if wishes.respond_async {
        let mut reply = reply::json(StatusCode::ACCEPTED, &Job::of(app, &row));
        let location = HeaderValue::from_str(&format!("/api/custom/jobs/{}", row.id)).map_err(|_| Error::NotFound)?;
        reply.headers_mut().insert(LOCATION, location);
        return Ok(reply);
    }
    wait(app, user, row.id).await
}

async fn wait(app: &App, user: UserId, id: JobId) -> Result<Reply, Error> {
    let within = app.config.jobs.generation_timeout.duration();
    match app.jobs.wait(user, id, within).await?.ok_or(Error::NotFound)? {
        Waited::Ended(row) => outcome(app, &row),
        Waited::TimedOut => Err(failed(id, 504, "external_error", "The pictures are not ready yet; the job goes on.")),
        Waited::Stopping => Err(failed(id, 503, "unavailable_error", "The sidecar is being restarted; the job is taken up again.")),
    }
}

fn outcome(app: &App, row: &JobRow) -> Result<Reply, Error> {
    match row.status {
        Status::Completed => {
            let images = row.images.iter().map(|link| Picture::of(app, link)).collect();
            let (cost, estimated) = (row.cost_micros.dollars(), row.estimated);
            let answer =
                Generated { images, cost, model: &row.model, job_id: row.id, estimated, ignored_parameters: &row.ignored_parameters };
            Ok(reply::json(StatusCode::OK, &answer))
        }
        Status::Cancelled => Err(failed(row.id, 409, "conflict_error", "The job was cancelled.")),
        Status::Unknown => {
            let words = "Whether FAL received the request is not known yet. It is not sent again; the job shows what is found out.";
            Err(failed(row.id, 502, "external_error", words))
        }
        Status::Failed | Status::AwaitingUnlock => {
            let failure = row.error.clone().unwrap_or_else(|| unexplained(row.status));
            Err(Error::Job { id: row.id, failure: Box::new(failure) })
        }
        Status::Created | Status::Submitting | Status::Queued | Status::Running | Status::Storing => {
            Err(failed(row.id, 503, "unavailable_error", "The job is not in progress at this moment; it is taken up again."))
        }
    }
}

fn unexplained(status: Status) -> Failure {
    let (error, message, status) = if status == Status::AwaitingUnlock {
        ("unavailable_error", "The job waits for its user's next session.", 503)
    } else {
        ("external_error", "The job failed.", 502)
    };
    Failure { error: error.into(), message: message.into(), status, fal: None }
}

fn failed(id: JobId, status: u16, error: &str, message: &str) -> Error {
    Error::Job { id, failure: Box::new(Failure { error: error.into(), message: message.into(), status, fal: None }) }
}

fn order(body: Generate, wishes: &Wishes) -> Result<Order, Error> {
    let field = body.folder_field();
    let model = given("model", body.model)?;
    let prompt = given("prompt", body.prompt)?;
    let prompt =
        prompt.parse().map_err(|_| Fault::invalid("prompt", "validation_length_out_of_range", "must have 1 to 1000 characters"))?;
    let folder = match body.collection_id.or(body.folder_id).as_deref() {
        None | Some("") => None,
        Some(id) => Some(id.parse().map_err(|_| no_folder(field))?),
    };
    let idempotency =
        match &wishes.idempotency_key {
            None => None,
            Some(key) => Some(key.to_str().ok().and_then(|key| key.parse().ok()).ok_or_else(|| {
                Fault::invalid("Idempotency-Key", "validation_invalid_value", "must have 1 to 128 visible ASCII characters")
            })?),
        };
    Ok(Order { model, prompt, parameters: body.parameters.unwrap_or_default(), folder, idempotency })
}

pub(super) fn no_folder(field: &str) -> Fault {
    Fault::invalid(field, "validation_missing_rel_records", "names no folder of yours")
}

fn refused(refusal: Refusal, folder_field: &str) -> Error {
    match refusal {
        Refusal::Model => Fault::invalid("model", "validation_invalid_value", "is not the name of a model").into(),
        Refusal::Parameters(faults) => {
            let all = faults.iter().map(|fault| Fault::said(&format!("parameters.{}", fault.field), fault.code, &fault.message));
            Fault::all(all).into()
        }
        Refusal::Folder => no_folder(folder_field).into(),
        Refusal::Reused => Error::Conflict("The Idempotency-Key was used with another request."),
        Refusal::Pace(exceeded) => exceeded.into(),
        Refusal::Crowded => Exceeded { limit: Limit::JobsWaiting, retry_after: Duration::from_secs(10) }.into(),
        Refusal::Store(error) => Error::Store(error),
    }
}
