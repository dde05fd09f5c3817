//! Names and addresses: of PocketBase, of pages that may call us, of proxies that are believed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::HeaderValue;
use http::uri::{Authority, Scheme, Uri};
use ipnet::IpNet;

/// Where PocketBase listens: a host and a port, reached by plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PocketBaseUrl {
    host: String,
    port: u16,
    authority: HeaderValue,
}

impl PocketBaseUrl {
    /// The host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as a server wants to be told where to listen.
    pub fn socket(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    /// The value of a `Host` header for requests that are our own.
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    fn of(authority: &Authority) -> Result<Self, String> {
        if authority.as_str().contains('@') {
            return Err("user names and passwords do not belong in this URL".into());
        }
        // `Authority::port` knows no port where it cannot read one.
        let port = match authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':')) {
            None => 80,
            Some(digits) => digits.parse().ok().filter(|port| *port > 0).ok_or("expected a port from 1 to 65535")?,
        };
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port,
            authority: HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?,
        })
    }
}

impl FromStr for PocketBaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| "expected a URL like http://127.0.0.1:8090".to_owned())?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err("expected a URL that begins with http:// (TLS to PocketBase is not offered: keep it on a private network)".into());
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err("expected no path or query after the host and port".into());
        }
        let authority = uri.authority().ok_or("expected a host")?;
        Self::of(authority)
    }
}

impl fmt::Display for PocketBaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority.to_str().unwrap_or_default())
    }
}

/// The name of a PocketBase collection, which can stand in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionName(String);

impl CollectionName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CollectionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sane = (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        sane.then(|| Self(text.to_owned())).ok_or_else(|| "expected the name of a collection: letters, digits and underscores".into())
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where browsers find us: an origin, and perhaps a path under which a proxy has put us, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| "expected a URL like https://app.example.com".to_owned())?;
        let http = uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
        if !http || uri.query().is_some() || uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err("expected a URL like https://app.example.com, without a query or a user name".into());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One entry of `--origins`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// `*`: whichever page asks.
    Any,
    /// Exactly this value of the `Origin` header.
    Only(HeaderValue),
}

impl FromStr for AllowedOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let uri: Uri = text.parse().map_err(|_| "expected * or an origin like https://app.example.com".to_owned())?;
        if uri.scheme().is_none() || uri.authority().is_none() || uri.path() != "/" || text.ends_with('/') {
            return Err("expected * or an origin like https://app.example.com, without a path".into());
        }
        HeaderValue::from_str(text).map(Self::Only).map_err(|error| error.to_string())
    }
}

/// One entry of `--trusted-proxies`: an address or a CIDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedProxy(IpNet);

impl TrustedProxy {
    /// Whether this address (an IPv4 one never in its IPv6 disguise) belongs to the proxy.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map(Self)
            .map_err(|_| "expected an address or a CIDR like 10.0.0.0/8".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pocketbase_url_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("http://127.0.0.1:8090", "127.0.0.1", 8090),
            ("http://pocketbase:8090/", "pocketbase", 8090),
            ("http://[::1]:8090", "::1", 8090),
            ("http://pocketbase", "pocketbase", 80),
        ] {
            let url: PocketBaseUrl = text.parse().expect(text);
            assert_eq!((url.host(), url.port()), (host, port));
        }
        for text in [
            "",
            "127.0.0.1:8090",
            "https://a:1",
            "http://a:1/x",
            "http://a:1/?x",
            "http://u:p@a:1",
            "http://a:0",
            "http://a:70000",
            "ftp://a:1",
        ] {
            assert!(text.parse::<PocketBaseUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_has_no_path() {
        assert_eq!("*".parse(), Ok(AllowedOrigin::Any));
        assert!("https://app.example.com".parse::<AllowedOrigin>().is_ok());
        for text in ["", "app.example.com", "https://a/", "https://a/b"] {
            assert!(text.parse::<AllowedOrigin>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_trusted_proxy_is_an_address_or_a_cidr() {
        let proxy: TrustedProxy = "10.0.0.0/8".parse().expect("a CIDR");
        assert!(proxy.covers(IpAddr::from([10, 1, 2, 3])) && !proxy.covers(IpAddr::from([11, 1, 2, 3])));
        assert!("10.0.0.1".parse::<TrustedProxy>().is_ok_and(|one| !one.covers(IpAddr::from([10, 0, 0, 2]))));
        assert!("10.0.0.0/40".parse::<TrustedProxy>().is_err());
    }
}
