//! Compressed completions.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Drv, Flow, Kind, Rng, goodbye, ip_frame, mac, opened, plain, sum, tagged};
use mlx5emu_driver::cq::{Cq, CqShape};
use mlx5emu_driver::decompress::MiniFormat;
use mlx5emu_driver::striding::StridingShape;
use mlx5emu_driver::{NetConfig, Received};
use mlx5emu_prm::field::Field;
use mlx5emu_prm::layouts::{cqc, create_cq_in, create_cq_out, mlx5_cqe64 as cqe};
use mlx5emu_prm::opcode::Status;
use proptest::prelude::*;

const UDP4: Kind = Kind { v6: false, protocol: 17 };

/// Queues that hold long bursts.
fn config(compression: Option<MiniFormat>) -> NetConfig {
    let mut config = NetConfig::default();
    (config.sq.log_size, config.sq_cq.log_size, config.rq.log_size) = (8, 8, 8);
    config.rq_cq = CqShape { compression, ..CqShape::plain(8) };
    config
}

/// The same with striding queues.
fn striding(compression: Option<MiniFormat>) -> NetConfig {
    let shape = StridingShape { log_stride: 6, log_strides: 8, headroom: 0, ..StridingShape::plain() };
    let rq_cq = CqShape { compression, ..CqShape::plain(shape.log_size + shape.log_strides) };
    NetConfig { striding: Some(shape), rq_cq, ..config(None) }
}

fn rq_cq(driver: &Drv) -> &Cq {
    &driver.net().unwrap().channels[0].rq.cq
}

/// Sends a batch and takes it in, in order.
fn exchange(a: &mut Drv, b: &mut Drv, frames: &[Vec<u8>]) -> Vec<Received> {
    let full = |d: &mut Drv| d.net().unwrap().channels[0].rq.strides().is_none_or(|s| s.is_full());
    b.wait_until("mapped WQEs", full).unwrap();
    a.send_batch(0, frames).unwrap();
    frames
        .iter()
        .map(|frame| {
            let got = b.recv_wait().unwrap();
            assert_eq!(got.frame, *frame);
            got
        })
        .collect()
}

/// UDP datagrams of one flow, of random lengths.
fn datagrams(a: &Drv, b: &Drv, rng: &mut Rng, count: usize) -> Vec<Vec<u8>> {
    let flow = Flow::new(7);
    let mut frame = |_| {
        let len = 30 + rng.below(400) as usize;
        ip_frame(mac(b), mac(a), UDP4, &flow, &rng.bytes(len), true)
    };
    (0..count).map(&mut frame).collect()
}

#[test]
fn bursts_of_every_length_come_as_sessions_with_their_checksums() {
    for config in [config(Some(MiniFormat::Checksum)), striding(Some(MiniFormat::ChecksumStride))] {
        let (_, mut a, mut b) = opened(1, &config);
        let mut rng = Rng::new(1);
        for count in (1..=20).chain([63, 64, 65, 66, 100]) {
            let frames = datagrams(&a, &b, &mut rng, count);
            for (got, frame) in exchange(&mut a, &mut b, &frames).iter().zip(&frames) {
                assert_eq!(got.field(cqe::check_sum) as u16, sum(&frame[14..]));
                assert_eq!((got.field(cqe::l3_ok), got.field(cqe::l4_ok), got.field(cqe::l4_hdr_type)), (1, 1, 2));
            }
        }
        let compressed = &rq_cq(&b).decompressor;
        assert!(compressed.completions > 300, "{compressed:?}");
        assert!(compressed.sessions > 20, "{compressed:?}");
        goodbye(a);
        goodbye(b);
    }
}

#[test]
fn a_packet_alone_is_not_compressed() {
    let (_, mut a, mut b) = opened(2, &config(Some(MiniFormat::Checksum)));
    for n in 0..50 {
        let frame = plain(mac(&b), mac(&a), 100, n);
        exchange(&mut a, &mut b, &[frame]);
    }
    assert_eq!(rq_cq(&b).decompressor.sessions, 0);
    goodbye(a);
    goodbye(b);
}

#[test]
fn hashes_are_in_their_format() {
    let frames = |a: &Drv, b: &Drv, rng: &mut Rng| -> Vec<Vec<u8>> {
        (0..40).map(|n| ip_frame(mac(b), mac(a), UDP4, &Flow::new(n), &rng.bytes(60), true)).collect()
    };
    let mut hashes = Vec::new();
    for compression in [None, Some(MiniFormat::Hash)] {
        let (_, mut a, mut b) = opened(3, &config(compression));
        let sent = frames(&a, &b, &mut Rng::new(3));
        let got = exchange(&mut a, &mut b, &sent);
        hashes.push(got.iter().map(|got| got.field(cqe::rss_hash_result)).collect::<Vec<_>>());
        assert_eq!(rq_cq(&b).decompressor.completions > 30, compression.is_some());
        goodbye(a);
        goodbye(b);
    }
    assert_eq!(hashes[0], hashes[1]);
    assert!(hashes[0].iter().any(|hash| *hash != hashes[0][0]));
}

/// What a CQE says that must not be lost by compression.
const KEPT: [Field; 9] = [
    cqe::byte_cnt,
    cqe::check_sum,
    cqe::l3_ok,
    cqe::l4_ok,
    cqe::l3_hdr_type,
    cqe::l4_hdr_type,
    cqe::cv,
    cqe::vlan_info,
    cqe::qpn,
];

/// Frames of many kinds, in runs.
fn mixture(a: &Drv, b: &Drv, rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for _ in 0..12 {
        let kind = Kind { v6: rng.below(2) == 1, protocol: rng.pick(&[6, 17, 89]) };
        let (tag, good, count) = (rng.pick(&[None, None, Some(5), Some(6)]), rng.below(4) > 0, 1 + rng.below(9));
        for _ in 0..count {
            let payload = 20 + rng.below(200) as usize;
            let mut frame = ip_frame(mac(b), mac(a), kind, &Flow::new(rng.below(3)), &rng.bytes(payload), good);
            if let Some(vid) = tag {
                frame = tagged(&frame, 0x8100, vid);
            }
            frames.push(frame);
        }
    }
    frames
}

#[test]
fn what_differs_is_not_lost() {
    let mut runs = Vec::new();
    for compression in [None, Some(MiniFormat::Checksum)] {
        let (_, mut a, mut b) = opened(4, &config(compression));
        let mut rng = Rng::new(4);
        let mut seen = Vec::new();
        for _ in 0..30 {
            let frames = mixture(&a, &b, &mut rng);
            a.send_batch(0, &frames).unwrap();
            for _ in 0..frames.len() {
                let got = b.recv_wait().unwrap();
                seen.push((got.frame.clone(), KEPT.map(|field| got.field(field))));
            }
        }
        runs.push(seen);
        if compression.is_some() {
            assert!(rq_cq(&b).decompressor.completions > 500);
        }
        goodbye(a);
        goodbye(b);
    }
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn a_full_queue_fails_with_what_fits_written() {
    let mut config = config(Some(MiniFormat::Checksum));
    config.rq_cq.log_size = 4;
    let (world, mut a, mut b) = opened(5, &config);
    let frames = datagrams(&a, &b, &mut Rng::new(5), 40);
    a.send_batch(0, &frames).unwrap();
    a.wait_until("the sends", |a| a.net().unwrap().channels[0].sq.outstanding() == 0).unwrap();
    for frame in &frames[..16] {
        assert_eq!(b.recv_wait().unwrap().frame, *frame);
    }
    assert!(b.recv().unwrap().is_none());
    let seen = world.borrow_mut().card().inspect();
    let failed =
        seen["functions"]["pf1"]["cqs"].as_object().unwrap().values().filter(|cq| !cq["failed"].is_null()).count();
    assert_eq!(failed, 1);
}

#[test]
fn what_is_not_offered_is_refused() {
    let (_, mut a, b) = opened(6, &NetConfig::default());
    let bad = Status::BAD_PARAM;
    let cases = [
        (cqc::mini_cqe_res_format, 0, Status::OK),
        (cqc::mini_cqe_res_format, 3, Status::OK),
        (cqc::mini_cqe_res_format, 2, bad),
        (cqc::cqe_compression_layout, 1, bad),
        (cqc::cqe_sz, 1, bad),
        (cqc::cc, 1, bad),
    ];
    for (field, value, expected) in cases {
        let (_, mut command) = a.prepare_cq(CqShape::plain(2), 0).unwrap();
        let context = create_cq_in::cq_context.of_mut(&mut command);
        cqc::cqe_comp_en.set(context, 1);
        field.set(context, value);
        let (status, _) = a.refusal(&command, create_cq_out::SIZE).unwrap();
        assert_eq!(status, expected, "{} {value}", field.name);
    }
    drop(b);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rings_of_any_size_wrap_within_sessions(
        log_rq in 1u32..=6,
        more in 0u32..=2,
        format in prop_oneof![Just(MiniFormat::Hash), Just(MiniFormat::Checksum), Just(MiniFormat::ChecksumStride)],
        period in prop_oneof![Just((0, 0)), (1u16..64, 1u16..16)],
        strides in any::<bool>(),
        seed in any::<u64>(),
    ) {
        // Without stride indices the driver counts strides itself.
        let mut config = if strides { striding(Some(format)) } else { config(Some(format)) };
        if !strides {
            config.rq.log_size = log_rq;
            config.rq_cq.log_size = log_rq + more;
        }
        (config.rq_cq.period, config.rq_cq.max_count) = period;
        let (_, mut a, mut b) = opened(seed, &config);
        let mut rng = Rng::new(seed);
        for _ in 0..60 {
            let count = 1 + rng.below(if strides { 60 } else { 1 << log_rq }) as usize;
            let frames = datagrams(&a, &b, &mut rng, count);
            exchange(&mut a, &mut b, &frames);
        }
        goodbye(a);
        goodbye(b);
    }
}
