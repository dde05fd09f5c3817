//! That no amount is off by a micro-dollar.

use proptest::prelude::*;

use super::*;

const HD: Size = Size { width: 1024, height: 1024 };
const LANDSCAPE: Size = Size { width: 1024, height: 768 };
const PER_IMAGE: MicroUsd = MicroUsd::new(4_000);

fn price(dollars: &str, unit: Option<Unit>) -> Price {
    Price { per_unit: UnitPrice::read(dollars).expect("a price"), unit }
}

fn facts<'a>(images: &'a [Size], units: Option<&str>, price: Option<&'a Price>) -> Facts<'a> {
    let units = units.map(|text| Units::read(text).expect("units"));
    Facts { images, units, price, fallback: Fallback { per_image: PER_IMAGE, unit: &Unit::Megapixel } }
}

fn outcome(charge: Charge) -> (i64, bool) {
    (charge.amount.micros(), charge.estimated)
}

#[test]
fn fals_figures_win_and_estimates_say_that_they_are() {
    let megapixels = price("0.003", Some(Unit::Megapixel));
    let images = price("0.04", Some(Unit::Image));
    let unnamed = price("0.003", None);
    let seconds = price("0.00111", Some(Unit::Other("compute seconds".into())));
    let large = Size { width: 1025, height: 1024 };
    for (what, facts, expected) in [
        ("units and price", facts(&[LANDSCAPE], Some("1"), Some(&megapixels)), (3_000, false)),
        ("units of four pictures", facts(&[HD; 4], Some("4.0"), Some(&megapixels)), (12_000, false)),
        ("a part of a unit", facts(&[HD], Some("0.3333333333"), Some(&megapixels)), (1_001, false)),
        ("units of any kind", facts(&[HD], Some("7.5"), Some(&seconds)), (8_325, false)),
        ("no units although there are pictures", facts(&[HD], Some("0"), Some(&megapixels)), (0, false)),
        ("no units, and no price either", facts(&[HD], Some("0"), None), (0, false)),
        ("a price, megapixels", facts(&[LANDSCAPE, large], None, Some(&megapixels)), (9_000, true)),
        ("a price, pictures", facts(&[LANDSCAPE, large], None, Some(&images)), (80_000, true)),
        ("a price, the catalogue's unit", facts(&[large], None, Some(&unnamed)), (6_000, true)),
        ("a price of something that we cannot count", facts(&[HD; 2], None, Some(&seconds)), (8_000, true)),
        ("neither", facts(&[HD; 3], None, None), (12_000, true)),
        ("units, but no price", facts(&[HD; 3], Some("5"), None), (12_000, true)),
        ("absurd units", facts(&[HD], Some("999999"), Some(&megapixels)), (3_000, true)),
        ("a hundred units are not absurd", facts(&[HD], Some("100"), Some(&megapixels)), (300_000, false)),
        ("a hundred and a bit are", facts(&[HD], Some("100.000000001"), Some(&megapixels)), (3_000, true)),
        ("no pictures and no units", facts(&[], None, Some(&megapixels)), (0, true)),
        ("no pictures, but units", facts(&[], Some("2"), Some(&megapixels)), (6_000, false)),
        ("the largest picture there is", facts(&[Size { width: 14142, height: 14142 }], None, Some(&megapixels)), (573_000, true)),
    ] {
        assert_eq!(outcome(facts.completed()), expected, "{what}");
    }
}

#[test]
fn a_failure_is_free_unless_fal_reports_units() {
    let megapixels = price("0.003", Some(Unit::Megapixel));
    for (what, units, price, expected) in [
        ("nothing reported", None, Some(&megapixels), (0, false)),
        ("nothing billed", Some("0"), Some(&megapixels), (0, false)),
        ("something billed", Some("2"), Some(&megapixels), (6_000, false)),
        ("something billed at an unknown price", Some("2"), None, (8_000, true)),
        ("an absurd figure", Some("999999"), Some(&megapixels), (0, false)),
    ] {
        assert_eq!(outcome(facts(&[], units, price).failed(2)), expected, "{what}");
    }
}

#[test]
fn a_charge_says_what_it_was_computed_from() {
    let megapixels = price("0.003", Some(Unit::Megapixel));
    let charge = facts(&[HD; 2], Some("2"), Some(&megapixels)).completed();
    assert_eq!((charge.units, charge.unit_price), (Some(Units::whole(2)), Some(megapixels.per_unit)));
    let guess = facts(&[HD; 2], None, None).completed();
    assert_eq!((guess.units, guess.unit_price), (Some(Units::whole(2)), Some(UnitPrice::from(PER_IMAGE))));
}

#[test]
fn a_unit_is_known_by_any_of_fals_words_for_it() {
    for (word, unit) in [
        ("image", Unit::Image),
        ("Images", Unit::Image),
        ("megapixels", Unit::Megapixel),
        ("megapixel", Unit::Megapixel),
        ("compute seconds", Unit::Other("compute seconds".into())),
    ] {
        assert_eq!(Unit::read(word), unit);
    }
}

#[test]
fn no_figure_overflows() {
    let most = price("999999999.999999999", Some(Unit::Image));
    let charge = facts(&vec![HD; 10_000], Some("999999.999999999"), Some(&most)).completed();
    assert_eq!(charge.amount, MicroUsd::new(999_999_999_999_998_999));
    assert_eq!(UnitPrice::from(MicroUsd::new(-1)), UnitPrice(0));
}

proptest! {
    #[test]
    fn an_exact_charge_is_the_product_rounded_up_once(units in 0_u64..100 * ONE, price in 0_u64..10 * ONE) {
        let amount = u128::from(UnitPrice(price).times(Units(units)).micros().unsigned_abs());
        let product = u128::from(units) * u128::from(price);
        prop_assert!(amount * NANO_NANOS_PER_MICRO >= product);
        prop_assert!(amount == 0 || (amount - 1) * NANO_NANOS_PER_MICRO < product);
    }

    #[test]
    fn whole_units_at_a_price_in_micro_dollars_are_not_rounded_at_all(units in 0_u32..10_000, micros in 0_i64..10_000_000) {
        let price = UnitPrice::from(MicroUsd::new(micros));
        prop_assert_eq!(price.times(Units::whole(units)).micros(), i64::from(units) * micros);
    }

    #[test]
    fn the_shares_of_a_charge_add_up_to_it(units in 0_u64..100 * ONE, price in 0_u64..10 * ONE, images in 1_u32..=16) {
        let amount = UnitPrice(price).times(Units(units));
        let shares: Vec<MicroUsd> = amount.shares(images).collect();
        prop_assert_eq!(shares.iter().copied().sum::<MicroUsd>(), amount);
        let (first, last) = (shares.first().expect("one"), shares.last().expect("one"));
        prop_assert!((*first - *last).micros() <= 1 && shares.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn an_estimate_never_falls_below_the_pixels(width in 1_u32..=14142, height in 1_u32..=14142) {
        let units = u64::from(Size { width, height }.megapixels());
        let pixels = u64::from(width) * u64::from(height);
        prop_assert!(units * MEGAPIXEL >= pixels && (units - 1) * MEGAPIXEL < pixels);
    }
}
