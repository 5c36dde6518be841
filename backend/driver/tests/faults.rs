//! Fault rules, as a driver meets them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Drv, goodbye, probed, rules};
use mlx5emu_card::ResetKind;
use mlx5emu_card::error::Syndrome;
use mlx5emu_driver::command::input;
use mlx5emu_driver::in_process::SharedWorld;
use mlx5emu_driver::{Config, Driver, Error};
use mlx5emu_prm::layouts::{alloc_pd_out, dealloc_pd_in, manage_pages_in, query_hca_cap_in, query_issi_out};
use mlx5emu_prm::opcode::{DeliveryStatus, Opcode, Status};

fn alloc_pd(driver: &mut Drv) -> Result<u32, Error> {
    Ok(alloc_pd_out::pd.get32(&driver.command(&input(Opcode::ALLOC_PD, 16), 16)?))
}

fn dealloc_pd(driver: &mut Drv, pd: u32) {
    let mut cmd = input(Opcode::DEALLOC_PD, dealloc_pd_in::SIZE);
    dealloc_pd_in::pd.set(&mut cmd, pd.into());
    driver.command(&cmd, 16).unwrap();
}

/// Objects of pf0, as the card counts them.
fn objects(world: &SharedWorld) -> String {
    world.borrow_mut().card().inspect()["functions"]["pf0"]["objects"].to_string()
}

fn refused(error: Error) -> (Status, u32) {
    match error {
        Error::Refused { status, syndrome, .. } => (status, syndrome),
        other => panic!("{other}"),
    }
}

/// Matched, acted and held of the only rule.
fn counts(world: &SharedWorld) -> (u64, u64, u64) {
    let states = world.borrow_mut().card().fault_states(None).unwrap();
    (states[0].matched, states[0].acted, states[0].held_count)
}

#[test]
fn a_status_in_place_of_the_command_or_after_it() {
    for (stage, executed) in [("", false), ("before", false), ("after", true)] {
        let (world, mut a, b) = probed(1);
        rules(&world, &[&format!("cmd op=ALLOC_PD nth=2 => {stage} status=EXCEED_LIM syndrome=0x1234")]);
        let first = alloc_pd(&mut a).unwrap();
        let before = objects(&world);
        assert_eq!(refused(alloc_pd(&mut a).unwrap_err()), (Status::EXCEED_LIM, 0x1234));
        assert_eq!(objects(&world) != before, executed, "{stage}");
        let third = alloc_pd(&mut a).unwrap();
        assert_eq!(counts(&world), (3, 1, 0));
        assert_eq!(third - first, if executed { 2 } else { 1 });
        let record = world.borrow_mut().card().recorder().since(0).into_iter().find(|r| r.fault.is_some()).unwrap();
        assert_eq!(
            (record.opcode, record.status, record.fault.as_deref()),
            (Opcode::ALLOC_PD, Status::EXCEED_LIM, Some("rule1"))
        );
        drop((a, b));
    }
}

#[test]
fn a_failure_without_a_syndrome_has_that_of_rules() {
    let (world, mut a, b) = probed(2);
    rules(&world, &["cmd op=ALLOC_PD fn=pf0 => status=INTERNAL"]);
    assert_eq!(refused(alloc_pd(&mut a).unwrap_err()), (Status::INTERNAL, Syndrome::Injected as u32));
    let pd = alloc_pd(&mut a).unwrap();
    dealloc_pd(&mut a, pd);
    goodbye(a);
    goodbye(b);
}

#[test]
fn fields_of_the_answer_are_changed_and_the_rest_is_the_commands() {
    let (world, mut a, b) = probed(3);
    let cmd = input(Opcode::QUERY_ISSI, 16);
    let plain = a.command(&cmd, query_issi_out::SIZE).unwrap();
    rules(&world, &["cmd op=QUERY_ISSI => out.supported_issi_dw0=0x80000001"]);
    let mut changed = a.command(&cmd, query_issi_out::SIZE).unwrap();
    assert_eq!(query_issi_out::supported_issi_dw0.get(&changed), 0x8000_0001);
    query_issi_out::supported_issi_dw0.set(&mut changed, query_issi_out::supported_issi_dw0.get(&plain));
    assert_eq!(changed, plain);
    // In place of the command: there is nothing else.
    rules(&world, &["cmd op=QUERY_ISSI nth=1 => before out.supported_issi_dw0=3"]);
    let forged = a.command(&cmd, query_issi_out::SIZE).unwrap();
    assert_eq!(query_issi_out::current_issi.get(&forged), 0);
    assert_eq!(query_issi_out::supported_issi_dw0.get(&forged), 3);
    // A field beyond what the driver has room for is no field.
    rules(&world, &["cmd op=QUERY_ISSI nth=1 => out.supported_issi_dw0=3"]);
    assert_eq!(a.command(&cmd, 16).unwrap().len(), 16);
    goodbye(a);
    goodbye(b);
}

#[test]
fn rules_look_at_the_fields_of_the_input() {
    let (world, mut a, b) = probed(4);
    rules(
        &world,
        &[
            "cmd op=DEALLOC_PD in.pd=0x123 => status=RESOURCE_BUSY times=all",
            "cmd op=QUERY_HCA_CAP op_mod=1 => status=BAD_RES_STATE times=all",
            "cmd op=DEALLOC_PD uid=9 => status=BAD_RES_STATE times=all",
        ],
    );
    let dealloc = |pd: u64, uid: u8| {
        let mut cmd = input(Opcode::DEALLOC_PD, dealloc_pd_in::SIZE);
        dealloc_pd_in::pd.set(&mut cmd, pd);
        cmd[3] = uid;
        cmd
    };
    assert_eq!(refused(a.command(&dealloc(0x123, 0), 16).unwrap_err()).0, Status::RESOURCE_BUSY);
    assert_eq!(refused(a.command(&dealloc(0x124, 0), 16).unwrap_err()).0, Status::BAD_RESOURCE);
    assert_eq!(refused(a.command(&dealloc(0x124, 9), 16).unwrap_err()).0, Status::BAD_RES_STATE);
    let mut cmd = input(Opcode::QUERY_HCA_CAP, query_hca_cap_in::SIZE);
    a.command(&cmd, 0x1010).unwrap();
    mlx5emu_prm::layouts::cmd_in::op_mod.set(&mut cmd, 1);
    assert_eq!(refused(a.command(&cmd, 0x1010).unwrap_err()).0, Status::BAD_RES_STATE);
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_delivery_status_is_that_of_the_entry() {
    let (world, mut a, b) = probed(5);
    rules(&world, &["cmd op=ALLOC_PD => delivery=FW_ERR"]);
    let before = objects(&world);
    match alloc_pd(&mut a).unwrap_err() {
        Error::Delivery { status, .. } => assert_eq!(status, DeliveryStatus::FW_ERR),
        other => panic!("{other}"),
    }
    assert_eq!(objects(&world), before);
    goodbye(a);
    goodbye(b);
}

#[test]
fn what_is_dropped_is_never_answered_and_its_slot_stays_taken() {
    for (stage, executed) in [("before", false), ("after", true)] {
        let (world, mut a, b) = probed(6);
        rules(&world, &[&format!("cmd op=ALLOC_PD fn=pf0 => {stage} drop")]);
        let before = objects(&world);
        let lost = a.submit(&input(Opcode::ALLOC_PD, 16), 16).unwrap();
        assert!(matches!(a.wait(lost), Err(Error::Timeout(_))));
        assert_eq!(objects(&world) != before, executed, "{stage}");
        assert_eq!(world.borrow_mut().card().parked(0), 0);
        // Others are answered, and the slot is not the driver's.
        let pd = alloc_pd(&mut a).unwrap();
        dealloc_pd(&mut a, pd);
        assert_eq!(a.host.front().slots_in_flight(), 1 << lost.slot());
        goodbye(b);
    }
}

#[test]
fn what_is_delayed_is_answered_later_and_others_meanwhile() {
    for (stage, executed) in [("before", false), ("after", true)] {
        let (world, mut a, b) = probed(7);
        rules(&world, &[&format!("cmd op=ALLOC_PD fn=pf0 => {stage} delay=20ms")]);
        let before = objects(&world);
        let began = world.borrow().now();
        let late = a.submit(&input(Opcode::ALLOC_PD, 16), 16).unwrap();
        assert!(world.borrow_mut().settle());
        assert_eq!(world.borrow_mut().card().parked(0), 1);
        assert_eq!(objects(&world) != before, executed, "{stage}");
        a.command(&input(Opcode::QUERY_ADAPTER, 16), 0x110).unwrap();
        let out = a.wait(late).unwrap().ok().unwrap();
        let took = world.borrow().now() - began;
        assert!((20_000_000..30_000_000).contains(&took), "{took}");
        dealloc_pd(&mut a, alloc_pd_out::pd.get32(&out));
        goodbye(a);
        goodbye(b);
    }
}

#[test]
fn what_is_held_goes_on_when_it_is_released() {
    for (stage, executed) in [("before", false), ("after", true)] {
        let (world, mut a, b) = probed(8);
        rules(&world, &[&format!("x: cmd op=ALLOC_PD fn=pf0 => {stage} hold")]);
        let before = objects(&world);
        let held = a.submit(&input(Opcode::ALLOC_PD, 16), 16).unwrap();
        assert!(world.borrow_mut().settle());
        assert_eq!(objects(&world) != before, executed, "{stage}");
        let state = world.borrow_mut().card().fault_states(Some("x")).unwrap().remove(0);
        assert!(state.is_there() && state.holds);
        assert_eq!((state.held[0].function.as_str(), state.held[0].what.as_str()), ("pf0", "ALLOC_PD in slot 0"));
        assert_eq!(world.borrow_mut().card().release_fault("x"), Ok(1));
        assert_eq!(world.borrow_mut().card().release_fault("x"), Ok(0));
        let out = a.wait(held).unwrap().ok().unwrap();
        assert_eq!(counts(&world), (1, 1, 0));
        dealloc_pd(&mut a, alloc_pd_out::pd.get32(&out));
        goodbye(a);
        goodbye(b);
    }
    let (world, _a, _b) = probed(9);
    rules(&world, &["x: cmd op=NOP => drop"]);
    assert!(world.borrow_mut().card().release_fault("x").unwrap_err().contains("does not hold anything"));
    assert!(world.borrow_mut().card().release_fault("y").unwrap_err().contains("no fault rule 'y'"));
}

#[test]
fn what_is_held_can_fail_in_the_end() {
    let (world, mut a, b) = probed(10);
    rules(&world, &["x: cmd op=ALLOC_PD => hold status=NOT_READY"]);
    let held = a.submit(&input(Opcode::ALLOC_PD, 16), 16).unwrap();
    assert!(world.borrow_mut().settle());
    // Taking the rule away lets it go on, as the rule said.
    assert_eq!(world.borrow_mut().card().clear_faults(Some("x")), Ok((1, 1)));
    assert_eq!(a.wait(held).unwrap().status(), Status::NOT_READY);
    goodbye(a);
    goodbye(b);
}

#[test]
fn completions_are_announced_twice_or_with_a_slot_that_is_idle() {
    for (action, part) in [("twice", "is idle"), ("idle-slot=17", "slot 17, which is idle")] {
        let (world, mut a, _b) = probed(11);
        rules(&world, &[&format!("cmd op=ALLOC_PD fn=pf0 => {action}")]);
        let before = objects(&world);
        let error = loop {
            match alloc_pd(&mut a) {
                Err(error) => break error.to_string(),
                Ok(_) => assert!(world.borrow_mut().settle()),
            }
        };
        assert!(error.contains(part) || error.contains("second command event"), "{action}: {error}");
        assert_ne!(objects(&world), before, "the command is executed");
    }
}

#[test]
fn firmware_that_hangs_answers_nothing_until_it_is_reset() {
    let (world, mut a, b) = probed(12);
    rules(&world, &["cmd op=ALLOC_PD fn=pf0 => hang", "x: cmd op=QUERY_ADAPTER fn=pf0 => hold"]);
    let held = a.submit(&input(Opcode::QUERY_ADAPTER, 16), 0x110).unwrap();
    assert!(world.borrow_mut().settle());
    assert!(matches!(alloc_pd(&mut a), Err(Error::Timeout(_))));
    assert!(matches!(a.command(&input(Opcode::QUERY_ADAPTER, 16), 0x110), Err(Error::Timeout(_))));
    // Not even what was held is answered.
    assert_eq!(world.borrow_mut().card().release_fault("x"), Ok(1));
    assert!(matches!(a.wait(held), Err(Error::Timeout(_))));
    world.borrow_mut().reset(0, ResetKind::Flr);
    goodbye(Driver::probe(a.abandon(), Config::default()).unwrap());
    goodbye(b);
}

#[test]
fn as_many_are_held_as_there_are_slots_and_pages_pass_them() {
    for ending in ["release", "reset"] {
        let (world, mut a, b) = probed(13);
        rules(&world, &["x: cmd op=ALLOC_PD => hold times=all"]);
        let cmd = input(Opcode::ALLOC_PD, 16);
        let held: Vec<_> = (0..31).map(|_| a.submit(&cmd, 16).unwrap()).collect();
        assert!(world.borrow_mut().settle());
        assert!(matches!(a.submit(&cmd, 16), Err(Error::NoSlot)));
        assert_eq!(counts(&world), (31, 31, 31));
        // The slot for pages is free: that is answered at once, if only with a refusal.
        let mut pages = input(Opcode::MANAGE_PAGES, manage_pages_in::SIZE);
        mlx5emu_prm::layouts::cmd_in::op_mod.set(&mut pages, 2);
        a.execute(&pages, 16).unwrap();
        if ending == "release" {
            assert_eq!(world.borrow_mut().card().release_fault("x"), Ok(31));
            world.borrow_mut().card().clear_faults(None).unwrap();
            for ticket in held {
                let out = a.wait(ticket).unwrap().ok().unwrap();
                dealloc_pd(&mut a, alloc_pd_out::pd.get32(&out));
            }
            goodbye(a);
        } else {
            world.borrow_mut().reset(0, ResetKind::Flr);
            assert_eq!(counts(&world), (31, 31, 0));
            world.borrow_mut().card().clear_faults(None).unwrap();
            goodbye(Driver::probe(a.abandon(), Config::default()).unwrap());
        }
        goodbye(b);
    }
}
