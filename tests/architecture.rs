//! The house rules that a compiler does not check: imports point down, and every route says who may call it.

use std::fs;
use std::path::{Path, PathBuf};

/// Top to bottom; modules on one line do not import each other. `main.rs` and `lib.rs` stand above.
const LAYERS: &[&[&str]] = &[
    &["commands"],
    &["server"],
    &["monitor"],
    &["api", "forward"],
    &["error"],
    &["app"],
    &["jobs"],
    &["keys"],
    &["sessions", "pocketbase", "fal"],
    &["vault", "reply", "trace", "wire", "rates"],
    &["money", "id", "address", "config", "metrics", "sse", "simulator"],
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The top-level module that a file belongs to: `src/api/status.rs` is `api`.
fn module(path: &Path) -> String {
    let below = path.strip_prefix("src").expect("a path in src");
    let first = below.components().next().expect("a component").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The top-level modules that a file names: `use crate::a::b`, `use crate::{a, b}`, `crate::a::b()`.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => found.extend(word(rest)),
            Some(list) => {
                let mut depth = 1;
                let mut item = String::new();
                for letter in list.chars() {
                    match letter {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 || depth == 1 && letter == ',' {
                        found.extend(word(item.trim()));
                        item.clear();
                    } else {
                        item.push(letter);
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
        }
    }
    found
}

fn word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
    (!word.is_empty()).then_some(word)
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn faults(module: &str, text: &str) -> Vec<String> {
    let Some(own) = layer(module) else { return vec![format!("{module} has no place in the layers")] };
    let points_down = |other: &String| other == module || layer(other).is_some_and(|theirs| theirs > own);
    imports(text).into_iter().filter(|other| !points_down(other)).map(|other| format!("{module} imports {other}")).collect()
}

#[test]
fn every_import_points_down() {
    let found = sources(Path::new("src"));
    assert!(found.len() > 10, "no sources");
    for path in found.iter().filter(|path| !["src/main.rs", "src/lib.rs"].map(Path::new).contains(&path.as_path())) {
        let text = fs::read_to_string(path).expect("a readable file");
        let faults = faults(&module(path), &text);
        assert!(faults.is_empty(), "{}: {faults:?}", path.display());
    }
}

#[test]
fn an_import_that_points_up_or_sideways_is_found() {
    assert_eq!(faults("forward", "use crate::api::x;"), ["forward imports api"]);
    assert_eq!(faults("wire", "use crate::{config, error::Error};"), ["wire imports error"]);
    assert_eq!(faults("pocketbase", "fn f() { crate::server::run() }"), ["pocketbase imports server"]);
    assert_eq!(faults("cellar", ""), ["cellar has no place in the layers"]);
    assert!(faults("server", "use crate::{api, reply::{self, Reply}, wire};").is_empty());
}

#[test]
fn every_route_says_who_may_call_it() {
    let text = fs::read_to_string("src/api/mod.rs").expect("the route table");
    let (table, _) = text.split_once("        _ => Err(Error::NotFound)").expect("the end of the route table");
    // A route is one line, or a block that rustfmt made of it.
    let routes: Vec<&str> = table.split("(&Method::").skip(1).collect();
    assert!(routes.len() >= 2, "no routes");
    for route in routes {
        let named = ["user(", "user_now(", "user_here(", "session("].iter().any(|caller| route.contains(&format!("request.{caller}")));
        let open = route.lines().next().is_some_and(|line| line.trim_end().ends_with("// open"));
        assert!(named || open, "who may call this? {route}");
    }
}

#[test]
fn a_file_begins_with_what_it_is_for() {
    for path in sources(Path::new("src")) {
        let text = fs::read_to_string(&path).expect("a readable file");
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}
