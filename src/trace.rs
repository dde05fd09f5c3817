//! Which request work is done for: its id goes along into every line of the log that the work writes, and to PocketBase.

use std::sync::{Arc, OnceLock};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::task::futures::TaskLocalFuture;
use tracing::Span;
use tracing::instrument::{Instrument, Instrumented};

use crate::id::UserId;

/// The header that names a request in logs, here and at PocketBase.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header of W3C Trace Context that ties the requests of several programs together.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A request as its traces know it.
#[derive(Debug)]
pub struct Origin {
    id: HeaderValue,
    parent: Option<HeaderValue>,
    user: OnceLock<UserId>,
}

tokio::task_local! {
    static ORIGIN: Arc<Origin>;
}

impl Origin {
    /// A request of this id, with what its headers say of a trace; what is malformed there counts as nothing.
    pub fn new(id: HeaderValue, headers: &HeaderMap) -> Arc<Self> {
        let parent = headers.get(TRACEPARENT).filter(|parent| trace_id(parent).is_some()).cloned();
        Arc::new(Self { id, parent, user: OnceLock::new() })
    }

    /// The request that this task works for, if it works for one.
    pub fn current() -> Option<Arc<Self>> {
        ORIGIN.try_with(Arc::clone).ok()
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// The id of the trace that it belongs to, if it belongs to one.
    pub fn trace_id(&self) -> Option<&str> {
        self.parent.as_ref().and_then(trace_id)
    }

    /// Whose request it is, once that is known.
    pub fn user(&self) -> Option<UserId> {
        self.user.get().copied()
    }

    /// Whose it is was found out.
    pub fn is_of(&self, user: UserId) {
        // Found out twice, it is the same user.
        let _first = self.user.set(user);
    }

    /// What a call on its behalf says of it.
    pub fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(X_REQUEST_ID, self.id.clone());
        if let Some(parent) = &self.parent {
            headers.insert(TRACEPARENT, parent.clone());
        }
    }

    /// Work for this request: until its end [`Origin::current`] is this one, and each line that it logs names it.
    pub fn working<F: Future>(self: Arc<Self>, work: F) -> TaskLocalFuture<Arc<Self>, Instrumented<F>> {
        let span = self.span();
        ORIGIN.scope(self, work.instrument(span))
    }

    /// In which lines name this request.
    pub fn span(&self) -> Span {
        // The level of the lines that are rarest: a span of a lower one would be missing where only those are logged.
        tracing::error_span!("request", request_id = self.id(), trace_id = self.trace_id())
    }
}

/// Work that goes on by itself is done for the same request as the work that begins it: to be called there, before it is given away.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> + use<F> {
    let origin = Origin::current();
    async move {
        match origin {
            Some(origin) => origin.working(work).await,
            None => work.await,
        }
    }
}

/// The second part of `00-<32 digits>-<16 digits>-<2 digits>`, if it is that and not all zeros (Trace Context 3.2.2). Later versions may have more at the end.
fn trace_id(parent: &HeaderValue) -> Option<&str> {
    let text = parent.to_str().ok().filter(|text| text.len() <= 128)?;
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_one = |part: &str| part.bytes().any(|byte| byte != b'0');
    let whole = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2) && is_one(trace) && is_one(span);
    let ends = version == "00" && parts.next().is_none() || !matches!(version, "00" | "ff");
    (whole && ends).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_traceparent_is_one() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (text, is_one) in [
            (format!("00-{trace}-00f067aa0ba902b7-01"), true),
            (format!("cc-{trace}-00f067aa0ba902b7-01-more"), true),
            (format!("00-{trace}-00f067aa0ba902b7-01-more"), false),
            (format!("ff-{trace}-00f067aa0ba902b7-01"), false),
            (format!("00-{trace}-0000000000000000-01"), false),
            (format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()), false),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), false),
            (format!("00-{trace}-00f067aa0ba902b7"), false),
            ("x".into(), false),
        ] {
            let found = HeaderValue::from_str(&text).expect("a value");
            assert_eq!(trace_id(&found).is_some_and(|id| id == trace), is_one, "{text}");
        }
    }

    #[tokio::test]
    async fn what_a_task_begins_is_done_for_the_same_request() {
        let origin = Origin::new(HeaderValue::from_static("one"), &HeaderMap::new());
        let seen = origin.working(async {
            let begun = tokio::spawn(carried(async { Origin::current().map(|origin| origin.id().to_owned()) }));
            begun.await.expect("it ends")
        });
        assert_eq!(seen.await.as_deref(), Some("one"));
        assert!(Origin::current().is_none());
    }
}
