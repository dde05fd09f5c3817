//! What is sealed and what it is sealed with: a FAL key in clear, and a password.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::secret::Secret;

/// The text is not a FAL key: 10 to 200 visible ASCII characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 10 to 200 visible ASCII characters")]
pub struct NotAKey;

/// A FAL key in clear.
///
/// It cannot be cloned, compared, printed or serialised; who needs it longer shares it as an [`Arc`], and its memory is zeroed when the
/// last of them goes.
pub struct Opened(Secret);

impl Opened {
    /// How many characters a key has.
    pub const LENGTH: std::ops::RangeInclusive<usize> = 10..=200;

    /// Takes over the text; what is refused is zeroed too.
    ///
    /// # Errors
    /// When it is not a key.
    pub fn parse(text: String) -> Result<Self, NotAKey> {
        Self::check(Secret::new(text.into_bytes()))
    }

    pub(super) fn check(bytes: Secret) -> Result<Self, NotAKey> {
        let text = bytes.bytes();
        let sane = Self::LENGTH.contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
        sane.then_some(Self(bytes)).ok_or(NotAKey)
    }

    /// The key itself: the one door, for the request to FAL.
    pub fn expose(&self) -> &str {
        std::str::from_utf8(self.0.bytes()).expect("a key is ASCII")
    }

    /// What tells this key from others without giving it away.
    pub fn fingerprint(&self) -> Fingerprint {
        let digest = Sha256::new().chain_update(b"generatio/fal_token/fingerprint/v1\0").chain_update(self.0.bytes()).finalize();
        Fingerprint(std::array::from_fn(|index| digest[index]))
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened")
    }
}

/// The first eight bytes of a key's SHA-256 under a prefix of its own: enough to tell keys apart, useless to guess one by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 8]);

/// The text is not a fingerprint: 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 16 lower-case hexadecimal digits")]
pub struct NotAFingerprint;

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let fingerprint = u64::from_str_radix(text, 16).map(|bits| Self(bits.to_be_bytes())).map_err(|_| NotAFingerprint)?;
        (fingerprint.to_string() == text).then_some(fingerprint).ok_or(NotAFingerprint)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A password as somebody typed it, of any length.
///
/// Clones share one buffer, which is zeroed when the last of them goes.
#[derive(Clone)]
pub struct Password(Arc<Secret>);

impl Password {
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// The password itself: the one door, for PocketBase's sign-in.
    pub fn expose(&self) -> &str {
        std::str::from_utf8(self.0.bytes()).expect("a password was a string")
    }
}

impl From<String> for Password {
    /// Takes over the text's memory.
    fn from(text: String) -> Self {
        Self(Arc::new(Secret::new(text.into_bytes())))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// The password is too short or too long to seal with: 8 to 128 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 8 to 128 characters")]
pub struct Unfit;

/// A password that may seal.
#[derive(Clone, Debug)]
pub struct NewPassword(Password);

impl NewPassword {
    /// How many characters (Unicode scalar values) it has.
    pub const LENGTH: std::ops::RangeInclusive<usize> = 8..=128;

    /// # Errors
    /// When it is too short or too long.
    pub fn parse(password: Password) -> Result<Self, Unfit> {
        let fit = Self::LENGTH.contains(&password.expose().chars().count());
        fit.then_some(Self(password)).ok_or(Unfit)
    }

    /// One that has just opened the seal it is to renew: of any length, since nobody chooses it now.
    pub fn that_opened(password: Password) -> Self {
        Self(password)
    }

    /// The password, to open with.
    pub fn password(&self) -> &Password {
        &self.0
    }
}
