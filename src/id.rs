//! Ids, parsed once: whatever holds one can be put into a path or a filter as it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The text is not a PocketBase record id: 15 lower-case letters and digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an id of 15 lower-case letters and digits")]
pub struct NotAnId;

/// The bytes of an id.
type Text = [u8; 15];

fn parse(text: &str) -> Result<Text, NotAnId> {
    let bytes: Text = text.as_bytes().try_into().map_err(|_| NotAnId)?;
    let sane = bytes.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
    sane.then_some(bytes).ok_or(NotAnId)
}

/// A digest as an id: 75 bits and more of it, so that two of them do not meet by chance.
fn derived(digest: &[u8; 32]) -> Text {
    const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut rest = u128::from_be_bytes(*digest.first_chunk().expect("32 bytes have a first 16"));
    std::array::from_fn(|_| {
        let letter = LETTERS[(rest % 36) as usize];
        rest /= 36;
        letter
    })
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Text);

        impl $name {
            /// The same for the same digest, so that a repeated create is recognised.
            pub fn derived(digest: &[u8; 32]) -> Self {
                Self(derived(digest))
            }

            /// The id as PocketBase writes it.
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).expect("an id is ASCII")
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A user of the configured users collection.
    UserId;
    /// A generation job: a row of `generations`.
    JobId;
    /// A row of `images`.
    ImageId;
    /// A row of `folders`.
    FolderId;
    /// A row of any other collection of ours.
    RowId;
}

/// The id of a collection. PocketBase's own are like `_pb_users_auth_` and `pbc_3142635823`, so it is wider than a record's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CollectionId(String);

impl CollectionId {
    /// The id as PocketBase writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CollectionId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let sane = (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        sane.then(|| Self(text.to_owned())).ok_or(NotAnId)
    }
}

/// An id that others made, like FAL's of a request: letters, digits, dashes and underscores.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ForeignId(String);

impl FromStr for ForeignId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let sane = (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        sane.then(|| Self(text.to_owned())).ok_or(NotAnId)
    }
}

impl fmt::Display for ForeignId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_fifteen_lower_case_letters_and_digits() {
        assert_eq!("abcdefghij01234".parse::<UserId>().map(|id| id.to_string()), Ok("abcdefghij01234".into()));
        for text in
            ["", "abc", "abcdefghij0123", "abcdefghij012345", "ABCDEFGHIJ01234", "abcdefghij0123_", "../../users/abc", "abcdefghij0123é"]
        {
            assert!(text.parse::<UserId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_derived_id_is_an_id_and_differs_with_its_digest() {
        let [one, other] = [ImageId::derived(&[7; 32]), ImageId::derived(&[8; 32])];
        assert!(one != other && one == ImageId::derived(&[7; 32]));
        assert_eq!(one.as_str().parse(), Ok(one));
    }

    #[test]
    fn a_collection_id_cannot_leave_its_place_in_a_path() {
        assert!(["_pb_users_auth_", "pbc_3142635823"].iter().all(|text| text.parse::<CollectionId>().is_ok()));
        assert!(["", "a/b", "..", "a?b", "a%2f", "é"].iter().all(|text| text.parse::<CollectionId>().is_err()));
    }
}
