//! Frames that a function sends to itself.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Drv, goodbye, mac, opened, plain};
use mlx5emu_driver::NetConfig;
use mlx5emu_driver::command::input;
use mlx5emu_prm::layouts::{
    modify_nic_vport_context_in as vport, modify_nic_vport_field_select as select, modify_tir_bitmask, modify_tir_in,
    nic_vport_context, query_vport_counter_out as counters, tirc, traffic_counter,
};
use mlx5emu_prm::opcode::Opcode;

const UNICAST: u64 = 1;
const MULTICAST: u64 = 2;
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 9];

/// Which of its own frames the TIR of what is not IP takes.
fn tir_takes(driver: &mut Drv, bits: u64) {
    let mut cmd = input(Opcode::MODIFY_TIR, modify_tir_in::SIZE);
    modify_tir_in::tirn.set(&mut cmd, driver.net().unwrap().channels[0].tirn.into());
    modify_tir_bitmask::self_lb_en.set(modify_tir_in::bitmask.of_mut(&mut cmd), 1);
    tirc::self_lb_block.set(modify_tir_in::ctx.of_mut(&mut cmd), bits);
    driver.command(&cmd, 16).unwrap();
}

/// Switches the vport's loopback off or on.
fn vport_blocks(driver: &mut Drv, unicast: bool, multicast: bool) {
    let mut cmd = input(Opcode::MODIFY_NIC_VPORT_CONTEXT, vport::nic_vport_context.offset + nic_vport_context::SIZE);
    let fields = vport::field_select.of_mut(&mut cmd);
    select::disable_uc_local_lb.set(fields, 1);
    select::disable_mc_local_lb.set(fields, 1);
    let context = vport::nic_vport_context.of_mut(&mut cmd);
    nic_vport_context::disable_uc_local_lb.set(context, unicast.into());
    nic_vport_context::disable_mc_local_lb.set(context, multicast.into());
    driver.command(&cmd, 16).unwrap();
    let now = driver.nic_vport_context().unwrap();
    assert_eq!(nic_vport_context::disable_uc_local_lb.is_set(&now), unicast);
    assert_eq!(nic_vport_context::disable_mc_local_lb.is_set(&now), multicast);
}

/// Which of the two got what `a` sent to `dst`.
fn who_gets(world: &mlx5emu_driver::in_process::SharedWorld, a: &mut Drv, b: &mut Drv, dst: [u8; 6]) -> (bool, bool) {
    let frame = plain(dst, mac(a), 90, 7);
    a.send(&frame).unwrap();
    assert!(world.borrow_mut().settle());
    let got = |driver: &mut Drv| driver.recv().unwrap().inspect(|got| assert_eq!(got.frame, frame)).is_some();
    (got(a), got(b))
}

#[test]
fn address_vport_and_tir_have_a_say() {
    let everything = NetConfig { promiscuous: true, all_multicast: true, ..NetConfig::default() };
    let (world, mut a, mut b) = opened(1, &everything);
    let (me, you) = (mac(&a), mac(&b));
    // (vport blocks unicast, multicast; TIR takes; what comes back to a, what reaches b) for a's address, group, broadcast.
    for (blocks, takes, own, group) in [
        // A TIR takes no frames of its own domain unless told to, and a's own address is not for the wire.
        ((false, false), 0, (false, false), (false, true)),
        ((false, false), UNICAST, (true, false), (false, true)),
        ((false, false), MULTICAST, (false, false), (true, true)),
        ((false, false), UNICAST | MULTICAST, (true, false), (true, true)),
        ((true, false), UNICAST | MULTICAST, (false, true), (true, true)),
        ((false, true), UNICAST | MULTICAST, (true, false), (false, true)),
    ] {
        vport_blocks(&mut a, blocks.0, blocks.1);
        tir_takes(&mut a, takes);
        let case = format!("vport blocks {blocks:?}, TIR takes {takes}");
        assert_eq!(who_gets(&world, &mut a, &mut b, me), own, "own address: {case}");
        assert_eq!(who_gets(&world, &mut a, &mut b, GROUP), group, "group: {case}");
        assert_eq!(who_gets(&world, &mut a, &mut b, [0xff; 6]), group, "broadcast: {case}");
        assert_eq!(who_gets(&world, &mut a, &mut b, you), (false, true), "the other's address: {case}");
    }
    // Three unicast frames came back, and three times a group's and a broadcast.
    let told = a.vport_counters().unwrap();
    let looped = counters::local_loopback.of(&told);
    assert_eq!((traffic_counter::packets.get(looped), traffic_counter::octets.get(looped)), (9, 9 * 90));
    assert_eq!(traffic_counter::packets.get(counters::received_eth_unicast.of(&told)), 3);
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_group_nobody_asked_for_does_not_come_back() {
    let (world, mut a, mut b) = opened(2, &NetConfig::default());
    tir_takes(&mut a, MULTICAST);
    assert_eq!(who_gets(&world, &mut a, &mut b, GROUP), (false, false));
    assert_eq!(who_gets(&world, &mut a, &mut b, [0xff; 6]), (true, true));
    goodbye(a);
    goodbye(b);
}
