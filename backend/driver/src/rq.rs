//! Receive queues: cyclic, a WQE is a list of fragments.

use mlx5emu_prm::layouts::{
    cmd_pas, create_rq_in, mlx5_cqe64, mlx5_err_cqe, mlx5_wqe_data_seg as data, mlx5_wqe_srq_next_seg as next_seg, rqc,
    wq,
};
use mlx5emu_prm::opcode::Opcode;
use mlx5emu_prm::states::{MemRqType, WqType};
use mlx5emu_prm::wqe::{CqeOpcode, CqeSyndrome, TERMINATE_SCATTER_LIST_LKEY};

use crate::buffer::Buffer;
use crate::command::input;
use crate::cq::{Cq, Cqe};
use crate::error::{Error, Result, misbehaves};
use crate::host::Host;
use crate::sq::fill_pas;
use crate::striding::Striding;

/// Shape of a receive queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RqShape {
    /// log2 of its WQEs.
    pub log_size: u32,
    /// log2 of the bytes of a WQE: at least what `frags` needs, and 4.
    pub log_stride: u32,
    /// Bytes of the fragments of a WQE; none for a queue that only drops.
    pub frags: Vec<usize>,
    /// log2 of its pages' size in bytes.
    pub log_page: u32,
    /// Bytes before the first WQE in the first page: a multiple of 64.
    pub page_offset: usize,
    /// Leave VLAN tags in the frame (`vsd`).
    pub keep_vlan: bool,
}

/// What a receive completion was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// A frame.
    Frame(Vec<u8>, Cqe),
    /// Strides that stay empty.
    Filler,
    /// An error completion.
    Error(CqeSyndrome),
}

/// An error completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveError {
    /// What the completion says of the place: the WQE, or in a striding queue the WQE's first stride that is lost.
    pub wqe_counter: u16,
    /// What is wrong.
    pub syndrome: CqeSyndrome,
    /// The vendor's word for it.
    pub vendor: u8,
}

/// A receive queue.
#[derive(Debug)]
pub struct Rq {
    /// Its number; 0 until it is created.
    pub number: u32,
    /// Its completion queue.
    pub cq: Cq,
    /// Error completions so far.
    pub errors: Vec<ReceiveError>,
    shape: RqShape,
    buffer: Buffer,
    record: u64,
    mkey: u32,
    pc: u16,
    cc: u16,
    striding: Option<Striding>,
    /// Addresses of the fragments, by WQE index.
    frames: Vec<Vec<u64>>,
}

impl Rq {
    /// Memory for a queue and all its frames.
    ///
    /// # Errors
    /// No memory; fragments that do not fit in a WQE.
    pub fn new<H: Host>(host: &mut H, shape: RqShape, cq: Cq, mkey: u32) -> Result<Self> {
        if shape.frags.len() << 4 > 1 << shape.log_stride {
            return Err(Error::Usage(format!("{} fragments in 2^{} bytes", shape.frags.len(), shape.log_stride)));
        }
        let buffer = Buffer::new(host, 1 << (shape.log_size + shape.log_stride), shape.log_page, shape.page_offset)?;
        let record = host.dma_alloc(8, 8)?;
        host.mem_write(record, &[0; 8]);
        let mut frames = Vec::new();
        for _ in 0..1usize << shape.log_size {
            frames.push(shape.frags.iter().map(|len| host.dma_alloc(*len, 1)).collect::<Result<_>>()?);
        }
        Ok(Self {
            number: 0,
            cq,
            shape,
            buffer,
            record,
            mkey,
            pc: 0,
            cc: 0,
            striding: None,
            frames,
            errors: Vec::new(),
        })
    }

    /// Memory for a striding queue; its key exists already.
    ///
    /// # Errors
    /// No memory.
    pub fn striding<H: Host>(host: &mut H, striding: Striding, keep_vlan: bool, cq: Cq) -> Result<Self> {
        let shape = RqShape {
            log_size: striding.shape.log_size,
            log_stride: striding.shape.log_wqe(),
            frags: Vec::new(),
            log_page: 12,
            page_offset: 0,
            keep_vlan,
        };
        let mut rq = Self::new(host, shape, cq, striding.mkey())?;
        for index in 0..1u16 << rq.shape.log_size {
            rq.buffer.write(host, usize::from(index) << rq.shape.log_stride, &striding.wqe(index));
        }
        rq.striding = Some(striding);
        Ok(rq)
    }

    /// What a striding queue has more.
    pub fn strides(&self) -> Option<&Striding> {
        self.striding.as_ref()
    }

    /// What a striding queue has more, to change.
    pub(crate) fn strides_mut(&mut self) -> Option<&mut Striding> {
        self.striding.as_mut()
    }

    /// Posts the WQEs of a striding queue whose UMR is complete.
    ///
    /// # Errors
    /// The device misbehaves.
    pub(crate) fn poll_umr<H: Host>(&mut self, host: &mut H) -> Result<()> {
        let Some(striding) = &mut self.striding else { return Ok(()) };
        if striding.icosq.cq.pending {
            if let Some(counter) = striding.poll(host)? {
                host.store_release_be32(self.record, counter.into());
            }
            striding.icosq.cq.pending = false;
            striding.icosq.cq.arm(host);
            striding.map(host)?;
        }
        Ok(())
    }

    /// CREATE_RQ.
    pub fn create_input(&self, pd: u32, counter_set: u32) -> Vec<u8> {
        let list = rqc::wq.offset + wq::pas.offset + cmd_pas::SIZE * self.buffer.pages().len();
        let mut cmd = input(Opcode::CREATE_RQ, create_rq_in::ctx.offset + list);
        let context = create_rq_in::ctx.of_mut(&mut cmd);
        rqc::mem_rq_type.set(context, MemRqType::MEMORY_RQ_INLINE.0.into());
        rqc::vsd.set(context, self.shape.keep_vlan.into());
        rqc::flush_in_error_en.set(context, 1);
        rqc::cqn.set(context, self.cq.number.into());
        rqc::counter_set_id.set(context, counter_set.into());
        let queue = rqc::wq.of_mut(context);
        wq::wq_type.set(queue, WqType::CYCLIC.0.into());
        wq::page_offset.set(queue, self.buffer.offset() as u64 / 64);
        wq::pd.set(queue, pd.into());
        wq::dbr_addr.set(queue, self.record);
        wq::log_wq_stride.set(queue, self.shape.log_stride.into());
        wq::log_wq_pg_sz.set(queue, u64::from(self.buffer.log_page() - 12));
        wq::log_wq_sz.set(queue, self.shape.log_size.into());
        if let Some(striding) = &self.striding {
            striding.shape.fill(queue);
        }
        if let Some(split) = self.striding.as_ref().and_then(|striding| striding.split.as_ref()) {
            split.fill(context);
        }
        let queue = rqc::wq.of_mut(context);
        fill_pas(queue, self.buffer.pages());
        cmd
    }

    /// WQEs that the device has.
    pub fn posted(&self) -> usize {
        match &self.striding {
            Some(striding) => striding.posted(),
            None => usize::from(self.pc.wrapping_sub(self.cc)),
        }
    }

    /// Address of the doorbell record; the receive counter is its first dword.
    pub fn record(&self) -> u64 {
        self.record
    }

    /// Overwrites the key of a WQE with one that does not exist, for tests.
    pub fn spoil<H: Host>(&self, host: &mut H, index: u16) {
        let list = if self.striding.as_ref().is_some_and(Striding::is_linked) { next_seg::SIZE } else { 0 };
        let lkey = list + data::lkey.bit as usize / 8;
        self.buffer.write(host, (usize::from(index) << self.shape.log_stride) + lkey, &[0xff; 4]);
    }

    /// After MODIFY_RQ to RST: everything posted is forgotten and counters start anew.
    pub fn reset<H: Host>(&mut self, host: &mut H) {
        (self.pc, self.cc) = (0, 0);
        host.store_release_be32(self.record, 0);
    }

    /// Posts up to `limit` WQEs, as many as there is room for.
    pub fn refill<H: Host>(&mut self, host: &mut H, limit: usize) {
        if let Some(striding) = &mut self.striding {
            // Without memory the queue stays as short as it is.
            let _ = striding.map(host);
            return;
        }
        let size = 1usize << self.shape.log_size;
        let count = limit.min(size - self.posted());
        for _ in 0..count {
            let index = usize::from(self.pc) & (size - 1);
            let mut wqe = vec![0u8; 1 << self.shape.log_stride];
            for (n, segment) in wqe.chunks_mut(data::SIZE).enumerate() {
                match (self.frames[index].get(n), self.shape.frags.get(n)) {
                    (Some(address), Some(len)) => {
                        data::byte_count.set(segment, *len as u64);
                        data::lkey.set(segment, self.mkey.into());
                        data::addr.set(segment, *address);
                    }
                    _ => data::lkey.set(segment, TERMINATE_SCATTER_LIST_LKEY.into()),
                }
            }
            self.buffer.write(host, index << self.shape.log_stride, &wqe);
            self.pc = self.pc.wrapping_add(1);
        }
        if count > 0 {
            host.store_release_be32(self.record, self.pc.into());
        }
    }

    /// The next completion.
    ///
    /// # Errors
    /// A completion out of order, for a WQE that was not posted, or longer than its fragments.
    pub fn poll<H: Host>(&mut self, host: &mut H) -> Result<Option<Arrival>> {
        let Some(cqe) = self.cq.next(host) else { return Ok(None) };
        self.cq.update(host);
        let counter = mlx5_cqe64::wqe_counter.get(&cqe) as u16;
        if self.posted() == 0 {
            return Err(misbehaves!("a completion on RQ {:#x}, which has no WQE", self.number));
        }
        let opcode = CqeOpcode(mlx5_cqe64::opcode.get(&cqe) as u8);
        if opcode == CqeOpcode::RESP_ERR {
            self.errors.push(ReceiveError {
                wqe_counter: counter,
                syndrome: CqeSyndrome(mlx5_err_cqe::syndrome.get(&cqe) as u8),
                vendor: mlx5_err_cqe::vendor_err_synd.get(&cqe) as u8,
            });
        }
        if let Some(striding) = &mut self.striding {
            let (arrival, relinked) = striding.complete(host, &cqe)?;
            if let Some(index) = relinked {
                let wqe = striding.wqe(index);
                self.buffer.write(host, usize::from(index) << self.shape.log_stride, &wqe);
            }
            return Ok(Some(arrival.unwrap_or(Arrival::Filler)));
        }
        let mask = (1u16 << self.shape.log_size).wrapping_sub(1);
        if counter & mask != self.cc & mask {
            return Err(misbehaves!("completion of WQE {counter:#x}, {:#x} is next", self.cc));
        }
        let index = usize::from(self.cc & mask);
        self.cc = self.cc.wrapping_add(1);
        match opcode {
            CqeOpcode::RESP_SEND => self.gather(host, index, &cqe).map(|frame| Some(Arrival::Frame(frame, cqe))),
            CqeOpcode::RESP_ERR => Ok(Some(Arrival::Error(CqeSyndrome(mlx5_err_cqe::syndrome.get(&cqe) as u8)))),
            other => Err(misbehaves!("completion {other} on the CQ of an RQ")),
        }
    }

    fn gather<H: Host>(&self, host: &H, index: usize, cqe: &Cqe) -> Result<Vec<u8>> {
        let len = mlx5_cqe64::byte_cnt.get(cqe) as usize;
        let room: usize = self.shape.frags.iter().sum();
        if len > room {
            return Err(misbehaves!("a frame of {len} bytes in a WQE of {room}"));
        }
        let mut frame = vec![0; len];
        let mut rest = &mut frame[..];
        for (address, size) in self.frames[index].iter().zip(&self.shape.frags) {
            let (now, after) = rest.split_at_mut(rest.len().min(*size));
            host.mem_read(*address, now);
            rest = after;
        }
        Ok(frame)
    }

    /// Gives the memory back.
    pub fn free<H: Host>(self, host: &mut H) {
        if let Some(striding) = self.striding {
            striding.free(host);
        }
        self.frames.into_iter().flatten().for_each(|address| host.dma_free(address));
        host.dma_free(self.record);
        self.buffer.free(host);
        self.cq.free(host);
    }
}
