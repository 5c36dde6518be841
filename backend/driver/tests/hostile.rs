//! Rubbish from a driver: nothing panics, and the other function goes on.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Drv, Rng, goodbye, mac, opened, plain};
use mlx5emu_card::ResetKind;
use mlx5emu_driver::command::{PCI_CMD_XPORT, input};
use mlx5emu_driver::{Host, NetConfig};
use mlx5emu_prm::layouts::{
    self, cmd_in, fte_match_param, mlx5_cmd_layout as entry, mlx5_wqe_ctrl_seg as ctrl, mlx5_wqe_data_seg as data,
};
use mlx5emu_prm::opcode::Opcode;
use mlx5emu_prm::uar;
use mlx5emu_prm::wqe::CqeSyndrome;

/// How many seeds each test runs; more by MLX5EMU_FUZZ_SEEDS.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let count = std::env::var("MLX5EMU_FUZZ_SEEDS").ok().and_then(|n| n.parse().ok());
    0..count.unwrap_or(default)
}

/// `b` opens anew with a fresh peer and they talk: the card is sound.
fn pings(a: &mut Drv, b: &mut Drv) {
    for n in 0..3 {
        let frame = plain(mac(b), mac(a), 100 + n, n as u64);
        a.send(&frame).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame, frame);
        let frame = plain(mac(a), mac(b), 200 + n, n as u64);
        b.send(&frame).unwrap();
        assert_eq!(a.recv_wait().unwrap().frame, frame);
    }
}

/// After whatever `a` did: the other function answers and is as it was; `a` is reset, comes up and talks again.
fn recover(world: &mlx5emu_driver::in_process::SharedWorld, a: Drv, mut b: Drv) {
    let mac_b = b.permanent_address().unwrap();
    assert_eq!(mac_b, mac(&b));
    world.borrow_mut().reset(0, ResetKind::Conventional);
    let host = a.abandon();
    let mut a = mlx5emu_driver::Driver::probe(host, mlx5emu_driver::Config::default()).unwrap();
    a.open(NetConfig::default()).unwrap();
    while b.recv().unwrap().is_some() {}
    pings(&mut a, &mut b);
    goodbye(a);
    goodbye(b);
}

/// Random but plausible: fields of the layout get small numbers, ones that exist, or noise.
fn random_input(rng: &mut Rng) -> (Vec<u8>, usize) {
    let known = Opcode::NAMES.values;
    let named = &known[rng.below(known.len() as u64) as usize];
    let opcode = if rng.below(50) == 0 { Opcode(rng.next() as u16) } else { Opcode(named.value as u16) };
    let layout = layouts::find(&format!("{}_in", named.name.to_lowercase()));
    let fixed = layout.map_or(16, |l| l.size);
    let len = match rng.below(6) {
        0 => 8 + rng.below(64) as usize,
        1 => fixed,
        _ => fixed + rng.below(0x800) as usize,
    };
    let mut bytes = if rng.below(3) == 0 { rng.bytes(len) } else { vec![0; len] };
    cmd_in::opcode.set(&mut bytes, opcode.0.into());
    if rng.below(4) > 0 {
        cmd_in::op_mod.set(&mut bytes, rng.below(4));
    }
    for field in layout.into_iter().flat_map(|l| l.fields).filter(|f| f.name != "opcode") {
        let value = match rng.below(5) {
            0 => rng.next(),
            1 => rng.below(4),
            2 => 0x40 + rng.below(16),
            3 => rng.below(0x20),
            _ => continue,
        };
        if field.name != "op_mod" {
            field.set(&mut bytes, value);
        }
    }
    // Contexts are sparse noise: an all-random one fails its first check and shows nothing.
    for _ in 0..rng.below(24) {
        let at = rng.below(len.saturating_sub(8).max(1) as u64) as usize + 8;
        if let Some(byte) = bytes.get_mut(at) {
            *byte = rng.next() as u8 & if rng.below(2) == 0 { 0x1f } else { 0xff };
        }
    }
    let out_len = match rng.below(3) {
        0 => 8 + rng.below(64) as usize,
        _ => 16 + rng.below(0x1100) as usize,
    };
    (bytes, out_len)
}

/// A well-formed command of the driver's own, with a few bits turned.
#[test]
fn random_commands() {
    for seed in seeds(40) {
        let (world, mut a, b) = opened(seed, &NetConfig::default());
        let mut rng = Rng::new(seed ^ 0xc0de);
        for _ in 0..400 {
            let (cmd, out_len) = random_input(&mut rng);
            let opcode = Opcode(cmd_in::opcode.get(&cmd) as u16);
            if [Opcode::TEARDOWN_HCA, Opcode::DISABLE_HCA].contains(&opcode) && rng.below(20) > 0 {
                continue;
            }
            // Event queues and pages may be gone by now, so the slots are watched from outside.
            if a.submit(&cmd, out_len).is_err() {
                break;
            }
            assert!(world.borrow_mut().settle());
            let _ = a.service();
        }
        recover(&world, a, b);
    }
}

/// Objects are made with fields at random, so that more of them come to exist, then traffic goes through them.
#[test]
fn random_contexts_then_traffic() {
    let creates = [
        Opcode::CREATE_CQ,
        Opcode::CREATE_SQ,
        Opcode::CREATE_RQ,
        Opcode::CREATE_TIR,
        Opcode::CREATE_RQT,
        Opcode::CREATE_TIS,
        Opcode::CREATE_MKEY,
        Opcode::CREATE_FLOW_TABLE,
        Opcode::CREATE_FLOW_GROUP,
        Opcode::SET_FLOW_TABLE_ENTRY,
        Opcode::MODIFY_SQ,
        Opcode::MODIFY_RQ,
        Opcode::MODIFY_TIR,
        Opcode::MODIFY_RQT,
        Opcode::MODIFY_CQ,
        Opcode::SET_FLOW_TABLE_ROOT,
        Opcode::MODIFY_FLOW_TABLE,
        Opcode::MODIFY_NIC_VPORT_CONTEXT,
    ];
    for seed in seeds(40) {
        let (world, mut a, mut b) = opened(seed, &NetConfig::default());
        let mut rng = Rng::new(seed ^ 0x0b7ec);
        for _ in 0..300 {
            let opcode = rng.pick(&creates);
            let len = 0x110 + 4 * rng.below(0x140) as usize;
            let mut cmd = input(opcode, len);
            for at in (8..len).step_by(4) {
                if rng.below(5) == 0 {
                    let value = match rng.below(4) {
                        0 => rng.below(8) as u32,
                        1 => 0x40 + rng.below(8) as u32,
                        2 => 1 << rng.below(32),
                        _ => rng.next() as u32,
                    };
                    cmd[at..at + 4].copy_from_slice(&value.to_be_bytes());
                }
            }
            if a.submit(&cmd, 16).is_err() {
                break;
            }
            assert!(world.borrow_mut().settle());
            let _ = a.service();
            if rng.below(8) == 0 {
                let _ = b.send(&plain(mac(&a), mac(&b), 60 + rng.below(500) as usize, seed));
                let _ = b.send(&plain([0xff; 6], mac(&b), 60, seed));
                assert!(world.borrow_mut().settle());
            }
        }
        recover(&world, a, b);
    }
}

#[test]
fn random_register_writes_and_reads() {
    for seed in seeds(40) {
        let (world, mut a, b) = opened(seed, &NetConfig::default());
        let mut rng = Rng::new(seed ^ 0x4e6);
        for _ in 0..3000 {
            let offset = match rng.below(5) {
                0 => rng.below(0x2010),
                1 => rng.below(32 << 20),
                2 => (16 + rng.below(3)) * 4096 + rng.pick(&[uar::CQ_DOORBELL, uar::EQ_ARM, uar::EQ_UPDATE]),
                3 => (16 + rng.below(3)) * 4096 + uar::BF_START + 0x100 * rng.below(8),
                _ => rng.pick(&[0x10, 0x14, 0x18, 0x1fc, 0x200c]),
            };
            let len = rng.pick(&[1, 2, 4, 8, 3, 16]);
            let data = match rng.below(3) {
                0 => rng.bytes(len),
                1 => rng.below(0x100).to_be_bytes()[8 - len.min(8)..].to_vec(),
                _ => (rng.below(32) << 32 | rng.below(64) << 8).to_be_bytes()[8 - len.min(8)..].to_vec(),
            };
            a.host.bar_write(offset, &data);
            let mut back = vec![0; len];
            a.host.bar_read(offset, &mut back);
            if rng.below(10) == 0 {
                world.borrow_mut().step();
            }
        }
        assert!(world.borrow_mut().settle());
        recover(&world, a, b);
    }
}

#[test]
fn random_command_entries() {
    for seed in seeds(40) {
        let (world, mut a, b) = opened(seed, &NetConfig::default());
        let mut rng = Rng::new(seed ^ 0xe47);
        let page = a.commands().entry_address(0);
        for _ in 0..300 {
            let slot = rng.below(32);
            let mut raw = [0u8; 64];
            raw.copy_from_slice(&rng.bytes(64));
            if rng.below(4) > 0 {
                entry::r#type.set(&mut raw, PCI_CMD_XPORT);
                entry::ownership.set(&mut raw, 1);
                entry::inlen.set(&mut raw, 8 + rng.below(0x2000));
                entry::outlen.set(&mut raw, 8 + rng.below(0x2000));
                // Mailboxes may lie anywhere in memory, in the command page itself too.
                entry::in_ptr.set(&mut raw, page + rng.below(0x10000) * 4);
                entry::out_ptr.set(&mut raw, page + rng.below(0x10000) * 4);
            }
            a.host.mem_write(page + slot * 64, &raw);
            a.host.bar_write32(0x18, 1 << slot);
            assert!(world.borrow_mut().settle());
        }
        recover(&world, a, b);
    }
}

#[test]
fn random_wqes_and_doorbell_records() {
    for seed in seeds(40) {
        let mut config = NetConfig::default();
        config.sq.log_size = 8;
        config.sq_cq.log_size = 8;
        let (world, mut a, b) = opened(seed, &config);
        let mut rng = Rng::new(seed ^ 0x309e);
        for round in 0..40 {
            let (sq, host) = a.sq_and_host(0).unwrap();
            for _ in 0..1 + rng.below(6) {
                let len = 64 * (1 + rng.below(4) as usize);
                let mut wqe = rng.bytes(len);
                if rng.below(4) > 0 {
                    ctrl::opcode.set(&mut wqe, rng.pick(&[0x0a, 0x0e, 0x00, 0x0a, 0x29, 0x25]));
                    ctrl::ds.set(&mut wqe, rng.below(64 * len as u64 / 1024 + 6));
                    // Inline lengths and data segments that sometimes make sense.
                    wqe[28] = rng.below(4) as u8 & if rng.below(2) == 0 { 0 } else { 0xff };
                    wqe[29] = rng.below(40) as u8;
                    for segment in wqe[32..].chunks_mut(16) {
                        data::byte_count.set(segment, rng.pick(&[0, 14, 60, 1500, 0x8000_0010, 1 << 20, 1 << 31]));
                        data::addr.set(segment, rng.pick(&[0, 0x4000_2000, 0x4100_0000, 0x43ff_fff0, u64::MAX - 3]));
                        data::lkey.set(segment, rng.pick(&[0x15a, 0x25a, 0x100, 0, 0xffff_ffff]));
                    }
                }
                let _ = sq.post_raw(host, &wqe, rng.below(3) > 0);
            }
            sq.ring(host);
            if rng.below(3) == 0 {
                let record = sq.record() + 4;
                host.store_release_be32(record, rng.next() as u32);
                sq.ring(host);
                host.store_release_be32(record, rng.next() as u32);
            }
            assert!(world.borrow_mut().settle());
            let _ = a.service();
            // What a driver does with a queue that failed: ERR to RST to RDY. Any step may be refused.
            if round % 5 == 4 {
                let sqn = a.net().unwrap().channels[0].sq.number;
                for (from, to) in [(1, 3), (3, 0), (0, 1)] {
                    let _ = a.modify_sq(sqn, from, to);
                }
                a.sq_and_host(0).unwrap().0.reset();
            }
        }
        recover(&world, a, b);
    }
}

#[test]
fn random_receive_queues() {
    for seed in seeds(40) {
        let (world, mut a, mut b) = opened(seed, &NetConfig::default());
        let mut rng = Rng::new(seed ^ 0x8ec);
        let rq_record = a.net().unwrap().channels[0].rq.record();
        let cq_record = a.net().unwrap().channels[0].rq.cq.record();
        let space = a.host.space().clone();
        for _ in 0..100 {
            match rng.below(4) {
                0 => a.host.store_release_be32(rq_record, rng.next() as u32),
                1 => a.host.store_release_be32(cq_record, rng.next() as u32),
                // Anything the driver has, the rings too, is overwritten here and there.
                2 => {
                    let at = space.base() + rng.below(1 << 20) * 4;
                    let noise = rng.bytes(64);
                    a.host.mem_write(at, &noise);
                }
                _ => a.host.store_release_be32(rq_record, 40),
            }
            b.send(&plain(mac(&a), mac(&b), 60 + rng.below(3000) as usize, seed)).unwrap();
            assert!(world.borrow_mut().settle());
        }
        recover(&world, a, b);
    }
}

#[test]
fn dma_that_is_refused_on_the_way() {
    for seed in seeds(40) {
        let (world, mut a, mut b) = opened(seed, &NetConfig::default());
        let mut rng = Rng::new(seed ^ 0xd3a);
        let space = a.host.space().clone();
        for _ in 0..60 {
            match rng.below(4) {
                0 => space.set_bus_master(rng.below(2) == 0),
                1 => {
                    let at = space.base() + rng.below(2 << 20);
                    space.set_read_only(at..at + 4096);
                }
                // Memory that only messages reach: the executor fetches it and the step is repeated.
                2 => {
                    let at = space.base() + rng.below(2 << 20);
                    space.set_remote(at..at + 4096);
                }
                _ => {}
            }
            let _ = a.submit(&input(Opcode::QUERY_ADAPTER, 16), 0x110);
            let _ = a.send(&plain(mac(&b), mac(&a), 300, seed));
            let _ = b.send(&plain(mac(&a), mac(&b), 300, seed));
            assert!(world.borrow_mut().settle());
            let _ = a.service();
        }
        drop((a, b));
        drop(world);
    }
}

#[test]
fn memory_reached_by_message_only_slows_down_and_loses_nothing() {
    for seed in seeds(20) {
        let (_, mut a, mut b) = opened(seed, &NetConfig::default());
        let space = a.host.space().clone();
        for n in 0..60u64 {
            let at = space.base() + (n * 0x9e3) % 0x40_0000;
            space.set_remote(at..at + 0x2000);
            let frame = plain(mac(&b), mac(&a), 60 + n as usize * 9, n);
            a.send(&frame).unwrap();
            assert_eq!(b.recv_wait().unwrap().frame, frame);
            let frame = plain(mac(&a), mac(&b), 60 + n as usize * 9, n);
            b.send(&frame).unwrap();
            assert_eq!(a.recv_wait().unwrap().frame, frame);
        }
        goodbye(a);
        goodbye(b);
    }
}

#[test]
fn a_bad_wqe_is_an_error_completion_and_the_queue_comes_back() {
    let (world, mut a, mut b) = opened(1, &NetConfig::default());
    let sqn = a.net().unwrap().channels[0].sq.number;
    for (round, lkey) in [0u32, 0xffff_ff00, 0x100].into_iter().enumerate() {
        let mut wqe = vec![0u8; 64];
        ctrl::opcode.set(&mut wqe, 0x0a);
        ctrl::ds.set(&mut wqe, 3);
        ctrl::ce.set(&mut wqe, 2);
        let segment = &mut wqe[32..48];
        data::byte_count.set(segment, 100);
        data::lkey.set(segment, lkey.into());
        data::addr.set(segment, 0x4000_2000);
        // One before it, in the same burst: it is sent, and completed before the error.
        let good = plain(mac(&b), mac(&a), 80, round as u64);
        a.post(0, &good, &Default::default()).unwrap();
        let (sq, host) = a.sq_and_host(0).unwrap();
        let first = sq.producer();
        sq.post_raw(host, &wqe, true).unwrap();
        // Two more behind it: they are flushed.
        a.post(0, &plain([0xff; 6], [2; 6], 60, 1), &Default::default()).unwrap();
        a.send(&plain([0xff; 6], [2; 6], 60, 1)).unwrap();
        a.wait_until("the flush", |a| a.net().unwrap().channels[0].sq.outstanding() == 0).unwrap();
        let (sq, _) = a.sq_and_host(0).unwrap();
        let errors = std::mem::take(&mut sq.errors);
        assert_eq!((errors[0].wqe_counter, errors[0].syndrome), (first, CqeSyndrome::LOCAL_PROT_ERR));
        assert!(errors[1..].iter().all(|e| e.syndrome == CqeSyndrome::WR_FLUSH_ERR) && errors.len() > 1);
        assert_eq!(b.recv_wait().unwrap().frame, good);
        a.modify_sq(sqn, 3, 0).unwrap();
        a.modify_sq(sqn, 0, 1).unwrap();
        // The queue is ready, the doorbell record is of the life before: nothing of it may be executed.
        assert!(world.borrow_mut().settle());
        a.service().unwrap();
        let (sq, _) = a.sq_and_host(0).unwrap();
        assert!(sq.errors.is_empty(), "{:?}", sq.errors);
        sq.reset();
        let frame = plain(mac(&b), mac(&a), 100, round as u64);
        a.send(&frame).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame, frame);
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn objects_in_use_cannot_be_destroyed() {
    let (_, mut a, mut b) = opened(2, &NetConfig::default());
    let net = a.net().unwrap();
    let (pd, mkey, tisn, set) = (net.pd, net.mkey, net.tisn, net.counter_set);
    let (rqn, cqn, tirn) = (net.channels[0].rq.number, net.channels[0].rq.cq.number, net.channels[0].tirn);
    assert!(a.dealloc_pd(pd).is_err());
    assert!(a.destroy_tis(tisn).is_err());
    assert!(a.dealloc_q_counter(set).is_err());
    assert!(a.destroy_rq(rqn).is_err());
    assert!(a.destroy_cq(cqn).is_err());
    assert!(a.destroy_tir(tirn).is_err());
    assert!(a.destroy_mkey(mkey ^ 0x100).is_err());
    pings(&mut a, &mut b);
    goodbye(a);
    goodbye(b);
}

#[test]
fn flow_rules_cannot_go_in_circles_or_fill_the_card() {
    use mlx5emu_driver::steering::{Action, Destination, Match};
    use mlx5emu_prm::steering::TableType;
    let (world, mut a, mut b) = opened(3, &NetConfig::default());
    let low = a.create_flow_table(TableType::NIC_RX, 5, 4, None).unwrap();
    let high = a.create_flow_table(TableType::NIC_RX, 6, 4, None).unwrap();
    let group = a.create_flow_group(high, 0, 15, &Match::any()).unwrap();
    for target in [low, high, 0xff_ffff] {
        let action = Action::Forward(vec![Destination::Table(target)]);
        assert!(a.set_fte(high, group, 0, &Match::any(), &action).is_err(), "a jump down to {target:#x}");
    }
    assert!(a.create_flow_group(high, 8, 20, &Match::any()).is_err(), "beyond the table");
    assert!(a.create_flow_group(high, 4, 5, &Match::any()).is_err(), "over another group");
    let too_many = vec![Destination::Tir(a.net().unwrap().channels[0].tirn); 5000];
    assert!(a.set_fte(high, group, 0, &Match::any(), &Action::Forward(too_many)).is_err());
    assert_eq!(Match::any().mask.len(), fte_match_param::SIZE);
    a.destroy_flow_group(high, group).unwrap();
    // A rule leads up, a miss back down: frames that go in are dropped after a bounded walk.
    let loop_table = a.create_flow_table(TableType::NIC_RX, 7, 0, Some(low)).unwrap();
    let up = a.create_flow_group(low, 0, 15, &Match::any()).unwrap();
    let action = Action::Forward(vec![Destination::Table(loop_table)]);
    a.set_fte(low, up, 0, &Match::any(), &action).unwrap();
    a.set_flow_table_root(TableType::NIC_RX, low).unwrap();
    b.send(&plain(mac(&a), mac(&b), 100, 1)).unwrap();
    assert!(world.borrow_mut().settle());
    assert!(a.recv().unwrap().is_none());
    a.close().unwrap();
    a.delete_fte(low, 0).unwrap();
    a.destroy_flow_group(low, up).unwrap();
    for table in [loop_table, high, low] {
        a.destroy_flow_table(TableType::NIC_RX, table).unwrap();
    }
    // Tables until the card has no more: it says so, and takes all of them back.
    let mut tables = Vec::new();
    while let Ok(table) = a.create_flow_table(TableType::NIC_RX, 5, 20, None) {
        tables.push(table);
        assert!(tables.len() < 100_000);
    }
    for table in tables {
        a.destroy_flow_table(TableType::NIC_RX, table).unwrap();
    }
    goodbye(a);
    goodbye(b);
}
