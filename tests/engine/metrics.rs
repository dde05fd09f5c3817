//! The metrics of a sidecar through which something happened, and whether the documents speak of the same.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::body;
use crate::world::{World, picture};

/// Families, each with the labels that its samples carry.
type Families = BTreeMap<String, BTreeSet<String>>;

/// What a scrape shows. Names are those that a query uses, but for histograms: there they are without `_bucket`, `_sum` and `_count`.
fn families(text: &str) -> Families {
    let histograms: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram")).collect();
    let mut families = Families::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let whole = histograms
            .iter()
            .find(|histogram| name.strip_prefix(**histogram).is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest)));
        let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once('=')).map(|(label, _)| label.to_owned());
        families.entry(whole.copied().unwrap_or(name).to_owned()).or_default().extend(labels);
    }
    families
}

fn value(text: &str, series: &str) -> f64 {
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap_or_else(|| panic!("{series} is not in:\n{text}"))
}

/// A sidecar that did a bit of everything, well and badly.
async fn busy() -> World {
    let world = World::start(&[]);
    let user = world.user().await;
    assert_eq!(user.generate(&picture("a lighthouse")).await.status, 200);
    let refused = user.generate(&picture("a boat [[sim:result.422]]")).await;
    assert!(refused.status >= 400, "{refused:?}");
    assert_eq!(user.post("auth/create-session", &json!({ "password": "wrong" })).await.status, 401);
    assert_eq!(user.send(Method::GET, "jobs", &[("authorization", "nonsense")], &Value::Null).await.status, 401);
    let _ = (world.sidecar.get("/api/health"), world.sidecar.get("/_/"), world.sidecar.raw(b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n"));
    world
}

#[tokio::test]
async fn the_documents_and_the_dashboard_speak_of_what_is_there() {
    let world = busy().await;
    let answer = world.sidecar.monitor("/metrics", "");
    let text = body(&answer);
    let shown = families(text);
    for (series, at_least) in [
        (r#"generatio_own_requests_total{route="/api/custom/generate/image",code="200"}"#, 1.0),
        (r#"generatio_own_requests_total{route="/api/custom/jobs",code="401"}"#, 1.0),
        (r#"generatio_submits_total{outcome="accepted"}"#, 2.0),
        (r#"generatio_settlements_total{model="flux/schnell",status="completed"}"#, 1.0),
        (r#"generatio_settlements_total{model="flux/schnell",status="failed"}"#, 1.0),
        (r#"generatio_settled_microdollars_total{model="flux/schnell"}"#, 3000.0),
        (r#"generatio_downloads_total{outcome="fetched"}"#, 1.0),
        (r#"generatio_unlocks_total{outcome="opened"}"#, 1.0),
        (r#"generatio_unlocks_total{outcome="wrong_password"}"#, 1.0),
        (r#"generatio_token_checks_total{outcome="refused"}"#, 1.0),
        ("generatio_sessions_active", 1.0),
        ("generatio_derivations_total", 2.0),
        ("generatio_ready", 1.0),
    ] {
        assert!(value(text, series) >= at_least, "{series}\n{text}");
    }

    let document = std::fs::read_to_string("docs/metrics.md").unwrap();
    let documented: BTreeSet<String> =
        document.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect();
    assert_eq!(documented, shown.keys().cloned().collect(), "docs/metrics.md, and what is there");

    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string("docs/deploy/grafana.json").unwrap()).unwrap();
    let mut queries = Vec::new();
    collect(&dashboard, &mut queries);
    assert!(queries.len() > 15, "{queries:?}");
    for query in queries {
        check(&query, &shown);
    }
}

/// Every `expr` of a dashboard.
fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|value| collect(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Names of metrics, and labels in braces and after `by`, must all have been seen.
fn check(query: &str, shown: &Families) {
    let mut labels = BTreeSet::from(["le".to_owned()]);
    let mut named = 0;
    for word in query.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_')) {
        if !(word.starts_with("generatio_") || word.starts_with("process_")) {
            continue;
        }
        let whole = ["_bucket", "_sum", "_count"].iter().filter_map(|end| word.strip_suffix(end)).find(|name| shown.contains_key(*name));
        let name = whole.unwrap_or(word);
        let theirs = shown.get(name).unwrap_or_else(|| panic!("{query}: no metric is called {word}"));
        labels.extend(theirs.iter().cloned());
        named += 1;
    }
    assert!(named > 0, "{query} names no metric");
    let selected = query.split('{').skip(1).flat_map(|rest| rest.split('}').next().unwrap_or_default().split(','));
    let selected = selected.filter_map(|matcher| matcher.split(['=', '!']).next()).map(str::trim);
    let grouped = query.split(" by (").skip(1).flat_map(|rest| rest.split(')').next().unwrap_or_default().split(',')).map(str::trim);
    for label in selected.chain(grouped).filter(|label| !label.is_empty() && !["job", "instance"].contains(label)) {
        assert!(labels.contains(label), "{query}: no label is called {label}");
    }
}
