//! What ethtool and devlink ask for: flow counters, registers.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Drv, goodbye, mac, opened, plain};
use mlx5emu_driver::NetConfig;
use mlx5emu_driver::command::input;
use mlx5emu_driver::steering::Match;
use mlx5emu_prm::layouts::*;
use mlx5emu_prm::opcode::{Opcode, Status};
use mlx5emu_prm::steering::{FlowAction, TableType};

const OUT: usize = 0x10;

fn alloc_counters(driver: &mut Drv, bulk: u64) -> u32 {
    let mut cmd = input(Opcode::ALLOC_FLOW_COUNTER, alloc_flow_counter_in::SIZE);
    alloc_flow_counter_in::flow_counter_bulk.set(&mut cmd, bulk);
    alloc_flow_counter_out::flow_counter_id.get32(&driver.command(&cmd, OUT).unwrap())
}

fn dealloc_input(id: u32) -> Vec<u8> {
    let mut cmd = input(Opcode::DEALLOC_FLOW_COUNTER, dealloc_flow_counter_in::SIZE);
    dealloc_flow_counter_in::flow_counter_id.set(&mut cmd, id.into());
    cmd
}

fn query_input(id: u32, count: usize, clear: bool) -> Vec<u8> {
    let mut cmd = input(Opcode::QUERY_FLOW_COUNTER, query_flow_counter_in::SIZE);
    query_flow_counter_in::flow_counter_id.set(&mut cmd, id.into());
    query_flow_counter_in::num_of_counters.set(&mut cmd, count as u64);
    query_flow_counter_in::clear.set(&mut cmd, clear.into());
    cmd
}

/// Packets and octets of `count` counters from `id` on; of one, if `count` is 0.
fn query(driver: &mut Drv, id: u32, count: usize, clear: bool) -> Vec<(u64, u64)> {
    let len = query_flow_counter_out::SIZE + traffic_counter::SIZE * count.max(1);
    let out = driver.command(&query_input(id, count, clear), len).unwrap();
    let list = query_flow_counter_out::flow_statistics.of(&out);
    let read = |raw| (traffic_counter::packets.get(raw), traffic_counter::octets.get(raw));
    list.chunks_exact(traffic_counter::SIZE).map(read).collect()
}

/// SET_FTE of entry 0: count and drop; `counters` in the list.
fn count_and_drop(table: u32, group: u32, counters: &[u32]) -> Vec<u8> {
    let len = flow_context::destination.offset + flow_counter_list::SIZE * counters.len();
    let mut cmd = input(Opcode::SET_FLOW_TABLE_ENTRY, set_fte_in::flow_context.offset + len);
    set_fte_in::table_type.set(&mut cmd, TableType::NIC_RX.0.into());
    set_fte_in::table_id.set(&mut cmd, table.into());
    let context = set_fte_in::flow_context.of_mut(&mut cmd);
    flow_context::group_id.set(context, group.into());
    flow_context::action.set(context, u64::from(FlowAction::DROP.0 | FlowAction::COUNT.0));
    flow_context::flow_counter_list_size.set(context, counters.len() as u64);
    let list = flow_context::destination.of_mut(context);
    for (raw, id) in list.chunks_mut(flow_counter_list::SIZE).zip(counters) {
        flow_counter_list::flow_counter_id.set(raw, (*id).into());
    }
    cmd
}

#[test]
fn a_flow_counter_counts_what_its_entry_drops() {
    let (world, mut a, mut b) = opened(1, &NetConfig::default());
    let (single, bulk) = (alloc_counters(&mut a, 0), alloc_counters(&mut a, 1));
    let table = a.create_flow_table(TableType::NIC_RX, 1, 4, None).unwrap();
    let group = a.create_flow_group(table, 0, 15, &Match::any()).unwrap();
    a.set_flow_table_root(TableType::NIC_RX, table).unwrap();
    for wrong in [&[0xdead][..], &[single, bulk]] {
        assert_ne!(a.refusal(&count_and_drop(table, group, wrong), OUT).unwrap().0, Status::OK, "{wrong:x?}");
    }
    a.command(&count_and_drop(table, group, &[bulk + 3]), OUT).unwrap();
    // The entry says it back.
    let mut cmd = input(Opcode::QUERY_FLOW_TABLE_ENTRY, query_fte_in::SIZE);
    query_fte_in::table_id.set(&mut cmd, table.into());
    let out = a.command(&cmd, query_fte_out::SIZE + 8).unwrap();
    let context = query_fte_out::flow_context.of(&out);
    assert_eq!(flow_context::flow_counter_list_size.get(context), 1);
    assert_eq!(flow_counter_list::flow_counter_id.get32(flow_context::destination.of(context)), bulk + 3);
    for len in [60, 1000] {
        b.send(&plain(mac(&a), mac(&b), len, 1)).unwrap();
    }
    assert!(world.borrow_mut().settle());
    assert!(a.recv().unwrap().is_none());
    assert_eq!(query(&mut a, bulk + 3, 0, false), [(2, 1060)]);
    let all = query(&mut a, bulk & !3, 128, true);
    assert_eq!(all[(bulk + 3 - (bulk & !3)) as usize], (2, 1060));
    assert_eq!(all.iter().map(|c| c.0).sum::<u64>(), 2);
    assert_eq!(query(&mut a, bulk + 3, 0, false), [(0, 0)], "cleared");
    // In use, not there, a size that is not offered, more than fits.
    assert_ne!(a.refusal(&dealloc_input(bulk), OUT).unwrap().0, Status::OK);
    assert_ne!(a.refusal(&dealloc_input(0xdead), OUT).unwrap().0, Status::OK);
    assert_ne!(a.refusal(&query_input(0xdead, 0, false), 0x20).unwrap().0, Status::OK);
    assert_ne!(a.refusal(&query_input(bulk, 128, false), 0x20).unwrap().0, Status::OK);
    assert_ne!(a.refusal(&query_input(bulk, 0xffff, false), 0x20).unwrap().0, Status::OK);
    let mut cmd = input(Opcode::ALLOC_FLOW_COUNTER, alloc_flow_counter_in::SIZE);
    alloc_flow_counter_in::flow_counter_bulk.set(&mut cmd, 3);
    assert_ne!(a.refusal(&cmd, OUT).unwrap().0, Status::OK);
    a.close().unwrap();
    a.delete_fte(table, 0).unwrap();
    a.destroy_flow_group(table, group).unwrap();
    a.destroy_flow_table(TableType::NIC_RX, table).unwrap();
    for id in [single, bulk] {
        a.command(&dealloc_input(id), OUT).unwrap();
    }
    goodbye(a);
    goodbye(b);
}
