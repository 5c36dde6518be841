//! What is taken away while it is used.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use mlx5emu_card::FunctionIndex;
use mlx5emu_driver::command::input;
use mlx5emu_driver::{Config, Driver, Host, NetConfig};
use mlx5emu_prm::opcode::Opcode;

use super::machine::{Machine, Rig, frame, goodbye, mac, rig, rig_with, wait_until};
use crate::StartOptions;

/// Frames that the victim has received before it loses something.
const WARM_UP: u32 = 200;
/// Frames that are sent to it afterwards.
const AFTERMATH: u64 = 2000;

/// Sends to a neighbour without end while something happens to it; says how many frames it has sent.
struct Flood<'a> {
    driver: Driver<Machine>,
    to: [u8; 6],
    stop: &'a AtomicBool,
    sent: &'a AtomicU64,
}

impl Flood<'_> {
    fn run(mut self) -> Driver<Machine> {
        let from = mac(&self.driver);
        while !self.stop.load(SeqCst) {
            let frames: Vec<_> = (0..16).map(|n| frame(self.to, from, 1000, n)).collect();
            self.driver.send_batch(0, &frames).unwrap();
            self.driver.service().unwrap();
            self.sent.fetch_add(frames.len() as u64, SeqCst);
        }
        self.driver
    }
}

/// Takes something away from a function that receives a flood. When `take` returns, not a byte of its memory changes any
/// more. `restore` makes the function usable again.
fn under_flood(rig: &Rig, take: fn(&Machine), restore: fn(&Machine)) {
    let [sender, mut victim] = rig.opened();
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let flood = Flood { driver: sender, to: mac(&victim), stop: &stop, sent: &sent };
    let sender = std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood.run());
        for _ in 0..WARM_UP {
            victim.recv_wait().unwrap();
        }
        // Hundreds of receive WQEs are posted, and frames for them are on their way.
        take(&victim.host);
        let before = victim.host.ram();
        let from = sent.load(SeqCst);
        wait_until("more frames", || sent.load(SeqCst) >= from + AFTERMATH || flood.is_finished());
        let untouched = victim.host.ram() == before;
        stop.store(true, SeqCst);
        let sender = flood.join().unwrap();
        assert!(untouched, "memory changed after it was taken away");
        let machine = victim.abandon().afresh();
        restore(&machine);
        goodbye(Driver::probe(machine, Config::default()).unwrap());
        sender
    });
    goodbye(sender);
}

fn reenable(machine: &Machine) {
    machine.enable();
}

#[test]
fn after_unmap_memory_is_left_alone() {
    let all = |machine: &Machine| assert!(machine.client.unmap_all().unwrap() > 0);
    under_flood(&rig(), all, |machine| {
        machine.map_ram();
        machine.client.reset().unwrap();
        machine.enable();
    });
}

#[test]
fn after_bus_master_is_switched_off_memory_is_left_alone() {
    under_flood(
        &rig(),
        |machine| machine.set_command(1 << 1),
        |machine| {
            machine.client.reset().unwrap();
            machine.enable();
        },
    );
}

#[test]
fn after_a_function_level_reset_memory_is_left_alone() {
    under_flood(&rig(), Machine::flr, reenable);
}

#[test]
fn after_a_device_reset_memory_is_left_alone() {
    under_flood(&rig(), |machine| machine.client.reset().unwrap(), reenable);
}

/// A command is held in the card when its function is reset; afterwards it is forgotten, without an answer.
fn with_a_command_parked(reset: fn(&Machine)) {
    let rig = rig();
    let engine = rig.running.engine();
    let mut driver = Driver::probe(rig.machine(0), Config::default()).unwrap();
    engine.change(0, |card| card.hold(0, Opcode::QUERY_ADAPTER));
    let parked = driver.submit(&input(Opcode::QUERY_ADAPTER, 16), 0x110).unwrap();
    wait_until("the command is parked", || engine.gate().read().parked(0) == 1);
    // Others pass it.
    driver.permanent_address().unwrap();
    let entry = driver.commands().entry_address(parked.slot());
    reset(&driver.host);
    assert_eq!(engine.gate().read().parked(0), 0);
    let owner = driver.host.load_acquire_u8(entry + 63);
    assert_eq!(owner, 1, "a command of an earlier life must not be answered");
    let machine = driver.abandon().afresh();
    machine.enable();
    goodbye(Driver::probe(machine, Config::default()).unwrap());
}

#[test]
fn a_function_level_reset_forgets_parked_commands() {
    with_a_command_parked(Machine::flr);
}

#[test]
fn a_device_reset_forgets_parked_commands() {
    with_a_command_parked(|machine| machine.client.reset().unwrap());
}

#[test]
fn a_parked_command_goes_on_when_it_is_released() {
    let rig = rig();
    let engine = rig.running.engine();
    let mut driver = Driver::probe(rig.machine(0), Config::default()).unwrap();
    engine.change(0, |card| card.hold(0, Opcode::QUERY_ADAPTER));
    let parked = driver.submit(&input(Opcode::QUERY_ADAPTER, 16), 0x110).unwrap();
    wait_until("the command is parked", || engine.gate().read().parked(0) == 1);
    assert_eq!(engine.change(0, |card| card.release(0, Opcode::QUERY_ADAPTER)), 1);
    driver.wait(parked).unwrap().ok().unwrap();
    goodbye(driver);
}

#[test]
fn a_machine_that_vanishes_with_commands_parked_makes_place_for_the_next() {
    let rig = rig();
    let engine = rig.running.engine();
    for _ in 0..3 {
        let mut driver = Driver::probe(rig.machine(0), Config::default()).unwrap();
        driver.open(NetConfig::default()).unwrap();
        engine.change(0, |card| card.hold(0, Opcode::QUERY_ADAPTER));
        driver.submit(&input(Opcode::QUERY_ADAPTER, 16), 0x110).unwrap();
        wait_until("the command is parked", || engine.gate().read().parked(0) == 1);
        drop(driver);
        wait_until("nothing is mapped", || engine.gate().read().space(0).unwrap().ranges() == 0);
        assert_eq!(engine.gate().read().parked(0), 0);
    }
    goodbye(Driver::probe(rig.machine(0), Config::default()).unwrap());
}

fn turns(rig: &Rig, f: FunctionIndex) -> u64 {
    rig.running.engine().load(f).unwrap().turns.load(SeqCst)
}

/// Two functions on one worker, each sending to the other as fast as it can: both get their turns, and whoever needs the
/// gate exclusively gets it.
#[test]
fn two_functions_that_flood_each_other_share_the_worker() {
    let rig = rig_with(StartOptions { workers: Some(1), ..StartOptions::default() });
    let [a, b] = rig.opened();
    let (to_a, to_b) = (mac(&a), mac(&b));
    let stop = AtomicBool::new(false);
    let sent = [AtomicU64::new(0), AtomicU64::new(0)];
    let drivers = std::thread::scope(|scope| {
        let a = Flood { driver: a, to: to_b, stop: &stop, sent: &sent[0] };
        let b = Flood { driver: b, to: to_a, stop: &stop, sent: &sent[1] };
        let threads = [scope.spawn(|| a.run()), scope.spawn(|| b.run())];
        for round in 1..=20 {
            // Under the exclusive gate, in the middle of it.
            rig.running.engine().change(0, |card| card.generation(0));
            wait_until("both get on", || sent.iter().all(|s| s.load(SeqCst) > round * 500));
        }
        stop.store(true, SeqCst);
        threads.map(|thread| thread.join().unwrap())
    });
    let (first, second) = (turns(&rig, 0), turns(&rig, 1));
    assert!(first < second * 8 && second < first * 8, "{first} turns and {second}");
    drivers.into_iter().for_each(|driver| drop(goodbye(driver)));
}
