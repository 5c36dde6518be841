//! The arithmetic of `benches/budgets`: a bench without a harness has no tests of its own.
#![allow(dead_code, clippy::unwrap_used)]

use std::error::Error;

#[path = "../benches/budgets/host.rs"]
mod host;
#[path = "../benches/budgets/report.rs"]
mod report;
#[path = "../benches/budgets/statistics.rs"]
mod statistics;

use report::{GUESTS, HERE, Row};
use statistics::{Budget, MIN_PAIRS, Pairs, Spread};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Ten ratios that are all `common` but for three that are `high`: the upper quartile is among the common ones.
fn ratios(common: f64, high: f64, count_of_high: usize) -> Spread {
    let mut figures = vec![common; 10 - count_of_high];
    figures.extend(vec![high; count_of_high]);
    Spread::of(&figures).unwrap()
}

#[test]
fn quartiles_are_interpolated() {
    let s = Spread::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
    assert_eq!((s.min, s.lower, s.median, s.upper, s.max), (1.0, 1.75, 2.5, 3.25, 4.0));
    assert_eq!(Spread::of(&[7.0]).unwrap().upper, 7.0);
    assert_eq!(Spread::of(&[]), None);
    assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
    assert_eq!(Spread::of(&[1.0, f64::INFINITY]), None);
}

#[test]
fn a_budget_is_judged_by_the_quartile_on_the_far_side_with_a_tenth_of_tolerance() {
    let budget = Budget::AtMost(1.3);
    assert!(budget.holds_for_ratios(&ratios(1.42, 9.0, 2)), "a few outliers do not matter");
    assert!(!budget.holds_for_ratios(&ratios(1.0, 1.5, 4)), "a quarter and more of them do");
    assert!(!budget.holds_for_ratios(&ratios(1.44, 1.44, 0)));
    let budget = Budget::AtLeast(1.5);
    assert!(budget.holds_for_ratios(&ratios(1.37, 9.0, 2)) && !budget.holds_for_ratios(&ratios(1.35, 9.0, 2)));
    assert!(Budget::AtMost(32.0).holds_for(32.0) && !Budget::AtMost(32.0).holds_for(32.1));
}

#[test]
fn pairs_are_taken_in_turn_after_one_that_warms_up() {
    let order = std::cell::RefCell::new(String::new());
    let side = |name: char, figure: f64| {
        order.borrow_mut().push(name);
        Ok::<_, ()>(figure)
    };
    let pairs = Pairs::measure(1, || side('o', 3.0), || side('t', 2.0)).unwrap();
    assert_eq!(pairs.ours.len(), MIN_PAIRS);
    assert_eq!(*order.borrow(), "otottoottoottoot");
    assert_eq!(pairs.ratios().unwrap().median, 1.5);
    assert_eq!(Pairs::measure(7, || Err(5), || Ok(1.0)).unwrap_err(), 5);
}

#[test]
fn the_table_shows_both_sides_and_a_verdict() {
    let pairs = Pairs { ours: vec![3000.0; 7], theirs: vec![2000.0; 7] };
    let rows = [
        Row::compared("slow", "ns", pairs.clone(), Some(Budget::AtMost(1.3))).unwrap(),
        Row::compared("fast enough", "ns", pairs, Some(Budget::AtMost(1.5))).unwrap(),
        Row::absolute("memory", "MiB", 7.25, Some(Budget::AtMost(32.0))),
        Row::absolute("frames", "M/s", 1.5, None),
    ];
    assert_eq!(rows.iter().map(Row::broken).collect::<Vec<_>>(), [true, false, false, false]);
    let table = report::table(&rows);
    assert!(
        table.contains("| slow | 3000 ns | 2000 ns | 1.50 (1.50–1.50; 1.50–1.50) | ≤ 1.3 | **broken** |"),
        "{table}"
    );
    assert!(table.contains("| memory | 7.25 MiB |  |  | ≤ 32 | holds |"), "{table}");
    assert!(table.contains("| for information |"), "{table}");
}

#[test]
fn figures_replace_the_old_ones_and_nothing_else() {
    let file = include_str!("../BENCHMARKS.md");
    let once = report::with_figures(file, HERE, "table one").unwrap();
    let twice = report::with_figures(&once, HERE, "table two").unwrap();
    assert!(once.contains("table one") && twice.contains("table two") && !twice.contains("table one"));
    let outside = |text: &str| {
        let (before, rest) = text.split_once("<!-- figures").unwrap();
        format!("{before}{}", rest.split_once("<!-- end of figures").unwrap().1)
    };
    assert_eq!(outside(file), outside(&twice));
    let both = report::with_figures(&once, GUESTS, "of guests").unwrap();
    assert!(both.contains("table one") && both.contains("of guests"));
    assert!(report::with_figures("no markers", HERE, "x").is_err());
}

#[test]
fn days_are_those_of_the_calendar() {
    assert_eq!(host::civil(0), (1970, 1, 1));
    assert_eq!(host::civil(11_016), (2000, 2, 29));
    assert_eq!(host::civil(20_777), (2026, 11, 20));
}

#[test]
fn the_description_names_a_class_of_machine_and_no_machine() {
    let text = host::describe(0.25, 15);
    assert!(text.contains(std::env::consts::ARCH) && text.contains("load before the run 0.2"), "{text}");
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    assert!(name.trim().len() < 4 || !text.contains(name.trim()), "{text}");
}
