//! The OpenAPI document: made from the types that the handlers read and write.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use super::{auth, collections, financial, generate, images, jobs, preferences, status, tokens};
use crate::error::Shape;
use crate::id::{FolderId, ImageId, JobId};
use crate::money::Dollars;
use crate::reply::{self, Reply, Time};

/// Who may call.
#[derive(Clone, Copy, PartialEq)]
enum Caller {
    Open,
    User,
    Session,
}
use Caller::{Open, Session, User};

/// One route as the document shows it; the path stands below `/api/custom/`.
struct Route {
    method: &'static str,
    path: &'static str,
    caller: Caller,
    says: &'static str,
    query: &'static [&'static str],
    body: Option<Value>,
    answer: Value,
    also: &'static [u16],
    schemas: BTreeMap<String, Value>,
}

/// Every route, in the order of the table in `api/mod.rs`: a test compares them.
#[expect(clippy::too_many_lines, reason = "one line a route")]
fn routes() -> Vec<Route> {
    vec![
        get("status", Open, "Whether the sidecar and PocketBase are well").gives::<status::Status>(),
        get("test", Open, "A route that needs nothing but the sidecar itself").gives::<status::Test>(),
        get("openapi.json", Open, "This document"),
        post("tokens/setup", User, "Stores a FAL key, sealed under a password")
            .takes::<tokens::Setup>(&["fal_token", "password"])
            .gives::<tokens::Stored>()
            .also(&[409]),
        post("tokens/verify", User, "Whether a password opens the key")
            .takes::<tokens::Verify>(&["password"])
            .gives::<tokens::Verification>(),
        post("tokens/change-password", User, "Seals the key under another password")
            .takes::<tokens::ChangePassword>(&["old_password", "new_password"])
            .gives::<tokens::Done>()
            .also(&[409]),
        delete("tokens", User, "Takes the key away, and ends the user's sessions").gives::<tokens::Done>().also(&[409]),
        post("auth/login", Open, "Signs in through PocketBase, whose refusals are passed on as they are, and opens a session")
            .takes::<auth::Login>(&["password"])
            .gives::<auth::LoggedIn>()
            .also(&[401, 403, 404, 500, 502, 503]),
        post("auth/create-session", User, "Opens a session")
            .takes::<auth::CreateSession>(&["password"])
            .gives::<auth::Session>()
            .also(&[409]),
        delete("auth/session", User, "Ends the session that X-Session-ID names").gives::<tokens::Done>().also(&[403, 404]),
        get("auth/token-status", User, "What a front end has to do next").gives::<auth::TokenStatus>(),
        post("generate/image", Session, "Makes pictures; `Prefer: respond-async` answers 202 with the job")
            .takes::<generate::Generate>(&["model", "prompt"])
            .gives::<generate::Generated>()
            .also(&[402, 404, 409, 422, 502, 504]),
        get("generate/models", User, "The models, and what each takes").gives::<HashMap<String, Model>>(),
        get("jobs", User, "The user's jobs, newest first").query(&["status", "cursor", "limit"]).gives::<jobs::Jobs>(),
        get("jobs/{id}", User, "One job").gives::<jobs::Job>(),
        post("jobs/{id}/cancel", Session, "Asks for a job's end").gives::<jobs::Job>().also(&[409, 502]),
        post("preferences/get", User, "What is kept for a model")
            .takes::<preferences::Get>(&["model_name"])
            .gives::<preferences::Preferences>(),
        post("preferences/save", User, "Keeps preferences for a model")
            .takes::<preferences::Save>(&["model_name", "preferences"])
            .gives::<tokens::Done>(),
        get("preferences/{name}", User, "What is kept for a model").gives::<preferences::Preferences>(),
        post("preferences/{name}", User, "Keeps preferences for a model: in `preferences`, or as the body itself")
            .takes_any()
            .gives::<tokens::Done>(),
        post("collections/create", User, "A new folder").takes::<collections::Create>(&["name"]).gives::<collections::Created>(),
        get("collections", User, "All folders, newest first").query(&["deleted"]).gives::<collections::Folders>(),
        get("collections/{id}", User, "One folder, with its `image_count`").gives::<collections::Folder>(),
        patch("collections/{id}", User, "Another name, or another `private`")
            .takes::<collections::Change>(&[])
            .gives::<collections::Folder>(),
        post("collections/{id}/move", User, "Under another folder; an empty `parent_id` is the top")
            .takes::<collections::Move>(&["parent_id"])
            .gives::<collections::Folder>()
            .also(&[409]),
        post("collections/{id}/add-images", User, "Puts 1 to 100 images into the folder, all or none")
            .takes::<collections::AddImages>(&["image_ids"])
            .gives::<collections::Added>(),
        get("collections/{id}/images", User, "What is in the folder, newest first")
            .query(&["model", "q", "deleted", "cursor", "limit"])
            .gives::<images::Images>(),
        delete("collections/{id}", User, "Deletes the folder with everything in it, until it is restored").gives::<tokens::Done>(),
        post("collections/{id}/restore", User, "Undoes exactly that deletion").gives::<collections::Folder>(),
        get("images", User, "The gallery, newest first")
            .query(&["collection_id", "model", "q", "deleted", "cursor", "limit"])
            .gives::<images::Images>(),
        get("images/{id}", User, "One image").gives::<images::Image>(),
        delete("images/{id}", User, "Deletes an image, until it is restored").gives::<tokens::Done>(),
        post("images/{id}/restore", User, "Undoes the deletion").gives::<images::Image>(),
        get("financial/stats", User, "What the user has spent").gives::<financial::Stats>(),
    ]
}

/// The document.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let text = serde_json::to_string_pretty(&document()).expect("a JSON value can always be written");
    format!("{text}\n").into()
});

/// Answer of `GET /api/custom/openapi.json`.
pub(super) fn answer() -> Reply {
    reply::raw(StatusCode::OK, DOCUMENT.clone())
}

/// The path of every route below `/api/custom/`.
pub(super) fn paths() -> Vec<&'static str> {
    routes().into_iter().map(|route| route.path).collect()
}

fn document() -> Value {
    let mut schemas = BTreeMap::new();
    register::<Shape>(&mut schemas);
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in routes() {
        let operation = route.operation();
        schemas.extend(route.schemas);
        paths.entry(format!("/api/custom/{}", route.path)).or_default().insert(route.method.into(), operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Generatio", "version": env!("CARGO_PKG_VERSION"),
            "description": "What the sidecar adds to PocketBase's own API. Times are RFC 3339 UTC, money is US dollars.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "user": { "type": "http", "scheme": "bearer", "description": "A PocketBase user's token" },
                "session": { "type": "apiKey", "in": "header", "name": "X-Session-ID" },
            },
        },
    })
}

fn get(path: &'static str, caller: Caller, says: &'static str) -> Route {
    Route::new("get", path, caller, says)
}

fn post(path: &'static str, caller: Caller, says: &'static str) -> Route {
    Route::new("post", path, caller, says)
}

fn patch(path: &'static str, caller: Caller, says: &'static str) -> Route {
    Route::new("patch", path, caller, says)
}

fn delete(path: &'static str, caller: Caller, says: &'static str) -> Route {
    Route::new("delete", path, caller, says)
}

impl Route {
    fn new(method: &'static str, path: &'static str, caller: Caller, says: &'static str) -> Self {
        let answer = json!({ "type": "object" });
        Self { method, path, caller, says, query: &[], body: None, answer, also: &[], schemas: BTreeMap::new() }
    }

    /// The body, and which of its fields must be there.
    fn takes<T: ToSchema>(mut self, required: &[&str]) -> Self {
        let name = register::<T>(&mut self.schemas);
        if let Some(schema) = self.schemas.get_mut(&name) {
            schema["required"] = json!(required);
            for field in required {
                let kind = &mut schema["properties"][field]["type"];
                if let Some(first) = kind.get(0).cloned() {
                    *kind = first;
                }
            }
        }
        self.body = Some(reference(&name));
        self
    }

    /// Any object.
    fn takes_any(self) -> Self {
        Self { body: Some(json!({ "type": "object" })), ..self }
    }

    /// The answer, all of whose fields are always there.
    fn gives<T: ToSchema>(mut self) -> Self {
        let mut found = BTreeMap::new();
        let name = register::<T>(&mut found);
        for schema in found.values_mut() {
            let fields = schema.get("properties").and_then(Value::as_object).map(|fields| fields.keys().cloned().collect::<Vec<_>>());
            if let Some(fields) = fields {
                schema["required"] = fields.into_iter().filter(|field| !SOMETIMES.contains(&field.as_str())).collect();
            }
        }
        self.answer = if found.contains_key(&name) { reference(&name) } else { written(T::schema()) };
        self.schemas.extend(found);
        self
    }

    fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    fn also(self, also: &'static [u16]) -> Self {
        Self { also, ..self }
    }

    fn operation(&self) -> Value {
        let group = self.path.split('/').next().unwrap_or_default();
        let words = self.path.split(['/', '-', '.', '{', '}']).filter(|word| !word.is_empty());
        let id: Vec<&str> = [self.method].into_iter().chain(words).collect();
        let mut operation = json!({
            "operationId": id.join("_"), "tags": [group], "summary": self.says, "responses": self.responses(), "parameters": self.parameters(),
            "security": match self.caller {
                Open => json!([]),
                User => json!([{ "user": [] }]),
                Session => json!([{ "user": [], "session": [] }]),
            },
        });
        if let Some(body) = &self.body {
            operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": body } } });
        }
        operation
    }

    fn responses(&self) -> Value {
        let content = |schema: Value| json!({ "application/json": { "schema": schema } });
        let mut statuses = vec![400, 429];
        if self.caller != Open {
            statuses.extend([401, 500, 503]);
        }
        if self.caller == Session {
            statuses.push(403);
        }
        if self.body.is_some() {
            statuses.extend([413, 415]);
        }
        if self.path.contains('{') {
            statuses.push(404);
        }
        statuses.extend(self.also);
        // PocketBase's own refusals are passed on from a sign-in: they have a shape of their own.
        let problem = if self.path == "auth/login" { json!({ "type": "object" }) } else { reference("Problem") };
        let mut responses: BTreeMap<String, Value> = statuses
            .into_iter()
            .map(|status| (status.to_string(), json!({ "description": reason(status), "content": content(problem.clone()) })))
            .collect();
        responses.insert("200".into(), json!({ "description": "Done", "content": content(self.answer.clone()) }));
        if self.path == "generate/image" {
            responses.insert("202".into(), json!({ "description": "The job goes on", "content": content(reference("Job")) }));
        }
        json!(responses)
    }

    fn parameters(&self) -> Vec<Value> {
        let mut all: Vec<Value> = self.query.iter().map(|name| parameter("query", name, false)).collect();
        all.extend(self.path.split('/').filter_map(|part| {
            let name = part.strip_prefix('{')?.strip_suffix('}')?;
            Some(parameter("path", name, true))
        }));
        if self.path == "auth/session" {
            all.push(parameter("header", "X-Session-ID", true));
        }
        if self.path == "generate/image" {
            all.extend(["Prefer", "Idempotency-Key"].map(|name| parameter("header", name, false)));
        }
        all
    }
}

/// Fields of answers that are there only where they were asked for.
const SOMETIMES: &[&str] = &["image_count", "min", "max", "options"];

fn parameter(place: &str, name: &str, required: bool) -> Value {
    let schema = match name {
        "id" | "collection_id" => json!({ "type": "string", "pattern": "^[a-z0-9]{15}$" }),
        "limit" => json!({ "type": "integer", "minimum": 1, "maximum": 100, "default": 30 }),
        "deleted" => json!({ "type": "string", "enum": ["true", "false"] }),
        "q" => json!({ "type": "string", "maxLength": 200 }),
        "status" => written(crate::jobs::Status::schema()),
        "Idempotency-Key" => json!({ "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$" }),
        "Prefer" => json!({ "type": "string", "enum": ["respond-async"] }),
        "X-Session-ID" => json!({ "type": "string", "format": "uuid" }),
        _ => json!({ "type": "string", "minLength": 1, "maxLength": 200 }),
    };
    json!({ "name": name, "in": place, "required": required, "schema": schema })
}

fn reason(status: u16) -> &'static str {
    match status {
        402 => "FAL wants money",
        422 => "FAL refuses the content",
        502 => "FAL or PocketBase failed",
        _ => StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Refused"),
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Adds a type and what it is made of; answers its name.
fn register<T: ToSchema>(schemas: &mut BTreeMap<String, Value>) -> String {
    let mut parts = Vec::new();
    T::schemas(&mut parts);
    schemas.extend(parts.into_iter().map(|(name, schema)| (name, written(schema))));
    let own = written(T::schema());
    if own.get("properties").is_some() {
        schemas.insert(T::name().into_owned(), own);
    }
    T::name().into_owned()
}

fn written(schema: RefOr<Schema>) -> Value {
    serde_json::to_value(schema).expect("a schema is JSON")
}

/// Types that are written as one JSON value each.
macro_rules! scalars {
    ($($type:ty, $name:literal, $schema:expr;)*) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $type {
            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
        }
    )*};
}

scalars! {
    FolderId, "CollectionId", id();
    ImageId, "ImageId", id();
    JobId, "JobId", id();
    Dollars, "Dollars", ObjectBuilder::new().schema_type(Type::Number).description(Some("US dollars with at most six decimals"));
    Time, "Time", ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::Custom("date-time".into())));
    crate::jobs::Status, "JobStatus", ObjectBuilder::new().schema_type(Type::String).enum_values(Some(crate::jobs::Status::WORDS));
}

fn id() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[a-z0-9]{15}$"))
}

/// A model as `fal::Model` writes itself.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the shape of a type that writes itself")]
struct Model {
    name: String,
    display_name: String,
    description: String,
    cost_per_image: Dollars,
    parameters: HashMap<String, Parameter>,
}

/// What a model takes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the shape of a type that writes itself")]
struct Parameter {
    #[schema(rename = "type")]
    kind: String,
    default: Value,
    min: Option<f64>,
    max: Option<f64>,
    options: Option<Vec<String>>,
    description: String,
    required: bool,
}
