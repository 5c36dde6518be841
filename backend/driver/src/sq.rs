//! Send queues.

use std::collections::VecDeque;

use mlx5emu_prm::layouts::{
    cmd_pas, create_sq_in, mlx5_cqe64, mlx5_err_cqe, mlx5_wqe_ctrl_seg as ctrl, mlx5_wqe_data_seg as data,
    mlx5_wqe_eth_seg as eth, mlx5_wqe_inline_seg as inline_seg, sqc, wq,
};
use mlx5emu_prm::opcode::Opcode;
use mlx5emu_prm::states::WqType;
use mlx5emu_prm::uar;
use mlx5emu_prm::wqe::{CqeOpcode, CqeSyndrome, SEND_WQE_BB, SEND_WQE_DS, SEND_WQE_MAX_WQEBBS, WqeOpcode};

use crate::buffer::Buffer;
use crate::command::input;
use crate::cq::{Cq, Cqe};
use crate::error::{Error, Result, misbehaves};
use crate::event::UAR_PAGE;
use crate::host::Host;

/// CE of the control segment: always a CQE.
const CE_ALWAYS: u64 = 2;

/// What one frame asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendOptions {
    /// Bytes of the frame in the WQE itself.
    pub inline: usize,
    /// Compute the IPv4 header checksum.
    pub l3_csum: bool,
    /// Compute the TCP or UDP checksum.
    pub l4_csum: bool,
    /// Ask for no CQE: a later WQE's retires this one.
    pub unsignaled: bool,
    /// Segment: payload bytes of a segment. `inline` covers the headers then.
    pub mss: u16,
}

/// Shape of a send queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqShape {
    /// log2 of its 64-byte blocks.
    pub log_size: u32,
    /// log2 of its pages' size in bytes.
    pub log_page: u32,
    /// Bytes before the first block in the first page: a multiple of 64.
    pub page_offset: usize,
    /// Bytes of a frame buffer; longer frames take several.
    pub buffer: usize,
    /// WQEs wrap round the end of the ring; else NOPs fill it up first.
    pub wrap: bool,
}

#[derive(Debug)]
struct Posted {
    /// Block counter at its start.
    start: u16,
    blocks: u16,
    buffers: Vec<u64>,
    /// Frames that it sends: none when it is a NOP that fills the ring up.
    frames: u64,
}

/// A send completion that is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendError {
    /// Start of the WQE.
    pub wqe_counter: u16,
    /// What happened.
    pub syndrome: CqeSyndrome,
}

/// A send queue.
#[derive(Debug)]
pub struct Sq {
    /// Its number; 0 until it is created.
    pub number: u32,
    /// Its completion queue.
    pub cq: Cq,
    /// Frames whose completion came.
    pub sent: u64,
    /// UMR WQEs are allowed (`reg_umr`).
    pub umr: bool,
    /// Error completions, oldest first.
    pub errors: Vec<SendError>,
    shape: SqShape,
    buffer: Buffer,
    record: u64,
    uar: u32,
    mkey: u32,
    pc: u16,
    used: usize,
    posted: VecDeque<Posted>,
    spare: Vec<u64>,
    last_ctrl: u64,
}

impl Sq {
    /// Memory for a queue.
    ///
    /// # Errors
    /// No memory.
    pub fn new<H: Host>(host: &mut H, shape: SqShape, cq: Cq, uar: u32, mkey: u32) -> Result<Self> {
        let buffer = Buffer::new(host, SEND_WQE_BB << shape.log_size, shape.log_page, shape.page_offset)?;
        let record = host.dma_alloc(8, 8)?;
        host.mem_write(record, &[0; 8]);
        Ok(Self {
            number: 0,
            cq,
            sent: 0,
            umr: false,
            errors: Vec::new(),
            shape,
            buffer,
            record,
            uar,
            mkey,
            pc: 0,
            used: 0,
            posted: VecDeque::new(),
            spare: Vec::new(),
            last_ctrl: 0,
        })
    }

    /// CREATE_SQ; one without a TIS sends no frames.
    pub fn create_input(&self, pd: u32, tisn: Option<u32>) -> Vec<u8> {
        let list = sqc::wq.offset + wq::pas.offset + cmd_pas::SIZE * self.buffer.pages().len();
        let mut cmd = input(Opcode::CREATE_SQ, create_sq_in::ctx.offset + list);
        let context = create_sq_in::ctx.of_mut(&mut cmd);
        sqc::flush_in_error_en.set(context, 1);
        sqc::reg_umr.set(context, self.umr.into());
        sqc::cqn.set(context, self.cq.number.into());
        if let Some(tisn) = tisn {
            sqc::tis_lst_sz.set(context, 1);
            sqc::tis_num_0.set(context, tisn.into());
        }
        let queue = sqc::wq.of_mut(context);
        wq::wq_type.set(queue, WqType::CYCLIC.0.into());
        wq::page_offset.set(queue, self.buffer.offset() as u64 / 64);
        wq::pd.set(queue, pd.into());
        wq::uar_page.set(queue, self.uar.into());
        wq::dbr_addr.set(queue, self.record);
        wq::log_wq_stride.set(queue, u64::from(SEND_WQE_BB.trailing_zeros()));
        wq::log_wq_pg_sz.set(queue, u64::from(self.buffer.log_page() - 12));
        wq::log_wq_sz.set(queue, self.shape.log_size.into());
        fill_pas(queue, self.buffer.pages());
        cmd
    }

    /// Blocks free now.
    pub fn room(&self) -> usize {
        (1 << self.shape.log_size) - self.used
    }

    /// WQEs that were posted and not retired.
    pub fn outstanding(&self) -> usize {
        self.posted.len()
    }

    /// The producer counter, in blocks.
    pub fn producer(&self) -> u16 {
        self.pc
    }

    /// Address of the doorbell record; the send counter is its second dword.
    pub fn record(&self) -> u64 {
        self.record
    }

    /// The queue's memory.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Writes a WQE for `frame`, without a doorbell.
    ///
    /// # Errors
    /// [`Error::Full`]; a frame that does not fit in one WQE; no memory.
    pub fn post<H: Host>(&mut self, host: &mut H, frame: &[u8], options: &SendOptions) -> Result<()> {
        let inline = options.inline.min(frame.len());
        let rest = &frame[inline..];
        let parts = rest.len().div_ceil(self.shape.buffer);
        let units = 2 + inline.saturating_sub(2).div_ceil(SEND_WQE_DS) + parts;
        let blocks = (units * SEND_WQE_DS).div_ceil(SEND_WQE_BB);
        if blocks > SEND_WQE_MAX_WQEBBS || blocks > 1 << self.shape.log_size {
            return Err(Error::Usage(format!("a frame of {} bytes needs a WQE of {blocks} blocks", frame.len())));
        }
        self.fill_up(host, blocks)?;
        if self.room() < blocks {
            return Err(Error::Full);
        }
        let mut wqe = vec![0u8; units * SEND_WQE_DS];
        let opcode = if options.mss > 0 { WqeOpcode::LSO } else { WqeOpcode::SEND };
        self.write_ctrl(&mut wqe, opcode, units, !options.unsignaled);
        let segment = &mut wqe[ctrl::SIZE..];
        eth::l3_csum.set(segment, options.l3_csum.into());
        eth::l4_csum.set(segment, options.l4_csum.into());
        eth::mss.set(segment, options.mss.into());
        eth::sz.set(segment, inline as u64);
        segment[eth::start.offset..eth::start.offset + inline].copy_from_slice(&frame[..inline]);
        let mut buffers = Vec::with_capacity(parts);
        let mut at = (units - parts) * SEND_WQE_DS;
        for part in rest.chunks(self.shape.buffer) {
            let address = match self.spare.pop() {
                Some(address) => address,
                // Odd addresses are legal: have some.
                None => host.dma_alloc(self.shape.buffer, 1)?,
            };
            host.mem_write(address, part);
            buffers.push(address);
            let segment = &mut wqe[at..at + data::SIZE];
            data::byte_count.set(segment, part.len() as u64);
            data::lkey.set(segment, self.mkey.into());
            data::addr.set(segment, address);
            at += data::SIZE;
        }
        self.put(host, &wqe, blocks, buffers, 1);
        Ok(())
    }

    /// Writes one WQE for all of `frames` (ENHANCED_MPSW), without a doorbell: each in a data segment of its own, or in the
    /// WQE itself when it is no longer than `options.inline`.
    ///
    /// # Errors
    /// [`Error::Full`]; frames that do not fit in one WQE or in a buffer; no memory.
    pub fn post_many<H: Host>(&mut self, host: &mut H, frames: &[Vec<u8>], options: &SendOptions) -> Result<()> {
        let inlined = |frame: &[u8]| frame.len() <= options.inline;
        let units_of = |frame: &[u8]| match inlined(frame) {
            true => (inline_seg::SIZE + frame.len()).div_ceil(SEND_WQE_DS),
            false => 1,
        };
        let units = 2 + frames.iter().map(|f| units_of(f)).sum::<usize>();
        let blocks = (units * SEND_WQE_DS).div_ceil(SEND_WQE_BB);
        if blocks > SEND_WQE_MAX_WQEBBS || frames.iter().any(|f| !inlined(f) && f.len() > self.shape.buffer) {
            return Err(Error::Usage(format!("{} frames need a WQE of {blocks} blocks", frames.len())));
        }
        self.fill_up(host, blocks)?;
        if self.room() < blocks {
            return Err(Error::Full);
        }
        let mut wqe = vec![0u8; units * SEND_WQE_DS];
        self.write_ctrl(&mut wqe, WqeOpcode::ENHANCED_MPSW, units, !options.unsignaled);
        let segment = &mut wqe[ctrl::SIZE..];
        eth::l3_csum.set(segment, options.l3_csum.into());
        eth::l4_csum.set(segment, options.l4_csum.into());
        let mut buffers = Vec::new();
        let mut at = ctrl::SIZE + eth::SIZE;
        for frame in frames {
            let segment = &mut wqe[at..at + units_of(frame) * SEND_WQE_DS];
            if inlined(frame) {
                inline_seg::inline_seg.set(segment, 1);
                inline_seg::inline_byte_count.set(segment, frame.len() as u64);
                segment[inline_seg::SIZE..inline_seg::SIZE + frame.len()].copy_from_slice(frame);
            } else {
                let address = match self.spare.pop() {
                    Some(address) => address,
                    None => host.dma_alloc(self.shape.buffer, 1)?,
                };
                host.mem_write(address, frame);
                buffers.push(address);
                data::byte_count.set(segment, frame.len() as u64);
                data::lkey.set(segment, self.mkey.into());
                data::addr.set(segment, address);
            }
            at += units_of(frame) * SEND_WQE_DS;
        }
        self.put(host, &wqe, blocks, buffers, frames.len() as u64);
        Ok(())
    }

    /// Writes a WQE that is `raw` but for the control segment's index, queue number and length; for tests of what the
    /// device does with rubbish.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn post_raw<H: Host>(&mut self, host: &mut H, raw: &[u8], fix_head: bool) -> Result<()> {
        let blocks = raw.len().div_ceil(SEND_WQE_BB).max(1);
        if self.room() < blocks {
            return Err(Error::Full);
        }
        let mut wqe = raw.to_vec();
        wqe.resize(blocks * SEND_WQE_BB, 0);
        if fix_head {
            ctrl::wqe_index.set(&mut wqe, self.pc.into());
            ctrl::qpn.set(&mut wqe, self.number.into());
        }
        self.last_ctrl = (ctrl::opmod_idx_opcode.get(&wqe) << 32) | ctrl::qpn_ds.get(&wqe);
        self.put(host, &wqe, blocks, Vec::new(), 1);
        Ok(())
    }

    /// NOPs up to the end of the ring when a WQE of `blocks` would wrap.
    fn fill_up<H: Host>(&mut self, host: &mut H, blocks: usize) -> Result<()> {
        let size = 1usize << self.shape.log_size;
        let left = size - (usize::from(self.pc) & (size - 1));
        if self.shape.wrap || blocks <= left {
            return Ok(());
        }
        if self.room() < left + blocks {
            return Err(Error::Full);
        }
        let mut wqe = vec![0u8; left * SEND_WQE_BB];
        self.write_ctrl(&mut wqe, WqeOpcode::NOP, left * SEND_WQE_BB / SEND_WQE_DS, false);
        self.put(host, &wqe, left, Vec::new(), 0);
        Ok(())
    }

    fn write_ctrl(&mut self, wqe: &mut [u8], opcode: WqeOpcode, units: usize, signaled: bool) {
        ctrl::opcode.set(wqe, opcode.0.into());
        ctrl::wqe_index.set(wqe, self.pc.into());
        ctrl::qpn.set(wqe, self.number.into());
        ctrl::ds.set(wqe, units as u64);
        ctrl::ce.set(wqe, if signaled { CE_ALWAYS } else { 0 });
        self.last_ctrl = (ctrl::opmod_idx_opcode.get(wqe) << 32) | ctrl::qpn_ds.get(wqe);
    }

    fn put<H: Host>(&mut self, host: &mut H, wqe: &[u8], blocks: usize, buffers: Vec<u64>, frames: u64) {
        let index = usize::from(self.pc) & ((1 << self.shape.log_size) - 1);
        self.buffer.write(host, index * SEND_WQE_BB, wqe);
        self.posted.push_back(Posted { start: self.pc, blocks: blocks as u16, buffers, frames });
        self.pc = self.pc.wrapping_add(blocks as u16);
        self.used += blocks;
    }

    /// Rings the doorbell: everything posted so far is the device's.
    pub fn ring<H: Host>(&mut self, host: &mut H) {
        host.store_release_be32(self.record + 4, self.pc.into());
        host.bar_write64(u64::from(self.uar) * UAR_PAGE + uar::BF_START, self.last_ctrl);
    }

    /// Consumes completions: says how many there were.
    ///
    /// # Errors
    /// A completion that names no posted WQE, or another queue.
    pub fn poll<H: Host>(&mut self, host: &mut H) -> Result<usize> {
        let mut count = 0;
        while let Some(cqe) = self.cq.next(host) {
            self.complete(&cqe)?;
            count += 1;
        }
        if count > 0 {
            self.cq.update(host);
        }
        Ok(count)
    }

    fn complete(&mut self, cqe: &Cqe) -> Result<()> {
        let opcode = CqeOpcode(mlx5_cqe64::opcode.get(cqe) as u8);
        let counter = mlx5_cqe64::wqe_counter.get(cqe) as u16;
        let qpn = mlx5_cqe64::qpn.get32(cqe);
        if qpn != self.number {
            return Err(misbehaves!("a completion of queue {qpn:#x} on the CQ of SQ {:#x}", self.number));
        }
        match opcode {
            CqeOpcode::REQ => {}
            CqeOpcode::REQ_ERR => self
                .errors
                .push(SendError { wqe_counter: counter, syndrome: CqeSyndrome(mlx5_err_cqe::syndrome.get(cqe) as u8) }),
            other => return Err(misbehaves!("completion {other} on the CQ of an SQ")),
        }
        if !self.posted.iter().any(|p| p.start == counter) {
            return Err(misbehaves!("a completion for WQE {counter:#x}, which is not the start of a posted one"));
        }
        while let Some(posted) = self.posted.pop_front() {
            self.used -= usize::from(posted.blocks);
            self.spare.extend(posted.buffers);
            if opcode == CqeOpcode::REQ {
                self.sent += posted.frames;
            }
            if posted.start == counter {
                break;
            }
        }
        Ok(())
    }

    /// After MODIFY_SQ to RST: everything posted is forgotten and counters start anew. The doorbell record keeps its old
    /// value until the next doorbell, as `mlx5e` leaves it.
    pub fn reset(&mut self) {
        for posted in std::mem::take(&mut self.posted) {
            self.spare.extend(posted.buffers);
        }
        (self.pc, self.used) = (0, 0);
    }

    /// Gives the memory back.
    pub fn free<H: Host>(self, host: &mut H) {
        for address in self.posted.into_iter().flat_map(|p| p.buffers).chain(self.spare) {
            host.dma_free(address);
        }
        host.dma_free(self.record);
        self.buffer.free(host);
        self.cq.free(host);
    }
}

/// Writes the page list of a work queue.
pub(crate) fn fill_pas(queue: &mut [u8], pages: &[u64]) {
    for (n, page) in pages.iter().enumerate() {
        let element = wq::pas.at_mut(queue, n);
        cmd_pas::pa_h.set(element, page >> 32);
        cmd_pas::pa_l.set(element, (page & 0xffff_ffff) >> 12);
    }
}
