//! `GET /api/custom/openapi.json`, and the copy of it in the repository.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::upstream::Upstream;
use crate::support::{Sidecar, body, header, status};

/// Methods and paths of the route table: what stands between `(&Method::` and `=>`.
fn table() -> BTreeSet<String> {
    let text = std::fs::read_to_string("src/api/mod.rs").unwrap();
    let routes = text.lines().filter_map(|line| line.trim_start().strip_prefix("(&Method::")?.split_once(", ["));
    routes
        .map(|(method, rest)| {
            let parts = rest.split(']').next().unwrap().split(", ").map(|part| match part.strip_prefix('"') {
                Some(word) => word.trim_end_matches('"').to_owned(),
                None => format!("{{{}}}", part.trim_end_matches(" @ ..")),
            });
            format!("{} /api/custom/{}", method.to_lowercase(), parts.collect::<Vec<_>>().join("/"))
        })
        .collect()
}

#[test]
fn every_route_is_in_the_document_and_the_repository_has_the_newest_one() {
    let sidecar = Sidecar::start(Upstream::ok().address, &[]);
    let answer = sidecar.get("/api/custom/openapi.json");
    assert_eq!((status(&answer), header(&answer, "content-type")), (200, Some("application/json")));
    let document: Value = serde_json::from_str(body(&answer)).expect("JSON");
    let paths = document["paths"].as_object().unwrap().iter();
    let shown: BTreeSet<String> =
        paths.flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))).collect();
    let table = table();
    assert!(table.len() > 30, "{table:?}");
    assert_eq!(shown, table);
    let kept = std::fs::read_to_string("openapi.json").unwrap_or_default();
    if kept != body(&answer) {
        std::fs::write("openapi.json", body(&answer)).unwrap();
        panic!("openapi.json was stale and has been written anew: look at it and commit it");
    }
}

#[test]
fn every_name_that_the_document_refers_to_is_there() {
    let text = std::fs::read_to_string("openapi.json").unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    for name in text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}
