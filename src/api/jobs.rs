//! Jobs: where they stand, and their end.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::extract::given_id;
use super::page::{Cursor, Limit};
use crate::app::App;
use crate::error::{Error, Fault};
use crate::id::{ImageId, JobId, UserId};
use crate::jobs::{JobRow, Link, Status};
use crate::money::Dollars;
use crate::pocketbase::callers::User;
use crate::pocketbase::filter::{Comparison, Filter, Query};
use crate::reply::Time;
use crate::sessions::Session;

/// A job, as api.md shows it.
#[derive(Serialize, ToSchema)]
pub(super) struct Job {
    id: JobId,
    status: Status,
    model: String,
    prompt: String,
    #[schema(value_type = Object)]
    parameters: Map<String, Value>,
    collection_id: Option<String>,
    queue_position: Option<u32>,
    created: Option<Time>,
    submitted_at: Option<Time>,
    finished_at: Option<Time>,
    cost: Option<Dollars>,
    estimated: bool,
    images: Vec<Picture>,
    ignored_parameters: Vec<String>,
    error: Option<Reason>,
}

/// Why it failed.
#[derive(Serialize, ToSchema)]
struct Reason {
    error: String,
    message: String,
}

/// A picture that is there.
#[derive(Serialize, ToSchema)]
pub(super) struct Picture {
    id: ImageId,
    url: String,
    thumbnail_url: String,
}

/// Answer of `GET /api/custom/jobs`.
#[derive(Serialize, ToSchema)]
pub(super) struct Jobs {
    jobs: Vec<Job>,
    #[schema(value_type = Option<String>)]
    next: Option<Cursor<JobId>>,
}

/// Query of `GET /api/custom/jobs`.
#[derive(Default, Deserialize)]
pub(super) struct Which {
    status: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

impl Picture {
    pub(super) fn of(app: &App, link: &Link) -> Self {
        Self { id: link.id, url: absolute(app, &link.url), thumbnail_url: absolute(app, &link.thumbnail_url) }
    }
}

impl Job {
    pub(super) fn of(app: &App, row: &JobRow) -> Self {
        let charged = row.status.is_over();
        Self {
            id: row.id,
            status: row.status,
            model: row.model.clone(),
            prompt: row.prompt.clone(),
            parameters: row.parameters.clone(),
            collection_id: Some(row.collection_id.clone()).filter(|id| !id.is_empty()),
            queue_position: (row.status == Status::Queued).then_some(row.queue_position),
            created: row.created.map(Time),
            submitted_at: row.submitted_at.map(Time),
            finished_at: row.finished_at.map(Time),
            cost: charged.then(|| row.cost_micros.dollars()),
            estimated: row.estimated,
            images: row.images.iter().map(|link| Picture::of(app, link)).collect(),
            ignored_parameters: row.ignored_parameters.clone(),
            error: row.error.as_ref().map(|failure| Reason { error: failure.error.clone(), message: failure.message.clone() }),
        }
    }
}

/// The path of a stored file as a browser can use it; FAL's own addresses stay as they are.
pub(super) fn absolute(app: &App, url: &str) -> String {
    match &app.config.public_url {
        Some(origin) if url.starts_with('/') => format!("{origin}{url}"),
        Some(_) | None => url.to_owned(),
    }
}

/// Newest first.
pub(super) async fn list(app: &App, user: User, which: Which) -> Result<Jobs, Error> {
    let limit = Limit::parse(which.limit.as_deref())?;
    let mut filter = Filter::all().and("user_id", Comparison::Is, user.id);
    if let Some(word) = which.status {
        let status = Status::of(&word).ok_or_else(|| Fault::invalid("status", "validation_invalid_value", "is not the state of a job"))?;
        filter = filter.and("status", Comparison::Is, status.word());
    }
    if let Some(cursor) = which.cursor {
        filter = Cursor::<JobId>::parse(&cursor)?.restrict(filter);
    }
    let rows: Vec<JobRow> = app.store.admin.list(&Query::new(filter, "-created,-id", limit.and_one())).await?;
    let (rows, next) = limit.cut(rows, |row| Cursor::at(row.created, row.id));
    Ok(Jobs { jobs: rows.iter().map(|row| Job::of(app, row)).collect(), next })
}

/// One job.
pub(super) async fn view(app: &App, user: User, id: &str) -> Result<Job, Error> {
    let row = app.jobs.view(user.id, given_id(id)?).await?.ok_or(Error::NotFound)?;
    Ok(Job::of(app, &row))
}

/// Asks for its end.
pub(super) async fn cancel(app: &App, session: Session, id: &str) -> Result<Job, Error> {
    let id: JobId = given_id(id)?;
    let user: UserId = session.user;
    let before = app.jobs.view(user, id).await?.ok_or(Error::NotFound)?;
    if before.status.is_over() {
        return Err(Error::Conflict("The job is over already."));
    }
    let row = app.jobs.cancel(user, id).await?.ok_or(Error::NotFound)?;
    Ok(Job::of(app, &row))
}
