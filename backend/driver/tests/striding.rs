//! Striding receive queues and the memory that UMR maps into them.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Drv, Rng, goodbye, mac, opened, plain, tagged};
use mlx5emu_driver::cq::CqShape;
use mlx5emu_driver::in_process::InProcess;
use mlx5emu_driver::sq::Sq;
use mlx5emu_driver::striding::{Mapping, StridingShape};
use mlx5emu_driver::{Host, NetConfig};
use mlx5emu_prm::capability::{CapMode, CapType};
use mlx5emu_prm::layouts::{
    cmd_hca_cap_2, mkc, mlx5_cqe64 as cqe, mlx5_wqe_ctrl_seg as ctrl, mlx5_wqe_umr_ctrl_seg as umr,
};
use mlx5emu_prm::states::SqState;
use mlx5emu_prm::wqe::{CqeSyndrome, MkeyMask, WqeOpcode};
use proptest::prelude::*;

fn config(shape: StridingShape) -> NetConfig {
    NetConfig {
        striding: Some(shape),
        rq_cq: CqShape::plain(shape.log_size + shape.log_strides),
        mtu: 9000,
        ..NetConfig::default()
    }
}

/// Waits for the WQEs that are being mapped, so that no packet is dropped for want of one.
fn fill(driver: &mut Drv) {
    let full = |d: &mut Drv| d.net().unwrap().channels[0].rq.strides().unwrap().is_full();
    driver.wait_until("mapped WQEs", full).unwrap();
}

/// Frames there and back; the longest has `max` bytes.
fn exchange(a: &mut Drv, b: &mut Drv, rounds: u64, max: u64) {
    let mut rng = Rng::new(rounds);
    for round in 0..rounds {
        let len = 60 + rng.below(if round % 3 == 0 { max - 60 } else { 200 }) as usize;
        fill(a);
        fill(b);
        let there = plain(mac(b), mac(a), len, round);
        a.send(&there).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame, there, "round {round}, {len} bytes");
        let back = plain(mac(a), mac(b), len, !round);
        b.send(&back).unwrap();
        assert_eq!(a.recv_wait().unwrap().frame, back, "round {round}, {len} bytes");
    }
}

fn fillers(driver: &Drv) -> u64 {
    driver.net().unwrap().channels[0].rq.strides().unwrap().fillers
}

#[test]
fn packets_share_a_wqe_and_what_is_left_of_it_is_filled() {
    let (_, mut a, mut b) =
        opened(1, &config(StridingShape { log_stride: 6, log_strides: 8, headroom: 0, ..StridingShape::plain() }));
    exchange(&mut a, &mut b, 2000, 1500);
    assert!(fillers(&a) > 20 && fillers(&b) > 20);
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_packet_a_stride_needs_no_filler() {
    let (_, mut a, mut b) = opened(2, &config(StridingShape::plain()));
    exchange(&mut a, &mut b, 1000, 1900);
    assert_eq!((fillers(&a), fillers(&b)), (0, 0));
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_page_may_be_as_small_as_the_capability_says() {
    let shape = StridingShape { mapping: Mapping::SmallMtt, ..StridingShape::plain() };
    let (_, mut a, mut b) = opened(5, &config(shape));
    let caps = a.query_hca_cap(CapType::GENERAL_2, CapMode::CUR).unwrap();
    assert_eq!(1usize << cmd_hca_cap_2::log_min_mkey_entity_size.get(&caps), shape.unit());
    exchange(&mut a, &mut b, 500, 1900);
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_tag_is_stripped_in_strides_too() {
    let (_, mut a, mut b) = opened(3, &config(StridingShape::plain()));
    let frame = plain(mac(&b), mac(&a), 300, 1);
    a.send(&tagged(&frame, 0x8100, 77)).unwrap();
    let got = b.recv_wait().unwrap();
    assert_eq!(got.frame, frame);
    assert_eq!((got.field(cqe::cv), got.field(cqe::vlan_info), got.field(cqe::mpwrq_byte_cnt)), (1, 77, 300));
    goodbye(a);
    goodbye(b);
}

#[test]
fn without_a_mapped_wqe_packets_are_counted_and_dropped() {
    let mut config = config(StridingShape { log_size: 1, log_strides: 3, ..StridingShape::plain() });
    config.refill = false;
    let (_, mut a, mut b) = opened(4, &config);
    b.refill(0, 1).unwrap();
    b.wait_until("a posted WQE", |b| b.net().unwrap().channels[0].rq.posted() == 1).unwrap();
    for n in 0..12 {
        a.send(&plain(mac(&b), mac(&a), 100, n)).unwrap();
    }
    for n in 0..8 {
        assert_eq!(b.recv_wait().unwrap().frame, plain(mac(&b), mac(&a), 100, n));
    }
    let set = b.net().unwrap().counter_set;
    let dropped = b.out_of_buffer(set).unwrap();
    assert_eq!(dropped, 4);
    goodbye(a);
    goodbye(b);
}

/// Posts `wqe` on the UMR queue, or on a queue that is none; the error that it ends with.
fn post(a: &mut Drv, umr_queue: bool, wqe: &[u8]) -> Option<CqeSyndrome> {
    fn queue(a: &mut Drv, umr_queue: bool) -> (&mut Sq, &mut InProcess) {
        if umr_queue { a.icosq_and_host(0).unwrap() } else { a.sq_and_host(0).unwrap() }
    }
    a.wait_until("the first WQEs", |a| queue(a, umr_queue).0.outstanding() == 0).unwrap();
    let (sq, host) = queue(a, umr_queue);
    sq.post_raw(host, wqe, true).unwrap();
    sq.ring(host);
    a.wait_until("the completion", |a| queue(a, umr_queue).0.outstanding() == 0).unwrap();
    let (sq, host) = queue(a, umr_queue);
    let failed = sq.errors.pop()?;
    host.store_release_be32(sq.record() + 4, 0);
    sq.reset();
    let sqn = sq.number;
    for (from, to) in [(SqState::ERR, SqState::RST), (SqState::RST, SqState::RDY)] {
        a.modify_sq(sqn, from.0, to.0).unwrap();
    }
    Some(failed.syndrome)
}

/// What a UMR WQE ends with that changes what `fill` says of the key that `pick` picks: the one over the queue's memory
/// or the one of all memory. The queue works afterwards as before.
fn umr_error(umr_queue: bool, pick: impl Fn(u32, u32) -> u32, fill: impl Fn(&mut [u8])) -> Option<CqeSyndrome> {
    let (_, mut a, mut b) = opened(5, &config(StridingShape::plain()));
    let net = a.net().unwrap();
    let (over, all) = (net.channels[0].rq.strides().unwrap().mkey(), net.mkey);
    let mut wqe = vec![0u8; ctrl::SIZE + umr::SIZE + mkc::SIZE];
    ctrl::opcode.set(&mut wqe, WqeOpcode::UMR.0.into());
    ctrl::ds.set(&mut wqe, (ctrl::SIZE + umr::SIZE + mkc::SIZE) as u64 / 16);
    ctrl::ce.set(&mut wqe, 2);
    ctrl::umr_mkey.set(&mut wqe, pick(over, all).into());
    fill(&mut wqe);
    let failed = post(&mut a, umr_queue, &wqe);
    let frame = plain(mac(&a), mac(&b), 100, 1);
    b.send(&frame).unwrap();
    assert_eq!(a.recv_wait().unwrap().frame, frame);
    goodbye(a);
    goodbye(b);
    failed
}

#[test]
fn a_umr_wqe_that_can_not_be_executed_changes_nothing_and_fails() {
    let control = ctrl::SIZE;
    let free = |wqe: &mut [u8]| umr::mkey_mask.set(&mut wqe[control..], MkeyMask::FREE.0);
    assert_eq!(umr_error(true, |over, _| over, free), None);
    assert_eq!(umr_error(false, |over, _| over, free), Some(CqeSyndrome::LOCAL_QP_OP_ERR), "not a UMR queue");
    assert_eq!(umr_error(true, |_, all| all, free), Some(CqeSyndrome::MW_BIND_ERR), "not a UMR key");
    assert_eq!(umr_error(true, |over, _| over + 1, free), Some(CqeSyndrome::MW_BIND_ERR), "low byte");
    assert_eq!(umr_error(true, |_, _| 0xffff_ff00, free), Some(CqeSyndrome::MW_BIND_ERR), "no such key");
    let long = |wqe: &mut [u8]| {
        umr::inline_xlt.set(&mut wqe[control..], 1);
        umr::xlt_octowords.set(&mut wqe[control..], 4);
    };
    assert_eq!(umr_error(true, |over, _| over, long), Some(CqeSyndrome::LOCAL_QP_OP_ERR), "list longer than the WQE");
    let bits = |wqe: &mut [u8]| umr::mkey_mask.set(&mut wqe[control..], MkeyMask::PD.0);
    assert_eq!(umr_error(true, |over, _| over, bits), Some(CqeSyndrome::LOCAL_QP_OP_ERR), "the PD can't change");
    let size = |wqe: &mut [u8]| {
        umr::mkey_mask.set(&mut wqe[control..], MkeyMask::PAGE_SIZE.0);
        mkc::log_page_size.set(&mut wqe[control + umr::SIZE..], 3);
    };
    assert_eq!(umr_error(true, |over, _| over, size), Some(CqeSyndrome::MW_BIND_ERR), "pages of 8 bytes");
    let not_free = |wqe: &mut [u8]| umr::check_not_free.set(&mut wqe[control..], 1);
    assert_eq!(umr_error(true, |over, _| over, not_free), Some(CqeSyndrome::MW_BIND_ERR), "it is in use");
}

#[test]
fn a_queue_without_a_tis_sends_no_frame() {
    let (_, mut a, mut b) = opened(6, &config(StridingShape::plain()));
    for opcode in [WqeOpcode::SEND, WqeOpcode::LSO, WqeOpcode::ENHANCED_MPSW] {
        let mut wqe = vec![0u8; ctrl::SIZE + 16];
        ctrl::opcode.set(&mut wqe, opcode.0.into());
        ctrl::ds.set(&mut wqe, 2);
        ctrl::ce.set(&mut wqe, 2);
        assert_eq!(post(&mut a, true, &wqe), Some(CqeSyndrome::LOCAL_QP_OP_ERR), "{opcode}");
    }
    exchange(&mut a, &mut b, 100, 1500);
    goodbye(a);
    goodbye(b);
}

fn shape() -> impl Strategy<Value = StridingShape> {
    let mapping =
        prop_oneof![Just(Mapping::Mtt), Just(Mapping::SmallMtt), Just(Mapping::Ksm), Just(Mapping::Klm(3000))];
    (2u32..=5, 3u32..=8, 6u32..=13, any::<bool>(), 0usize..500, mapping, any::<bool>()).prop_map(
        |(log_size, log_strides, log_stride, linked, headroom, mapping, pointer)| {
            // At most 256 KiB a WQE, and room for the longest packet.
            let log_stride = log_stride.clamp(11u32.saturating_sub(log_strides), 18 - log_strides);
            // Ranges shorter than their unit hold a packet each.
            let (log_stride, log_strides) =
                if matches!(mapping, Mapping::Klm(_)) { (12, log_strides.min(6)) } else { (log_stride, log_strides) };
            StridingShape { log_size, log_strides, log_stride, linked, headroom, mapping, split: None, pointer }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_come_through_strides_of_any_shape(shape in shape(), seed in any::<u64>()) {
        let mut config = config(shape);
        config.rq_cq.log_size = config.rq_cq.log_size.max(4);
        let (_, mut a, mut b) = opened(seed, &config);
        // The last packet of a WQE lies by the headroom behind it, in what the driver calls garbage.
        let wqe = 1u64 << (shape.log_strides + shape.log_stride);
        let longest = if matches!(shape.mapping, Mapping::Klm(_)) { 2400 } else { 9000 };
        exchange_inside(&mut a, &mut b, &shape, 200, longest.min(wqe));
        goodbye(a);
        goodbye(b);
    }
}

/// As [`exchange`], but the part of a packet that the headroom moves behind its WQE does not count.
fn exchange_inside(a: &mut Drv, b: &mut Drv, shape: &StridingShape, rounds: u64, max: u64) {
    let mut rng = Rng::new(rounds);
    let wqe = 1usize << (shape.log_strides + shape.log_stride);
    for round in 0..rounds {
        let len = 60 + rng.below(max - 60) as usize;
        fill(b);
        let frame = plain(mac(b), mac(a), len, round);
        a.send(&frame).unwrap();
        let got = b.recv_wait().unwrap();
        let start = shape.headroom + ((got.field(cqe::wqe_counter) as usize) << shape.log_stride);
        let inside = wqe.next_multiple_of(shape.unit()).saturating_sub(start).min(len);
        assert_eq!(got.frame.len(), len);
        assert_eq!(got.frame[..inside], frame[..inside], "round {round}, {len} bytes, {inside} of them inside");
    }
}
