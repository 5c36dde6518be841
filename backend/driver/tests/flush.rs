//! Receive queues that fail: what was posted is flushed.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Drv, goodbye, mac, opened, plain};
use mlx5emu_driver::cq::CqShape;
use mlx5emu_driver::rq::ReceiveError;
use mlx5emu_driver::striding::StridingShape;
use mlx5emu_driver::{Host, NetConfig};
use mlx5emu_prm::states::RqState;
use mlx5emu_prm::wqe::CqeSyndrome;

/// What flushed WQEs are told.
fn flushed(wqe_counter: u16) -> ReceiveError {
    ReceiveError { wqe_counter, syndrome: CqeSyndrome::WR_FLUSH_ERR, vendor: 0xf9 }
}

fn cyclic() -> NetConfig {
    NetConfig { refill: false, ..NetConfig::default() }
}

fn striding(linked: bool) -> NetConfig {
    let shape = StridingShape { linked, ..StridingShape::plain() };
    let rq_cq = CqShape::plain(shape.log_size + shape.log_strides);
    NetConfig { striding: Some(shape), rq_cq, refill: false, ..NetConfig::default() }
}

/// Posts receive WQEs, as many as there are or can be.
fn post(b: &mut Drv, count: usize) {
    b.refill(0, count).unwrap();
    b.wait_until("posted WQEs", |b| b.net().unwrap().channels[0].rq.posted() == count).unwrap();
}

fn errors(b: &mut Drv, count: usize) -> Vec<ReceiveError> {
    b.wait_until("error completions", |b| {
        assert!(b.recv().unwrap().is_none());
        b.net().unwrap().channels[0].rq.errors.len() >= count
    })
    .unwrap();
    std::mem::take(&mut b.rq_and_host(0).unwrap().0.errors)
}

fn modify(b: &mut Drv, from: RqState, to: RqState) {
    let rqn = b.net().unwrap().channels[0].rq.number;
    b.modify_rq(rqn, from.0, to.0).unwrap();
}

/// To RST and RDY again, without what was posted.
fn reset(b: &mut Drv) {
    modify(b, RqState::ERR, RqState::RST);
    let (rq, host) = b.rq_and_host(0).unwrap();
    rq.reset(host);
    modify(b, RqState::RST, RqState::RDY);
}

/// The same, and it works.
fn revive(a: &mut Drv, b: &mut Drv) {
    reset(b);
    post(b, 64);
    for n in 0..64 {
        let frame = plain(mac(b), mac(a), 100, n);
        a.send(&frame).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame, frame);
    }
}

#[test]
fn modify_to_err_flushes_what_is_posted() {
    let (world, mut a, mut b) = opened(1, &cyclic());
    post(&mut b, 64);
    for n in 0..10 {
        let frame = plain(mac(&b), mac(&a), 100, n);
        a.send(&frame).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame, frame);
    }
    modify(&mut b, RqState::RDY, RqState::ERR);
    assert_eq!(errors(&mut b, 54), (10..64).map(flushed).collect::<Vec<_>>());
    // What is posted now is nobody's, and packets are dropped.
    b.refill(0, 5).unwrap();
    a.send(&plain(mac(&b), mac(&a), 100, 1)).unwrap();
    assert!(world.borrow_mut().settle());
    assert!(b.recv().unwrap().is_none());
    assert_eq!(errors(&mut b, 0), []);
    revive(&mut a, &mut b);
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_wqe_that_fails_takes_the_others_with_it() {
    let (_, mut a, mut b) = opened(2, &cyclic());
    post(&mut b, 64);
    let (rq, host) = b.rq_and_host(0).unwrap();
    rq.spoil(host, 1);
    for n in 0..3 {
        a.send(&plain(mac(&b), mac(&a), 100, n)).unwrap();
    }
    assert_eq!(b.recv_wait().unwrap().frame.len(), 100);
    let got = errors(&mut b, 63);
    assert_eq!(got[0], ReceiveError { wqe_counter: 1, syndrome: CqeSyndrome::LOCAL_PROT_ERR, vendor: 0x51 });
    assert_eq!(got[1..], (2..64).map(flushed).collect::<Vec<_>>());
    revive(&mut a, &mut b);
    goodbye(a);
    goodbye(b);
}

#[test]
fn striding_wqes_are_flushed_with_the_strides_that_are_left() {
    for linked in [true, false] {
        let (_, mut a, mut b) = opened(3, &striding(linked));
        post(&mut b, 7);
        for n in 0..21 {
            a.send(&plain(mac(&b), mac(&a), 1000, n)).unwrap();
            assert_eq!(b.recv_wait().unwrap().frame, plain(mac(&b), mac(&a), 1000, n));
        }
        // 16 strides a WQE, one a packet: one WQE is used up, of the next one 5.
        modify(&mut b, RqState::RDY, RqState::ERR);
        let rest = [5, 0, 0, 0, 0, 0].map(flushed);
        assert_eq!(errors(&mut b, 6), rest);
        assert_eq!(b.net().unwrap().channels[0].rq.posted(), 0);
        reset(&mut b);
        goodbye(a);
        goodbye(b);
    }
}

#[test]
fn a_striding_wqe_that_fails_is_lost_with_the_others() {
    let (_, mut a, mut b) = opened(4, &striding(true));
    post(&mut b, 7);
    // The list starts with 0 and goes on with 7.
    let (rq, host) = b.rq_and_host(0).unwrap();
    rq.spoil(host, 7);
    for n in 0..17 {
        a.send(&plain(mac(&b), mac(&a), 1000, n)).unwrap();
    }
    for _ in 0..16 {
        assert_eq!(b.recv_wait().unwrap().frame.len(), 1000);
    }
    let got = errors(&mut b, 6);
    assert_eq!(got[0], ReceiveError { wqe_counter: 0, syndrome: CqeSyndrome::LOCAL_PROT_ERR, vendor: 0x51 });
    assert_eq!(got[1..], [0; 5].map(flushed));
    reset(&mut b);
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_counter_far_ahead_flushes_no_more_than_the_ring() {
    let mut config = cyclic();
    (config.rq.log_size, config.rq_cq.log_size) = (3, 10);
    let (world, a, mut b) = opened(5, &config);
    post(&mut b, 8);
    let (rq, host) = b.rq_and_host(0).unwrap();
    let record = rq.record();
    host.store_release_be32(record, 40_000);
    modify(&mut b, RqState::RDY, RqState::ERR);
    assert!(world.borrow_mut().settle());
    assert_eq!(errors(&mut b, 8).len(), 8);
    reset(&mut b);
    goodbye(a);
    goodbye(b);
}
