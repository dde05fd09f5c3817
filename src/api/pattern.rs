//! The pattern of the route that a path belongs to, for logs and metrics: there are only so many.

use std::sync::LazyLock;

use super::openapi;

/// What a path of no route is called.
const NONE: &str = "none";

/// Every path of the route table, split into its segments; tests hold the document to the table.
static PATTERNS: LazyLock<Vec<(&'static str, Vec<&'static str>)>> = LazyLock::new(|| {
    let patterns = openapi::paths().into_iter().map(|path| (&*format!("/api/custom/{path}").leak(), path.split('/').collect()));
    patterns.collect()
});

/// The pattern of a path, given as the decoded segments below `/api/custom/`. Like the table it prefers words to placeholders.
pub(super) fn of(segments: &[String]) -> &'static str {
    let matching = PATTERNS.iter().filter(|(_, pattern)| matches(pattern, segments));
    let placeholders = |pattern: &[&str]| pattern.iter().filter(|part| part.starts_with('{')).count();
    matching.min_by_key(|(_, pattern)| placeholders(pattern)).map_or(NONE, |(whole, _)| whole)
}

fn matches(pattern: &[&str], segments: &[String]) -> bool {
    // The one placeholder that may stand for several segments: names of models hold slashes.
    let open_ended = pattern.last() == Some(&"{name}") && segments.len() > pattern.len();
    let same_length = pattern.len() == segments.len();
    (same_length || open_ended) && pattern.iter().zip(segments).all(|(part, segment)| part.starts_with('{') || part == segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_pattern_of_its_route() {
        for (path, pattern) in [
            ("status", "/api/custom/status"),
            ("jobs", "/api/custom/jobs"),
            ("jobs/abc", "/api/custom/jobs/{id}"),
            ("jobs/abc/cancel", "/api/custom/jobs/{id}/cancel"),
            ("preferences/get", "/api/custom/preferences/get"),
            ("preferences/flux/schnell", "/api/custom/preferences/{name}"),
            ("preferences", "none"),
            ("jobs/abc/else", "none"),
            ("", "none"),
        ] {
            let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
            assert_eq!(of(&segments), pattern, "{path}");
        }
        assert_eq!(of(&["preferences".into(), "flux/schnell".into()]), "/api/custom/preferences/{name}");
        assert_eq!(of(&["jobs".into(), "a/cancel".into()]), "/api/custom/jobs/{id}");
    }
}
