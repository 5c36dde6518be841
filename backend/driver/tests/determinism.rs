//! The same seed, the same run, to the byte; another seed, another run with the same outcome.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Rng, goodbye, mac, plain, rules, world};
use mlx5emu_driver::{Config, Driver, NetConfig};

/// Probe, traffic both ways, remove; the log of every command and every transfer.
fn run(seed: u64) -> (String, u64) {
    run_with(seed, &[])
}

fn run_with(seed: u64, faults: &[&str]) -> (String, u64) {
    let (world, a, b) = world(seed);
    world.borrow_mut().start_log();
    rules(&world, faults);
    let mut a = Driver::probe(a, Config::default()).unwrap();
    let mut b = Driver::probe(b, Config::default()).unwrap();
    let config = NetConfig { channels: 2, ..NetConfig::default() };
    a.open(config.clone()).unwrap();
    b.open(config).unwrap();
    let mut rng = Rng::new(7);
    let mut got = 0u64;
    for round in 0..30u64 {
        let frames: Vec<_> =
            (0..4).map(|n| plain(mac(&b), mac(&a), 60 + rng.below(1000) as usize, round * 4 + n)).collect();
        a.send_batch(round as usize % 2, &frames).unwrap();
        b.send(&plain(mac(&a), mac(&b), 60 + rng.below(1000) as usize, round)).unwrap();
        for _ in 0..frames.len() {
            got = got.wrapping_mul(31).wrapping_add(b.recv_wait().unwrap().frame.len() as u64);
        }
        got = got.wrapping_mul(31).wrapping_add(a.recv_wait().unwrap().frame.len() as u64);
    }
    let mut ends = String::new();
    for driver in [a, b] {
        let (_, farewell) = goodbye(driver);
        ends.push_str(&format!("{farewell:?}\n"));
    }
    let log = world.borrow_mut().take_log();
    (log + &ends, got)
}

#[test]
fn a_hundred_seeds_run_twice_alike() {
    let mut distinct = std::collections::HashSet::new();
    let (_, expected) = run(0);
    for seed in 0..100 {
        let (first, got) = run(seed);
        let (second, again) = run(seed);
        assert!(first == second, "seed {seed}: the logs differ");
        assert_eq!((got, again), (expected, expected), "seed {seed}: other frames");
        assert!(first.len() > 10_000);
        distinct.insert(first);
    }
    assert!(distinct.len() > 90, "the seed does not change the order: {} runs differ", distinct.len());
}

#[test]
fn rules_with_shares_act_alike_each_time() {
    let faults = ["cmd p=1/7 => delay=3us times=all", "cmd p=1/5 fn=pf1 => after delay=1us times=all"];
    let (_, expected) = run(0);
    for seed in 0..10 {
        let (first, got) = run_with(seed, &faults);
        let (second, again) = run_with(seed, &faults);
        assert!(first == second, "seed {seed}: the logs differ");
        assert_eq!((got, again), (expected, expected), "seed {seed}: other frames");
        assert!(first != run(seed).0, "the rules do nothing");
    }
}

#[test]
fn memory_by_message_changes_nothing_but_the_order() {
    let (world, a, b) = world(5);
    world.borrow_mut().start_log();
    for host in [a, b] {
        host.space().set_remote(host.space().base()..u64::MAX);
        // By polling: an event in memory that is not there is lost.
        let config = Config { events: false, page_requests: false, ..Config::default() };
        goodbye(Driver::probe(host, config).unwrap());
    }
    assert!(world.borrow_mut().take_log().contains("Fetch("));
}
