//! BAR reads, posted writes and doorbells against the echo server, and a doorbell's way to its interrupt.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use mlx5emu_driver::{Config, Driver, Host, NetConfig};
use mlx5emu_prm::layouts::{mlx5_init_seg, mlx5_wqe_ctrl_seg as ctrl};
use mlx5emu_prm::uar;
use mlx5emu_prm::wqe::{SEND_WQE_DS, WqeOpcode};
use mlx5emu_vfio_user::client::{Interrupt, Options, QemuClient};

use crate::bare::Bare;
use crate::card::Card;
use crate::echo::Echo;
use crate::machine::Machine;
use crate::report::Row;
use crate::statistics::{Budget, Pairs, median};
use crate::{Effort, Outcome};

/// Budget of all rows here (design section 7).
const BUDGET: Budget = Budget::AtMost(1.3);
/// A UAR page that no driver has allocated: what is written there is looked at and ignored.
const UNUSED_UAR: u64 = 4096;
/// CE of the control segment: always a CQE.
const CE_ALWAYS: u64 = 2;
/// Pause between doorbells, so that each finds a card at rest.
const PAUSE: Duration = Duration::from_micros(100);
/// How long an interrupt may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn health_counter() -> u64 {
    u64::from(mlx5_init_seg::health_counter.bit / 32 * 4)
}

/// Reads over the thin client, and over one with a reader thread and a big lock, as QEMU has them.
pub(crate) fn reads(dir: &Path, effort: Effort) -> Outcome<Vec<Row>> {
    let card = Card::start(&dir.join("reads"))?;
    let echo = Echo::start(dir, "reads.sock", None)?;
    let (mut ours, mut theirs) = (Bare::connect(&card.socket(0))?, Bare::connect(echo.socket())?);
    if ours.read(health_counter())? == 0 {
        return Err("the health counter stands at zero".into());
    }
    let count = effort.count(3000);
    let pairs = Pairs::measure(
        effort.pairs,
        || ours.time_reads(health_counter(), count),
        || theirs.time_reads(health_counter(), count),
    )?;
    drop((ours, theirs));
    let thin = Row::compared("BAR read, round trip", "ns", pairs, Some(BUDGET))?;

    let (ours, theirs) = (Machine::boot(&card.socket(0))?, connect(&echo)?);
    let time = |client: &QemuClient| -> Outcome<f64> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let from = Instant::now();
            client.region_read_u32(0, health_counter())?;
            times.push(from.elapsed().as_nanos() as f64);
        }
        Ok(median(&times))
    };
    let pairs = Pairs::measure(effort.pairs, || time(ours.client()), || time(&theirs))?;
    Ok(vec![thin, Row::compared("BAR read, by a client with QEMU's threads", "ns", pairs, Some(BUDGET))?])
}

fn connect(echo: &Echo) -> Outcome<QemuClient> {
    Ok(QemuClient::connect(echo.socket(), Options { timeout: PATIENCE, ..Options::default() })?)
}

/// Writes that go nowhere, and doorbells of a live send queue.
pub(crate) fn writes(dir: &Path, effort: Effort) -> Outcome<Vec<Row>> {
    let card = Card::start(&dir.join("writes"))?;
    let echo = Echo::start(dir, "writes.sock", None)?;
    let count = effort.count(20_000);
    let (mut ours, mut theirs) = (Bare::connect(&card.socket(1))?, Bare::connect(echo.socket())?);
    let nowhere = UNUSED_UAR * uar::PAGE_SIZE + uar::BF_START;
    let pairs =
        Pairs::measure(effort.pairs, || ours.time_writes(nowhere, 0, count), || theirs.time_writes(nowhere, 0, count))?;
    drop((ours, theirs));
    let plain = Row::compared("posted write", "ns", pairs, Some(BUDGET))?;

    let mut driver = Driver::probe(Machine::boot(&card.socket(0))?, Config::default())?;
    driver.open(NetConfig::default())?;
    post_nop(&mut driver)?;
    let (offset, value) = driver.host.last_doorbell()?;
    let theirs = connect(&echo)?;
    let time = |client: &QemuClient| -> Outcome<f64> {
        let from = Instant::now();
        for _ in 0..count {
            client.region_write_posted(0, offset, &value.to_be_bytes())?;
        }
        client.region_read_u32(0, 0)?;
        Ok(from.elapsed().as_nanos() as f64 / count as f64)
    };
    let pairs = Pairs::measure(effort.pairs, || time(driver.host.client()), || time(&theirs))?;
    Ok(vec![plain, Row::compared("posted write to a send queue's doorbell", "ns", pairs, Some(BUDGET))?])
}

/// Has channel 0 do nothing, and say so.
fn post_nop(driver: &mut Driver<Machine>) -> Outcome<()> {
    let mut wqe = [0; SEND_WQE_DS];
    ctrl::opcode.set(&mut wqe, WqeOpcode::NOP.0.into());
    ctrl::ds.set(&mut wqe, 1);
    ctrl::ce.set(&mut wqe, CE_ALWAYS);
    let (queue, host) = driver.sq_and_host(0)?;
    queue.post_raw(host, &wqe, true)?;
    queue.ring(host);
    Ok(())
}

/// From a doorbell to the interrupt of its completion; for the echo server, from a write to the eventfd that it signals.
pub(crate) fn interrupts(dir: &Path, effort: Effort) -> Outcome<Vec<Row>> {
    let card = Card::start(&dir.join("interrupts"))?;
    let mut driver = Driver::probe(Machine::boot(&card.socket(0))?, Config::default())?;
    driver.open(NetConfig::default())?;
    // Completion vectors are those from 1 on.
    let vector = usize::from(driver.host.vectors() > 1);
    let eventfd = Interrupt::new()?;
    let echo = Echo::start(dir, "interrupts.sock", Some(eventfd.as_fd().try_clone_to_owned()?))?;
    let theirs = connect(&echo)?;
    post_nop(&mut driver)?;
    let (offset, value) = driver.host.last_doorbell()?;
    driver.host.await_interrupt(vector)?;
    driver.service()?;

    let count = effort.count(500);
    let pairs = Pairs::measure(
        effort.pairs,
        || -> Outcome<f64> {
            let mut times = Vec::with_capacity(count);
            for _ in 0..count {
                // What the driver wrote last time, to arm its queues, has been served when the read is answered.
                driver.host.bar_read32(0);
                std::thread::sleep(PAUSE);
                let from = Instant::now();
                post_nop(&mut driver)?;
                driver.host.await_interrupt(vector)?;
                times.push(from.elapsed().as_nanos() as f64);
                driver.service()?;
            }
            Ok(median(&times))
        },
        || -> Outcome<f64> {
            let mut times = Vec::with_capacity(count);
            for _ in 0..count {
                theirs.region_read_u32(0, 0)?;
                std::thread::sleep(PAUSE);
                let from = Instant::now();
                theirs.region_write_posted(0, offset, &value.to_be_bytes())?;
                if eventfd.wait(PATIENCE) == 0 {
                    return Err("the echo server does not signal".into());
                }
                times.push(from.elapsed().as_nanos() as f64);
            }
            Ok(median(&times))
        },
    )?;
    Ok(vec![Row::compared("doorbell to interrupt (NOP, CQE, EQE, eventfd)", "ns", pairs, Some(BUDGET))?])
}
