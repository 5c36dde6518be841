//! Fault rules for events, work queue entries, memory requests and health, as a driver meets them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Drv, goodbye, mac, opened, plain, probed, rules};
use mlx5emu_driver::command::input;
use mlx5emu_driver::in_process::SharedWorld;
use mlx5emu_driver::sq::SendOptions;
use mlx5emu_driver::{Error, Host, NetConfig};
use mlx5emu_prm::event::PortChange;
use mlx5emu_prm::layouts::mlx5_init_seg;
use mlx5emu_prm::opcode::Opcode;
use mlx5emu_prm::states::{RqState, SqState};
use mlx5emu_prm::wqe::CqeSyndrome;

fn release(world: &SharedWorld) -> usize {
    world.borrow_mut().card().release_fault("x").unwrap()
}

fn held(world: &SharedWorld) -> Vec<String> {
    let state = world.borrow_mut().card().fault_states(Some("x")).unwrap().remove(0);
    state.held.into_iter().map(|held| held.what).collect()
}

fn acted(world: &SharedWorld) -> u64 {
    world.borrow_mut().card().fault_states(None).unwrap().iter().map(|state| state.acted).sum()
}

/// A frame comes from `a` to `b`.
fn passes(a: &mut Drv, b: &mut Drv, n: u64) {
    let frame = plain(mac(b), mac(a), 100, n);
    a.send(&frame).unwrap();
    assert_eq!(b.recv_wait().unwrap().frame, frame);
}

/// The cable of port 0 is cut and mended; says what pf1 was told.
fn cut_and_mend(world: &SharedWorld, b: &mut Drv) -> Vec<PortChange> {
    b.port_changes.clear();
    for up in [false, true] {
        let now = world.borrow().now();
        world.borrow_mut().card().inject_link(0, up, now);
        assert!(world.borrow_mut().settle());
        b.service().unwrap();
    }
    std::mem::take(&mut b.port_changes)
}

#[test]
fn events_are_lost_or_come_twice() {
    let (world, a, mut b) = opened(1, &NetConfig::default());
    rules(&world, &["event type=PORT_CHANGE sub_type=DOWN fn=pf1 => drop"]);
    assert_eq!(cut_and_mend(&world, &mut b), [PortChange::ACTIVE]);
    assert_eq!(cut_and_mend(&world, &mut b), [PortChange::DOWN, PortChange::ACTIVE]);
    rules(&world, &["event type=PORT_CHANGE data.port_num=1 fn=pf1 => twice"]);
    assert_eq!(cut_and_mend(&world, &mut b), [PortChange::DOWN, PortChange::DOWN, PortChange::ACTIVE]);
    rules(&world, &["event type=PORT_CHANGE data.port_num=2 => drop times=all", "event eqn=0xee => drop times=all"]);
    assert_eq!(cut_and_mend(&world, &mut b), [PortChange::DOWN, PortChange::ACTIVE]);
    goodbye(a);
    goodbye(b);
}

#[test]
fn events_come_late() {
    let (world, a, mut b) = opened(2, &NetConfig::default());
    rules(&world, &["event type=PORT_CHANGE fn=pf1 nth=1 => delay=5ms", "x: event type=PORT_CHANGE fn=pf1 => hold"]);
    let began = world.borrow().now();
    // The first waits for a time, the second for the release.
    assert_eq!(cut_and_mend(&world, &mut b), []);
    b.wait_until("the late event", |b| !b.port_changes.is_empty()).unwrap();
    assert!((5_000_000..6_000_000).contains(&(world.borrow().now() - began)));
    assert_eq!(b.port_changes, [PortChange::DOWN]);
    assert_eq!(held(&world).len(), 1);
    assert!(held(&world)[0].starts_with("PORT_CHANGE for EQ "), "{:?}", held(&world));
    assert_eq!(release(&world), 1);
    b.service().unwrap();
    assert_eq!(b.port_changes, [PortChange::DOWN, PortChange::ACTIVE]);
    goodbye(a);
    goodbye(b);
}

#[test]
fn held_events_are_bounded_and_go_with_their_function() {
    let (world, a, mut b) = opened(3, &NetConfig::default());
    rules(&world, &["x: event type=CMD fn=pf1 => hold times=all"]);
    // Completions that are not announced: the driver sees them only by looking.
    let cmd = input(Opcode::QUERY_ADAPTER, 16);
    let ticket = b.submit(&cmd, 0x110).unwrap();
    assert!(matches!(b.wait(ticket), Err(Error::Timeout(_))));
    assert_eq!(held(&world), ["CMD for EQ 0x1"]);
    assert_eq!(release(&world), 1);
    b.wait(ticket).unwrap().ok().unwrap();
    // More than are kept: the rest is written at once.
    rules(&world, &["z: event type=PORT_CHANGE fn=pf1 => hold times=all"]);
    for n in 0..400 {
        let now = world.borrow().now();
        world.borrow_mut().card().inject_link(0, n % 2 == 1, now);
    }
    let states = world.borrow_mut().card().fault_states(Some("z")).unwrap();
    assert!((200..=256).contains(&states[0].held_count), "{}", states[0].held_count);
    world.borrow_mut().card().clear_faults(Some("z")).unwrap();
    // A reset takes what is held.
    let _ = b.submit(&cmd, 0x110).unwrap();
    assert!(world.borrow_mut().settle());
    assert_eq!(held(&world).len(), 1);
    world.borrow_mut().reset(1, mlx5emu_card::ResetKind::Flr);
    assert_eq!(held(&world).len(), 0);
    drop((a, b));
}

#[test]
fn a_send_queue_fails_by_rule_and_can_be_taken_up_again() {
    let (world, mut a, mut b) = opened(4, &NetConfig::default());
    rules(&world, &["wqe op=SEND fn=pf0 nth=3 => syndrome=LOCAL_QP_OP_ERR"]);
    passes(&mut a, &mut b, 1);
    passes(&mut a, &mut b, 2);
    a.send(&plain(mac(&b), mac(&a), 100, 3)).unwrap();
    a.wait_until("an error completion", |a| !a.net().unwrap().channels[0].sq.errors.is_empty()).unwrap();
    let error = a.sq_and_host(0).unwrap().0.errors.remove(0);
    assert_eq!((error.wqe_counter, error.syndrome), (2, CqeSyndrome::LOCAL_QP_OP_ERR));
    assert!(b.recv().unwrap().is_none());
    let sqn = a.net().unwrap().channels[0].sq.number;
    a.modify_sq(sqn, SqState::ERR.0, SqState::RST.0).unwrap();
    a.sq_and_host(0).unwrap().0.reset();
    a.modify_sq(sqn, SqState::RST.0, SqState::RDY.0).unwrap();
    for n in 10..20 {
        passes(&mut a, &mut b, n);
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_receive_queue_fails_by_rule_and_can_be_taken_up_again() {
    let config = NetConfig { refill: false, ..NetConfig::default() };
    let (world, mut a, mut b) = opened(5, &config);
    b.refill(0, 8).unwrap();
    rules(&world, &["wqe side=receive fn=pf1 nth=2 => syndrome=LOCAL_PROT_ERR"]);
    passes(&mut a, &mut b, 1);
    a.send(&plain(mac(&b), mac(&a), 100, 2)).unwrap();
    b.wait_until("an error completion", |b| {
        assert!(b.recv().unwrap().is_none());
        !b.net().unwrap().channels[0].rq.errors.is_empty()
    })
    .unwrap();
    let error = b.rq_and_host(0).unwrap().0.errors.remove(0);
    assert_eq!((error.wqe_counter, error.syndrome), (1, CqeSyndrome::LOCAL_PROT_ERR));
    let rqn = b.net().unwrap().channels[0].rq.number;
    b.modify_rq(rqn, RqState::ERR.0, RqState::RST.0).unwrap();
    let (rq, host) = b.rq_and_host(0).unwrap();
    rq.reset(host);
    b.modify_rq(rqn, RqState::RST.0, RqState::RDY.0).unwrap();
    b.refill(0, 8).unwrap();
    passes(&mut a, &mut b, 3);
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_wqe_or_its_completion_is_lost() {
    for (stage, sent) in [("before", false), ("after", true)] {
        let (world, mut a, mut b) = opened(6, &NetConfig::default());
        rules(&world, &[&format!("wqe op=SEND fn=pf0 => {stage} drop")]);
        let frame = plain(mac(&b), mac(&a), 100, 1);
        a.send(&frame).unwrap();
        assert!(world.borrow_mut().settle());
        a.service().unwrap();
        assert_eq!(b.recv().unwrap().map(|got| got.frame), sent.then(|| frame.clone()), "{stage}");
        assert_eq!(a.net().unwrap().channels[0].sq.outstanding(), 1);
        // The next one completes both.
        passes(&mut a, &mut b, 2);
        a.wait_until("completions", |a| a.net().unwrap().channels[0].sq.outstanding() == 0).unwrap();
        goodbye(a);
        goodbye(b);
    }
}

#[test]
fn send_queues_stand_still_for_a_time_until_a_release_or_a_reset() {
    for action in ["delay=3ms", "hold", "hang", "hold syndrome=LOCAL_QP_OP_ERR"] {
        let (world, mut a, mut b) = opened(7, &NetConfig { channels: 2, ..NetConfig::default() });
        let sqn = a.net().unwrap().channels[0].sq.number;
        rules(&world, &[&format!("x: wqe queue={sqn} fn=pf0 nth=2 => {action}")]);
        passes(&mut a, &mut b, 1);
        let began = world.borrow().now();
        let frames: Vec<_> = (2..6).map(|n| plain(mac(&b), mac(&a), 100, n)).collect();
        a.send_batch(0, &frames).unwrap();
        assert!(world.borrow_mut().settle());
        assert!(b.recv().unwrap().is_none(), "{action}");
        // The other queue goes on, and a doorbell does not help.
        let other = plain(mac(&b), mac(&a), 100, 9);
        a.send_on(1, &other, &SendOptions::default()).unwrap();
        a.ring(0).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame, other);
        match action {
            "hang" => {
                assert!(world.borrow_mut().card().release_fault("x").unwrap_err().contains("does not hold"));
                a.modify_sq(sqn, SqState::RDY.0, SqState::RST.0).unwrap();
                a.sq_and_host(0).unwrap().0.reset();
                a.modify_sq(sqn, SqState::RST.0, SqState::RDY.0).unwrap();
                passes(&mut a, &mut b, 20);
            }
            "delay=3ms" => {
                for frame in &frames {
                    assert_eq!(&b.recv_wait().unwrap().frame, frame);
                }
                assert!((3_000_000..4_000_000).contains(&(world.borrow().now() - began)));
            }
            _ => {
                assert_eq!(held(&world), [format!("SQ {sqn:#x}")]);
                assert_eq!(release(&world), 1);
                if action == "hold" {
                    for frame in &frames {
                        assert_eq!(&b.recv_wait().unwrap().frame, frame);
                    }
                } else {
                    a.wait_until("an error", |a| !a.net().unwrap().channels[0].sq.errors.is_empty()).unwrap();
                    continue;
                }
            }
        }
        goodbye(a);
        goodbye(b);
    }
}

#[test]
fn reads_of_guest_memory_fail_and_writes_get_lost() {
    let (world, mut a, b) = opened(8, &NetConfig::default());
    // The next read of pf0 is that of the doorbell record, then that of the WQE, then of the data.
    rules(&world, &["dma fn=pf0 nth=3 => error=UR"]);
    a.send(&plain(mac(&b), mac(&a), 1000, 1)).unwrap();
    a.wait_until("an error completion", |a| !a.net().unwrap().channels[0].sq.errors.is_empty()).unwrap();
    assert_eq!(a.sq_and_host(0).unwrap().0.errors[0].syndrome, CqeSyndrome::LOCAL_PROT_ERR);
    drop((a, b));

    // A frame of which a part does not arrive; the completion says nothing of it.
    let (world, mut a, mut b) = opened(9, &NetConfig::default());
    rules(&world, &["dma fn=pf1 dir=write nth=1 => drop"]);
    let frame = plain(mac(&b), mac(&a), 200, 1);
    a.send(&frame).unwrap();
    let got = b.recv_wait().unwrap();
    assert_eq!(got.frame.len(), frame.len());
    assert_ne!(got.frame, frame);
    passes(&mut a, &mut b, 2);
    assert_eq!(acted(&world), 1);
    goodbye(a);
    goodbye(b);

    // A command whose entry can't be read is no command.
    let (world, mut a, _b) = probed(10);
    let entry = a.commands().entry_address(0);
    rules(&world, &[&format!("dma fn=pf0 addr={entry:#x}-{:#x} => error=CA", entry + 63)]);
    let ticket = a.submit(&input(Opcode::QUERY_ADAPTER, 16), 0x110).unwrap();
    assert!(matches!(a.wait(ticket), Err(Error::Timeout(_))));
    assert_eq!(acted(&world), 1);
}

#[test]
fn the_driver_finds_firmware_that_failed_when_it_looks() {
    const COUNTER: u64 = 0x1010;
    const SYNDROME: u64 = mlx5_init_seg::health.offset as u64 + 0x3c;
    let (world, mut a, mut b) = probed(11);
    rules(&world, &["health fn=pf0 nth=2 => syndrome=FW_INTERNAL_ERR report"]);
    let synd = |driver: &mut Drv| driver.host.bar_read32(SYNDROME) >> 16 & 0xff;
    a.host.bar_read32(COUNTER);
    let before = synd(&mut a);
    a.host.bar_read32(COUNTER);
    let shown = (before, synd(&mut a), synd(&mut b));
    assert_eq!((acted(&world), shown), (1, (0, 1, 0)));
    a.command(&input(Opcode::QUERY_ADAPTER, 16), 0x110).unwrap();
    rules(&world, &["health fn=pf0 => syndrome=FW_INTERNAL_ERR"]);
    a.host.bar_read32(COUNTER);
    assert_eq!(acted(&world), 2);
    assert!(matches!(a.command(&input(Opcode::QUERY_ADAPTER, 16), 0x110), Err(Error::Timeout(_))));
    rules(&world, &["health fn=pf1 => hang"]);
    b.host.bar_read32(COUNTER);
    let first = b.host.bar_read32(COUNTER);
    for _ in 0..10 {
        b.command(&input(Opcode::QUERY_ADAPTER, 16), 0x110).unwrap();
    }
    assert_eq!(b.host.bar_read32(COUNTER), first);
    drop((a, b));
}

/// Which of `frames` come to `b` now, in order.
fn arrived(world: &SharedWorld, b: &mut Drv, frames: &[Vec<u8>]) -> Vec<usize> {
    assert!(world.borrow_mut().settle());
    let mut order = Vec::new();
    while let Some(got) = b.recv().unwrap() {
        order.push(frames.iter().position(|frame| *frame == got.frame).unwrap());
    }
    order
}

#[test]
fn frames_are_lost_late_or_come_twice_at_ports_and_vports() {
    for place in ["port=p0 dir=out", "port=p1 dir=in", "fn=pf0 dir=out", "fn=pf1 dir=in"] {
        let (world, mut a, mut b) = opened(20, &NetConfig::default());
        let frames: Vec<_> = (0..4).map(|n| plain(mac(&b), mac(&a), 100 + n, n as u64)).collect();
        // The other way, another type and shorter ones are not meant.
        b.send(&plain(mac(&a), mac(&b), 200, 9)).unwrap();
        a.recv_wait().unwrap();
        rules(
            &world,
            &[
                &format!("packet {place} ethertype=0x88b5 min_len=102 => drop"),
                &format!("packet {place} ethertype=0x0800 => drop times=all"),
            ],
        );
        a.send_batch(0, &frames).unwrap();
        assert_eq!(arrived(&world, &mut b, &frames), [0, 1, 3], "{place}");
        world.borrow_mut().card().clear_faults(None).unwrap();

        rules(&world, &[&format!("packet {place} nth=2 => twice")]);
        a.send_batch(0, &frames).unwrap();
        assert_eq!(arrived(&world, &mut b, &frames), [0, 1, 1, 2, 3], "{place}");
        world.borrow_mut().card().clear_faults(None).unwrap();

        rules(&world, &[&format!("packet {place} nth=2 => delay=2ms")]);
        let began = world.borrow().now();
        a.send_batch(0, &frames).unwrap();
        assert_eq!(arrived(&world, &mut b, &frames), [0, 2, 3], "{place}");
        assert_eq!(b.recv_wait().unwrap().frame, frames[1], "{place}");
        assert!((2_000_000..3_000_000).contains(&(world.borrow().now() - began)), "{place}");
        goodbye(a);
        goodbye(b);
    }
}

#[test]
fn what_is_late_for_a_function_goes_with_it() {
    let (world, mut a, mut b) = opened(21, &NetConfig::default());
    rules(&world, &["packet fn=pf1 dir=in => delay=10s times=all"]);
    for n in 0..2000 {
        a.send(&plain(mac(&b), mac(&a), 100, n)).unwrap();
        assert!(world.borrow_mut().settle());
        a.service().unwrap();
    }
    // More than are kept late are lost.
    assert!(b.recv().unwrap().is_none());
    world.borrow_mut().reset(1, mlx5emu_card::ResetKind::Flr);
    world.borrow_mut().card().clear_faults(None).unwrap();
    let host = b.abandon();
    let mut b = mlx5emu_driver::Driver::probe(host, mlx5emu_driver::Config::default()).unwrap();
    b.open(NetConfig::default()).unwrap();
    passes(&mut a, &mut b, 1);
    // The time comes, and nothing with it.
    for _ in 0..50 {
        world.borrow_mut().step();
    }
    assert!(world.borrow().now() > 10_000_000_000);
    assert!(b.recv().unwrap().is_none());
    goodbye(a);
    goodbye(b);
}

#[test]
fn rules_for_places_that_there_are_not_are_refused() {
    let (world, _a, _b) = probed(22);
    for (text, part) in [
        ("packet port=p2 => drop", "this card has the ports p0 to p1"),
        ("packet fn=pf2 => drop", "this card has no function pf2"),
        ("packet port=p0 dir=up => drop", "dir=up: write in or out"),
        ("packet port=p0 ethertype=arp => drop", "ethertype=arp: write a number"),
        ("event type=PORT_CHANGES => drop", "did you mean PORT_CHANGE?"),
        ("event type=PORT_CHANGE sub_type=DWN => drop", "did you mean DOWN?"),
        ("event type=PORT_CHANGE data.number=1 => drop", "data.port_num"),
        ("wqe op=SND => hang", "did you mean SEND"),
        ("wqe side=receive op=SEND => syndrome=LOCAL_PROT_ERR", "have no opcode"),
        ("wqe side=receive => hang", "there is one action"),
        ("wqe => after hang", "only 'drop' is possible"),
        ("wqe => syndrome=LOCAL_PROT_ER", "did you mean LOCAL_PROT_ERR?"),
        ("dma => error=XX", "write UR (Unsupported Request) or CA"),
        ("dma dir=read => drop", "only a write can be lost"),
        ("dma dir=write => error=UR", "memory writes are posted"),
        ("dma addr=5-4 => error=UR", "write the lowest address first"),
        ("health => syndrome=FW_INTERNAL_ER", "did you mean FW_INTERNAL_ERR?"),
    ] {
        let rule = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let error = world.borrow_mut().card().add_faults(&[rule]).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}
