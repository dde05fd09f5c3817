//! A change of a user's password, noticed as it passes on its way to PocketBase.
//!
//! A request that may be one is passed on as every other. Its body is copied meanwhile, and looked at once PocketBase has said yes.

mod copy;
mod fields;
mod target;

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};

use crate::app::App;
use crate::keys::PasswordChange;
use crate::pocketbase::callers::User;
use crate::trace;
use copy::BodyCopy;
pub(super) use copy::Tee;
use fields::{Fields, Form};
use target::{Target, Users};

/// Changes followed for one request: a batch of a superuser's may hold hundreds.
const MOST_FOLLOWED: usize = 32;

/// A request that may change users' passwords.
pub struct Passing {
    target: Target,
    content_type: Option<HeaderValue>,
    query: Option<String>,
    copy: Arc<BodyCopy>,
    address: IpAddr,
}

impl Passing {
    /// None for nearly every request; that costs a look at the method, and for a POST or PATCH at the path. `address` is the caller's.
    pub fn notice<B>(request: &Request<B>, app: &App, address: IpAddr) -> Option<Self> {
        if !matches!(*request.method(), Method::PATCH | Method::POST) {
            return None;
        }
        let target = Target::of(request.method(), request.uri().path(), || users(app))?;
        let content_type = request.headers().get(CONTENT_TYPE).cloned();
        let query = request.uri().query().map(str::to_owned);
        Some(Self { target, content_type, query, copy: Arc::default(), address })
    }

    /// What the body is shown to on its way.
    pub(super) fn tee(&self) -> Tee {
        Tee::new(&self.copy)
    }

    /// PocketBase has answered. If passwords were changed, their users' sessions end now, and their keys are sealed anew by a task of
    /// ours: whoever asks for one after this has returned waits for that.
    pub async fn settle(self, app: &Arc<App>, status: StatusCode) {
        if !status.is_success() {
            return;
        }
        let changes = Box::pin(self.changes(app)).await;
        let following: Vec<_> = changes.into_iter().map(|change| app.keys.begin_following(change)).collect();
        if following.is_empty() {
            return;
        }
        let carried = Arc::clone(app);
        app.tasks.spawn_on(
            trace::carried(async move {
                for one in following {
                    carried.keys.follow(one).await;
                }
            }),
            &app.runtime,
        );
    }

    async fn changes(self, app: &App) -> Vec<PasswordChange> {
        let Some(body) = self.copy.take() else {
            tracing::debug!("a change of a user's record was too long to be looked at for a new password, or too many were on their way");
            return Vec::new();
        };
        let form = Form { content_type: self.content_type.as_ref(), query: self.query.as_deref() };
        let said = match self.target {
            Target::Record(id) => form.read::<Fields>(body).await.map(|fields| vec![(id, fields)]),
            Target::Batch => form.read::<fields::Batch>(body).await.map(|batch| batch.users(&users(app))),
        };
        let mut said = said.unwrap_or_default();
        said.retain(|(_, fields)| fields.changes_password());
        if said.is_empty() {
            return Vec::new();
        }
        if said.len() > MOST_FOLLOWED {
            tracing::warn!(
                changes = said.len(),
                "more passwords were changed at once than are followed: FAL keys beyond that must be set up again"
            );
            said.truncate(MOST_FOLLOWED);
        }
        let collection = match app.store.readiness.users_collection() {
            Ok(collection) => collection,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a password was changed, and a FAL key could not be sealed under it"
                );
                return Vec::new();
            }
        };
        let address = self.address;
        let change = |(id, fields): (_, Fields)| {
            Some(PasswordChange { user: User { id, collection: collection.clone() }, old: fields.old(), new: fields.into_new()?, address })
        };
        said.into_iter().filter_map(change).collect()
    }
}

fn users(app: &App) -> Users<'_> {
    Users { name: app.config.users_collection.as_str(), id: app.store.readiness.users_collection().ok() }
}
