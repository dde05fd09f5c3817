//! The attempts: fields × values × spellings × encodings × verbs, on one's own rows and on another's.

use serde_json::{Map, Value, json};

use super::Scene;
use super::spelling::{closed, encoded, file_part, multipart_type, part, spellings, values};

/// One request of an ordinary user.
pub struct Attempt {
    /// The kind of attempt, for the table.
    pub what: String,
    pub collection: &'static str,
    pub method: &'static str,
    pub path: String,
    pub content_type: String,
    pub body: Vec<u8>,
    /// On a row of the attacker's own.
    pub is_own: bool,
}

impl Attempt {
    pub fn shown(&self) -> String {
        format!("{} {} {} {}", self.method, self.path, self.content_type, String::from_utf8_lossy(&self.body))
    }

    /// Whether the attempt itself holds the text, so that an answer may repeat it.
    pub fn tells(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(text)
    }
}

/// The fields of one's own rows that are not one's own to write, with a value that each could hold.
fn locked(scene: &Scene) -> Vec<(&'static str, Vec<(&'static str, Value)>)> {
    let bob = json!(scene.bob.id);
    let [own, others] = scene.rows["model_preferences"].each_ref().map(|id| json!([id]));
    vec![
        (
            "generatio_users",
            vec![
                ("fal_token", json!("evil")),
                ("financial_data", json!({"total_spent": 0, "total_images": 0})),
                ("model_preferences", others),
                ("model_preferences", own),
                ("tokenKey", json!("x".repeat(50))),
                ("created", json!("2020-01-01 00:00:00.000Z")),
            ],
        ),
        (
            "images",
            vec![
                ("url", json!("https://evil.example")),
                ("user_id", bob.clone()),
                ("prompt", json!("evil")),
                ("request_id", json!("evil")),
                ("model", json!("evil")),
                ("batch_number", json!(7)),
                ("image_size", json!({"width": 1})),
                ("other_info", json!({"cost_usd": 0})),
                ("file", json!("evil.png")),
                ("job_id", json!("evil")),
                ("cost_micros", json!(0)),
                ("created", json!("2020-01-01 00:00:00.000Z")),
            ],
        ),
        ("folders", vec![("user_id", bob.clone()), ("created", json!("2020-01-01 00:00:00.000Z"))]),
        (
            "generations",
            vec![
                ("status", json!("completed")),
                ("user_id", bob.clone()),
                ("cost_micros", json!(0)),
                ("seq", json!(9)),
                ("key_fingerprint", json!("evil")),
                ("images", json!([])),
                ("work", json!({})),
            ],
        ),
        ("model_preferences", vec![("user_id", bob), ("preferences", json!({"x": 1})), ("model_name", json!("other"))]),
        ("spend_events", vec![("amount_micros", json!(0)), ("images", json!(0)), ("kind", json!("opening"))]),
        ("spend_totals", vec![("spent_micros", json!(0)), ("images", json!(0))]),
        ("generatio_meta", vec![("value", json!({"opened_by_us": false}))]),
    ]
}

/// All but batches.
pub fn all(scene: &Scene) -> Vec<Attempt> {
    let mut found = Vec::new();
    for (collection, fields) in locked(scene) {
        let path = format!("/api/collections/{collection}/records");
        let [own, others] = &scene.rows[collection];
        for (field, value) in &fields {
            for (spelling, name) in spellings(field) {
                for value in values(spelling, value) {
                    found.extend(encoded(collection, "PATCH", &format!("{path}/{own}"), spelling, &name, &value));
                }
            }
            found.push(json_attempt(
                format!("{collection}: another's row, PATCH"),
                collection,
                "PATCH",
                format!("{path}/{others}"),
                &json!({*field: value}),
            ));
            found.push(json_attempt(
                format!("{collection}: by query"),
                collection,
                "PATCH",
                format!("{path}/{own}?{field}=evil&@jsonPayload={{}}"),
                &json!({}),
            ));
        }
        for row in [own, others] {
            // Users may delete themselves and nobody else.
            if !(collection == "generatio_users" && row == own) {
                found.push(json_attempt(format!("{collection}: DELETE"), collection, "DELETE", format!("{path}/{row}"), &Value::Null));
            }
        }
        found.extend(creations(scene, collection, &path, &fields));
    }
    found.extend(escaped(scene));
    found.extend(uploads(scene));
    found
}

/// Other people's folders, ids and times in what one may write.
fn creations(scene: &Scene, collection: &'static str, path: &str, fields: &[(&'static str, Value)]) -> Vec<Attempt> {
    let mut bodies = Vec::new();
    let [_, others] = &scene.rows[collection];
    match collection {
        "generatio_users" => {
            let account = json!({"email": "eve@example.com", "password": "12345678", "passwordConfirm": "12345678"});
            for (field, value) in [("id", json!("abcdefghij01234")), fields[1].clone(), fields[2].clone()] {
                bodies.extend([field.to_owned(), format!("{field}+"), format!("+{field}")].map(|name| with(&account, &name, &value)));
            }
            // A modifier of what is no list is nobody's field, and an id is none's to modify.
            bodies.retain(|body| !["id+", "+id", "financial_data+", "+financial_data"].iter().any(|name| body.get(name).is_some()));
        }
        "folders" => {
            let name = json!({"name": "mine"});
            bodies.push(with(&name, "user_id", &json!(scene.bob.id)));
            bodies.push(name.clone());
            let own = with(&name, "user_id", &json!(scene.ann.id));
            bodies.push(with(&own, "parent_id", &json!(others)));
            bodies.push(with(&own, "deleted_at", &json!("2026-01-01 00:00:00.000Z")));
        }
        _ => {
            let row: Map<String, Value> = fields.iter().map(|(field, value)| ((*field).to_owned(), value.clone())).collect();
            for user in [&scene.ann.id, &scene.bob.id] {
                bodies.push(with(&Value::Object(row.clone()), "user_id", &json!(user)));
            }
        }
    }
    let made = bodies.iter().flat_map(|body| {
        let multipart = part("@jsonPayload", &body.to_string());
        [
            (format!("{collection}: create, json"), "application/json".to_owned(), body.to_string().into_bytes()),
            (format!("{collection}: create, @jsonPayload"), multipart_type(), closed(&multipart)),
        ]
    });
    let post =
        |(what, content_type, body)| Attempt { what, collection, method: "POST", path: path.to_owned(), content_type, body, is_own: false };
    let upsert =
        json_attempt(format!("{collection}: upsert"), collection, "PUT", path.to_owned(), &json!({"id": scene.rows[collection][0]}));
    made.map(post).chain([upsert]).collect()
}

fn with(body: &Value, name: &str, value: &Value) -> Value {
    let mut body = body.clone();
    body[name] = value.clone();
    body
}

fn json_attempt(what: String, collection: &'static str, method: &'static str, path: String, body: &Value) -> Attempt {
    let is_own = false;
    Attempt { what, collection, method, path, content_type: "application/json".into(), body: body.to_string().into_bytes(), is_own }
}

/// Names that are read differently by different readers of JSON.
fn escaped(scene: &Scene) -> Vec<Attempt> {
    let path = format!("/api/collections/images/records/{}", scene.rows["images"][0]);
    [
        r#"{"title":"t","url":"/api/files/x","url":"evil"}"#,
        r#"{"url":"evil","url":"/api/files/x"}"#,
        r#"{"\u0075rl":"evil"}"#,
        "\u{feff}{\"url\":\"evil\"}",
        r#"{"title":"t"}{"url":"evil"}"#,
        r#"[{"url":"evil"}]"#,
        r#"{"url":"evil""#,
        r#"{"cost_micros":1e-3}"#,
        r#"{"cost_micros":"0"}"#,
        r#"{"cost_micros":true}"#,
        r#"{"cost_micros":9007199254740993}"#,
    ]
    .into_iter()
    .map(|body| Attempt {
        what: "images: names written twice or escaped".into(),
        collection: "images",
        method: "PATCH",
        path: path.clone(),
        content_type: "application/json".into(),
        body: body.into(),
        is_own: true,
    })
    .collect()
}

fn uploads(scene: &Scene) -> Vec<Attempt> {
    let path = format!("/api/collections/images/records/{}", scene.rows["images"][0]);
    let names = ["file", "file+", "+file", "file-", "file[]", "file[0]", "file.0", "FILE", "url", "other_info", "@jsonPayload"];
    names
        .into_iter()
        .flat_map(|name| {
            [file_part(name), file_part(name) + &part("title", "t"), part("@jsonPayload", "{\"title\":\"t\"}") + &file_part(name)]
        })
        .map(|parts| Attempt {
            what: "images: upload".into(),
            collection: "images",
            method: "PATCH",
            path: path.clone(),
            content_type: multipart_type(),
            body: closed(&parts),
            is_own: true,
        })
        .collect()
}

/// The same fields through `/api/batch`.
pub fn batches(scene: &Scene) -> Vec<Attempt> {
    let mut found = Vec::new();
    for (collection, fields) in locked(scene) {
        let path = format!("/api/collections/{collection}/records");
        for (row, whose) in scene.rows[collection].iter().zip(["own", "another's"]) {
            for (field, value) in &fields {
                for (spelling, name) in spellings(field) {
                    let body = with(&json!({"id": row}), &name, value);
                    let items = [
                        ("PATCH", format!("{path}/{row}"), json!({name: value})),
                        ("PUT", path.clone(), body.clone()),
                        ("POST", path.clone(), body),
                    ];
                    for (method, url, body) in items {
                        let request = json!({"requests": [{"method": method, "url": url, "body": body}]});
                        let what = format!("{collection}: batch {method} of {whose} row, {spelling}");
                        let parts = part("@jsonPayload", &request.to_string());
                        found.push(json_attempt(what.clone(), collection, "POST", "/api/batch".into(), &request));
                        found.push(Attempt {
                            content_type: multipart_type(),
                            body: closed(&parts),
                            ..json_attempt(what + ", multipart", collection, "POST", "/api/batch".into(), &Value::Null)
                        });
                    }
                }
            }
        }
    }
    let image = format!("/api/collections/images/records/{}", scene.rows["images"][0]);
    let request = json!({"requests": [{"method": "PATCH", "url": image, "body": {"title": "t"}}]}).to_string();
    for name in ["requests.0.file", "requests[0].file", "requests.0.file+", "requests[0].+file"] {
        let parts = part("@jsonPayload", &request) + &file_part(name);
        found.push(Attempt {
            content_type: multipart_type(),
            body: closed(&parts),
            ..json_attempt("images: batch upload".into(), "images", "POST", "/api/batch".into(), &Value::Null)
        });
    }
    found
}
