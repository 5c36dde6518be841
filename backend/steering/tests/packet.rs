//! The parser and the checksums against packets that `etherparse` builds, and against rubbish.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use etherparse::{PacketBuilder, TcpHeader};
use mlx5emu_steering::key::{MatchParam, Metadata, fields};
use mlx5emu_steering::packet::checksum::{self, Sum};
use mlx5emu_steering::packet::{Headers, L3HdrType, L4HdrType, Net, Transport, ethertype};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Plan {
    vlans: usize,
    ipv6: bool,
    tcp: bool,
    ack: bool,
    payload: Vec<u8>,
    src: [u8; 16],
    dst: [u8; 16],
    sport: u16,
    dport: u16,
    padding: usize,
}

fn plans() -> impl Strategy<Value = Plan> {
    let addresses = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u16>(), any::<u16>());
    let payload = proptest::collection::vec(any::<u8>(), 0..200);
    ((0usize..3), any::<[bool; 3]>(), payload, addresses, 0usize..32).prop_map(|(vlans, b, payload, a, padding)| Plan {
        vlans,
        ipv6: b[0],
        tcp: b[1],
        ack: b[2],
        payload,
        src: a.0,
        dst: a.1,
        sport: a.2,
        dport: a.3,
        padding,
    })
}

/// Builds the frame; the checksums are etherparse's.
fn build(plan: &Plan) -> Vec<u8> {
    let eth = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let mut out = Vec::new();
    macro_rules! finish {
        ($l2:expr) => {{
            let l3 = if plan.ipv6 {
                $l2.ipv6(plan.src, plan.dst, 61)
            } else {
                $l2.ipv4(plan.src[..4].try_into().unwrap(), plan.dst[..4].try_into().unwrap(), 61)
            };
            if plan.tcp {
                let mut tcp = TcpHeader::new(plan.sport, plan.dport, 77, 1000);
                tcp.ack = plan.ack;
                tcp.acknowledgment_number = 99;
                l3.tcp_header(tcp).write(&mut out, &plan.payload).unwrap();
            } else {
                l3.udp(plan.sport, plan.dport).write(&mut out, &plan.payload).unwrap();
            }
        }};
    }
    match plan.vlans {
        0 => finish!(eth),
        1 => finish!(eth.single_vlan(5.try_into().unwrap())),
        _ => finish!(eth.double_vlan(6.try_into().unwrap(), 7.try_into().unwrap())),
    }
    out.extend(std::iter::repeat_n(0xee, plan.padding));
    out
}

/// The sum as RFC 1071 puts it, word by word.
fn naive_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

proptest! {
    #[test]
    fn built_packets_parse_to_what_they_were_built_from(plan in plans()) {
        let frame = build(&plan);
        let h = Headers::parse(&frame).unwrap();
        prop_assert!(!h.truncated && !h.fragment);
        prop_assert_eq!(h.dmac.0, [2, 0, 0, 0, 0, 2]);
        prop_assert_eq!(h.vlans().len(), plan.vlans);
        prop_assert_eq!(h.ethertype, if plan.ipv6 { ethertype::IPV6 } else { ethertype::IPV4 });
        prop_assert_eq!(h.ip_end, frame.len() - plan.padding);
        prop_assert_eq!(h.payload_len(), plan.payload.len());
        prop_assert_eq!(&frame[h.payload_offset..h.ip_end], &plan.payload[..]);
        prop_assert_eq!(h.l3_hdr_type(), if plan.ipv6 { L3HdrType::Ipv6 } else { L3HdrType::Ipv4 });
        let l4 = match (plan.tcp, plan.ack, plan.payload.is_empty()) {
            (false, ..) => L4HdrType::Udp,
            (true, false, _) => L4HdrType::TcpNoAck,
            (true, true, true) => L4HdrType::TcpAckNoData,
            (true, true, false) => L4HdrType::TcpAckAndData,
        };
        prop_assert_eq!(h.l4_hdr_type(), l4);
        match h.net {
            Net::Ipv4(ip) => prop_assert!(ip.src == plan.src[..4] && ip.dst == plan.dst[..4] && ip.ttl == 61),
            Net::Ipv6(ip) => prop_assert!(ip.src == plan.src && ip.dst == plan.dst && ip.hop_limit == 61),
            _ => prop_assert!(false),
        }
        match h.transport {
            Transport::Tcp(t) => prop_assert!((t.sport, t.dport, t.seq) == (plan.sport, plan.dport, 77)),
            Transport::Udp(u) => prop_assert!((u.sport, u.dport) == (plan.sport, plan.dport)),
            _ => prop_assert!(false),
        }
    }

    #[test]
    fn checksums_verify_and_one_flipped_bit_is_seen(plan in plans(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut frame = build(&plan);
        let h = Headers::parse(&frame).unwrap();
        let good = checksum::verify(&frame, &h);
        prop_assert!(good.l3_ok && good.l4_ok);
        prop_assert_eq!(good.sum, naive_sum(&frame[h.l3_offset..h.ip_end]));

        let at = h.l4_offset + at.index(h.ip_end - h.l4_offset);
        frame[at] ^= 1 << bit;
        if let Some(h) = Headers::parse(&frame) {
            // A UDP checksum flipped to zero is no checksum; of one bit that can only be from a power of two.
            let none = matches!(h.transport, Transport::Udp(_)) && frame[h.l4_offset + 6..h.l4_offset + 8] == [0, 0];
            prop_assert!(!checksum::verify(&frame, &h).l4_ok || none);
        }
    }

    #[test]
    fn offload_fills_what_etherparse_computes(plan in plans(), junk: u16) {
        let frame = build(&plan);
        let h = Headers::parse(&frame).unwrap();
        let mut blank = frame.clone();
        let l4 = h.l4_offset + if plan.tcp { 16 } else { 6 };
        blank[l4..l4 + 2].copy_from_slice(&junk.to_be_bytes());
        if !plan.ipv6 {
            blank[h.l3_offset + 10..h.l3_offset + 12].copy_from_slice(&junk.to_be_bytes());
        }
        prop_assert_eq!(checksum::fill(&mut blank, &h, true, true), (!plan.ipv6, true));
        prop_assert_eq!(blank, frame);
    }

    #[test]
    fn sums_agree_with_the_rfc_whatever_the_pieces(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in any::<prop::sample::Index>()) {
        prop_assert_eq!(Sum::new().bytes(&bytes).value(), naive_sum(&bytes));
        let cut = cut.index(bytes.len() + 1) & !1;
        prop_assert_eq!(Sum::new().bytes(&bytes[..cut]).bytes(&bytes[cut..]).value(), naive_sum(&bytes));
    }

    #[test]
    fn incremental_updates_agree_with_summing_again(words in proptest::collection::vec(any::<u16>(), 4..20), at in any::<prop::sample::Index>(), new: u16, new32: u32) {
        // RFC 1624: the two zeros of ones-complement arithmetic cannot be told apart when all else is zero.
        prop_assume!(words.iter().filter(|w| **w != 0 && **w != 0xffff).count() > 3);
        let sum = |words: &[u16]| words.iter().fold(Sum::new(), |s, w| s.word(*w)).checksum();
        let at = at.index(words.len() - 1);
        let mut changed = words.clone();
        changed[at] = new;
        prop_assert_eq!(checksum::update16(sum(&words), words[at], new), sum(&changed));
        let old32 = u32::from(words[at]) << 16 | u32::from(words[at + 1]);
        let mut changed = words.clone();
        (changed[at], changed[at + 1]) = ((new32 >> 16) as u16, new32 as u16);
        prop_assert_eq!(checksum::update32(sum(&words), old32, new32), sum(&changed));
    }

    #[test]
    fn rubbish_never_panics_and_offsets_stay_inside(mut frame in proptest::collection::vec(any::<u8>(), 0..120), kind in 0usize..6, first: u8) {
        // Most random bytes are no IP: steer them there.
        let types = [0x0800u16, 0x86dd, 0x8100, 0x88a8, 0x0806, 0x1234];
        if frame.len() > 14 {
            frame[12..14].copy_from_slice(&types[kind].to_be_bytes());
            frame[14] = if kind == 0 { 0x45 | (first & 0xf) } else { 0x60 | (first & 0xf) };
        }
        check_any(&mut frame)?;
    }

    #[test]
    fn truncated_packets_never_panic(plan in plans(), len in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut frame = build(&plan);
        frame.truncate(len.index(frame.len() + 1));
        if !frame.is_empty() {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        check_any(&mut frame)?;
    }
}

fn check_any(frame: &mut [u8]) -> Result<(), TestCaseError> {
    let Some(h) = Headers::parse(frame) else {
        prop_assert!(frame.len() < 14);
        return Ok(());
    };
    prop_assert!(h.l3_offset <= h.l4_offset && h.l4_offset <= h.payload_offset && h.payload_offset <= frame.len());
    prop_assert!(h.ip_end <= frame.len());
    let seen = checksum::verify(frame, &h);
    if h.truncated {
        prop_assert!(!seen.l3_ok && !seen.l4_ok);
    }
    checksum::fill(frame, &h, true, true);
    let again = Headers::parse(frame).unwrap();
    if matches!(h.net, Net::Ipv4(_)) && !h.truncated {
        prop_assert!(checksum::verify(frame, &again).l3_ok);
    }
    let _ = MatchParam::of_packet(frame, &h, &Metadata::default());
    Ok(())
}

/// An IPv6 packet with the given chain of extension headers (next header, bytes) and then UDP.
fn with_extensions(chain: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    let body: usize = chain.iter().map(|(_, b)| b.len() + 1).sum::<usize>() + 8;
    frame.extend((body as u16).to_be_bytes());
    frame.extend([chain.first().map_or(17, |c| c.0), 64]);
    frame.extend([1; 32]);
    for (n, (_, bytes)) in chain.iter().enumerate() {
        frame.push(chain.get(n + 1).map_or(17, |c| c.0));
        frame.extend(bytes);
    }
    frame.extend([0x12, 0x34, 0, 53, 0, 8, 0, 0]);
    frame
}

#[test]
fn extension_headers_are_walked_over_up_to_a_bound() {
    let options = |n: u8| (60u8, std::iter::once(n).chain(vec![0; 6 + 8 * usize::from(n)]).collect::<Vec<u8>>());
    let h = Headers::parse(&with_extensions(&[(0, options(0).1), options(2), (43, options(1).1)])).unwrap();
    assert_eq!(h.ip_protocol, 17);
    assert_eq!(h.l4_offset, 14 + 40 + 8 + 24 + 16);
    assert!(matches!(h.transport, Transport::Udp(u) if u.sport == 0x1234));
    let many: Vec<_> = (0..8).map(|_| options(0)).collect();
    assert!(matches!(Headers::parse(&with_extensions(&many)).unwrap().transport, Transport::Udp(_)));
    let too_many: Vec<_> = (0..9).map(|_| options(0)).collect();
    let h = Headers::parse(&with_extensions(&too_many)).unwrap();
    assert!(h.truncated && h.transport == Transport::None && matches!(h.net, Net::Ipv6(_)));
}

#[test]
fn fragments_have_no_ports_and_no_l4_verdict() {
    let fragment = |field: u16| {
        let [a, b] = field.to_be_bytes();
        with_extensions(&[(44, vec![0, a, b, 0, 0, 0, 9])])
    };
    for (field, is_fragment) in [(0u16, false), (1, true), (8, true), (0x19, true)] {
        let frame = fragment(field);
        let h = Headers::parse(&frame).unwrap();
        assert_eq!(h.fragment, is_fragment);
        assert_eq!(h.transport == Transport::None, is_fragment);
        let key = MatchParam::of_packet(&frame, &h, &Metadata::default());
        assert_eq!(fields::frag.get(&key), u32::from(is_fragment));
        assert_eq!(fields::ip_protocol.get(&key), 17);
    }
    let mut frame = build(&Plan {
        vlans: 0,
        ipv6: false,
        tcp: false,
        ack: false,
        payload: vec![1; 32],
        src: [1; 16],
        dst: [2; 16],
        sport: 1,
        dport: 2,
        padding: 0,
    });
    frame[20] = 0x20; // more fragments
    let h = Headers::parse(&frame).unwrap();
    assert!(h.fragment && h.transport == Transport::None);
    assert!(checksum::fill(&mut frame, &h, true, true) == (true, false));
    let seen = checksum::verify(&frame, &h);
    assert!(seen.l3_ok && !seen.l4_ok);
}

#[test]
fn udp_without_checksum_is_right_over_ipv4_only() {
    for (ipv6, ok) in [(false, true), (true, false)] {
        let mut frame = with_extensions(&[]);
        if !ipv6 {
            frame = build(&Plan {
                vlans: 1,
                ipv6,
                tcp: false,
                ack: false,
                payload: vec![],
                src: [1; 16],
                dst: [2; 16],
                sport: 1,
                dport: 2,
                padding: 0,
            });
        }
        let h = Headers::parse(&frame).unwrap();
        frame[h.l4_offset + 6] = 0;
        frame[h.l4_offset + 7] = 0;
        assert_eq!(checksum::verify(&frame, &h).l4_ok, ok);
    }
}

#[test]
fn the_key_holds_every_header_under_its_name() {
    let mut frame = Vec::new();
    let mut tcp = TcpHeader::new(1000, 2000, 0x1111_2222, 5);
    (tcp.syn, tcp.ns) = (true, true);
    PacketBuilder::ethernet2([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12])
        .double_vlan(100.try_into().unwrap(), 200.try_into().unwrap())
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 33)
        .tcp_header(tcp)
        .write(&mut frame, b"")
        .unwrap();
    frame[14] |= 0xb0; // outer tag: priority 5, DEI
    let h = Headers::parse(&frame).unwrap();
    let mut meta = Metadata { source_port: 0xffff, source_vhca_id: 3, source_sqn: 0x12_3456, ..Metadata::default() };
    (meta.regs.a, meta.regs.c[0], meta.regs.c[7]) = (1, 2, 3);
    let key = MatchParam::of_packet(&frame, &h, &meta);
    for (slot, value) in [
        (fields::smac_47_16, 0x0102_0304),
        (fields::smac_15_0, 0x0506),
        (fields::dmac_47_16, 0x0708_090a),
        (fields::dmac_15_0, 0x0b0c),
        (fields::ethertype, 0x0800),
        (fields::first_vid, 100),
        (fields::first_prio, 5),
        (fields::first_cfi, 1),
        (fields::cvlan_tag, 0),
        (fields::svlan_tag, 1),
        (fields::outer_second_vid, 200),
        (fields::outer_second_cvlan_tag, 1),
        (fields::outer_second_svlan_tag, 0),
        (fields::ip_version, 4),
        (fields::ip_protocol, 6),
        (fields::ipv4_ihl, 5),
        (fields::ttl_hoplimit, 33),
        (fields::src_ipv4, 0x0a00_0001),
        (fields::dst_ipv4, 0x0a00_0002),
        (fields::tcp_sport, 1000),
        (fields::tcp_dport, 2000),
        (fields::tcp_flags, 0x102),
        (fields::udp_sport, 0),
        (fields::outer_tcp_seq_num, 0x1111_2222),
        (fields::l4_type, 1),
        (fields::source_port, 0xffff),
        (fields::source_eswitch_owner_vhca_id, 3),
        (fields::source_sqn, 0x12_3456),
        (fields::metadata_reg_a, 1),
        (fields::metadata_reg_c_0, 2),
        (fields::metadata_reg_c_7, 3),
    ] {
        assert_eq!(slot.get(&key), value, "{slot:?} of {key:?}");
    }
    assert_eq!(MatchParam::from_be_bytes(&key.to_be_bytes()), key);
}

#[test]
fn ipsec_is_a_protocol_of_its_own_in_both_ip_versions() {
    let ah = with_extensions(&[(51, vec![4, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1])]);
    let h = Headers::parse(&ah).unwrap();
    assert_eq!((h.ip_protocol, h.transport), (51, Transport::Ah { spi: 9 }));
    let esp = with_extensions(&[(60, vec![0; 7]), (50, vec![1, 2, 3, 4, 0, 0, 0])]);
    let h = Headers::parse(&esp).unwrap();
    let key = MatchParam::of_packet(&esp, &h, &Metadata::default());
    // The helper puts a next-header byte first, which ESP does not have.
    assert_eq!((h.ip_protocol, fields::outer_esp_spi.get(&key)), (50, 0x1101_0203));
}

#[test]
fn a_udp_length_that_is_not_the_ip_payloads_is_not_ok() {
    let mut frame = with_extensions(&[]);
    let at = frame.len() - 8;
    // The length field grows and the source port shrinks by as much: the sum over the bytes stays right.
    let h = Headers::parse(&frame).unwrap();
    checksum::fill(&mut frame, &h, false, true);
    assert!(checksum::verify(&frame, &h).l4_ok);
    frame[at + 5] += 1;
    frame[at + 1] -= 1;
    let h = Headers::parse(&frame).unwrap();
    assert!(!checksum::verify(&frame, &h).l4_ok);
}
