//! What a user prefers for a model.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::extract::given;
use super::tokens::Done;
use crate::app::App;
use crate::error::{Error, Fault};
use crate::id::{RowId, UserId};
use crate::pocketbase::admin::Repeat;
use crate::pocketbase::batch::Batch;
use crate::pocketbase::callers::User;
use crate::pocketbase::filter::{Comparison, Filter, Query, Text};
use crate::pocketbase::refusal::Refusal;
use crate::pocketbase::rows::{Row, Table};

/// One row of `model_preferences`.
#[derive(Deserialize)]
struct PreferencesRow {
    id: RowId,
    #[serde(default, deserialize_with = "object")]
    preferences: Map<String, Value>,
}

impl Row for PreferencesRow {
    const TABLE: Table = Table::Preferences;
    const FIELDS: &'static str = "id,preferences";
}

/// Body of `POST /api/custom/preferences/get`.
#[derive(Deserialize, ToSchema)]
#[schema(as = GetPreferences)]
pub(super) struct Get {
    model_name: Option<String>,
}

/// Body of `POST /api/custom/preferences/save`.
#[derive(Deserialize, ToSchema)]
#[schema(as = SavePreferences)]
pub(super) struct Save {
    model_name: Option<String>,
    #[schema(value_type = Option<Object>)]
    preferences: Option<Map<String, Value>>,
}

/// Answer of both ways to ask.
#[derive(Serialize, ToSchema)]
pub(super) struct Preferences {
    model_name: String,
    has_preferences: bool,
    #[schema(value_type = Object)]
    preferences: Map<String, Value>,
}

/// api.md: at most 16 KiB.
const LONGEST: usize = 16 * 1024;
/// A row that is written at the same moment from elsewhere is found at the next attempt.
const ATTEMPTS: usize = 3;

/// What is kept for a model.
pub(super) async fn get(app: &App, user: User, body: Get) -> Result<Preferences, Error> {
    get_named(app, user, given("model_name", body.model_name)?).await
}

/// The same with the name in the path.
pub(super) async fn get_named(app: &App, user: User, model_name: String) -> Result<Preferences, Error> {
    let row = find(app, user.id, &canonical(app, &model_name)).await?;
    let has_preferences = row.is_some();
    Ok(Preferences { model_name, has_preferences, preferences: row.map(|row| row.preferences).unwrap_or_default() })
}

/// In place of what was kept.
pub(super) async fn save(app: &App, user: User, body: Save) -> Result<Done, Error> {
    let name = given("model_name", body.model_name)?;
    keep(app, user, &name, body.preferences.ok_or_else(|| Fault::required("preferences"))?).await
}

/// The same with the name in the path, and the preferences bare or in `preferences`.
pub(super) async fn save_named(app: &App, user: User, model_name: String, mut body: Map<String, Value>) -> Result<Done, Error> {
    let preferences = match body.remove("preferences") {
        Some(Value::Object(preferences)) if body.is_empty() => preferences,
        Some(_) if body.is_empty() => return Err(Fault::invalid("preferences", "validation_invalid_value", "must be an object").into()),
        Some(other) => {
            body.insert("preferences".into(), other);
            body
        }
        None => body,
    };
    keep(app, user, &model_name, preferences).await
}

async fn keep(app: &App, user: User, name: &str, preferences: Map<String, Value>) -> Result<Done, Error> {
    let model = app
        .jobs
        .catalogue
        .find(name)
        .ok_or_else(|| Fault::invalid("model_name", "validation_invalid_value", "is not the name of a model"))?;
    if Value::Object(preferences.clone()).to_string().len() > LONGEST {
        return Err(Fault::invalid("preferences", "validation_json_size_limit", "must have at most 16 KiB").into());
    }
    model.validate_some(&preferences).map_err(|faults| {
        Fault::all(faults.iter().map(|fault| Fault::said(&format!("preferences.{}", fault.field), fault.code, &fault.message)))
    })?;
    let mut attempts = 1..=ATTEMPTS;
    loop {
        let found = find(app, user.id, &model.name).await?;
        let id = found.map_or_else(|| own_id(user.id, &model.name), |row| row.id);
        let row = json!({ "id": id, "user_id": user.id, "model_name": model.name, "preferences": preferences });
        let admin = &app.store.admin;
        let batch = Batch::default().upsert(admin, Table::Preferences, &row).update(
            admin,
            Table::Users,
            user.id,
            &json!({ "model_preferences+": id }),
        );
        match admin.batch(&batch, Repeat::Harmless).await {
            Ok(_) => return Ok(Done::saying("Preferences saved successfully")),
            Err(error) if error.refusal().is_some_and(Refusal::is_not_unique) && attempts.next().is_some() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn find(app: &App, user: UserId, name: &str) -> Result<Option<PreferencesRow>, Error> {
    let name: Text = name.parse().map_err(|_| Fault::invalid("model_name", "validation_invalid_value", "is not the name of a model"))?;
    let filter = Filter::all().and("user_id", Comparison::Is, user).and("model_name", Comparison::Is, name);
    Ok(app.store.admin.list(&Query::new(filter, "", 1)).await?.pop())
}

/// Rows of the former extension may hold anything.
fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    let stored = Value::deserialize(deserializer)?;
    Ok(if let Value::Object(preferences) = stored { preferences } else { Map::new() })
}

fn canonical(app: &App, name: &str) -> String {
    app.jobs.catalogue.find(name).map_or_else(|| name.to_owned(), |model| model.name.clone())
}

fn own_id(user: UserId, model: &str) -> RowId {
    RowId::derived(
        &Sha256::new().chain_update(b"generatio/preferences\0").chain_update(user.as_str()).chain_update(model).finalize().into(),
    )
}
