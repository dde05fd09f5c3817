//! The body of a request to PocketBase.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

/// Bytes as they arrive, and why they may not.
pub type Streaming = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The body of a request to PocketBase.
pub enum RequestBody {
    /// None at all.
    Empty,
    /// Whatever arrives, read only as PocketBase takes it.
    Stream(Streaming),
}

impl RequestBody {
    /// A body that is in memory.
    pub fn whole(bytes: Bytes) -> Self {
        Self::Stream(Full::from(bytes).map_err(|never| match never {}).boxed_unsync())
    }
}
