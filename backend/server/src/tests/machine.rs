//! A machine without QEMU: a client of one function's socket, as the host of a driver.

use std::path::Path;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use mlx5emu_config::{Card, FunctionName};
use mlx5emu_driver::arena::Arena;
use mlx5emu_driver::error::Result;
use mlx5emu_driver::{Config, Driver, Farewell, Host, NetConfig};
use mlx5emu_vfio_user::client::{Interrupt, Options, QemuClient};
use tempfile::TempDir;

use crate::{Running, StartOptions, start};

/// Where the machine's RAM is in the function's address space.
pub(super) const RAM_AT: u64 = 0x1_4000_0000;
/// Bytes of RAM.
pub(super) const RAM: u64 = 64 << 20;
/// COMMAND: memory space, bus master.
const MEMORY: u16 = 1 << 1;
const BUS_MASTER: u16 = 1 << 2;
/// Offset of COMMAND in configuration space.
const COMMAND_AT: u64 = 4;
/// Where BAR0 is put.
const BAR0_AT: u64 = 0x80_0000_0000;
/// Device Control of the PCI Express capability, and its Initiate Function Level Reset bit (in the second byte).
const DEVCTL_AT: u64 = 0x60 + 8;
const FLR: u16 = 1 << 15;

/// A card of two wired ports with its sockets in a directory of its own.
pub(super) struct Rig {
    pub(super) running: Running,
    pub(super) dir: TempDir,
}

pub(super) fn rig() -> Rig {
    rig_with(StartOptions::default())
}

pub(super) fn rig_with(options: StartOptions) -> Rig {
    let mut card = Card::default();
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
        Machine::boot(self.socket(f))
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

/// How long something may take that is sure to come: long, and longer on slow machines.
pub(super) fn patience() -> Duration {
    let scale = std::env::var("MLX5EMU_TIMEOUT_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1.0f64);
    Duration::from_secs_f64(30.0 * scale)
}

/// Waits until `ready`.
pub(super) fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let until = Instant::now() + patience();
    while !ready() {
        assert!(Instant::now() < until, "{what} did not come about");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// One machine.
pub(super) struct Machine {
    pub(super) client: QemuClient,
    arena: Arena,
    interrupts: Vec<Interrupt>,
    counts: Vec<u64>,
    started: Instant,
    waiting_since: Instant,
}

impl Machine {
    pub(super) fn connect(socket: &Path) -> QemuClient {
        QemuClient::connect(socket, Options { ram: RAM, timeout: patience(), ..Options::default() }).unwrap()
    }

    pub(super) fn boot(socket: &Path) -> Self {
        let machine = Self::over(Self::connect(socket));
        machine.map_ram();
        machine.enable();
        machine
    }

    /// A machine with this client; nothing is mapped or enabled yet.
    pub(super) fn over(client: QemuClient) -> Self {
        Self {
            client,
            arena: Arena::new(RAM_AT, RAM),
            interrupts: Vec::new(),
            counts: Vec::new(),
            started: Instant::now(),
            waiting_since: Instant::now(),
        }
        .with_interrupts()
    }

    /// RAM in three pipelined pieces.
    pub(super) fn map_ram(&self) {
        let piece = |at: u64, len: u64| self.client.map_ram(RAM_AT + at, len, at).unwrap();
        let ids = [piece(0, 1 << 20), piece(1 << 20, 7 << 20), piece(8 << 20, RAM - (8 << 20))];
        self.client.commit(ids).unwrap();
    }

    /// What firmware and the PCI core do before a driver is probed.
    pub(super) fn enable(&self) {
        self.client.config_write(0x10, &(BAR0_AT as u32).to_le_bytes()).unwrap();
        self.client.config_write(0x14, &((BAR0_AT >> 32) as u32).to_le_bytes()).unwrap();
        self.set_command(MEMORY | BUS_MASTER);
    }

    pub(super) fn set_command(&self, bits: u16) {
        self.client.config_write(COMMAND_AT, &bits.to_le_bytes()).unwrap();
    }

    pub(super) fn flr(&self) {
        self.client.config_write(DEVCTL_AT, &FLR.to_le_bytes()).unwrap();
    }

    fn with_interrupts(mut self) -> Self {
        self.client.enable_msix().unwrap();
        for vector in 0..self.client.irq_count(mlx5emu_vfio_user::proto::IRQ_MSIX).unwrap() {
            let interrupt = Interrupt::new().unwrap();
            self.client.wire_vector(vector, &interrupt).unwrap();
            self.interrupts.push(interrupt);
            self.counts.push(0);
        }
        self
    }

    /// The machine after its function was reset: RAM is free again.
    pub(super) fn afresh(mut self) -> Self {
        self.arena = Arena::new(RAM_AT, RAM);
        self.client.ram().write(0, &vec![0; RAM as usize]);
        self
    }

    pub(super) fn ram(&self) -> Vec<u8> {
        let mut ram = vec![0; RAM as usize];
        self.client.ram().read(0, &mut ram);
        ram
    }

    pub(super) fn health_syndrome(&mut self) -> u32 {
        self.bar_read32(0x23c) >> 16 & 0xff
    }

    fn at(iova: u64, len: usize) -> Option<u64> {
        iova.checked_sub(RAM_AT).filter(|at| at + len as u64 <= RAM)
    }
}

impl Host for Machine {
    fn bar_read32(&mut self, offset: u64) -> u32 {
        let mut data = [0; 4];
        match self.client.region_read(0, offset, &mut data) {
            Ok(()) => u32::from_be_bytes(data),
            Err(_) => u32::MAX,
        }
    }

    fn bar_write32(&mut self, offset: u64, value: u32) {
        let _ = self.client.region_write_posted(0, offset, &value.to_be_bytes());
    }

    fn bar_write64(&mut self, offset: u64, value: u64) {
        let _ = self.client.region_write_posted(0, offset, &value.to_be_bytes());
    }

    fn dma_alloc(&mut self, len: usize, align: usize) -> Result<u64> {
        let iova = self.arena.alloc(len, align)?;
        self.mem_write(iova, &vec![0; len]);
        Ok(iova)
    }

    fn dma_free(&mut self, iova: u64) {
        if let Some(len) = self.arena.free(iova) {
            self.mem_write(iova, &vec![0xd5; len as usize]);
        }
    }

    fn dma_in_use(&self) -> usize {
        self.arena.in_use()
    }

    fn mem_read(&self, iova: u64, buf: &mut [u8]) {
        match Self::at(iova, buf.len()) {
            Some(at) => self.client.ram().read(at, buf),
            None => buf.fill(0xff),
        }
    }

    fn mem_write(&mut self, iova: u64, data: &[u8]) {
        if let Some(at) = Self::at(iova, data.len()) {
            self.client.ram().write(at, data);
        }
    }

    fn load_acquire_u8(&self, iova: u64) -> u8 {
        let mut byte = [0xff];
        self.mem_read(iova, &mut byte);
        fence(Ordering::SeqCst);
        byte[0]
    }

    fn store_release_be32(&mut self, iova: u64, value: u32) {
        fence(Ordering::SeqCst);
        self.mem_write(iova, &value.to_be_bytes());
        fence(Ordering::SeqCst);
    }

    fn vectors(&self) -> u16 {
        self.interrupts.len() as u16
    }

    fn interrupts(&mut self, vector: u16) -> u64 {
        let n = usize::from(vector);
        self.counts[n] += self.interrupts[n].take();
        self.counts[n]
    }

    fn relax(&mut self, waited: u32) -> bool {
        if waited == 0 {
            self.waiting_since = Instant::now();
        }
        if waited < 20 {
            std::thread::yield_now()
        } else {
            std::thread::sleep(Duration::from_micros(50))
        }
        self.client.is_connected() && self.waiting_since.elapsed() < patience()
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
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
