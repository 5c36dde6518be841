//! What ethtool and devlink ask for: flow counters, registers.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Drv, goodbye, mac, opened, plain};
use mlx5emu_driver::NetConfig;
use mlx5emu_driver::command::input;
use mlx5emu_driver::steering::Match;
use mlx5emu_prm::layouts::*;
use mlx5emu_prm::opcode::{Opcode, Status};
use mlx5emu_prm::register::{AccessRegMode, PpcntGroup, Register};
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

/// ACCESS_REG: `write` or read; the register afterwards, `len` bytes, or nothing if it was refused.
fn register(driver: &mut Drv, register: Register, write: bool, data: &[u8]) -> Option<Vec<u8>> {
    let mut cmd = input(Opcode::ACCESS_REG, access_register_in::SIZE + data.len());
    let mode = if write { AccessRegMode::WRITE } else { AccessRegMode::READ };
    access_register_in::op_mod.set(&mut cmd, mode.0.into());
    access_register_in::register_id.set(&mut cmd, register.0.into());
    access_register_in::register_data.of_mut(&mut cmd).copy_from_slice(data);
    let out = driver.command(&cmd, access_register_out::SIZE + data.len()).ok()?;
    Some(access_register_out::register_data.of(&out).to_vec())
}

fn port_register(len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    // Every register of a port has the number in the same place.
    paos_reg::local_port.set(&mut data, 1);
    data
}

#[test]
fn the_registers_that_there_are_answer_and_others_are_refused() {
    let (_, mut a, b) = opened(2, &NetConfig::default());
    let pcam = register(&mut a, Register::PCAM, false, &[0; pcam_reg::SIZE]).unwrap();
    let mcam = register(&mut a, Register::MCAM, false, &[0; mcam_reg::SIZE]).unwrap();
    let has = |mask: &[u8], n: u16| mask[mask.len() - 1 - usize::from(n % 128) / 8] >> (n % 8) & 1 == 1;
    let zeros = vec![0u8; 0x100];
    for n in 0..128 {
        for (mask, base) in [(pcam_reg::regs_5000_to_507f.of(&pcam), 0x5000), (mcam_reg::access_regs.of(&mcam), 0x9000)]
        {
            let register = Register(base + n);
            let mut cmd = input(Opcode::ACCESS_REG, access_register_in::SIZE + zeros.len());
            access_register_in::op_mod.set(&mut cmd, AccessRegMode::READ.0.into());
            access_register_in::register_id.set(&mut cmd, register.0.into());
            let data = access_register_in::register_data.of_mut(&mut cmd);
            data.copy_from_slice(&zeros);
            match register {
                // These have no local_port, or need a selection.
                Register::PCAM => {}
                Register::MCQI => mcqi_reg::info_type.set(data, 1),
                Register::PTYS => {
                    ptys_reg::local_port.set(data, 1);
                    ptys_reg::proto_mask.set(data, 4);
                }
                Register::PDDR => {
                    pddr_reg::local_port.set(data, 1);
                    pddr_reg::page_select.set(data, 1);
                }
                _ if base == 0x5000 => paos_reg::local_port.set(data, 1),
                _ => {}
            }
            let status = a.refusal(&cmd, access_register_out::SIZE + zeros.len()).unwrap().0;
            assert_eq!(status == Status::OK, has(mask, n), "{register}: {status}");
        }
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn the_firmware_the_cable_and_the_sensor_tell_about_themselves() {
    let (_, mut a, b) = opened(3, &NetConfig::default());
    let mcqs = register(&mut a, Register::MCQS, false, &[0; mcqs_reg::SIZE]).unwrap();
    assert_eq!((mcqs_reg::identifier.get(&mcqs), mcqs_reg::last_index_flag.get(&mcqs)), (1, 1));
    let mut data = [0; mcqi_reg::SIZE + mcqi_version::SIZE];
    mcqi_reg::info_type.set(&mut data, 1);
    mcqi_reg::data_size.set(&mut data, mcqi_version::SIZE as u64);
    let mcqi = register(&mut a, Register::MCQI, false, &data).unwrap();
    assert_ne!(mcqi_version::version.get(&mcqi[mcqi_reg::SIZE..]), 0);
    let mtmp = register(&mut a, Register::MTMP, false, &[0; mtmp_reg::SIZE]).unwrap();
    assert!((20 * 8..105 * 8).contains(&mtmp_reg::temperature.get(&mtmp)));
    // The cable's memory, in one piece and in two; nothing beyond it, and no other page.
    let read = |driver: &mut Drv, page: u64, at: u64, size: u64| {
        let mut data = [0; mcia_reg::SIZE];
        mcia_reg::i2c_device_address.set(&mut data, 0x50);
        mcia_reg::page_number.set(&mut data, page);
        mcia_reg::device_address.set(&mut data, at);
        mcia_reg::size.set(&mut data, size);
        let out = register(driver, Register::MCIA, false, &data).unwrap();
        let bytes = mcia_reg::dwords.of(&out)[..size.min(128) as usize].to_vec();
        (mcia_reg::status.get(&out) == 0).then_some(bytes)
    };
    let upper = read(&mut a, 0, 128, 128).unwrap();
    assert_eq!(read(&mut a, 0, 0, 1).unwrap(), [0x11]);
    assert_eq!(upper[63], upper[..63].iter().fold(0, |sum: u8, b| sum.wrapping_add(*b)));
    for (page, at, size) in [(0, 200, 100), (3, 0, 16), (0, 0, 129), (0, 0xffff, 0xffff)] {
        assert_eq!(read(&mut a, page, at, size), None, "{page} {at} {size}");
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn the_histogram_of_corrected_symbols_counts_clean_codewords() {
    let (_, mut a, mut b) = opened(6, &NetConfig::default());
    let pphcr = register(&mut a, Register::PPHCR, false, &port_register(pphcr_reg::SIZE)).unwrap();
    // As MLX5E_HISTOGRAM_FEC_RS_528_514, which corrects up to 7 symbols.
    assert_eq!((pphcr_reg::active_hist_type.get(&pphcr), pphcr_reg::num_of_bins.get(&pphcr)), (3, 8));
    for n in 0..8 {
        let range = pphcr_reg::bin_range.at(&pphcr, n);
        assert_eq!((bin_range_layout::low_val.get(range), bin_range_layout::high_val.get(range)), (n as u64, n as u64));
    }
    let histogram = |driver: &mut Drv| {
        let mut data = port_register(ppcnt_reg::SIZE);
        ppcnt_reg::grp.set(&mut data, PpcntGroup::RS_FEC_HISTOGRAM_GROUP.0.into());
        let ppcnt = register(driver, Register::PPCNT, false, &data).unwrap();
        let set = ppcnt_reg::counter_set.of(&ppcnt);
        [0, 1, 7].map(|n| be64::value.get(rs_histogram_cntrs::hist.at(set, n)))
    };
    assert_eq!(histogram(&mut a), [0, 0, 0]);
    for n in 0..64 {
        let frame = plain(mac(&a), mac(&b), 1000, n);
        b.send(&frame).unwrap();
        a.recv_wait().unwrap();
    }
    assert_eq!(histogram(&mut a), [64 * 1000 / 640, 0, 0]);
    // Another code has no symbols.
    let mut data = port_register(pplm_reg::SIZE);
    pplm_reg::fec_override_admin_100g.set(&mut data, 1);
    register(&mut a, Register::PPLM, true, &data).unwrap();
    let pphcr = register(&mut a, Register::PPHCR, false, &port_register(pphcr_reg::SIZE)).unwrap();
    assert_eq!((pphcr_reg::active_hist_type.get(&pphcr), pphcr_reg::num_of_bins.get(&pphcr)), (0, 0));
    assert_eq!(histogram(&mut a), [0, 0, 0]);
    goodbye(a);
    goodbye(b);
}

#[test]
fn ends_that_ask_for_different_error_correction_have_no_link() {
    let (_, mut a, mut b) = opened(4, &NetConfig::default());
    let pplm = register(&mut a, Register::PPLM, false, &port_register(pplm_reg::SIZE)).unwrap();
    let (none, rs) = (1, 1 << 2);
    assert_eq!(pplm_reg::fec_mode_active.get(&pplm), rs);
    let ask = |driver: &mut Drv, fec: u64| {
        let mut data = port_register(pplm_reg::SIZE);
        pplm_reg::fec_override_admin_100g.set(&mut data, fec);
        register(driver, Register::PPLM, true, &data).map(|out| pplm_reg::fec_mode_active.get(&out))
    };
    assert_eq!(ask(&mut a, none), Some(none));
    assert!(b.link_up().unwrap());
    let pplm = register(&mut b, Register::PPLM, false, &port_register(pplm_reg::SIZE)).unwrap();
    assert_eq!(pplm_reg::fec_mode_active.get(&pplm), none, "one end chooses for both");
    assert_eq!(ask(&mut b, rs), Some(0));
    assert!(!b.link_up().unwrap() && !a.link_up().unwrap());
    let mut data = port_register(ppcnt_reg::SIZE);
    ppcnt_reg::grp.set(&mut data, PpcntGroup::PHYSICAL_LAYER_COUNTERS_GROUP.0.into());
    let ppcnt = register(&mut a, Register::PPCNT, false, &data).unwrap();
    assert_eq!(phys_layer_cntrs::link_down_events.get(ppcnt_reg::counter_set.of(&ppcnt)), 1);
    assert_eq!(ask(&mut a, 0), Some(rs), "back to what both can");
    assert!(a.link_up().unwrap() && b.link_up().unwrap());
    assert_eq!(ask(&mut a, 1 << 1), None, "Firecode is not for 100 Gbit/s");
    goodbye(a);
    goodbye(b);
}

#[test]
fn xrc_domains_and_partition_keys() {
    let (_, mut a, b) = opened(5, &NetConfig::default());
    let alloc = input(Opcode::ALLOC_XRCD, alloc_xrcd_in::SIZE);
    let xrcd = alloc_xrcd_out::xrcd.get32(&a.command(&alloc, OUT).unwrap());
    let mut dealloc = input(Opcode::DEALLOC_XRCD, dealloc_xrcd_in::SIZE);
    dealloc_xrcd_in::xrcd.set(&mut dealloc, xrcd.into());
    a.command(&dealloc, OUT).unwrap();
    assert_ne!(a.refusal(&dealloc, OUT).unwrap().0, Status::OK, "twice");
    let ask = |index: u64| {
        let mut cmd = input(Opcode::QUERY_HCA_VPORT_PKEY, query_hca_vport_pkey_in::SIZE);
        query_hca_vport_pkey_in::pkey_index.set(&mut cmd, index);
        cmd
    };
    let all = a.command(&ask(0xffff), query_hca_vport_pkey_out::SIZE + 128 * pkey::SIZE).unwrap();
    let list: Vec<u64> =
        query_hca_vport_pkey_out::pkey.of(&all).chunks(pkey::SIZE).map(|raw| pkey::pkey.get(raw)).collect();
    assert_eq!((list.len(), list[0], list[1..].iter().sum::<u64>()), (128, 0xffff, 0));
    assert_ne!(a.refusal(&ask(128), 0x20).unwrap().0, Status::OK);
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_port_without_autonegotiation_takes_the_one_speed_that_it_is_told() {
    let (_, mut a, mut b) = opened(6, &NetConfig::default());
    let ask = |driver: &mut Drv, modes: u64, an_disable: bool| {
        let mut data = port_register(ptys_reg::SIZE);
        ptys_reg::proto_mask.set(&mut data, 1 << 2);
        ptys_reg::eth_proto_admin.set(&mut data, modes);
        ptys_reg::an_disable_admin.set(&mut data, an_disable.into());
        register(driver, Register::PTYS, true, &data).unwrap()
    };
    let (cr4_100g, cr_25g, all) = (1 << 20, 1 << 27, u64::from(u32::MAX));
    let ptys = ask(&mut a, cr_25g, true);
    assert_eq!(ptys_reg::eth_proto_oper.get(&ptys), cr_25g);
    assert_eq!((ptys_reg::an_disable_cap.get(&ptys), ptys_reg::an_disable_admin.get(&ptys)), (1, 1));
    assert_eq!(ptys_reg::an_status.get(&ptys), 0);
    assert!(b.link_up().unwrap());
    ask(&mut b, cr4_100g, true);
    assert!(!a.link_up().unwrap(), "no speed in common");
    ask(&mut b, all, false);
    let ptys = ask(&mut a, all, false);
    assert_eq!((ptys_reg::eth_proto_oper.get(&ptys), ptys_reg::an_status.get(&ptys)), (cr4_100g, 1));
    goodbye(a);
    goodbye(b);
}
