//! Frames from port to port.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Flow, Kind, Rng, goodbye, ip_frame, mac, opened, plain, sum, tagged, toeplitz};
use mlx5emu_driver::net::{HASH_KEY, VlanFilter};
use mlx5emu_driver::{NetConfig, SendOptions};
use mlx5emu_prm::layouts::{mlx5_cqe64 as cqe, query_vport_counter_out as counters, traffic_counter};
use mlx5emu_prm::wqe::CqeSyndrome;

const TCP4: Kind = Kind { v6: false, protocol: 6 };
const UDP4: Kind = Kind { v6: false, protocol: 17 };
const TCP6: Kind = Kind { v6: true, protocol: 6 };
const UDP6: Kind = Kind { v6: true, protocol: 17 };
const OTHER4: Kind = Kind { v6: false, protocol: 89 };
const OTHER6: Kind = Kind { v6: true, protocol: 89 };
const KINDS: [Kind; 6] = [TCP4, UDP4, TCP6, UDP6, OTHER4, OTHER6];

#[test]
fn every_size_in_both_directions() {
    let (_, mut a, mut b) = opened(1, &NetConfig::default().jumbo());
    for (n, len) in (60..200).chain((200..9000).step_by(97)).chain([1514, 2048, 2049, 4096, 6144, 9018]).enumerate() {
        let there = plain(mac(&b), mac(&a), len, n as u64);
        a.send(&there).unwrap();
        let got = b.recv_wait().unwrap();
        assert_eq!(got.frame, there, "length {len}");
        assert_eq!(got.field(cqe::byte_cnt) as usize, len);
        assert_eq!(got.field(cqe::qpn), 0, "the flow tag is not 0");
        let back = plain(mac(&a), mac(&b), len, n as u64 + 1);
        b.send(&back).unwrap();
        assert_eq!(a.recv_wait().unwrap().frame, back, "length {len}");
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn only_ones_own_unicast_broadcast_and_what_was_asked_for() {
    let (_, mut a, mut b) = opened(2, &NetConfig::default());
    let (me, you) = (mac(&a), mac(&b));
    let other = [2, 0, 0, 0, 0, 99];
    let group = [1, 0, 0x5e, 0, 0, 1];
    for (dst, taken) in [(you, true), ([0xff; 6], true), (other, false), (group, false), (me, false)] {
        a.send(&plain(dst, me, 80, 1)).unwrap();
        a.send(&plain(you, me, 81, 2)).unwrap();
        let first = b.recv_wait().unwrap().frame.len();
        assert_eq!(first, if taken { 80 } else { 81 }, "{dst:x?}");
        if taken {
            assert_eq!(b.recv_wait().unwrap().frame.len(), 81);
        }
    }
    b.close().unwrap();
    b.open(NetConfig { all_multicast: true, ..NetConfig::default() }).unwrap();
    a.send(&plain(group, me, 80, 1)).unwrap();
    assert_eq!(b.recv_wait().unwrap().frame.len(), 80);
    a.send(&plain(other, me, 80, 1)).unwrap();
    a.send(&plain(you, me, 81, 1)).unwrap();
    assert_eq!(b.recv_wait().unwrap().frame.len(), 81);
    b.close().unwrap();
    b.open(NetConfig { promiscuous: true, ..NetConfig::default() }).unwrap();
    for dst in [other, group, you] {
        a.send(&plain(dst, me, 80, 1)).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame[..6], dst);
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn rings_wrap_many_times_with_the_owner_bits_right() {
    let mut config = NetConfig::default();
    (config.sq.log_size, config.rq.log_size) = (3, 3);
    (config.sq_cq.log_size, config.rq_cq.log_size, config.log_comp_eq) = (3, 3, 3);
    let (_, mut a, mut b) = opened(3, &config);
    let mut rng = Rng::new(3);
    for round in 0..600u64 {
        let frames: Vec<_> = (0..1 + rng.below(4))
            .map(|n| plain(mac(&b), mac(&a), 60 + rng.below(1000) as usize, round * 8 + n))
            .collect();
        a.send_batch(0, &frames).unwrap();
        for frame in &frames {
            assert_eq!(b.recv_wait().unwrap().frame, *frame);
        }
    }
    // 16-bit counters wrap, too.
    let frame = plain(mac(&b), mac(&a), 60, 7);
    for _ in 0..70_000 {
        a.send(&frame).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame.len(), 60);
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn inline_headers_of_every_length() {
    let (_, mut a, mut b) = opened(4, &NetConfig::default());
    for inline in 0..=300usize {
        let frame = plain(mac(&b), mac(&a), 300, inline as u64);
        a.send_on(0, &frame, &SendOptions { inline, ..SendOptions::default() }).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame, frame, "inline {inline}");
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn frames_in_many_pieces() {
    let mut config = NetConfig::default().jumbo();
    config.sq.buffer = 151;
    config.rq.frags = vec![64, 1000, 4096, 8192];
    let (_, mut a, mut b) = opened(5, &config);
    for len in (60..9000).step_by(211) {
        let frame = plain(mac(&b), mac(&a), len, len as u64);
        a.send(&frame).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame, frame);
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn wqes_that_wrap_round_the_ring() {
    let mut config = NetConfig::default().jumbo();
    config.sq.buffer = 700;
    config.sq.wrap = true;
    config.sq.log_size = 4;
    for page_offset in [0, 64, 1984] {
        config.sq.page_offset = page_offset;
        let (_, mut a, mut b) = opened(6, &config);
        for n in 0..200u64 {
            let frame = plain(mac(&b), mac(&a), 60 + (n as usize * 331) % 8900, n);
            a.send(&frame).unwrap();
            assert_eq!(b.recv_wait().unwrap().frame, frame);
        }
        goodbye(a);
        goodbye(b);
    }
}

#[test]
fn checksums_are_filled_in_when_sent() {
    let (_, mut a, mut b) = opened(7, &NetConfig::default());
    let options = SendOptions { l3_csum: true, l4_csum: true, ..SendOptions::default() };
    for kind in [TCP4, UDP4, TCP6, UDP6] {
        for (n, len) in [0usize, 1, 2, 7, 100, 1001].into_iter().enumerate() {
            let payload = Rng::new(n as u64).bytes(len);
            let flow = Flow::new(n as u64 + 9);
            let right = ip_frame(mac(&b), mac(&a), kind, &flow, &payload, true);
            let raw = ip_frame(mac(&b), mac(&a), kind, &flow, &payload, false);
            a.send_on(0, &raw, &options).unwrap();
            let got = b.recv_wait().unwrap();
            assert_eq!(got.frame, right, "{kind:?} {len}");
            assert_eq!((got.field(cqe::l3_ok), got.field(cqe::l4_ok)), (1, 1));
            // Without the offload nothing is touched, and the receiver says that it is wrong.
            if raw != right {
                a.send(&raw).unwrap();
                let got = b.recv_wait().unwrap();
                assert_eq!(got.frame, raw);
                assert_eq!(got.field(cqe::l4_ok), 0, "{kind:?} {len}");
                assert_eq!(got.field(cqe::l3_ok), u32::from(kind.v6), "{kind:?}");
            }
        }
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn the_completion_describes_the_frame() {
    let (_, mut a, mut b) = opened(8, &NetConfig::default());
    for kind in KINDS {
        for len in [0usize, 1, 33, 1200] {
            let flow = Flow::new(len as u64 + 3);
            let mut frame = ip_frame(mac(&b), mac(&a), kind, &flow, &Rng::new(1).bytes(len), true);
            let ip_len = frame.len() - 14;
            // Padding behind the packet is not summed.
            if frame.len() < 60 {
                frame.resize(60, 0xee);
            }
            a.send(&frame).unwrap();
            let got = b.recv_wait().unwrap();
            assert_eq!(got.frame, frame);
            assert_eq!(got.field(cqe::check_sum), u32::from(sum(&frame[14..14 + ip_len])), "{kind:?} {len}");
            assert_eq!(got.field(cqe::l3_hdr_type), if kind.v6 { 1 } else { 2 });
            let l4 = match (kind.protocol, len) {
                (6, 0) => 3,
                (6, _) => 4,
                (17, _) => 2,
                _ => 0,
            };
            assert_eq!(got.field(cqe::l4_hdr_type), l4, "{kind:?} {len}");
            assert_eq!((got.field(cqe::l2_ok), got.field(cqe::l3_ok)), (1, 1));
            assert_eq!(got.field(cqe::cv), 0);
        }
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_wrong_checksum_is_told_and_the_frame_delivered() {
    let (_, mut a, mut b) = opened(9, &NetConfig::default());
    for kind in [TCP4, UDP4, TCP6, UDP6] {
        let flow = Flow::new(1);
        let right = ip_frame(mac(&b), mac(&a), kind, &flow, b"some payload of a packet", true);
        for at in [14, right.len() - 1] {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            // The first byte of the IP header: the version is kept, the traffic class or header length changes.
            if at == 14 {
                wrong = right.clone();
                wrong[if kind.v6 { 22 } else { 26 }] ^= 0x40;
            }
            a.send(&wrong).unwrap();
            let got = b.recv_wait().unwrap();
            assert_eq!(got.frame, wrong);
            assert_eq!(got.field(cqe::l4_ok), 0, "{kind:?} byte {at}");
            let l3_wrong = !kind.v6 && at == 14;
            assert_eq!(got.field(cqe::l3_ok), u32::from(!l3_wrong), "{kind:?} byte {at}");
        }
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn receive_side_scaling_follows_the_toeplitz_hash() {
    let config = NetConfig { channels: 5, log_rqt: 6, ..NetConfig::default() };
    let (_, mut a, mut b) = opened(10, &config);
    let mut hit = [0; 5];
    for n in 0..200u64 {
        let kind = KINDS[n as usize % KINDS.len()];
        let flow = Flow::new(n);
        let frame = ip_frame(mac(&b), mac(&a), kind, &flow, b"payload", true);
        a.send_on(n as usize % 5, &frame, &SendOptions::default()).unwrap();
        let got = b.recv_wait().unwrap();
        let (from, to) = if kind.v6 { (&flow.src[..], &flow.dst[..]) } else { (&flow.src[12..], &flow.dst[12..]) };
        let mut over = [from, to].concat();
        let ports = kind.protocol != 89;
        if ports {
            over.extend_from_slice(&flow.sport.to_be_bytes());
            over.extend_from_slice(&flow.dport.to_be_bytes());
        }
        let hash = toeplitz(&HASH_KEY, &over);
        assert_eq!(got.field(cqe::rss_hash_result), hash, "{kind:?}");
        assert_eq!(got.field(cqe::rss_htype_ip), if kind.v6 { 2 } else { 1 });
        let l4 = match kind.protocol {
            6 => 1,
            17 => 2,
            _ => 0,
        };
        assert_eq!(got.field(cqe::rss_htype_l4), l4);
        assert_eq!(got.channel, (hash as usize & 63) % 5, "{kind:?}");
        hit[got.channel] += 1;
    }
    assert!(hit.iter().all(|count| *count > 10), "{hit:?}");
    // What is not IP goes to the first channel and has no hash.
    a.send(&plain(mac(&b), mac(&a), 100, 1)).unwrap();
    let got = b.recv_wait().unwrap();
    assert_eq!((got.channel, got.field(cqe::rss_hash_type)), (0, 0));
    goodbye(a);
    goodbye(b);
}

#[test]
fn vlan_tags_are_filtered_and_stripped() {
    let config = NetConfig { vlans: VlanFilter::Only(vec![5, 4094]), ..NetConfig::default() };
    let (_, mut a, mut b) = opened(11, &config);
    let flow = Flow::new(1);
    let inner = ip_frame(mac(&b), mac(&a), UDP4, &flow, &[7; 100], true);
    for (vid, taken) in [(5, true), (6, false), (4094, true), (0, false)] {
        let tci = 3 << 13 | vid;
        a.send(&tagged(&inner, 0x8100, tci)).unwrap();
        a.send(&plain(mac(&b), mac(&a), 99, 1)).unwrap();
        if taken {
            let got = b.recv_wait().unwrap();
            assert_eq!(got.frame, inner);
            assert_eq!((got.field(cqe::cv), got.field(cqe::vlan_info)), (1, u32::from(tci)));
            assert_eq!(got.field(cqe::check_sum), u32::from(sum(&inner[14..])));
            assert_eq!((got.field(cqe::l3_ok), got.field(cqe::l4_ok)), (1, 1));
        }
        assert_eq!(b.recv_wait().unwrap().frame.len(), 99, "VLAN {vid}");
    }
    b.close().unwrap();
    let mut config = config;
    config.rq.keep_vlan = true;
    b.open(config).unwrap();
    let frame = tagged(&inner, 0x8100, 5);
    a.send(&frame).unwrap();
    let got = b.recv_wait().unwrap();
    assert_eq!((got.frame, cqe::cv.get(&got.cqe)), (frame, 0));
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_receiver_without_buffers_drops_counts_and_recovers() {
    let config = NetConfig { refill: false, ..NetConfig::default() };
    let (world, mut a, mut b) = opened(12, &config);
    let set = b.net().unwrap().counter_set;
    let send = |a: &mut common::Drv, b: &common::Drv, n: u64| a.send(&plain(mac(b), mac(a), 100, n)).unwrap();
    for n in 0..10 {
        send(&mut a, &b, n);
    }
    assert!(world.borrow_mut().settle());
    assert!(b.recv().unwrap().is_none());
    assert_eq!(b.out_of_buffer(set).unwrap(), 10);
    b.refill(0, 3).unwrap();
    for n in 0..5 {
        send(&mut a, &b, 100 + n);
    }
    assert!(world.borrow_mut().settle());
    for n in 0..3 {
        assert_eq!(b.recv().unwrap().unwrap().frame, plain(mac(&b), mac(&a), 100, 100 + n));
    }
    assert!(b.recv().unwrap().is_none());
    assert_eq!(b.out_of_buffer(set).unwrap(), 12);
    b.refill(0, usize::MAX).unwrap();
    send(&mut a, &b, 7);
    assert_eq!(b.recv_wait().unwrap().frame.len(), 100);
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_burst_longer_than_all_queues_arrives_in_order() {
    let mut config = NetConfig::default();
    (config.rq.log_size, config.rq_cq.log_size) = (9, 9);
    config.sq.log_size = 8;
    config.sq_cq.log_size = 8;
    let (world, mut a, mut b) = opened(13, &config);
    let frames: Vec<_> = (0..400u64).map(|n| plain(mac(&b), mac(&a), 64 + (n as usize % 50), n)).collect();
    a.send_batch(0, &frames).unwrap();
    assert!(world.borrow_mut().settle());
    for frame in &frames {
        assert_eq!(b.recv().unwrap().unwrap().frame, *frame);
    }
    a.wait_until("completions", |a| a.net().unwrap().channels[0].sq.outstanding() == 0).unwrap();
    assert_eq!(a.net().unwrap().channels[0].sq.sent, 400);
    goodbye(a);
    goodbye(b);
}

#[test]
fn wide_completions_big_pages_and_moderation() {
    let mut config = NetConfig::default();
    (config.sq_cq.wide, config.rq_cq.wide) = (true, true);
    (config.sq_cq.log_page, config.rq.log_page) = (14, 13);
    (config.sq_cq.page_offset, config.rq.page_offset, config.sq.page_offset) = (128, 320, 1984);
    (config.rq_cq.period, config.rq_cq.max_count) = (16, 8);
    (config.sq_cq.period, config.sq_cq.max_count) = (16, 4);
    let (_, mut a, mut b) = opened(14, &config);
    for n in 0..500u64 {
        let frame = plain(mac(&b), mac(&a), 60 + (n as usize * 7) % 1400, n);
        a.send(&frame).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame, frame);
    }
    // Moderation: fewer events than completions when frames come in bursts.
    let before = b.net().unwrap().channels[0].rq.cq.events();
    let frames: Vec<_> = (0..40u64).map(|n| plain(mac(&b), mac(&a), 60, n)).collect();
    a.send_batch(0, &frames).unwrap();
    for _ in 0..40 {
        b.recv_wait().unwrap();
    }
    let events = b.net().unwrap().channels[0].rq.cq.events() - before;
    assert!(events <= 20, "{events} events for 40 frames");
    goodbye(a);
    goodbye(b);
}

#[test]
fn tcp_is_segmented() {
    let (_, mut a, mut b) = opened(15, &NetConfig::default());
    for v6 in [false, true] {
        for (len, mss) in [(100usize, 1000u16), (3000, 1000), (4001, 500), (1000, 1)].into_iter().take(3) {
            let kind = Kind { v6, protocol: 6 };
            let flow = Flow::new(len as u64);
            let payload = Rng::new(4).bytes(len);
            let frame = ip_frame(mac(&b), mac(&a), kind, &flow, &payload, false);
            let header = frame.len() - len;
            let options = SendOptions { inline: header, mss, l3_csum: true, l4_csum: true, ..SendOptions::default() };
            a.send_on(0, &frame, &options).unwrap();
            let mut whole = Vec::new();
            let tcp = header - 20;
            for part in 0..len.div_ceil(usize::from(mss)) {
                let got = b.recv_wait().unwrap();
                assert_eq!((got.field(cqe::l3_ok), got.field(cqe::l4_ok)), (1, 1), "v6 {v6}, part {part}");
                let seq = u32::from_be_bytes(got.frame[tcp + 4..tcp + 8].try_into().unwrap());
                assert_eq!(seq as usize, 1 + part * usize::from(mss));
                whole.extend_from_slice(&got.frame[header..]);
            }
            assert_eq!(whole, payload);
        }
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn one_wqe_sends_many_packets() {
    let (_, mut a, mut b) = opened(19, &NetConfig::default());
    let mut rng = Rng::new(19);
    for round in 0..100u64 {
        let inline = [0, 60, 128][round as usize % 3];
        let count = 1 + rng.below(if inline == 0 { 29 } else { 6 });
        let frames: Vec<_> =
            (0..count).map(|n| plain(mac(&b), mac(&a), 60 + rng.below(100) as usize, round * 64 + n)).collect();
        let before = a.net().unwrap().channels[0].sq.sent;
        let (sq, host) = a.sq_and_host(0).unwrap();
        sq.post_many(host, &frames, &SendOptions { inline, ..SendOptions::default() }).unwrap();
        sq.ring(host);
        for frame in &frames {
            assert_eq!(b.recv_wait().unwrap().frame, *frame, "inline {inline}");
        }
        a.wait_until("the completion", |a| a.net().unwrap().channels[0].sq.outstanding() == 0).unwrap();
        assert_eq!(a.net().unwrap().channels[0].sq.sent - before, count);
    }
    // The checksum flags are for every packet.
    let flow = Flow::new(2);
    let raw: Vec<_> = KINDS[..4].iter().map(|k| ip_frame(mac(&b), mac(&a), *k, &flow, &[9; 77], false)).collect();
    let (sq, host) = a.sq_and_host(0).unwrap();
    sq.post_many(host, &raw, &SendOptions { l3_csum: true, l4_csum: true, ..SendOptions::default() }).unwrap();
    sq.ring(host);
    for kind in &KINDS[..4] {
        assert_eq!(b.recv_wait().unwrap().frame, ip_frame(mac(&b), mac(&a), *kind, &flow, &[9; 77], true));
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_bad_packet_fails_its_whole_multi_packet_wqe() {
    let (world, mut a, mut b) = opened(20, &NetConfig::default());
    let mut frames: Vec<_> = (0..5).map(|n| plain(mac(&b), mac(&a), 100, n)).collect();
    frames[3].truncate(5);
    let (sq, host) = a.sq_and_host(0).unwrap();
    sq.post_many(host, &frames, &SendOptions::default()).unwrap();
    sq.ring(host);
    a.wait_until("the error", |a| !a.net().unwrap().channels[0].sq.errors.is_empty()).unwrap();
    assert_eq!(a.net().unwrap().channels[0].sq.errors[0].syndrome, CqeSyndrome::LOCAL_LENGTH_ERR);
    assert!(world.borrow_mut().settle());
    assert!(b.recv().unwrap().is_none(), "packets of a WQE that failed are not sent");
    let host = a.abandon();
    drop(host);
    goodbye(b);
}

#[test]
fn vport_counters_add_up() {
    let (_, mut a, mut b) = opened(16, &NetConfig { all_multicast: true, ..NetConfig::default() });
    for (dst, count) in [(mac(&b), 3usize), ([0xff; 6], 2), ([1, 0, 0x5e, 0, 0, 9], 4)] {
        for _ in 0..count {
            a.send(&plain(dst, mac(&a), 100, 1)).unwrap();
            b.recv_wait().unwrap();
        }
    }
    let (sent, got) = (a.vport_counters().unwrap(), b.vport_counters().unwrap());
    for (tx, rx, count) in [
        (counters::transmitted_eth_unicast, counters::received_eth_unicast, 3),
        (counters::transmitted_eth_broadcast, counters::received_eth_broadcast, 2),
        (counters::transmitted_eth_multicast, counters::received_eth_multicast, 4),
    ] {
        for (area, bytes) in [(tx, &sent), (rx, &got)] {
            assert_eq!(traffic_counter::packets.get(area.of(bytes)), count, "{}", area.name);
            assert_eq!(traffic_counter::octets.get(area.of(bytes)), count * 100, "{}", area.name);
        }
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_down_link_delivers_nothing_and_comes_back() {
    use mlx5emu_prm::register::PortStatus;
    let (world, mut a, mut b) = opened(17, &NetConfig::default());
    b.set_port(PortStatus::DOWN).unwrap();
    a.send(&plain(mac(&b), mac(&a), 100, 1)).unwrap();
    assert!(world.borrow_mut().settle());
    assert!(b.recv().unwrap().is_none());
    // The sender's completion comes all the same: a queue must not stall on a link that is down.
    a.wait_until("the completion", |a| a.net().unwrap().channels[0].sq.outstanding() == 0).unwrap();
    b.set_port(PortStatus::UP).unwrap();
    a.send(&plain(mac(&b), mac(&a), 101, 1)).unwrap();
    assert_eq!(b.recv_wait().unwrap().frame.len(), 101);
    goodbye(a);
    goodbye(b);
}
