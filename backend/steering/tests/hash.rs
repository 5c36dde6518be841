//! The receive hash against the published Toeplitz vectors ("Verifying the RSS Hash Calculation", Microsoft).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use mlx5emu_steering::hash::{HashFields, HashResult, RxHash, RxHashFn, inverted_xor8};
use mlx5emu_steering::packet::Headers;
use proptest::prelude::*;

/// The key of the verification suite.
const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b,
    0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac,
    0x01, 0xfa,
];
const IPS: u32 = HashFields::SRC_IP | HashFields::DST_IP;
const PORTS: u32 = HashFields::L4_SPORT | HashFields::L4_DPORT;

fn rss(l3_ipv6: bool, l4_udp: bool, fields: u32) -> RxHash {
    let function = RxHashFn::Toeplitz;
    RxHash { function, symmetric: false, key: KEY, l3_ipv6, l4_udp, fields: HashFields(fields) }
}

fn v4(src: &str, sport: u16, dst: &str, dport: u16, udp: bool) -> Headers {
    let src: Ipv4Addr = src.parse().unwrap();
    let dst: Ipv4Addr = dst.parse().unwrap();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(src.octets(), dst.octets(), 64);
    headers(|out| {
        if udp { builder.udp(sport, dport).write(out, b"x") } else { builder.tcp(sport, dport, 1, 1).write(out, b"x") }
    })
}

fn v6(src: &str, sport: u16, dst: &str, dport: u16) -> Headers {
    let src: Ipv6Addr = src.parse().unwrap();
    let dst: Ipv6Addr = dst.parse().unwrap();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(src.octets(), dst.octets(), 64);
    headers(|out| builder.tcp(sport, dport, 1, 1).write(out, b"x"))
}

fn headers(write: impl FnOnce(&mut Vec<u8>) -> Result<(), etherparse::err::packet::BuildWriteError>) -> Headers {
    let mut frame = Vec::new();
    write(&mut frame).unwrap();
    Headers::parse(&frame).unwrap()
}

#[test]
fn toeplitz_of_ipv4_is_the_published_one() {
    // destination, port, source, port, hash of addresses, hash with TCP ports
    for (dst, dport, src, sport, ip, tcp) in [
        ("161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e_8fc2, 0x51cc_c178),
        ("65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718_262a, 0xc626_b0ea),
        ("12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0_a5de, 0x5c2b_394a),
        ("209.142.163.6", 2217, "38.27.205.30", 48228, 0x8298_9176, 0xafc7_327f),
        ("202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d18_09c5, 0x10e8_28a2),
    ] {
        let h = v4(src, sport, dst, dport, false);
        assert_eq!(rss(false, false, IPS).compute(&h), HashResult { hash: ip, ip_type: 1, l4_type: 0 });
        let result = rss(false, false, IPS | PORTS).compute(&h);
        assert_eq!(result, HashResult { hash: tcp, ip_type: 1, l4_type: 1 });
        assert_eq!(result.rss_hash_type(), 0x44);
    }
}

#[test]
fn toeplitz_of_ipv6_is_the_published_one() {
    for (dst, dport, src, sport, ip, tcp) in [
        ("3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc1_8cd5, 0x4020_7d3d),
        ("ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c_461c, 0xdde5_1bbf),
        ("fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, 0x4b61_e985, 0x02d1_feef),
    ] {
        let h = v6(src, sport, dst, dport);
        assert_eq!(rss(true, false, IPS).compute(&h), HashResult { hash: ip, ip_type: 2, l4_type: 0 });
        assert_eq!(rss(true, false, IPS | PORTS).compute(&h), HashResult { hash: tcp, ip_type: 2, l4_type: 1 });
    }
}

#[test]
fn packets_that_the_tir_is_not_for_have_no_hash() {
    let tcp = v4("1.2.3.4", 5, "6.7.8.9", 10, false);
    assert_eq!(rss(true, false, IPS | PORTS).compute(&tcp), HashResult::default());
    assert_eq!(rss(false, true, PORTS).compute(&tcp), HashResult::default());
    // The addresses of a TCP packet are hashed by a TIR that takes ports from UDP.
    assert_eq!(rss(false, true, IPS | PORTS).compute(&tcp), rss(false, false, IPS).compute(&tcp));
    assert_eq!(RxHash { function: RxHashFn::None, ..rss(false, false, IPS) }.compute(&tcp), HashResult::default());
}

#[test]
fn xor8_is_the_reversed_xor_of_all_bytes() {
    assert_eq!(inverted_xor8(&[0x80, 0x01, 0x02]), 0b1100_0001);
    let hash = RxHash { function: RxHashFn::InvertedXor8, ..rss(false, true, IPS | PORTS) };
    // 1^2^3^4 = 4, 6^7^8^9 = 0, ports 0x0105 and 0x0a0b: 1^5^0xa^0xb = 5; 4^5 = 1
    assert_eq!(hash.compute(&v4("1.2.3.4", 0x105, "6.7.8.9", 0xa0b, true)).hash, 0x80);
}

proptest! {
    #[test]
    fn a_symmetric_hash_is_the_same_both_ways(a: [u8; 4], b: [u8; 4], p: u16, q: u16, udp: bool, xor: bool) {
        let (a, b) = (Ipv4Addr::from(a).to_string(), Ipv4Addr::from(b).to_string());
        let function = if xor { RxHashFn::InvertedXor8 } else { RxHashFn::Toeplitz };
        let hash = RxHash { function, symmetric: true, ..rss(false, udp, IPS | PORTS) };
        let (there, back) = (v4(&a, p, &b, q, udp), v4(&b, q, &a, p, udp));
        prop_assert_eq!(hash.compute(&there), hash.compute(&back));
    }
}

#[test]
fn a_symmetric_hash_tells_connections_apart() {
    let hash = RxHash { symmetric: true, ..rss(false, false, IPS | PORTS) };
    let of = |sport| hash.compute(&v4("10.0.0.1", sport, "10.0.0.2", 80, false)).hash;
    let distinct: std::collections::BTreeSet<u32> = (1000..1100).map(of).collect();
    assert!(distinct.len() > 90);
}

#[test]
fn ipsec_packets_are_spread_by_their_spi() {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 50, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    frame.extend([0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 1]);
    let esp = Headers::parse(&frame).unwrap();
    let hash = RxHash { function: RxHashFn::InvertedXor8, ..rss(false, false, IPS | HashFields::IPSEC_SPI) };
    let xor = (1..=8).fold(0u8, |a, b| a ^ b) ^ 0xde ^ 0xad ^ 0xbe ^ 0xef;
    let expected = HashResult { hash: u32::from(xor.reverse_bits()), ip_type: 1, l4_type: 3 };
    assert_eq!(hash.compute(&esp), expected);
    assert_eq!(expected.rss_hash_type(), 0xc4);
}
