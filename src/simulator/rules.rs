//! Faults that are set from outside, for everybody or for one key, always or at a rate.

use super::accounts::Key;
use super::dice::Dice;
use super::faults::Faults;

/// One of them.
#[derive(Debug)]
pub struct Rule {
    /// What goes wrong.
    pub faults: Faults,
    /// For whom; everybody where there is none.
    pub key_id: Option<String>,
    /// How often, from 0 to 1.
    pub rate: f64,
    /// Its luck.
    pub dice: Dice,
}

impl Rule {
    /// Whether it is about this key.
    pub fn means(&self, key: &Key) -> bool {
        self.key_id.as_deref().is_none_or(|id| id == key.id())
    }

    /// Whether it strikes this time.
    pub fn strikes(&mut self) -> bool {
        self.dice.roll() < self.rate
    }
}
