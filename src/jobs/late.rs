//! Pictures that could not be fetched when their job was settled are tried again for a day, and their job shows where they are then.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::row::{JobRow, Link, Status};
use crate::fal;
use crate::id::{ImageId, JobId};
use crate::pocketbase;
use crate::pocketbase::admin::Admin;
use crate::pocketbase::files::File;
use crate::pocketbase::filter::{Comparison, Filter, Moment, Query};
use crate::pocketbase::rows::{StoredImage, Table};

/// Between one picture's attempts, doubling up to an hour.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// After which FAL's link is all that remains.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Pictures that are remembered; a start looks for the others.
const MOST: usize = 10_000;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// In a job's links, where not all of its pictures are stored: a stored one has a path alone.
const ELSEWHERE: &str = "://";

/// Pictures whose file is missing, or is there and their job does not say so yet.
#[derive(Default)]
pub(super) struct Late(Mutex<HashMap<ImageId, Missing>>);

#[derive(Clone)]
struct Missing {
    job: JobId,
    url: String,
    since: Instant,
    next: Instant,
    pause: Duration,
}

impl Late {
    pub(super) fn add(&self, id: ImageId, job: JobId, url: String) {
        let mut missing = self.0.lock();
        if missing.len() < MOST {
            let now = Instant::now();
            missing.entry(id).or_insert(Missing { job, url, since: now, next: now + FIRST_PAUSE, pause: FIRST_PAUSE });
        }
    }

    /// Looks for those that an earlier start left.
    pub(super) async fn find(&self, admin: &Admin) {
        let yesterday = Timestamp::now().saturating_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::UNIX_EPOCH);
        let filter = Filter::all()
            .and("status", Comparison::Is, Status::Completed.word())
            .and("finished_at", Comparison::Above, Moment(yesterday))
            .and("images", Comparison::Contains, ELSEWHERE);
        match admin.list::<JobRow>(&Query::new(filter, "", 1000)).await {
            Ok(jobs) => {
                for job in jobs {
                    let elsewhere = job.images.into_iter().filter(|link| link.url.contains(ELSEWHERE));
                    elsewhere.for_each(|link| self.add(link.id, job.id, link.url));
                }
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "pictures without a file could not be looked for"),
        }
    }

    /// Never ends.
    pub(super) async fn run(&self, admin: &Admin, fal: &fal::Client) {
        loop {
            sleep(LOOK_EVERY).await;
            let now = Instant::now();
            let due: Vec<(ImageId, Missing)> =
                self.0.lock().iter().filter(|(_, missing)| missing.next <= now).map(|(id, missing)| (*id, missing.clone())).collect();
            for (id, missing) in due {
                let done = fetch(admin, fal, id, &missing.url).await && show(admin, id, missing.job).await;
                self.note(id, done);
            }
        }
    }

    fn note(&self, id: ImageId, done: bool) {
        let mut all = self.0.lock();
        let Some(missing) = all.get_mut(&id) else { return };
        if done || missing.since.elapsed() > GIVE_UP_AFTER {
            all.remove(&id);
            return;
        }
        missing.pause = (missing.pause * 2).min(LONGEST_PAUSE);
        missing.next = Instant::now() + missing.pause;
    }
}

/// Whether the picture is stored, or its row is gone.
async fn fetch(admin: &Admin, fal: &fal::Client, id: ImageId, url: &str) -> bool {
    match admin.get::<StoredImage>(id).await {
        Ok(Some(row)) if row.file.is_empty() => {}
        Ok(Some(_) | None) => return true,
        Err(_) => return false,
    }
    let picture = match fal.download(url).await {
        Ok(picture) => picture,
        Err(error) => {
            tracing::debug!(image = %id, error = &error as &dyn std::error::Error, "a picture was not fetched again");
            return false;
        }
    };
    let file =
        File { name: format!("{id}.{}", picture.format.extension()), content_type: picture.format.content_type(), bytes: picture.bytes };
    match admin.attach(Table::Images, id, "file", &file).await {
        Ok(()) => {
            tracing::info!(image = %id, "a picture that was missing is stored");
            true
        }
        Err(error) => {
            tracing::warn!(image = %id, error = &error as &dyn std::error::Error, "a picture that was missing could not be stored");
            false
        }
    }
}

/// Whether the job's own links say where the picture is. A job that is not over yet is written by its task, and looked at again later.
async fn show(admin: &Admin, id: ImageId, job: JobId) -> bool {
    match relink(admin, id, job).await {
        Ok(done) => done,
        Err(error) => {
            tracing::warn!(%job, image = %id, error = &error as &dyn std::error::Error, "a job does not show yet where its picture is");
            false
        }
    }
}

async fn relink(admin: &Admin, id: ImageId, job: JobId) -> Result<bool, pocketbase::Error> {
    let (Some(image), Some(row)) = (admin.get::<StoredImage>(id).await?, admin.get::<JobRow>(job).await?) else { return Ok(true) };
    if !row.status.is_over() {
        return Ok(false);
    }
    let links: Vec<Link> = row.images.iter().map(|link| if link.id == id { Link::to(&image) } else { link.clone() }).collect();
    if links != row.images {
        admin.update(Table::Generations, job, &json!({ "images": links, "seq": row.seq + 1 })).await?;
    }
    Ok(true)
}
