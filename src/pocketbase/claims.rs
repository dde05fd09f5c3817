//! What a PocketBase token says about itself, unproven.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::id::{CollectionId, UserId};

/// The claims of a token whose signature nobody has checked: good for a path, a cache key and an end, never for a right.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Claims {
    /// Whose it claims to be.
    #[serde(deserialize_with = "parsed")]
    pub id: UserId,
    /// Of which collection.
    #[serde(rename = "collectionId", deserialize_with = "parsed")]
    pub collection: CollectionId,
    /// Seconds of the Unix epoch.
    #[serde(rename = "exp")]
    pub expires: i64,
    /// Whether it can be renewed; an impersonation token cannot.
    #[serde(default)]
    pub refreshable: bool,
    #[serde(rename = "type")]
    kind: String,
}

/// PocketBase's own are about 250 bytes.
const LONGEST: usize = 2048;

impl Claims {
    /// The claims of an `auth` token, if that is what the text looks like.
    pub(super) fn peek(token: &str) -> Option<Self> {
        // One spelling a token: PocketBase itself trims it, and takes a second `Bearer` before it.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if token.len() > LONGEST || !token.bytes().all(plain) {
            return None;
        }
        let mut parts = token.split('.');
        let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let claims: Self = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        (claims.kind == "auth").then_some(claims)
    }
}

fn parsed<'de, D: serde::Deserializer<'de>, T: std::str::FromStr<Err: std::fmt::Display>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_says_whose_it_is_and_until_when() {
        let text = token(r#"{"collectionId":"pbc_3142635823","exp":1800000000,"id":"abcdefghij01234","refreshable":true,"type":"auth"}"#);
        let claims = Claims::peek(&text).expect("claims");
        assert_eq!((claims.id.as_str(), claims.collection.as_str()), ("abcdefghij01234", "pbc_3142635823"));
        assert!(claims.refreshable && claims.expires == 1_800_000_000);
    }

    #[test]
    fn what_does_not_look_like_a_sign_in_is_none() {
        let hostile = token(r#"{"collectionId":"../../x","exp":1,"id":"abcdefghij01234","type":"auth"}"#);
        let file = token(r#"{"collectionId":"pbc_1","exp":1,"id":"abcdefghij01234","type":"file"}"#);
        let good = token(r#"{"collectionId":"pbc_1","exp":1,"id":"abcdefghij01234","type":"auth"}"#);
        assert!(Claims::peek(&good).is_some());
        let [led, twice, tailed] = [format!(" {good}"), format!("Bearer {good}"), format!("{good} ")];
        for text in [&led, &twice, &tailed] {
            assert_eq!(Claims::peek(text), None, "{text}");
        }
        for text in ["", "a", "a.b", "a.b.c", "a.b.c.d", "é.é.é", &hostile, &file, &"a.".repeat(2000)] {
            assert_eq!(Claims::peek(text), None, "{text}");
        }
    }
}
