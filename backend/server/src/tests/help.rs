//! Doorbells that are served by the thread that read them.

use std::sync::atomic::Ordering::SeqCst;

use mlx5emu_driver::{Config, Driver, Host, NetConfig};

use super::machine::{Machine, Rig, frame, goodbye, mac, rig, rig_with, wait_until};
use crate::StartOptions;

fn helped(rig: &Rig) -> u64 {
    rig.running.engine().load(0).unwrap().helped.load(SeqCst)
}

/// Waits until no worker has anything to do: none goes to sleep again for a while, because none was awake.
fn rest(rig: &Rig) {
    let engine = rig.running.engine();
    let sleeps = || engine.workers().map(|load| load.sleeps.load(SeqCst)).sum::<u64>();
    let mut before = sleeps();
    wait_until("the workers sleep", || {
        std::thread::sleep(std::time::Duration::from_millis(5));
        std::mem::replace(&mut before, sleeps()) == sleeps()
    });
}

#[test]
fn a_doorbell_at_rest_is_served_without_a_worker() {
    let rig = rig();
    let [mut a, mut b] = rig.opened();
    let (from, to) = (mac(&a), mac(&b));
    for n in 0..50 {
        rest(&rig);
        let sent = frame(to, from, 200, n);
        a.send_batch(0, std::slice::from_ref(&sent)).unwrap();
        assert_eq!(b.recv_wait().unwrap().frame, sent);
        a.service().unwrap();
    }
    // A machine that is busy otherwise may wake a worker by chance now and then.
    assert!(helped(&rig) >= 25, "{}", helped(&rig));
    goodbye(a);
    goodbye(b);
}

#[test]
fn what_one_burst_leaves_is_the_workers() {
    let rig = rig_with(StartOptions { workers: Some(1), ..StartOptions::default() });
    let mut config = NetConfig::default();
    config.sq.log_size = 10;
    config.rq.log_size = 10;
    config.rq_cq.log_size = 10;
    config.sq_cq.log_size = 10;
    let mut drivers = [0, 1].map(|f| Driver::probe(rig.machine(f), Config::default()).unwrap());
    drivers.iter_mut().for_each(|driver| driver.open(config.clone()).unwrap());
    let [mut a, mut b] = drivers;
    let (from, to) = (mac(&a), mac(&b));
    rest(&rig);
    let frames: Vec<_> = (0..200).map(|n| frame(to, from, 1000, n)).collect();
    a.send_batch(0, &frames).unwrap();
    for sent in &frames {
        assert_eq!(b.recv_wait().unwrap().frame, *sent);
    }
    goodbye(a);
    goodbye(b);
}

/// A timer that a helped turn starts is kept by the worker, who slept when it was started.
#[test]
fn a_deadline_that_it_sets_wakes_the_worker() {
    let rig = rig();
    let mut config = NetConfig::default();
    (config.sq_cq.period, config.sq_cq.max_count) = (2000, 64);
    let mut drivers = [0, 1].map(|f| Driver::probe(rig.machine(f), Config::default()).unwrap());
    drivers.iter_mut().for_each(|driver| driver.open(config.clone()).unwrap());
    let [mut a, b] = drivers;
    let (from, to) = (mac(&a), mac(&b));
    for n in 0..20 {
        rest(&rig);
        let raised =
            |driver: &mut Driver<Machine>| (1..driver.host.vectors()).map(|v| driver.host.interrupts(v)).sum::<u64>();
        let before = raised(&mut a);
        a.send_batch(0, &[frame(to, from, 200, n)]).unwrap();
        wait_until("the interrupt", || raised(&mut a) > before);
        a.service().unwrap();
    }
    goodbye(a);
    goodbye(b);
}

#[test]
fn a_bug_in_it_ends_the_function_and_not_the_connection() {
    let rig = rig();
    let [mut a, b] = rig.opened();
    rest(&rig);
    rig.running.engine().set_trap(0);
    let (from, to) = (mac(&a), mac(&b));
    a.send_batch(0, &[frame(to, from, 200, 0)]).unwrap();
    let load = || rig.running.engine().load(0).unwrap().panics.load(SeqCst);
    wait_until("the panic", || load() == 1);
    // Registers are answered still.
    assert_ne!(a.host.bar_read32(0), u32::MAX);
    goodbye(b);
}
