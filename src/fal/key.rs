//! A user's FAL key, for as long as one call needs it.

use std::fmt;

use http::HeaderValue;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A borrowed key. It is neither stored nor printed.
#[derive(Clone, Copy)]
pub struct Key<'a>(&'a str);

/// The text cannot be a FAL key: 1 to 200 visible ASCII characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a FAL key has 1 to 200 visible ASCII characters")]
pub struct NotAKey;

impl<'a> Key<'a> {
    /// Takes a text for a key. FAL alone knows whether it is one.
    ///
    /// # Errors
    /// When it could not even be sent.
    pub fn new(text: &'a str) -> Result<Self, NotAKey> {
        let sane = (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        sane.then_some(Self(text)).ok_or(NotAKey)
    }

    /// `Authorization: Key …`, which Debug prints as `Sensitive`.
    pub(super) fn header(self) -> HeaderValue {
        let text = Zeroizing::new(format!("Key {}", self.0));
        let mut value = HeaderValue::from_str(&text).expect("a key is visible ASCII");
        value.set_sensitive(true);
        value
    }

    /// Tells keys apart without holding one. A FAL key is random enough that its digest gives nothing away.
    pub(super) fn fingerprint(self) -> [u8; 32] {
        Sha256::new().chain_update(b"generatio/fal_key/").chain_update(self.0).finalize().into()
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        let key = Key::new("team:s3cret").expect("a key");
        let printed = format!("{key:?} {:?} {:?}", key.header(), Key::new("s3cret\n"));
        assert!(!printed.contains("s3cret"), "{printed}");
        assert_eq!(key.header().to_str().ok(), Some("Key team:s3cret"));
    }

    #[test]
    fn what_could_end_a_header_is_no_key() {
        for text in ["", "a b", "a\r\nx: y", "ключ", &"a".repeat(201)] {
            assert_eq!(Key::new(text).err(), Some(NotAKey), "{text}");
        }
    }
}
