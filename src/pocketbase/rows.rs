//! The rows that the sidecar reads, each with exactly the fields it asks for.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::id::{FolderId, ImageId, UserId};

/// A collection of ours, or the users'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The configured auth collection.
    Users,
    /// Pictures.
    Images,
    /// Folders of pictures.
    Folders,
    /// What a user prefers for a model.
    Preferences,
    /// Generation jobs.
    Generations,
    /// The ledger.
    SpendEvents,
    /// The ledger's sums.
    SpendTotals,
    /// What our hooks remember.
    Meta,
}

impl Table {
    /// Its name, where that is the same everywhere.
    pub(super) fn fixed_name(self) -> Option<&'static str> {
        match self {
            Self::Users => None,
            Self::Images => Some("images"),
            Self::Folders => Some("folders"),
            Self::Preferences => Some("model_preferences"),
            Self::Generations => Some("generations"),
            Self::SpendEvents => Some("spend_events"),
            Self::SpendTotals => Some("spend_totals"),
            Self::Meta => Some("generatio_meta"),
        }
    }
}

/// What a row is read into.
pub trait Row: DeserializeOwned {
    /// Where it is kept.
    const TABLE: Table;
    /// Its fields, as PocketBase's `fields` parameter wants them.
    const FIELDS: &'static str;
}

/// A user, as far as their key is concerned.
#[derive(Deserialize)]
pub struct UserRow {
    /// Who.
    pub id: UserId,
    /// The sealed key as it is stored, empty when there is none.
    #[serde(default)]
    pub fal_token: String,
}

impl Row for UserRow {
    const TABLE: Table = Table::Users;
    const FIELDS: &'static str = "id,fal_token";
}

/// A folder, as far as it can receive pictures.
#[derive(Deserialize)]
pub struct FolderRow {
    /// Which.
    pub id: FolderId,
    /// Whose.
    pub user_id: UserId,
    /// When it was deleted; empty while it is not.
    #[serde(default)]
    pub deleted_at: String,
}

impl Row for FolderRow {
    const TABLE: Table = Table::Folders;
    const FIELDS: &'static str = "id,user_id,deleted_at";
}

/// A picture, as far as its job is concerned.
#[derive(Clone, Debug, Deserialize)]
pub struct StoredImage {
    /// Which.
    pub id: ImageId,
    /// Where it is; our hooks write the file's path.
    pub url: String,
    /// The stored file's name; empty while there is none.
    #[serde(default)]
    pub file: String,
    /// What the engine noted.
    #[serde(default)]
    pub other_info: serde_json::Value,
}

impl Row for StoredImage {
    const TABLE: Table = Table::Images;
    const FIELDS: &'static str = "id,url,file,other_info";
}
