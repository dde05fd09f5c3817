//! Whatever is stored as a seal is read without a panic, and only in its one spelling, within every bound.
#![no_main]

// The two modules alone, not the sidecar: they need nothing else, and build in seconds.
#[expect(dead_code, reason = "reading seals is one part of it")]
#[path = "../../src/id.rs"]
mod id;
#[expect(dead_code, unused_imports, reason = "reading seals is one part of it")]
#[path = "../../src/vault/mod.rs"]
mod vault;

use libfuzzer_sys::fuzz_target;
use vault::{Iterations, Method, Sealed};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(sealed) = Sealed::parse(text) else { return };
    assert_eq!(sealed.to_string(), text, "two spellings of one seal");
    match sealed.method() {
        Method::Former => assert!(!text.contains('$')),
        Method::V2 { iterations } => assert!((Iterations::LEAST..=Iterations::MOST).contains(&iterations)),
    }
});
