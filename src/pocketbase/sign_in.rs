//! A user's sign-in, passed through: PocketBase's own rules, limits and alerts apply.

use std::net::IpAddr;

use hyper::Method;
use hyper::header::{HeaderValue, USER_AGENT};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::callers::{User, with_address};
use super::http::{Call, Said};
use super::rows::Table;
use super::{Error, Store};

/// What a user signs in with, and from where.
pub struct SignIn<'a> {
    /// E-mail address, or whatever else the collection takes.
    pub identity: &'a str,
    /// PocketBase's password.
    pub password: &'a str,
    /// The first factor's id, where this is the second.
    pub mfa_id: Option<&'a str>,
    /// The caller's.
    pub address: IpAddr,
    /// The caller's browser: PocketBase mails an alert for one that it has not seen.
    pub agent: Option<HeaderValue>,
}

/// PocketBase's answer to a sign-in that worked.
pub struct SignedIn<'a> {
    /// The user's token.
    pub token: &'a str,
    /// The user's record, byte for byte.
    pub record: &'a RawValue,
    /// Who that is.
    pub user: User,
}

#[derive(Serialize)]
struct Body<'a> {
    identity: &'a str,
    password: &'a str,
    #[serde(rename = "mfaId", skip_serializing_if = "Option::is_none")]
    mfa_id: Option<&'a str>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    token: &'a str,
    #[serde(borrow)]
    record: &'a RawValue,
}

#[derive(Deserialize)]
struct Record<'a> {
    id: &'a str,
    #[serde(rename = "collectionId")]
    collection: &'a str,
}

impl Store {
    /// Asks PocketBase, and gives back what it says, refusals too.
    pub async fn sign_in(&self, sign_in: SignIn<'_>) -> Result<Said, Error> {
        let target = format!("/api/collections/{}/auth-with-password", self.admin.name(Table::Users));
        let body = Body { identity: sign_in.identity, password: sign_in.password, mfa_id: sign_in.mfa_id };
        // An alert may be mailed before the answer comes.
        let mut call =
            with_address(Call::new(Method::POST, target).json(&body), sign_in.address).within(std::time::Duration::from_secs(60));
        if let Some(agent) = sign_in.agent {
            call = call.header(USER_AGENT, agent);
        }
        Ok(self.admin.http().call(call).await?)
    }
}

impl<'a> SignedIn<'a> {
    /// Reads the answer; none if it is not one to a sign-in.
    pub fn parse(said: &'a Said) -> Option<Self> {
        let Answer { token, record } = serde_json::from_slice(&said.body).ok()?;
        let Record { id, collection } = serde_json::from_str(record.get()).ok()?;
        Some(Self { token, record, user: User { id: id.parse().ok()?, collection: collection.parse().ok()? } })
    }
}
