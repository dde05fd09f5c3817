//! What FAL made is fetched and kept: each picture's row comes with its file, under an id that follows from the job.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use super::order::Refusal;
use super::row::{Failure, Link, Status};
use super::run::{Left, Run};
use super::{LONGEST_PAUSE, PAUSE, Unwritten};
use crate::fal::{self, Charge, EndpointId, Facts, Image, Key, Model, Output, Picture, Size, UnitPrice, Units};
use crate::id::{ImageId, JobId};
use crate::money::MicroUsd;
use crate::pocketbase;
use crate::pocketbase::admin::Repeat;
use crate::pocketbase::files::File;
use crate::pocketbase::filter::{Comparison, Filter, Query};
use crate::pocketbase::rows::StoredImage;

impl Run {
    /// Stores the pictures, then settles.
    pub(super) async fn deliver(&mut self, endpoint: &EndpointId, output: Output) -> Left {
        self.row.status = Status::Storing;
        self.tell(Status::Storing);
        self.view.send_replace(self.row.clone());
        if output.images.is_empty() {
            let charge = self.charge_for_failure(endpoint, output.units).await;
            return self.end(Status::Failed, Some(Failure::no_pictures()), charge).await;
        }
        let stored = if self.taken_up { self.stored().await } else { Ok(Vec::new()) };
        let Ok(stored) = stored else { return Left::Parked };
        let pictures = self.fetch(&output, &stored).await;
        let charge = match stored.iter().find_map(noted) {
            Some(charge) => charge,
            None => self.charge(endpoint, &output, &pictures).await,
        };
        let mut links = Vec::new();
        let folder_is_gone = self.folder_is_gone().await;
        let shares: Vec<MicroUsd> = charge.amount.shares(count(&output.images)).collect();
        for (index, image) in output.images.iter().enumerate() {
            let id = image_id(self.row.id, index);
            let picture = pictures.get(index).and_then(Option::as_ref);
            let mut row = self.image_row(id, index, image, &output, picture, shares.get(index).copied().unwrap_or_default(), charge);
            if folder_is_gone {
                row["folder_id"] = "".into();
            }
            match self.keep(id, row, (image, picture), &stored).await {
                Ok(link) => links.push(link),
                Err(Unwritten::Gone) => self.orphan = true,
                Err(Unwritten::Stopping | Unwritten::Refused) => return Left::Parked,
            }
        }
        self.settle(Status::Completed, charge, links).await
    }

    /// Whether the folder was deleted meanwhile: its pictures go to the top. Where that cannot be asked, the storing shows it.
    async fn folder_is_gone(&self) -> bool {
        let Ok(folder) = self.row.collection_id.parse() else { return false };
        matches!(self.jobs.check_folder(self.row.user_id, folder).await, Err(Refusal::Folder))
    }

    /// Downloads what an earlier task did not store; none where that failed.
    async fn fetch(&self, output: &Output, stored: &[StoredImage]) -> Vec<Option<Picture>> {
        let fetching = output.images.iter().enumerate().map(|(index, image)| async move {
            let id = image_id(self.row.id, index);
            if stored.iter().any(|row| row.id == id) {
                return None;
            }
            let fetched = match self.jobs.fal.download(&image.url).await {
                // A connection that was cut says nothing about the next.
                Err(fal::Error::Cut { .. } | fal::Error::Unreachable { .. }) => self.jobs.fal.download(&image.url).await,
                fetched => fetched,
            };
            match fetched {
                Ok(picture) => Some(picture),
                Err(error) => {
                    tracing::warn!(job = %self.row.id, index, error = &error as &dyn std::error::Error, "a picture was not fetched; it is tried again later");
                    None
                }
            }
        });
        join_all(fetching).await
    }

    async fn charge(&self, endpoint: &EndpointId, output: &Output, pictures: &[Option<Picture>]) -> Charge {
        let Some(model) = self.model() else { return Charge::NOTHING };
        let wanted = model.wanted(&self.row.parameters).size;
        let size = |(index, image): (usize, &Image)| {
            let measured = pictures.get(index).and_then(|picture| picture.as_ref()?.size);
            measured.or(image.size()).unwrap_or(wanted)
        };
        let sizes: Vec<Size> = output.images.iter().enumerate().map(size).collect();
        let price = self.jobs.fal.price(Key::of(&self.key), endpoint, Instant::now()).await;
        Facts { images: &sizes, units: output.units, price: price.as_ref(), fallback: model.fallback() }.completed()
    }

    /// Nothing, unless FAL says that it billed.
    pub(super) async fn charge_for_failure(&self, endpoint: &EndpointId, units: Option<Units>) -> Charge {
        let Some(model) = self.model().filter(|_| units.is_some()) else { return Charge::NOTHING };
        let price = self.jobs.fal.price(Key::of(&self.key), endpoint, Instant::now()).await;
        let wanted = model.wanted(&self.row.parameters).images;
        Facts { images: &[], units, price: price.as_ref(), fallback: model.fallback() }.failed(wanted)
    }

    fn model(&self) -> Option<&Model> {
        let model = self.jobs.catalogue.find(&self.row.model);
        if model.is_none() {
            tracing::error!(job = %self.row.id, model = self.row.model, "a job's model is not in the catalogue any more: its cost cannot be estimated");
        }
        model
    }

    /// Pictures of this job that are there already.
    async fn stored(&self) -> Result<Vec<StoredImage>, Unwritten> {
        let mut pause = PAUSE;
        loop {
            let query = Query::new(Filter::all().and("job_id", Comparison::Is, self.row.id), "", 100);
            match self.jobs.admin.list(&query).await {
                Ok(rows) => return Ok(rows),
                Err(error) => self.jobs.settle_for(self.row.id, &error)?,
            }
            self.breathe(&mut pause).await?;
        }
    }

    /// What an earlier task stored before it could settle, with what it noted of the cost.
    pub(super) async fn kept(&self) -> Result<Option<(Charge, Vec<Link>)>, Unwritten> {
        let stored = self.stored().await?;
        let in_order = (0..stored.len()).filter_map(|index| stored.iter().find(|row| row.id == image_id(self.row.id, index)));
        Ok(stored.iter().find_map(noted).map(|charge| (charge, in_order.map(|row| self.linked(row)).collect())))
    }

    async fn breathe(&self, pause: &mut std::time::Duration) -> Result<(), Unwritten> {
        tokio::select! {
            () = sleep(*pause) => {}
            () = self.jobs.stopping.cancelled() => return Err(Unwritten::Stopping),
        }
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one row of the table, field by field")]
    fn image_row(
        &self,
        id: ImageId,
        index: usize,
        image: &Image,
        output: &Output,
        picture: Option<&Picture>,
        cost: MicroUsd,
        charge: Charge,
    ) -> Value {
        let size = picture.and_then(|picture| picture.size).or(image.size());
        let seed = output.seed.as_ref().map(ToString::to_string).or_else(|| self.row.parameters.get("seed").map(ToString::to_string));
        let model = self.model().map_or(self.row.model.as_str(), |model| model.name.as_str());
        json!({
            "id": id,
            "user_id": self.row.user_id,
            "title": "",
            // Our hooks put the file's path here; this stays where there is no file.
            "url": if picture.is_some() { "" } else { image.url.as_str() },
            "prompt": self.row.prompt,
            "request_id": self.row.request_id,
            "model": model,
            "batch_number": index,
            "image_size": size,
            "folder_id": self.row.collection_id,
            "job_id": self.row.id,
            "cost_micros": cost,
            "other_info": {
                "seed": seed,
                "content_type": picture.map(|picture| picture.format.content_type()).or(image.content_type.as_deref()),
                "flagged": output.flagged.get(index),
                "charge": Noted::of(charge),
            },
        })
    }

    /// Creates the row of one picture, with its file where there is one, unless it is there.
    ///
    /// A file that PocketBase will not have keeps nobody's job from its end: then FAL's link is what there is.
    async fn keep(
        &self,
        id: ImageId,
        mut row: Value,
        (image, mut picture): (&Image, Option<&Picture>),
        stored: &[StoredImage],
    ) -> Result<Link, Unwritten> {
        if let Some(row) = stored.iter().find(|row| row.id == id) {
            return Ok(self.linked(row));
        }
        let mut pause = PAUSE;
        loop {
            let created = match picture {
                Some(picture) => self.jobs.admin.create_with_file::<StoredImage>(&row, "file", &file(id, picture)).await,
                None => self.jobs.admin.create::<StoredImage>(&row, Repeat::Harmless).await,
            };
            match created {
                Ok(row) => return Ok(self.linked(&row)),
                Err(error) => match self.look_again(id, &error, &mut row).await {
                    Ok(Some(link)) => return Ok(link),
                    Err(Unwritten::Refused) if picture.take().is_some() => row["url"] = image.url.as_str().into(),
                    looked => drop(looked?),
                },
            }
            self.breathe(&mut pause).await?;
        }
    }

    /// After a refusal or a lost answer: the row may be there, or its folder gone.
    async fn look_again(&self, id: ImageId, error: &pocketbase::Error, row: &mut Value) -> Result<Option<Link>, Unwritten> {
        match self.jobs.admin.get::<StoredImage>(id).await {
            Ok(Some(stored)) => return Ok(Some(self.linked(&stored))),
            Ok(None) => {}
            Err(error) => {
                self.jobs.settle_for(self.row.id, &error)?;
                return Ok(None);
            }
        }
        match error.refusal() {
            Some(refusal) if refusal.code("folder_id").is_some() && row["folder_id"] != "" => {
                tracing::info!(job = %self.row.id, "the folder of a job was deleted meanwhile: its pictures go to the top");
                row["folder_id"] = "".into();
                Ok(None)
            }
            Some(refusal) if refusal.code("user_id").is_some() => Err(Unwritten::Gone),
            Some(_) | None => self.jobs.settle_for(self.row.id, error).map(|()| None),
        }
    }

    fn linked(&self, row: &StoredImage) -> Link {
        if row.file.is_empty() {
            self.jobs.late.add(row.id, self.row.id, row.url.clone());
        }
        Link::to(row)
    }
}

impl Link {
    /// Where a stored picture is.
    pub fn to(row: &StoredImage) -> Self {
        Self { id: row.id, url: row.url.clone(), thumbnail_url: thumbnail(&row.url) }
    }
}

/// The small copy of a picture that PocketBase keeps; of one that it does not keep, the picture itself.
pub fn thumbnail(url: &str) -> String {
    if url.starts_with("/api/files/") { format!("{url}?thumb=256x256") } else { url.to_owned() }
}

/// What the job cost, noted in each of its pictures: a task that takes the job up again charges the same.
#[derive(serde::Serialize, serde::Deserialize)]
struct Noted {
    micros: MicroUsd,
    estimated: bool,
    units: Option<u64>,
    unit_price: Option<u64>,
}

impl Noted {
    fn of(charge: Charge) -> Self {
        Self {
            micros: charge.amount,
            estimated: charge.estimated,
            units: charge.units.map(Units::nanos),
            unit_price: charge.unit_price.map(UnitPrice::nano_dollars),
        }
    }
}

fn noted(row: &StoredImage) -> Option<Charge> {
    let noted: Noted = serde_json::from_value(row.other_info.get("charge")?.clone()).ok()?;
    Some(Charge {
        amount: noted.micros,
        estimated: noted.estimated,
        units: noted.units.map(Units::from_nanos),
        unit_price: noted.unit_price.map(UnitPrice::from_nano_dollars),
    })
}

fn count(images: &[Image]) -> u32 {
    u32::try_from(images.len()).unwrap_or(u32::MAX)
}

fn image_id(job: JobId, index: usize) -> ImageId {
    let digest =
        Sha256::new().chain_update(b"generatio/image\0").chain_update(job.as_str()).chain_update([b'\0']).chain_update(index.to_string());
    ImageId::derived(&digest.finalize().into())
}

fn file(id: ImageId, picture: &Picture) -> File {
    File { name: format!("{id}.{}", picture.format.extension()), content_type: picture.format.content_type(), bytes: picture.bytes.clone() }
}
