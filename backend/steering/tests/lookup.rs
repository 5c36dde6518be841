//! Tables against a naive model: scan the entries in index order, compare under the group's mask.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use mlx5emu_steering::key::{MatchCriteria, MatchParam, Metadata, fields};
use mlx5emu_steering::packet::Headers;
use mlx5emu_steering::tables::{
    Budget, Destination, Error, FlowContext, GroupId, GroupSpec, HashKey, Limits, MAX_BURST, Miss, ModifyMask,
    Namespace, PacketContext, Packets, Steering, TableId, TableSpec, TableType, Target, Verdicts,
};
use proptest::prelude::*;

const NS: Namespace = Namespace::new(TableType::NicRx, 3);
const TABLES: usize = 4;
const LOG_SIZE: u8 = 6;
const SIZE: u32 = 1 << LOG_SIZE;

/// A mask, value or packet over few bits of few fields, so that matches, overlaps and duplicates are common.
#[derive(Debug, Clone, Copy)]
struct Few {
    dmac: u8,
    vid: u8,
    reg: u8,
    port: u8,
}

fn few() -> impl Strategy<Value = Few> {
    (0u8..4, 0u8..4, 0u8..4, 0u8..4).prop_map(|(dmac, vid, reg, port)| Few { dmac, vid, reg, port })
}

impl Few {
    fn param(self) -> MatchParam {
        let mut p = MatchParam::ZERO;
        fields::dmac_15_0.set(&mut p, u32::from(self.dmac));
        fields::first_vid.set(&mut p, u32::from(self.vid));
        fields::metadata_reg_c_0.set(&mut p, u32::from(self.reg) << 16);
        fields::source_port.set(&mut p, u32::from(self.port));
        p
    }

    fn frame(self) -> ([u8; 20], Metadata) {
        let frame = [2, 0, 0, 0, 0, self.dmac, 2, 0, 0, 0, 0, 9, 0x81, 0, 0, self.vid, 0x88, 0xb5, 0, 0];
        let mut meta = Metadata { source_port: u16::from(self.port), ..Metadata::default() };
        meta.regs.c[0] = u32::from(self.reg) << 16;
        (frame, meta)
    }

    fn packet(self) -> PacketContext {
        let (frame, meta) = self.frame();
        PacketContext::new(&frame, &Headers::parse(&frame).unwrap(), &meta)
    }
}

/// Masks: mostly the same three, so that groups share them.
fn masks() -> impl Strategy<Value = (u8, Few)> {
    let usual = |dmac, vid, reg| (0xff, Few { dmac, vid, reg, port: 0 });
    prop_oneof![
        6 => prop::sample::select(vec![usual(3, 0, 0), usual(0, 3, 0), usual(1, 1, 2)]),
        2 => (any::<u8>(), few()),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Group { table: usize, start: u32, len: u32, criteria: u8, mask: Few },
    DropGroup { pick: usize },
    Set { pick: usize, offset: u32, value: Few, to: usize, tag: u32 },
    Modify { pick: usize, to: usize, tag: u32 },
    Delete { pick: usize },
    Miss { table: usize, to: usize },
    Send { packet: Few },
    Burst { packets: Vec<Few>, counted: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Crowded: mostly the root, small groups, many entries.
    let table = prop_oneof![3 => Just(0), 2 => 0..TABLES];
    let step = prop_oneof![
        5 => (table, 0..SIZE, 0u32..6, masks())
            .prop_map(|(table, start, len, (criteria, mask))| Step::Group { table, start, len, criteria, mask }),
        1 => any::<usize>().prop_map(|pick| Step::DropGroup { pick }),
        12 => (any::<usize>(), 0u32..7, few(), 0..TABLES * 3, 0u32..4)
            .prop_map(|(pick, offset, value, to, tag)| Step::Set { pick, offset, value, to, tag }),
        3 => (any::<usize>(), 0..TABLES * 3, 0u32..4).prop_map(|(pick, to, tag)| Step::Modify { pick, to, tag }),
        4 => any::<usize>().prop_map(|pick| Step::Delete { pick }),
        1 => (0..TABLES, 0..TABLES + 1).prop_map(|(table, to)| Step::Miss { table, to }),
        6 => few().prop_map(|packet| Step::Send { packet }),
        3 => (proptest::collection::vec((few(), 1..4usize), 1..MAX_BURST), 0..2 * MAX_BURST).prop_map(|(runs, counted)| {
            // Runs of packets that are alike, as flows send them.
            let packets = runs.into_iter().flat_map(|(few, times)| vec![few; times]).take(MAX_BURST).collect();
            Step::Burst { packets, counted }
        }),
    ];
    proptest::collection::vec(step, 1..200)
}

#[derive(Debug, Clone)]
struct ModelEntry {
    mask: MatchParam,
    value: MatchParam,
    to: Destination,
    tag: u32,
    hits: u64,
}

#[derive(Debug, Default)]
struct ModelTable {
    groups: BTreeMap<u32, (u32, GroupId, MatchParam)>,
    entries: BTreeMap<u32, (GroupId, ModelEntry)>,
    miss: Option<usize>,
}

struct Model {
    steering: Steering,
    ids: Vec<TableId>,
    tables: Vec<ModelTable>,
    /// Kept from burst to burst, as a card does.
    packets: Packets,
}

fn same(a: &MatchParam, b: &MatchParam, mask: &MatchParam) -> bool {
    a.0.iter().zip(&b.0).zip(&mask.0).all(|((a, b), m)| a & m == b & m)
}

impl Model {
    /// The tables' levels rise with their number; the first is the root.
    fn new(key: [u64; 2]) -> Self {
        let mut steering = Steering::new(HashKey(key), Limits::default());
        let spec = |n: usize| TableSpec::new(NS, n as u8, LOG_SIZE);
        let ids: Vec<_> = (0..TABLES).map(|n| steering.create_table(&spec(n)).unwrap()).collect();
        steering.set_root(NS, ids[0]).unwrap();
        Self { steering, ids, tables: (0..TABLES).map(|_| ModelTable::default()).collect(), packets: Packets::new() }
    }

    fn destination(&self, to: usize) -> Destination {
        self.ids.get(to).map_or(Destination::Tir(to as u32), |id| Destination::Table(*id))
    }

    fn pick_group(&self, pick: usize) -> Option<(usize, u32)> {
        let all: Vec<_> =
            self.tables.iter().enumerate().flat_map(|(t, m)| m.groups.keys().map(move |s| (t, *s))).collect();
        (!all.is_empty()).then(|| all[pick % all.len()])
    }

    fn pick_entry(&self, pick: usize) -> Option<(usize, u32)> {
        let all: Vec<_> =
            self.tables.iter().enumerate().flat_map(|(t, m)| m.entries.keys().map(move |i| (t, *i))).collect();
        (!all.is_empty()).then(|| all[pick % all.len()])
    }

    fn group(&mut self, table: usize, start: u32, len: u32, criteria: u8, mask: Few) {
        let end = start + len;
        let criteria = MatchCriteria(criteria);
        let spec = GroupSpec { start, end, criteria, mask: mask.param() };
        let result = self.steering.create_group(NS, self.ids[table], &spec);
        let groups = &mut self.tables[table].groups;
        let overlaps = groups.iter().any(|(s, (e, ..))| *s <= end && start <= *e);
        match result {
            Ok(id) => {
                assert!(!overlaps && end < SIZE);
                let enabled = criteria.apply(&mask.param());
                let query = self.steering.query_group(NS, self.ids[table], id).unwrap();
                assert_eq!(query, GroupSpec { mask: enabled.clone(), ..spec });
                groups.insert(start, (end, id, enabled));
            }
            Err(Error::OutsideTable { .. }) => assert!(end >= SIZE),
            Err(Error::GroupOverlap { .. }) => assert!(overlaps),
            Err(other) => panic!("{other}"),
        }
    }

    fn drop_group(&mut self, table: usize, start: u32) {
        let (end, id, _) = self.tables[table].groups[&start].clone();
        let used = self.tables[table].entries.range(start..=end).next().is_some();
        let result = self.steering.destroy_group(NS, self.ids[table], id);
        assert_eq!(result.is_err(), used);
        if !used {
            self.tables[table].groups.remove(&start);
        }
    }

    fn set(&mut self, table: usize, start: u32, offset: u32, value: Few, to: usize, tag: u32) {
        let (end, group, mask) = self.tables[table].groups[&start].clone();
        let (index, to) = (start + offset, self.destination(to));
        let mut context = FlowContext::forward(group, value.param(), &[to]);
        context.flow_tag = tag;
        let result = self.steering.set_entry(NS, self.ids[table], index, &context);
        let exists = self.tables[table].entries.contains_key(&index);
        match result {
            Ok(()) => {
                assert!(!exists && index <= end && self.raises(table, to));
                let entry = ModelEntry { mask, value: value.param(), to, tag, hits: 0 };
                self.tables[table].entries.insert(index, (group, entry));
            }
            Err(Error::EntryExists(_)) => assert!(exists),
            Err(Error::OutsideGroup { .. } | Error::OutsideTable { .. }) => assert!(index > end),
            Err(Error::LevelNotRaised { .. }) => assert!(!self.raises(table, to)),
            Err(other) => panic!("{other}"),
        }
    }

    fn raises(&self, table: usize, to: Destination) -> bool {
        match to {
            Destination::Table(id) => self.ids.iter().position(|i| *i == id).unwrap() > table,
            _ => true,
        }
    }

    fn modify(&mut self, table: usize, index: u32, to: usize, tag: u32) {
        let to = self.destination(to);
        let group = self.tables[table].entries[&index].0;
        let mut context = FlowContext::forward(group, MatchParam::ZERO, &[to]);
        context.flow_tag = tag;
        let mask = ModifyMask(ModifyMask::DESTINATION_LIST | ModifyMask::FLOW_TAG);
        let result = self.steering.modify_entry(NS, self.ids[table], index, mask, &context);
        assert_eq!(result.is_ok(), self.raises(table, to));
        if result.is_ok() {
            let entry = &mut self.tables[table].entries.get_mut(&index).unwrap().1;
            (entry.to, entry.tag) = (to, tag);
        }
    }

    fn delete(&mut self, table: usize, index: u32) {
        self.steering.delete_entry(NS, self.ids[table], index).unwrap();
        self.tables[table].entries.remove(&index);
        assert_eq!(self.steering.query_entry(NS, self.ids[table], index), Err(Error::NoEntry(index)));
    }

    fn miss(&mut self, table: usize, to: usize) {
        let miss = self.ids.get(to).map_or(Miss::Default, |id| Miss::Table(*id));
        let result = self.steering.modify_table_miss(NS, self.ids[table], miss);
        assert_eq!(result.is_err(), to == table);
        if to != table {
            self.tables[table].miss = (to < TABLES).then_some(to);
        }
    }

    /// What the model says: the TIR, the tag, and whether the hops ran out.
    fn walk(&mut self, packet: &MatchParam) -> (Option<u32>, u32, bool) {
        let (mut at, mut tag) = (0, 0);
        for _ in 0..mlx5emu_steering::tables::MAX_HOPS {
            let table = &mut self.tables[at];
            let found = table.entries.values_mut().map(|(_, e)| e).find(|e| same(packet, &e.value, &e.mask));
            match (found, table.miss) {
                (Some(entry), _) => {
                    entry.hits += 1;
                    tag = if entry.tag == 0 { tag } else { entry.tag };
                    match entry.to {
                        Destination::Table(id) => at = self.ids.iter().position(|i| *i == id).unwrap(),
                        Destination::Tir(tir) => return (Some(tir), tag, false),
                        _ => unreachable!(),
                    }
                }
                (None, Some(miss)) => at = miss,
                (None, None) => return (None, tag, false),
            }
        }
        (None, tag, true)
    }

    fn send(&mut self, packet: Few) {
        let mut context = packet.packet();
        let expected = self.walk(&context.key().clone());
        let mut out = Verdicts::new();
        let outcome = self.steering.evaluate(NS, &mut context, &mut Budget::new(8), &mut out);
        assert_eq!(outcome.over_budget, expected.2);
        match expected.0 {
            Some(tir) => {
                assert_eq!(out.len(), 1);
                assert_eq!((out[0].target, out[0].flow_tag), (Target::Tir(tir), expected.1));
            }
            None => assert!(out.is_empty() && outcome.missed + u32::from(outcome.over_budget) == 1),
        }
    }

    /// Packets and misses of each table.
    fn counts(&self) -> Vec<(u64, u64)> {
        self.steering.inspect().map(|table| (table.packets, table.misses)).collect()
    }

    /// Sends one packet; says what tables counted of it.
    fn count_one(&mut self, packet: Few) -> Vec<(u64, u64)> {
        let before = self.counts();
        self.send(packet);
        self.counts().into_iter().zip(before).map(|(now, before)| (now.0 - before.0, now.1 - before.1)).collect()
    }

    /// Packets that are decided about together, of which the first `counted` are counted: all is as with one by one.
    fn burst(&mut self, burst: &[Few], counted: usize) {
        let counted = counted.min(burst.len());
        let mut packets = std::mem::take(&mut self.packets);
        packets.clear();
        for packet in burst {
            let (frame, meta) = packet.frame();
            assert!(packets.push(&frame, &meta));
        }
        self.steering.evaluate_burst(NS, &mut packets, Budget::new(8));
        let mut expected = self.counts();
        self.steering.count_burst(&packets, counted);
        let after = self.counts();
        for (n, packet) in burst.iter().enumerate() {
            if n < counted {
                // The model has to know of what was counted.
                self.walk(&packet.packet().key().clone());
            }
            let mut verdicts = Verdicts::new();
            let outcome = self.steering.evaluate(NS, &mut packet.packet(), &mut Budget::new(8), &mut verdicts);
            assert_eq!(packets.decision(n), Some((&verdicts, &outcome)));
            self.walk(&packet.packet().key().clone());
            let one = self.count_one(*packet);
            if n < counted {
                expected.iter_mut().zip(one).for_each(|(sum, visit)| *sum = (sum.0 + visit.0, sum.1 + visit.1));
            }
        }
        assert_eq!(after, expected);
        self.packets = packets;
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Group { table, start, len, criteria, mask } => self.group(table, start, len, criteria, mask),
            Step::DropGroup { pick } => {
                if let Some((table, start)) = self.pick_group(pick) {
                    self.drop_group(table, start);
                }
            }
            Step::Set { pick, offset, value, to, tag } => {
                if let Some((table, start)) = self.pick_group(pick) {
                    self.set(table, start, offset, value, to, tag);
                }
            }
            Step::Modify { pick, to, tag } => {
                if let Some((table, index)) = self.pick_entry(pick) {
                    self.modify(table, index, to, tag);
                }
            }
            Step::Delete { pick } => {
                if let Some((table, index)) = self.pick_entry(pick) {
                    self.delete(table, index);
                }
            }
            Step::Miss { table, to } => self.miss(table, to),
            Step::Send { packet } => self.send(packet),
            Step::Burst { ref packets, counted } => self.burst(packets, counted),
        }
    }

    /// Every packet that there is, and all that can be inspected.
    fn compare_all(&mut self) {
        for n in 0..=u8::MAX {
            self.send(Few { dmac: n & 3, vid: n >> 2 & 3, reg: n >> 4 & 3, port: n >> 6 });
        }
        for (view, table) in self.steering.inspect().zip(&self.tables) {
            let seen: Vec<_> = view
                .groups()
                .flat_map(|g| g.entries())
                .map(|e| (e.index, e.hits, e.context().destinations[0]))
                .collect();
            let expected: Vec<_> = table.entries.iter().map(|(i, (_, e))| (*i, e.hits, e.to)).collect();
            assert_eq!(seen, expected);
            let starts: Vec<_> = view.groups().map(|g| g.start).collect();
            assert_eq!(starts, table.groups.keys().copied().collect::<Vec<_>>());
        }
    }

    /// Takes everything down in the order in which a driver does; nothing may be left or refused.
    fn tear_down(mut self) {
        for t in 0..TABLES {
            for index in self.tables[t].entries.keys().copied().collect::<Vec<_>>() {
                self.delete(t, index);
            }
            for start in self.tables[t].groups.keys().copied().collect::<Vec<_>>() {
                self.drop_group(t, start);
            }
            self.miss(t, TABLES);
        }
        for id in &self.ids {
            self.steering.destroy_table(NS, *id).unwrap();
        }
        assert_eq!(self.steering.counts(), Default::default());
        assert_eq!(self.steering.root(NS), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]
    #[test]
    fn tables_decide_as_the_naive_model_does(steps in steps(), key: [u64; 2]) {
        let mut model = Model::new(key);
        for step in &steps {
            model.run(step);
        }
        model.compare_all();
        model.tear_down();
    }
}

/// A million entries in one group, as fast insertion and lookup are promised for: here only that they are right.
#[test]
fn a_million_entries_in_one_group() {
    const N: u32 = 1_000_000;
    let ns = Namespace::new(TableType::Fdb, 0);
    let mut s = Steering::new(HashKey([3, 4]), Limits::default());
    let table = s.create_table(&TableSpec::new(ns, 0, 20)).unwrap();
    let mut mask = MatchParam::ZERO;
    fields::metadata_reg_c_1.set(&mut mask, u32::MAX);
    let spec = GroupSpec { start: 0, end: N - 1, criteria: MatchCriteria(MatchCriteria::MISC_2), mask };
    let group = s.create_group(ns, table, &spec).unwrap();
    let value = |n: u32| {
        let mut value = MatchParam::ZERO;
        fields::metadata_reg_c_1.set(&mut value, n.wrapping_mul(0x9e37_79b1));
        value
    };
    let mut context = FlowContext::forward(group, MatchParam::ZERO, &[Destination::Tir(0)]);
    for n in 0..N {
        context.value = value(n);
        context.destinations[0] = Destination::Tir(n);
        s.set_entry(ns, table, n, &context).unwrap();
    }
    for n in (0..N).step_by(3) {
        s.delete_entry(ns, table, n).unwrap();
    }
    s.set_root(ns, table).unwrap();
    let frame = [0; 60];
    let headers = Headers::parse(&frame).unwrap();
    let meta = |n: u32| {
        let mut meta = Metadata::default();
        meta.regs.c[1] = n.wrapping_mul(0x9e37_79b1);
        meta
    };
    let expected = |n: u32| (!n.is_multiple_of(3)).then_some(Target::Tir(n));
    for n in 0..N {
        let mut out = Verdicts::new();
        s.evaluate(ns, &mut PacketContext::new(&frame, &headers, &meta(n)), &mut Budget::new(1), &mut out);
        assert_eq!(out.first().map(|v| v.target), expected(n));
    }
    // A table that large is looked up for many packets side by side.
    let mut packets = Packets::new();
    for first in (0..N).step_by(MAX_BURST) {
        packets.clear();
        let all = first..N.min(first + MAX_BURST as u32);
        assert!(all.clone().all(|n| packets.push(&frame, &meta(n))));
        s.evaluate_burst(ns, &mut packets, Budget::new(1));
        for (at, n) in all.enumerate() {
            assert_eq!(packets.decision(at).unwrap().0.first().map(|v| v.target), expected(n));
        }
        s.count_burst(&packets, packets.len());
    }
    let hits = s.inspect().flat_map(|t| t.groups().flat_map(|g| g.entries()).collect::<Vec<_>>());
    assert!(hits.into_iter().all(|entry| entry.hits == 2));
}

/// Three groups, the outer two of one mask: the lowest index must win, whichever mask finds it and in whatever order the
/// groups were made.
#[test]
fn a_hit_in_a_later_group_of_the_same_mask_does_not_hide_an_earlier_one() {
    for creation in [[0, 4, 8], [8, 4, 0], [4, 8, 0], [8, 0, 4]] {
        let mut s = Steering::new(HashKey([0, 0]), Limits::default());
        let table = s.create_table(&TableSpec::new(NS, 0, 4)).unwrap();
        s.set_root(NS, table).unwrap();
        let (dmac, vid) = (Few { dmac: 3, vid: 0, reg: 0, port: 0 }, Few { dmac: 0, vid: 3, reg: 0, port: 0 });
        let one = Few { dmac: 1, vid: 1, reg: 0, port: 0 };
        let winner = |s: &Steering| {
            let mut out = Verdicts::new();
            s.evaluate(NS, &mut one.packet(), &mut Budget::new(1), &mut out);
            out.first().map(|v| v.target)
        };
        let mut lowest = u32::MAX;
        for start in creation {
            let mask = if start == 4 { vid } else { dmac }.param();
            let spec = GroupSpec { start, end: start + 3, criteria: MatchCriteria(0xff), mask };
            let group = s.create_group(NS, table, &spec).unwrap();
            let context = FlowContext::forward(group, one.param(), &[Destination::Tir(start)]);
            s.set_entry(NS, table, start, &context).unwrap();
            lowest = lowest.min(start);
            assert_eq!(winner(&s), Some(Target::Tir(lowest)));
        }
        for (gone, left) in [(0, Some(Target::Tir(4))), (4, Some(Target::Tir(8))), (8, None)] {
            s.delete_entry(NS, table, gone).unwrap();
            assert_eq!(winner(&s), left);
        }
    }
}
