//! From a password to a key, and from clear to sealed and back under that key.

use aes_gcm::aead::{AeadInOut, Generate};
use aes_gcm::{Aes256Gcm, KeyInit};

use super::envelope::{Method, NONCE, SALT, Sealed};
use super::key::{Opened, Password};
use super::prf::Polite;
use super::secret::Secret;
use super::{CannotOpen, Iterations, Owner};

/// Overwrites the part of the stack that the functions of this file have just used: the libraries zero what they drop, but not what they
/// moved. Whoever calls them calls this afterwards, from the same depth.
#[inline(never)]
pub(super) fn scrub() {
    std::hint::black_box(&mut [0_u8; 16 * 1024]);
}

/// The key that a password and a salt make, after as much work as `iterations` says.
#[inline(never)]
pub(super) fn derive(password: &Password, salt: &[u8; SALT], iterations: Iterations) -> Secret {
    #[cfg(test)]
    super::tests::count(iterations);
    let mut key = Secret::new(vec![0; 32]);
    pbkdf2::pbkdf2::<Polite>(password.bytes(), salt, iterations.count(), key.bytes_mut()).expect("HMAC takes keys of any length");
    key
}

/// A salt and a nonce that were never used before.
pub(super) fn fresh() -> ([u8; SALT], [u8; NONCE]) {
    (Generate::generate(), Generate::generate())
}

pub(super) fn encrypt(key: &Secret, opened: &Opened, owner: &Owner, method: Method, salt: [u8; SALT], nonce: [u8; NONCE]) -> Sealed {
    encrypt_any(key, opened.expose().as_bytes(), owner, method, salt, nonce)
}

/// Seals whatever it is given, as the former extension did.
#[inline(never)]
pub(super) fn encrypt_any(key: &Secret, content: &[u8], owner: &Owner, method: Method, salt: [u8; SALT], nonce: [u8; NONCE]) -> Sealed {
    let mut content = Secret::copy_of(content);
    let tag = cipher(key)
        .encrypt_inout_detached(&nonce.into(), &associated_data(method, owner), content.bytes_mut().into())
        .expect("a key is shorter than what one nonce can seal");
    Sealed { method, salt, nonce, ciphertext: content.bytes().to_vec(), tag: tag.into() }
}

#[inline(never)]
pub(super) fn decrypt(key: &Secret, sealed: &Sealed, owner: &Owner) -> Result<Opened, CannotOpen> {
    let mut content = Secret::copy_of(&sealed.ciphertext);
    // The tag is compared in constant time, and before anything is decrypted.
    cipher(key)
        .decrypt_inout_detached(
            &sealed.nonce.into(),
            &associated_data(sealed.method, owner),
            content.bytes_mut().into(),
            &sealed.tag.into(),
        )
        .map_err(|_| CannotOpen::Refused)?;
    Opened::check(content).map_err(|_| CannotOpen::NotAKey)
}

fn cipher(key: &Secret) -> Aes256Gcm {
    Aes256Gcm::new_from_slice(key.bytes()).expect("a derived key has 32 bytes")
}

/// What must be the same at opening: each part after its length, as four bytes, the highest first. Nothing in the former format.
fn associated_data(method: Method, owner: &Owner) -> Vec<u8> {
    let parameters = match method {
        Method::Former => return Vec::new(),
        Method::V2 { .. } => method.parameters(),
    };
    let mut data = Vec::new();
    for part in ["generatio/fal_token/v2", owner.collection.as_str(), owner.user.as_str(), &parameters] {
        let length = u32::try_from(part.len()).expect("ids and parameters are short");
        data.extend(length.to_be_bytes());
        data.extend(part.as_bytes());
    }
    data
}
