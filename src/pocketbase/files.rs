//! Rows with a file.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::Method;
use hyper::body::Frame;
use hyper::header::HeaderValue;
use serde::Serialize;
use uuid::Uuid;

use super::Error;
use super::admin::{Admin, json, parse};
use super::body::RequestBody;
use super::http::Call;
use super::refusal::Refusal;
use super::rows::{Row, Table};

/// A file on its way to PocketBase.
#[derive(Clone, Debug)]
pub struct File {
    /// Its name; PocketBase adds letters that nobody can guess.
    pub name: String,
    /// `image/png`.
    pub content_type: &'static str,
    /// What is in it.
    pub bytes: Bytes,
}

/// PocketBase hands the file on to wherever it keeps files, which may be far away.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(170);

impl Admin {
    /// Creates a row together with its file: both, or neither. The row has an id of ours, so that a repeat is recognised.
    pub async fn create_with_file<R: Row>(&self, row: &impl Serialize, field: &'static str, file: &File) -> Result<R, Error> {
        let target = format!("{}?fields={}", self.path(R::TABLE)?, R::FIELDS);
        parse(&self.send_file(Method::POST, target, json(row), field, file).await?)
    }

    /// Puts a file into a row that has none.
    pub async fn attach(&self, table: Table, id: impl AsRef<str>, field: &'static str, file: &File) -> Result<(), Error> {
        let target = format!("{}/{}?fields=id", self.path(table)?, id.as_ref());
        self.send_file(Method::PATCH, target, Bytes::from_static(b"{}"), field, file).await.map(drop)
    }

    async fn send_file(&self, method: Method, target: String, row: Bytes, field: &'static str, file: &File) -> Result<Bytes, Error> {
        let token = self.token().await?;
        let mut said = self.http().call(form(&method, &target, &row, field, file).token(&token)).await?;
        if self.was_nobody(&said, &token).await? {
            let token = self.another_token(&token).await?;
            said = self.http().call(form(&method, &target, &row, field, file).token(&token)).await?;
        }
        if said.status.is_success() { Ok(said.body) } else { Err(Refusal::parse(&said).into()) }
    }
}

/// `multipart/form-data` of two parts; the file's bytes are not copied.
fn form(method: &Method, target: &str, row: &Bytes, field: &str, file: &File) -> Call {
    let boundary = Uuid::new_v4().simple().to_string();
    let head = [
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"@jsonPayload\"\r\n\r\n").into_bytes(),
        row.to_vec(),
        format!(
            "\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
            file.name, file.content_type
        )
        .into_bytes(),
    ]
    .concat();
    let pieces = [Bytes::from(head), file.bytes.clone(), Bytes::from(format!("\r\n--{boundary}--\r\n"))];
    let body = StreamBody::new(stream::iter(pieces.map(|piece| Ok(Frame::data(piece)))));
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let content_type = HeaderValue::from_str(&content_type).expect("a boundary has only letters and digits");
    Call::new(method.clone(), target).body(content_type, RequestBody::Stream(body.boxed_unsync())).within(WITHIN)
}
