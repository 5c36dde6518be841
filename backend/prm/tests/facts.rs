//! The tables against the facts of every kernel line in `kernels.txt` (`scripts/check-prm` makes the facts).

#![allow(clippy::unwrap_used, clippy::panic)] // a test: its helpers too

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use mlx5emu_prm::layouts::{self, member_of};
use mlx5emu_prm::{Area, Field, Layout, Source, names};

/// Where an older kernel line has a field or size that the tables have otherwise, and why that does no harm: kernel
/// line, structure, field (or "" for the structure's size).
const DIFFERENCES: &[(&str, &str, &str)] = &[
    // 12 bits, and the four above them reserved: the driver writes zeros there.
    ("6.12", "nic_vport_context", "allowed_list_size"),
    // Later kernels added rates at the end.
    ("6.12", "pplm_reg", ""),
];

/// A member as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    bit: u32,
    /// Of one element.
    width: u32,
    /// 1: no array; 0: a trailing one.
    count: u32,
}

/// The facts of one kernel line.
#[derive(Default)]
struct Facts {
    line: String,
    sizes: BTreeMap<String, u32>,
    members: BTreeMap<(String, String), Place>,
    constants: BTreeMap<String, u64>,
    /// What the file says the line lacks: its rows without `absent`.
    absent: BTreeSet<String>,
}

impl Facts {
    fn parse(line: &str, text: &str) -> Self {
        let mut facts = Self { line: line.to_owned(), ..Self::default() };
        let number = |word: &str| word.parse::<u32>().unwrap_or_else(|_| panic!("{line}: '{word}' is no number"));
        for row in text.lines().filter(|row| !row.starts_with('#')) {
            let words: Vec<&str> = row.split_whitespace().collect();
            match words[..] {
                ["struct", name, bits] => {
                    facts.sizes.insert(name.to_owned(), number(bits));
                }
                ["field", layout, name, bit, width, ref count @ ..] => {
                    let count = count.first().map_or(1, |count| if *count == "*" { 0 } else { number(count) });
                    let place = Place { bit: number(bit), width: number(width), count };
                    facts.members.insert((layout.to_owned(), name.to_owned()), place);
                }
                ["const", name, value] => {
                    let value = u64::from_str_radix(value.trim_start_matches("0x"), 16).unwrap();
                    facts.constants.insert(name.to_owned(), value);
                }
                ["absent", ..] => {
                    facts.absent.insert(words[1..].join(" "));
                }
                _ => panic!("{line}: the row '{row}' is not understood"),
            }
        }
        facts
    }
}

/// The facts of every kernel line, newest first.
fn all_facts() -> Vec<Facts> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lines = fs::read_to_string(root.join("kernels.txt")).unwrap();
    let names = lines.lines().filter(|row| !row.starts_with('#')).filter_map(|row| row.split_whitespace().next());
    names
        .map(|line| {
            let path = root.join(format!("facts/{line}.txt"));
            let text = fs::read_to_string(&path)
                .unwrap_or_else(|_| panic!("kernel line {line} has no facts: run scripts/check-prm --refresh"));
            Facts::parse(line, &text)
        })
        .collect()
}

fn from_kernel() -> impl Iterator<Item = &'static Layout> {
    layouts::ALL.iter().copied().filter(|layout| layout.source != Source::Scalar)
}

fn place_of_field(field: &Field) -> Place {
    Place { bit: field.bit, width: field.width, count: 1 }
}

/// Whether an area is what the kernel has.
fn area_fits(area: &Area, fact: Place) -> bool {
    let (bits, count) = (area.len as u32 * 8, area.count as u32);
    let size = match (area.layout, count) {
        ("", 0) => fact.count == 0,
        // Bytes may be one wide number, a nested structure or an array there.
        ("", _) => fact.width * fact.count == bits,
        // A nested structure that ends in a list is not a list itself.
        (_, 0) if fact.count == 1 => fact.width == bits && ends_in_list(area.layout),
        _ => fact.width == bits && fact.count == count,
    };
    size && fact.bit == area.offset as u32 * 8
}

fn ends_in_list(layout: &str) -> bool {
    layouts::find(layout).is_some_and(|layout| layout.areas.iter().any(|area| area.count == 0))
}

/// Runs `check` for every line; a line that lacks `what`, or all of the structure `within`, must say so, and some line
/// must have it.
fn in_every_line(
    all: &[Facts],
    within: &str,
    what: &str,
    mut check: impl FnMut(&Facts) -> Option<bool>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = false;
    for facts in all {
        match check(facts) {
            Some(fits) => {
                seen = true;
                if !fits {
                    wrong.push(format!("{}: {what} is elsewhere or of another size in the kernel", facts.line));
                }
            }
            None if facts.absent.contains(what) || facts.absent.contains(within) => {}
            None => wrong.push(format!("{}: {what} is not in the facts: run scripts/check-prm --refresh", facts.line)),
        }
    }
    if !seen {
        wrong.push(format!("{what} is in no kernel line"));
    }
    wrong
}

/// Whether a difference is declared; notes that it was needed.
fn declared(used: &mut BTreeSet<usize>, line: &str, layout: &str, field: &str) -> bool {
    let found = DIFFERENCES.iter().position(|known| *known == (line, layout, field));
    used.extend(found);
    found.is_some()
}

#[test]
fn every_layout_is_where_the_kernels_have_it() {
    let all = all_facts();
    assert!(!all.is_empty(), "kernels.txt lists no kernel line");
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for layout in from_kernel() {
        let whole = format!("struct {}", layout.name);
        wrong.extend(in_every_line(&all, &whole, &whole, |facts| {
            let bits = *facts.sizes.get(layout.name)?;
            Some(bits == layout.size as u32 * 8 || declared(&mut used, &facts.line, layout.name, ""))
        }));
        let fact = |facts: &Facts, name: &str| facts.members.get(&(layout.name.into(), name.into())).copied();
        for field in layout.fields.iter().filter(|field| member_of(layout.name, field.name).is_none()) {
            let what = format!("field {} {}", layout.name, field.name);
            wrong.extend(in_every_line(&all, &whole, &what, |facts| {
                let fits = fact(facts, field.name)? == place_of_field(field);
                Some(fits || declared(&mut used, &facts.line, layout.name, field.name))
            }));
        }
        for area in layout.areas {
            let what = format!("field {} {}", layout.name, area.name);
            wrong.extend(in_every_line(&all, &whole, &what, |facts| {
                let fits = area_fits(area, fact(facts, area.name)?);
                Some(fits || declared(&mut used, &facts.line, layout.name, area.name))
            }));
        }
    }
    for (n, difference) in DIFFERENCES.iter().enumerate() {
        if !used.contains(&n) {
            wrong.push(format!("the difference {difference:?} does not exist: take it out"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_constant_has_the_kernels_value() {
    let all = all_facts();
    let mut wrong = Vec::new();
    for constant in names::kernel_constants() {
        let what = format!("const {}", constant.kernel);
        wrong.extend(in_every_line(&all, &what, &what, |facts| {
            facts.constants.get(constant.kernel).map(|value| *value == constant.value)
        }));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_facts_hold_nothing_that_the_tables_do_not_use() {
    let members: BTreeSet<(String, String)> = from_kernel()
        .flat_map(|layout| {
            let names = layout.fields.iter().map(|f| f.name).chain(layout.areas.iter().map(|a| a.name));
            names.map(|name| (layout.name.to_owned(), name.to_owned()))
        })
        .collect();
    let constants: BTreeSet<&str> = names::kernel_constants().map(|constant| constant.kernel).collect();
    for facts in all_facts() {
        for key in facts.members.keys() {
            assert!(members.contains(key), "{}: {key:?} is used by no layout", facts.line);
        }
        for name in facts.sizes.keys() {
            assert!(layouts::find(name).is_some(), "{}: struct {name} is no layout", facts.line);
        }
        for name in facts.constants.keys() {
            assert!(constants.contains(name.as_str()), "{}: {name} is used by nothing", facts.line);
        }
    }
}

#[test]
fn a_wrong_place_is_noticed() {
    let facts = Facts::parse("test", "struct demo 64\nfield demo a 8 4\nfield demo list 64 32 *\nabsent field demo b");
    assert_eq!(facts.sizes["demo"], 64);
    let place = facts.members[&("demo".to_owned(), "a".to_owned())];
    assert_eq!(place, place_of_field(&Field::new("a", 0, 23, 4)));
    assert_ne!(place, place_of_field(&Field::new("a", 0, 22, 4)));
    let list = facts.members[&("demo".to_owned(), "list".to_owned())];
    assert!(area_fits(&Area { name: "list", offset: 8, len: 4, layout: "be32", count: 0 }, list));
    assert!(!area_fits(&Area { name: "list", offset: 8, len: 8, layout: "be64", count: 0 }, list));
    assert!(
        in_every_line(&[facts], "struct demo", "field demo b", |_| None)
            .iter()
            .any(|text| text.contains("in no kernel line"))
    );
}
