//! BAR reads, posted writes and doorbells against the echo server, and a doorbell's way to its interrupt.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use mlx5emu_driver::socket::SocketHost;
use mlx5emu_driver::{Config, Driver, Host, NetConfig};
use mlx5emu_prm::layouts::{mlx5_init_seg, mlx5_wqe_ctrl_seg as ctrl};
use mlx5emu_prm::uar;
use mlx5emu_prm::wqe::{SEND_WQE_DS, WqeOpcode};
use mlx5emu_vfio_user::client::{Interrupt, Options, QemuClient};

use crate::bare::{AtBar, Bare};
use crate::card::Card;
use crate::cores::Layout;
use crate::echo::Echo;
use crate::report::Row;
use crate::statistics::{Budget, Pairs, median};
use crate::{Outcome, Room};

/// Budget of all rows here (design section 7).
const BUDGET: Budget = Budget::AtMost(1.3);
/// Posted writes between two reads: short against what others do to a busy machine, long against the read.
const BURST: usize = 1000;
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

fn row(what: &str, layout: Layout, pairs: Pairs) -> Outcome<Row> {
    Row::compared(&format!("{what}, {}", layout.name()), "ns", pairs, Some(BUDGET))
}

/// The median time of one of `count` round trips, nanoseconds, after some that warm up.
fn time_each(count: usize, mut once: impl FnMut() -> Outcome<Duration>) -> Outcome<f64> {
    for _ in 0..count.div_ceil(10) {
        once()?;
    }
    let times: Outcome<Vec<f64>> = (0..count).map(|_| Ok(once()?.as_nanos() as f64)).collect();
    Ok(median(&times?))
}

/// The time of one of `count` posted writes, nanoseconds: the median over bursts, each of which ends when `read` is answered
/// and so all of its writes have been served. Some warm up.
fn time_bursts<C>(
    client: &mut C,
    count: usize,
    post: impl Fn(&mut C) -> Outcome<()>,
    read: impl Fn(&mut C) -> Outcome<u32>,
) -> Outcome<f64> {
    let burst = time_each(count.div_ceil(BURST), || {
        let from = Instant::now();
        for _ in 0..BURST {
            post(client)?;
        }
        read(client)?;
        Ok(from.elapsed())
    })?;
    Ok(burst / BURST as f64)
}

fn connect(echo: &Echo) -> Outcome<QemuClient> {
    Ok(QemuClient::connect(echo.socket(), Options { timeout: PATIENCE, ..Options::default() })?)
}

/// A driver with its interface up.
fn drive(card: &Card) -> Outcome<Driver<SocketHost>> {
    let mut driver = Driver::probe(card.machine(0)?, Config::default())?;
    driver.open(NetConfig::default())?;
    Ok(driver)
}

/// Reads over the thin client, and over one with a reader thread and a big lock, as QEMU has them.
pub(crate) fn reads(room: &Room, layout: Layout) -> Outcome<Vec<Row>> {
    let count = room.effort.count(3000);
    let read = AtBar::read(health_counter());
    let thin = |socket: &Path| -> Outcome<f64> {
        let mut client = Bare::connect(socket)?;
        time_each(count, || {
            let from = Instant::now();
            client.request(&read)?;
            Ok(from.elapsed())
        })
    };
    let threaded = |client: &QemuClient| {
        time_each(count, || {
            let from = Instant::now();
            client.region_read_u32(0, health_counter())?;
            Ok(from.elapsed())
        })
    };
    check_health(room)?;
    let pairs = Pairs::measure(
        room.effort.pairs,
        || thin(&Card::start(room)?.socket(0)),
        || thin(Echo::start(room, None)?.socket()),
    )?;
    let first = row("BAR read", layout, pairs)?;
    let pairs = Pairs::measure(
        room.effort.pairs,
        || threaded(&Card::start(room)?.machine(0)?.client),
        || threaded(&connect(&Echo::start(room, None)?)?),
    )?;
    Ok(vec![first, row("BAR read, by a client with QEMU's threads", layout, pairs)?])
}

/// What is read is the register, and not a device that does not answer.
fn check_health(room: &Room) -> Outcome<()> {
    let card = Card::start(room)?;
    match Bare::connect(&card.socket(0))?.request(&AtBar::read(health_counter()))? {
        0 | u32::MAX => Err("the health counter does not count".into()),
        _ => Ok(()),
    }
}

/// Writes that go nowhere, and doorbells of a live send queue.
pub(crate) fn writes(room: &Room, layout: Layout) -> Outcome<Vec<Row>> {
    let count = room.effort.count(20_000);
    let nowhere = AtBar::posted_write(UNUSED_UAR * uar::PAGE_SIZE + uar::BF_START, 0);
    let read = AtBar::read(0);
    let thin = |socket: &Path| {
        let mut client = Bare::connect(socket)?;
        time_bursts(&mut client, count, |client| client.post(&nowhere), |client| client.request(&read))
    };
    let pairs = Pairs::measure(
        room.effort.pairs,
        || thin(&Card::start(room)?.socket(0)),
        || thin(Echo::start(room, None)?.socket()),
    )?;
    let plain = row("posted write", layout, pairs)?;

    let ring = |mut client: &QemuClient, (offset, value): (u64, u64)| {
        time_bursts(
            &mut client,
            count,
            |client| Ok(client.region_write_posted(0, offset, &value.to_be_bytes())?),
            |client| Ok(client.region_read_u32(0, 0)?),
        )
    };
    let doorbell = std::cell::Cell::new((0, 0));
    let pairs = Pairs::measure(
        room.effort.pairs,
        || {
            let card = Card::start(room)?;
            let mut driver = drive(&card)?;
            post_nop(&mut driver)?;
            doorbell.set(driver.host.last_doorbell().ok_or("no doorbell was rung")?);
            ring(&driver.host.client, doorbell.get())
        },
        || ring(&connect(&Echo::start(room, None)?)?, doorbell.get()),
    )?;
    Ok(vec![plain, row("posted write to a send queue's doorbell", layout, pairs)?])
}

/// Has channel 0 do nothing, and say so.
fn post_nop(driver: &mut Driver<SocketHost>) -> Outcome<()> {
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
pub(crate) fn interrupts(room: &Room, layout: Layout) -> Outcome<Vec<Row>> {
    let count = room.effort.count(500);
    let pairs = Pairs::measure(room.effort.pairs, || card_interrupts(room, count), || echo_interrupts(room, count))?;
    Ok(vec![row("doorbell to interrupt", layout, pairs)?])
}

fn card_interrupts(room: &Room, count: usize) -> Outcome<f64> {
    let card = Card::start(room)?;
    let mut driver = drive(&card)?;
    // Completion vectors are those from 1 on.
    let vector = usize::from(driver.host.vectors() > 1);
    time_each(count, || {
        // What the driver wrote last, to arm its queues, has been taken when the read is answered; then the card rests.
        driver.host.bar_read32(0);
        std::thread::sleep(PAUSE);
        let from = Instant::now();
        post_nop(&mut driver)?;
        if !driver.host.await_interrupt(vector) {
            return Err("the interrupt does not come".into());
        }
        let time = from.elapsed();
        driver.service()?;
        Ok(time)
    })
}

fn echo_interrupts(room: &Room, count: usize) -> Outcome<f64> {
    let eventfd = Interrupt::new()?;
    let echo = Echo::start(room, Some(eventfd.as_fd().try_clone_to_owned()?))?;
    let client = connect(&echo)?;
    time_each(count, || {
        client.region_read_u32(0, 0)?;
        std::thread::sleep(PAUSE);
        let from = Instant::now();
        client.region_write_posted(0, uar::BF_START, &[0; 8])?;
        if eventfd.wait(PATIENCE) == 0 {
            return Err("the echo server does not signal".into());
        }
        Ok(from.elapsed())
    })
}
