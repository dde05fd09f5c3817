//! What an operator wants to know about a PocketBase, and what can be mended in it.

use std::net::IpAddr;

use hyper::header::{DATE, HeaderName};
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::{Deserialize, Serialize};

use super::admin::{Repeat, parse};
use super::callers::with_address;
use super::claims::Claims;
use super::http::Call;
use super::readiness::{Found, Problem};
use super::refusal::Refusal;
use super::{Error, Store, changes};

const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// What PocketBase's health check said.
#[derive(Clone, Copy, Debug)]
pub struct Greeting {
    /// Whether the answer was PocketBase's.
    pub genuine: bool,
    /// Its clock, to the second.
    pub clock: Option<Timestamp>,
    /// Whether it sends the header that came with 0.40.
    since_0_40: bool,
}

/// Until when a superuser's token is good.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    /// Seconds of the Unix epoch.
    pub expires: i64,
    /// Whether it is renewed before that.
    pub renewable: bool,
}

/// The releases that a PocketBase may be of: it does not tell its version, and is known by what it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// 0.23, the oldest with what we need.
    From0_23,
    /// 0.24 to 0.37.
    From0_24,
    /// 0.38.
    From0_38,
    /// 0.39.
    From0_39,
    /// 0.40 or newer.
    From0_40,
}

/// Whose address PocketBase takes a client's to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Believed {
    /// The one that the sidecar names.
    Ours,
    /// The sidecar's own, for every client.
    Peer(String),
    /// One that clients can choose by sending this header: the sidecar passes it on.
    Forgeable(String),
}

/// A user whose books disagree.
#[derive(Clone, Debug, Deserialize)]
pub struct Books {
    /// Who; the ledger outlives users, and keeps whatever id they had.
    pub user: String,
    /// The truth.
    pub ledger_micros: i64,
    /// The same in images.
    pub ledger_images: i64,
    /// What was derived from it; -1 for what is not there.
    pub totals_micros: i64,
    /// The same in images.
    pub totals_images: i64,
    /// What the user sees; -1 for what is not there.
    pub financial_micros: i64,
    /// The same in images.
    pub financial_images: i64,
    /// Whether there still is such a user.
    pub user_exists: bool,
    /// What their pictures cost; less than the ledger says when some were removed.
    pub images_micros: i64,
}

/// Some users, in the order of their ids.
#[derive(Debug, Deserialize)]
pub struct BooksPage {
    /// How many were looked at.
    pub checked: usize,
    /// Those whose books disagree.
    pub users: Vec<Books>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// What a repair did.
#[derive(Debug, Deserialize)]
pub struct Repaired {
    /// One line for each change.
    pub done: Vec<String>,
    /// What is left.
    pub problems: Vec<Problem>,
}

impl Books {
    /// Whether everything that was derived from the ledger agrees with it.
    pub fn sums_agree(&self) -> bool {
        let ledger = (self.ledger_micros, self.ledger_images);
        let financial = !self.user_exists || (self.financial_micros, self.financial_images) == ledger;
        (self.totals_micros, self.totals_images) == ledger && financial
    }

    /// Whether pictures cost more than was ever charged: no sum can be written anew for that.
    pub fn is_undercharged(&self) -> bool {
        self.images_micros > self.ledger_micros
    }
}

impl std::fmt::Display for Books {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "user {}: ledger {} micro-dollars and {} images, totals {} and {}, financial_data {} and {}, images cost {}",
            self.user,
            self.ledger_micros,
            self.ledger_images,
            self.totals_micros,
            self.totals_images,
            self.financial_micros,
            self.financial_images,
            self.images_micros
        )
    }
}

impl Store {
    /// Asks whether PocketBase is there, as nobody.
    pub async fn greet(&self) -> Result<Greeting, Error> {
        #[derive(Deserialize)]
        struct Health {
            code: u16,
        }
        let (said, headers) = self.admin.http().call_with_headers(Call::new(Method::GET, "/api/health")).await?;
        let genuine = said.status == StatusCode::OK && parse::<Health>(&said.body).is_ok_and(|health| health.code == 200);
        let clock = headers.get(DATE).and_then(|date| clock(date.to_str().ok()?));
        Ok(Greeting { genuine, clock, since_0_40: headers.contains_key(CROSS_ORIGIN_OPENER_POLICY) })
    }

    /// Signs in as the superuser.
    pub async fn sign_in_as_superuser(&self) -> Result<Until, Error> {
        let token = self.admin.token().await?;
        // A token that was given is taken as it is: PocketBase has the last word.
        self.admin.call(Method::GET, "/api/settings?fields=batch.enabled", None, Repeat::Harmless).await?;
        let claims = token.to_str().ok().and_then(Claims::peek);
        let claims = claims.ok_or_else(|| Error::Credentials("the superuser's token is not one of PocketBase's".into()))?;
        Ok(Until { expires: claims.expires, renewable: claims.refreshable })
    }

    /// Finds out what PocketBase can do (`facts/pocketbase.md` "Version matrix").
    pub async fn release(&self, greeting: &Greeting) -> Result<Release, Error> {
        if greeting.since_0_40 {
            return Ok(Release::From0_40);
        }
        // A query that is missing is refused before anything is done.
        if self.has(Method::POST, "/api/sql").await? {
            return Ok(Release::From0_39);
        }
        let settings = self.admin.call(Method::GET, "/api/settings?fields=superuserIPs", None, Repeat::Harmless).await?;
        if parse::<serde_json::Value>(&settings)?.get("superuserIPs").is_some() {
            return Ok(Release::From0_38);
        }
        Ok(if self.has(Method::GET, "/api/crons").await? { Release::From0_24 } else { Release::From0_23 })
    }

    async fn has(&self, method: Method, target: &str) -> Result<bool, Error> {
        match self.admin.call(method, target, None, Repeat::Harmless).await {
            Ok(_) => Ok(true),
            Err(Error::Refused(refusal)) => Ok(!refusal.is_not_found()),
            Err(error) => Err(error),
        }
    }

    /// Asks our hooks what they think of this PocketBase.
    pub async fn look(&self) -> Result<Found, Error> {
        changes::look(&self.admin).await
    }

    /// Asks PocketBase whose address it sees when the sidecar says `claimed`.
    pub async fn believed(&self, claimed: IpAddr) -> Result<Believed, Error> {
        #[derive(Deserialize)]
        struct Health {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            #[serde(rename = "realIP")]
            real_ip: String,
        }
        if let Some(header) = self.forgeable_header().await? {
            return Ok(Believed::Forgeable(header));
        }
        let token = self.admin.token().await?;
        let said = self.admin.http().call(with_address(Call::new(Method::GET, "/api/health").token(&token), claimed)).await?;
        match said.status {
            StatusCode::OK => {
                let seen = parse::<Health>(&said.body)?.data.real_ip;
                Ok(if seen == claimed.to_string() { Believed::Ours } else { Believed::Peer(seen) })
            }
            // Superusers may not come from there (superuserIPs): so it is believed.
            StatusCode::FORBIDDEN => Ok(Believed::Ours),
            _ => Err(Refusal::parse(&said).into()),
        }
    }

    /// A header that PocketBase takes addresses from and the sidecar does not own.
    async fn forgeable_header(&self) -> Result<Option<String>, Error> {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Settings {
            trusted_proxy: TrustedProxy,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct TrustedProxy {
            headers: Vec<String>,
        }
        let settings = self.admin.call(Method::GET, "/api/settings?fields=trustedProxy", None, Repeat::Harmless).await?;
        let owned = |header: &String| ["x-real-ip", "x-forwarded-for"].contains(&header.trim().to_ascii_lowercase().as_str());
        Ok(parse::<Settings>(&settings)?.trusted_proxy.headers.into_iter().find(|header| !owned(header)))
    }

    /// One page of users, after this one.
    pub async fn books(&self, after: &str) -> Result<BooksPage, Error> {
        let after: String = form_urlencoded::byte_serialize(after.as_bytes()).collect();
        self.admin.hook(Method::GET, &format!("books?limit=500&after={after}"), &[], None::<&()>, Repeat::Harmless).await
    }

    /// Writes a user's sums anew from the ledger.
    pub async fn recompute(&self, user: &str) -> Result<Books, Error> {
        let user = percent_encoding::utf8_percent_encode(user, percent_encoding::NON_ALPHANUMERIC);
        self.admin.hook(Method::POST, &format!("books/{user}"), &[], None::<&()>, Repeat::Harmless).await
    }

    /// Adds what is missing of ours; with `trust` also has the client's address taken from X-Real-IP.
    pub async fn repair(&self, trust: Trust) -> Result<Repaired, Error> {
        #[derive(Serialize)]
        struct Wish {
            trust_x_real_ip: bool,
        }
        let wish = Wish { trust_x_real_ip: trust == Trust::XRealIp };
        self.admin.hook(Method::POST, "repair", &[], Some(&wish), Repeat::Harmless).await
    }
}

/// Whether a repair may change where PocketBase takes addresses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It stays as it is.
    AsIs,
    /// From X-Real-IP, which only a PocketBase that is reachable through the sidecar alone may do.
    XRealIp,
}

/// A `Date` header.
fn clock(text: &str) -> Option<Timestamp> {
    rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_header_is_a_time() {
        let time = clock("Sun, 06 Nov 1994 08:49:37 GMT").expect("a time");
        assert_eq!(time.as_second(), 784_111_777);
        assert_eq!(clock("yesterday"), None);
    }
}
