//! A card in a directory of its own, and machines without QEMU behind its functions.

use std::path::Path;
use std::time::{Duration, Instant};

use mlx5emu_config::{Card, FunctionName};
pub(super) use mlx5emu_driver::socket::{RAM, RAM_AT, SocketHost as Machine, patience};
use mlx5emu_driver::{Config, Driver, Farewell, Host, NetConfig};
use tempfile::TempDir;

use crate::{Running, StartOptions, start};

/// A card of two wired ports with its sockets in a directory of its own.
pub(super) struct Rig {
    pub(super) running: Running,
    pub(super) dir: TempDir,
}

pub(super) fn rig() -> Rig {
    rig_with(StartOptions::default())
}

pub(super) fn rig_with(options: StartOptions) -> Rig {
    rig_of(Card::default(), options)
}

pub(super) fn rig_of(mut card: Card, options: StartOptions) -> Rig {
    card.limits.vectors = 8;
    let dir = tempfile::tempdir().unwrap();
    Rig { running: start(&card, dir.path(), options).unwrap(), dir }
}

impl Rig {
    pub(super) fn socket(&self, f: usize) -> &Path {
        &self.running.sockets()[f].1
    }

    /// A machine behind function `f`, as QEMU and firmware leave it.
    pub(super) fn machine(&self, f: usize) -> Machine {
        Machine::boot(self.socket(f)).unwrap()
    }

    /// Both functions probed and open.
    pub(super) fn opened(&self) -> [Driver<Machine>; 2] {
        let mut drivers = [0, 1].map(|f| Driver::probe(self.machine(f), Config::default()).unwrap());
        drivers.iter_mut().for_each(|driver| driver.open(NetConfig::default()).unwrap());
        drivers
    }

    pub(super) fn control(&self) -> mlx5emu_config::control::Client {
        mlx5emu_config::control::Client::connect(self.dir.path()).unwrap()
    }

    pub(super) fn names(&self) -> Vec<FunctionName> {
        self.running.sockets().iter().map(|(name, _)| *name).collect()
    }
}

/// Waits until `ready`.
pub(super) fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let until = Instant::now() + patience();
    while !ready() {
        assert!(Instant::now() < until, "{what} did not come about");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// An Ethernet frame of `len` bytes, numbered.
pub(super) fn frame(dst: [u8; 6], src: [u8; 6], len: usize, number: u32) -> Vec<u8> {
    let mut frame = [&dst[..], &src[..], &[0x88, 0xb5], &number.to_be_bytes()].concat();
    frame.resize(len, number as u8);
    frame
}

pub(super) fn mac(driver: &Driver<Machine>) -> [u8; 6] {
    driver.net().unwrap().mac
}

/// Removes a driver; nothing is left behind.
pub(super) fn goodbye(driver: Driver<Machine>) -> (Machine, Farewell) {
    let (machine, farewell) = driver.remove().unwrap();
    assert!(farewell.pages_given > 0);
    assert_eq!(farewell.pages_given, farewell.pages_returned, "{farewell:?}");
    assert_eq!(machine.dma_in_use(), 0, "memory is leaked");
    (machine, farewell)
}

/// The syndrome in the health buffer (`health_buffer` of the initialization segment, at 0x200; `synd` at +0x3c).
pub(super) fn health_syndrome(machine: &mut Machine) -> u32 {
    machine.bar_read32(0x23c) >> 16 & 0xff
}
