//! Headers split off, and segments that match.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Drv, Flow, Kind, Rng, goodbye, ip_frame, mac, opened, plain, sum, tagged};
use mlx5emu_driver::cq::CqShape;
use mlx5emu_driver::split::SplitShape;
use mlx5emu_driver::striding::StridingShape;
use mlx5emu_driver::{NetConfig, Received, SendOptions};
use mlx5emu_prm::layouts::mlx5_cqe64 as cqe;

const PSH: u8 = 8;
const FIN: u8 = 1;
const ACK: u8 = 16;
/// Headers of TCP over IPv4.
const HEADERS: usize = 14 + 20 + 20;
const MSS: usize = 1000;

/// WQEs of 64 KiB with four reservations.
fn config() -> NetConfig {
    let split = SplitShape { log_reservation: 14, log_packets: 4, timeout: 1024 };
    let shape = StridingShape {
        log_strides: 8,
        log_stride: 8,
        headroom: 0,
        split: Some(split),
        pointer: true,
        ..StridingShape::plain()
    };
    NetConfig { striding: Some(shape), rq_cq: CqShape::plain(12), mtu: 9000, ..NetConfig::default() }
}

#[derive(Clone, Copy)]
struct Segment {
    at: usize,
    len: usize,
    flags: u8,
    id: u16,
    flow: u64,
}

impl Segment {
    fn payload(&self) -> Vec<u8> {
        (self.at..self.at + self.len).map(|n| (n * 7 + n / 251) as u8).collect()
    }
    fn frame(&self, from: &Drv, to: &Drv) -> Vec<u8> {
        let kind = Kind { v6: false, protocol: 6 };
        let mut frame = ip_frame(mac(to), mac(from), kind, &Flow::new(self.flow), &self.payload(), false);
        frame[18..20].copy_from_slice(&self.id.to_be_bytes());
        frame[38..42].copy_from_slice(&(self.at as u32).to_be_bytes());
        frame[47] = self.flags;
        frame
    }
    fn send(&self, from: &mut Drv, to: &Drv) {
        let frame = self.frame(from, to);
        from.send_on(0, &frame, &SendOptions { l3_csum: true, l4_csum: true, ..SendOptions::default() }).unwrap();
    }
}

/// `count` segments from byte `at` on.
fn run(at: usize, count: usize) -> Vec<Segment> {
    let segment = |n: usize| Segment { at: at + n * MSS, len: MSS, flags: ACK, id: n as u16, flow: 1 };
    (0..count).map(segment).collect()
}

fn fill(b: &mut Drv) {
    let full = |d: &mut Drv| d.net().unwrap().channels[0].rq.strides().unwrap().is_full();
    b.wait_until("mapped WQEs", full).unwrap();
}

/// Sends segments, and takes them in: whether each matched and flushed.
fn exchange(a: &mut Drv, b: &mut Drv, segments: &[Segment]) -> Vec<(bool, bool)> {
    segments
        .iter()
        .map(|segment| {
            fill(b);
            segment.send(a, b);
            let got = b.recv_wait().unwrap();
            assert_eq!(got.frame.len(), HEADERS + segment.len);
            assert_eq!(got.field(cqe::shampo_header_size) as usize, HEADERS);
            assert_eq!(got.frame[HEADERS..], segment.payload());
            assert_eq!(got.field(cqe::check_sum) as u16, sum(&got.frame[14..]));
            marks(&got)
        })
        .collect()
}

fn marks(got: &Received) -> (bool, bool) {
    (got.field(cqe::shampo_match) == 1, got.field(cqe::shampo_flush) == 1)
}

#[test]
fn segments_in_order_match_and_lie_behind_each_other() {
    let (_, mut a, mut b) = opened(1, &config());
    let mut segments = run(0, 8);
    segments[7].flags |= PSH;
    let mut expected = vec![(true, false); 8];
    (expected[0], expected[7]) = ((false, false), (true, true));
    assert_eq!(exchange(&mut a, &mut b, &segments), expected);
    // Nothing continues what was flushed; a short one is the last.
    let mut segments = run(8 * MSS, 3);
    segments[2].len = 10;
    assert_eq!(exchange(&mut a, &mut b, &segments), [(false, false), (true, false), (true, true)]);
    // All ids the same, or growing: but not both.
    let mut segments = run(20_000, 4);
    segments[1].id = 0;
    segments[2].id = 0;
    segments[3].id = 1;
    assert_eq!(exchange(&mut a, &mut b, &segments), [(false, false), (true, false), (true, false), (false, false)]);
    goodbye(a);
    goodbye(b);
}

#[test]
fn what_does_not_continue_does_not_match() {
    let (_, mut a, mut b) = opened(2, &config());
    let first = run(0, 1)[0];
    let next = Segment { at: MSS, id: 1, ..first };
    let followers = [
        (Segment { at: 5000, ..next }, false, "a gap"),
        (Segment { at: 0, ..next }, false, "a repetition"),
        (Segment { flow: 2, ..next }, false, "another flow"),
        (Segment { len: MSS + 1, ..next }, false, "longer than the first"),
        (Segment { flags: ACK | 0x20, ..next }, true, "URG"),
        (Segment { flags: ACK | 2, ..next }, true, "SYN"),
        (Segment { len: 0, ..next }, true, "no payload"),
        (Segment { id: 7, ..next }, false, "another id"),
    ];
    for (follower, flush, what) in followers {
        let got = exchange(&mut a, &mut b, &[first, follower]);
        assert_eq!(got, [(false, false), (false, flush)], "{what}");
    }
    let got = exchange(&mut a, &mut b, &[first, Segment { flags: ACK | FIN, ..next }]);
    assert_eq!(got, [(false, false), (true, true)]);
    goodbye(a);
    goodbye(b);
}

#[test]
fn time_ends_what_matches() {
    let mut config = config();
    if let Some(split) = config.striding.as_mut().and_then(|shape| shape.split.as_mut()) {
        split.timeout = 0;
    }
    let (_, mut a, mut b) = opened(3, &config);
    assert_eq!(exchange(&mut a, &mut b, &run(0, 3)), [(false, false); 3]);
    goodbye(a);
    goodbye(b);
}

#[test]
fn other_packets_are_whole() {
    let (_, mut a, mut b) = opened(4, &config());
    let udp = Kind { v6: true, protocol: 17 };
    let flow = Flow::new(3);
    let datagram = ip_frame(mac(&b), mac(&a), udp, &flow, &[7; 300], true);
    let other = plain(mac(&b), mac(&a), 700, 1);
    let sent = [datagram.clone(), other.clone(), tagged(&datagram, 0x8100, 5)];
    for n in 0..300 {
        fill(&mut b);
        a.send(&sent[n % 3]).unwrap();
        let got = b.recv_wait().unwrap();
        let expected = if n % 3 == 1 { &other } else { &datagram };
        assert_eq!(got.frame, *expected);
        assert_eq!(marks(&got), (false, true));
        assert_eq!(got.field(cqe::shampo_header_size), if n % 3 == 1 { 0 } else { 14 + 40 + 8 });
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn reservations_and_entries_go_round() {
    let (_, mut a, mut b) = opened(5, &config());
    let mut rng = Rng::new(5);
    let (mut at, mut matched) = (0, 0);
    for round in 0..400u64 {
        let count = 1 + rng.below(20) as usize;
        let len = 1 + rng.below(if round % 3 == 0 { 8900 } else { 300 }) as usize;
        let segments: Vec<_> = (0..count)
            .map(|n| Segment { at: at + n * len, len, flags: ACK, id: n as u16, flow: 1 + round % 2 })
            .collect();
        matched += exchange(&mut a, &mut b, &segments).iter().filter(|marks| marks.0).count();
        at += count * len + usize::from(rng.below(2) == 0);
    }
    assert!(matched > 1000, "{matched}");
    goodbye(a);
    goodbye(b);
}
