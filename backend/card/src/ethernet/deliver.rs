//! From a packet whose receive queue is known to its memory: WQE, scatter list, CQE.
//!
//! Packets of a burst that go to one queue after another find it open (`Open`): it is locked once, its doorbell record is
//! read once, and their completions are written together when another queue's turn comes, or the end.

use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_pci_model::{Attrs, DmaError, DmaSpace};
use mlx5emu_prm::layouts::{mlx5_cqe64, mlx5_wqe_data_seg};
use mlx5emu_prm::wqe::{CqeOpcode, CqeSyndrome, TERMINATE_SCATTER_LIST_LKEY};
use mlx5emu_steering::hash::HashResult;
use mlx5emu_steering::packet::{Headers, checksum, ethernet, ethertype};
use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::Queue;
use super::ahead::ReceiveAhead;
use super::lro::{LroRule, Merged};
use super::rq::{Rq, RqMoving};
use super::sq::WqState;
use crate::capture::DropReason;
use crate::function::Function;
use crate::limited;
use crate::memory::mkey::{Access, Piece};
use crate::queues::cq::{Cqe, Cqes, TOGETHER};

/// The byte count's upper bit in a receive WQE asks for padding at the start (`START_PADDING`); it is not a length.
const BYTE_COUNT_MASK: u64 = 0x7fff_ffff;
/// Pieces of memory that one frame is scattered over.
const MAX_PIECES: usize = 1024;
/// The pieces of memory that a frame goes to.
pub(super) type Pieces = SmallVec<[Piece; 8]>;

/// What is known of a frame when it comes to a receive queue.
pub(super) struct Arrival<'a> {
    pub(super) frame: &'a [u8],
    pub(super) headers: &'a Headers,
    pub(super) hash: HashResult,
    pub(super) flow_tag: u32,
    pub(super) metadata: u32,
    /// What its TIR wants merged.
    pub(super) lro: Option<LroRule>,
    /// It is a packet that several were merged to.
    pub(super) merged: Option<Merged>,
}

/// The receive queue that packets of a burst go to.
pub(super) struct Open<'a> {
    rqn: u32,
    rq: &'a Rq,
    moving: MutexGuard<'a, RqMoving>,
    /// The doorbell record, as it was read last.
    posted: Option<u16>,
    /// Its WQEs, as far as they have been read.
    ahead: ReceiveAhead,
    /// Completions that are not written yet.
    cqes: Cqes,
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
    /// Opens receive queue `rqn`, if there is one, and closes the one that was open.
    fn open<'a, 'o>(&'a self, open: &'o mut Option<Open<'a>>, rqn: u32, now: u64) -> Option<&'o mut Open<'a>> {
        if open.as_ref().is_none_or(|queue| queue.rqn != rqn) {
            self.close(open, now);
            let Some(Queue::Receive(rq)) = self.state.ethernet.queues.find(rqn) else { return None };
            *open = Some(Open {
                rqn,
                rq,
                moving: rq.moving.lock(),
                posted: None,
                ahead: ReceiveAhead::default(),
                cqes: Cqes::new(),
            });
        }
        open.as_mut()
    }

    /// Completes what the open receive queue has taken, and closes it.
    pub(super) fn close(&self, open: &mut Option<Open<'_>>, now: u64) {
        if let Some(mut queue) = open.take() {
            self.complete_open(&mut queue, now);
        }
    }

    /// Completes what an open receive queue has taken. One whose completions are lost does not go on.
    fn complete_open(&self, open: &mut Open<'_>, now: u64) {
        if open.cqes.is_empty() {
            return;
        }
        let taken = self.complete_all(open.rq.cqn, open.rqn, &mut open.cqes, now);
        let lost = open.cqes.len() - taken;
        open.cqes.clear();
        if lost > 0 {
            open.moving.received = open.moving.received.saturating_sub(lost as u64);
            self.kill_rq(open.rqn, &mut open.moving);
        }
    }

    /// Delivers a packet to `rqn`, or says why it is dropped. `Err(Fetch)` only: everything else is settled here. What is
    /// `patient` and finds no WQE is not counted: it comes again.
    pub(super) fn deliver<'a>(
        &'a self,
        open: &mut Option<Open<'a>>,
        rqn: u32,
        arrival: &Arrival,
        now: u64,
        patient: bool,
    ) -> Result<Option<DropReason>, DmaError> {
        let Some(open) = self.open(open, rqn, now) else { return Ok(Some(DropReason::NoQueue)) };
        if open.moving.state != WqState::Rdy {
            self.state.vport.counters.dropped.fetch_add(1, Relaxed);
            return Ok(Some(DropReason::RqNotReady(rqn)));
        }
        let rq = open.rq;
        let ruled = if self.rules_on_wqes() { self.rule_at_receive(rqn, rq, &mut open.moving) } else { Ok(()) };
        let filled = match (ruled, rq.strides, &rq.shampo) {
            (Err(error), ..) => Err(error),
            (_, None, _) => self.fill_wqe(open, arrival, now),
            (_, Some(strides), Some(shampo)) => self.fill_shampo(rq, (strides, shampo), &mut open.moving, arrival, now),
            (_, Some(strides), None) => self.merge_or_fill(rqn, rq, strides, &mut open.moving, arrival, now),
        };
        if patient && matches!(filled, Err(RxError::Empty)) {
            return Ok(Some(DropReason::OutOfBuffer(rqn)));
        }
        if filled.is_err() {
            // An error has its place behind what came before.
            self.complete_open(open, now);
        }
        self.settle(rqn, rq, &mut open.moving, filled, now)
    }

    /// What came of a delivery: counts, drops, errors; the reason if it was dropped. `Err(Fetch)` only.
    pub(super) fn settle(
        &self,
        rqn: u32,
        rq: &Rq,
        moving: &mut RqMoving,
        filled: Result<(), RxError>,
        now: u64,
    ) -> Result<Option<DropReason>, DmaError> {
        match filled {
            Ok(()) => {
                moving.received += 1;
                return Ok(None);
            }
            Err(RxError::Dma(fetch @ DmaError::Fetch { .. })) => return Err(fetch),
            Err(RxError::Empty) => {
                moving.out_of_buffer += 1;
                if let Some(set) = self.state.ethernet.counters.find(rq.counter_set) {
                    set.out_of_buffer.fetch_add(1, Relaxed);
                }
                return Ok(Some(DropReason::OutOfBuffer(rqn)));
            }
            Err(RxError::Doorbell(error)) => {
                limited!(self.log, warn, "{}: RQ {rqn:#x}: doorbell record: {error}", self.name);
                self.kill_rq(rqn, moving);
            }
            Err(RxError::NotCompleted) => self.kill_rq(rqn, moving),
            Err(error) => {
                self.fail_rq(rqn, rq, moving, &error, now);
                if matches!(error, RxError::TooLong) {
                    return Ok(Some(DropReason::RqTooShort(rqn)));
                }
            }
        }
        Ok(Some(DropReason::RqError(rqn)))
    }

    /// Whether the driver has posted the WQE at the head.
    pub(super) fn check_posted(&self, rq: &Rq, moving: &RqMoving) -> Result<(), RxError> {
        if self.posted(rq)? == moving.head { Err(RxError::Empty) } else { Ok(()) }
    }

    /// The doorbell record: how many WQEs the driver has posted, modulo 65536.
    fn posted(&self, rq: &Rq) -> Result<u16, RxError> {
        match self.space.load_be32(Attrs::PLAIN, rq.doorbell) {
            Ok(counter) => Ok(counter as u16),
            Err(fetch @ DmaError::Fetch { .. }) => Err(RxError::Dma(fetch)),
            Err(error) => Err(RxError::Doorbell(error)),
        }
    }

    /// One packet in the WQE at the head. Its completion follows with others.
    fn fill_wqe(&self, open: &mut Open<'_>, arrival: &Arrival, now: u64) -> Result<(), RxError> {
        let (rq, head) = (open.rq, open.moving.head);
        let posted = match open.posted {
            Some(posted) if posted != head => posted,
            _ => self.posted(rq)?,
        };
        open.posted = Some(posted);
        if posted == head {
            return Err(RxError::Empty);
        }
        let (stripped, len) = arrival.after_strip(rq);
        let mut pieces = Pieces::new();
        let wqe = open.ahead.read(&self.space, &rq.buffer, rq.log_stride, head, posted.wrapping_sub(head))?;
        self.scatter_list(rq, scatter_segments(wqe), 0, len, &mut pieces)?;
        self.scatter(&pieces, arrival.frame, stripped)?;
        let mut cqe = self.receive_cqe(arrival, stripped, len, now);
        mlx5_cqe64::wqe_counter.set(&mut cqe, u64::from(head));
        open.moving.head = head.wrapping_add(1);
        open.cqes.push(cqe);
        if open.cqes.len() == TOGETHER {
            self.complete_open(open, now);
        }
        Ok(())
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
        let sums = if arrival.merged.is_some() {
            // Its segments were verified.
            checksum::Verified::default()
        } else {
            checksum::verify(arrival.frame, headers)
        };
        // Each field by itself: where it is, is known when this is compiled.
        cqe64::opcode.set(&mut cqe, u64::from(CqeOpcode::RESP_SEND.0));
        cqe64::byte_cnt.set(&mut cqe, len as u64);
        cqe64::rss_hash_result.set(&mut cqe, u64::from(arrival.hash.hash));
        cqe64::rss_hash_type.set(&mut cqe, u64::from(arrival.hash.rss_hash_type()));
        cqe64::check_sum.set(&mut cqe, u64::from(sums.sum));
        cqe64::l2_ok.set(&mut cqe, 1);
        cqe64::l3_ok.set(&mut cqe, u64::from(sums.l3_ok));
        cqe64::l4_ok.set(&mut cqe, u64::from(sums.l4_ok));
        cqe64::l3_hdr_type.set(&mut cqe, headers.l3_hdr_type() as u64);
        cqe64::l4_hdr_type.set(&mut cqe, headers.l4_hdr_type() as u64);
        cqe64::ft_metadata.set(&mut cqe, u64::from(arrival.metadata));
        cqe64::qpn.set(&mut cqe, u64::from(arrival.flow_tag));
        cqe64::timestamp_h.set(&mut cqe, now >> 32);
        cqe64::timestamp_l.set(&mut cqe, now);
        if stripped && let Some(tag) = headers.vlans().first() {
            cqe64::cv.set(&mut cqe, 1);
            cqe64::vlan_info.set(&mut cqe, u64::from(tag.tci));
        }
        if let Some(merged) = &arrival.merged {
            merged.fill(&mut cqe);
        }
        cqe
    }

    /// Completes a packet.
    pub(super) fn complete_receive(&self, rq: &Rq, cqe: &mut Cqe, now: u64) -> Result<(), RxError> {
        let taken = self.complete_all(rq.cqn, rq.rqn, std::slice::from_mut(cqe), now);
        if taken == 1 { Ok(()) } else { Err(RxError::NotCompleted) }
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
    /// A fault rule.
    Injected(CqeSyndrome),
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
