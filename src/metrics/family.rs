//! Counters for what is rare: a lock and a look-up for each event.

use std::borrow::Cow;
use std::collections::BTreeMap;

use parking_lot::Mutex;

/// The value of a label.
pub type Word = Cow<'static, str>;

/// Combinations of words that a family holds. Ours are fewer; one more would be counted as [`OTHER`].
const MOST_SERIES: usize = 500;
const OTHER: Word = Cow::Borrowed("other");

/// A counter for each combination of its labels' values.
///
/// The values are words of the program's own, or names from the catalogue: never anything that a user can choose.
pub struct Family<const LABELS: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; LABELS],
    /// Shown from the start, at zero: a rate can only be seen of what was there before.
    expected: &'static [[&'static str; LABELS]],
    counts: Mutex<BTreeMap<[Word; LABELS], u64>>,
}

impl<const LABELS: usize> Family<LABELS> {
    /// Nothing has happened yet. The name is without `_total`.
    pub const fn new(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; LABELS],
        expected: &'static [[&'static str; LABELS]],
    ) -> Self {
        Self { name, help, labels, expected, counts: Mutex::new(BTreeMap::new()) }
    }

    /// It has happened once.
    pub fn one<W: Into<Word>>(&self, words: [W; LABELS]) {
        self.add(words, 1);
    }

    /// So much more of it.
    pub fn add<W: Into<Word>>(&self, words: [W; LABELS], amount: u64) {
        let mut words = words.map(Into::into);
        let mut counts = self.counts.lock();
        if counts.len() >= MOST_SERIES && !counts.contains_key(&words) {
            words = [OTHER; LABELS];
        }
        *counts.entry(words).or_default() += amount;
    }
}

impl Family<0> {
    /// It has happened, and there is nothing more to say of it.
    pub fn happened(&self) {
        self.add::<Word>([], 1);
    }
}

/// One value of each label, and how often that was.
pub type Series = (Vec<(&'static str, Word)>, u64);

/// A family of whatever number of labels, to be read.
pub trait Rare {
    /// Its name, without `_total`.
    fn name(&self) -> &'static str;
    /// What it counts.
    fn help(&self) -> &'static str;
    /// All that was counted, and what may be one day.
    fn series(&self) -> Vec<Series>;
}

impl<const LABELS: usize> Rare for Family<LABELS> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn help(&self) -> &'static str {
        self.help
    }

    fn series(&self) -> Vec<Series> {
        let mut all = self.counts.lock().clone();
        for words in self.expected {
            all.entry(words.map(Cow::Borrowed)).or_default();
        }
        all.into_iter().map(|(words, count)| (self.labels.into_iter().zip(words).collect(), count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_happen_is_shown_before_it_does() {
        let family = Family::new("x", "", ["a"], &[["one"], ["two"]]);
        family.one(["two"]);
        family.add(["three".to_owned()], 5);
        let shown: Vec<_> = family.series().into_iter().map(|(labels, count)| (labels[0].1.clone().into_owned(), count)).collect();
        assert_eq!(shown, [("one".to_owned(), 0), ("three".to_owned(), 5), ("two".to_owned(), 1)]);
    }

    #[test]
    fn no_family_grows_without_bound() {
        let family = Family::new("x", "", ["a"], &[]);
        for number in 0..MOST_SERIES * 2 {
            family.one([number.to_string()]);
        }
        assert_eq!(family.series().len(), MOST_SERIES + 1);
        assert!(family.series().iter().any(|(labels, count)| labels[0].1 == "other" && *count == MOST_SERIES as u64));
    }
}
