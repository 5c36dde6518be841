//! Commands that are refused, the status that each gets, and what keeps an object alive.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use mlx5emu_steering::key::{MatchCriteria, MatchParam, SUPPORTED, fields};
use mlx5emu_steering::packet::VlanTag;
use mlx5emu_steering::tables::{
    Actions, CounterId, Destination, Error, FlowContext, GroupId, GroupSpec, HashKey, Limits, Miss, ModifyHeaderId,
    ModifyMask, Namespace, RawDestination, RawModifyAction, Status, Steering, TableId, TableSpec, TableType,
};

const NS: Namespace = Namespace::new(TableType::NicRx, 0);
const OTHER_VPORT: Namespace = Namespace::new(TableType::NicRx, 1);
const OTHER_TYPE: Namespace = Namespace::new(TableType::NicTx, 0);

fn small() -> Limits {
    Limits {
        tables: 4,
        groups: 4,
        masks_per_table: 2,
        entries: 4,
        destinations: 6,
        destinations_per_entry: 4,
        counters_per_entry: 2,
        counters: 8,
        modify_headers: 2,
        modify_actions: 2,
        log_table_size: 8,
        level: 9,
    }
}

fn steering() -> Steering {
    Steering::new(HashKey([5, 6]), small())
}

fn group(start: u32, end: u32) -> GroupSpec {
    GroupSpec { start, end, criteria: MatchCriteria(0), mask: MatchParam::ZERO }
}

/// A root of level 1 with a group of all its 256 indexes.
fn with_group() -> (Steering, TableId, GroupId) {
    let mut s = steering();
    let table = s.create_table(&TableSpec::new(NS, 1, 8)).unwrap();
    let g = s.create_group(NS, table, &group(0, 255)).unwrap();
    (s, table, g)
}

fn allow(group: GroupId) -> FlowContext {
    FlowContext::new(group, MatchParam::ZERO, Actions::ALLOW)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, status: Status) {
    let error = result.unwrap_err();
    assert_eq!(error.status(), status, "{error}");
    assert!(!error.to_string().is_empty());
}

#[test]
fn a_table_beyond_the_limits_is_refused() {
    let mut s = steering();
    refused(s.create_table(&TableSpec::new(NS, 0, 9)), Status::ExceedLimit);
    refused(s.create_table(&TableSpec::new(NS, 10, 0)), Status::ExceedLimit);
    let miss = Miss::Table(TableId(77));
    refused(s.create_table(&TableSpec { miss, ..TableSpec::new(NS, 0, 0) }), Status::BadResource);
    for _ in 0..4 {
        s.create_table(&TableSpec::new(NS, 9, 8)).unwrap();
    }
    refused(s.create_table(&TableSpec::new(NS, 0, 0)), Status::NoResources);
    assert_eq!(TableType::from_raw(4), Ok(TableType::Fdb));
    refused(TableType::from_raw(0xc), Status::BadParam);
}

#[test]
fn a_table_is_found_under_its_own_type_and_vport_only() {
    let (mut s, table, g) = with_group();
    for ns in [OTHER_VPORT, OTHER_TYPE] {
        refused(s.query_table(ns, table), Status::BadResource);
        refused(s.set_root(ns, table), Status::BadResource);
        refused(s.create_group(ns, table, &group(0, 1)), Status::BadResource);
        refused(s.set_entry(ns, table, 0, &allow(g)), Status::BadResource);
        refused(s.destroy_table(ns, table), Status::BadResource);
        let foreign = s.create_table(&TableSpec::new(ns, 5, 0)).unwrap();
        refused(s.modify_table_miss(NS, table, Miss::Table(foreign)), Status::BadParam);
        let jump = FlowContext::forward(g, MatchParam::ZERO, &[Destination::Table(foreign)]);
        refused(s.set_entry(NS, table, 0, &jump), Status::BadParam);
    }
    refused(s.query_table(NS, TableId(0)), Status::BadResource);
}

#[test]
fn a_group_must_lie_in_its_table_and_apart_from_others() {
    let mut s = steering();
    let table = s.create_table(&TableSpec::new(NS, 1, 8)).unwrap();
    let mut create = |start, end| s.create_group(NS, table, &group(start, end));
    refused(create(5, 4), Status::BadParam);
    refused(create(0, 256), Status::BadIndex);
    refused(create(u32::MAX, u32::MAX), Status::BadIndex);
    create(10, 20).unwrap();
    for (start, end) in [(10, 20), (0, 10), (20, 30), (12, 13), (0, 255)] {
        refused(create(start, end), Status::BadParam);
    }
    create(0, 9).unwrap();
    create(21, 21).unwrap();
    create(255, 255).unwrap();
    refused(create(100, 101), Status::NoResources);
}

#[test]
fn masks_are_limited_in_number_and_to_what_packets_have() {
    let mut s = steering();
    let table = s.create_table(&TableSpec::new(NS, 1, 8)).unwrap();
    for (n, dword) in SUPPORTED.0.iter().enumerate() {
        if *dword != u32::MAX {
            let mut spec = group(0, 0);
            spec.criteria = MatchCriteria(0x7f);
            spec.mask.0[n] = !dword;
            let beyond_the_parts = n >= 0x1c0 / 4;
            let result = s.create_group(NS, table, &spec);
            match result {
                Ok(id) if beyond_the_parts => s.destroy_group(NS, table, id).unwrap(),
                other => refused(other, Status::BadParam),
            }
            // Parts that are not enabled may hold anything.
            spec.criteria = MatchCriteria(0);
            let id = s.create_group(NS, table, &spec).unwrap();
            s.destroy_group(NS, table, id).unwrap();
        }
    }
    let mut with = |start, vid| {
        let mut spec = GroupSpec { criteria: MatchCriteria(MatchCriteria::OUTER), ..group(start, start) };
        fields::first_vid.set(&mut spec.mask, vid);
        s.create_group(NS, table, &spec)
    };
    with(0, 1).unwrap();
    with(1, 2).unwrap();
    with(2, 1).unwrap();
    refused(with(3, 3), Status::NoResources);
}

#[test]
fn an_entry_must_lie_in_its_group_and_be_new() {
    let (mut s, table, _) = with_group();
    let second = s.create_table(&TableSpec::new(NS, 2, 8)).unwrap();
    let g = s.create_group(NS, second, &group(4, 7)).unwrap();
    refused(s.set_entry(NS, second, 3, &allow(g)), Status::BadIndex);
    refused(s.set_entry(NS, second, 8, &allow(g)), Status::BadIndex);
    refused(s.set_entry(NS, second, 256, &allow(g)), Status::BadIndex);
    refused(s.set_entry(NS, table, 5, &allow(g)), Status::BadResource);
    refused(s.set_entry(NS, second, 5, &allow(GroupId(99))), Status::BadResource);
    s.set_entry(NS, second, 5, &allow(g)).unwrap();
    refused(s.set_entry(NS, second, 5, &allow(g)), Status::BadResourceState);
    refused(s.delete_entry(NS, second, 6), Status::BadIndex);
    refused(s.modify_entry(NS, second, 6, ModifyMask(1), &allow(g)), Status::BadIndex);
    for index in [4, 6, 7] {
        s.set_entry(NS, second, index, &allow(g)).unwrap();
    }
    let first_group = s.inspect().next().unwrap().groups().next().unwrap().id;
    refused(s.set_entry(NS, table, 0, &allow(first_group)), Status::NoResources);
}

#[test]
fn actions_that_contradict_or_are_unknown_are_refused() {
    let (mut s, table, g) = with_group();
    for action in [
        0,
        Actions::ALLOW | Actions::DROP,
        Actions::COUNT,
        Actions::ALLOW | Actions::PACKET_REFORMAT,
        Actions::ALLOW | Actions::DECAP,
        Actions::ALLOW | 0x200,
        Actions::ALLOW | 0x1000,
        Actions::ALLOW | 0x4000,
        Actions::FWD_DEST,
        Actions::ALLOW | Actions::COUNT,
        Actions::ALLOW | Actions::VLAN_PUSH,
    ] {
        refused(s.set_entry(NS, table, 0, &FlowContext::new(g, MatchParam::ZERO, action)), Status::BadParam);
    }
    let header = FlowContext::new(g, MatchParam::ZERO, Actions::ALLOW | Actions::MOD_HDR);
    refused(s.set_entry(NS, table, 0, &header), Status::BadResource);
    let id = s.create_modify_header(TableType::Fdb, &[]).unwrap();
    refused(s.set_entry(NS, table, 0, &FlowContext { modify_header: id, ..header }), Status::BadParam);
    let mut counted = FlowContext::new(g, MatchParam::ZERO, Actions::ALLOW | Actions::COUNT);
    counted.counters.push(CounterId(1));
    refused(s.set_entry(NS, table, 0, &counted), Status::BadResource);
    counted.counters.extend([CounterId(1); 2]);
    refused(s.set_entry(NS, table, 0, &counted), Status::ExceedLimit);
    assert_eq!(s.counts().entries, 0);
}

#[test]
fn forwards_must_raise_the_level() {
    let (mut s, table, g) = with_group();
    let lower = s.create_table(&TableSpec::new(NS, 0, 0)).unwrap();
    let same = s.create_table(&TableSpec::new(NS, 1, 0)).unwrap();
    let higher = s.create_table(&TableSpec::new(NS, 2, 0)).unwrap();
    let jump = |to| FlowContext::forward(g, MatchParam::ZERO, &[Destination::Tir(1), Destination::Table(to)]);
    for to in [lower, same, table] {
        refused(s.set_entry(NS, table, 0, &jump(to)), Status::BadParam);
    }
    refused(s.set_entry(NS, table, 0, &jump(TableId(99))), Status::BadResource);
    s.set_entry(NS, table, 0, &jump(higher)).unwrap();
    let mask = ModifyMask(ModifyMask::DESTINATION_LIST);
    refused(s.modify_entry(NS, table, 0, mask, &jump(lower)), Status::BadParam);
    assert_eq!(s.query_entry(NS, table, 0).unwrap(), jump(higher));
    refused(s.modify_table_miss(NS, table, Miss::Table(table)), Status::BadParam);
    s.modify_table_miss(NS, table, Miss::Table(lower)).unwrap();
}

#[test]
fn destination_lists_are_bounded() {
    let (mut s, table, g) = with_group();
    let to = |n| FlowContext::forward(g, MatchParam::ZERO, &[Destination::Tir(1)].repeat(n));
    refused(s.set_entry(NS, table, 0, &to(5)), Status::ExceedLimit);
    s.set_entry(NS, table, 0, &to(4)).unwrap();
    refused(s.set_entry(NS, table, 1, &to(3)), Status::NoResources);
    s.set_entry(NS, table, 1, &to(2)).unwrap();
    // A modification frees what it replaces.
    s.modify_entry(NS, table, 0, ModifyMask(ModifyMask::DESTINATION_LIST), &to(4)).unwrap();
    s.delete_entry(NS, table, 0).unwrap();
    s.set_entry(NS, table, 0, &to(4)).unwrap();
}

#[test]
fn what_is_in_use_cannot_go() {
    let (mut s, table, g) = with_group();
    let target = s.create_table(&TableSpec::new(NS, 2, 0)).unwrap();
    let missed = s.create_table(&TableSpec::new(NS, 3, 0)).unwrap();
    s.modify_table_miss(NS, target, Miss::Table(missed)).unwrap();
    let counter = s.alloc_counters(4).unwrap();
    let header = s.create_modify_header(TableType::NicRx, &[]).unwrap();
    let mut context = FlowContext::forward(g, MatchParam::ZERO, &[Destination::Table(target)]);
    context.action.0 |= Actions::COUNT | Actions::MOD_HDR;
    context.counters.push(CounterId(counter.0 + 3));
    context.modify_header = header;
    s.set_entry(NS, table, 0, &context).unwrap();
    s.set_root(NS, table).unwrap();

    refused(s.destroy_table(NS, table), Status::ResourceBusy);
    refused(s.destroy_table(NS, target), Status::ResourceBusy);
    refused(s.destroy_table(NS, missed), Status::ResourceBusy);
    refused(s.destroy_group(NS, table, g), Status::ResourceBusy);
    refused(s.dealloc_counters(counter), Status::ResourceBusy);
    refused(s.destroy_modify_header(header), Status::ResourceBusy);

    s.delete_entry(NS, table, 0).unwrap();
    s.dealloc_counters(counter).unwrap();
    s.destroy_modify_header(header).unwrap();
    s.destroy_group(NS, table, g).unwrap();
    refused(s.destroy_table(NS, missed), Status::ResourceBusy);
    s.destroy_table(NS, target).unwrap();
    s.destroy_table(NS, missed).unwrap();
    // The last table of a type goes while it is the root still, as the kernel does it.
    s.destroy_table(NS, table).unwrap();
    assert_eq!((s.root(NS), s.counts()), (None, Default::default()));
}

#[test]
fn a_modification_changes_what_it_selects_and_nothing_else() {
    let (mut s, table, g) = with_group();
    let counter = s.alloc_counters(1).unwrap();
    let mut context = FlowContext::forward(g, MatchParam::ZERO, &[Destination::Tir(1)]);
    context.flow_tag = 7;
    s.set_entry(NS, table, 3, &context).unwrap();

    let mut change = FlowContext::forward(g, MatchParam::ZERO, &[Destination::Tir(2)]);
    change.flow_tag = 9;
    change.action.0 |= Actions::COUNT;
    change.counters.push(counter);
    s.modify_entry(NS, table, 3, ModifyMask(ModifyMask::FLOW_TAG), &change).unwrap();
    assert_eq!(s.query_entry(NS, table, 3).unwrap(), FlowContext { flow_tag: 9, ..context.clone() });
    refused(s.modify_entry(NS, table, 3, ModifyMask(ModifyMask::ACTION), &change), Status::BadParam);
    s.modify_entry(NS, table, 3, ModifyMask(ModifyMask::ACTION | ModifyMask::FLOW_COUNTERS), &change).unwrap();
    let destinations = context.destinations.clone();
    assert_eq!(s.query_entry(NS, table, 3).unwrap(), FlowContext { destinations, ..change.clone() });
    refused(s.dealloc_counters(counter), Status::ResourceBusy);

    // The lists of an action that is gone go with it.
    let drop = FlowContext::new(g, MatchParam::ZERO, Actions::DROP);
    s.modify_entry(NS, table, 3, ModifyMask(ModifyMask::ACTION), &drop).unwrap();
    assert_eq!(s.query_entry(NS, table, 3).unwrap(), FlowContext { flow_tag: 9, ..drop });
    s.dealloc_counters(counter).unwrap();
    refused(s.modify_entry(NS, table, 3, ModifyMask(1), &allow(GroupId(9))), Status::BadResource);
}

#[test]
fn counters_are_numbered_in_a_row_and_bounded() {
    let mut s = steering();
    refused(s.alloc_counters(0), Status::NoResources);
    refused(s.alloc_counters(9), Status::NoResources);
    let a = s.alloc_counters(4).unwrap();
    let b = s.alloc_counters(4).unwrap();
    assert!(a.0 >= 1 && b.0 == a.0 + 4);
    refused(s.alloc_counters(1), Status::NoResources);
    refused(s.dealloc_counters(CounterId(a.0 + 1)), Status::BadResource);
    refused(s.query_counter(CounterId(b.0 + 4), false), Status::BadResource);
    refused(s.query_counter(CounterId(0), false), Status::BadResource);
    s.dealloc_counters(a).unwrap();
    refused(s.query_counter(CounterId(a.0 + 1), false), Status::BadResource);
    let c = s.alloc_counters(1).unwrap();
    assert_eq!(c.0, b.0 + 4);
    assert_eq!(s.counters().collect::<Vec<_>>(), [(b, 4), (c, 1)]);
}

#[test]
fn modify_headers_are_checked_when_they_are_made() {
    let mut s = steering();
    let good = RawModifyAction { action_type: 1, field: 0x58, offset: 31, length: 1, ..Default::default() };
    for bad in [
        RawModifyAction { field: 0x16, ..good },
        RawModifyAction { field: 0x59, ..good },
        RawModifyAction { length: 2, ..good },
        RawModifyAction { length: 0, ..good },
        RawModifyAction { offset: 255, length: 255, ..good },
        RawModifyAction { action_type: 4, ..good },
        RawModifyAction { action_type: 0, ..good },
        RawModifyAction { action_type: 3, dst_field: 0x51, dst_offset: 32, ..good },
        RawModifyAction { action_type: 3, dst_field: 0, ..good },
    ] {
        refused(s.create_modify_header(TableType::Fdb, &[good, bad]), Status::BadParam);
    }
    refused(s.create_modify_header(TableType::Fdb, &[good; 3]), Status::ExceedLimit);
    let id = s.create_modify_header(TableType::Fdb, &[good; 2]).unwrap();
    assert_eq!(s.query_modify_header(id).unwrap().actions.len(), 2);
    s.create_modify_header(TableType::Fdb, &[]).unwrap();
    refused(s.create_modify_header(TableType::Fdb, &[]), Status::NoResources);
    s.destroy_modify_header(id).unwrap();
    refused(s.destroy_modify_header(id), Status::BadResource);
    refused(s.destroy_modify_header(ModifyHeaderId(0)), Status::BadResource);
}

#[test]
fn destinations_are_read_as_the_driver_writes_them() {
    let raw =
        |destination_type, destination_id| RawDestination { destination_type, destination_id, ..Default::default() };
    let read = |r: RawDestination| Destination::from_raw(&r);
    let vhca_id = Some(4);
    assert_eq!(read(RawDestination { vhca_id, ..raw(0, 0xffff) }), Ok(Destination::Vport { vport: 0xffff, vhca_id }));
    assert_eq!(read(raw(1, 0x12)), Ok(Destination::Table(TableId(0x12))));
    assert_eq!(read(raw(2, 0xff_ffff)), Ok(Destination::Tir(0xff_ffff)));
    assert_eq!(read(raw(4, 9)), Ok(Destination::VhcaRx(9)));
    assert_eq!(read(raw(8, 0)), Ok(Destination::Uplink { vhca_id: None }));
    let rdma = RawDestination { table_type: 7, ..raw(0xa, 0) };
    assert_eq!(read(rdma), Ok(Destination::TableType(TableType::RdmaRx)));
    for bad in
        [raw(0, 0x1_0000), raw(3, 0), raw(6, 0), raw(0xff, 0), RawDestination { table_type: 0xff, ..raw(0xa, 0) }]
    {
        refused(read(bad), Status::BadParam);
    }
    refused(read(RawDestination { packet_reformat: true, ..raw(0, 1) }), Status::BadParam);
}

#[test]
fn a_pushed_tag_must_be_a_vlan_tag() {
    let (mut s, table, g) = with_group();
    let mut context = FlowContext::new(g, MatchParam::ZERO, Actions::ALLOW | Actions::VLAN_PUSH);
    context.push_vlan = VlanTag { tpid: 0x0800, tci: 1 };
    refused(s.set_entry(NS, table, 0, &context), Status::BadParam);
    context.push_vlan.tpid = 0x8100;
    s.set_entry(NS, table, 0, &context).unwrap();
}

#[test]
fn the_root_is_replaced_and_disconnected() {
    let mut s = steering();
    let one = s.create_table(&TableSpec::new(NS, 0, 0)).unwrap();
    let two = s.create_table(&TableSpec::new(NS, 1, 0)).unwrap();
    s.set_root(NS, one).unwrap();
    s.set_root(NS, two).unwrap();
    assert_eq!(s.root(NS), Some(two));
    s.destroy_table(NS, one).unwrap();
    assert_eq!(s.root(NS), Some(two));
    s.disconnect_root(NS);
    s.disconnect_root(NS);
    assert_eq!(s.root(NS), None);
}
