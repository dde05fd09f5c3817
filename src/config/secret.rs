//! Settings that nobody may read in a log.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use zeroize::Zeroizing;

/// A password or token: its `Debug` prints its name, and its memory is zeroed when it goes.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The first line of a file, as `*_FILE` variables and container secrets have it.
    pub(super) fn from_file(path: &Path) -> Result<Self, String> {
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?);
        text.lines().next().unwrap_or_default().parse().map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err("expected a secret on one line".into());
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
