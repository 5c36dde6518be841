//! From a frame that arrives at a vport to a receive queue: flow tables, TIR, RQT, WQE, CQE.

use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_pci_model::{Attrs, DmaError, DmaSpace};
use mlx5emu_prm::layouts::{mlx5_cqe64, mlx5_err_cqe, mlx5_wqe_data_seg};
use mlx5emu_prm::wqe::{CqeOpcode, CqeSyndrome, TERMINATE_SCATTER_LIST_LKEY};
use mlx5emu_steering::hash::HashResult;
use mlx5emu_steering::key::Metadata;
use mlx5emu_steering::packet::{Headers, checksum, ethernet, ethertype};
use mlx5emu_steering::tables::{Budget, Namespace, PacketContext, TableType, Target, Verdicts};
use smallvec::SmallVec;

use super::loopback::{Source, is_multicast};
use super::objects::{Dispatch, Tir};
use super::rq::{Rq, RqMoving};
use super::sq::WqState;
use super::{MAX_RQ_WQE_BYTES, Queue};
use crate::function::{Function, HcaState};
use crate::limited;
use crate::memory::mkey::{Access, Piece};
use crate::queues::cq::Cqe;

/// `source_port` of what comes from the wire.
const UPLINK: u16 = 0xffff;
/// `source_port` of what the function sent itself.
const OWN_VPORT: u16 = 0;
/// Copies of one frame inside one function.
const MAX_COPIES: u32 = 64;
/// Frames of a function that wait for memory which only messages reach.
const MAX_BACKLOG: usize = 256;
/// The byte count's upper bit in a receive WQE asks for padding at the start (`START_PADDING`); it is not a length.
const BYTE_COUNT_MASK: u64 = 0x7fff_ffff;
/// Pieces of memory that one frame is scattered over.
const MAX_PIECES: usize = 1024;
/// The pieces of memory that a frame goes to.
pub(super) type Pieces = SmallVec<[Piece; 8]>;

/// What is known of a frame when it comes to a receive queue.
pub(super) struct Arrival<'a> {
    pub(super) frame: &'a [u8],
    headers: &'a Headers,
    hash: HashResult,
    flow_tag: u32,
    metadata: u32,
}

impl Arrival<'_> {
    /// Whether the outermost tag is taken out in `rq`, and the length that is left.
    pub(super) fn after_strip(&self, rq: &Rq) -> (bool, usize) {
        // Only a C-tag is stripped: the driver takes the tag in a CQE for one.
        let stripped = rq.strip_vlan && self.headers.vlans().first().is_some_and(|t| t.tpid == ethertype::CVLAN);
        (stripped, self.frame.len() - if stripped { ethernet::VLAN_LEN } else { 0 })
    }
}

impl<M: DmaSpace + 'static> Function<M> {
    /// A frame arrives at this function's vport. Says whether it had to be put aside.
    pub(crate) fn receive(&self, source: Source, frame: &[u8], now: u64) -> bool {
        let mut backlog = self.state.ethernet.backlog.lock();
        if backlog.is_empty() {
            drop(backlog);
            match self.try_receive(source, frame, now) {
                Err(DmaError::Fetch { .. }) => backlog = self.state.ethernet.backlog.lock(),
                _ => return false,
            }
        }
        if backlog.len() < MAX_BACKLOG {
            backlog.push_back((source, frame.into()));
        } else {
            self.state.vport.counters.dropped.fetch_add(1, Relaxed);
        }
        true
    }

    /// Delivers what was put aside; the first frame that still can't be delivered says what it needs.
    pub(crate) fn retry_backlog(&self, now: u64) -> Result<(), DmaError> {
        loop {
            let Some((source, frame)) = self.state.ethernet.backlog.lock().front().cloned() else { return Ok(()) };
            if let Err(fetch @ DmaError::Fetch { .. }) = self.try_receive(source, &frame, now) {
                return Err(fetch);
            }
            self.state.ethernet.backlog.lock().pop_front();
        }
    }

    fn try_receive(&self, source: Source, frame: &[u8], now: u64) -> Result<(), DmaError> {
        let counters = &self.state.vport.counters;
        if self.state.hca != HcaState::Initialized {
            return Ok(());
        }
        let Some(headers) = Headers::parse(frame) else {
            counters.dropped.fetch_add(1, Relaxed);
            return Ok(());
        };
        let source_port = if source == Source::Wire { UPLINK } else { OWN_VPORT };
        let meta = Metadata { source_port, ..Metadata::default() };
        let mut packet = PacketContext::new(frame, &headers, &meta);
        let mut verdicts = Verdicts::new();
        let root = Namespace::new(TableType::NicRx, 0);
        self.state.ethernet.steering.evaluate(root, &mut packet, &mut Budget::new(MAX_COPIES), &mut verdicts);
        if verdicts.is_empty() && source == Source::Wire {
            counters.dropped.fetch_add(1, Relaxed);
            return Ok(());
        }
        let mut counted = false;
        for verdict in &verdicts {
            let Target::Tir(tirn) = verdict.target else { continue };
            let Some(tir) = self.state.ethernet.tirs.find(tirn) else { continue };
            if !tir.takes(source, is_multicast(frame)) {
                continue;
            }
            let hash = tir.hash.compute(&headers);
            let Some(rqn) = self.choose_rq(tir, hash.hash) else { continue };
            let mut edited = Vec::new();
            let edited_headers;
            let (frame, headers) = if verdict.vlan.is_none() {
                (frame, &headers)
            } else {
                verdict.vlan.apply(frame, &mut edited);
                let Some(parsed) = Headers::parse(&edited) else { continue };
                edited_headers = parsed;
                (edited.as_slice(), &edited_headers)
            };
            let arrival = Arrival { frame, headers, hash, flow_tag: verdict.flow_tag, metadata: verdict.regs.b };
            self.deliver(rqn, &arrival, now)?;
            if !counted {
                counted = true;
                counters.received(frame);
                if source != Source::Wire {
                    counters.looped.count(frame.len());
                }
            }
        }
        Ok(())
    }

    fn choose_rq(&self, tir: &Tir, hash: u32) -> Option<u32> {
        match tir.dispatch {
            Dispatch::Direct(rqn) => Some(rqn),
            Dispatch::Indirect(rqtn) => {
                let rqt = self.state.ethernet.rqts.find(rqtn)?;
                // An indirection table is a power of two of entries, indexed by the hash's low bits; others by remainder.
                rqt.rqns.get(hash as usize % rqt.rqns.len().max(1)).copied()
            }
        }
    }

    /// Delivers a packet to `rqn`. `Err(Fetch)` only: everything else is settled here.
    fn deliver(&self, rqn: u32, arrival: &Arrival, now: u64) -> Result<(), DmaError> {
        let Some(Queue::Receive(rq)) = self.state.ethernet.queues.find(rqn) else { return Ok(()) };
        let mut moving = rq.moving.lock();
        if moving.state != WqState::Rdy {
            self.state.vport.counters.dropped.fetch_add(1, Relaxed);
            return Ok(());
        }
        let filled = match rq.strides {
            None => self.fill_wqe(rq, &mut moving, arrival, now),
            Some(strides) => self.fill_strides(rq, strides, &mut moving, arrival, now),
        };
        match filled {
            Ok(()) => moving.received += 1,
            Err(RxError::Dma(fetch @ DmaError::Fetch { .. })) => return Err(fetch),
            Err(RxError::Empty) => {
                moving.out_of_buffer += 1;
                if let Some(set) = self.state.ethernet.counters.find(rq.counter_set) {
                    set.out_of_buffer.fetch_add(1, Relaxed);
                }
            }
            Err(RxError::Doorbell(error)) => {
                limited!(self.log, warn, "{}: RQ {rqn:#x}: doorbell record: {error}", self.name);
                self.kill_rq(rqn, &mut moving);
            }
            Err(RxError::NotCompleted) => self.kill_rq(rqn, &mut moving),
            Err(error) => self.fail_rq(rqn, rq, &mut moving, &error, now),
        }
        Ok(())
    }

    /// Whether the driver has posted the WQE at the head.
    pub(super) fn check_posted(&self, rq: &Rq, moving: &RqMoving) -> Result<(), RxError> {
        match self.space.load_be32(Attrs::PLAIN, rq.doorbell) {
            Ok(counter) if counter as u16 == moving.head => Err(RxError::Empty),
            Ok(_) => Ok(()),
            Err(fetch @ DmaError::Fetch { .. }) => Err(RxError::Dma(fetch)),
            Err(error) => Err(RxError::Doorbell(error)),
        }
    }

    /// One packet in the WQE at the head.
    fn fill_wqe(&self, rq: &Rq, moving: &mut RqMoving, arrival: &Arrival, now: u64) -> Result<(), RxError> {
        self.check_posted(rq, moving)?;
        let mut wqe = [0u8; MAX_RQ_WQE_BYTES];
        let wqe = &mut wqe[..1 << rq.log_stride];
        rq.buffer.read(&self.space, Attrs::PLAIN, u64::from(moving.head) << rq.log_stride, wqe)?;
        let (stripped, len) = arrival.after_strip(rq);
        let mut pieces = Pieces::new();
        self.scatter_list(rq, scatter_segments(wqe), 0, len, &mut pieces)?;
        self.scatter(&pieces, arrival.frame, stripped)?;
        let mut cqe = self.receive_cqe(arrival, stripped, len, now);
        mlx5_cqe64::wqe_counter.set(&mut cqe, u64::from(moving.head));
        moving.head = moving.head.wrapping_add(1);
        self.complete_receive(rq, &mut cqe, now)
    }

    /// Translates `len` bytes of a scatter list from byte `skip` on.
    pub(super) fn scatter_list(
        &self,
        rq: &Rq,
        segments: impl IntoIterator<Item = Segment>,
        skip: u64,
        len: usize,
        pieces: &mut Pieces,
    ) -> Result<(), RxError> {
        let (mut skip, mut left) = (skip, len as u64);
        for seg in segments {
            if left == 0 {
                break;
            }
            let skipped = skip.min(seg.room);
            skip -= skipped;
            let n = (seg.room - skipped).min(left);
            self.translate(seg.key, rq.pd, Access::LocalWrite, seg.addr.wrapping_add(skipped), n, |piece| {
                pieces.push(piece);
            })
            .map_err(|_| RxError::Key(seg.key))?;
            left -= n;
        }
        match left {
            0 if pieces.len() <= MAX_PIECES => Ok(()),
            _ => Err(RxError::TooLong),
        }
    }

    /// Writes the frame, without its outermost tag if that is stripped.
    pub(super) fn scatter(&self, pieces: &Pieces, frame: &[u8], stripped: bool) -> Result<(), DmaError> {
        let (head, tail) = if stripped { frame.split_at(ethernet::ADDRESSES) } else { (&[] as &[u8], frame) };
        let tail = if stripped { &tail[ethernet::VLAN_LEN..] } else { tail };
        let mut parts = [head, tail];
        for piece in pieces {
            let (mut addr, mut room) = (piece.addr, piece.len as usize);
            for part in &mut parts {
                let n = room.min(part.len());
                if n > 0 {
                    self.space.write(piece.attrs, addr, &part[..n])?;
                    *part = &part[n..];
                    addr = addr.wrapping_add(n as u64);
                    room -= n;
                }
            }
        }
        Ok(())
    }

    pub(super) fn receive_cqe(&self, arrival: &Arrival, stripped: bool, len: usize, now: u64) -> Cqe {
        use mlx5_cqe64 as cqe64;
        let (headers, mut cqe) = (arrival.headers, [0u8; cqe64::SIZE]);
        let sums = checksum::verify(arrival.frame, headers);
        for (field, value) in [
            (cqe64::opcode, u64::from(CqeOpcode::RESP_SEND.0)),
            (cqe64::byte_cnt, len as u64),
            (cqe64::rss_hash_result, u64::from(arrival.hash.hash)),
            (cqe64::rss_hash_type, u64::from(arrival.hash.rss_hash_type())),
            (cqe64::check_sum, u64::from(sums.sum)),
            (cqe64::l2_ok, 1),
            (cqe64::l3_ok, u64::from(sums.l3_ok)),
            (cqe64::l4_ok, u64::from(sums.l4_ok)),
            (cqe64::l3_hdr_type, headers.l3_hdr_type() as u64),
            (cqe64::l4_hdr_type, headers.l4_hdr_type() as u64),
            (cqe64::ft_metadata, u64::from(arrival.metadata)),
            (cqe64::qpn, u64::from(arrival.flow_tag)),
            (cqe64::timestamp_h, now >> 32),
            (cqe64::timestamp_l, now),
        ] {
            field.set(&mut cqe, value);
        }
        if stripped && let Some(tag) = headers.vlans().first() {
            cqe64::cv.set(&mut cqe, 1);
            cqe64::vlan_info.set(&mut cqe, u64::from(tag.tci));
        }
        cqe
    }

    /// Completes a packet.
    pub(super) fn complete_receive(&self, rq: &Rq, cqe: &mut Cqe, now: u64) -> Result<(), RxError> {
        if self.complete(rq.cqn, cqe, now) { Ok(()) } else { Err(RxError::NotCompleted) }
    }

    /// The queue can't go on, nor say so by a completion.
    fn kill_rq(&self, rqn: u32, moving: &mut RqMoving) {
        moving.state = WqState::Err;
        self.post_wq_catastrophe(rqn, false);
    }

    /// An error CQE. A frame that is too long costs its WQE (of a striding queue nothing) and no more: drivers don't take
    /// such a queue up again. For everything else the queue goes to ERR.
    fn fail_rq(&self, rqn: u32, rq: &Rq, moving: &mut RqMoving, error: &RxError, now: u64) {
        let (syndrome, why) = match error {
            RxError::Dma(error) => (CqeSyndrome::LOCAL_PROT_ERR, error.to_string()),
            RxError::Key(key) => (CqeSyndrome::LOCAL_PROT_ERR, format!("lkey {key:#x} does not translate")),
            RxError::Empty | RxError::Doorbell(_) | RxError::NotCompleted => return,
            RxError::TooLong if rq.strides.is_some() => {
                self.state.vport.counters.dropped.fetch_add(1, Relaxed);
                return;
            }
            RxError::TooLong => (CqeSyndrome::LOCAL_LENGTH_ERR, "the frame is longer than the WQE's buffers".into()),
        };
        limited!(self.log, warn, "{}: RQ {rqn:#x}, WQE {:#x}: {syndrome}: {why}", self.name, moving.head);
        let mut cqe = [0u8; mlx5_err_cqe::SIZE];
        mlx5_err_cqe::opcode.set(&mut cqe, u64::from(CqeOpcode::RESP_ERR.0));
        mlx5_err_cqe::syndrome.set(&mut cqe, u64::from(syndrome.0));
        mlx5_err_cqe::qpn.set(&mut cqe, u64::from(rqn));
        mlx5_err_cqe::wqe_counter.set(&mut cqe, u64::from(moving.head));
        mlx5_cqe64::wqe_id.set(&mut cqe, u64::from(moving.index));
        let taken = self.complete(rq.cqn, &mut cqe, now);
        if !matches!(error, RxError::TooLong) {
            moving.state = WqState::Err;
        } else if taken {
            moving.head = moving.head.wrapping_add(1);
        } else {
            self.kill_rq(rqn, moving);
        }
    }
}

/// Why a packet does not get into a receive queue.
pub(super) enum RxError {
    /// No WQE is posted: the packet is dropped.
    Empty,
    /// The doorbell record is not readable: dropped, too.
    Doorbell(DmaError),
    /// The CQ does not take the completion.
    NotCompleted,
    /// Guest memory.
    Dma(DmaError),
    /// A key of the scatter list does not translate.
    Key(u32),
    /// The packet is longer than the WQE's buffers.
    TooLong,
}

impl From<DmaError> for RxError {
    fn from(error: DmaError) -> Self {
        Self::Dma(error)
    }
}

/// An entry of a scatter list.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    /// Memory key.
    pub key: u32,
    /// Address in it.
    pub addr: u64,
    /// Bytes.
    pub room: u64,
}

/// The scatter list of a WQE: ends with its segments or with the key that ends lists.
pub(super) fn scatter_segments(wqe: &[u8]) -> impl Iterator<Item = Segment> {
    wqe.chunks_exact(mlx5_wqe_data_seg::SIZE)
        .map(|seg| Segment {
            key: mlx5_wqe_data_seg::lkey.get32(seg),
            addr: mlx5_wqe_data_seg::addr.get(seg),
            room: mlx5_wqe_data_seg::byte_count.get(seg) & BYTE_COUNT_MASK,
        })
        .take_while(|seg| seg.room != 0 || seg.key != TERMINATE_SCATTER_LIST_LKEY)
}
