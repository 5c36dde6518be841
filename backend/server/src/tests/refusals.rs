//! Clients that do not do their part, and a bug of our own.

use mlx5emu_config::control::{Reply, Request};
use mlx5emu_driver::command::input;
use mlx5emu_driver::{Config, Driver, Host};
use mlx5emu_prm::layouts::{cmd_in, enable_hca_in, mlx5_cmd_layout as entry};
use mlx5emu_prm::opcode::Opcode;
use mlx5emu_vfio_user::client::QemuClient;

use super::machine::{Machine, RAM_AT, Rig, goodbye, health_syndrome, rig, rig_with, wait_until};
use crate::StartOptions;
use crate::threads::{Sharing, Stopped};

/// A page with ENABLE_HCA in command slot 0, as a driver that polls writes it.
fn command_page() -> Vec<u8> {
    let mut page = vec![0; 4096];
    let command = &mut page[..entry::SIZE];
    entry::r#type.set(command, 7);
    entry::inlen.set(command, enable_hca_in::SIZE as u64);
    entry::outlen.set(command, 16);
    entry::status_own.set(command, 1);
    cmd_in::opcode.set(entry::r#in.of_mut(command), Opcode::ENABLE_HCA.0.into());
    page
}

fn ring(machine: &mut Machine) {
    machine.bar_write32(0x10, (RAM_AT >> 32) as u32);
    machine.bar_write32(0x14, RAM_AT as u32);
    machine.bar_write32(0x18, 1);
}

fn owner(client: &QemuClient) -> u8 {
    client.peek(RAM_AT + entry::SIZE as u64 - 1, 1).unwrap()[0]
}

fn with_page(rig: &Rig, f: usize, map: impl FnOnce(&QemuClient) -> u16) -> Machine {
    let machine = Machine::over(Machine::connect(rig.socket(f)).unwrap(), u32::MAX).unwrap();
    let id = map(&machine.client);
    machine.client.commit([id]).unwrap();
    machine.enable().unwrap();
    machine
}

#[test]
fn memory_that_is_not_shared_is_refused_with_a_dead_health() {
    let rig = rig();
    let mut machine = with_page(&rig, 0, |client| client.map_private(RAM_AT, 0, command_page()).unwrap());
    ring(&mut machine);
    wait_until("the refusal", || rig.running.engine().stopped(0) == Stopped::NotShared);
    assert_eq!(rig.running.engine().sharing(0), Sharing::Private);
    assert_eq!(health_syndrome(&mut machine), 0xa);
    let shown = rig.control().call(Request::Inspect { path: "pf0/connection".into() }).unwrap();
    let Reply::Inspect { tree } = shown else { panic!("{shown:?}") };
    assert_eq!((&tree["guest_memory"], &tree["stopped"]), (&"private".into(), &"memory-not-shared".into()));
    assert_eq!(owner(&machine.client), 1, "the command must not be executed");
    assert_eq!(machine.client.ram().slice(0, 64).len(), 64);
    assert!(machine.ram().iter().all(|byte| *byte == 0), "nothing may be written to the memory that was given");
    // The other function, and the next client of this one, are not concerned.
    goodbye(Driver::probe(rig.machine(1), Config::default()).unwrap());
    drop(machine);
    wait_until("the next life", || rig.running.engine().stopped(0) == Stopped::No);
    goodbye(Driver::probe(rig.machine(0), Config::default()).unwrap());
}

#[test]
fn shared_memory_is_looked_at_once_for_each_change_of_the_map() {
    let rig = rig();
    let machine = rig.machine(0);
    assert_eq!(rig.running.engine().sharing(0), Sharing::Unchecked);
    let driver = Driver::probe(machine, Config::default()).unwrap();
    assert_eq!(rig.running.engine().sharing(0), Sharing::Shared);
    assert_eq!(driver.host.client.dma_requests(), 1);
    let id = driver.host.client.map_ram(0, 4096, 0).unwrap();
    driver.host.client.commit([id]).unwrap();
    assert_eq!(rig.running.engine().sharing(0), Sharing::Unchecked);
    let (machine, _) = goodbye(driver);
    assert_eq!(machine.client.dma_requests(), 2);
}

#[test]
fn a_command_in_memory_without_descriptor_goes_by_message() {
    let rig = rig();
    let mut machine = with_page(&rig, 0, |client| client.map_without_fd(RAM_AT, command_page()).unwrap());
    ring(&mut machine);
    wait_until("the answer", || owner(&machine.client) == 0);
    assert_eq!(machine.client.peek(RAM_AT + 0x20, 4).unwrap(), [0; 4], "status OK");
    assert_eq!(rig.running.engine().stopped(0), Stopped::No);
}

/// One worker serves both functions, and the first one's client has stopped reading while the worker needs its memory.
#[test]
fn a_client_that_stalls_holds_nobody_else_up() {
    let rig = rig_with(StartOptions { workers: Some(1), ..StartOptions::default() });
    let mut other = Driver::probe(rig.machine(1), Config::default()).unwrap();
    let mut stalled = with_page(&rig, 0, |client| client.map_without_fd(RAM_AT, command_page()).unwrap());
    stalled.client.stall();
    ring(&mut stalled);
    let engine = rig.running.engine();
    let fetches = || engine.load(0).unwrap().fetches.load(std::sync::atomic::Ordering::Relaxed);
    wait_until("the first fetch", || fetches() > 0);
    other.permanent_address().unwrap();
    // Had the worker waited for the fetch, the function would have been given up before it came to that command.
    assert_eq!(engine.stopped(0), Stopped::No);
    stalled.client.resume();
    wait_until("the answer", || owner(&stalled.client) == 0);
    goodbye(other);
}

#[test]
fn a_read_that_the_client_never_answers_fails_its_command_only() {
    let rig = rig_with(StartOptions { workers: Some(1), ..StartOptions::default() });
    let mut stalled = with_page(&rig, 0, |client| client.map_without_fd(RAM_AT, command_page()).unwrap());
    stalled.client.stall();
    ring(&mut stalled);
    let mut other = Driver::probe(rig.machine(1), Config::default()).unwrap();
    // The entry can't be read, so there is nowhere to answer to: the slot is given up, the function goes on.
    let front = rig.running.engine().gate().read().front(0).unwrap();
    wait_until("the doorbell", || front.slots_in_flight() != 0);
    wait_until("the command is given up", || front.slots_in_flight() == 0);
    assert_eq!(rig.running.engine().stopped(0), Stopped::No);
    assert_ne!(owner(&stalled.client), 0, "a command that could not be read was answered");
    other.permanent_address().unwrap();
    goodbye(other);
}

#[test]
fn a_panic_kills_its_function_and_a_reset_revives_it() {
    let rig = rig_with(StartOptions { workers: Some(1), ..StartOptions::default() });
    let mut first = Driver::probe(rig.machine(0), Config::default()).unwrap();
    let mut second = Driver::probe(rig.machine(1), Config::default()).unwrap();
    rig.running.engine().trap(0);
    wait_until("the panic", || rig.running.engine().stopped(0) == Stopped::Bug);
    assert_eq!(health_syndrome(&mut first.host), 1);
    let ticket = first.submit(&input(Opcode::QUERY_ADAPTER, 16), 0x110).unwrap();
    second.permanent_address().unwrap();
    assert_ne!(first.commands().in_flight() & 1 << ticket.slot(), 0, "a dead function answers nothing");
    let machine = first.abandon();
    machine.client.reset().unwrap();
    let machine = machine.afresh();
    machine.enable().unwrap();
    assert_eq!(rig.running.engine().stopped(0), Stopped::No);
    goodbye(Driver::probe(machine, Config::default()).unwrap());
    goodbye(second);
}
