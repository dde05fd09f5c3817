//! What a seal promises.

use std::cell::Cell;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde::Deserialize;

use super::secret::graveyard;
use super::*;

const KEY: &str = "3f1c0a52-7d7e-4a1e-9c55-0c1f6a2b9d10:5b6f0d0c3e7a4f0e8b6a2f9d1c4e7b3a";
const PASSWORD: &str = "correct horse battery";
const LEAST: Method = Method::V2 { iterations: Iterations::LEAST };

thread_local! {
    static WORK: Cell<u64> = const { Cell::new(0) };
}

/// Called by each derivation.
pub(super) fn count(iterations: Iterations) {
    WORK.set(WORK.get() + u64::from(iterations.count()));
}

/// Iterations that were done on this thread meanwhile.
fn work(what: impl FnOnce()) -> u64 {
    let before = WORK.get();
    what();
    WORK.get() - before
}

fn owner(user: &str) -> Owner {
    Owner { collection: "_pb_users_auth_".parse().unwrap(), user: user.parse().unwrap() }
}

fn ours() -> Owner {
    owner("abcdefghij01234")
}

fn password() -> Password {
    PASSWORD.to_owned().into()
}

fn key() -> Opened {
    Opened::parse(KEY.to_owned()).unwrap()
}

fn sealed_as(method: Method) -> Sealed {
    seal(&key(), &NewPassword::parse(password()).unwrap(), &ours(), method)
}

/// What a stored text turns out to be.
#[derive(Debug, PartialEq)]
enum Found {
    Key(String),
    Refused,
    NotAKey,
    Malformed,
}

fn attempt(text: &str, password: &Password, owner: &Owner) -> Found {
    let Ok(sealed) = Sealed::parse(text) else { return Found::Malformed };
    match open(&sealed, password, owner) {
        Ok(opened) => Found::Key(opened.expose().to_owned()),
        Err(CannotOpen::Refused) => Found::Refused,
        Err(CannotOpen::NotAKey) => Found::NotAKey,
    }
}

#[derive(Deserialize)]
struct Vectors<T> {
    seals: Vec<T>,
}

#[derive(Deserialize)]
struct Former {
    password: String,
    fal_token: String,
    sealed: String,
}

#[derive(Deserialize)]
struct V2 {
    collection: String,
    user: UserId,
    password: String,
    iterations: u32,
    salt: String,
    nonce: String,
    key: String,
    fal_token: String,
    sealed: String,
}

#[derive(Deserialize)]
struct FromElsewhere {
    former: Vec<Former>,
    v2: Vec<V2>,
}

fn former() -> Vec<Former> {
    serde_json::from_str::<Vectors<Former>>(include_str!("../../tests/vectors/former.json")).unwrap().seals
}

fn v2() -> Vec<V2> {
    serde_json::from_str::<Vectors<V2>>(include_str!("../../tests/vectors/v2.json")).unwrap().seals
}

fn from_elsewhere() -> FromElsewhere {
    serde_json::from_str(include_str!("../../tests/vectors/python.json")).unwrap()
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    assert_eq!(hex.len(), 2 * N);
    std::array::from_fn(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn seals_of_the_former_extension_open_for_whoever_has_them() {
    let (published, made_elsewhere) = (former(), from_elsewhere().former);
    assert!(published.len() >= 3 && !made_elsewhere.is_empty());
    for seal in published.into_iter().chain(made_elsewhere) {
        let password = Password::from(seal.password);
        let parsed = Sealed::parse(&seal.sealed).unwrap();
        assert_eq!((parsed.method(), parsed.to_string()), (Method::Former, seal.sealed.clone()));
        assert_eq!(attempt(&seal.sealed, &password, &ours()), Found::Key(seal.fal_token));
    }
}

#[test]
fn seals_of_our_own_format_open_whoever_made_them() {
    let (published, made_elsewhere) = (v2(), from_elsewhere().v2);
    assert!(published.len() >= 3 && !made_elsewhere.is_empty());
    for seal in published.into_iter().chain(made_elsewhere) {
        let owner = Owner { collection: seal.collection.parse().unwrap(), user: seal.user };
        assert_eq!(attempt(&seal.sealed, &seal.password.into(), &owner), Found::Key(seal.fal_token));
    }
}

#[test]
fn the_published_seals_are_what_is_written_byte_for_byte() {
    for seal in v2() {
        let owner = Owner { collection: seal.collection.parse().unwrap(), user: seal.user };
        let method = Method::V2 { iterations: seal.iterations.try_into().unwrap() };
        let (salt, nonce) = (bytes(&seal.salt), bytes(&seal.nonce));
        let derived = cipher::derive(&seal.password.into(), &salt, method.iterations());
        assert_eq!(hex(derived.bytes()), seal.key);
        let opened = Opened::parse(seal.fal_token).unwrap();
        assert_eq!(cipher::encrypt(&derived, &opened, &owner, method, salt, nonce).to_string(), seal.sealed);
    }
}

#[test]
fn what_is_sealed_opens_again_in_both_formats() {
    for method in [Method::Former, LEAST] {
        let sealed = sealed_as(method);
        assert_eq!((sealed.method(), sealed.to_string().matches('.').count()), (method, 1));
        assert_eq!(attempt(&sealed.to_string(), &password(), &ours()), Found::Key(KEY.into()));
        assert_ne!(sealed.to_string(), sealed_as(method).to_string(), "a salt or a nonce was used twice");
    }
}

#[test]
fn a_wrong_password_and_a_wrong_owner_are_one_refusal() {
    let sealed = sealed_as(LEAST).to_string();
    for wrong in ["", "correct horse batterz", &"x".repeat(60_000)] {
        assert_eq!(attempt(&sealed, &wrong.to_owned().into(), &ours()), Found::Refused);
    }
    assert_eq!(attempt(&sealed, &password(), &owner("abcdefghij01235")), Found::Refused);
    let elsewhere = Owner { collection: "pbc_3142635823".parse().unwrap(), ..ours() };
    assert_eq!(attempt(&sealed, &password(), &elsewhere), Found::Refused);
}

#[test]
fn an_owner_cannot_be_spelt_out_of_anothers_parts() {
    let one = Owner { collection: "abc".parse().unwrap(), user: "defghij01234567".parse().unwrap() };
    let other = Owner { collection: "abcdefghij01234".parse().unwrap(), user: "567defghij01234".parse().unwrap() };
    let derived = cipher::derive(&password(), &[1; 32], Iterations::LEAST);
    let sealed = cipher::encrypt(&derived, &key(), &one, LEAST, [1; 32], [2; 12]);
    assert!(cipher::decrypt(&derived, &sealed, &one).is_ok() && cipher::decrypt(&derived, &sealed, &other).is_err());
}

#[test]
fn no_changed_byte_of_the_content_opens() {
    for method in [Method::Former, LEAST] {
        let sealed = sealed_as(method);
        let derived = cipher::derive(&password(), &sealed.salt, method.iterations());
        assert!(cipher::decrypt(&derived, &sealed, &ours()).is_ok());
        let text = sealed.to_string();
        for (index, old) in text.bytes().enumerate().take_while(|(_, byte)| *byte != b'.') {
            for new in (0..=127).filter(|new| *new != old) {
                let mut changed = text.clone().into_bytes();
                changed[index] = new;
                let Ok(changed) = Sealed::parse(std::str::from_utf8(&changed).unwrap()) else { continue };
                assert_eq!(cipher::decrypt(&derived, &changed, &ours()).err(), Some(CannotOpen::Refused), "byte {index} as {new}");
            }
        }
    }
}

#[test]
fn what_asks_for_too_much_or_too_little_is_refused_before_any_work() {
    let text = sealed_as(LEAST).to_string();
    let refused = |text: &str| work(|| assert_eq!(attempt(text, &password(), &ours()), Found::Malformed, "{text}"));
    let start = Instant::now();
    for iterations in ["1000000000", "10000001", "99999", "0", "-1", "+100000", "0100000", "1e6", "", "99999999999999999999"] {
        assert_eq!(refused(&text.replace("i=100000", &format!("i={iterations}"))), 0);
    }
    for (old, new) in [("v=2", "v=3"), ("$v", "$$v"), ("sha256", "sha512"), ("$pbkdf2", "pbkdf2"), (".", ""), (".", ".."), ("=", "")] {
        assert_eq!(refused(&text.replace(old, new)), 0);
    }
    for strange in ["", ".", "a.b", "$", &"A".repeat(1 << 20), &format!("{text} "), &format!("{text}\n"), &text[..text.len() - 1]] {
        assert_eq!(refused(strange), 0);
    }
    assert!(start.elapsed().as_secs() < 5);
}

#[test]
fn the_longest_seal_is_read_and_a_longer_one_is_not() {
    let sealed = |length| {
        let method = Method::V2 { iterations: Iterations::MOST };
        Sealed { method, salt: [255; 32], nonce: [255; 12], ciphertext: vec![255; length], tag: [255; 16] }.to_string()
    };
    assert!(Sealed::parse(&sealed(200)).is_ok() && Sealed::parse(&sealed(10)).is_ok());
    assert!(Sealed::parse(&sealed(201)).is_err() && Sealed::parse(&sealed(9)).is_err());
}

#[test]
fn a_seal_with_something_else_in_it_says_so_to_who_has_the_password() {
    let derived = cipher::derive(&password(), &[1; 32], Iterations::LEAST);
    let text = "two words and a line\n";
    let mut sealed = sealed_as(Method::Former);
    let strange = cipher::encrypt_any(&derived, text.as_bytes(), &ours(), Method::Former, [1; 32], [2; 12]);
    assert_eq!(attempt(&strange.to_string(), &password(), &ours()), Found::NotAKey);
    sealed.salt = strange.salt;
    assert_eq!(attempt(&sealed.to_string(), &password(), &ours()), Found::Refused);
}

#[test]
fn a_seal_is_renewed_only_to_become_stronger() {
    let v2 = |count: u32| Method::V2 { iterations: count.try_into().unwrap() };
    let sealed = |method| Sealed { method, salt: [0; 32], nonce: [0; 12], ciphertext: vec![0; 10], tag: [0; 16] };
    for (stored, today, renewed) in [
        (Method::Former, v2(600_000), true),
        (Method::Former, Method::Former, false),
        (v2(600_000), v2(600_000), false),
        (v2(100_000), v2(600_000), true),
        (v2(700_000), v2(600_000), false),
        (v2(600_000), Method::Former, false),
    ] {
        assert_eq!(sealed(stored).needs_resealing(today), renewed, "{stored:?} {today:?}");
    }
}

#[test]
fn a_key_has_10_to_200_visible_characters() {
    for (text, fit) in [
        ("x".repeat(10), true),
        ("~!".repeat(100), true),
        ("x".repeat(9), false),
        ("x".repeat(201), false),
        ("with a space".into(), false),
        ("line\nbreaks".into(), false),
        ("schlüssel-12".into(), false),
    ] {
        assert_eq!(Opened::parse(text.clone()).is_ok(), fit, "{text}");
    }
}

#[test]
fn a_password_that_seals_has_8_to_128_characters_however_many_bytes() {
    for (text, fit) in [("密".repeat(8), true), ("密".repeat(128), true), ("密".repeat(7), false), ("x".repeat(129), false)] {
        assert_eq!(NewPassword::parse(text.clone().into()).is_ok(), fit, "{text}");
    }
}

#[test]
fn a_fingerprint_tells_keys_apart_and_reads_back() {
    let other = Opened::parse(KEY.replace('a', "b")).unwrap();
    let fingerprint = key().fingerprint();
    assert!(fingerprint == key().fingerprint() && fingerprint != other.fingerprint());
    assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    assert!(!KEY.contains(&fingerprint.to_string()));
    for strange in ["", "0123", "0123456789ABCDEF", "+123456789abcdef", "0123456789abcdefg"] {
        assert_eq!(strange.parse::<Fingerprint>(), Err(NotAFingerprint), "{strange}");
    }
}

#[test]
fn nothing_secret_is_in_what_is_printed() {
    let password = password();
    let sealed = sealed_as(LEAST);
    let said = format!("{:?} {:?} {:?} {:?}", key(), password, NewPassword::parse(password.clone()).unwrap(), sealed);
    assert!(!said.contains(PASSWORD) && !said.contains(KEY) && !said.contains(&sealed.to_string()[..20]), "{said}");
    assert!(said.contains("Opened Password") && said.contains("100000"), "{said}");
    let refused = format!("{:?}", Opened::parse(PASSWORD.to_owned()).err());
    assert!(!refused.contains("horse"), "{refused}");
}

#[test]
fn every_buffer_is_zero_when_it_is_dropped() {
    let buried = graveyard::during(|| {
        let sealed = sealed_as(LEAST);
        drop(open(&sealed, &password(), &ours()));
        assert!(Opened::parse("too short".into()).is_err());
        assert!(open(&sealed, &"wrong password".to_owned().into(), &ours()).is_err());
    });
    // Three derived keys, the key twice and once more in each direction, three passwords, and what was too short.
    assert!(buried.len() >= 10, "{} buffers", buried.len());
    assert!(buried.iter().any(|bytes| bytes.len() == KEY.len()) && buried.iter().any(|bytes| bytes.len() == PASSWORD.len()));
    assert!(buried.iter().flatten().all(|byte| *byte == 0), "something was left");
}

#[test]
fn a_shared_buffer_is_zeroed_with_the_last_who_has_it() {
    let password = password();
    let shared = password.clone();
    assert!(graveyard::during(|| drop(password)).is_empty());
    assert_eq!(graveyard::during(|| drop(shared)), [vec![0; PASSWORD.len()]]);
}

/// One derivation's work, whatever the seal says, plus what a changed digit can make of 100,000.
const BOUNDED: u64 = 1_000_000;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_seal_is_refused(at in any::<prop::sample::Index>(), new in any::<char>(), former in any::<bool>()) {
        let text = sealed_as(if former { Method::Former } else { LEAST }).to_string();
        let mut letters: Vec<char> = text.chars().collect();
        *at.get_mut(&mut letters) = new;
        let changed: String = letters.into_iter().collect();
        prop_assume!(changed != text);
        let done = work(|| assert!(matches!(attempt(&changed, &password(), &ours()), Found::Malformed | Found::Refused)));
        prop_assert!(done < BOUNDED);
    }

    #[test]
    fn a_cut_seal_is_refused(at in any::<prop::sample::Index>(), former in any::<bool>()) {
        let text = sealed_as(if former { Method::Former } else { LEAST }).to_string();
        let cut = &text[..at.index(text.len())];
        let done = work(|| assert!(matches!(attempt(cut, &password(), &ours()), Found::Malformed | Found::Refused)));
        prop_assert!(done < BOUNDED);
    }

    #[test]
    fn a_moved_seal_is_refused(user in "[a-z0-9]{15}", collection in "[A-Za-z0-9_]{1,100}") {
        let theirs = Owner { collection: collection.parse().unwrap(), user: user.parse().unwrap() };
        prop_assume!(theirs != ours());
        prop_assert_eq!(attempt(&sealed_as(LEAST).to_string(), &password(), &theirs), Found::Refused);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_well_formed_is_read_and_has_one_spelling(
        content in prop::collection::vec(any::<u8>(), 30..240),
        salt in prop::collection::vec(any::<u8>(), 31..=33),
        iterations in prop::option::of(50_000_u32..20_000_000),
        letter in any::<prop::sample::Index>(),
    ) {
        let parameters = iterations.map_or(String::new(), |count| format!("$pbkdf2-sha256$v=2,i={count}$"));
        let text = format!("{}.{parameters}{}", STANDARD.encode(&content), STANDARD.encode(&salt));
        let within = iterations.is_none_or(|count| (100_000..=10_000_000).contains(&count));
        let well_formed = within && salt.len() == 32 && (38..=228).contains(&content.len());
        prop_assert_eq!(Sealed::parse(&text).map(|sealed| sealed.to_string()), well_formed.then(|| text.clone()).ok_or(Malformed));
        // The next letter of the alphabet differs in the unused bits, where there are any.
        let mut other = text.into_bytes();
        *letter.get_mut(&mut other) += 1;
        let other = String::from_utf8(other).expect("ASCII");
        if let Ok(sealed) = Sealed::parse(&other) {
            prop_assert_eq!(sealed.to_string(), other);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        prop_assert!(Sealed::parse(&text).is_err());
    }

    #[test]
    fn iterations_are_never_read_beyond_their_bounds(count in any::<u32>()) {
        let fit = (100_000..=10_000_000).contains(&count);
        prop_assert_eq!(count.to_string().parse::<Iterations>().is_ok(), fit);
    }
}
