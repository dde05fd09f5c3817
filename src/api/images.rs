//! The gallery.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::extract::given_id;
use super::jobs::absolute;
use super::owned::{Owned, moment, or_default, owned};
use super::page::{Cursor, Limit};
use super::tokens::Done;
use crate::app::App;
use crate::error::{Error, Fault};
use crate::id::{FolderId, ImageId};
use crate::jobs::thumbnail;
use crate::money::{Dollars, MicroUsd};
use crate::pocketbase::callers::User;
use crate::pocketbase::filter::{Comparison, Filter, Moment, Query, Text, Word};
use crate::pocketbase::rows::{Row, Table};
use crate::reply::Time;

/// An image as PocketBase keeps it.
#[derive(Deserialize)]
pub(super) struct ImageRow {
    id: ImageId,
    user_id: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    prompt: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    request_id: String,
    #[serde(default)]
    batch_number: f64,
    #[serde(default)]
    image_size: Value,
    #[serde(default)]
    folder_id: String,
    #[serde(default)]
    cost_micros: MicroUsd,
    #[serde(default, deserialize_with = "or_default")]
    other_info: Value,
    #[serde(default)]
    deleted_at: String,
    #[serde(default, deserialize_with = "moment")]
    created: Option<Timestamp>,
}

impl Row for ImageRow {
    const TABLE: Table = Table::Images;
    const FIELDS: &'static str =
        "id,user_id,title,url,prompt,model,request_id,batch_number,image_size,folder_id,cost_micros,other_info,deleted_at,created";
}

impl Owned for ImageRow {
    fn owner(&self) -> &str {
        &self.user_id
    }
}

/// An image as the API shows it.
#[derive(Serialize, ToSchema)]
pub(super) struct Image {
    id: ImageId,
    title: String,
    url: String,
    thumbnail_url: String,
    prompt: String,
    model: String,
    request_id: String,
    batch_number: u32,
    image_size: Value,
    collection_id: Option<String>,
    cost: Dollars,
    created: Option<Time>,
}

/// Answer of `GET /api/custom/images`.
#[derive(Serialize, ToSchema)]
pub(super) struct Images {
    images: Vec<Image>,
    #[schema(value_type = Option<String>)]
    next: Option<Cursor<ImageId>>,
}

/// Query of `GET /api/custom/images`.
#[derive(Default, Deserialize)]
pub(super) struct Which {
    collection_id: Option<String>,
    model: Option<String>,
    q: Option<String>,
    deleted: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

impl Image {
    fn of(app: &App, row: ImageRow) -> Self {
        let cost = row.cost();
        Self {
            id: row.id,
            thumbnail_url: absolute(app, &thumbnail(&row.url)),
            url: absolute(app, &row.url),
            title: row.title,
            prompt: row.prompt,
            model: row.model,
            request_id: row.request_id,
            // PocketBase's numbers are doubles; one of an old row may be anything.
            batch_number: if row.batch_number.fract() == 0.0 && row.batch_number.abs() < 1e6 { row.batch_number as u32 } else { 0 },
            image_size: row.image_size,
            collection_id: Some(row.folder_id).filter(|id| !id.is_empty()),
            cost: cost.dollars(),
            created: row.created.map(Time),
        }
    }
}

impl ImageRow {
    /// Images of the former extension have their cost as dollars among other things, as a number or a text. What cannot be a price is
    /// none, as in the ledger's opening entry.
    fn cost(&self) -> MicroUsd {
        let noted = self.other_info.get("cost_usd").and_then(|cost| cost.as_f64().or_else(|| cost.as_str()?.trim().parse().ok()));
        let former = noted.map(|dollars| (dollars * 1e6).round()).filter(|micros| (1.0..=1e9).contains(micros));
        match former {
            Some(micros) if self.cost_micros == MicroUsd::ZERO => MicroUsd::new(micros as i64),
            Some(_) | None => self.cost_micros,
        }
    }
}

impl Which {
    /// In this folder, whatever the query says.
    pub(super) fn within(self, folder: FolderId) -> Self {
        Self { collection_id: Some(folder.to_string()), ..self }
    }
}

/// Newest first.
pub(super) async fn list(app: &App, user: User, which: Which) -> Result<Images, Error> {
    let limit = Limit::parse(which.limit.as_deref())?;
    let deleted = if yes("deleted", which.deleted.as_deref())? { Comparison::IsNot } else { Comparison::Is };
    let mut filter = Filter::all().and("user_id", Comparison::Is, user.id).and("deleted_at", deleted, "");
    if let Some(folder) = which.collection_id {
        let folder: FolderId = folder.parse().map_err(|_| super::generate::no_folder("collection_id"))?;
        filter = filter.and("folder_id", Comparison::Is, folder);
    }
    if let Some(name) = which.model {
        let name = app.jobs.catalogue.find(&name).map_or(name.as_str(), |model| &model.name).parse::<Word>();
        let name = name.map_err(|_| Fault::invalid("model", "validation_invalid_value", "is not the name of a model"))?;
        filter = filter.and("model", Comparison::Is, name);
    }
    if let Some(text) = which.q.filter(|text| !text.is_empty()) {
        let why = "must have at most 200 characters, none of them a backslash or a control character";
        let text: Text = text.parse().map_err(|_| Fault::invalid("q", "validation_invalid_value", why))?;
        filter = filter.and("prompt", Comparison::Contains, text);
    }
    if let Some(cursor) = which.cursor {
        filter = Cursor::<ImageId>::parse(&cursor)?.restrict(filter);
    }
    let rows: Vec<ImageRow> = app.store.admin.list(&Query::new(filter, "-created,-id", limit.and_one())).await?;
    let (rows, next) = limit.cut(rows, |row| Cursor::at(row.created, row.id));
    Ok(Images { images: rows.into_iter().map(|row| Image::of(app, row)).collect(), next })
}

/// One image.
pub(super) async fn view(app: &App, user: User, id: &str) -> Result<Image, Error> {
    Ok(Image::of(app, owned::<ImageRow>(app, user.id, given_id::<ImageId>(id)?).await?))
}

/// Out of sight; money stays as it is.
pub(super) async fn delete(app: &App, user: User, id: &str) -> Result<Done, Error> {
    let row: ImageRow = owned(app, user.id, given_id::<ImageId>(id)?).await?;
    if row.deleted_at.is_empty() {
        let now = Moment(Timestamp::now()).to_string();
        app.store.admin.update(Table::Images, row.id, &json!({ "deleted_at": now })).await?;
    }
    Ok(Done::saying("Image deleted successfully"))
}

/// Back in sight; at the top, if its folder was deleted meanwhile.
pub(super) async fn restore(app: &App, user: User, id: &str) -> Result<Image, Error> {
    let row: ImageRow = owned(app, user.id, given_id::<ImageId>(id)?).await?;
    if !row.deleted_at.is_empty() {
        app.store.admin.update(Table::Images, row.id, &json!({ "deleted_at": "" })).await?;
    }
    view(app, user, row.id.as_str()).await
}

/// `true` or `false`; absent is `false`.
pub(super) fn yes(field: &str, text: Option<&str>) -> Result<bool, Error> {
    match text {
        None | Some("" | "false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Fault::invalid(field, "validation_invalid_value", "must be true or false").into()),
    }
}
