//! Bodies as PocketBase takes them, and what is read from them.

use super::*;

async fn read(kind: &str, query: &str, body: &str) -> Option<(String, String)> {
    let kind = HeaderValue::from_str(kind).expect("a header value");
    let form = Form { content_type: Some(&kind), query: Some(query) };
    let fields = form.read::<Fields>(Zeroizing::new(body.as_bytes().to_vec())).await.filter(Fields::changes_password)?;
    let old = fields.old().map(|old| old.expose().to_owned()).unwrap_or_default();
    Some((old, fields.into_new()?.expose().to_owned()))
}

fn part(name: &str, value: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

#[tokio::test]
async fn json_is_read_as_go_reads_it() {
    for (body, expected) in [
        (r#"{"oldPassword":"a","password":"b"}"#, Some(("a", "b"))),
        (r#" {"password":"b","oldPassword":"a","x":{"password":"c"}} trailing"#, Some(("a", "b"))),
        (r#"{"oldPassword":"a","password":"x","password":"b"}"#, Some(("a", "b"))),
        (r#"{"oldPassword":"\u00e4\"","password":"\ud83d\ude00"}"#, Some(("ä\"", "😀"))),
        (r#"{"oldPassword":12345678,"password":1234567.50}"#, Some(("12345678", "1234567.5"))),
        (r#"{"oldPassword":true,"password":1e21}"#, Some(("true", "1000000000000000000000"))),
        (r#"{"password":"b"}"#, Some(("", "b"))),
        (r#"{"oldPassword":"a"}"#, None),
        (r#"{"oldPassword":"a","password":""}"#, None),
        (r#"{"oldPassword":"a","password":null}"#, None),
        (r#"{"oldPassword":"a","password":["b"]}"#, None),
        (r#"{"oldPassword":"a","password":{"b":1}}"#, None),
        (r#"{"oldPassword":"a","Password":"b"}"#, None),
        (r#"["a","b"]"#, None),
        (r#"{"oldPassword":"a","password":"b""#, None),
        ("null", None),
        ("", None),
    ] {
        let expected = expected.map(|(old, new)| (old.to_owned(), new.to_owned()));
        assert_eq!(read("application/json; charset=utf-8", "", body).await, expected, "{body}");
        assert_eq!(read("text/plain", "", body).await, None);
    }
}

#[tokio::test]
async fn a_form_is_read_with_its_query_and_its_json_payload() {
    const KIND: &str = "application/x-www-form-urlencoded";
    for (query, body, expected) in [
        ("", "oldPassword=a+%C3%A4&password=b%26", Some(("a ä", "b&"))),
        ("oldPassword=a", "password=b", Some(("a", "b"))),
        ("", "%40jsonPayload=%7B%22password%22%3A%22b%22%7D&oldPassword=a&password=x", Some(("a", "b"))),
        ("", "password=b&password=c&oldPassword=a", None),
        ("password=b", "password=b&oldPassword=a", None),
        ("", "%40jsonPayload=%7B", None),
    ] {
        let expected = expected.map(|(old, new)| (old.to_owned(), new.to_owned()));
        assert_eq!(read(KIND, query, body).await, expected, "{query} {body}");
    }
}

#[tokio::test]
async fn a_multipart_form_is_read_without_its_files() {
    const KIND: &str = "multipart/form-data; boundary=b";
    let file = "--b\r\nContent-Disposition: form-data; name=\"password\"; filename=\"p\"\r\n\r\nfile\r\n";
    let payload = part("@jsonPayload", r#"{"password":"c","oldPassword":"d"}"#);
    let plain = [part("oldPassword", "a"), part("password", "b")].concat();
    for (body, expected) in [
        (format!("{plain}--b--\r\n"), Some(("a", "b"))),
        (format!("{file}{plain}--b--"), Some(("a", "b"))),
        (format!("{plain}{payload}--b--\r\n"), Some(("d", "c"))),
        (format!("{}{file}--b--\r\n", part("oldPassword", "a")), None),
        (plain, None),
    ] {
        let expected = expected.map(|(old, new)| (old.to_owned(), new.to_owned()));
        assert_eq!(read(KIND, "", &body).await, expected, "{body}");
    }
}

#[tokio::test]
async fn a_batch_names_the_users_whose_password_it_changes_in_its_order() {
    let one = r#"{"METHOD":"PATCH","url":"/api/collections/users/records/abcdefghij01234","body":{"oldPassword":"a","password":"b"}}"#;
    let two = r#"{"method":"PUT","url":"/api/collections/users/records","body":{"id":"abcdefghij56789","password":"c"}}"#;
    let other = r#"{"method":"DELETE","url":"/api/collections/users/records/abcdefghij01234","headers":{"a":"b"}}"#;
    let json = format!(r#"{{"Requests":[{two},{other},{one}]}}"#);
    let multipart = format!("{}--b--\r\n", part("@jsonPayload", &json));
    let users = Users { name: "users", id: None };
    for (kind, body) in [("application/json", &json), ("multipart/form-data; boundary=b", &multipart)] {
        let kind = HeaderValue::from_static(kind);
        let form = Form { content_type: Some(&kind), query: None };
        let batch = form.read::<Batch>(Zeroizing::new(body.as_bytes().to_vec())).await.expect("a batch");
        let found: Vec<_> =
            batch.users(&users).into_iter().map(|(id, fields)| (id.to_string(), fields.into_new().expect("a password"))).collect();
        let found: Vec<_> = found.iter().map(|(id, new)| (id.as_str(), new.expose())).collect();
        assert_eq!(found, [("abcdefghij56789", "c"), ("abcdefghij01234", "b")]);
    }
}
