//! The command interface: many at once, bad ones, held ones.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Drv, Rng, goodbye, mac, opened, plain, probed, rules};
use mlx5emu_card::ResetKind;
use mlx5emu_driver::command::{PCI_CMD_XPORT, input};
use mlx5emu_driver::{Config, Driver, Error, Host, NetConfig};
use mlx5emu_prm::layouts::{
    alloc_pd_out, cmd_in, dealloc_pd_in, mlx5_cmd_layout as entry, mlx5_cmd_prot_block as block, query_hca_cap_in,
    query_hca_cap_out,
};
use mlx5emu_prm::opcode::{DeliveryStatus, Opcode, Status};

/// The card still works for this driver.
fn alive(driver: &mut Drv) {
    let out = driver.command(&input(Opcode::ALLOC_PD, 16), 16).unwrap();
    let mut cmd = input(Opcode::DEALLOC_PD, dealloc_pd_in::SIZE);
    dealloc_pd_in::pd.set(&mut cmd, alloc_pd_out::pd.get(&out));
    driver.command(&cmd, 16).unwrap();
}

#[test]
fn all_slots_at_once_with_mailboxes() {
    for seed in 0..20 {
        let (_, mut a, mut b) = probed(seed);
        let slots = a.commands().max_reg_cmds();
        assert_eq!(slots, 31);
        let mut cmd = input(Opcode::QUERY_HCA_CAP, query_hca_cap_in::SIZE);
        query_hca_cap_in::op_mod.set(&mut cmd, 1);
        let expected = a.command(&cmd, query_hca_cap_out::SIZE).unwrap();
        let list: Vec<_> = (0..slots).map(|_| (cmd.clone(), query_hca_cap_out::SIZE)).collect();
        let tickets = a.submit_all(&list).unwrap();
        assert!(matches!(a.submit(&cmd, query_hca_cap_out::SIZE), Err(Error::NoSlot)));
        // Collected in another order than given; the other function's commands go in between.
        for ticket in tickets.into_iter().rev() {
            alive(&mut b);
            assert_eq!(a.wait(ticket).unwrap().ok().unwrap(), expected);
        }
        assert_eq!(a.commands().in_flight(), 0);
        goodbye(a);
        goodbye(b);
    }
}

#[test]
fn slots_rung_one_by_one_complete_in_any_order_of_collection() {
    let (_, mut a, b) = probed(30);
    let mut rng = Rng::new(5);
    let mut held = Vec::new();
    for _ in 0..500 {
        if held.len() < 31 && rng.below(3) > 0 {
            held.push(a.submit(&input(Opcode::ALLOC_PD, 16), 16).unwrap());
        } else if !held.is_empty() {
            let ticket = held.remove(rng.below(held.len() as u64) as usize);
            let out = a.wait(ticket).unwrap().ok().unwrap();
            let mut cmd = input(Opcode::DEALLOC_PD, dealloc_pd_in::SIZE);
            dealloc_pd_in::pd.set(&mut cmd, alloc_pd_out::pd.get(&out));
            match a.submit(&cmd, 16) {
                Ok(ticket) => drop(a.wait(ticket).unwrap().ok().unwrap()),
                Err(error) => assert_eq!(error, Error::NoSlot),
            }
        }
    }
    for ticket in held {
        a.wait(ticket).unwrap();
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn unknown_and_short_commands_are_refused_with_a_syndrome() {
    let (_, mut a, b) = probed(31);
    for opcode in [0u16, 0x0fff, 0xffff, 0x106, 0xb01] {
        let (status, syndrome) = a.refusal(&input(Opcode(opcode), 16), 16).unwrap();
        assert_eq!(status, Status::BAD_OP, "{opcode:#x}");
        assert_ne!(syndrome, 0);
    }
    for (opcode, len) in [(Opcode::CREATE_EQ, 16), (Opcode::CREATE_TIS, 16), (Opcode::CREATE_CQ, 8)] {
        let (status, syndrome) = a.refusal(&input(opcode, len), 16).unwrap();
        assert_ne!((status, syndrome), (Status::OK, 0), "{opcode}");
    }
    alive(&mut a);
    goodbye(a);
    goodbye(b);
}

#[test]
fn every_command_takes_the_shortest_input_and_output() {
    // What is missing of the input reads as zero, what has no room in the output is left out: some status comes back.
    for named in Opcode::NAMES.values {
        let opcode = Opcode(named.value as u16);
        // These two take the command EQ with them, and with it the news that they are done.
        if [Opcode::TEARDOWN_HCA, Opcode::DISABLE_HCA].contains(&opcode) {
            continue;
        }
        let (_, mut a, b) = probed(35);
        for (len, out_len) in [(8, 8), (8, 16), (16, 8), (24, 24), (0x200, 0x100)] {
            let cmd = input(opcode, len);
            let ticket = a.submit(&cmd, out_len).unwrap();
            a.wait(ticket).unwrap();
        }
        drop((a, b));
    }
}

#[test]
fn the_output_ends_where_the_driver_said() {
    let (_, mut a, b) = probed(32);
    // Room for 16 bytes more than the entry holds, in a mailbox of 512: the rest of the mailbox stays as it was.
    let mut cmd = input(Opcode::QUERY_ISSI, 16);
    cmd_in::op_mod.set(&mut cmd, 0);
    let out = a.command(&cmd, 0x70).unwrap();
    assert_eq!(out.len(), 0x70);
    // Longer than the command's output: zeros behind it.
    let long = a.command(&cmd, 0x700).unwrap();
    assert_eq!(&long[..0x70], &out[..]);
    assert!(long[0x70..].iter().all(|b| *b == 0));
    goodbye(a);
    goodbye(b);
}

/// An entry for QUERY_HCA_CAP with one output mailbox chain at `out_ptr`.
fn query_entry(out_ptr: u64) -> [u8; 64] {
    let mut raw = [0u8; 64];
    entry::r#type.set(&mut raw, PCI_CMD_XPORT);
    entry::inlen.set(&mut raw, 16);
    entry::outlen.set(&mut raw, query_hca_cap_out::SIZE as u64);
    entry::out_ptr.set(&mut raw, out_ptr);
    entry::token.set(&mut raw, 9);
    entry::ownership.set(&mut raw, 1);
    let cmd = entry::r#in.of_mut(&mut raw);
    cmd_in::opcode.set(cmd, u64::from(Opcode::QUERY_HCA_CAP.0));
    cmd_in::op_mod.set(cmd, 1);
    raw
}

fn delivery(driver: &mut Drv, raw: &[u8; 64]) -> DeliveryStatus {
    let ticket = driver.submit_entry(raw).unwrap();
    driver.wait(ticket).unwrap().delivery
}

#[test]
fn bad_entries_and_mailboxes_get_a_delivery_status() {
    let (_, mut a, b) = probed(33);
    let mut cases: Vec<[u8; 64]> = Vec::new();
    for pointer in [0, 1, 0x1000_0000_0000, u64::MAX, u64::MAX - 511, 0x4000_0001] {
        cases.push(query_entry(pointer));
    }
    for (field, value) in [
        (entry::r#type, 0),
        (entry::r#type, 6),
        (entry::inlen, 0),
        (entry::inlen, 7),
        (entry::inlen, 0xffff_ffff),
        (entry::outlen, 0),
        (entry::outlen, 0xffff_ffff),
    ] {
        let mut raw = query_entry(0);
        entry::outlen.set(&mut raw, 16);
        field.set(&mut raw, value);
        cases.push(raw);
    }
    // Input that says it has mailboxes, and has none.
    let mut raw = query_entry(0);
    entry::outlen.set(&mut raw, 16);
    entry::inlen.set(&mut raw, 0x1010);
    cases.push(raw);
    for raw in cases {
        assert_ne!(delivery(&mut a, &raw), DeliveryStatus::OK, "{raw:x?}");
        alive(&mut a);
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_mailbox_chain_that_bites_its_tail_or_counts_wrong_ends() {
    let (_, mut a, b) = probed(34);
    let page = a.host.dma_alloc(4096, 4096).unwrap();
    let mut raw = [0u8; block::SIZE];
    block::next.set(&mut raw, page);
    a.host.mem_write(page, &raw);
    // The chain says block 0 again and again.
    assert_eq!(delivery(&mut a, &query_entry(page)), DeliveryStatus::BAD_BLK_NUM_ERR);
    block::block_num.set(&mut raw, 5);
    a.host.mem_write(page, &raw);
    assert_eq!(delivery(&mut a, &query_entry(page)), DeliveryStatus::BAD_BLK_NUM_ERR);
    // As long as the longest input may be, in a ring of two mailboxes.
    let mut entry_raw = query_entry(page);
    entry::inlen.set(&mut entry_raw, 1 << 20);
    entry::in_ptr.set(&mut entry_raw, page);
    assert_ne!(delivery(&mut a, &entry_raw), DeliveryStatus::OK);
    a.host.dma_free(page);
    alive(&mut a);
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_doorbell_for_a_slot_in_flight_is_ignored() {
    for seed in 0..10 {
        let (world, mut a, b) = probed(40 + seed);
        let ticket = a.submit(&input(Opcode::ALLOC_PD, 16), 16).unwrap();
        for _ in 0..5 {
            a.host.bar_write32(0x18, 1 << ticket.slot());
        }
        let out = a.wait(ticket).unwrap().ok().unwrap();
        // The card looks at nothing more: a second execution would have made a second PD and a second event.
        assert!(world.borrow_mut().settle());
        a.service().unwrap();
        let next = a.command(&input(Opcode::ALLOC_PD, 16), 16).unwrap();
        assert!(a.host.front().ignored_doorbells() >= 5);
        for out in [out, next] {
            let mut cmd = input(Opcode::DEALLOC_PD, dealloc_pd_in::SIZE);
            dealloc_pd_in::pd.set(&mut cmd, alloc_pd_out::pd.get(&out));
            a.command(&cmd, 16).unwrap();
        }
        goodbye(a);
        goodbye(b);
    }
}

#[test]
fn doorbells_for_slots_that_hold_no_command_do_no_harm() {
    let (world, mut a, b) = probed(51);
    a.host.bar_write32(0x18, 0x7fff_ff00);
    assert!(world.borrow_mut().settle());
    // Those entries are zero or old: the ownership bit is the driver's. No event may name them.
    a.service().unwrap();
    alive(&mut a);
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_held_command_stops_no_other_and_not_the_pages() {
    let (world, mut a, mut b) = probed(60);
    rules(&world, &["x: cmd op=ALLOC_TRANSPORT_DOMAIN => hold"]);
    let held = a.submit(&input(Opcode::ALLOC_TRANSPORT_DOMAIN, 16), 16).unwrap();
    for _ in 0..40 {
        alive(&mut a);
        alive(&mut b);
    }
    assert!(matches!(a.wait(held), Err(Error::Timeout(_))));
    assert_eq!(world.borrow_mut().card().parked(0), 1);
    assert_eq!(world.borrow_mut().card().release_fault("x"), Ok(1));
    let out = a.wait(held).unwrap().ok().unwrap();
    a.dealloc_transport_domain(mlx5emu_prm::layouts::alloc_transport_domain_out::transport_domain.get32(&out)).unwrap();
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_reset_with_commands_parked_and_half_done_answers_none_of_them() {
    for seed in 0..30 {
        for kind in [ResetKind::Flr, ResetKind::Software, ResetKind::Conventional] {
            let (world, mut a, mut b) = opened(100 + seed, &NetConfig::default());
            rules(&world, &["cmd op=ALLOC_PD fn=pf0 => hold times=all"]);
            let tickets: Vec<_> = (0..5).map(|_| a.submit(&input(Opcode::ALLOC_PD, 16), 16).unwrap()).collect();
            let other = a.submit(&input(Opcode::QUERY_ADAPTER, 16), 0x110).unwrap();
            for _ in 0..seed {
                world.borrow_mut().step();
            }
            let frame = plain(mac(&b), mac(&a), 300, seed);
            a.send(&frame).unwrap();
            for _ in 0..seed / 3 {
                world.borrow_mut().step();
            }
            let before = a.host.space().msi_total();
            world.borrow_mut().reset(0, kind);
            // Nothing of what was half done reaches the memory that the reset function had.
            let space = a.host.space().clone();
            let mut memory = [vec![0; 8 << 20], vec![0; 8 << 20]];
            assert!(space.peek(space.base(), &mut memory[0]));
            assert!(world.borrow_mut().settle());
            assert!(space.peek(space.base(), &mut memory[1]));
            assert!(memory[0] == memory[1], "DMA after a reset");
            assert_eq!(before, space.msi_total(), "an interrupt after a reset");
            drop((tickets, other));
            // The driver starts anew on the same machine; the other function never noticed.
            let host = a.abandon();
            // All of them were forgotten.
            assert_eq!(world.borrow_mut().card().clear_faults(None), Ok((1, 0)));
            let mut a = Driver::probe(host, Config::default()).unwrap();
            a.open(NetConfig::default()).unwrap();
            alive(&mut b);
            while b.recv().unwrap().is_some() {}
            let frame = plain(mac(&b), mac(&a), 200, seed);
            a.send(&frame).unwrap();
            assert_eq!(b.recv_wait().unwrap().frame, frame);
            goodbye(a);
            goodbye(b);
        }
    }
}
