//! Where a job is followed: FAL's own addresses, used only where they lead back to FAL.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;
use serde_json::Value;

use crate::config::FalUrl;

/// A model at FAL: `fal-ai/flux/schnell`, `workflows/owner/app`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(String);

/// Namespaces that put one more segment before the owner.
const NAMESPACES: [&str; 2] = ["workflows", "comfy"];

impl EndpointId {
    /// As FAL writes it, fit for a path and a query.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Owner and app, which is all that a job's own addresses name (facts: fal.md 1.1).
    fn app(&self) -> &str {
        let segments = if NAMESPACES.iter().any(|name| self.0.starts_with(&format!("{name}/"))) { 3 } else { 2 };
        self.0.match_indices('/').nth(segments - 1).map_or(self.as_str(), |(end, _)| &self.0[..end])
    }
}

impl FromStr for EndpointId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sane = |segment: &str| {
            let letters = segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            letters && !segment.is_empty() && !segment.bytes().all(|byte| byte == b'.')
        };
        let count = text.split('/').count();
        let well = (2..=8).contains(&count) && text.len() <= 200 && text.split('/').all(sane);
        well.then(|| Self(text.to_owned())).ok_or_else(|| "expected a FAL id like fal-ai/flux/schnell".into())
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// FAL's id of a job. Fit for a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(String);

impl RequestId {
    /// As FAL writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sane = (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        sane.then(|| Self(text.to_owned())).ok_or_else(|| "expected a request id of FAL's".into())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A job at FAL, and the addresses at which it is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    /// FAL's id of it.
    pub request_id: RequestId,
    /// How it stands.
    pub status_url: Url,
    /// What it gave.
    pub response_url: Url,
    /// Where it is cancelled.
    pub cancel_url: Url,
}

/// The three addresses as FAL or our own row writes them; any may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Links<'a> {
    /// `status_url`.
    pub status: Option<&'a str>,
    /// `response_url`.
    pub response: Option<&'a str>,
    /// `cancel_url`.
    pub cancel: Option<&'a str>,
}

impl<'a> Links<'a> {
    /// From the answer to a submit.
    pub(super) fn read(answer: &'a Value) -> Self {
        let link = |name: &str| answer[name].as_str();
        Self { status: link("status_url"), response: link("response_url"), cancel: link("cancel_url") }
    }
}

impl Handle {
    /// Where FAL says by itself how the job stands.
    pub(super) fn stream_url(&self) -> Url {
        let mut url = self.status_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("stream");
        }
        url
    }

    /// Takes each address that leads to the queue we know, and FAL's documented form in the place of one that does not: a key is sent
    /// there, and a job that is paid for is not given up for a strange address.
    pub(super) fn new(queue: &FalUrl, endpoint: &EndpointId, request_id: RequestId, links: Links<'_>) -> Self {
        let path = format!("{}/requests/{request_id}", endpoint.app());
        let choose = |link: Option<&str>, suffix: &str| {
            let given = link.and_then(|link| link.parse().ok()).filter(|url| queue.covers(url));
            if link.is_some() && given.is_none() {
                tracing::warn!(%request_id, "FAL gave an address that is not under {queue}; the documented one is used");
            }
            given.unwrap_or_else(|| queue.at(&format!("{path}{suffix}")))
        };
        Self {
            status_url: choose(links.status, "/status"),
            response_url: choose(links.response, ""),
            cancel_url: choose(links.cancel, "/cancel"),
            request_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(links: Links<'_>) -> Handle {
        let queue = "https://queue.fal.run".parse().expect("a URL");
        let endpoint = "fal-ai/flux/schnell".parse().expect("an endpoint");
        Handle::new(&queue, &endpoint, "764cabcf-b745".parse().expect("an id"), links)
    }

    #[test]
    fn fals_addresses_are_used_where_they_lead_to_the_queue() {
        let given = Links {
            status: Some("https://queue.fal.run/fal-ai/flux/requests/1/status?x=1"),
            response: Some("https://queue.fal.run/fal-ai/flux/requests/1/response"),
            cancel: Some("https://queue.fal.run/fal-ai/flux/requests/1/cancel"),
        };
        let handle = handle(given);
        assert_eq!(handle.status_url.as_str(), "https://queue.fal.run/fal-ai/flux/requests/1/status?x=1");
        assert_eq!(handle.stream_url().as_str(), "https://queue.fal.run/fal-ai/flux/requests/1/status/stream?x=1");
        assert_eq!(handle.response_url.as_str(), "https://queue.fal.run/fal-ai/flux/requests/1/response");
    }

    #[test]
    fn a_strange_address_gives_way_to_the_documented_one() {
        for link in
            ["https://evil.example/x", "http://queue.fal.run/x", "https://queue.fal.run@evil.example/", "/relative", "", "https://["]
        {
            let handle = handle(Links { status: Some(link), response: Some(link), cancel: Some(link) });
            let base = "https://queue.fal.run/fal-ai/flux/requests/764cabcf-b745";
            assert_eq!(handle.status_url.as_str(), format!("{base}/status"), "{link}");
            assert_eq!(handle.response_url.as_str(), base, "{link}");
            assert_eq!(handle.cancel_url.as_str(), format!("{base}/cancel"), "{link}");
        }
    }

    #[test]
    fn a_job_is_followed_at_owner_and_app() {
        for (id, app) in [
            ("fal-ai/flux/schnell", "fal-ai/flux"),
            ("fal-ai/hidream-i1-dev", "fal-ai/hidream-i1-dev"),
            ("workflows/owner/app/sub", "workflows/owner/app"),
            ("comfy/owner/app", "comfy/owner/app"),
        ] {
            assert_eq!(id.parse::<EndpointId>().expect(id).app(), app);
        }
        for text in ["", "flux", "/a/b", "a//b", "a/../b", "a/b?c", "a/b#c", "a/b c", "a/%2e", "a/b/"] {
            assert!(text.parse::<EndpointId>().is_err(), "{text}");
        }
        assert!(["", "a/b", "..", "a?b", "a b"].iter().all(|text| text.parse::<RequestId>().is_err()));
    }
}
