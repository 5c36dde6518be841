//! Queues that stand still and interrupts that are lost on purpose, and how long the driver is told to wait.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Drv, goodbye, mac, opened, plain, probed};
use mlx5emu_card::function::timeouts::Timeouts;
use mlx5emu_card::notices::Module;
use mlx5emu_card::queues::eq::EqKind;
use mlx5emu_driver::command::input;
use mlx5emu_driver::event::Eqe;
use mlx5emu_driver::in_process::{SharedWorld, World, two_ports};
use mlx5emu_driver::sq::SendOptions;
use mlx5emu_driver::{Config, Driver, Error, NetConfig};
use mlx5emu_prm::Field;
use mlx5emu_prm::event::{Event, PortChange};
use mlx5emu_prm::layouts::{
    default_timeout, dtor_reg, eqc, mlx5_eqe_port_module, mlx5_eqe_temp_warning, mlx5_eqe_vport_change, mlx5_init_seg,
    query_eq_in, query_eq_out,
};
use mlx5emu_prm::opcode::Opcode;
use mlx5emu_prm::register::{AccessRegMode, Register};

#[test]
fn a_send_queue_that_stands_still_executes_nothing_until_it_is_reset() {
    let (world, mut a, mut b) = opened(1, &NetConfig::default());
    let sqn = a.net().unwrap().channels[0].sq.number;
    assert!(world.borrow_mut().card().inject_stall(0, sqn));
    a.post(0, &plain(mac(&b), mac(&a), 100, 1), &SendOptions::default()).unwrap();
    assert!(world.borrow_mut().settle());
    assert!(b.recv().unwrap().is_none());
    // It does not even fail.
    a.modify_sq(sqn, 1, 3).unwrap();
    assert!(world.borrow_mut().settle());
    let queues = world.borrow_mut().card().inspect()["functions"]["pf0"]["queues"].clone();
    let queue = &queues[sqn.to_string()];
    assert_eq!((queue["executed"].as_u64(), queue["stalled"].as_bool()), (Some(0), Some(true)), "{queues}");
    a.modify_sq(sqn, 3, 0).unwrap();
    a.modify_sq(sqn, 0, 1).unwrap();
    a.sq_and_host(0).unwrap().0.reset();
    a.send(&plain(mac(&b), mac(&a), 100, 2)).unwrap();
    assert_eq!(b.recv_wait().unwrap().frame, plain(mac(&b), mac(&a), 100, 2));
    let rqn = a.net().unwrap().channels[0].rq.number;
    for other in [rqn, 0xff_fffe] {
        assert!(!world.borrow_mut().card().inject_stall(0, other), "{other:#x}");
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn interrupts_are_lost_of_the_kind_that_was_asked_for() {
    let (world, mut a, b) = probed(2);
    let lost = || {
        let tree = world.borrow_mut().card().inspect();
        let eqs = tree["functions"]["pf0"]["eqs"].as_object().unwrap().clone();
        eqs.values().map(|eq| eq["lost_interrupts"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(lost(), [0, 0, 0], "commands, events, pages: in the order in which they were made");
    world.borrow_mut().card().inject_msi_loss(0, EqKind::Comp, 5);
    a.settle_pages().unwrap();
    assert_eq!(lost(), [0, 0, 0]);
    world.borrow_mut().card().inject_msi_loss(0, EqKind::Cmd, 1);
    a.settle_pages().unwrap();
    let told = a.access_register(Register::DTOR, AccessRegMode::READ, 0, &[0; dtor_reg::SIZE]);
    assert!(matches!(told, Err(Error::Timeout(_))), "its driver does not look without an interrupt: {told:?}");
    assert_eq!(lost(), [1, 0, 0]);
    goodbye(b);
}

#[test]
fn the_driver_is_told_how_long_to_wait() {
    let timeouts = Timeouts { fw_init: 2000, cmd: 4000, dtor: vec![(dtor_reg::reclaim_pages_to, 1500)] };
    for told in [None, Some(timeouts)] {
        let personality = mlx5emu_card::Personality { timeouts: told.clone(), ..two_ports() };
        let (_, hosts) = World::new(personality, 3).hosts();
        let mut driver = Driver::probe(hosts.into_iter().next().unwrap(), Config::default()).unwrap();
        let mut register = |field: mlx5emu_prm::Field| {
            let mut word = [0; 4];
            driver.host.bar_read(u64::from(field.bit / 8), &mut word);
            u32::from_be_bytes(word)
        };
        let segment = (register(mlx5_init_seg::cmd_q_init_to), register(mlx5_init_seg::cmd_exec_to));
        let dtor = driver.access_register(Register::DTOR, AccessRegMode::READ, 0, &[0; dtor_reg::SIZE]).unwrap();
        let field = |area: mlx5emu_prm::Area| {
            let field = area.of(&dtor);
            (default_timeout::to_multiplier.get(field), default_timeout::to_value.get(field))
        };
        let reclaim = (field(dtor_reg::reclaim_pages_to), field(dtor_reg::tear_down_to));
        match told {
            None => assert_eq!((segment, reclaim), ((0, 0), ((0, 0), (0, 0)))),
            Some(_) => assert_eq!((segment, reclaim), ((2000, 4000), ((0, 1500), (0, 0)))),
        }
        goodbye(driver);
    }
}

/// The only event that the driver kept.
fn told(world: &SharedWorld, driver: &mut Drv) -> Eqe {
    assert!(world.borrow_mut().settle());
    driver.service().unwrap();
    assert_eq!(driver.events.len(), 1, "{:?}", driver.events);
    driver.events.remove(0)
}

#[test]
fn a_chip_that_gets_too_warm_warns_everybody() {
    let (world, mut a, mut b) = opened(60, &NetConfig::default());
    world.borrow_mut().card().inject_temperature(104);
    assert!(world.borrow_mut().settle());
    world.borrow_mut().card().inject_temperature(105);
    for driver in [&mut a, &mut b] {
        let eqe = told(&world, driver);
        assert_eq!(eqe.event, Event::TEMP_WARN_EVENT);
        let bits = |field: Field| field.get(&eqe.data);
        assert_eq!(
            (bits(mlx5_eqe_temp_warning::sensor_warning_msb), bits(mlx5_eqe_temp_warning::sensor_warning_lsb)),
            (0, 1)
        );
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn cables_are_pulled_out_plugged_in_and_refused() {
    let (world, mut a, mut b) = opened(61, &NetConfig::default());
    for (module, status, error, up) in [
        (Module::Unplugged, 2, 0, false),
        (Module::Plugged, 1, 0, true),
        (Module::Error(7), 3, 7, false),
        (Module::Plugged, 1, 0, true),
    ] {
        let now = world.borrow().now();
        assert!(world.borrow_mut().card().inject_module(0, module, now));
        let eqe = told(&world, &mut a);
        assert_eq!(eqe.event, Event::PORT_MODULE_EVENT);
        let data = &eqe.data;
        assert_eq!(
            (mlx5_eqe_port_module::module.get(data), mlx5_eqe_port_module::module_status.get(data)),
            (0, status)
        );
        assert_eq!(mlx5_eqe_port_module::error_type.get(data), error);
        assert_eq!((a.link_up().unwrap(), b.link_up().unwrap()), (up, up), "{module:?}");
        assert!(b.events.is_empty());
    }
    assert!(!world.borrow_mut().card().inject_module(2, Module::Plugged, 0));
    goodbye(a);
    goodbye(b);
}

#[test]
fn events_without_a_cause_come_as_they_are_asked_for() {
    let (world, mut a, b) = opened(62, &NetConfig::default());
    world.borrow_mut().card().inject_vport_change(0);
    let eqe = told(&world, &mut a);
    assert_eq!((eqe.event, mlx5_eqe_vport_change::vport_num.get(&eqe.data)), (Event::NIC_VPORT_CHANGE, 0));
    world.borrow_mut().card().inject_command_event(0, 7);
    let error = a.service().unwrap_err().to_string();
    assert!(error.contains("slot 7, which is idle"), "{error}");
    drop((a, b));
}

#[test]
fn an_event_queue_that_overruns_takes_nothing_more() {
    let (world, mut a, mut b) = opened(63, &NetConfig::default());
    let error = world.borrow_mut().card().inject_eq_overrun(1, 77).unwrap_err();
    assert!(error.starts_with("pf1 has no event queue 77: it has 1, 2, 3"), "{error}");
    // The second of a driver's queues is that of asynchronous events.
    world.borrow_mut().card().inject_eq_overrun(1, 2).unwrap();
    let now = world.borrow().now();
    world.borrow_mut().card().inject_link(0, false, now);
    assert!(world.borrow_mut().settle());
    b.service().unwrap();
    a.service().unwrap();
    assert_eq!(a.port_changes.last(), Some(&PortChange::DOWN));
    assert_ne!(b.port_changes.last(), Some(&PortChange::DOWN));
    let mut cmd = input(Opcode::QUERY_EQ, 16);
    query_eq_in::eq_number.set(&mut cmd, 2);
    let out = b.command(&cmd, query_eq_out::SIZE).unwrap();
    assert_eq!(eqc::status.get(query_eq_out::eq_context_entry.of(&out)), 9);
    goodbye(a);
    goodbye(b);
}
