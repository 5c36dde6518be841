//! Frames through the card alone, on one core: no socket, no other thread.

use std::time::{Duration, Instant};

use mlx5emu_driver::{Config, Driver, NetConfig};

use crate::local::{Engine, Local, machines};
use crate::report::Row;
use crate::statistics::{Budget, Pairs, median};
use crate::virtio::Loop;
use crate::{Outcome, Room};

/// Frames between two doorbells, half of what the queues hold.
const BATCH: usize = 32;
/// Bytes of a frame, from its destination address on (64 with the FCS).
const LENGTH: usize = 60;
/// An ethertype for local experiments (IEEE 802).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// 64-byte frames from a send queue through both ports and the receive tables into a receive queue. What drivers do is not
/// counted, on either side.
pub(crate) fn small(room: &Room) -> Outcome<Vec<Row>> {
    let batches = room.effort.count(1000);
    let mut card = Wired::new()?;
    let mut virtio = Loop::new()?;
    let frames = card.frames.clone();
    let pairs = Pairs::measure(
        room.effort.pairs,
        || rate(batches, || card.batch()),
        || {
            rate(batches, || {
                virtio.post(&frames)?;
                let since = Instant::now();
                let passed = virtio.run()?;
                let busy = since.elapsed();
                if passed != BATCH || virtio.last(LENGTH)? != frames[BATCH - 1] {
                    return Err(format!("virtio: {passed} of {BATCH} frames arrived").into());
                }
                Ok(busy)
            })
        },
    )?;
    let row =
        Row::compared("64-byte frames SQ → port → RQ, one core", "M frames/s", pairs, Some(Budget::AtLeast(0.5)))?;
    Ok(vec![row.against("virtio-queue")])
}

/// Million frames a second, by the median batch.
fn rate(batches: usize, mut batch: impl FnMut() -> Outcome<Duration>) -> Outcome<f64> {
    let times: Outcome<Vec<f64>> = (0..batches).map(|_| Ok(batch()?.as_secs_f64())).collect();
    Ok(BATCH as f64 / median(&times?) / 1e6)
}

/// Two drivers with a card between them.
struct Wired {
    engine: Engine,
    from: Driver<Local>,
    to: Driver<Local>,
    frames: Vec<Vec<u8>>,
}

impl Wired {
    fn new() -> Outcome<Self> {
        let (engine, hosts) = machines()?;
        let mut drivers = Vec::new();
        for host in hosts {
            let mut driver = Driver::probe(host, Config::default())?;
            driver.open(NetConfig::default())?;
            drivers.push(driver);
        }
        let (Some(to), Some(from)) = (drivers.pop(), drivers.pop()) else { return Err("two ports".into()) };
        let address = |driver: &Driver<_>| driver.net().map(|net| net.mac).ok_or("the interface is not open");
        let mut frame = [&address(&to)?[..], &address(&from)?[..], &ETHERTYPE[..]].concat();
        frame.resize(LENGTH, 0x5a);
        Ok(Self { engine, from, to, frames: vec![frame; BATCH] })
    }

    /// What both functions have to do, as a worker does it. The drivers' doorbells are the card's work too.
    fn serve(&self) -> Outcome<Duration> {
        let mut engine = self.engine.borrow_mut();
        let now = engine.now();
        let card = engine.card();
        let since = Instant::now();
        for f in [0, 1] {
            while card.serve(f, now).map_err(|needs| format!("{needs:?}"))?.more {}
            card.run_timers(f, now);
        }
        Ok(since.elapsed())
    }

    fn batch(&mut self) -> Outcome<Duration> {
        self.from.send_batch(0, &self.frames)?;
        let mut busy = self.serve()?;
        let mut received = 0;
        while self.to.recv()?.is_some() {
            received += 1;
        }
        self.from.service()?;
        busy += self.serve()?;
        if received == BATCH { Ok(busy) } else { Err(format!("{received} of {BATCH} frames arrived").into()) }
    }
}
