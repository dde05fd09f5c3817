//! The superuser's own token: signed in once for all who wait, renewed before it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::Error;
use super::claims::Claims;
use super::http::{Call, Http};
use super::refusal::Refusal;
use crate::config::Credentials;

/// A sign-in may wait for a mail that PocketBase sends first (`facts/pocketbase.md` 1).
const WITHIN: Duration = Duration::from_secs(40);
/// After a refusal nobody asks again for this long: PocketBase counts sign-ins, and a wrong password does not become right.
const REST: Duration = Duration::from_secs(5);
/// A token is renewed when so many seconds are left of it, or a quarter of what it was given: an operator may let tokens live for minutes.
const RENEW_BEFORE: i64 = 6 * 3600;

/// A renewal that failed is tried again after so many seconds.
const PUT_OFF: i64 = 60;

/// How the sidecar proves to PocketBase that it is a superuser.
pub(super) struct SignIn {
    credentials: Option<Credentials>,
    /// Held while PocketBase is asked: whoever comes meanwhile waits for that answer.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Held>,
    refused: Option<(Instant, Arc<str>)>,
}

struct Held {
    header: HeaderValue,
    /// Seconds of the Unix epoch.
    expires: i64,
    /// The same; a token that cannot be renewed is used to its end.
    renew_from: i64,
}

#[derive(Serialize)]
struct Identity<'a> {
    identity: &'a str,
    password: &'a str,
}

#[derive(Deserialize)]
struct Issued {
    token: String,
}

impl SignIn {
    pub(super) fn new(credentials: Option<Credentials>) -> Self {
        Self { credentials, state: Mutex::default() }
    }

    /// A token that PocketBase took when it was last used, or a new one.
    pub(super) async fn token(&self, http: &Http) -> Result<HeaderValue, Error> {
        let mut state = self.state.lock().await;
        let now = Timestamp::now().as_second();
        match &state.token {
            Some(held) if held.renew_from > now => return Ok(held.header.clone()),
            Some(held) if held.expires > now => match refresh(http, &held.header).await {
                Ok(renewed) => return Ok(state.keep(renewed)),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the superuser's token could not be renewed"),
            },
            Some(_) | None => {}
        }
        if let Some(held) = state.token.as_mut().filter(|held| held.expires > now + PUT_OFF) {
            // It is good for some time yet, and all who call wait here.
            held.renew_from = now + PUT_OFF;
            return Ok(held.header.clone());
        }
        self.sign_in(http, &mut state).await
    }

    /// A token other than this one, which PocketBase refused. All who were refused with it share one new sign-in.
    pub(super) async fn another(&self, http: &Http, refused: &HeaderValue) -> Result<HeaderValue, Error> {
        let mut state = self.state.lock().await;
        match &state.token {
            Some(held) if held.header != refused => return Ok(held.header.clone()),
            Some(_) => state.token = None,
            None => {}
        }
        if matches!(self.credentials, Some(Credentials::Token(_))) {
            return Err(Error::Credentials("PocketBase does not take GENERATIO_POCKETBASE_TOKEN any more".into()));
        }
        self.sign_in(http, &mut state).await
    }

    async fn sign_in(&self, http: &Http, state: &mut State) -> Result<HeaderValue, Error> {
        if let Some((at, words)) = &state.refused
            && at.elapsed() < REST
        {
            return Err(Error::Credentials(Arc::clone(words)));
        }
        let (email, password) = match &self.credentials {
            None => return Err(Error::NoSuperuser),
            Some(Credentials::Token(token)) => return Ok(state.keep(Held::parse(token.expose())?)),
            Some(Credentials::Password { email, password }) => (email, password),
        };
        let identity = Identity { identity: email, password: password.expose() };
        let call = Call::new(Method::POST, "/api/collections/_superusers/auth-with-password?fields=token").json(&identity).within(WITHIN);
        match issued(http, call).await {
            Ok(held) => {
                tracing::info!("signed in to PocketBase as a superuser");
                Ok(state.keep(held))
            }
            Err(error) => {
                if let Error::Credentials(words) = &error {
                    state.refused = Some((Instant::now(), Arc::clone(words)));
                }
                Err(error)
            }
        }
    }
}

async fn refresh(http: &Http, token: &HeaderValue) -> Result<Held, Error> {
    issued(http, Call::new(Method::POST, "/api/collections/_superusers/auth-refresh?fields=token").token(token)).await
}

async fn issued(http: &Http, call: Call) -> Result<Held, Error> {
    let said = http.call(call).await?;
    if said.status == StatusCode::OK {
        let issued: Issued = serde_json::from_slice(&said.body).map_err(Error::Unexpected)?;
        return Held::parse(&issued.token);
    }
    if said.status.is_server_error() {
        return Err(Error::Refused(Refusal::parse(&said)));
    }
    let words = match said.status {
        StatusCode::UNAUTHORIZED => {
            "multi-factor sign-in is on for superusers: set GENERATIO_POCKETBASE_TOKEN instead of a password".into()
        }
        StatusCode::TOO_MANY_REQUESTS => "PocketBase's rate limit for sign-ins is used up".into(),
        StatusCode::NOT_FOUND => "it has no superusers to sign in: it is older than 0.23, or not PocketBase".into(),
        StatusCode::FORBIDDEN => "PocketBase's settings (superuserIPs) do not let superusers in from the sidecar's address".into(),
        status => format!("PocketBase does not take the superuser's e-mail address and password ({status})"),
    };
    Err(Error::Credentials(words.into()))
}

impl State {
    fn keep(&mut self, held: Held) -> HeaderValue {
        let header = held.header.clone();
        *self = Self { token: Some(held), refused: None };
        header
    }
}

impl Held {
    fn parse(token: &str) -> Result<Self, Error> {
        let unusable = || Error::Credentials("the superuser's token is not one of PocketBase's".into());
        let claims = Claims::peek(token).ok_or_else(unusable)?;
        let mut header = HeaderValue::from_str(token).map_err(|_| unusable())?;
        header.set_sensitive(true);
        let quarter = (claims.expires - Timestamp::now().as_second()) / 4;
        let renew_from = if claims.refreshable { claims.expires - RENEW_BEFORE.min(quarter) } else { claims.expires };
        Ok(Self { header, expires: claims.expires, renew_from })
    }
}
