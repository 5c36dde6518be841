//! TCP segments that become one packet.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Drv, Flow, Kind, goodbye, ip_frame, mac, opened, plain, sum};
use mlx5emu_driver::cq::CqShape;
use mlx5emu_driver::striding::StridingShape;
use mlx5emu_driver::{NetConfig, Received, SendOptions};
use mlx5emu_prm::layouts::mlx5_cqe64 as cqe;

const PSH: u8 = 8;
const ACK: u8 = 16;
/// Bytes of a segment's payload.
const MSS: usize = 1000;

fn config(timeout: u16) -> NetConfig {
    let shape = StridingShape { log_strides: 10, log_stride: 8, headroom: 0, ..StridingShape::plain() };
    NetConfig { striding: Some(shape), rq_cq: CqShape::plain(12), lro: Some(timeout), ..NetConfig::default() }
}

/// A segment: where its payload starts in the stream, its length and flags.
#[derive(Clone, Copy)]
struct Segment {
    v6: bool,
    at: usize,
    len: usize,
    flags: u8,
    ttl: u8,
    flow: u64,
}

impl Segment {
    fn new(at: usize, len: usize) -> Self {
        Self { v6: false, at, len, flags: ACK, ttl: 64, flow: 1 }
    }
    fn headers(&self) -> usize {
        if self.v6 { 14 + 40 + 20 } else { 14 + 20 + 20 }
    }
    fn payload(&self) -> Vec<u8> {
        (self.at..self.at + self.len).map(|n| (n * 7 + n / 251) as u8).collect()
    }
    fn frame(&self, from: &Drv, to: &Drv) -> Vec<u8> {
        let kind = Kind { v6: self.v6, protocol: 6 };
        let mut frame = ip_frame(mac(to), mac(from), kind, &Flow::new(self.flow), &self.payload(), false);
        frame[if self.v6 { 21 } else { 22 }] = self.ttl;
        let tcp = self.headers() - 20;
        frame[tcp + 4..tcp + 8].copy_from_slice(&(self.at as u32).to_be_bytes());
        frame[tcp + 8..tcp + 12].copy_from_slice(&(5000 + self.at as u32).to_be_bytes());
        frame[tcp + 13] = self.flags;
        frame[tcp + 14..tcp + 16].copy_from_slice(&(self.at as u16).wrapping_add(100).to_be_bytes());
        frame
    }
    fn send(&self, from: &mut Drv, to: &Drv) {
        let frame = self.frame(from, to);
        from.send_on(0, &frame, &SendOptions { l3_csum: !self.v6, l4_csum: true, ..SendOptions::default() }).unwrap();
    }
}

/// The segments from byte `at` on, the last with PSH.
fn run(at: usize, count: usize) -> Vec<Segment> {
    let mut all: Vec<_> = (0..count).map(|n| Segment::new(at + n * MSS, MSS)).collect();
    all.last_mut().unwrap().flags |= PSH;
    all
}

/// Segments and payload of a packet.
fn shape(got: &Received, headers: usize) -> (u32, Vec<u8>) {
    (got.field(cqe::lro_num_seg), got.frame[headers..].to_vec())
}

#[test]
fn a_run_becomes_one_packet_with_the_fields_of_all() {
    let (_, mut a, mut b) = opened(1, &config(1000));
    for v6 in [false, true] {
        let mut segments = run(0, 9);
        segments.iter_mut().for_each(|s| s.v6 = v6);
        segments[4].ttl = 60;
        segments[8].len = 300;
        segments.iter().for_each(|s| s.send(&mut a, &b));
        let got = b.recv_wait().unwrap();
        let all = Segment { len: 8 * MSS + 300, ..segments[0] };
        assert_eq!(shape(&got, all.headers()), (9, all.payload()));
        assert_eq!(got.field(cqe::mpwrq_byte_cnt) as usize, got.frame.len());
        assert_eq!((got.field(cqe::min_ttl), got.field(cqe::tcppsh)), (60, 1));
        assert_eq!((got.field(cqe::ack_seq_num), got.field(cqe::tcp_win)), (5000 + 8000, 100 + 8000));
        assert_eq!(got.field(cqe::l4_hdr_type), 4);
        assert_eq!((got.field(cqe::l3_ok), got.field(cqe::l4_ok)), (1, 1));
        assert_eq!(got.field(cqe::check_sum) as u16, sum(&all.payload()), "the sum is of the payload");
        let tcp = all.headers() - 20;
        assert_eq!(got.frame[tcp + 4..tcp + 8], [0; 4], "the sequence number is the first one's");
        assert_eq!(got.frame[tcp + 13], ACK | PSH);
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_packet_that_nothing_ends_comes_when_its_time_is_over() {
    let (_, mut a, mut b) = opened(2, &config(1000));
    for (round, count) in [1usize, 3].into_iter().enumerate() {
        let segments: Vec<_> = (0..count).map(|n| Segment::new(round * 10_000 + n * MSS, MSS)).collect();
        segments.iter().for_each(|s| s.send(&mut a, &b));
        let got = b.recv_wait().unwrap();
        let all = Segment { len: count * MSS, ..segments[0] };
        assert_eq!(shape(&got, all.headers()), (if count > 1 { count as u32 } else { 0 }, all.payload()));
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn what_does_not_continue_a_packet_ends_it_and_keeps_the_order() {
    let (_, mut a, mut b) = opened(3, &config(1000));
    let first = run(0, 3)[..2].to_vec();
    let followers: [(Segment, &str); 5] = [
        (Segment { at: 9000, ..first[0] }, "a gap"),
        (Segment { at: 0, ..first[0] }, "a repetition"),
        (Segment { at: 2000, flags: ACK | 1, ..first[0] }, "FIN"),
        (Segment { at: 2000, len: MSS + 1, ..first[0] }, "longer than the first"),
        (Segment { at: 2000, len: 0, ..first[0] }, "no payload"),
    ];
    for (follower, what) in followers {
        first.iter().chain([&follower]).for_each(|s| s.send(&mut a, &b));
        let got = b.recv_wait().unwrap();
        assert_eq!(shape(&got, 54), (2, Segment { len: 2 * MSS, ..first[0] }.payload()), "{what}");
        let got = b.recv_wait().unwrap();
        assert_eq!(shape(&got, 54), (0, follower.payload()), "{what}");
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn flows_grow_beside_each_other_and_other_packets_pass() {
    let (_, mut a, mut b) = opened(4, &config(1000));
    let all: Vec<Vec<Segment>> =
        (1..=3).map(|flow| run(0, 4).into_iter().map(|s| Segment { flow, v6: flow == 3, ..s }).collect()).collect();
    let others: Vec<_> = (0..3).map(|n| plain(mac(&b), mac(&a), 90, n)).collect();
    for n in 0..4 {
        all.iter().for_each(|segments| segments[n].send(&mut a, &b));
        others.get(n).into_iter().for_each(|other| a.send(other).unwrap());
    }
    for other in &others {
        assert_eq!(&b.recv_wait().unwrap().frame, other, "it does not wait for the segments before it");
    }
    for segments in &all {
        let whole = Segment { len: 4 * MSS, ..segments[0] };
        assert_eq!(shape(&b.recv_wait().unwrap(), whole.headers()), (4, whole.payload()));
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_long_run_is_cut_where_a_packet_is_full() {
    let (_, mut a, mut b) = opened(5, &config(1000));
    let segments = run(0, 150);
    segments.iter().for_each(|s| s.send(&mut a, &b));
    let (mut at, mut count) = (0, 0);
    while at < 150 * MSS {
        let got = b.recv_wait().unwrap();
        let (n, payload) = shape(&got, 54);
        assert_eq!(payload, Segment { at, len: payload.len(), ..segments[0] }.payload());
        assert!(got.frame.len() <= 0xffff && (n as usize) * MSS >= payload.len());
        (at, count) = (at + payload.len(), count + 1);
    }
    assert!(count < 20, "{count} packets for 150 segments");
    goodbye(a);
    goodbye(b);
}
