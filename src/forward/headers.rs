//! Headers that end at a proxy, and headers that say whose request it is.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, TE};

use crate::config::TrustedProxy;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where a request comes from: the peer of its connection, or whom a trusted proxy names.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The client's address, never an IPv4 one in its IPv6 disguise.
    pub address: IpAddr,
    /// The same as PocketBase is to see it: two lines of a head.
    lines: Arc<str>,
    /// Whether the peer is a proxy whose headers about the client are believed.
    through_trusted: bool,
    /// Whether the address is a proxy's, trusted or on this machine, and stands for all of its clients.
    is_proxys: bool,
}

impl Caller {
    /// The peer of a connection.
    pub fn direct(peer: IpAddr, trusted: &[TrustedProxy]) -> Self {
        let address = peer.to_canonical();
        let through_trusted = is_trusted(address, trusted);
        Self { address, lines: lines(address), through_trusted, is_proxys: through_trusted || address.is_loopback() }
    }

    /// Whether the connection comes from a trusted proxy: then each request of it may name another client.
    pub fn is_trusted_proxy(&self) -> bool {
        self.through_trusted
    }

    /// The client that a trusted proxy names in this request.
    pub fn named_by_proxy(&self, headers: &HeaderMap, trusted: &[TrustedProxy]) -> Self {
        let address = callers_address(headers, self.address, trusted);
        let is_proxys = is_trusted(address, trusted) || address.is_loopback();
        Self { address, lines: lines(address), through_trusted: self.through_trusted, is_proxys }
    }

    /// The lines of a head that tell PocketBase about the client.
    pub(super) fn lines(&self) -> &str {
        &self.lines
    }

    /// Whether limits by address would hold back many for one: the address is a trusted proxy's that names nobody, or of this machine,
    /// where a proxy may be that nobody told us of.
    pub fn is_exempt(&self) -> bool {
        self.is_proxys
    }
}

fn is_trusted(address: IpAddr, trusted: &[TrustedProxy]) -> bool {
    trusted.iter().any(|proxy| proxy.covers(address))
}

fn lines(address: IpAddr) -> Arc<str> {
    format!("x-real-ip: {address}\r\nx-forwarded-for: {address}\r\n").into()
}

/// The client's address by the `X-Forwarded-For` lines of a trusted proxy: from the right, the first one that is not itself a trusted
/// proxy. An entry that is no address ends the search, since whatever stands left of it was written by nobody we trust.
fn callers_address(headers: &HeaderMap, peer: IpAddr, trusted: &[TrustedProxy]) -> IpAddr {
    let mut nearest = peer;
    let lines: Vec<&HeaderValue> = headers.get_all(X_FORWARDED_FOR).iter().collect();
    let entries = lines.iter().rev().flat_map(|line| line.to_str().unwrap_or("?").rsplit(','));
    for entry in entries {
        let Ok(address) = entry.trim().parse::<IpAddr>() else { break };
        nearest = address.to_canonical();
        if !is_trusted(nearest, trusted) {
            break;
        }
    }
    nearest
}

/// What PocketBase is to see: no header of this connection, and nothing that says who the client is, which its two lines do.
pub(super) fn prepare_request(headers: &mut HeaderMap, caller: &Caller) {
    let mut accepts_trailers = false;
    let believed = caller.through_trusted;
    remove(headers, |name, value| {
        accepts_trailers |= name == TE && names(value).any(|name| name.eq_ignore_ascii_case("trailers"));
        let name = name.as_str();
        is_hop_by_hop(name) || is_overruling(name) || is_address(name) || !believed && is_claim(name)
    });
    if accepts_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// What the client is to see: no header of our connection to PocketBase.
pub(super) fn prepare_response(headers: &mut HeaderMap) {
    remove(headers, |name, _| is_hop_by_hop(name.as_str()));
}

/// Removes what is unwanted, and by RFC 9110 7.6.1 what any `Connection` line names, save what a message cannot do without.
fn remove(headers: &mut HeaderMap, mut is_unwanted: impl FnMut(&HeaderName, &HeaderValue) -> bool) {
    let mut found = Vec::new();
    for (name, value) in headers.iter() {
        if name == CONNECTION {
            found.push(CONNECTION);
            let nominated = names(value).filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
            found.extend(nominated.filter(|name| !is_essential(name.as_str())));
        } else if is_unwanted(name, value) {
            found.push(name.clone());
        }
    }
    for name in found {
        headers.remove(name);
    }
}

/// What belongs to one connection.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "te" | "transfer-encoding"
            | "upgrade"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings"
    )
}

/// What a client cannot have removed by naming it in `Connection`: framing, routing, and who the caller is.
fn is_essential(name: &str) -> bool {
    matches!(name, "host" | "content-length" | "trailer" | "authorization" | "content-type" | "expect")
}

/// By which a client would overrule the request line.
fn is_overruling(name: &str) -> bool {
    matches!(name, "x-original-url" | "x-rewrite-url" | "x-http-method-override")
}

/// What we say about the client in any case.
fn is_address(name: &str) -> bool {
    matches!(name, "x-real-ip" | "x-forwarded-for")
}

/// What a client says about itself; a trusted proxy's word is believed.
fn is_claim(name: &str) -> bool {
    name == "forwarded" || name.starts_with("x-forwarded-")
}

/// The names in one line of `Connection` or `TE`.
fn names(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let parts = value.as_bytes().split(|byte| *byte == b',').filter_map(|part| std::str::from_utf8(part).ok());
    parts.map(|name| name.split(';').next().unwrap_or_default().trim()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn every_connection_line_counts_and_none_removes_what_is_essential() {
        let mut headers =
            map(&[("connection", "keep-alive, x-a, foo"), ("authorization", "a"), ("foo", "1"), ("bar", "2"), ("keep-alive", "9")]);
        headers.append(CONNECTION, HeaderValue::from_static("Bar, Authorization, Host, content-length"));
        headers.insert("host", HeaderValue::from_static("h"));
        prepare_response(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "host"]);
    }

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_holds() {
        let trusted: Vec<TrustedProxy> = vec!["10.0.0.0/8".parse().expect("a CIDR")];
        let peer = IpAddr::from([10, 0, 0, 1]);
        for (lines, expected) in [
            (vec![], "10.0.0.1"),
            (vec!["198.51.100.7"], "198.51.100.7"),
            (vec!["6.6.6.6, 198.51.100.7, 10.2.2.2"], "198.51.100.7"),
            (vec!["6.6.6.6", "198.51.100.7 , 10.2.2.2"], "198.51.100.7"),
            (vec!["6.6.6.6, unknown, 10.2.2.2"], "10.2.2.2"),
            (vec!["::ffff:198.51.100.7"], "198.51.100.7"),
            (vec!["10.1.1.1"], "10.1.1.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(X_FORWARDED_FOR, HeaderValue::from_static(line));
            }
            assert_eq!(callers_address(&headers, peer, &trusted).to_string(), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_a_stranger_says_about_itself_is_dropped() {
        let caller = Caller::direct(IpAddr::from([192, 0, 2, 1]), &[]);
        let mut headers = map(&[
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "6.6.6.6"),
            ("x-original-url", "/_/"),
            ("connection", "x-real-ip, x-forwarded-for"),
            ("te", "trailers, deflate;q=0.5"),
        ]);
        prepare_request(&mut headers, &caller);
        let mut left: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        left.sort_unstable();
        assert_eq!(left, [("te", &b"trailers"[..])]);
        assert_eq!(caller.lines(), "x-real-ip: 192.0.2.1\r\nx-forwarded-for: 192.0.2.1\r\n");
    }
}
