//! A machine without QEMU behind one function's socket: what the Rust driver needs of its host.

use std::path::Path;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use mlx5emu_driver::Host;
use mlx5emu_driver::arena::Arena;
use mlx5emu_driver::error::Result;
use mlx5emu_vfio_user::client::{Interrupt, Options, QemuClient};
use mlx5emu_vfio_user::proto;

use crate::Outcome;

/// Where the machine's RAM is in the function's address space.
const RAM_AT: u64 = 0x1_0000_0000;
/// Bytes of RAM.
const RAM: u64 = 32 << 20;
/// COMMAND of the configuration space: memory space, bus master.
const COMMAND_AT: u64 = 4;
const MEMORY_AND_BUS_MASTER: u16 = 1 << 1 | 1 << 2;
/// The BAR of the card is put here.
const BAR0_REGISTER: u64 = 0x10;
const BAR0_AT: u64 = 0x80_0000_0000;
/// Vectors that are wired, as many as a machine with that many CPUs would.
const VECTORS: u32 = 4;
/// How long the card may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// One machine.
pub(crate) struct Machine {
    client: QemuClient,
    arena: Arena,
    interrupts: Vec<Interrupt>,
    counts: Vec<u64>,
    started: Instant,
    waiting_since: Instant,
    /// The last write of eight bytes to BAR 0: where and what.
    last_doorbell: Option<(u64, u64)>,
}

impl Machine {
    /// A machine as firmware leaves it: RAM announced, the BAR placed, interrupts wired.
    pub(crate) fn boot(socket: &Path) -> Outcome<Self> {
        let client = QemuClient::connect(socket, Options { ram: RAM, timeout: PATIENCE, ..Options::default() })?;
        client.commit([client.map_ram(RAM_AT, RAM, 0)?])?;
        client.config_write(BAR0_REGISTER, &BAR0_AT.to_le_bytes()[..4])?;
        client.config_write(BAR0_REGISTER + 4, &BAR0_AT.to_le_bytes()[4..])?;
        client.config_write(COMMAND_AT, &MEMORY_AND_BUS_MASTER.to_le_bytes())?;
        client.enable_msix()?;
        let mut interrupts = Vec::new();
        for vector in 0..client.irq_count(proto::IRQ_MSIX)?.min(VECTORS) {
            let interrupt = Interrupt::new()?;
            client.wire_vector(vector, &interrupt)?;
            interrupts.push(interrupt);
        }
        let now = Instant::now();
        Ok(Self {
            client,
            arena: Arena::new(RAM_AT, RAM),
            counts: vec![0; interrupts.len()],
            interrupts,
            started: now,
            waiting_since: now,
            last_doorbell: None,
        })
    }

    /// The client.
    pub(crate) fn client(&self) -> &QemuClient {
        &self.client
    }

    /// Where the last doorbell of eight bytes was written, and its value.
    pub(crate) fn last_doorbell(&self) -> Outcome<(u64, u64)> {
        self.last_doorbell.ok_or_else(|| "no doorbell was rung".into())
    }

    /// Sleeps until `vector` is raised.
    pub(crate) fn await_interrupt(&mut self, vector: usize) -> Outcome<()> {
        match self.interrupts[vector].wait(PATIENCE) {
            0 => Err("the interrupt does not come".into()),
            n => {
                self.counts[vector] += n;
                Ok(())
            }
        }
    }

    fn at(iova: u64, len: usize) -> Option<u64> {
        iova.checked_sub(RAM_AT).filter(|at| at + len as u64 <= RAM)
    }
}

impl Host for Machine {
    fn bar_read32(&mut self, offset: u64) -> u32 {
        let mut data = [0; 4];
        // What does not answer reads as all-ones, on a bus too.
        self.client.region_read(0, offset, &mut data).map_or(u32::MAX, |()| u32::from_be_bytes(data))
    }

    fn bar_write32(&mut self, offset: u64, value: u32) {
        // The driver notices that nothing answers any more.
        let _ = self.client.region_write_posted(0, offset, &value.to_be_bytes());
    }

    fn bar_write64(&mut self, offset: u64, value: u64) {
        self.last_doorbell = Some((offset, value));
        let _ = self.client.region_write_posted(0, offset, &value.to_be_bytes());
    }

    fn dma_alloc(&mut self, len: usize, align: usize) -> Result<u64> {
        let iova = self.arena.alloc(len, align)?;
        self.mem_write(iova, &vec![0; len]);
        Ok(iova)
    }

    fn dma_free(&mut self, iova: u64) {
        let _ = self.arena.free(iova);
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
        std::thread::sleep(Duration::from_micros(20));
        self.client.is_connected() && self.waiting_since.elapsed() < PATIENCE
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}
