//! `docs/simulator.md` says what the code does.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use generatio::simulator::{KNOBS, SPECIAL_KEYS};

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/simulator.md")).unwrap()
}

#[test]
fn every_knob_and_every_key_is_documented_as_the_program_lists_it() {
    let document = document();
    for knob in KNOBS {
        let row = format!("| `{}.{}` | {} | {} |", knob.group, knob.name, knob.argument, knob.seen);
        assert!(document.contains(&row), "missing: {row}");
    }
    for key in SPECIAL_KEYS {
        let row = format!("| `{}:…` | {} |", key.id, key.seen);
        assert!(document.contains(&row), "missing: {row}");
    }
}

/// A test is named as `file::name`; names of the Node and Python tests stand in quotes behind their file.
#[test]
fn every_test_the_conformance_table_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = HashSet::new();
    for quoted in document().split('`').skip(1).step_by(2) {
        if let Some((file, test)) = quoted.split_once("::") {
            let path = root.join(format!("tests/simulator/{file}.rs"));
            let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{quoted}: {error}"));
            assert!(source.contains(&format!("fn {test}()")), "no such test: {quoted}");
            named.insert(quoted.to_owned());
        }
    }
    assert!(named.len() > 40, "only {} tests are named", named.len());
}
