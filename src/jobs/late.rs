//! Pictures that could not be fetched when their job was settled are tried again for a day.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::fal;
use crate::id::ImageId;
use crate::pocketbase::admin::Admin;
use crate::pocketbase::files::File;
use crate::pocketbase::filter::{Comparison, Filter, Moment, Query};
use crate::pocketbase::rows::{StoredImage, Table};

/// Between one picture's attempts, doubling up to an hour.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// After which FAL's link is all that remains.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Pictures that are remembered; a start looks for the others.
const MOST: usize = 10_000;
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Pictures whose file is missing.
#[derive(Default)]
pub(super) struct Late(Mutex<HashMap<ImageId, Missing>>);

#[derive(Clone)]
struct Missing {
    url: String,
    since: Instant,
    next: Instant,
    pause: Duration,
}

impl Late {
    pub(super) fn add(&self, id: ImageId, url: String) {
        let mut missing = self.0.lock();
        if missing.len() < MOST {
            let now = Instant::now();
            missing.entry(id).or_insert(Missing { url, since: now, next: now + FIRST_PAUSE, pause: FIRST_PAUSE });
        }
    }

    /// Looks for those that an earlier start left.
    pub(super) async fn find(&self, admin: &Admin) {
        let yesterday = Timestamp::now().saturating_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::UNIX_EPOCH);
        let filter = Filter::all().and("created", Comparison::Above, Moment(yesterday)).and("job_id", Comparison::IsNot, "").and(
            "file",
            Comparison::Is,
            "",
        );
        match admin.list::<StoredImage>(&Query::new(filter, "", 1000)).await {
            Ok(rows) => rows.into_iter().for_each(|row| self.add(row.id, row.url)),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "pictures without a file could not be looked for"),
        }
    }

    /// Never ends.
    pub(super) async fn run(&self, admin: &Admin, fal: &fal::Client) {
        loop {
            sleep(LOOK_EVERY).await;
            let now = Instant::now();
            let due: Vec<(ImageId, String)> =
                self.0.lock().iter().filter(|(_, missing)| missing.next <= now).map(|(id, missing)| (*id, missing.url.clone())).collect();
            for (id, url) in due {
                let done = fetch(admin, fal, id, &url).await;
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

/// Whether nothing is left to do.
async fn fetch(admin: &Admin, fal: &fal::Client, id: ImageId, url: &str) -> bool {
    let picture = match fal.download(url).await {
        Ok(picture) => picture,
        Err(error) => {
            tracing::debug!(image = %id, error = &error as &dyn std::error::Error, "a picture was not fetched again");
            return false;
        }
    };
    match admin.get::<StoredImage>(id).await {
        Ok(Some(row)) if row.file.is_empty() => {}
        // It is there, or its row is gone.
        Ok(Some(_) | None) => return true,
        Err(_) => return false,
    }
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
