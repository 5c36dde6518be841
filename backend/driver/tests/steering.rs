//! Flow tables against a model that knows nothing of groups, hashes and masks: it looks at one rule after the other.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Drv, Flow, Kind, Rng, goodbye, ip_frame, mac, opened, plain, tagged};
use mlx5emu_driver::NetConfig;
use mlx5emu_driver::steering::{Action, Destination, Match};
use mlx5emu_prm::field::Field;
use mlx5emu_prm::layouts::fte_match_set_lyr_2_4 as outer;
use mlx5emu_prm::steering::TableType;
use proptest::prelude::*;

const CHANNELS: usize = 4;

/// What a frame is, read without the card's parser.
#[derive(Debug, Clone, Copy)]
struct Facts {
    dmac: u64,
    ethertype: u64,
    cvlan: u64,
    svlan: u64,
    vid: u64,
    prio: u64,
    ip_version: u64,
    ip_protocol: u64,
    dst_ipv4: u64,
    udp_dport: u64,
}

fn facts(frame: &[u8]) -> Facts {
    let number = |at: usize, len: usize| frame[at..at + len].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let tag = number(12, 2);
    let has_tag = tag == 0x8100 || tag == 0x88a8;
    let mut at = 12;
    while [0x8100, 0x88a8].contains(&number(at, 2)) {
        at += 4;
    }
    let ethertype = number(at, 2);
    let ip = at + 2;
    let (ip_version, ip_protocol, l4) = match ethertype {
        0x0800 => (4, number(ip + 9, 1), ip + 20),
        0x86dd => (6, number(ip + 6, 1), ip + 40),
        _ => (0, 0, 0),
    };
    Facts {
        dmac: number(0, 6),
        ethertype,
        cvlan: u64::from(tag == 0x8100),
        svlan: u64::from(tag == 0x88a8),
        vid: if has_tag { number(14, 2) & 0xfff } else { 0 },
        prio: if has_tag { number(14, 2) >> 13 } else { 0 },
        ip_version,
        ip_protocol,
        // One field for both: an IPv4 address is where the last dword of an IPv6 address is.
        dst_ipv4: match ip_version {
            4 => number(ip + 16, 4),
            6 => number(ip + 36, 4),
            _ => 0,
        },
        udp_dport: if ip_protocol == 17 { number(l4 + 2, 2) } else { 0 },
    }
}

/// What a group looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Dmac(u64),
    Ethertype,
    Cvlan,
    Svlan,
    Vid(u64),
    Prio,
    IpVersion,
    IpProtocol,
    DstIpv4(u32),
    UdpDport(u64),
}

impl Look {
    fn of(self, f: &Facts) -> u64 {
        match self {
            Self::Dmac(mask) => f.dmac & mask,
            Self::Ethertype => f.ethertype,
            Self::Cvlan => f.cvlan,
            Self::Svlan => f.svlan,
            Self::Vid(mask) => f.vid & mask,
            Self::Prio => f.prio,
            Self::IpVersion => f.ip_version,
            Self::IpProtocol => f.ip_protocol,
            Self::DstIpv4(mask) => f.dst_ipv4 & u64::from(mask),
            Self::UdpDport(mask) => f.udp_dport & mask,
        }
    }

    fn put(self, m: Match, value: u64) -> Match {
        let masked = |m: Match, field: Field, mask| m.outer_masked(field, mask, value);
        match self {
            Self::Dmac(mask) => {
                let six = |n: u64| <[u8; 6]>::try_from(&n.to_be_bytes()[2..]).unwrap();
                m.dmac(six(value), six(mask))
            }
            Self::Ethertype => m.outer(outer::ethertype, value),
            Self::Cvlan => m.outer(outer::cvlan_tag, value),
            Self::Svlan => m.outer(outer::svlan_tag, value),
            Self::Vid(mask) => masked(m, outer::first_vid, mask),
            Self::Prio => m.outer(outer::first_prio, value),
            Self::IpVersion => m.outer(outer::ip_version, value),
            Self::IpProtocol => m.outer(outer::ip_protocol, value),
            Self::DstIpv4(mask) => m.dst_ipv4(value as u32, mask),
            Self::UdpDport(mask) => masked(m, outer::udp_dport, mask),
        }
    }
}

fn look() -> impl Strategy<Value = Look> {
    prop_oneof![
        prop_oneof![Just(0xffff_ffff_ffffu64), Just(0x0100_0000_0000), Just(0xffff), Just(0xff00_0000_00ff)]
            .prop_map(Look::Dmac),
        Just(Look::Ethertype),
        Just(Look::Cvlan),
        Just(Look::Svlan),
        prop_oneof![Just(0xfffu64), Just(1), Just(0xf00)].prop_map(Look::Vid),
        Just(Look::Prio),
        Just(Look::IpVersion),
        Just(Look::IpProtocol),
        prop_oneof![Just(0xffff_ffffu32), Just(0xff00_0000), Just(0x3)].prop_map(Look::DstIpv4),
        prop_oneof![Just(0xffffu64), Just(1)].prop_map(Look::UdpDport),
    ]
}

/// A group: what it looks at, and for each entry the number of the frame whose values it takes, and where it leads.
type Group = (Vec<Look>, Vec<(usize, Option<usize>)>);

fn group() -> impl Strategy<Value = Group> {
    let entry = (0usize..64, prop_oneof![4 => (0..CHANNELS).prop_map(Some), 1 => Just(None)]);
    (proptest::collection::vec(look(), 0..4), proptest::collection::vec(entry, 1..6)).prop_map(
        |(mut looks, entries)| {
            // A field has one mask in a group.
            let mut seen = Vec::new();
            looks.retain(|l| {
                let kind = std::mem::discriminant(l);
                let fresh = !seen.contains(&kind);
                seen.push(kind);
                fresh
            });
            (looks, entries)
        },
    )
}

/// Frames with few distinct values, so that rules meet them.
fn frame(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let dst = rng.pick(&[[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]]);
    let src = [2, 0, 0, 0, 0, 1];
    let mut flow = Flow::new(rng.below(4));
    flow.dport = rng.pick(&[53, 80, 443]);
    let kind = Kind { v6: rng.below(2) == 0, protocol: rng.pick(&[6, 17, 89]) };
    let mut frame = match rng.below(4) {
        0 => plain(dst, src, 80, seed),
        _ => ip_frame(dst, src, kind, &flow, &[1; 40], true),
    };
    for _ in 0..rng.below(3) {
        let tpid = rng.pick(&[0x8100, 0x88a8]);
        let tci = rng.pick(&[1, 2, 0x101, 0xf01]) | rng.pick(&[0u16, 1, 7]) << 13;
        frame = tagged(&frame, tpid, tci);
    }
    frame
}

/// The channel that the first matching entry leads to.
fn expected(groups: &[Group], pool: &[Vec<u8>], frame: &[u8]) -> Option<usize> {
    let f = facts(frame);
    for (looks, entries) in groups {
        for (pattern, target) in unique(looks, entries, pool) {
            if looks.iter().zip(&pattern).all(|(look, value)| look.of(&f) == *value) {
                return target;
            }
        }
    }
    None
}

/// Entries of a group without those whose values repeat an earlier one's: a table refuses them.
fn unique(looks: &[Look], entries: &[(usize, Option<usize>)], pool: &[Vec<u8>]) -> Vec<(Vec<u64>, Option<usize>)> {
    let mut out: Vec<(Vec<u64>, Option<usize>)> = Vec::new();
    for (number, target) in entries {
        let f = facts(&pool[*number % pool.len()]);
        let pattern: Vec<u64> = looks.iter().map(|l| l.of(&f)).collect();
        if !out.iter().any(|(p, _)| *p == pattern) {
            out.push((pattern, *target));
        }
    }
    out
}

fn install(b: &mut Drv, groups: &[Group], pool: &[Vec<u8>]) -> mlx5emu_driver::steering::Table {
    let tirs: Vec<u32> = b.net().unwrap().channels.iter().map(|c| c.tirn).collect();
    let mut table = b.add_table(10, 10).unwrap();
    for (looks, entries) in groups {
        let criteria = looks.iter().fold(Match::any(), |m, l| l.put(m, 0));
        let entries: Vec<_> = unique(looks, entries, pool)
            .into_iter()
            .map(|(pattern, target)| {
                let value = looks.iter().zip(pattern).fold(Match::any(), |m, (l, v)| l.put(m, v));
                let action = match target {
                    Some(channel) => Action::Forward(vec![Destination::Tir(tirs[channel])]),
                    None => Action::Drop,
                };
                (value, action)
            })
            .collect();
        b.add_group(&mut table, entries.len() as u32 + 3, &criteria, &entries).unwrap();
    }
    b.set_flow_table_root(TableType::NIC_RX, table.id).unwrap();
    table
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_go_where_the_first_matching_rule_says(
        groups in proptest::collection::vec(group(), 1..6),
        seed in any::<u64>(),
    ) {
        let pool: Vec<Vec<u8>> = (0..64).map(|n| frame(seed ^ n)).collect();
        let mut config = NetConfig { channels: CHANNELS, ..NetConfig::default() };
        config.rq.keep_vlan = true;
        let (world, mut a, mut b) = opened(seed, &config);
        let table = install(&mut b, &groups, &pool);
        for frame in &pool {
            a.send(frame).unwrap();
            assert!(world.borrow_mut().settle());
            let got = b.recv().unwrap();
            prop_assert_eq!(
                got.as_ref().map(|g| g.channel),
                expected(&groups, &pool, frame),
                "frame {:x?}, {:?}", frame, facts(frame)
            );
            prop_assert!(got.is_none_or(|g| g.frame == *frame));
        }
        // A TIR that a rule names cannot go; without the rules, the interface is closed and opened anew.
        b.set_flow_table_root(TableType::NIC_RX, b.anchor()).unwrap();
        b.drop_table(table).unwrap();
        b.close().unwrap();
        b.open(config).unwrap();
        let frame = plain(mac(&b), mac(&a), 99, 1);
        a.wait_until("the link", |a| a.port_changes.len() > 1).unwrap();
        a.send(&frame).unwrap();
        prop_assert_eq!(b.recv_wait().unwrap().frame, frame);
        goodbye(a);
        goodbye(b);
    }
}

#[test]
fn every_destination_of_a_rule_gets_a_copy() {
    let config = NetConfig { channels: CHANNELS, ..NetConfig::default() };
    let (_, mut a, mut b) = opened(1, &config);
    let tirs: Vec<u32> = b.net().unwrap().channels.iter().map(|c| c.tirn).collect();
    let mut table = b.add_table(10, 2).unwrap();
    let action = Action::Forward(tirs.into_iter().map(Destination::Tir).collect());
    b.add_group(&mut table, 1, &Match::any(), &[(Match::any(), action)]).unwrap();
    b.set_flow_table_root(TableType::NIC_RX, table.id).unwrap();
    let frame = plain(mac(&b), mac(&a), 300, 1);
    a.send(&frame).unwrap();
    let mut channels = Vec::new();
    for _ in 0..CHANNELS {
        let got = b.recv_wait().unwrap();
        assert_eq!(got.frame, frame);
        channels.push(got.channel);
    }
    channels.sort_unstable();
    assert_eq!(channels, [0, 1, 2, 3]);
    assert!(b.recv().unwrap().is_none());
    b.set_flow_table_root(TableType::NIC_RX, b.anchor()).unwrap();
    b.drop_table(table).unwrap();
    goodbye(a);
    goodbye(b);
}
