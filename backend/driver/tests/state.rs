//! What the card says of its objects, and what it does when a queue runs over.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Drv, goodbye, mac, opened, plain};
use mlx5emu_driver::NetConfig;
use mlx5emu_driver::command::input;
use mlx5emu_driver::sq::SendOptions;
use mlx5emu_prm::event::Event;
use mlx5emu_prm::field::Field;
use mlx5emu_prm::layouts::{
    cqc, eqc, mlx5_eqe_cq_err, mlx5_eqe_qp_srq, modify_cq_in, query_cq_in, query_cq_out, query_eq_in, query_eq_out,
    query_hca_cap_in, query_rq_in, query_rq_out, query_rqt_in, query_rqt_out, query_sq_in, query_sq_out, query_tir_in,
    query_tir_out, rqc, rqtc, sqc, tirc, wq,
};
use mlx5emu_prm::opcode::{Opcode, Status};

fn query(driver: &mut Drv, opcode: Opcode, field: Field, number: u32, out_len: usize) -> Vec<u8> {
    let mut cmd = input(opcode, 16);
    field.set(&mut cmd, number.into());
    driver.command(&cmd, out_len).unwrap()
}

#[test]
fn queries_tell_what_is() {
    let mut config = NetConfig { channels: 2, log_rqt: 3, ..NetConfig::default() };
    config.rq.page_offset = 192;
    let (_, mut a, mut b) = opened(1, &config);
    for n in 0..10 {
        a.send(&plain(mac(&b), mac(&a), 100, n)).unwrap();
        b.recv_wait().unwrap();
    }
    a.wait_until("completions", |a| a.net().unwrap().channels[0].sq.outstanding() == 0).unwrap();
    let channel = &a.net().unwrap().channels[0];
    let (sqn, cqn, sq_record) = (channel.sq.number, channel.sq.cq.number, channel.sq.record());
    let out = query(&mut a, Opcode::QUERY_SQ, query_sq_in::sqn, sqn, query_sq_out::SIZE);
    let context = query_sq_out::sq_context.of(&out);
    assert_eq!((sqc::state.get(context), sqc::cqn.get32(context)), (1, cqn));
    let queue = sqc::wq.of(context);
    assert_eq!((wq::dbr_addr.get(queue), wq::log_wq_sz.get(queue)), (sq_record, 6));
    let out = query(&mut a, Opcode::QUERY_CQ, query_cq_in::cqn, cqn, query_cq_out::SIZE);
    let context = query_cq_out::cq_context.of(&out);
    assert_eq!((cqc::producer_counter.get(context), cqc::log_cq_size.get(context)), (10, 6));
    assert_eq!(cqc::status.get(context), 0);

    let channel = &b.net().unwrap().channels[0];
    let (rqn, tirn) = (channel.rq.number, channel.tirn);
    let other = b.net().unwrap().channels[1].rq.number;
    let out = query(&mut b, Opcode::QUERY_RQ, query_rq_in::rqn, rqn, query_rq_out::SIZE + 0x100);
    let context = query_rq_out::rq_context.of(&out);
    assert_eq!((rqc::state.get(context), wq::page_offset.get(rqc::wq.of(context))), (1, 3));
    let out = query(&mut b, Opcode::QUERY_TIR, query_tir_in::tirn, tirn, query_tir_out::SIZE);
    assert_eq!(tirc::inline_rqn.get32(query_tir_out::tir_context.of(&out)), rqn);
    let rqtn = b.create_rqt(8, &[rqn, other]).unwrap();
    b.modify_rqt(rqtn, &[other, rqn, other]).unwrap();
    let out = query(&mut b, Opcode::QUERY_RQT, query_rqt_in::rqtn, rqtn, query_rqt_out::SIZE + 0x40);
    let context = query_rqt_out::rqt_context.of(&out);
    assert_eq!((rqtc::rqt_max_size.get(context), rqtc::rqt_actual_size.get(context)), (8, 3));
    let listed: Vec<u32> =
        (0..3).map(|n| mlx5emu_prm::layouts::rq_num::rq_num.get32(rqtc::rq_num.at(context, n))).collect();
    assert_eq!(listed, [other, rqn, other]);
    assert!(b.modify_rqt(rqtn, &[rqn; 9]).is_err(), "more than the table holds");
    assert!(b.modify_rqt(rqtn, &[0xff_ffff]).is_err(), "a queue that is not there");
    b.destroy_rqt(rqtn).unwrap();
    // The EQs are armed: nothing waits in them.
    for number in 1..=3 {
        let out = query(&mut b, Opcode::QUERY_EQ, query_eq_in::eq_number, number, query_eq_out::SIZE);
        let context = query_eq_out::eq_context_entry.of(&out);
        assert_eq!(eqc::status.get(context), 0);
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn what_is_not_there_is_refused() {
    let (_, mut a, b) = opened(2, &NetConfig::default());
    for (opcode, field) in [
        (Opcode::QUERY_SQ, query_sq_in::sqn),
        (Opcode::QUERY_RQ, query_rq_in::rqn),
        (Opcode::QUERY_CQ, query_cq_in::cqn),
        (Opcode::QUERY_TIR, query_tir_in::tirn),
        (Opcode::QUERY_RQT, query_rqt_in::rqtn),
    ] {
        for number in [0u32, 0xff_fffe] {
            let mut cmd = input(opcode, 16);
            field.set(&mut cmd, number.into());
            assert_ne!(a.refusal(&cmd, 0x400).unwrap().0, Status::OK, "{opcode} {number:#x}");
        }
    }
    // A number of the other kind of queue is not one of this kind.
    let channel = &a.net().unwrap().channels[0];
    let (sqn, rqn) = (channel.sq.number, channel.rq.number);
    assert!(a.destroy_rq(sqn).is_err());
    assert!(a.destroy_sq(rqn).is_err());
    assert!(a.modify_sq(rqn, 1, 3).is_err());
    assert!(a.modify_sq(sqn, 0, 1).is_err(), "the command names a state that the queue is not in");
    // A capability group that is not offered, and another function.
    let mut cmd = input(Opcode::QUERY_HCA_CAP, 16);
    query_hca_cap_in::op_mod.set(&mut cmd, 0x7f << 1);
    assert_ne!(a.refusal(&cmd, 0x1010).unwrap().0, Status::OK);
    query_hca_cap_in::op_mod.set(&mut cmd, 1);
    query_hca_cap_in::other_function.set(&mut cmd, 1);
    assert_ne!(a.refusal(&cmd, 0x1010).unwrap().0, Status::OK);
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_completion_queue_that_runs_over_is_told_and_hurts_only_itself() {
    let mut config = NetConfig::default();
    config.sq_cq.log_size = 2;
    let (world, mut a, mut b) = opened(3, &config);
    let cqn = a.net().unwrap().channels[0].sq.cq.number;
    // Sixteen completions into a queue of four, and the driver does not look.
    for n in 0..16 {
        a.post(0, &plain(mac(&b), mac(&a), 100, n), &SendOptions::default()).unwrap();
    }
    a.ring(0).unwrap();
    assert!(world.borrow_mut().settle());
    let _ = a.service();
    let told = a.events.iter().find(|e| e.event == Event::CQ_ERROR).expect("no CQ_ERROR event");
    assert_eq!(mlx5_eqe_cq_err::cqn.get32(&told.data) & 0xff_ffff, cqn);
    assert_eq!(mlx5_eqe_cq_err::syndrome.get(&told.data), 1);
    // The send queue, whose completions are lost, does not go on, and that is told, too.
    let sqn = a.net().unwrap().channels[0].sq.number;
    let told = a.events.iter().find(|e| e.event == Event::WQ_CATAS_ERROR).expect("no WQ_CATAS_ERROR event");
    assert_eq!(mlx5_eqe_qp_srq::qp_srq_n.get32(&told.data), sqn);
    let out = query(&mut a, Opcode::QUERY_CQ, query_cq_in::cqn, cqn, query_cq_out::SIZE);
    assert_eq!(cqc::status.get(query_cq_out::cq_context.of(&out)), 9);
    let out = query(&mut a, Opcode::QUERY_SQ, query_sq_in::sqn, sqn, query_sq_out::SIZE);
    assert_eq!(sqc::state.get(query_sq_out::sq_context.of(&out)), 3);
    // The commands work, and the other function's queues too.
    assert!(a.link_up().unwrap());
    while b.recv().unwrap().is_some() {}
    let frame = plain(mac(&a), mac(&b), 100, 1);
    b.send(&frame).unwrap();
    assert_eq!(a.recv_wait().unwrap().frame, frame);
    goodbye(b);
    world.borrow_mut().reset(0, mlx5emu_card::ResetKind::Conventional);
    let host = a.abandon();
    drop(host);
}

#[test]
fn udp_is_segmented_without_sequence_numbers() {
    let (_, mut a, mut b) = opened(4, &NetConfig::default());
    for v6 in [false, true] {
        let kind = common::Kind { v6, protocol: 17 };
        let payload = common::Rng::new(9).bytes(2500);
        let frame = common::ip_frame(mac(&b), mac(&a), kind, &common::Flow::new(5), &payload, false);
        let header = frame.len() - payload.len();
        let options = SendOptions { inline: header, mss: 1000, l3_csum: true, l4_csum: true, unsignaled: false };
        a.send_on(0, &frame, &options).unwrap();
        let mut whole = Vec::new();
        for part in [1000usize, 1000, 500] {
            let got = b.recv_wait().unwrap().frame;
            let right = common::ip_frame(
                mac(&b),
                mac(&a),
                kind,
                &common::Flow::new(5),
                &payload[whole.len()..whole.len() + part],
                true,
            );
            assert_eq!(got[header - 8..], right[header - 8..], "UDP header and payload");
            whole.extend_from_slice(&got[header..]);
        }
        assert_eq!(whole, payload);
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_frame_too_long_costs_its_receive_wqe_and_no_more() {
    let mut config = NetConfig::default();
    config.rq.frags = vec![256];
    let (_, mut a, mut b) = opened(5, &config);
    for n in 0..200u64 {
        a.send(&plain(mac(&b), mac(&a), 257 + n as usize, n)).unwrap();
        let frame = plain(mac(&b), mac(&a), 256, n);
        a.send(&frame).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame, frame);
    }
    assert_eq!(b.net().unwrap().receive_errors, 200);
    goodbye(a);
    goodbye(b);
}

/// When the event of the first completion is due, and when after the second.
fn deadlines(from_completions: bool) -> (u64, u64) {
    let mut config = NetConfig::default();
    (config.rq_cq.period, config.rq_cq.max_count) = (4000, 100);
    let (world, mut a, mut b) = opened(6, &config);
    let cqn = b.net().unwrap().channels[0].rq.cq.number;
    let mut cmd = input(Opcode::MODIFY_CQ, modify_cq_in::SIZE);
    modify_cq_in::cqn.set(&mut cmd, cqn.into());
    modify_cq_in::modify_field_select_resize_field_select.set(&mut cmd, 1 << 4);
    cqc::cq_period_mode.set(modify_cq_in::cq_context.of_mut(&mut cmd), from_completions.into());
    b.command(&cmd, 16).unwrap();
    let produced = |world: &mlx5emu_driver::in_process::SharedWorld| {
        let tree = world.borrow_mut().card().inspect();
        tree["functions"]["pf1"]["cqs"][cqn.to_string()]["producer"].as_u64().unwrap()
    };
    let due = [1, 2].map(|count| {
        a.send(&plain(mac(&b), mac(&a), 100, count)).unwrap();
        while produced(&world) < count {
            assert!(world.borrow_mut().step(), "frame {count} does not come");
        }
        world.borrow_mut().card().next_deadline(1).unwrap()
    });
    // The event does come.
    b.recv_wait().unwrap();
    b.recv_wait().unwrap();
    goodbye(a);
    goodbye(b);
    (due[0], due[1])
}

#[test]
fn moderation_counts_from_the_event_or_from_the_last_completion() {
    let (first, second) = deadlines(false);
    assert_eq!(first, second);
    let (first, second) = deadlines(true);
    assert!(first < second, "{first} {second}");
}

/// A period that is shorter than it takes to wake a thread ends with the burst; what comes in one burst shares its event.
#[test]
fn a_short_period_of_moderation_ends_with_the_burst() {
    let mut config = NetConfig::default();
    (config.rq_cq.period, config.rq_cq.max_count) = (8, 100);
    let (world, mut a, mut b) = opened(7, &config);
    let events = |b: &Drv| b.net().unwrap().channels[0].rq.cq.events();
    for round in 0..10 {
        let before = events(&b);
        let frames: Vec<_> = (0..20).map(|n| plain(mac(&b), mac(&a), 100, round * 20 + n)).collect();
        a.send_batch(0, &frames).unwrap();
        assert!(world.borrow_mut().settle());
        assert_eq!(world.borrow_mut().card().next_deadline(1), None);
        for frame in &frames {
            assert_eq!(b.recv().unwrap().unwrap().frame, *frame);
        }
        // Nothing is left: the driver takes the event and wants the next.
        assert!(b.recv().unwrap().is_none());
        b.service().unwrap();
        assert!(world.borrow_mut().settle());
        assert_eq!(events(&b) - before, 1, "round {round}");
    }
    goodbye(a);
    goodbye(b);
}

/// A driver that polls of itself takes what a period of moderation was started for, and arms: the next completion has its event
/// all the same, though a burst ends meanwhile.
#[test]
fn no_event_is_lost_when_the_driver_looks_before_the_period_is_over() {
    let mut config = NetConfig::default();
    // A little longer than what a burst's end anticipates.
    (config.rq_cq.period, config.rq_cq.max_count) = (12, 100);
    for others in 0..60 {
        let (world, mut a, mut b) = opened(8, &config);
        let frame = plain(mac(&b), mac(&a), 100, 1);
        a.send(&frame).unwrap();
        assert!(world.borrow_mut().settle());
        b.look().unwrap();
        assert_eq!(b.recv().unwrap().unwrap().frame, frame);
        assert!(b.recv().unwrap().is_none());
        // Each of these is a burst, and a quarter of a microsecond.
        for n in 0..others {
            b.send(&plain(mac(&a), mac(&b), 100, n)).unwrap();
            assert!(world.borrow_mut().settle());
        }
        let frame = plain(mac(&b), mac(&a), 100, 2);
        a.send(&frame).unwrap();
        assert_eq!(b.recv_wait().unwrap_or_else(|e| panic!("after {others} others: {e}")).frame, frame);
        goodbye(a);
        goodbye(b);
    }
}
