//! What entries do to packets: copies, tags, registers, VLANs, counters; and the bounds on all of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use mlx5emu_steering::key::{MatchCriteria, MatchParam, Metadata, Slot, fields};
use mlx5emu_steering::packet::{Headers, VlanTag, ethertype};
use mlx5emu_steering::tables::{
    Actions, Budget, CounterValue, Destination, FlowContext, GroupId, GroupSpec, HashKey, Limits, MAX_HOPS, MAX_PUSHED,
    Miss, Namespace, Outcome, PacketContext, Packets, RawModifyAction, Steering, TableId, TableSpec, TableType, Target,
    Verdict, Verdicts,
};

const FDB: Namespace = Namespace::new(TableType::Fdb, 0);
const TAG_A: VlanTag = VlanTag { tpid: ethertype::CVLAN, tci: 0x6005 };
const TAG_B: VlanTag = VlanTag { tpid: ethertype::SVLAN, tci: 0x0007 };

struct Bench {
    steering: Steering,
    ns: Namespace,
}

impl Bench {
    fn new(ns: Namespace) -> Self {
        Self { steering: Steering::new(HashKey([1, 2]), Limits::default()), ns }
    }

    /// A table with one group of eight entries on `slots`; level 0 is the root.
    fn table(&mut self, level: u8, slots: &[Slot]) -> (TableId, GroupId) {
        let table = self.steering.create_table(&TableSpec::new(self.ns, level, 3)).unwrap();
        let mut mask = MatchParam::ZERO;
        for slot in slots {
            slot.set(&mut mask, u32::MAX);
        }
        let spec = GroupSpec { start: 0, end: 7, criteria: MatchCriteria(0xff), mask };
        let group = self.steering.create_group(self.ns, table, &spec).unwrap();
        if level == 0 {
            self.steering.set_root(self.ns, table).unwrap();
        }
        (table, group)
    }

    fn set(&mut self, (table, _): (TableId, GroupId), index: u32, context: &FlowContext) {
        self.steering.set_entry(self.ns, table, index, context).unwrap();
    }

    /// One packet by itself; several in a burst must fare as it does.
    fn send_with(&self, frame: &[u8], budget: &mut Budget) -> (Verdicts, Outcome) {
        let headers = Headers::parse(frame).unwrap();
        let mut out = Verdicts::new();
        let mut packets = Packets::new();
        for bytes in [frame, &plain(), frame, frame] {
            assert!(packets.push(bytes, &Metadata::default()));
        }
        self.steering.evaluate_burst(self.ns, &mut packets, *budget);
        let mut packet = PacketContext::new(frame, &headers, &Metadata::default());
        let outcome = self.steering.evaluate(self.ns, &mut packet, budget, &mut out);
        assert_eq!(packet.key(), PacketContext::new(frame, &headers, &Metadata::default()).key());
        for n in [0, 2, 3] {
            assert_eq!(packets.decision(n), Some((&out, &outcome)));
            assert_eq!(packets.headers(n), Some(&headers));
        }
        (out, outcome)
    }

    fn send(&self, frame: &[u8]) -> (Verdicts, Outcome) {
        self.send_with(frame, &mut Budget::new(100))
    }
}

fn value(pairs: &[(Slot, u32)]) -> MatchParam {
    let mut v = MatchParam::ZERO;
    for (slot, n) in pairs {
        slot.set(&mut v, *n);
    }
    v
}

fn any_to(table: (TableId, GroupId), destinations: &[Destination]) -> FlowContext {
    FlowContext::forward(table.1, MatchParam::ZERO, destinations)
}

fn vport(vport: u16) -> Destination {
    Destination::Vport { vport, vhca_id: None }
}

fn plain() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.resize(60, 0xaa);
    frame
}

fn tagged(tags: &[VlanTag]) -> Vec<u8> {
    let mut frame = plain();
    let bytes: Vec<u8> = tags.iter().flat_map(|t| t.to_bytes()).collect();
    frame.splice(12..12, bytes);
    frame
}

fn targets(out: &[Verdict]) -> Vec<Target> {
    out.iter().map(|v| v.target).collect()
}

fn set_register(field: u16, offset: u8, length: u8, data: u32) -> RawModifyAction {
    RawModifyAction { action_type: 1, field, offset, length, data, ..Default::default() }
}

#[test]
fn an_entry_with_several_destinations_copies_the_packet() {
    let mut b = Bench::new(FDB);
    let (root, low, high) = (b.table(0, &[]), b.table(1, &[]), b.table(2, &[]));
    b.set(low, 0, &any_to(low, &[vport(10), Destination::Table(high.0), vport(11)]));
    b.set(high, 0, &any_to(high, &[Destination::Uplink { vhca_id: Some(9) }]));
    let tables = [Destination::Table(low.0), vport(1), Destination::Table(high.0), vport(0xffff)];
    b.set(root, 0, &any_to(root, &tables));
    let (out, outcome) = b.send(&plain());
    let uplink = Target::Uplink { vhca_id: Some(9) };
    let to = |vport| Target::Vport { vport, vhca_id: None };
    assert_eq!(targets(&out), [to(1), to(0xffff), to(10), to(11), uplink, uplink]);
    assert_eq!(outcome, Outcome::default());
}

#[test]
fn copies_do_not_see_each_others_changes() {
    let mut b = Bench::new(FDB);
    let (root, first, second) = (b.table(0, &[]), b.table(1, &[]), b.table(1, &[fields::first_vid]));
    let header = b.steering.create_modify_header(TableType::Fdb, &[set_register(0x52, 0, 0, 77)]).unwrap();
    let mut change = any_to(first, &[vport(1)]);
    change.action = Actions(Actions::FWD_DEST | Actions::MOD_HDR | Actions::VLAN_PUSH);
    (change.modify_header, change.push_vlan, change.flow_tag) = (header, TAG_A, 5);
    b.set(first, 0, &change);
    b.set(second, 0, &FlowContext::forward(second.1, value(&[(fields::first_vid, 0)]), &[vport(2)]));
    b.set(root, 0, &any_to(root, &[Destination::Table(first.0), Destination::Table(second.0)]));
    let (out, _) = b.send(&plain());
    assert_eq!((out[0].regs.c[1], out[0].vlan.pushed(), out[0].flow_tag), (77, &[TAG_A][..], 5));
    assert_eq!((out[1].regs.c[1], out[1].vlan.is_none(), out[1].flow_tag), (0, true, 0));
    assert_eq!(targets(&out)[1], Target::Vport { vport: 2, vhca_id: None });
}

#[test]
fn vlan_edits_apply_in_order_and_the_next_table_matches_them() {
    let mut b = Bench::new(Namespace::new(TableType::EswIngressAcl, 4));
    let tag_fields = [fields::first_vid, fields::first_prio, fields::cvlan_tag, fields::svlan_tag];
    let root = b.table(0, &[]);
    let next = b.table(1, &tag_fields);
    let mut swap = any_to(root, &[Destination::Table(next.0)]);
    swap.action.0 |= Actions::VLAN_POP | Actions::VLAN_PUSH | Actions::VLAN_PUSH_2;
    (swap.push_vlan, swap.push_vlan_2) = (TAG_A, TAG_B);
    b.set(root, 0, &swap);
    let seen = value(&[(fields::first_vid, 7), (fields::svlan_tag, 1)]);
    b.set(next, 0, &FlowContext::new(next.1, seen, Actions::ALLOW));
    for (before, after) in [(vec![TAG_B, TAG_A], vec![TAG_B, TAG_A, TAG_A]), (vec![], vec![TAG_B, TAG_A])] {
        let (out, _) = b.send(&tagged(&before));
        assert_eq!(targets(&out), [Target::Allow]);
        let mut edited = Vec::new();
        out[0].vlan.apply(&tagged(&before), &mut edited);
        assert_eq!(edited, tagged(&after));
    }
}

#[test]
fn two_pops_strip_two_tags_and_never_more_than_there_are() {
    let mut b = Bench::new(FDB);
    let root = b.table(0, &[]);
    let mut pop = any_to(root, &[vport(1)]);
    pop.action.0 |= Actions::VLAN_POP | Actions::VLAN_POP_2;
    b.set(root, 0, &pop);
    for tags in [&[TAG_A, TAG_B][..], &[TAG_A], &[]] {
        let (out, _) = b.send(&tagged(tags));
        let mut edited = Vec::new();
        out[0].vlan.apply(&tagged(tags), &mut edited);
        assert_eq!((out[0].vlan.popped(), edited), (tags.len(), plain()));
    }
}

#[test]
fn a_packet_without_room_for_another_tag_is_dropped() {
    let mut b = Bench::new(FDB);
    let tables: Vec<_> = (0..=MAX_PUSHED as u8).map(|level| b.table(level, &[])).collect();
    for (n, table) in tables.iter().enumerate() {
        let next = tables.get(n + 1).map_or(vport(1), |t| Destination::Table(t.0));
        let mut push = any_to(*table, &[next]);
        push.action.0 |= Actions::VLAN_PUSH;
        push.push_vlan = TAG_A;
        b.set(*table, 0, &push);
    }
    let (out, outcome) = b.send(&plain());
    assert!(out.is_empty());
    assert_eq!(outcome.dropped, 1);
}

#[test]
fn modify_header_sets_adds_and_copies_in_order() {
    let mut b = Bench::new(FDB);
    let root = b.table(0, &[]);
    let next = b.table(1, &[fields::metadata_reg_c_0, fields::metadata_reg_a]);
    let add = RawModifyAction { action_type: 2, field: 0x51, data: 0xffff_ffff, ..Default::default() };
    let copy = RawModifyAction {
        action_type: 3,
        field: 0x51,
        offset: 16,
        length: 8,
        dst_field: 0x50,
        dst_offset: 4,
        ..Default::default()
    };
    let actions = [set_register(0x51, 16, 16, 0x1_1234), set_register(0x49, 0, 0, 0xabcd_0123), add, copy];
    let header = b.steering.create_modify_header(TableType::Fdb, &actions).unwrap();
    let mut change = any_to(root, &[Destination::Table(next.0)]);
    change.action.0 |= Actions::MOD_HDR;
    change.modify_header = header;
    b.set(root, 0, &change);
    let seen = value(&[(fields::metadata_reg_c_0, 0x1233_ffff), (fields::metadata_reg_a, 0xabcd_0123)]);
    b.set(next, 0, &FlowContext::forward(next.1, seen, &[vport(1)]));
    let (out, _) = b.send(&plain());
    assert_eq!((out[0].regs.c[0], out[0].regs.b), (0x1233_ffff, 0x330));
}

#[test]
fn the_last_flow_tag_that_is_not_zero_is_kept() {
    let mut b = Bench::new(Namespace::new(TableType::NicRx, 0));
    let tables = [b.table(0, &[]), b.table(1, &[]), b.table(2, &[])];
    for (n, tag) in [0x12_3456, 0x65_4321, 0].into_iter().enumerate() {
        let next = tables.get(n + 1).map_or(Destination::Tir(1), |t| Destination::Table(t.0));
        let mut context = any_to(tables[n], &[next]);
        context.flow_tag = tag;
        b.set(tables[n], 0, &context);
    }
    assert_eq!(b.send(&plain()).0[0].flow_tag, 0x65_4321);
}

#[test]
fn misses_end_as_the_table_type_says() {
    for (table_type, allowed) in [
        (TableType::NicRx, false),
        (TableType::Fdb, false),
        (TableType::NicTx, true),
        (TableType::EswIngressAcl, true),
        (TableType::EswEgressAcl, true),
        (TableType::RdmaRx, true),
    ] {
        let mut b = Bench::new(Namespace::new(table_type, 2));
        assert_eq!(b.send(&plain()), (Verdicts::new(), Outcome { no_root: true, ..Outcome::default() }));
        let (root, _) = b.table(0, &[]);
        let (out, outcome) = b.send(&plain());
        assert_eq!((targets(&out) == [Target::Allow], outcome.missed), (allowed, u32::from(!allowed)));
        b.steering.modify_table_miss(b.ns, root, Miss::SwitchDomain).unwrap();
        assert_eq!(targets(&b.send(&plain()).0), [Target::SwitchDomain]);
    }
}

#[test]
fn a_dropping_entry_counts_and_gives_no_verdict() {
    let mut b = Bench::new(FDB);
    let root = b.table(0, &[]);
    let base = b.steering.alloc_counters(128).unwrap();
    let counter = mlx5emu_steering::tables::CounterId(base.0 + 100);
    let mut drop = FlowContext::new(root.1, MatchParam::ZERO, Actions::DROP | Actions::COUNT);
    drop.counters.push(counter);
    b.set(root, 0, &drop);
    for _ in 0..3 {
        let (out, outcome) = b.send(&plain());
        assert!(out.is_empty() && outcome.dropped == 1);
    }
    assert_eq!(b.steering.query_counter(counter, true), Ok(CounterValue { packets: 3, octets: 180 }));
    assert_eq!(b.steering.query_counter(counter, false), Ok(CounterValue::default()));
    assert_eq!(b.steering.query_counter(base, false), Ok(CounterValue::default()));
}

#[test]
fn counters_see_the_packet_as_it_arrives_at_the_entry() {
    let mut b = Bench::new(FDB);
    let (root, next) = (b.table(0, &[]), b.table(1, &[]));
    let counters: Vec<_> = (0..2).map(|_| b.steering.alloc_counters(1).unwrap()).collect();
    let mut push = any_to(root, &[Destination::Table(next.0)]);
    push.action.0 |= Actions::VLAN_PUSH | Actions::COUNT;
    (push.push_vlan, push.counters) = (TAG_A, [counters[0]].into_iter().collect());
    b.set(root, 0, &push);
    let mut count = any_to(next, &[vport(1)]);
    count.action.0 |= Actions::COUNT;
    count.counters.push(counters[1]);
    b.set(next, 0, &count);
    b.send(&plain());
    let octets = counters.iter().map(|c| b.steering.query_counter(*c, false).unwrap().octets);
    assert_eq!(octets.collect::<Vec<_>>(), [60, 64]);
}

#[test]
fn miss_loops_end_with_the_hops() {
    let mut b = Bench::new(FDB);
    let (one, two) = (b.table(0, &[]).0, b.table(1, &[]).0);
    b.steering.modify_table_miss(FDB, one, Miss::Table(two)).unwrap();
    b.steering.modify_table_miss(FDB, two, Miss::Table(one)).unwrap();
    let (out, outcome) = b.send(&plain());
    assert!(out.is_empty() && outcome.over_budget);
    let visits: u64 = b.steering.inspect().map(|t| t.packets).sum();
    assert_eq!(visits, u64::from(MAX_HOPS));
}

#[test]
fn multiplying_copies_end_with_the_budget() {
    // Each of 40 levels doubles the copies: without a bound that would be 2^40.
    let mut b = Bench::new(FDB);
    let tables: Vec<_> = (0..40).map(|level| b.table(level, &[])).collect();
    for (n, table) in tables.iter().enumerate() {
        let next = tables.get(n + 1).map_or(vport(2), |t| Destination::Table(t.0));
        b.set(*table, 0, &any_to(*table, &[next, next, vport(1)]));
    }
    let mut budget = Budget::new(1000);
    let (out, outcome) = b.send_with(&plain(), &mut budget);
    assert!(outcome.over_budget && out.len() <= 1000 && budget.hops == 0);
    let (out, outcome) = b.send_with(&plain(), &mut Budget::new(5));
    assert!(outcome.over_budget && out.len() == 5);
}

#[test]
fn a_verdict_goes_on_in_other_tables_with_its_registers_and_tags() {
    let mut b = Bench::new(FDB);
    let root = b.table(0, &[]);
    let header = b.steering.create_modify_header(TableType::Fdb, &[set_register(0x51, 16, 16, 0x42)]).unwrap();
    let mut change = any_to(root, &[vport(0)]);
    change.action.0 |= Actions::MOD_HDR | Actions::VLAN_PUSH;
    (change.modify_header, change.push_vlan) = (header, TAG_A);
    b.set(root, 0, &change);
    let frame = plain();
    let headers = Headers::parse(&frame).unwrap();
    let mut packet = PacketContext::new(&frame, &headers, &Metadata::default());
    let mut out = Verdicts::new();
    b.steering.evaluate(FDB, &mut packet, &mut Budget::new(1), &mut out);

    let mut rx = Bench::new(Namespace::new(TableType::NicRx, 0));
    let table = rx.table(0, &[fields::metadata_reg_c_0, fields::first_vid]);
    let seen = value(&[(fields::metadata_reg_c_0, 0x42_0000), (fields::first_vid, 5)]);
    rx.set(table, 0, &FlowContext::forward(table.1, seen, &[Destination::Tir(3)]));
    packet.resume(&out[0]);
    out.clear();
    rx.steering.evaluate(rx.ns, &mut packet, &mut Budget::new(1), &mut out);
    assert_eq!(targets(&out), [Target::Tir(3)]);
    assert_eq!(out[0].vlan.pushed(), [TAG_A]);
}

/// Bytes are counted as the packet is when it comes to the entry, whether it came alone or with others; and what changes
/// between two bursts counts for the second.
#[test]
fn a_burst_is_counted_as_its_packets_one_by_one() {
    let mut b = Bench::new(FDB);
    let (root, next) = (b.table(0, &[]), b.table(1, &[fields::first_vid]));
    let (first, second) = (b.steering.alloc_counters(1).unwrap(), b.steering.alloc_counters(1).unwrap());
    let mut pop = any_to(root, &[Destination::Table(next.0)]);
    pop.action.0 |= Actions::VLAN_POP | Actions::COUNT;
    pop.counters.push(first);
    b.set(root, 0, &pop);
    let mut inner = FlowContext::forward(next.1, value(&[(fields::first_vid, 7)]), &[vport(1)]);
    inner.action.0 |= Actions::COUNT;
    inner.counters.push(second);
    b.set(next, 0, &inner);
    let long = [tagged(&[TAG_A, TAG_B]), vec![0; 1000]].concat();
    let frames = [tagged(&[TAG_A, TAG_B]), long.clone(), tagged(&[TAG_B, TAG_A]), long];
    let read = |b: &Bench| [first, second].map(|c| b.steering.query_counter(c, false).unwrap());
    let mut packets = Packets::new();
    let send = |b: &Bench, packets: &mut Packets| {
        packets.clear();
        frames.iter().for_each(|frame| assert!(packets.push(frame, &Metadata::default())));
        b.steering.evaluate_burst(FDB, packets, Budget::new(4));
        b.steering.count_burst(packets, 4);
        (0..4).map(|n| targets(packets.decision(n).unwrap().0).len()).collect::<Vec<_>>()
    };
    assert_eq!(send(&b, &mut packets), [1, 1, 0, 1]);
    let together = read(&b);
    frames.iter().for_each(|frame| drop(b.send_with(frame, &mut Budget::new(4))));
    let octets = |lens: &[usize]| lens.iter().map(|n| *n as u64).sum::<u64>();
    assert_eq!(together[0], CounterValue { packets: 4, octets: octets(&[68, 1068, 68, 1068]) });
    assert_eq!(together[1], CounterValue { packets: 3, octets: octets(&[64, 1064, 1064]) });
    let twice = |c: CounterValue| CounterValue { packets: 2 * c.packets, octets: 2 * c.octets };
    assert_eq!(read(&b), together.map(twice));
    b.steering.delete_entry(FDB, next.0, 0).unwrap();
    assert_eq!(send(&b, &mut packets), [0, 0, 0, 0]);
    assert_eq!(read(&b)[1], twice(together[1]));
    assert_eq!(read(&b)[0].packets, 12);
}
