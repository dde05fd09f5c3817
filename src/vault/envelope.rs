//! The text that a sealed key is stored as.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::key::Opened;

pub(super) const NONCE: usize = 12;
pub(super) const TAG: usize = 16;
pub(super) const SALT: usize = 32;

/// The text is not a seal of any known format, or asks for more or less work than is ever done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a sealed FAL key")]
pub struct Malformed;

/// How often a password is hashed: 100,000 to 10 million times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Iterations(u32);

/// The number is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a whole number from 100000 to 10000000")]
pub struct OutOfBounds;

impl Iterations {
    /// What the former format always had, and the least that is read or written.
    pub const LEAST: Self = Self(100_000);
    /// The most that is read or written: about a second of work.
    pub const MOST: Self = Self(10_000_000);
    /// What OWASP asks for with HMAC-SHA256.
    pub const RECOMMENDED: Self = Self(600_000);

    /// The number.
    pub const fn count(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Iterations {
    type Error = OutOfBounds;

    fn try_from(count: u32) -> Result<Self, OutOfBounds> {
        (Self::LEAST.0..=Self::MOST.0).contains(&count).then_some(Self(count)).ok_or(OutOfBounds)
    }
}

impl FromStr for Iterations {
    type Err = OutOfBounds;

    /// Digits alone: there is one way to write a number.
    fn from_str(text: &str) -> Result<Self, OutOfBounds> {
        let count: u32 = text.parse().map_err(|_| OutOfBounds)?;
        if count.to_string() == text { Self::try_from(count) } else { Err(OutOfBounds) }
    }
}

impl fmt::Display for Iterations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a seal is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// 100,000 iterations and no owner.
    Former,
    /// Bound to its owner.
    V2 {
        /// How often the password is hashed.
        iterations: Iterations,
    },
}

impl Method {
    pub(super) const fn iterations(self) -> Iterations {
        match self {
            Self::Former => Iterations::LEAST,
            Self::V2 { iterations } => iterations,
        }
    }

    /// What stands before the salt, and is bound to the content: nothing in the former format.
    pub(super) fn parameters(self) -> String {
        match self {
            Self::Former => String::new(),
            Self::V2 { iterations } => format!("$pbkdf2-sha256$v=2,i={iterations}$"),
        }
    }
}

/// A sealed FAL key: a text to store, in the one spelling that it has.
///
/// `base64(nonce ‖ ciphertext ‖ tag) "." parameters base64(salt)`, where the former format has no parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    pub(super) method: Method,
    pub(super) salt: [u8; SALT],
    pub(super) nonce: [u8; NONCE],
    pub(super) ciphertext: Vec<u8>,
    pub(super) tag: [u8; TAG],
}

impl Sealed {
    /// No seal is longer: base64 of 228 bytes, the dot, the longest parameters and base64 of 32 bytes.
    const MAX_LENGTH: usize = 304 + 1 + 30 + 44;

    /// Reads a stored text. Every bound is checked here, before anything is derived.
    ///
    /// # Errors
    /// When it is not a seal.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.len() > Self::MAX_LENGTH {
            return Err(Malformed);
        }
        let (sealed, salt) = text.split_once('.').ok_or(Malformed)?;
        let (method, salt) = method(salt)?;
        let sealed = STANDARD.decode(sealed).map_err(|_| Malformed)?;
        let (nonce, rest) = sealed.split_first_chunk().ok_or(Malformed)?;
        let (ciphertext, tag) = rest.split_last_chunk().ok_or(Malformed)?;
        let salt = STANDARD.decode(salt).map_err(|_| Malformed)?.try_into().map_err(|_| Malformed)?;
        if !Opened::LENGTH.contains(&ciphertext.len()) {
            return Err(Malformed);
        }
        Ok(Self { method, salt, nonce: *nonce, ciphertext: ciphertext.to_vec(), tag: *tag })
    }

    /// How it was made.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// Whether it is weaker than what is written today. Nothing is ever made weaker, and nothing is renewed while the former format is
    /// being written: the way back is open.
    pub fn needs_resealing(&self, today: Method) -> bool {
        match (self.method, today) {
            (_, Method::Former) => false,
            (Method::Former, Method::V2 { .. }) => true,
            (Method::V2 { iterations: stored }, Method::V2 { iterations: wanted }) => stored < wanted,
        }
    }
}

/// The parameters before the salt, and the salt.
fn method(text: &str) -> Result<(Method, &str), Malformed> {
    let Some(rest) = text.strip_prefix('$') else { return Ok((Method::Former, text)) };
    let (iterations, salt) = rest.strip_prefix("pbkdf2-sha256$v=2,i=").and_then(|rest| rest.split_once('$')).ok_or(Malformed)?;
    Ok((Method::V2 { iterations: iterations.parse().map_err(|_| Malformed)? }, salt))
}

impl FromStr for Sealed {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(text)
    }
}

impl fmt::Display for Sealed {
    /// The text to store.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = [&self.nonce[..], &self.ciphertext, &self.tag].concat();
        write!(f, "{}.{}{}", STANDARD.encode(content), self.method.parameters(), STANDARD.encode(self.salt))
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
