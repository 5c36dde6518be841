//! What is taken away while it is used.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use mlx5emu_card::FunctionIndex;
use mlx5emu_config::fault::FaultRule;
use mlx5emu_driver::command::input;
use mlx5emu_driver::{Config, Driver, Host, NetConfig};
use mlx5emu_prm::opcode::Opcode;

use super::machine::{Machine, RAM, RAM_AT, Rig, frame, goodbye, mac, rig, rig_with, wait_until};
use crate::StartOptions;

/// Frames that the victim has received before it loses something.
const WARM_UP: u32 = 200;
/// Frames that may be sent to it while that happens.
const FLOOD: u64 = 2000;
/// Frames that are sent to it afterwards.
const AFTERMATH: u64 = 1000;

/// Frames that the sender may be ahead of the victim before that: fewer than the victim has receive WQEs.
const AHEAD: u64 = 512;

/// Sends to a neighbour without end while something happens to it; says how many frames it has sent.
struct Flood<'a> {
    driver: Driver<Machine>,
    to: [u8; 6],
    stop: &'a AtomicBool,
    /// Frames that may be sent in all.
    budget: &'a AtomicU64,
    sent: &'a AtomicU64,
}

impl Flood<'_> {
    fn run(mut self) -> Driver<Machine> {
        let from = mac(&self.driver);
        while !self.stop.load(SeqCst) {
            if self.sent.load(SeqCst) >= self.budget.load(SeqCst) {
                std::thread::yield_now();
                continue;
            }
            let frames: Vec<_> = (0..16).map(|n| frame(self.to, from, 1000, n)).collect();
            self.driver.send_batch(0, &frames).unwrap();
            self.driver.service().unwrap();
            self.sent.fetch_add(frames.len() as u64, SeqCst);
        }
        self.driver
    }
}

/// Has thousands of receive WQEs, so that a flood finds memory to write to whenever something is taken away.
fn deep() -> NetConfig {
    let mut config = NetConfig::default();
    config.rq.log_size = 12;
    config.rq_cq.log_size = 12;
    config
}

/// Takes something away from a function that receives a flood, and says whether its memory stayed as it was when `take`
/// returned. `restore` makes the function usable again.
fn under_flood(take: fn(&Machine), restore: fn(&Machine)) -> bool {
    let rig = rig();
    let mut sender = Driver::probe(rig.machine(0), Config::default()).unwrap();
    let mut victim = Driver::probe(rig.machine(1), Config::default()).unwrap();
    sender.open(NetConfig::default()).unwrap();
    victim.open(deep()).unwrap();
    let (stop, sent, budget) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(AHEAD));
    let flood = Flood { driver: sender, to: mac(&victim), stop: &stop, budget: &budget, sent: &sent };
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood.run());
        for _ in 0..WARM_UP {
            victim.recv_wait().unwrap();
            budget.fetch_add(1, SeqCst);
        }
        // A flood while it is taken away and the memory is copied, and then more: the receive WQEs last for all of it.
        let from = sent.load(SeqCst);
        budget.store(from + FLOOD, SeqCst);
        take(&victim.host);
        let before = victim.host.ram();
        budget.store(from + FLOOD + AFTERMATH, SeqCst);
        wait_until("more frames", || sent.load(SeqCst) >= from + FLOOD + AFTERMATH || flood.is_finished());
        let untouched = victim.host.ram() == before;
        stop.store(true, SeqCst);
        goodbye(flood.join().unwrap());
        let machine = victim.abandon();
        restore(&machine);
        goodbye(Driver::probe(machine.afresh(), Config::default()).unwrap());
        untouched
    })
}

fn enable(machine: &Machine) {
    machine.enable().unwrap();
}

fn reset_and_enable(machine: &Machine) {
    machine.client.reset().unwrap();
    enable(machine);
}

#[test]
fn a_function_from_which_nothing_is_taken_goes_on_receiving() {
    assert!(!under_flood(|_| (), reset_and_enable));
}

#[test]
fn after_unmap_memory_is_left_alone() {
    let all = |machine: &Machine| {
        // What the function asks the client for from now on by message is not the RAM.
        machine.client.place_silently(RAM_AT, vec![0; RAM as usize]);
        assert_eq!(machine.client.unmap_all().unwrap(), RAM);
    };
    let restore = |machine: &Machine| {
        machine.map_ram().unwrap();
        reset_and_enable(machine);
    };
    assert!(under_flood(all, restore));
}

#[test]
fn after_bus_master_is_switched_off_memory_is_left_alone() {
    assert!(under_flood(|machine| machine.set_command(1 << 1).unwrap(), reset_and_enable));
}

#[test]
fn after_a_function_level_reset_memory_is_left_alone() {
    assert!(under_flood(|machine| machine.flr().unwrap(), enable));
}

#[test]
fn after_a_device_reset_memory_is_left_alone() {
    assert!(under_flood(|machine| machine.client.reset().unwrap(), enable));
}

fn hold_query_adapter() -> FaultRule {
    "x: cmd op=QUERY_ADAPTER fn=pf0 => hold".parse().unwrap()
}

/// A command is held in the card when its function is reset; afterwards it is forgotten, without an answer.
fn with_a_command_parked(reset: fn(&Machine)) {
    let rig = rig();
    let engine = rig.running.engine();
    let mut driver = Driver::probe(rig.machine(0), Config::default()).unwrap();
    engine.change(0, |card| card.add_faults(&[hold_query_adapter()])).unwrap();
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
    enable(&machine);
    goodbye(Driver::probe(machine, Config::default()).unwrap());
}

#[test]
fn a_function_level_reset_forgets_parked_commands() {
    with_a_command_parked(|machine| machine.flr().unwrap());
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
    engine.change(0, |card| card.add_faults(&[hold_query_adapter()])).unwrap();
    let parked = driver.submit(&input(Opcode::QUERY_ADAPTER, 16), 0x110).unwrap();
    wait_until("the command is parked", || engine.gate().read().parked(0) == 1);
    assert_eq!(engine.change(0, |card| card.release_fault("x")), Ok(1));
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
        engine.change(0, |card| card.add_faults(&[hold_query_adapter()])).unwrap();
        driver.submit(&input(Opcode::QUERY_ADAPTER, 16), 0x110).unwrap();
        wait_until("the command is parked", || engine.gate().read().parked(0) == 1);
        drop(driver);
        wait_until("nothing is mapped", || engine.gate().read().space(0).unwrap().ranges() == 0);
        assert_eq!(engine.gate().read().parked(0), 0);
        assert_eq!(engine.change(0, |card| card.clear_faults(None)), Ok((1, 0)));
    }
    goodbye(Driver::probe(rig.machine(0), Config::default()).unwrap());
}

fn turns(rig: &Rig, f: FunctionIndex) -> u64 {
    let engine = rig.running.engine();
    let load = engine.load(f).unwrap();
    load.turns.load(SeqCst) + load.helped.load(SeqCst)
}

/// Two functions on one worker, each sending to the other as fast as it can: both get their turns, and whoever needs the
/// gate exclusively gets it.
#[test]
fn two_functions_that_flood_each_other_share_the_worker() {
    let rig = rig_with(StartOptions { workers: Some(1), ..StartOptions::default() });
    let [a, b] = rig.opened();
    let (to_a, to_b) = (mac(&a), mac(&b));
    let (stop, budget) = (AtomicBool::new(false), AtomicU64::new(u64::MAX));
    let sent = [AtomicU64::new(0), AtomicU64::new(0)];
    let drivers = std::thread::scope(|scope| {
        let a = Flood { driver: a, to: to_b, stop: &stop, budget: &budget, sent: &sent[0] };
        let b = Flood { driver: b, to: to_a, stop: &stop, budget: &budget, sent: &sent[1] };
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
