//! Completion queues.

use mlx5emu_prm::layouts::{be64, cqc, create_cq_in, mlx5_cqe64};
use mlx5emu_prm::opcode::Opcode;
use mlx5emu_prm::uar;
use mlx5emu_prm::wqe::CqeOpcode;

use crate::buffer::Buffer;
use crate::command::input;
use crate::decompress::{Decompressor, MiniFormat};
use crate::error::Result;
use crate::event::UAR_PAGE;
use crate::host::Host;

/// A completion, as raw bytes: read it with `prm::layouts::mlx5_cqe64` or `mlx5_err_cqe`.
pub type Cqe = [u8; mlx5_cqe64::SIZE];

/// Shape of a completion queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CqShape {
    /// log2 of its entries.
    pub log_size: u32,
    /// Entries of 128 bytes: the CQE is their second half.
    pub wide: bool,
    /// log2 of its pages' size in bytes.
    pub log_page: u32,
    /// Bytes before the first entry in the first page: a multiple of 64.
    pub page_offset: usize,
    /// Moderation: most microseconds before an event.
    pub period: u16,
    /// Moderation: most completions before an event.
    pub max_count: u16,
    /// The device may compress completions.
    pub compression: Option<MiniFormat>,
}

impl CqShape {
    /// 64-byte entries in 4 KiB pages, no moderation.
    pub const fn plain(log_size: u32) -> Self {
        Self { log_size, wide: false, log_page: 12, page_offset: 0, period: 0, max_count: 0, compression: None }
    }
}

/// A completion queue.
#[derive(Debug)]
pub struct Cq {
    /// Its number; 0 until it is created.
    pub number: u32,
    /// An event came and the queue was not yet found empty.
    pub pending: bool,
    shape: CqShape,
    buffer: Buffer,
    /// Doorbell record: consumer index, arm word.
    record: u64,
    uar: u32,
    ci: u32,
    arm_sn: u32,
    events: u64,
    /// What is left of compressed completions.
    pub decompressor: Decompressor,
}

impl Cq {
    /// Memory for a queue.
    ///
    /// # Errors
    /// No memory.
    pub fn new<H: Host>(host: &mut H, shape: CqShape, uar: u32) -> Result<Self> {
        let stride = if shape.wide { 128 } else { 64 };
        let buffer = Buffer::new(host, stride << shape.log_size, shape.log_page, shape.page_offset)?;
        let record = host.dma_alloc(8, 8)?;
        host.mem_write(record, &[0; 8]);
        let mut cqe = vec![0u8; stride];
        mlx5_cqe64::op_own.set(&mut cqe[stride - mlx5_cqe64::SIZE..], u64::from(CqeOpcode::INVALID.0) << 4 | 1);
        for n in 0..1usize << shape.log_size {
            buffer.write(host, n * stride, &cqe);
        }
        let decompressor = Decompressor::new(shape.compression);
        Ok(Self { number: 0, pending: false, shape, buffer, record, uar, ci: 0, arm_sn: 0, events: 0, decompressor })
    }

    /// CREATE_CQ, with events to EQ `eqn`.
    pub fn create_input(&self, eqn: u32) -> Vec<u8> {
        let mut cmd = input(Opcode::CREATE_CQ, create_cq_in::SIZE + 8 * self.buffer.pages().len());
        let context = create_cq_in::cq_context.of_mut(&mut cmd);
        cqc::cqe_sz.set(context, self.shape.wide.into());
        if let Some(format) = self.shape.compression {
            cqc::cqe_comp_en.set(context, 1);
            cqc::mini_cqe_res_format.set(context, format as u64);
        }
        cqc::page_offset.set(context, self.buffer.offset() as u64 / 64);
        cqc::log_cq_size.set(context, self.shape.log_size.into());
        cqc::uar_page.set(context, self.uar.into());
        cqc::cq_period.set(context, self.shape.period.into());
        cqc::cq_max_count.set(context, self.shape.max_count.into());
        cqc::c_eqn_or_apu_element.set(context, eqn.into());
        cqc::log_page_size.set(context, u64::from(self.buffer.log_page() - 12));
        cqc::dbr_addr.set(context, self.record);
        for (n, page) in self.buffer.pages().iter().enumerate() {
            be64::value.set(create_cq_in::pas.at_mut(&mut cmd, n), *page);
        }
        cmd
    }

    /// An event came.
    pub fn on_event(&mut self) {
        self.arm_sn = (self.arm_sn + 1) & 3;
        self.events += 1;
        self.pending = true;
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Completions consumed so far.
    pub fn consumed(&self) -> u32 {
        self.ci
    }

    /// Address of the CQE of a consumer index.
    fn entry(&self, ci: u32) -> u64 {
        let stride = if self.shape.wide { 128 } else { 64 };
        let index = ci as usize & ((1 << self.shape.log_size) - 1);
        self.buffer.locate(index * stride + stride - mlx5_cqe64::SIZE).0
    }

    fn read<H: Host>(&self, host: &H, ci: u32) -> Cqe {
        let mut cqe = [0; mlx5_cqe64::SIZE];
        host.mem_read(self.entry(ci), &mut cqe);
        cqe
    }

    fn owner(&self) -> u8 {
        (self.ci >> self.shape.log_size & 1) as u8
    }

    /// The next completion, if there is one.
    pub fn next<H: Host>(&mut self, host: &mut H) -> Option<Cqe> {
        const OP_OWN: u64 = (mlx5_cqe64::op_own.bit / 8) as u64;
        let (entry, owner) = (self.entry(self.ci), self.owner());
        if !self.decompressor.is_within() {
            let op_own = host.load_acquire_u8(entry + OP_OWN);
            if op_own >> 4 == CqeOpcode::INVALID.0 || op_own & 1 != owner {
                return None;
            }
            let cqe = self.read(host, self.ci);
            if !Decompressor::is_title(&cqe) {
                self.ci = self.ci.wrapping_add(1);
                return Some(cqe);
            }
            let array = self.read(host, self.ci.wrapping_add(1));
            self.decompressor.start(&cqe, &array);
        } else if self.decompressor.wants_array() {
            let array = self.read(host, self.ci);
            self.decompressor.feed(&array);
        }
        let mut cqe = self.decompressor.next();
        mlx5_cqe64::owner.set(&mut cqe, owner.into());
        // The device did not write all entries: in the next round each must look like one of this round.
        host.mem_write(entry + OP_OWN, &[owner]);
        self.ci = self.ci.wrapping_add(1);
        Some(cqe)
    }

    /// Tells the device through the doorbell record how far the driver is.
    pub fn update<H: Host>(&self, host: &mut H) {
        host.store_release_be32(self.record, self.ci & 0xff_ffff);
    }

    /// Asks for an event with the next completion.
    pub fn arm<H: Host>(&self, host: &mut H) {
        let word = self.arm_sn << 28 | self.ci & 0xff_ffff;
        host.store_release_be32(self.record + 4, word);
        let register = u64::from(self.uar) * UAR_PAGE + uar::CQ_DOORBELL;
        host.bar_write64(register, u64::from(word) << 32 | u64::from(self.number));
    }

    /// Address of the doorbell record.
    pub fn record(&self) -> u64 {
        self.record
    }

    /// Gives the memory back.
    pub fn free<H: Host>(self, host: &mut H) {
        host.dma_free(self.record);
        self.buffer.free(host);
    }
}
