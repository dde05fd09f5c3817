//! Where FAL is, and where pictures may come from.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use reqwest::Url;

/// How FAL is reached. Only tests, `generatio dev` and those behind a gateway of their own set any of this.
#[derive(Args, Clone, Debug)]
pub struct Fal {
    /// FAL's queue
    #[arg(long = "fal-queue-url", env = "GENERATIO_FAL_QUEUE_URL", default_value = "https://queue.fal.run", value_name = "URL")]
    pub queue: FalUrl,

    /// FAL's account endpoints
    #[arg(long = "fal-rest-url", env = "GENERATIO_FAL_REST_URL", default_value = "https://rest.fal.ai", value_name = "URL")]
    pub rest: FalUrl,

    /// FAL's prices and request history
    #[arg(long = "fal-api-url", env = "GENERATIO_FAL_API_URL", default_value = "https://api.fal.ai", value_name = "URL")]
    pub api: FalUrl,

    /// Hosts that pictures may be downloaded from
    #[arg(
        long = "fal-media-hosts",
        env = "GENERATIO_FAL_MEDIA_HOSTS",
        default_value = "fal.media,*.fal.media",
        value_delimiter = ',',
        value_name = "HOST,..."
    )]
    pub media_hosts: Vec<HostPattern>,

    /// Let keys travel by plain HTTP to another machine; for a simulator in a network of your own, never for FAL
    #[arg(long = "fal-insecure", env = "GENERATIO_FAL_INSECURE", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub insecure: bool,

    /// A models.toml that adds models to the built-in ones, or replaces them
    #[arg(long, env = "GENERATIO_MODELS", value_name = "FILE")]
    pub models: Option<PathBuf>,
}

impl Fal {
    /// Leaves FAL for a simulator on this machine.
    ///
    /// # Errors
    /// When its address cannot be one of FAL's.
    pub fn point_at(&mut self, simulator: SocketAddr) -> Result<(), String> {
        self.queue = format!("http://{simulator}/queue").parse()?;
        self.rest = format!("http://{simulator}/rest").parse()?;
        self.api = format!("http://{simulator}/api").parse()?;
        self.media_hosts = vec![simulator.ip().to_string().parse()?];
        Ok(())
    }
}

/// The address of a part of FAL: a scheme, a host, and the path under which it lies.
#[derive(Clone, PartialEq, Eq)]
pub struct FalUrl(Url);

impl FalUrl {
    /// Whether a key sent here could be read on the way: plain HTTP to another machine.
    pub fn is_clear_text(&self) -> bool {
        !self.is_https() && !is_loopback(&self.0)
    }

    /// Whether it is reached by TLS.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The address of something under this one. The path is ours or parsed, never outside text.
    pub fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/{path}", self.0.path().trim_end_matches('/')));
        url
    }

    /// Whether an address lies under this one: the same scheme, host and port, and a path that goes on from ours.
    pub fn covers(&self, url: &Url) -> bool {
        let base = self.0.path().trim_end_matches('/');
        let below = url.path().strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
        let plain = url.username().is_empty() && url.password().is_none();
        plain && below && self.0.origin() == url.origin()
    }
}

impl FromStr for FalUrl {
    type Err = String;

    /// Plain HTTP is refused later, by the client, since only the whole of the settings says whether it is allowed.
    fn from_str(text: &str) -> Result<Self, String> {
        let url: Url = text.parse().map_err(|_| "expected a URL like https://queue.fal.run".to_owned())?;
        if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
            return Err("expected a URL that begins with https://".into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("user names and passwords do not belong in this URL".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("expected no query or fragment".into());
        }
        Ok(Self(url))
    }
}

impl fmt::Display for FalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for FalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A host, or with `*.` before it every name under one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    host: String,
    below: bool,
}

impl HostPattern {
    /// Whether a URL's host is meant. `*.fal.media` means `v3.fal.media`, and neither `fal.media` nor `evilfal.media`.
    pub fn covers(&self, url: &Url) -> bool {
        let Some(host) = host(url) else { return false };
        match host.strip_suffix(self.host.as_str()) {
            Some("") => !self.below,
            Some(name) => self.below && name.len() > 1 && name.ends_with('.'),
            None => false,
        }
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (below, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        let bare = name.trim_matches(['[', ']']);
        let address = bare.parse::<IpAddr>().is_ok();
        let letters = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if (address && below) || !(address || name.split('.').all(letters)) {
            return Err("expected a host like fal.media, or *.fal.media for every name under it".into());
        }
        Ok(Self { host: bare.to_ascii_lowercase(), below })
    }
}

/// Whether a URL means this machine, by a name that nobody else can give an address to.
pub fn is_loopback(url: &Url) -> bool {
    let Some(host) = host(url) else { return false };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A URL's host, without the brackets of an IPv6 address.
fn host(url: &Url) -> Option<&str> {
    url.host_str().map(|host| host.trim_matches(['[', ']']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().expect(text)
    }

    #[test]
    fn a_fal_url_has_a_scheme_a_host_and_perhaps_a_path() {
        for text in ["https://queue.fal.run", "http://127.0.0.1:8788/queue", "http://[::1]:1/x/", "http://fal-sim:8788"] {
            assert!(text.parse::<FalUrl>().is_ok(), "{text}");
        }
        for text in ["", "queue.fal.run", "ftp://a", "https://u:p@a", "https://a?b", "https://a#b", "unix:/x", "data:,x"] {
            assert!(text.parse::<FalUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_is_in_clear_text_over_plain_http_to_another_machine_only() {
        for (text, clear) in [
            ("https://queue.fal.run", false),
            ("http://127.0.0.1:1", false),
            ("http://127.9.9.9", false),
            ("http://localhost:1", false),
            ("http://[::1]", false),
            ("http://queue.fal.run", true),
            ("http://localhost.evil.example", true),
            ("http://127.0.0.1.evil.example", true),
            ("http://192.168.1.1", true),
        ] {
            assert_eq!(text.parse::<FalUrl>().expect(text).is_clear_text(), clear, "{text}");
        }
    }

    #[test]
    fn an_address_is_covered_only_on_the_same_origin_and_under_the_same_path() {
        let base: FalUrl = "http://127.0.0.1:8788/queue".parse().expect("a URL");
        assert_eq!(base.at("fal-ai/flux").as_str(), "http://127.0.0.1:8788/queue/fal-ai/flux");
        assert!(base.covers(&url("http://127.0.0.1:8788/queue/fal-ai/flux/requests/1?logs=1")));
        for text in [
            "https://127.0.0.1:8788/queue/a",
            "http://127.0.0.1:8789/queue/a",
            "http://127.0.0.2:8788/queue/a",
            "http://127.0.0.1:8788/queued/a",
            "http://127.0.0.1:8788/queue/../rest/a",
            "http://127.0.0.1:8788/queue/%2e%2e/rest/a",
            "http://u@127.0.0.1:8788/queue/a",
            "http://127.0.0.1:8788@evil.example/queue/a",
        ] {
            assert!(!base.covers(&url(text)), "{text}");
        }
        let fal: FalUrl = "https://queue.fal.run".parse().expect("a URL");
        assert!(fal.covers(&url("https://queue.fal.run:443/a")) && !fal.covers(&url("https://evilqueue.fal.run/a")));
    }

    #[test]
    fn a_wildcard_ends_at_a_dot() {
        let under: HostPattern = "*.fal.media".parse().expect("a pattern");
        let exact: HostPattern = "FAL.media".parse().expect("a pattern");
        for (text, by_under, by_exact) in [
            ("https://v3.fal.media/x", true, false),
            ("https://a.b.fal.media/x", true, false),
            ("https://fal.media/x", false, true),
            ("https://Fal.Media/x", false, true),
            ("https://evilfal.media/x", false, false),
            ("https://.fal.media/x", false, false),
            ("https://fal.media.evil.example/x", false, false),
            ("https://fal.media@evil.example/x", false, false),
        ] {
            let Ok(address) = text.parse() else { continue };
            assert_eq!((under.covers(&address), exact.covers(&address)), (by_under, by_exact), "{text}");
        }
        assert!("::1".parse::<HostPattern>().is_ok_and(|pattern| pattern.covers(&url("http://[::1]:1/x"))));
        for text in ["", "*", "*.", "*.*.a", "a b", "a/b", "a:1", "*.127.0.0.1", "*.::1"] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
