//! Sessions: signing in, opening one, ending it.

use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::extract::{Caller, given, known};
use super::tokens::Done;
use crate::app::App;
use crate::error::{Error, Fault};
use crate::keys::{self, KeyStatus};
use crate::pocketbase::callers::User;
use crate::pocketbase::http::Said;
use crate::pocketbase::sign_in::{SignIn, SignedIn};
use crate::reply::{self, Reply, Time};
use crate::sessions::{NotYours, SessionId};
use crate::vault::Password;

/// Body of `POST /api/custom/auth/login`.
#[derive(Deserialize, ToSchema)]
pub(super) struct Login {
    email: Option<String>,
    /// PocketBase's name for it.
    identity: Option<String>,
    #[schema(value_type = Option<String>)]
    password: Option<Password>,
    /// Where the password is the second factor.
    #[serde(rename = "mfaId")]
    mfa_id: Option<String>,
}

/// Body of `POST /api/custom/auth/create-session`.
#[derive(Deserialize, ToSchema)]
pub(super) struct CreateSession {
    #[schema(value_type = Option<String>)]
    password: Option<Password>,
}

/// Answer of `POST /api/custom/auth/login`.
#[derive(Serialize, ToSchema)]
pub(super) struct LoggedIn<'a> {
    token: &'a str,
    #[schema(value_type = Object)]
    record: &'a RawValue,
    session_id: String,
    expires_at: Option<Time>,
    message: &'static str,
    /// Whether a FAL key must be stored (again) before anything can be generated.
    needs_setup: bool,
}

/// Answer of `POST /api/custom/auth/create-session`.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    session_id: String,
    expires_at: Time,
}

/// Answer of `GET /api/custom/auth/token-status`.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenStatus {
    has_token: bool,
    has_active_session: bool,
    requires_login: bool,
    /// Whether a FAL key must be stored (again): there is none, or the user's password is known not to open it.
    needs_setup: bool,
}

/// Signs in through PocketBase, whose refusals are passed on as they are, and opens a session with the same password.
pub(super) async fn login(app: &App, address: std::net::IpAddr, agent: Option<HeaderValue>, body: Login) -> Result<Reply, Error> {
    let identity = given("email", body.email.or(body.identity))?;
    let password = given("password", body.password)?;
    app.rates.login(&identity, address)?;
    let sign_in = SignIn { identity: &identity, password: password.expose(), mfa_id: body.mfa_id.as_deref(), address, agent };
    let said = app.store.sign_in(sign_in).await?;
    if said.status != StatusCode::OK {
        return Ok(passed_on(said));
    }
    let Some(signed_in) = SignedIn::parse(&said) else {
        return Ok(passed_on(said));
    };
    known(signed_in.user.clone());
    app.rates.welcome(&identity, address);
    let (opening, message, needs_setup) = open(app, &signed_in, password, address).await;
    let (session_id, expires_at) = opening.map_or((String::new(), None), |opened| (opened.session.expose(), Some(Time(opened.expires))));
    let answer = LoggedIn { token: signed_in.token, record: signed_in.record, session_id, expires_at, message, needs_setup };
    Ok(reply::json(StatusCode::OK, &answer))
}

/// The sign-in has worked: whatever happens here, the answer is 200.
async fn open(
    app: &App,
    signed_in: &SignedIn<'_>,
    password: Password,
    address: std::net::IpAddr,
) -> (Option<keys::Opening>, &'static str, bool) {
    app.store.readiness.first_look().await;
    let user = &signed_in.user;
    match app.keys.open_session(user, signed_in.token, password, address).await {
        Ok(opening) => {
            app.jobs.resume_later(user.id);
            (Some(opening), "Login successful with auto-created session", false)
        }
        Err(keys::Error::NoKey) => (None, "Login successful. No FAL token configured - setup required", true),
        Err(keys::Error::Malformed) => (None, "Login successful. Invalid FAL token format - please setup token again", true),
        Err(keys::Error::WrongPassword) => {
            app.keys.login_did_not_open(user).await;
            (None, "Login successful. FAL token found but password doesn't match - please call create-session manually", true)
        }
        Err(error) => {
            tracing::warn!(user = %user.id, error = &error as &dyn std::error::Error, "a sign-in opened no session");
            (None, "Login successful. Session not created - please call create-session", false)
        }
    }
}

fn passed_on(said: Said) -> Reply {
    reply::raw(said.status, said.body)
}

/// Opens a session for whoever knows the password of their seal.
pub(super) async fn create_session(app: &App, caller: Caller<'_>, body: CreateSession) -> Result<Session, Error> {
    let password = given("password", body.password)?;
    let opened = app.keys.open_session(&caller.user, caller.token, password, caller.address).await?;
    app.jobs.resume_later(caller.user.id);
    Ok(Session { session_id: opened.session.expose(), expires_at: Time(opened.expires) })
}

/// Ends one session.
pub(super) fn delete_session(app: &App, user: &User, id: Option<&HeaderValue>) -> Result<Done, Error> {
    let id = id.ok_or_else(|| Fault::required("X-Session-ID"))?;
    let id: SessionId = id.to_str().ok().and_then(|id| id.parse().ok()).ok_or(Error::NotFound)?;
    match app.keys.sessions.end(&id, user.id, std::time::Instant::now()) {
        Ok(()) => Ok(Done::saying("Session deleted successfully")),
        Err(NotYours::Missing) => Err(Error::NotFound),
        Err(NotYours::Foreign) => Err(Error::Forbidden("The session belongs to another user.")),
    }
}

/// What a front end has to do next.
pub(super) async fn token_status(app: &App, user: User) -> Result<TokenStatus, Error> {
    let KeyStatus { stored: has_token, unusable } = app.keys.status(&user).await?;
    let has_active_session = has_token && app.keys.sessions.has_session(user.id, std::time::Instant::now());
    Ok(TokenStatus { has_token, has_active_session, requires_login: has_token && !has_active_session, needs_setup: !has_token || unusable })
}
