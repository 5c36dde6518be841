//! A machine without QEMU: a client of one function's socket, with memory, a BAR and interrupts, as a driver's host.

use std::path::Path;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use mlx5emu_vfio_user::client::{ClientError, Interrupt, Options, QemuClient};
use mlx5emu_vfio_user::proto;

use crate::arena::Arena;
use crate::error::Result;
use crate::host::Host;

/// Where the machine's RAM is in the function's address space: above 4 GiB, so that addresses have more than 32 bits.
pub const RAM_AT: u64 = 0x1_4000_0000;
/// Bytes of RAM.
pub const RAM: u64 = 64 << 20;
/// COMMAND (PCI 3.0, 6.2.2): memory space.
pub const MEMORY: u16 = 1 << 1;
/// COMMAND: bus master.
pub const BUS_MASTER: u16 = 1 << 2;

/// Offset of COMMAND in configuration space.
const COMMAND_AT: u64 = 0x04;
/// Offset of the first base address register.
const BAR0_REGISTER: u64 = 0x10;
/// Where BAR0 is put.
const BAR0_AT: u64 = 0x80_0000_0000;
/// Device Control of the PCI Express capability, and its Initiate Function Level Reset bit (PCIe 7.5.3.4).
const DEVCTL_AT: u64 = 0x60 + 8;
const FLR: u16 = 1 << 15;
/// Looks that cost a turn of the processor, before one costs a sleep.
const QUICK_LOOKS: u32 = 20;
/// That sleep.
const PAUSE: Duration = Duration::from_micros(20);

/// How long something may take that is sure to come: long, and longer on slow machines (`MLX5EMU_TIMEOUT_SCALE`).
pub fn patience() -> Duration {
    let scale = std::env::var("MLX5EMU_TIMEOUT_SCALE").ok().and_then(|s| s.parse::<f64>().ok());
    Duration::from_secs(30).mul_f64(scale.filter(|s| (0.1..=1000.0).contains(s)).unwrap_or(1.0))
}

/// One machine behind one function's socket.
pub struct SocketHost {
    /// What speaks to the card.
    pub client: QemuClient,
    arena: Arena,
    interrupts: Vec<Interrupt>,
    counts: Vec<u64>,
    started: Instant,
    waiting_since: Instant,
    last_doorbell: Option<(u64, u64)>,
}

impl SocketHost {
    /// A client of the function at `socket` that has said hello; nothing is mapped or enabled yet.
    ///
    /// # Errors
    /// Nobody serves there, or not this protocol.
    pub fn connect(socket: &Path) -> Result<QemuClient, ClientError> {
        QemuClient::connect(socket, Options { ram: RAM, timeout: patience(), ..Options::default() })
    }

    /// A machine as firmware and the PCI core leave it for a driver: RAM announced, the BAR placed, interrupts wired.
    ///
    /// # Errors
    /// The card refuses, or is gone.
    pub fn boot(socket: &Path) -> Result<Self, ClientError> {
        let machine = Self::over(Self::connect(socket)?, u32::MAX)?;
        machine.map_ram()?;
        machine.enable()?;
        Ok(machine)
    }

    /// A machine with this client and `vectors` of the function's interrupts at most; nothing is mapped or enabled yet.
    ///
    /// # Errors
    /// The card refuses, or is gone.
    pub fn over(client: QemuClient, vectors: u32) -> Result<Self, ClientError> {
        client.enable_msix()?;
        let mut interrupts = Vec::new();
        for vector in 0..client.irq_count(proto::IRQ_MSIX)?.min(vectors) {
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

    /// Announces RAM in three pipelined pieces, as a guest's memory comes.
    ///
    /// # Errors
    /// The card refuses, or is gone.
    pub fn map_ram(&self) -> Result<(), ClientError> {
        let piece = |at: u64, len: u64| self.client.map_ram(RAM_AT + at, len, at);
        let ids = [piece(0, 1 << 20)?, piece(1 << 20, 7 << 20)?, piece(8 << 20, RAM - (8 << 20))?];
        self.client.commit(ids)
    }

    /// Places the BAR and sets COMMAND, as before a driver is probed.
    ///
    /// # Errors
    /// The card refuses, or is gone.
    pub fn enable(&self) -> Result<(), ClientError> {
        let (low, high) = (BAR0_AT as u32, (BAR0_AT >> 32) as u32);
        self.client.config_write(BAR0_REGISTER, &low.to_le_bytes())?;
        self.client.config_write(BAR0_REGISTER + 4, &high.to_le_bytes())?;
        self.set_command(MEMORY | BUS_MASTER)
    }

    /// Writes COMMAND.
    ///
    /// # Errors
    /// The card refuses, or is gone.
    pub fn set_command(&self, bits: u16) -> Result<(), ClientError> {
        self.client.config_write(COMMAND_AT, &bits.to_le_bytes())
    }

    /// A function-level reset.
    ///
    /// # Errors
    /// The card refuses, or is gone.
    pub fn flr(&self) -> Result<(), ClientError> {
        self.client.config_write(DEVCTL_AT, &FLR.to_le_bytes())
    }

    /// The machine after its function was reset: RAM is empty, and free again.
    #[must_use]
    pub fn afresh(mut self) -> Self {
        self.arena = Arena::new(RAM_AT, RAM);
        self.client.ram().write(0, &vec![0; RAM as usize]);
        self
    }

    /// A copy of all of RAM.
    pub fn ram(&self) -> Vec<u8> {
        let mut ram = vec![0; RAM as usize];
        self.client.ram().read(0, &mut ram);
        ram
    }

    /// Where the last doorbell of eight bytes was written in BAR 0, and its value.
    pub fn last_doorbell(&self) -> Option<(u64, u64)> {
        self.last_doorbell
    }

    /// Sleeps until `vector` is raised. False: it does not come.
    pub fn await_interrupt(&mut self, vector: usize) -> bool {
        let (Some(interrupt), Some(count)) = (self.interrupts.get(vector), self.counts.get_mut(vector)) else {
            return false;
        };
        let raised = interrupt.wait(patience());
        *count += raised;
        raised > 0
    }

    fn at(iova: u64, len: usize) -> Option<u64> {
        iova.checked_sub(RAM_AT).filter(|at| at.saturating_add(len as u64) <= RAM)
    }
}

impl Host for SocketHost {
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
        // What a device still reads from memory that was given back must show: it is filled with something odd.
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
        if waited < QUICK_LOOKS {
            std::thread::yield_now()
        } else {
            std::thread::sleep(PAUSE)
        }
        self.client.is_connected() && self.waiting_since.elapsed() < patience()
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}
