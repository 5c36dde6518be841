//! Packets of a burst are read as if each came alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use mlx5emu_steering::key::{MatchParam, Metadata};
use mlx5emu_steering::packet::Headers;
use mlx5emu_steering::tables::{MAX_BURST, Packets};
use proptest::prelude::*;

const ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
const IPV4: [u8; 20] = [0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
/// With a hop-by-hop header before UDP.
const IPV6: [u8; 48] = [
    0x60, 0, 0, 0, 0, 40, 0, 64, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 2, 17, 0, 1, 4, 0, 0, 0, 0,
];
/// With four bytes of options.
const TCP: [u8; 24] = [0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 2, 0x60, 0x10, 1, 0, 0, 0, 0, 0, 1, 1, 1, 0];
/// VXLAN.
const UDP: [u8; 16] = [0x12, 0xb5, 0x12, 0xb5, 0, 32, 0, 0, 8, 0, 0, 0, 0, 0, 9, 0];

fn frames() -> Vec<Vec<u8>> {
    let tcp = [&[8, 0][..], &IPV4, &TCP].concat();
    let mut udp = [&[8, 0][..], &IPV4, &UDP].concat();
    udp[11] = 17;
    let ipv6 = [&[0x86, 0xdd][..], &IPV6, &UDP].concat();
    let tagged = [&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6][..], &ipv6].concat();
    let other = vec![0x88, 0xb5];
    [tcp, udp, ipv6, tagged, other].iter().map(|rest| [&ADDRESSES[..], rest, &[0x5a; 20]].concat()).collect()
}

/// A kind of frame, and how one differs from the others: in a byte, in its length, in where it comes from.
type Variant = (usize, Option<(usize, u8)>, usize, u16);

fn variants() -> impl Strategy<Value = Vec<Variant>> {
    let byte = prop::option::weighted(0.7, (0usize..110, any::<u8>()));
    let cut = prop_oneof![3 => Just(0usize), 1 => 0usize..100];
    let variant = (0usize..5, byte, cut, 0u16..2);
    proptest::collection::vec((variant, 1usize..3), 1..MAX_BURST)
        .prop_map(|all| all.into_iter().flat_map(|(variant, times)| vec![variant; times]).take(MAX_BURST).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn packets_of_a_burst_have_the_headers_and_keys_of_each_alone(first in variants(), second in variants()) {
        let kinds = frames();
        let mut packets = Packets::new();
        // The second burst finds what the first one left.
        for burst in [first, second] {
            packets.clear();
            let mut expected = Vec::new();
            for (kind, byte, cut, source_port) in burst {
                // Most differ from the one before in one byte only.
                let mut frame = kinds[kind].clone();
                if let Some((at, value)) = byte {
                    let at = at % frame.len();
                    frame[at] = value;
                }
                frame.truncate(frame.len().saturating_sub(cut).max(14));
                let meta = Metadata { source_port, ..Metadata::default() };
                prop_assert!(packets.push(&frame, &meta));
                let headers = Headers::parse(&frame).unwrap();
                expected.push((MatchParam::of_packet(&frame, &headers, &meta), headers));
            }
            prop_assert!(!packets.push(&[0; 13], &Metadata::default()), "no Ethernet header");
            for (n, (key, headers)) in expected.iter().enumerate() {
                prop_assert_eq!(packets.headers(n), Some(headers));
                prop_assert_eq!(packets.key(n), Some(key));
            }
            prop_assert_eq!((packets.headers(expected.len()), packets.len()), (None, expected.len()));
        }
    }
}
