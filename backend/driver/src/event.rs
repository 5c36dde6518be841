//! Event queues.

use mlx5emu_prm::event::Event;
use mlx5emu_prm::layouts::{be64, create_eq_in, eqc, mlx5_eqe};
use mlx5emu_prm::opcode::Opcode;
use mlx5emu_prm::uar;

use crate::buffer::Buffer;
use crate::command::input;
use crate::error::Result;
use crate::host::Host;

/// Bytes of a UAR page.
pub const UAR_PAGE: u64 = 4096;

/// An entry of an event queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eqe {
    /// Type.
    pub event: Event,
    /// Sub-type.
    pub sub_type: u8,
    /// `data`.
    pub data: [u8; 28],
}

/// An event queue.
#[derive(Debug)]
pub struct Eq {
    /// Its number; 0 until it is created.
    pub number: u32,
    /// Its MSI-X vector.
    pub vector: u16,
    uar: u32,
    log_size: u32,
    buffer: Buffer,
    ci: u32,
}

impl Eq {
    /// Memory for a queue of `1 << log_size` entries.
    ///
    /// # Errors
    /// No memory.
    pub fn new<H: Host>(host: &mut H, log_size: u32, uar: u32, vector: u16, page_offset: usize) -> Result<Self> {
        let buffer = Buffer::new(host, mlx5_eqe::SIZE << log_size, 12, page_offset)?;
        for n in 0..1usize << log_size {
            let mut eqe = [0u8; mlx5_eqe::SIZE];
            mlx5_eqe::owner.set(&mut eqe, 1);
            buffer.write(host, n * mlx5_eqe::SIZE, &eqe);
        }
        Ok(Self { number: 0, vector, uar, log_size, buffer, ci: 0 })
    }

    /// CREATE_EQ for the events in `mask`.
    pub fn create_input(&self, mask: &[Event]) -> Vec<u8> {
        let mut cmd = input(Opcode::CREATE_EQ, create_eq_in::SIZE + 8 * self.buffer.pages().len());
        let context = create_eq_in::eq_context_entry.of_mut(&mut cmd);
        eqc::log_eq_size.set(context, self.log_size.into());
        eqc::uar_page.set(context, self.uar.into());
        eqc::intr.set(context, self.vector.into());
        eqc::log_page_size.set(context, u64::from(self.buffer.log_page() - 12));
        eqc::page_offset.set(context, self.buffer.offset() as u64 / 64);
        let mut words = [0u64; 4];
        for event in mask {
            words[usize::from(event.0 / 64)] |= 1 << (event.0 % 64);
        }
        for (n, word) in words.iter().enumerate() {
            be64::value.set(create_eq_in::event_bitmask.at_mut(&mut cmd, n), *word);
        }
        for (n, page) in self.buffer.pages().iter().enumerate() {
            be64::value.set(create_eq_in::pas.at_mut(&mut cmd, n), *page);
        }
        cmd
    }

    /// The next entry, if there is one.
    pub fn next<H: Host>(&mut self, host: &H) -> Option<Eqe> {
        let at = (self.ci as usize & ((1 << self.log_size) - 1)) * mlx5_eqe::SIZE;
        let (address, _) = self.buffer.locate(at);
        let owner = host.load_acquire_u8(address + (mlx5_eqe::owner.bit / 8) as u64) & 1;
        if u32::from(owner) != self.ci >> self.log_size & 1 {
            return None;
        }
        let mut raw = [0u8; mlx5_eqe::SIZE];
        host.mem_read(address, &mut raw);
        self.ci = self.ci.wrapping_add(1);
        let mut data = [0; 28];
        data.copy_from_slice(mlx5_eqe::data.of(&raw));
        Some(Eqe { event: Event(mlx5_eqe::r#type.get(&raw) as u8), sub_type: mlx5_eqe::sub_type.get(&raw) as u8, data })
    }

    /// Tells the device how far the driver is, and, with `arm`, asks for an interrupt.
    pub fn update<H: Host>(&self, host: &mut H, arm: bool) {
        let register = if arm { uar::EQ_ARM } else { uar::EQ_UPDATE };
        host.bar_write32(u64::from(self.uar) * UAR_PAGE + register, self.number << 24 | self.ci & 0xff_ffff);
    }

    /// Entries consumed so far.
    pub fn consumed(&self) -> u32 {
        self.ci
    }

    /// Gives the memory back.
    pub fn free<H: Host>(self, host: &mut H) {
        self.buffer.free(host);
    }
}
