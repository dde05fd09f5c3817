//! What a request that passes is about.

/// What a request that passes is about, as far as a glance at its path tells. A path in a strange spelling may be counted as `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Sign-ins, registrations of tokens, mails about accounts.
    Auth,
    /// Rows.
    Records,
    /// Collections themselves.
    Collections,
    /// Stored files.
    Files,
    /// Streams of events, and subscriptions to them.
    Realtime,
    /// Several writes at once.
    Batch,
    /// PocketBase's own health check.
    Health,
    /// The rest of PocketBase's API, routes of hooks included.
    Api,
    /// The admin UI.
    AdminUi,
    /// Everything else: static files.
    Other,
}

impl Class {
    pub(super) const ALL: [Self; 10] = [
        Self::Auth,
        Self::Records,
        Self::Collections,
        Self::Files,
        Self::Realtime,
        Self::Batch,
        Self::Health,
        Self::Api,
        Self::AdminUi,
        Self::Other,
    ];

    /// The class of a path.
    pub fn of(path: &str) -> Self {
        let Some(rest) = path.strip_prefix("/api/") else {
            return if path.starts_with("/_/") { Self::AdminUi } else { Self::Other };
        };
        match rest.as_bytes().first() {
            Some(b'c') => rest.strip_prefix("collections").map_or(Self::Api, of_collections),
            Some(b'f') if rest.starts_with("files/") => Self::Files,
            Some(b'r') if rest == "realtime" => Self::Realtime,
            Some(b'h') if rest == "health" => Self::Health,
            Some(b'b') if rest == "batch" => Self::Batch,
            _ => Self::Api,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Records => "records",
            Self::Collections => "collections",
            Self::Files => "files",
            Self::Realtime => "realtime",
            Self::Batch => "batch",
            Self::Health => "health",
            Self::Api => "api",
            Self::AdminUi => "admin_ui",
            Self::Other => "other",
        }
    }
}

/// What follows `/api/collections`: `/NAME/records/ID`, `/NAME/auth-with-password`.
fn of_collections(rest: &str) -> Class {
    if !rest.is_empty() && !rest.starts_with('/') {
        return Class::Api;
    }
    match rest.get(1..).and_then(|rest| rest.split_once('/')) {
        Some((_, below)) if below.starts_with("records") => Class::Records,
        Some((_, below)) if !below.is_empty() && below != "truncate" => Class::Auth,
        Some(_) | None => Class::Collections,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_class() {
        for (path, class) in [
            ("/api/health", "health"),
            ("/api/realtime", "realtime"),
            ("/api/files/images/abc/x.png", "files"),
            ("/api/batch", "batch"),
            ("/api/collections", "collections"),
            ("/api/collections/users", "collections"),
            ("/api/collections/users/truncate", "collections"),
            ("/api/collections/users/records", "records"),
            ("/api/collections/users/records/abc", "records"),
            ("/api/collections/users/auth-with-password", "auth"),
            ("/api/collections/users/request-verification", "auth"),
            ("/api/collectionsx", "api"),
            ("/api/settings", "api"),
            ("/api/", "api"),
            ("/_/", "admin_ui"),
            ("/_/assets/x.js", "admin_ui"),
            ("/", "other"),
            ("/index.html", "other"),
        ] {
            assert_eq!(Class::of(path).word(), class, "{path}");
        }
    }
}
