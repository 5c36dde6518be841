//! Frames through the card alone, on one core: no socket, no other thread.

use std::time::Instant;

use mlx5emu_driver::in_process::{World, two_ports};
use mlx5emu_driver::{Config, Driver, NetConfig};

use crate::report::Row;
use crate::statistics::{MIN_PAIRS, Spread, median};
use crate::{Outcome, Room};

/// Frames between two doorbells, half of what the queues hold.
const BATCH: usize = 32;
/// Bytes of a frame, from its destination address on (64 with the FCS).
const LENGTH: usize = 60;
/// An ethertype for local experiments (IEEE 802).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// 64-byte frames from a send queue through both ports into a receive queue. What the driver does is not counted.
pub(crate) fn small(room: &Room) -> Outcome<Vec<Row>> {
    let (world, hosts) = World::new(two_ports(), 1).hosts();
    let mut drivers = Vec::new();
    for host in hosts {
        let mut driver = Driver::probe(host, Config::default())?;
        driver.open(NetConfig::default())?;
        drivers.push(driver);
    }
    let (Some(mut to), Some(mut from)) = (drivers.pop(), drivers.pop()) else { return Err("two ports".into()) };
    let address = |driver: &Driver<_>| driver.net().map(|net| net.mac).ok_or("the interface is not open");
    let mut frame = [&address(&to)?[..], &address(&from)?[..], &ETHERTYPE[..]].concat();
    frame.resize(LENGTH, 0x5a);
    let frames = vec![frame; BATCH];

    let batches = room.effort.count(2000);
    let mut rates = Vec::new();
    for _ in 0..room.effort.pairs.max(MIN_PAIRS) {
        let mut times = Vec::with_capacity(batches);
        for _ in 0..batches {
            from.send_batch(0, &frames)?;
            let since = Instant::now();
            let settled = world.borrow_mut().settle();
            let mut busy = since.elapsed();
            let mut received = 0;
            while to.recv()?.is_some() {
                received += 1;
            }
            from.service()?;
            // The queues' doorbells that the drivers rang just now are the card's work too.
            let since = Instant::now();
            let settled = settled && world.borrow_mut().settle();
            busy += since.elapsed();
            if !settled || received != BATCH {
                return Err(format!("{received} of {BATCH} frames arrived").into());
            }
            times.push(busy.as_secs_f64());
        }
        rates.push(BATCH as f64 / median(&times) / 1e6);
    }
    let spread = Spread::of(&rates).ok_or("no figures")?;
    Ok(vec![Row::rate("64-byte frames SQ → port → RQ, one core", "M frames/s", spread)])
}
