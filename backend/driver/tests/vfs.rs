//! VFs in legacy mode: the PF enables them, gives their pages, hears of their addresses and switches their frames.

#![allow(clippy::unwrap_used)]

mod common;

use common::vfs::*;
use common::{Drv, goodbye, plain};
use mlx5emu_card::ResetKind;
use mlx5emu_driver::command::input;
use mlx5emu_driver::{Config, Driver, Error, NetConfig, pages};
use mlx5emu_prm::event::Event;
use mlx5emu_prm::layouts::*;
use mlx5emu_prm::opcode::{Opcode, Status};
use mlx5emu_prm::steering::TableType;

/// Asks to be told of changes of a vport's unicast list.
fn arm(pf: &mut Drv, vport: u32) {
    use modify_nic_vport_context_in as layout;
    let mut cmd = input(Opcode::MODIFY_NIC_VPORT_CONTEXT, layout::nic_vport_context.offset + nic_vport_context::SIZE);
    layout::other_vport.set(&mut cmd, 1);
    layout::vport_number.set(&mut cmd, vport.into());
    modify_nic_vport_field_select::change_event.set(layout::field_select.of_mut(&mut cmd), 1);
    let context = layout::nic_vport_context.of_mut(&mut cmd);
    nic_vport_context::arm_change_event.set(context, 1);
    nic_vport_context::event_on_uc_address_change.set(context, 1);
    pf.command(&cmd, OUT).unwrap();
}

fn set_state(pf: &mut Drv, vport: u32, state: u64) {
    let mut cmd = input(Opcode::MODIFY_VPORT_STATE, modify_vport_state_in::SIZE);
    modify_vport_state_in::op_mod.set(&mut cmd, 1);
    modify_vport_state_in::other_vport.set(&mut cmd, 1);
    modify_vport_state_in::vport_number.set(&mut cmd, vport.into());
    modify_vport_state_in::admin_state.set(&mut cmd, state);
    pf.command(&cmd, OUT).unwrap();
}

#[test]
fn a_vf_is_not_there_before_its_pf_enables_it() {
    let (world, mut pf, _other, [host, _]) = card(1);
    let mut word = [0; 4];
    let mut host = host;
    host.bar_read(u64::from(mlx5_init_seg::initializing.bit / 8) & !3, &mut word);
    assert_eq!(word[0] & 0x80, 0x80, "initializing");
    enable(&world, &mut pf, 1);
    assert_eq!(pf.refusal(&about(Opcode::ENABLE_HCA, 1), OUT).unwrap().0, Status::BAD_SYS_STATE);
    assert_eq!(pf.refusal(&about(Opcode::ENABLE_HCA, 3), OUT).unwrap().0, Status::BAD_PARAM);
    let vf = Driver::probe(host, Config::default()).unwrap();
    assert_eq!(vf.caps.general(&cmd_hca_cap::vport_group_manager), 0);
    assert_eq!(vf.caps.general(&cmd_hca_cap::vhca_id), 3);
}

#[test]
fn frames_go_where_the_fdb_says_and_by_the_wire_if_it_says_nothing() {
    for seed in 0..8 {
        let (world, mut pf, mut other, [mut vf0, mut vf1], fdb) = switched(seed);
        let to = |dst, src, tag| plain(dst, src, 60 + tag as usize, tag);
        let (pf_mac, other_mac) = (common::mac(&pf), common::mac(&other));
        for (n, (dst, hears)) in [(mac(2), 1), (pf_mac, 2), (other_mac, 3), (mac(9), 9)].into_iter().enumerate() {
            let frame = to(dst, mac(1), n as u64);
            vf0.send(&frame).unwrap();
            let heard = [
                received(&world, &mut vf0),
                received(&world, &mut vf1),
                received(&world, &mut pf),
                received(&world, &mut other),
            ];
            for (who, frames) in heard.into_iter().enumerate() {
                assert_eq!(frames, if who == hears { vec![frame.clone()] } else { vec![] }, "to {dst:x?}, at {who}");
            }
        }
        // From the wire: an address that the FDB has, and one that nobody has.
        other.send(&to(mac(2), other_mac, 7)).unwrap();
        other.send(&to(mac(9), other_mac, 8)).unwrap();
        assert_eq!(received(&world, &mut vf1), [to(mac(2), other_mac, 7)]);
        assert_eq!(received(&world, &mut pf), Vec::<Vec<u8>>::new());
        // A group: everybody but the sender.
        let group = [1, 0, 0x5e, 0, 0, 1];
        pf.command(&fdb.entry(5, group, &[1, 2, UPLINK]), OUT).unwrap();
        vf0.send(&to(mac(2), mac(1), 9)).unwrap();
        assert_eq!(received(&world, &mut vf1).len(), 1);
    }
}

#[test]
fn a_pf_is_told_once_of_a_change_that_it_asked_for() {
    let (world, mut pf, _other, [vf0, _vf1], _fdb) = switched(3);
    serve(&world, &mut pf);
    pf.events.clear();
    arm(&mut pf, 1);
    let mut vf0 = vf0;
    vf0.close().unwrap();
    vf0.open(NetConfig::default()).unwrap();
    serve(&world, &mut pf);
    let changes: Vec<_> = pf.events.iter().filter(|e| e.event == Event::NIC_VPORT_CHANGE).collect();
    assert_eq!(changes.len(), 1);
    assert_eq!(mlx5_eqe_vport_change::vport_num.get(&changes[0].data), 1);
}

#[test]
fn a_pf_has_a_vfs_link_up_and_down() {
    let (world, mut pf, _other, [mut vf0, mut vf1], _fdb) = switched(4);
    set_state(&mut pf, 1, 0);
    assert!(world.borrow_mut().settle());
    vf0.service().unwrap();
    assert!(!vf0.link_up().unwrap());
    assert_eq!(vf0.port_changes.last(), Some(&mlx5emu_prm::event::PortChange::DOWN));
    vf1.send(&plain(mac(1), mac(2), 64, 1)).unwrap();
    assert_eq!(received(&world, &mut vf0), Vec::<Vec<u8>>::new());
    // Up, though the port is down: VFs reach each other without the wire.
    set_state(&mut pf, 1, 1);
    set_state(&mut pf, 2, 1);
    pf.set_port(mlx5emu_prm::register::PortStatus::DOWN).unwrap();
    assert!(vf0.link_up().unwrap());
    vf1.send(&plain(mac(1), mac(2), 64, 1)).unwrap();
    assert_eq!(received(&world, &mut vf0).len(), 1);
}

#[test]
fn the_pages_of_a_vf_go_back_when_it_does() {
    let (world, mut pf, _other, [vf0, vf1], _fdb) = switched(5);
    let own = pf.pages.held() - 2 * (ENABLE + INIT);
    // Its driver leaves: what it needed goes back.
    goodbye_vf(vf0);
    serve(&world, &mut pf);
    assert_eq!(pf.pages.held(), own + 2 * ENABLE + INIT);
    // The PF ends it with the driver still there.
    pf.command(&about(Opcode::DISABLE_HCA, 2), OUT).unwrap();
    pf.command(&about(Opcode::DISABLE_HCA, 1), OUT).unwrap();
    serve(&world, &mut pf);
    assert_eq!(pf.pages.held(), own);
    drop(vf1.abandon());
    // It may come again.
    enable(&world, &mut pf, 2);
}

#[test]
fn a_vf_goes_with_its_pf() {
    let (world, pf, _other, [vf0, _vf1], _fdb) = switched(6);
    world.borrow_mut().reset(0, ResetKind::Flr);
    drop(pf.abandon());
    let mut host = vf0.abandon();
    let mut word = [0; 4];
    host.bar_read(u64::from(mlx5_init_seg::initializing.bit / 8) & !3, &mut word);
    assert_eq!(word[0] & 0x80, 0x80, "initializing");
}

#[test]
fn a_vf_manages_nobody() {
    let (_world, mut pf, _other, [mut vf0, _vf1], fdb) = switched(7);
    assert_ne!(vf0.refusal(&about(Opcode::ENABLE_HCA, 2), OUT).unwrap().0, Status::OK);
    assert_ne!(vf0.refusal(&fdb.entry(3, mac(3), &[0]), OUT).unwrap().0, Status::OK);
    let mut cmd = input(Opcode::QUERY_NIC_VPORT_CONTEXT, query_nic_vport_context_in::SIZE);
    query_nic_vport_context_in::other_vport.set(&mut cmd, 1);
    assert_ne!(vf0.refusal(&cmd, query_nic_vport_context_out::SIZE).unwrap().0, Status::OK);
    // And a PF names no vport that is not there, nor a TIR in the FDB.
    assert_ne!(pf.refusal(&fdb.entry(3, mac(3), &[3]), OUT).unwrap().0, Status::OK);
    let job = pages::take_job(page_id(&pf, 3), 1);
    assert_ne!(pf.refusal(&job.input, job.out_len).unwrap().0, Status::OK);
}

#[test]
fn a_vf_whose_pf_gives_no_pages_is_refused() {
    let (world, mut pf, _other, [host, _]) = card(8);
    pf.command(&about(Opcode::ENABLE_HCA, 1), OUT).unwrap();
    serve(&world, &mut pf);
    let job = pages::cant_give_job(page_id(&pf, 1));
    pf.command(&job.input, job.out_len).unwrap();
    let refused = Driver::probe(host, Config::default()).err().unwrap();
    assert!(matches!(&refused, Error::Refused { status: Status::NO_RESOURCES, .. }), "{refused}");
}

/// The kernel's order: first the VFs are taken off the bus, then their PF's driver disables them.
#[test]
fn a_vf_that_is_off_the_bus_is_disabled_all_the_same() {
    let (world, mut pf, _other, vfs, _fdb) = switched(10);
    vfs.into_iter().for_each(goodbye_vf);
    // Functions 2 and 3 are the VFs.
    for f in [2, 3] {
        world.borrow_mut().reset(f, ResetKind::Disabled);
    }
    for id in [1, 2] {
        pf.command(&about(Opcode::DISABLE_HCA, id), OUT).unwrap();
        assert_eq!(pf.refusal(&about(Opcode::DISABLE_HCA, id), OUT).unwrap().0, Status::BAD_SYS_STATE);
    }
}

fn goodbye_vf(vf: Drv) {
    let (host, farewell) = vf.remove().unwrap();
    assert_eq!(farewell.pages_given, 0, "a VF's own driver gives none");
    assert_eq!(mlx5emu_driver::Host::dma_in_use(&host), 0, "memory is leaked");
}

#[test]
fn everybody_leaves_in_order() {
    let (world, mut pf, other, vfs, fdb) = switched(9);
    vfs.into_iter().for_each(goodbye_vf);
    for id in [1, 2] {
        pf.command(&about(Opcode::DISABLE_HCA, id), OUT).unwrap();
    }
    serve(&world, &mut pf);
    for index in 0..3u32 {
        let mut cmd = input(Opcode::DELETE_FLOW_TABLE_ENTRY, delete_fte_in::SIZE);
        delete_fte_in::table_type.set(&mut cmd, TableType::FDB.0.into());
        delete_fte_in::table_id.set(&mut cmd, fdb.table.into());
        delete_fte_in::flow_index.set(&mut cmd, index.into());
        pf.command(&cmd, OUT).unwrap();
    }
    let mut cmd = input(Opcode::DESTROY_FLOW_GROUP, destroy_flow_group_in::SIZE);
    destroy_flow_group_in::table_type.set(&mut cmd, TableType::FDB.0.into());
    destroy_flow_group_in::table_id.set(&mut cmd, fdb.table.into());
    destroy_flow_group_in::group_id.set(&mut cmd, fdb.group.into());
    pf.command(&cmd, OUT).unwrap();
    pf.destroy_flow_table(TableType::FDB, fdb.table).unwrap();
    goodbye(pf);
    goodbye(other);
}

/// Puts a vport into a VLAN, with a priority; 0 takes it out.
fn set_vlan(pf: &mut Drv, vport: u32, vlan: u64, priority: u64) {
    use modify_esw_vport_context_in as layout;
    let mut cmd = input(Opcode::MODIFY_ESW_VPORT_CONTEXT, layout::SIZE);
    layout::other_vport.set(&mut cmd, 1);
    layout::vport_number.set(&mut cmd, vport.into());
    let select = layout::field_select.of_mut(&mut cmd);
    esw_vport_context_fields_select::vport_cvlan_strip.set(select, 1);
    esw_vport_context_fields_select::vport_cvlan_insert.set(select, 1);
    let context = layout::esw_vport_context.of_mut(&mut cmd);
    esw_vport_context::vport_cvlan_strip.set(context, (vlan != 0).into());
    esw_vport_context::vport_cvlan_insert.set(context, (vlan != 0).into());
    esw_vport_context::cvlan_id.set(context, vlan);
    esw_vport_context::cvlan_pcp.set(context, priority);
    pf.command(&cmd, OUT).unwrap();
}

fn tagged(frame: &[u8], tci: u16) -> Vec<u8> {
    let [high, low] = tci.to_be_bytes();
    [&frame[..12], &[0x81, 0, high, low], &frame[12..]].concat()
}

#[test]
fn a_vf_in_a_vlan_has_its_tag_put_in_and_taken_out() {
    let (world, mut pf, _other, [mut vf0, mut vf1], _fdb) = switched(10);
    set_vlan(&mut pf, 1, 5, 3);
    let (there, back) = (plain(common::mac(&pf), mac(1), 64, 1), plain(mac(1), common::mac(&pf), 64, 2));
    vf0.send(&there).unwrap();
    assert_eq!(received(&world, &mut pf), [tagged(&there, 0x6005)]);
    // What has a tag keeps it.
    vf0.send(&tagged(&there, 0x0007)).unwrap();
    assert_eq!(received(&world, &mut pf), [tagged(&there, 0x0007)]);
    pf.send(&tagged(&back, 0x6005)).unwrap();
    pf.send(&back).unwrap();
    assert_eq!(received(&world, &mut vf0), [back.clone(), back.clone()]);
    // In the same VLAN, VFs see none of it.
    set_vlan(&mut pf, 2, 5, 0);
    let across = plain(mac(2), mac(1), 64, 3);
    vf0.send(&across).unwrap();
    assert_eq!(received(&world, &mut vf1), [across]);
    set_vlan(&mut pf, 1, 0, 0);
    vf0.send(&there).unwrap();
    assert_eq!(received(&world, &mut pf), [there]);
    // Insertion whatever a frame has is not offered.
    use modify_esw_vport_context_in as layout;
    let mut cmd = input(Opcode::MODIFY_ESW_VPORT_CONTEXT, layout::SIZE);
    layout::other_vport.set(&mut cmd, 1);
    layout::vport_number.set(&mut cmd, 1);
    esw_vport_context_fields_select::vport_cvlan_insert.set(layout::field_select.of_mut(&mut cmd), 1);
    esw_vport_context::vport_cvlan_insert.set(layout::esw_vport_context.of_mut(&mut cmd), 3);
    assert_eq!(pf.refusal(&cmd, OUT).unwrap().0, Status::BAD_PARAM);
}
