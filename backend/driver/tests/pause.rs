//! Pause: a receiver without buffers holds its partner off.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Drv, goodbye, mac, opened, plain};
use mlx5emu_card::ResetKind;
use mlx5emu_driver::NetConfig;
use mlx5emu_driver::in_process::SharedWorld;
use mlx5emu_prm::layouts::{
    eth_802_3_cntrs_grp_data_layout as ieee, eth_per_prio_grp_data_layout as prio, pfcc_reg, ppcnt_reg,
};
use mlx5emu_prm::opcode::Status;
use mlx5emu_prm::register::{AccessRegMode, PpcntGroup, Register};

/// Receive WQEs that the slow side has.
const WQES: usize = 15;

fn slow() -> NetConfig {
    let mut config = NetConfig { refill: false, ..NetConfig::default() };
    config.rq.log_size = 4;
    config
}

/// Writes PFCC, or reads it; as it is afterwards.
fn pfcc(driver: &mut Drv, set: Option<(bool, bool)>) -> (u64, u64, u64, u64) {
    let mut data = vec![0; pfcc_reg::SIZE];
    pfcc_reg::local_port.set(&mut data, 1);
    let mode = match set {
        None => AccessRegMode::READ,
        Some((tx, rx)) => {
            pfcc_reg::pptx.set(&mut data, tx.into());
            pfcc_reg::pprx.set(&mut data, rx.into());
            AccessRegMode::WRITE
        }
    };
    let out = driver.access_register(Register::PFCC, mode, 0, &data).unwrap();
    (pfcc_reg::pptx.get(&out), pfcc_reg::aptx.get(&out), pfcc_reg::pprx.get(&out), pfcc_reg::aprx.get(&out))
}

/// A group of the port's counters.
fn ppcnt(driver: &mut Drv, group: PpcntGroup) -> Vec<u8> {
    let mut data = vec![0; ppcnt_reg::SIZE];
    ppcnt_reg::local_port.set(&mut data, 1);
    ppcnt_reg::grp.set(&mut data, group.0.into());
    let out = driver.access_register(Register::PPCNT, AccessRegMode::READ, 0, &data).unwrap();
    ppcnt_reg::counter_set.of(&out).to_vec()
}

/// Pause frames sent and received.
fn pauses(driver: &mut Drv) -> (u64, u64) {
    let set = ppcnt(driver, PpcntGroup::IEEE_802_3_COUNTERS_GROUP);
    (ieee::a_pause_mac_ctrl_frames_transmitted_low.get(&set), ieee::a_pause_mac_ctrl_frames_received_low.get(&set))
}

fn out_of_buffer(world: &SharedWorld, function: &str) -> u64 {
    let tree = world.borrow_mut().card().inspect();
    let queues = tree["functions"][function]["queues"].as_object().unwrap().clone();
    queues.values().filter_map(|queue| queue["out_of_buffer"].as_u64()).sum()
}

/// Frames that wait at a port.
fn waiting(world: &SharedWorld, port: usize) -> u64 {
    world.borrow_mut().card().inspect()["ports"][port]["pause"]["waiting"].as_u64().unwrap()
}

fn frames(a: &Drv, b: &Drv, count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|n| plain(mac(b), mac(a), 60 + n as usize, n)).collect()
}

/// Two ports; the second is slow and pauses its partner, which heeds that.
fn paired(seed: u64) -> (SharedWorld, Drv, Drv) {
    let (world, mut a, mut b) = opened(seed, &slow());
    pfcc(&mut a, Some((false, true)));
    pfcc(&mut b, Some((true, false)));
    for driver in [&mut a, &mut b] {
        driver.refill(0, WQES).unwrap();
    }
    (world, a, b)
}

fn settle(world: &SharedWorld) {
    assert!(world.borrow_mut().settle(), "there is no end to it");
}

/// Takes what has come, posting a WQE for each frame, until `count` have come.
fn drain(b: &mut Drv, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|_| {
            let frame = b.recv_wait().unwrap().frame;
            b.refill(0, 1).unwrap();
            frame
        })
        .collect()
}

#[test]
fn without_pause_frames_are_lost_and_with_it_none() {
    for (tx, rx) in [(false, false), (true, false), (false, true), (true, true)] {
        let (world, mut a, mut b) = paired(3);
        assert_eq!(pfcc(&mut a, Some((false, rx))), (0, 0, rx.into(), rx.into()));
        assert_eq!(pfcc(&mut b, Some((tx, false))), (tx.into(), tx.into(), 0, 0));
        let sent = frames(&a, &b, 50);
        a.send_batch(0, &sent).unwrap();
        settle(&world);
        if tx && rx {
            assert_eq!(waiting(&world, 1), 50 - WQES as u64);
            assert_eq!(drain(&mut b, 50), sent);
            settle(&world);
            assert_eq!((waiting(&world, 1), out_of_buffer(&world, "pf1")), (0, 0));
            assert_eq!((pauses(&mut a), pauses(&mut b)), ((0, 2), (2, 0)));
            let set = ppcnt(&mut a, PpcntGroup::PER_PRIORITY_COUNTERS_GROUP);
            assert_eq!((prio::rx_pause_low.get(&set), prio::rx_pause_transition_low.get(&set)), (2, 1));
            assert!(prio::rx_pause_duration_low.get(&set) > 0);
        } else {
            assert_eq!(waiting(&world, 1), 0);
            assert_eq!(drain(&mut b, WQES), sent[..WQES]);
            assert_eq!(out_of_buffer(&world, "pf1"), 50 - WQES as u64);
            assert_eq!((pauses(&mut a), pauses(&mut b)), ((0, 0), (0, 0)));
        }
        goodbye(a);
        goodbye(b);
    }
}

#[test]
fn who_is_held_off_sends_nothing_and_waits_without_work() {
    let (world, mut a, mut b) = paired(4);
    let sent = frames(&a, &b, 20);
    a.send_batch(0, &sent).unwrap();
    settle(&world);
    let more = frames(&a, &b, 40);
    a.send_batch(0, &more).unwrap();
    settle(&world);
    assert_eq!(waiting(&world, 1), 20 - WQES as u64, "a has sent though it is held off");
    assert!(!world.borrow_mut().card().has_work(0), "a spins while it is held off");
    // A tenth of a second, in which little happens.
    let (from, mut steps) = (world.borrow().now(), 0);
    while world.borrow().now() < from + 100_000_000 {
        assert!(world.borrow_mut().step());
        steps += 1;
    }
    assert!(steps < 3000, "{steps} steps");
    assert_eq!(drain(&mut b, 60), [sent, more].concat());
    // The other direction was not held off: b has no rx pause, and a no tx pause.
    b.send(&plain(mac(&a), mac(&b), 100, 1)).unwrap();
    a.recv_wait().unwrap();
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_receiver_that_never_posts_buffers_stops_its_partner_for_a_time_only() {
    let (world, mut a, mut b) = paired(5);
    let sent = frames(&a, &b, 40);
    a.send_batch(0, &sent).unwrap();
    settle(&world);
    let from = world.borrow().now();
    while waiting(&world, 1) > 0 {
        assert!(world.borrow_mut().step());
        assert!(world.borrow().now() < from + 2_000_000_000, "the frames wait for ever");
    }
    assert_eq!(out_of_buffer(&world, "pf1"), 40 - WQES as u64);
    settle(&world);
    assert_eq!(drain(&mut b, WQES), sent[..WQES]);
    let last = frames(&a, &b, 1);
    a.send_batch(0, &last).unwrap();
    assert_eq!(drain(&mut b, 1), last);
    goodbye(a);
    goodbye(b);
}

#[test]
fn what_waits_is_bounded_and_goes_with_the_function_or_the_link() {
    let (world, mut a, b) = paired(6);
    // One burst is all that is under way when the partner is held off.
    let sent: Vec<_> = (0..60).map(|n| plain(mac(&b), mac(&a), 1500, n)).collect();
    for _ in 0..20 {
        a.send_batch(0, &sent[..10]).unwrap();
        settle(&world);
    }
    assert!(waiting(&world, 1) <= 64, "{}", waiting(&world, 1));
    world.borrow_mut().reset(1, ResetKind::Flr);
    settle(&world);
    assert_eq!(waiting(&world, 1), 0);
    // a is let go: what it had posted is sent (and lost: the link is down).
    let from = world.borrow().now();
    while world.borrow_mut().step() && world.borrow().now() < from + 10_000_000 {}
    assert!(!world.borrow_mut().card().was_paused(0));
    goodbye(a);
}

#[test]
fn a_pause_frame_from_the_wire_is_heeded_for_its_time_and_goes_to_no_queue() {
    let (world, mut a, mut b) = paired(7);
    pfcc(&mut b, Some((false, true)));
    let control = |quanta: u16, opcode: u16| {
        let mut frame = plain([1, 0x80, 0xc2, 0, 0, 1], [2, 0, 0, 0, 0, 9], 60, 0);
        frame[12..18].copy_from_slice(&[[0x88, 0x08], opcode.to_be_bytes(), quanta.to_be_bytes()].concat());
        frame
    };
    let before = world.borrow().now();
    a.send(&control(0xffff, 1)).unwrap();
    settle(&world);
    b.send(&plain(mac(&a), mac(&b), 100, 1)).unwrap();
    settle(&world);
    assert!(a.recv().unwrap().is_none(), "b has sent though it is held off");
    a.recv_wait().unwrap();
    // 65535 quanta of 512 bit times at 100 Gbit/s are 335 µs.
    assert!(world.borrow().now() >= before + 335_000);
    a.send(&control(0xffff, 1)).unwrap();
    settle(&world);
    b.send(&plain(mac(&a), mac(&b), 100, 2)).unwrap();
    settle(&world);
    assert!(a.recv().unwrap().is_none());
    a.send(&control(0, 1)).unwrap();
    settle(&world);
    assert!(a.recv().unwrap().is_some(), "b does not go on though it may");
    a.send(&control(0xffff, 0x101)).unwrap();
    a.send(&control(1, 1)[..16]).unwrap();
    settle(&world);
    assert!(b.recv().unwrap().is_none());
    let set = ppcnt(&mut b, PpcntGroup::IEEE_802_3_COUNTERS_GROUP);
    assert_eq!(ieee::a_pause_mac_ctrl_frames_received_low.get(&set), 3);
    assert_eq!(ieee::a_unsupported_opcodes_received_low.get(&set), 1);
    assert_eq!(ieee::a_mac_control_frames_received_low.get(&set), 4);
    goodbye(a);
    goodbye(b);
}

#[test]
fn priority_flow_control_is_refused() {
    let (_world, mut a, _b) = paired(8);
    let mut data = vec![0; pfcc_reg::SIZE];
    pfcc_reg::local_port.set(&mut data, 1);
    pfcc_reg::pfctx.set(&mut data, 0x08);
    pfcc_reg::prio_mask_tx.set(&mut data, 0xff);
    let refused = a.access_register(Register::PFCC, AccessRegMode::WRITE, 0, &data).unwrap_err();
    assert!(refused.to_string().contains(&Status::BAD_PARAM.to_string()), "{refused}");
    assert_eq!(pfcc(&mut a, None), (0, 0, 1, 1));
}

/// A slow receiver, and a fast one: the log of every command and every transfer.
fn run(seed: u64) -> String {
    let (world, mut a, mut b) = paired(seed);
    world.borrow_mut().start_log();
    for round in 0..5 {
        let sent = frames(&a, &b, 30 + round);
        a.send_batch(0, &sent).unwrap();
        assert_eq!(drain(&mut b, sent.len()), sent);
    }
    goodbye(a);
    goodbye(b);
    let mut world = world.borrow_mut();
    world.take_log()
}

#[test]
fn the_same_seed_pauses_alike() {
    for seed in 0..20 {
        assert!(run(seed) == run(seed), "seed {seed}: the logs differ");
    }
    assert_ne!(run(0), run(1));
}
