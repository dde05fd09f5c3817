//! What is left of a secret in the memory of a whole process when everybody has let go of it. One test, so that nothing else runs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use generatio::sessions::{Derivations, Limits, Sessions};
use generatio::vault::{Iterations, Method, NewPassword, Opened, Owner, Password, Sealed};
use jiff::Timestamp;

/// Bytes to look for, kept in a disguise, so that looking does not find itself.
struct Needle(Vec<u8>);

const DISGUISE: u8 = 0x80;

impl Needle {
    /// Something nobody has ever written.
    fn fresh() -> Self {
        let [one, other] = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        Self(one.into_bytes().iter().chain(other.as_bytes()).map(|byte| (b'a' + byte % 26) ^ DISGUISE).collect())
    }

    /// The same in another disguise: what a hash makes of a password before it begins.
    fn mixed_with(&self, byte: u8) -> Self {
        Self(self.0.iter().map(|disguised| disguised ^ byte).collect())
    }

    /// A secret that ends with it, in clear, in one piece of memory that never moves. The allocator writes over the beginning of what it
    /// was given back.
    fn text(&self) -> String {
        let beginning = "the-beginning-of-a-secret/";
        let mut text = String::with_capacity(beginning.len() + self.0.len());
        text.push_str(beginning);
        text.extend(self.0.iter().map(|byte| char::from(byte ^ DISGUISE)));
        text
    }

    fn found_in(&self, bytes: &[u8]) -> usize {
        let is_here = |window: &[u8]| window.iter().zip(&self.0).all(|(byte, disguised)| byte ^ DISGUISE == *disguised);
        bytes.windows(self.0.len()).filter(|window| is_here(window)).count()
    }

    /// How often it is in memory that this process can write.
    fn copies(&self) -> usize {
        let memory = File::open("/proc/self/mem").unwrap();
        let mut chunk = vec![0_u8; 1 << 16];
        let own = chunk.as_ptr() as u64..chunk.as_ptr() as u64 + chunk.len() as u64;
        let overlap = self.0.len() as u64 - 1;
        let mut found = 0;
        for (start, end) in writable() {
            // The chunk is memory too, and is left out.
            for (start, end) in [(start, end.min(own.start)), (start.max(own.end), end)] {
                let mut at = start;
                while at < end {
                    let wanted = usize::try_from((end - at).min(chunk.len() as u64)).unwrap();
                    let read = memory.read_at(&mut chunk[..wanted], at).unwrap_or(0);
                    found += self.found_in(&chunk[..read]);
                    chunk.fill(0);
                    at += (chunk.len() as u64 - overlap).min(wanted as u64);
                }
            }
        }
        found
    }
}

fn writable() -> Vec<(u64, u64)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let lines = maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|access| access.starts_with("rw")));
    let ranges = lines.filter_map(|line| line.split(' ').next()?.split_once('-'));
    let address = |text| u64::from_str_radix(text, 16).unwrap();
    ranges.map(|(start, end)| (address(start), address(end))).collect()
}

fn owner() -> Owner {
    Owner { collection: "_pb_users_auth_".parse().unwrap(), user: "abcdefghij01234".parse().unwrap() }
}

/// The first published seal, which belongs to [`owner`]: the key that its password makes, itself, and the password.
fn published() -> (Needle, Sealed, Password) {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("vectors/v2.json")).unwrap();
    let field = |name| vectors["seals"][0][name].as_str().unwrap();
    let digits = field("key").as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    let derived = Needle(digits.map(|byte| byte ^ DISGUISE).collect());
    (derived, Sealed::parse(field("sealed")).unwrap(), Password::from(field("password").to_owned()))
}

#[tokio::test]
async fn nothing_is_left_of_a_key_and_a_password_when_the_last_session_is_over() {
    let (key, secret, ordinary) = (Needle::fresh(), Needle::fresh(), Needle::fresh());
    let forgotten = ordinary.text();
    assert!(ordinary.copies() >= 1, "the test cannot see");

    let derivations = Derivations::start(1, 4).unwrap();
    let sessions = Sessions::<()>::new(Limits::default());
    let (user, now) = (owner().user, Instant::now());
    let method = Method::V2 { iterations: Iterations::LEAST };

    let opened = Arc::new(Opened::parse(key.text()).unwrap());
    let new = NewPassword::parse(Password::from(secret.text())).unwrap();
    assert!(key.copies() >= 1 && secret.copies() >= 1);
    let sealed = derivations.seal(opened, new, owner(), method).await.unwrap();
    assert_eq!((key.copies(), secret.copies()), (0, 0), "after sealing");

    let opened = derivations.open(sealed, Password::from(secret.text()), owner()).await.unwrap().unwrap();
    assert_eq!((key.copies(), secret.copies()), (1, 0), "one copy of the key, for the session");
    sessions.open(user, Arc::new(opened), Arc::new(()), now, Timestamp::now());
    assert_eq!(key.copies(), 1, "the session's");
    assert_eq!(sessions.sweep(now + Duration::from_secs(24 * 60 * 60)), 1);
    assert_eq!(key.copies(), 0, "after the session");
    let (derived, sealed, password) = published();
    assert!(derivations.open(sealed, password, owner()).await.unwrap().is_ok());
    assert_eq!(derived.copies(), 0, "of the key that the password made");
    // HMAC mixes its key with these two (RFC 2104): the password would be as good as in clear.
    let left = [0x36, 0x5c].map(|byte| secret.mixed_with(byte).copies());
    assert_eq!(left, [0, 0], "of the password in HMAC's clothes");
    assert!(forgotten.len() > 32 && ordinary.copies() >= 1);
}
