//! What holds for every layout, and for fields in general.

#![allow(clippy::unwrap_used, clippy::panic)] // a test: its helpers too

use std::collections::BTreeSet;

use mlx5emu_prm::layouts::{self, member_of};
use mlx5emu_prm::{Field, Layout, Source};
use proptest::prelude::*;

/// Every member as (name, first bit, first bit after); a trailing list runs on without end.
fn spans(layout: &Layout) -> Vec<(&'static str, u32, u32)> {
    let fields = layout.fields.iter().map(|f| (f.name, f.bit, f.bit + f.width));
    let areas = layout.areas.iter().map(|a| {
        let first = a.offset as u32 * 8;
        (a.name, first, if a.count == 0 { u32::MAX } else { first + (a.len * a.count) as u32 * 8 })
    });
    fields.chain(areas).collect()
}

#[test]
fn names_are_unique() {
    let mut seen = BTreeSet::new();
    for layout in layouts::ALL {
        assert!(seen.insert(layout.name), "{} is declared twice", layout.name);
        let mut members = BTreeSet::new();
        for (name, ..) in spans(layout) {
            assert!(members.insert(name), "{}.{name} is declared twice", layout.name);
        }
    }
}

#[test]
fn members_lie_within_their_structure() {
    for layout in layouts::ALL {
        for field in layout.fields {
            assert!(field.end() <= layout.size, "{}.{} runs over the end", layout.name, field.name);
        }
        for area in layout.areas {
            let end = area.offset + area.len * area.count;
            assert!(end <= layout.size, "{}.{} runs over the end", layout.name, area.name);
            if area.count == 0 {
                let nested = layouts::find(area.layout).filter(|l| l.areas.iter().any(|a| a.count == 0));
                let start = area.offset + nested.map_or(0, |l| l.size);
                assert!(start <= layout.size, "{}.{} begins after the end", layout.name, area.name);
            }
        }
    }
}

#[test]
fn members_share_bits_only_where_declared() {
    let mut wrong = Vec::new();
    for layout in layouts::ALL {
        let spans = spans(layout);
        for (n, a) in spans.iter().enumerate() {
            for b in &spans[n + 1..] {
                if a.1 < b.2 && b.1 < a.2 && !layouts::may_overlap(layout.name, a.0, b.0) {
                    wrong.push(format!("{}: {} and {}", layout.name, a.0, b.0));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these share bits:\n{}", wrong.join("\n"));
}

#[test]
fn parts_lie_within_their_member_of_a_c_structure() {
    for layout in layouts::ALL {
        for field in layout.fields {
            let Some(member) = member_of(layout.name, field.name) else { continue };
            assert!(matches!(layout.source, Source::C(_)), "{} has no packed members", layout.name);
            let whole = layout.field(member).unwrap_or_else(|| panic!("{} has no {member}", layout.name));
            let inside = whole.bit <= field.bit && field.bit + field.width <= whole.bit + whole.width;
            assert!(inside, "{}.{} is not in {member}", layout.name, field.name);
        }
    }
}

#[test]
fn areas_name_layouts_that_exist() {
    for area in layouts::ALL.iter().flat_map(|layout| layout.areas).filter(|area| !area.layout.is_empty()) {
        let nested = layouts::find(area.layout).unwrap_or_else(|| panic!("there is no layout {}", area.layout));
        assert_eq!(nested.size, area.len, "{}", area.layout);
    }
}

/// Any field that `Field::new` accepts, within the first 64 bytes.
fn any_field() -> impl Strategy<Value = Field> {
    let narrow = (0u32..16, 0u32..32)
        .prop_flat_map(|(dword, msb)| (1..=msb + 1).prop_map(move |width| Field::new("narrow", dword * 4, msb, width)));
    let wide = (0u32..12, 0u32..4, 5u32..=8)
        .prop_map(|(dword, byte, bytes)| Field::new("wide", dword * 4, byte * 8 + 7, bytes * 8));
    prop_oneof![narrow, wide]
}

/// A field's value, read bit by bit.
fn slow_get(field: &Field, buf: &[u8]) -> u64 {
    (field.bit..field.bit + field.width).fold(0, |value, bit| {
        let byte = buf.get(bit as usize / 8).copied().unwrap_or(0);
        value << 1 | u64::from(byte >> (7 - bit % 8) & 1)
    })
}

#[test]
fn every_bit_and_width_reads_back() {
    for msb in 0..32 {
        for width in 1..=msb + 1 {
            let field = Field::new("f", 4, msb, width);
            for background in [0u8, 0xff] {
                for value in [0, 1, field.max() >> 1, field.max()] {
                    let mut buf = [background; 12];
                    field.set(&mut buf, value);
                    assert_eq!((field.get(&buf), field.get32(&buf)), (value, value as u32), "[{msb}:{width}]");
                    assert_eq!(field.is_set(&buf), value != 0);
                    let dword = u32::from_be_bytes(buf[4..8].try_into().unwrap());
                    assert_eq!(u64::from(dword >> (msb + 1 - width)) & field.max(), value, "[{msb}:{width}]");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn set_touches_its_own_bits_alone(field in any_field(), mut buf in prop::array::uniform32(any::<u8>()), value: u64) {
        let before = buf;
        field.set(&mut buf, value);
        for bit in 0..256u32 {
            if !(field.bit..field.bit + field.width).contains(&bit) {
                let at = (bit as usize / 8, 7 - bit % 8);
                prop_assert_eq!(before[at.0] >> at.1 & 1, buf[at.0] >> at.1 & 1, "bit {}", bit);
            }
        }
    }

    #[test]
    fn get_agrees_with_reading_bit_by_bit(field in any_field(), buf in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(field.get(&buf), slow_get(&field, &buf));
    }

    #[test]
    fn a_short_buffer_reads_zero_and_keeps_its_length(field in any_field(), len in 0usize..64, value: u64) {
        let mut buf = vec![0u8; len];
        field.set(&mut buf, value);
        prop_assert_eq!(buf.len(), len);
        let mut whole = vec![0u8; 128];
        field.set(&mut whole, value);
        prop_assert_eq!(&buf[..], &whole[..len]);
        prop_assert_eq!(field.get(&buf), slow_get(&field, &buf));
    }

    #[test]
    fn areas_of_any_buffer_lie_inside_it(len in 0usize..600, n in 0usize..100_000) {
        let mut buf = vec![0u8; len];
        for area in layouts::ALL.iter().flat_map(|layout| layout.areas) {
            prop_assert!(area.of(&buf).len() <= len);
            prop_assert!(area.at(&buf, n).len() <= area.len);
            prop_assert_eq!(area.of(&buf).len(), area.of(&buf.clone()).len());
            prop_assert_eq!(area.at(&buf, n).len(), area.at_mut(&mut buf, n).len());
            prop_assert_eq!(area.of(&buf).len(), area.of_mut(&mut buf.clone()).len());
        }
    }
}
