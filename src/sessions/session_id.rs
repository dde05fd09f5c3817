//! What a front end shows to use a session.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

/// A UUID of version 4. It is printed nowhere, and the table keeps its SHA-256 alone.
pub struct SessionId(Zeroizing<[u8; 16]>);

/// The text is not a UUID of version 4 with its four hyphens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a session id")]
pub struct NotASessionId;

/// What the table knows a session by.
pub(super) type Hash = [u8; 32];

impl SessionId {
    /// One that the system's random numbers make.
    pub(super) fn fresh() -> Self {
        Self(Zeroizing::new(Uuid::new_v4().into_bytes()))
    }

    /// The id itself: the one door, for the answer to who opened it.
    pub fn expose(&self) -> String {
        Uuid::from_bytes(*self.0).to_string()
    }

    pub(super) fn hash(&self) -> Hash {
        Sha256::digest(self.0.as_slice()).into()
    }
}

impl FromStr for SessionId {
    type Err = NotASessionId;

    fn from_str(text: &str) -> Result<Self, NotASessionId> {
        let id = Uuid::try_parse(text).ok().filter(|id| text.len() == 36 && id.get_version_num() == 4);
        id.map(|id| Self(Zeroizing::new(id.into_bytes()))).ok_or(NotASessionId)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_is_a_random_uuid_and_is_printed_nowhere() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| SessionId::fresh().expose()).collect();
        assert_eq!(ids.len(), 1000);
        for text in &ids {
            assert_eq!(text.parse::<SessionId>().map(|id| id.expose()), Ok(text.clone()));
        }
        let id = SessionId::fresh();
        assert!(!format!("{id:?}").contains(&id.expose()[..8]));
        let upper = id.expose().to_uppercase().parse::<SessionId>();
        assert_eq!(upper.map(|upper| upper.hash()), Ok(id.hash()));
        let bare = id.expose().replace('-', "");
        for text in [
            "",
            "x",
            &bare,
            &format!("{{{}}}", id.expose()),
            "00000000-0000-0000-0000-000000000000",
            "67e55044-10b1-126f-9247-bb680e5fe0c8",
        ] {
            assert_eq!(text.parse::<SessionId>().err(), Some(NotASessionId), "{text}");
        }
    }
}
