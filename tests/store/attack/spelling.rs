//! The same write in other words: spellings of a field's name, values, and encodings of a body.

use serde_json::{Value, json};

use super::attempts::Attempt;

const BOUNDARY: &str = "xYzXyZ";

/// Every way of writing the name of a field that PocketBase knows, and some that it might.
pub fn spellings(field: &str) -> Vec<(&'static str, String)> {
    let mut upper = field.to_owned();
    upper[..1].make_ascii_uppercase();
    vec![
        ("f", field.to_owned()),
        ("f+", format!("{field}+")),
        ("+f", format!("+{field}")),
        ("f-", format!("{field}-")),
        ("f:autogenerate", format!("{field}:autogenerate")),
        ("odd", upper),
        ("odd", field.to_uppercase()),
        ("odd", format!(" {field}")),
        ("odd", format!("{field} ")),
        ("odd", format!("{field}[]")),
        ("odd", format!("{field}[0]")),
        ("odd", format!("{field}.0")),
        ("odd", format!("{field}\u{0}")),
        ("odd", format!("-{field}")),
        ("odd", format!("{field}:isset")),
        ("odd", format!("{field}:each")),
        ("odd", format!("@request.body.{field}")),
    ]
}

pub fn values(spelling: &str, value: &Value) -> Vec<Value> {
    match spelling {
        "odd" => vec![value.clone()],
        "f" => vec![value.clone(), Value::Null, json!(""), json!([]), json!({}), json!([value, value])],
        _ => vec![value.clone(), Value::Null, json!([value, value])],
    }
}

pub fn part(name: &str, value: &str) -> String {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

pub fn file_part(name: &str) -> String {
    format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"evil.png\"\r\nContent-Type: image/png\r\n\r\nevil\r\n"
    )
}

pub fn closed(parts: &str) -> Vec<u8> {
    format!("{parts}--{BOUNDARY}--\r\n").into_bytes()
}

pub fn multipart_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

/// One field with one value in every encoding that PocketBase reads.
pub fn encoded(collection: &'static str, method: &'static str, path: &str, spelling: &str, name: &str, value: &Value) -> Vec<Attempt> {
    let some = if spelling == "odd" { 2 } else { 7 };
    let body = json!({name: value}).to_string();
    let plain = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let form: String = form_urlencoded::Serializer::new(String::new()).append_pair(name, &plain).finish();
    let payload_form: String = form_urlencoded::Serializer::new(String::new()).append_pair("@jsonPayload", &body).finish();
    let twice = part("@jsonPayload", "{\"title\":\"t\"}") + &part("@jsonPayload", &body);
    let both = part("@jsonPayload", &body) + &part("title", "t");
    [
        ("json", "application/json".to_owned(), body.clone().into_bytes()),
        ("multipart", multipart_type(), closed(&part(name, &plain))),
        ("urlencoded", "application/x-www-form-urlencoded".to_owned(), form.into_bytes()),
        ("urlencoded @jsonPayload", "application/x-www-form-urlencoded".to_owned(), payload_form.into_bytes()),
        ("@jsonPayload", multipart_type(), closed(&both)),
        ("@jsonPayload twice", multipart_type(), closed(&twice)),
        ("json as text", "text/plain".to_owned(), body.into_bytes()),
    ]
    .into_iter()
    .take(some)
    .map(|(encoding, content_type, body)| Attempt {
        what: format!("{collection}: {spelling}, {encoding}"),
        collection,
        method,
        path: path.to_owned(),
        content_type,
        body,
        is_own: true,
    })
    .collect()
}
