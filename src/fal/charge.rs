//! What a job costs: FAL's own figures where there are any, an estimate where there are none.
//!
//! Everything is integers; the one rounding is the last step, up to the micro-dollar (design: "Money").

use super::decimal::{self, ONE};
use crate::money::MicroUsd;

/// FAL's megapixel.
const MEGAPIXEL: u64 = 1 << 20;
/// More billing units than this for one picture are a mistake of FAL's, or of somebody in between.
const MOST_UNITS_PER_IMAGE: u64 = 100;
/// A thousand-millionth unit times a thousand-millionth dollar, in a micro-dollar.
const NANO_NANOS_PER_MICRO: u128 = 1_000_000_000_000;

/// Billing units, exact to the thousand-millionth: the value of `X-Fal-Billable-Units`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Units(u64);

impl Units {
    /// Reads the header's value.
    pub fn read(text: &str) -> Option<Self> {
        decimal::nanos(text).map(Self)
    }

    /// Whole units.
    pub const fn whole(units: u32) -> Self {
        Self(units as u64 * ONE)
    }

    /// What was kept as [`Self::nanos`].
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Thousand-millionths of a unit, the exact figure for the ledger.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    fn is_absurd(self, images: u32) -> bool {
        self.0 > u64::from(images.max(1)) * MOST_UNITS_PER_IMAGE * ONE
    }
}

/// Dollars for one billing unit, exact to the thousand-millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitPrice(u64);

impl UnitPrice {
    /// Reads dollars, `0.003`.
    pub fn read(text: &str) -> Option<Self> {
        decimal::nanos(text).map(Self)
    }

    /// What was kept as [`Self::nano_dollars`].
    pub const fn from_nano_dollars(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Thousand-millionths of a dollar, the exact figure for the ledger.
    pub const fn nano_dollars(self) -> u64 {
        self.0
    }

    fn times(self, units: Units) -> MicroUsd {
        let micros = (u128::from(self.0) * u128::from(units.0)).div_ceil(NANO_NANOS_PER_MICRO);
        MicroUsd::new(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

impl From<MicroUsd> for UnitPrice {
    /// A price that was never negative stays exact; a negative one is nothing.
    fn from(amount: MicroUsd) -> Self {
        Self(u64::try_from(amount.micros()).unwrap_or(0).saturating_mul(1000))
    }
}

/// What one billing unit of a model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A picture.
    Image,
    /// 2^20 pixels, rounded up for each picture.
    Megapixel,
    /// Seconds of a machine, characters, or whatever else: FAL alone can count it.
    Other(String),
}

impl Unit {
    /// Reads FAL's word, singular or plural.
    pub fn read(word: &str) -> Self {
        match word.trim().to_ascii_lowercase().trim_end_matches('s') {
            "image" => Self::Image,
            "megapixel" | "mp" => Self::Megapixel,
            _ => Self::Other(word.to_owned()),
        }
    }
}

/// What FAL charges this account for one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// Dollars for each unit.
    pub per_unit: UnitPrice,
    /// What a unit is; `None` where FAL did not say.
    pub unit: Option<Unit>,
}

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Size {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl Size {
    /// Megapixels as they are billed.
    fn megapixels(self) -> u32 {
        let megapixels = (u64::from(self.width) * u64::from(self.height)).div_ceil(MEGAPIXEL);
        u32::try_from(megapixels).unwrap_or(u32::MAX)
    }
}

/// What is known of a job's cost when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The size of each picture that came.
    pub images: &'a [Size],
    /// What FAL reported as billed.
    pub units: Option<Units>,
    /// What FAL charges for a unit.
    pub price: Option<&'a Price>,
    /// What the catalogue says where FAL says nothing.
    pub fallback: Fallback<'a>,
}

/// The catalogue's figures for a model.
#[derive(Clone, Copy, Debug)]
pub struct Fallback<'a> {
    /// For each picture.
    pub per_image: MicroUsd,
    /// What a unit of FAL's is, where FAL's price does not name it.
    pub unit: &'a Unit,
}

/// An amount, and what it follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// What the user pays FAL.
    pub amount: MicroUsd,
    /// Whether it is our guess.
    pub estimated: bool,
    /// The units it was computed with, FAL's or ours.
    pub units: Option<Units>,
    /// The price it was computed with.
    pub unit_price: Option<UnitPrice>,
}

impl Charge {
    /// Nothing, for certain.
    pub const NOTHING: Self = Self { amount: MicroUsd::ZERO, estimated: false, units: None, unit_price: None };

    fn exact(units: Units, price: UnitPrice) -> Self {
        Self { amount: price.times(units), estimated: false, units: Some(units), unit_price: Some(price) }
    }

    fn guess(units: Units, price: UnitPrice) -> Self {
        Self { estimated: true, ..Self::exact(units, price) }
    }
}

impl Facts<'_> {
    /// What a job that gave pictures costs.
    pub fn completed(&self) -> Charge {
        let count = u32::try_from(self.images.len()).unwrap_or(u32::MAX);
        match (self.sane_units(count), self.price) {
            (Some(Units(0)), _) => Charge { units: Some(Units(0)), ..Charge::NOTHING },
            (Some(units), Some(price)) => Charge::exact(units, price.per_unit),
            (None, Some(price)) => match price.unit.as_ref().unwrap_or(self.fallback.unit) {
                Unit::Image => Charge::guess(Units::whole(count), price.per_unit),
                Unit::Megapixel => Charge::guess(self.megapixels(), price.per_unit),
                Unit::Other(_) => self.by_catalogue(count),
            },
            (Some(_) | None, None) => self.by_catalogue(count),
        }
    }

    /// What a job that failed or was cancelled costs: nothing, unless FAL reports units.
    pub fn failed(&self, wanted: u32) -> Charge {
        match (self.sane_units(wanted), self.price) {
            (None | Some(Units(0)), _) => Charge::NOTHING,
            (Some(units), Some(price)) => Charge::exact(units, price.per_unit),
            (Some(_), None) => self.by_catalogue(wanted),
        }
    }

    fn by_catalogue(&self, images: u32) -> Charge {
        Charge::guess(Units::whole(images), self.fallback.per_image.into())
    }

    fn megapixels(&self) -> Units {
        Units::whole(self.images.iter().fold(0, |sum, size| sum.saturating_add(size.megapixels())))
    }

    fn sane_units(&self, images: u32) -> Option<Units> {
        let units = self.units?;
        if units.is_absurd(images) {
            tracing::warn!(
                units_nanos = units.0,
                images,
                "FAL reported more than 100 billing units for each picture; the cost is estimated"
            );
            return None;
        }
        Some(units)
    }
}

#[cfg(test)]
#[path = "charge_tests.rs"]
mod tests;
