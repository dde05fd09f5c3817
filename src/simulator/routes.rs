//! THE route table: every address the simulator answers, one line each, with the name it is counted under.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::Method;
use matchit::Router;

use super::answer::{Answer, detail};
use super::call::Call;
use super::intake::NAMESPACES;
use super::world::World;
use super::{admin, history, media, platform, queue, rest, run, storage};

type Handler = fn(Arc<World>, Call) -> Pin<Box<dyn Future<Output = Answer> + Send>>;
/// A method, the name it is counted under, and who answers.
type Target = (&'static str, &'static str, Handler);
/// The same with its path.
type Route = (&'static str, &'static str, &'static str, Handler);

macro_rules! routes {
    ($($method:ident $path:literal $kind:literal $handler:path;)*) => {
        &[$((stringify!($method), $path, $kind, |world, call| Box::pin($handler(world, call))),)*]
    };
}

/// Under `/queue` and `/run`, once more for each namespace.
const APPS: &[Route] = routes! {
    POST "/queue{ns}/{owner}/{app}"                           "submit"        queue::submit;
    POST "/queue{ns}/{owner}/{app}/{*sub}"                    "submit"        queue::submit;
    GET  "/queue{ns}/{owner}/{app}/requests/{id}"               "result"        queue::result;
    GET  "/queue{ns}/{owner}/{app}/requests/{id}/status"        "status"        queue::status;
    GET  "/queue{ns}/{owner}/{app}/requests/{id}/status/stream" "status_stream" queue::status_stream;
    PUT  "/queue{ns}/{owner}/{app}/requests/{id}/cancel"        "cancel"        queue::cancel;
    GET  "/queue{ns}/{owner}/{app}/{*sub}"                    "subpath"       queue::subpath;
    PUT  "/queue{ns}/{owner}/{app}/{*sub}"                    "subpath"       queue::subpath;
    POST "/run{ns}/{owner}/{app}"                             "run"           run::run;
    POST "/run{ns}/{owner}/{app}/{*sub}"                      "run"           run::run;
};

const OTHERS: &[Route] = routes! {
    POST "/rest/storage/upload/initiate"                          "initiate"  storage::initiate;
    POST "/rest/storage/upload/initiate-multipart"                "initiate"  storage::initiate;
    POST "/rest/storage/auth/token"                               "token"     storage::token;
    POST "/rest/tokens/"                                          "token"     storage::temporary;
    GET  "/rest/billing/user_balance"                             "balance"   rest::balance;
    GET  "/rest/users/current"                                    "user"      rest::user;
    GET  "/rest/.well-known/jwks.json"                            "jwks"      rest::jwks;

    GET  "/api/v1/models"                                         "catalogue" platform::catalogue;
    GET  "/api/v1/models/pricing"                                 "pricing"   platform::pricing;
    POST "/api/v1/models/pricing/estimate"                        "pricing"   platform::estimate;
    GET  "/api/v1/models/requests/by-endpoint"                    "requests"  history::requests;
    GET  "/api/v1/models/usage"                                   "billing"   platform::billing_events;
    GET  "/api/v1/models/billing-events"                          "billing"   platform::billing_events;
    GET  "/api/v1/account/billing"                                "billing"   platform::account;
    GET  "/api/v1/meta"                                           "meta"      platform::meta;
    GET  "/api/openapi/queue/openapi.json"                        "openapi"   platform::openapi;

    GET  "/media/files/b/{part}/{name}"                           "download"  media::picture;
    HEAD "/media/files/b/{part}/{name}"                           "download"  media::picture;
    GET  "/media/files/u/{id}/{name}"                             "download"  media::file;
    HEAD "/media/files/u/{id}/{name}"                             "download"  media::file;
    PUT  "/media/upload/{id}"                                     "upload"    storage::put;
    PUT  "/media/upload/{id}/{part}"                              "upload"    storage::put_part;
    POST "/media/upload/{id}/complete"                            "upload"    storage::complete;
    POST "/media/files/upload"                                    "upload"    storage::upload;
    POST "/media/files/upload/multipart"                          "upload"    storage::upload_multipart;
    PUT  "/media/files/u/{file}/{name}/multipart/{id}/{part}"     "upload"    storage::put_part;
    POST "/media/files/u/{file}/{name}/multipart/{id}/complete"   "upload"    storage::complete;

    GET    "/_sim/log"       "_sim"  admin::log;
    GET    "/_sim/counters"  "_sim"  admin::counters;
    GET    "/_sim/submits"   "_sim"  admin::submits;
    GET    "/_sim/accounts"  "_sim"  admin::accounts;
    PUT    "/_sim/accounts"  "_sim"  admin::set_account;
    POST   "/_sim/faults"    "_sim"  admin::add_rule;
    DELETE "/_sim/faults"    "_sim"  admin::clear_rules;
    GET    "/_sim/clock"     "_sim"  admin::clock;
    POST   "/_sim/clock"     "_sim"  admin::advance;
    GET    "/_sim/knobs"     "_sim"  admin::knobs;
    GET    "/_sim/keys"      "_sim"  admin::keys;
};

/// FAL's names, backup names included, and the prefix that means the same.
const HOSTS: [(&str, &str); 9] = [
    ("queue.fal.run", "/queue"),
    ("queue.falrun.com", "/queue"),
    ("fal.run", "/run"),
    ("falrun.com", "/run"),
    ("rest.fal.ai", "/rest"),
    ("api.fal.ai", "/api"),
    ("v3.fal.media", "/media"),
    ("v3b.fal.media", "/media"),
    ("fal.media", "/media"),
];

/// The prefix of the part of FAL that this host name means. Other names mean the path says it itself.
pub fn prefix_of(host: &str) -> Option<&'static str> {
    let name = host.split(':').next().unwrap_or_default();
    HOSTS.iter().find(|(fal, _)| fal.eq_ignore_ascii_case(name)).map(|(_, prefix)| *prefix)
}

/// The table, ready to be asked.
pub struct Routes(Router<Vec<Target>>);

impl Routes {
    /// Builds it. The table is part of the program, so a mistake in it is found by the first test that starts.
    pub fn new() -> Self {
        let mut paths: Vec<(String, Vec<Target>)> = Vec::new();
        let namespaces = std::iter::once(String::new()).chain(NAMESPACES.iter().map(|name| format!("/{name}")));
        let apps = namespaces.flat_map(|namespace| {
            APPS.iter().map(move |(method, path, kind, handler)| (path.replace("{ns}", &namespace), (*method, *kind, *handler)))
        });
        let others = OTHERS.iter().map(|(method, path, kind, handler)| ((*path).to_owned(), (*method, *kind, *handler)));
        for (path, route) in apps.chain(others) {
            match paths.iter_mut().find(|(other, _)| *other == path) {
                Some((_, routes)) => routes.push(route),
                None => paths.push((path, vec![route])),
            }
        }
        let mut router = Router::new();
        for (path, routes) in paths {
            router.insert(path, routes).expect("the table above has no two paths that mean the same");
        }
        Routes(router)
    }

    /// Answers a call. Also says what kind of call it was.
    pub async fn answer(&self, world: Arc<World>, mut call: Call) -> (&'static str, Answer) {
        let path = call.path.clone();
        let Ok(found) = self.0.at(&path) else {
            return ("unknown", Ok(detail(404, "Not Found")));
        };
        let route = found.value.iter().find(|(method, ..)| *method == call.method.as_str());
        match route {
            Some((_, kind, handler)) => {
                call.matched(&found.params);
                (kind, handler(world, call).await)
            }
            None if call.method == Method::OPTIONS => ("preflight", Ok(super::answer::preflight())),
            None => ("unknown", Ok(detail(405, "Method Not Allowed"))),
        }
    }
}
