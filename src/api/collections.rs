//! Folders, which the API calls collections.

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::extract::{given, given_id};
use super::images::{self, Images};
use super::owned::{Owned, moment, owned};
use super::tokens::Done;
use crate::app::App;
use crate::error::{Error, Fault};
use crate::id::{FolderId, ImageId};
use crate::pocketbase::admin::Repeat;
use crate::pocketbase::callers::User;
use crate::pocketbase::filter::{Comparison, Filter, Query};
use crate::pocketbase::rows::{Row, Table};
use crate::pocketbase::{self, refusal::Refusal};
use crate::reply::Time;

/// A folder as PocketBase keeps it.
#[derive(Deserialize)]
pub(super) struct FolderRow {
    id: FolderId,
    user_id: String,
    name: String,
    #[serde(default)]
    parent_id: String,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    deleted_at: String,
    #[serde(default, deserialize_with = "moment")]
    created: Option<jiff::Timestamp>,
    #[serde(default, deserialize_with = "moment")]
    updated: Option<jiff::Timestamp>,
}

impl Row for FolderRow {
    const TABLE: Table = Table::Folders;
    const FIELDS: &'static str = "id,user_id,name,parent_id,private,deleted_at,created,updated";
}

impl Owned for FolderRow {
    fn owner(&self) -> &str {
        &self.user_id
    }
}

/// A live folder, and how many live images are in it.
#[derive(Deserialize)]
struct Viewed {
    folder: FolderRow,
    images: u32,
}

/// Body of `POST /api/custom/collections/create`.
#[derive(Deserialize, ToSchema)]
#[schema(as = CreateCollection)]
pub(super) struct Create {
    name: Option<String>,
    parent_id: Option<String>,
    private: Option<bool>,
}

/// Body of `PATCH /api/custom/collections/{id}`.
#[derive(Deserialize, ToSchema)]
#[schema(as = ChangeCollection)]
pub(super) struct Change {
    name: Option<String>,
    private: Option<bool>,
}

/// Body of `POST /api/custom/collections/{id}/move`.
#[derive(Deserialize, ToSchema)]
#[schema(as = MoveCollection)]
pub(super) struct Move {
    parent_id: Option<String>,
}

/// Body of `POST /api/custom/collections/{id}/add-images`.
#[derive(Deserialize, ToSchema)]
pub(super) struct AddImages {
    image_ids: Option<Vec<String>>,
}

/// Answer of `POST /api/custom/collections/create`.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedCollection)]
pub(super) struct Created {
    id: FolderId,
    name: String,
    parent_id: String,
    created: Option<Time>,
}

/// A folder as the API shows it; `parent_id` is empty at the top.
#[derive(Serialize, ToSchema)]
#[schema(as = Collection)]
pub(super) struct Folder {
    id: FolderId,
    user_id: String,
    name: String,
    parent_id: String,
    private: bool,
    created: Option<Time>,
    updated: Option<Time>,
    /// Live images in it, where one folder is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    image_count: Option<u32>,
}

/// Answer of `GET /api/custom/collections`.
#[derive(Serialize, ToSchema)]
#[schema(as = Collections)]
pub(super) struct Folders {
    collections: Vec<Folder>,
}

/// Query of `GET /api/custom/collections`.
#[derive(Default, Deserialize)]
pub(super) struct Which {
    deleted: Option<String>,
}

/// Answer of `POST /api/custom/collections/{id}/add-images`.
#[derive(Serialize, ToSchema)]
pub(super) struct Added {
    success: bool,
    added: u32,
}

/// More than a user can have.
const ALL: u16 = 1000;

impl From<FolderRow> for Folder {
    fn from(row: FolderRow) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            name: row.name,
            parent_id: row.parent_id,
            private: row.private,
            created: row.created.map(Time),
            updated: row.updated.map(Time),
            image_count: None,
        }
    }
}

/// A new folder, at the top or in another one of the user's.
pub(super) async fn create(app: &App, user: User, body: Create) -> Result<Created, Error> {
    let name = named(given("name", body.name)?)?;
    let parent = parent(body.parent_id)?;
    let id = FolderId::derived(&Sha256::digest(uuid::Uuid::new_v4().as_bytes()).into());
    let row = json!({ "id": id, "user_id": user.id, "name": name, "parent_id": parent, "private": body.private.unwrap_or(false) });
    let row: FolderRow = app.store.admin.create_once(id, &row).await.map_err(refused)?;
    Ok(Created { id: row.id, name: row.name, parent_id: row.parent_id, created: row.created.map(Time) })
}

/// All of them, newest first.
pub(super) async fn list(app: &App, user: User, which: Which) -> Result<Folders, Error> {
    let deleted = images::yes("deleted", which.deleted.as_deref())?;
    let comparison = if deleted { Comparison::IsNot } else { Comparison::Is };
    let filter = Filter::all().and("user_id", Comparison::Is, user.id).and("deleted_at", comparison, "");
    let rows: Vec<FolderRow> = app.store.admin.list(&Query::new(filter, "-created,-id", ALL)).await?;
    Ok(Folders { collections: rows.into_iter().map(Folder::from).collect() })
}

/// One, with the number of its images.
pub(super) async fn view(app: &App, user: User, id: &str) -> Result<Folder, Error> {
    let path = format!("folders/{}?user={}", given_id::<FolderId>(id)?, user.id);
    let needs = [Table::Folders, Table::Images];
    let viewed: Viewed = app.store.admin.hook(Method::GET, &path, &needs, None::<&()>, Repeat::Harmless).await.map_err(refused)?;
    Ok(Folder { image_count: Some(viewed.images), ..viewed.folder.into() })
}

/// Another name, or another `private`.
pub(super) async fn change(app: &App, user: User, id: &str, body: Change) -> Result<Folder, Error> {
    let name = body.name.map(named).transpose()?;
    let row = live(app, &user, id).await?;
    let mut fields = serde_json::Map::new();
    if let Some(name) = name {
        fields.insert("name".into(), name.into());
    }
    if let Some(private) = body.private {
        fields.insert("private".into(), private.into());
    }
    app.store.admin.update(Table::Folders, row.id, &fields).await.map_err(refused)?;
    Ok(owned::<FolderRow>(app, user.id, row.id).await?.into())
}

/// Under another folder, or to the top.
pub(super) async fn put_under(app: &App, user: User, id: &str, body: Move) -> Result<Folder, Error> {
    let id: FolderId = given_id(id)?;
    let parent = parent(Some(body.parent_id.ok_or_else(|| Fault::required("parent_id"))?))?;
    let wish = json!({ "folder": id, "user": user.id, "parent": parent });
    hook(app, "folders/move", &wish, &[Table::Folders]).await?;
    Ok(owned::<FolderRow>(app, user.id, id).await?.into())
}

/// All of these images, or none.
pub(super) async fn add_images(app: &App, user: User, id: &str, body: AddImages) -> Result<Added, Error> {
    let id: FolderId = given_id(id)?;
    let ids = body.image_ids.ok_or_else(|| Fault::required("image_ids"))?;
    if ids.is_empty() || ids.len() > 100 {
        return Err(Fault::invalid("image_ids", "validation_length_out_of_range", "must be a list of 1 to 100 ids").into());
    }
    let ids: Vec<ImageId> = ids.iter().map(|id| id.parse()).collect::<Result<_, _>>().map_err(|_| no_image())?;
    let wish = json!({ "folder": id, "user": user.id, "images": ids });
    let answer = hook(app, "images/add", &wish, &[Table::Folders, Table::Images]).await?;
    Ok(Added { success: true, added: answer["added"].as_u64().and_then(|added| added.try_into().ok()).unwrap_or_default() })
}

/// What is in it, newest first.
pub(super) async fn list_images(app: &App, user: User, id: &str, which: images::Which) -> Result<Images, Error> {
    let row = live(app, &user, id).await?;
    images::list(app, user, which.within(row.id)).await
}

/// Takes along everything that is in it.
pub(super) async fn delete(app: &App, user: User, id: &str) -> Result<Done, Error> {
    let id: FolderId = given_id(id)?;
    hook(app, "folders/delete", &json!({ "folder": id, "user": user.id }), &[Table::Folders, Table::Images]).await?;
    Ok(Done::saying("Collection deleted successfully"))
}

/// Undoes exactly that deletion: what had been deleted before stays deleted.
pub(super) async fn restore(app: &App, user: User, id: &str) -> Result<Folder, Error> {
    let id: FolderId = given_id(id)?;
    hook(app, "folders/restore", &json!({ "folder": id, "user": user.id }), &[Table::Folders, Table::Images]).await?;
    Ok(owned::<FolderRow>(app, user.id, id).await?.into())
}

/// What must be one transaction and is more than a batch can say. A second time finds it done: it is not made twice by itself.
async fn hook(app: &App, path: &str, wish: &Value, needs: &[Table]) -> Result<Value, Error> {
    app.store.admin.hook(Method::POST, path, needs, Some(wish), Repeat::Never).await.map_err(refused)
}

/// A deleted folder is as good as none until it is restored.
async fn live(app: &App, user: &User, id: &str) -> Result<FolderRow, Error> {
    let row: FolderRow = owned(app, user.id, given_id::<FolderId>(id)?).await?;
    if row.deleted_at.is_empty() { Ok(row) } else { Err(Error::NotFound) }
}

/// 1 to 100 characters that can stand in a file system.
fn named(name: String) -> Result<String, Error> {
    let sane =
        (1..=100).contains(&name.chars().count()) && !name.chars().any(|letter| r#"<>:"/\|?*"#.contains(letter) || letter.is_control());
    let why = r#"must have 1 to 100 characters, none of <>:"/\|?* and no control characters"#;
    if sane { Ok(name) } else { Err(Fault::invalid("name", "validation_invalid_value", why).into()) }
}

/// Empty at the top.
fn parent(id: Option<String>) -> Result<String, Error> {
    match id.as_deref() {
        None | Some("") => Ok(String::new()),
        Some(id) => id.parse::<FolderId>().map(|id| id.to_string()).map_err(|_| no_parent()),
    }
}

fn no_parent() -> Error {
    Fault::invalid("parent_id", "validation_missing_rel_records", "names no collection of yours").into()
}

fn no_image() -> Error {
    Fault::invalid("image_ids", "validation_missing_rel_records", "names an image that is not one of yours").into()
}

/// What our hooks refuse, in the API's words.
fn refused(error: pocketbase::Error) -> Error {
    let code = |refusal: &Refusal, field| refusal.code(field).map(str::to_owned);
    let Some(refusal) = error.refusal() else { return error.into() };
    match (code(refusal, "parent_id").as_deref(), code(refusal, "name").as_deref(), code(refusal, "images").as_deref()) {
        (Some("validation_cycle"), ..) => Error::Conflict("A collection cannot be moved under itself."),
        (Some("validation_too_deep"), ..) => {
            Fault::invalid("parent_id", "validation_too_deep", "is too deep: collections can be at most 16 levels deep").into()
        }
        (Some(_), ..) => no_parent(),
        (None, Some("validation_too_many"), _) => Fault::whole("A user can have at most 1000 collections.").into(),
        (None, None, Some(_)) => no_image(),
        (None, ..) if refusal.is_not_found() => Error::NotFound,
        (None, ..) => error.into(),
    }
}
