//! Executing send queues: from a doorbell to frames on the wire.
//!
//! A burst serves one queue: at most 64 WQEs or 256 KiB, then the queue goes to the back. A WQE is copied once (with those
//! behind it, `ahead`), parsed, its data gathered; only then anything is done about it, so that a burst may be given
//! up between any two WQEs.

use mlx5emu_pci_model::{Attrs, DmaError, DmaSpace};
use mlx5emu_prm::layouts::{
    mlx5_cqe64, mlx5_err_cqe, mlx5_wqe_ctrl_seg, mlx5_wqe_data_seg, mlx5_wqe_eth_seg, mlx5_wqe_inline_seg,
};
use mlx5emu_prm::wqe::{CqeOpcode, CqeSyndrome, SEND_WQE_BB, SEND_WQE_DS, WqeOpcode};
use mlx5emu_steering::packet::{Headers, VlanTag, checksum, ethernet, ethertype};
use smallvec::SmallVec;

use super::Queue;
use super::ahead::Ahead;
use super::failure::vendor_syndrome;
use super::loopback::Sender;
use super::segment::segment;
use super::sq::{Sq, SqMoving, WqState};
use crate::card::{Card, FunctionIndex};
use crate::faults::queue::Ruled;
use crate::function::Function;
use crate::limited;
use crate::memory::mkey::{Access, KeyError};
use crate::memory::umr::UmrError;
use crate::queues::cq::TOGETHER;

/// WQEs of a burst.
const BURST_WQES: usize = 64;
/// Bytes of a burst, counted before segmentation.
const BURST_BYTES: usize = 256 << 10;
/// The longest message of a WQE: more than `1 << LOG_MAX_LSO` and any frame.
const MAX_MESSAGE: usize = (1 << super::LOG_MAX_LSO) + 4096;
/// The longest packet of a multi-packet WQE: more than any port's MTU, so that a WQE of 62 of them stays a burst.
const MAX_PACKET: usize = 16 << 10;
/// `ce` of a control segment: a CQE always; 3 asks for an event as well.
const CE_ALWAYS: u64 = 2;
/// The doorbell record of a work queue: the receive counter, then the send counter.
pub(super) const DOORBELL_SEND: u64 = 4;

/// Frames and what they need, kept from burst to burst so that nothing is allocated in the usual case.
#[derive(Default)]
pub struct Burst {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    message: Vec<u8>,
    ahead: Ahead,
    /// It ends with this many bytes.
    limit: usize,
}

impl Burst {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.ahead.clear();
    }

    /// Where the next frame begins.
    fn end(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The frames, in order.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let frame = &self.bytes[start..*end];
            start = *end;
            frame
        })
    }
}

/// What comes of one WQE.
enum Step {
    /// Nothing more is posted.
    Idle,
    /// Done; the WQE has this many basic blocks.
    Done(u16),
    /// The queue failed.
    Failed,
}

/// Why a WQE fails.
struct WqeError {
    syndrome: CqeSyndrome,
    why: String,
}

fn wqe_error<T>(syndrome: CqeSyndrome, why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Wqe(WqeError { syndrome, why: why.into() }))
}

enum Stop {
    Dma(DmaError),
    Wqe(WqeError),
}

impl From<DmaError> for Stop {
    fn from(error: DmaError) -> Self {
        Self::Dma(error)
    }
}

impl From<UmrError> for Stop {
    fn from(error: UmrError) -> Self {
        match error {
            UmrError::Dma(error) => Self::Dma(error),
            UmrError::Malformed(why) => Self::Wqe(WqeError { syndrome: CqeSyndrome::LOCAL_QP_OP_ERR, why }),
            UmrError::Refused(why) => Self::Wqe(WqeError { syndrome: CqeSyndrome::MW_BIND_ERR, why }),
        }
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    /// One burst of send queue `sqn`; its frames are delivered afterwards, when its lock is free. Says whether there may
    /// be more to do.
    pub(crate) fn send_burst(
        &self,
        f: FunctionIndex,
        sqn: u32,
        now: u64,
        burst: &mut Burst,
        wake: &mut Vec<FunctionIndex>,
    ) -> Result<bool, DmaError> {
        let Some(function) = self.functions.get(f) else { return Ok(false) };
        let Some(Queue::Send(sq)) = function.state.ethernet.queues.find(sqn) else { return Ok(false) };
        let domain = sq.tis.and_then(|tisn| function.state.ethernet.tis.find(tisn)).map(|tis| tis.domain);
        burst.clear();
        burst.limit = match function.state.ethernet.hold.burst() {
            0 => BURST_BYTES,
            bytes => BURST_BYTES.min(bytes as usize),
        };
        let result = {
            let mut moving = sq.moving.lock();
            let result = function.run_wqes(sqn, sq, &mut moving, now, burst);
            function.complete_sent(sqn, sq, &mut moving, now);
            result
        };
        let frames: SmallVec<[&[u8]; BURST_WQES]> = burst.frames().collect();
        self.account(f, burst.bytes.len(), now);
        self.transmit(f, Sender { sqn, domain }, &frames, now, wake);
        result
    }
}

impl<M: DmaSpace + 'static> Function<M> {
    /// Whether a queue sends frames: not one that receives, one without a TIS (the driver's for UMR is one), or one that is flushed.
    pub(crate) fn transmits(&self, number: u32) -> bool {
        match self.state.ethernet.queues.find(number) {
            Some(Queue::Send(sq)) => sq.tis.is_some() && sq.moving.lock().state != WqState::Err,
            _ => false,
        }
    }

    fn run_wqes(
        &self,
        sqn: u32,
        sq: &Sq,
        moving: &mut SqMoving,
        now: u64,
        burst: &mut Burst,
    ) -> Result<bool, DmaError> {
        let flushing = moving.state == WqState::Err && sq.flush_in_error;
        if moving.stalled || (moving.state != WqState::Rdy && !flushing) {
            return Ok(false);
        }
        let posted = match self.space.load_be32(Attrs::PLAIN, sq.doorbell.wrapping_add(DOORBELL_SEND)) {
            Ok(counter) => counter as u16,
            Err(fetch @ DmaError::Fetch { .. }) => return Err(fetch),
            Err(error) => {
                limited!(self.log, warn, "{}: SQ {sqn:#x}: doorbell record: {error}", self.name);
                self.kill_sq(sqn, moving);
                return Ok(false);
            }
        };
        for _ in 0..BURST_WQES {
            if moving.state == WqState::Err {
                // It failed in this burst or before: the rest is flushed in the next.
                if flushing && self.flush_wqe(sqn, sq, moving, posted, now)? {
                    continue;
                }
                return Ok(!flushing && sq.flush_in_error);
            }
            match self.run_wqe(sqn, sq, moving, posted, now, burst)? {
                Step::Idle => return Ok(false),
                Step::Failed => {}
                Step::Done(blocks) => {
                    moving.head = moving.head.wrapping_add(blocks);
                    moving.executed += 1;
                    moving.fault.next();
                }
            }
            if burst.bytes.len() >= burst.limit {
                break;
            }
        }
        Ok(moving.head != posted)
    }

    fn run_wqe(
        &self,
        sqn: u32,
        sq: &Sq,
        moving: &mut SqMoving,
        posted: u16,
        now: u64,
        burst: &mut Burst,
    ) -> Result<Step, DmaError> {
        let pending = posted.wrapping_sub(moving.head);
        if pending == 0 {
            return Ok(Step::Idle);
        }
        if let Some(step) = self.ruled_out(sqn, sq, moving, pending, now)? {
            return Ok(step);
        }
        let (kept_bytes, kept_frames) = (burst.bytes.len(), burst.ends.len());
        let mut ahead = std::mem::take(&mut burst.ahead);
        let done = self.read_wqe(sq, moving.head, pending, &mut ahead).and_then(|blocks| {
            let wqe = ahead.from(moving.head);
            let len = mlx5_wqe_ctrl_seg::ds.get(wqe) as usize * SEND_WQE_DS;
            self.execute_wqe(sq, &wqe[..len.min(wqe.len())], burst).map(|()| blocks)
        });
        let step = self.finish_wqe(sqn, sq, moving, ahead.from(moving.head), done, now);
        burst.ahead = ahead;
        if !matches!(step, Ok(Step::Done(_))) {
            // Frames of this WQE that were built before it failed are not sent.
            burst.bytes.truncate(kept_bytes);
            burst.ends.truncate(kept_frames);
        }
        step
    }

    /// Completes the WQE at the head, as far as it wants that.
    fn finish_wqe(
        &self,
        sqn: u32,
        sq: &Sq,
        moving: &mut SqMoving,
        wqe: &[u8],
        done: Result<u16, Stop>,
        now: u64,
    ) -> Result<Step, DmaError> {
        let blocks = match done {
            Ok(blocks) => blocks,
            Err(stop) => {
                let error = match stop {
                    Stop::Dma(fetch @ DmaError::Fetch { .. }) => return Err(fetch),
                    Stop::Dma(error) => WqeError { syndrome: CqeSyndrome::LOCAL_PROT_ERR, why: error.to_string() },
                    Stop::Wqe(error) => error,
                };
                self.fail_sq(sqn, sq, moving, wqe, &error, now);
                return Ok(Step::Failed);
            }
        };
        if mlx5_wqe_ctrl_seg::ce.get(wqe) >= CE_ALWAYS && !moving.fault.takes_completion() {
            let mut cqe = [0u8; mlx5_cqe64::SIZE];
            mlx5_cqe64::opcode.set(&mut cqe, u64::from(CqeOpcode::REQ.0));
            mlx5_cqe64::wqe_counter.set(&mut cqe, u64::from(moving.head));
            mlx5_cqe64::send_wqe_opcode.set(&mut cqe, mlx5_wqe_ctrl_seg::opcode.get(wqe));
            mlx5_cqe64::qpn.set(&mut cqe, u64::from(sqn));
            mlx5_cqe64::se.set(&mut cqe, mlx5_wqe_ctrl_seg::se.get(wqe));
            mlx5_cqe64::timestamp_h.set(&mut cqe, now >> 32);
            mlx5_cqe64::timestamp_l.set(&mut cqe, now);
            moving.cqes.push(cqe);
            if moving.cqes.len() == TOGETHER {
                self.complete_sent(sqn, sq, moving, now);
            }
        }
        Ok(Step::Done(blocks))
    }

    /// Completes what has been executed. A queue whose completions are lost does not go on.
    fn complete_sent(&self, sqn: u32, sq: &Sq, moving: &mut SqMoving, now: u64) {
        if moving.cqes.is_empty() {
            return;
        }
        let taken = self.complete_all(sq.cqn, sqn, &mut moving.cqes, now);
        let lost = taken < moving.cqes.len();
        moving.cqes.clear();
        if lost {
            self.kill_sq(sqn, moving);
        }
    }

    /// What fault rules make of the WQE at the head, unless it is executed. `Err(Fetch)` only.
    fn ruled_out(
        &self,
        sqn: u32,
        sq: &Sq,
        moving: &mut SqMoving,
        pending: u16,
        now: u64,
    ) -> Result<Option<Step>, DmaError> {
        if moving.fault.stands(now) {
            return Ok(Some(Step::Idle));
        }
        if !self.rules_on_wqes() && !moving.fault.is_asked() {
            return Ok(None);
        }
        let mut wqe = [0u8; SEND_WQE_BB];
        match sq.buffer.read(&self.space, Attrs::PLAIN, u64::from(moving.head) * SEND_WQE_BB as u64, &mut wqe) {
            Ok(()) => {}
            Err(fetch @ DmaError::Fetch { .. }) => return Err(fetch),
            // Whoever executes it finds out.
            Err(_) => return Ok(None),
        }
        let opcode = WqeOpcode(mlx5_wqe_ctrl_seg::opcode.get(&wqe) as u8);
        Ok(match self.rule_on_send(sqn, &mut moving.fault, moving.head, opcode, now) {
            Ruled::Goes => None,
            Ruled::Stands => Some(Step::Idle),
            Ruled::Skipped => Some(Step::Done(failed_blocks(&wqe).min(pending))),
            Ruled::Fails(syndrome) => {
                let error = WqeError { syndrome, why: "a fault rule says so".into() };
                self.fail_sq(sqn, sq, moving, &wqe, &error, now);
                Some(Step::Failed)
            }
        })
    }

    /// Has the whole WQE at `head` in `ahead`. Says how many blocks it has.
    fn read_wqe(&self, sq: &Sq, head: u16, pending: u16, ahead: &mut Ahead) -> Result<u16, Stop> {
        let ds = ahead.read(&self.space, &sq.buffer, head, pending)?;
        let blocks = blocks_of(ds);
        if ds == 0 || blocks > pending || u32::from(blocks) > 1 << sq.log_size {
            return wqe_error(
                CqeSyndrome::LOCAL_QP_OP_ERR,
                format!("a WQE of {ds} units of 16 bytes, {pending} basic blocks are posted"),
            );
        }
        Ok(blocks)
    }

    fn execute_wqe(&self, sq: &Sq, wqe: &[u8], burst: &mut Burst) -> Result<(), Stop> {
        let opcode = WqeOpcode(mlx5_wqe_ctrl_seg::opcode.get(wqe) as u8);
        let sends = matches!(opcode, WqeOpcode::SEND | WqeOpcode::LSO | WqeOpcode::ENHANCED_MPSW);
        if sends && sq.tis.is_none() {
            return wqe_error(CqeSyndrome::LOCAL_QP_OP_ERR, format!("{opcode} on an SQ without a TIS"));
        }
        match opcode {
            WqeOpcode::NOP => Ok(()),
            WqeOpcode::SEND => self.ethernet_send(sq, wqe, burst, false),
            WqeOpcode::LSO => self.ethernet_send(sq, wqe, burst, true),
            // Asks for no `allow_multi_pkt_send_wqe`: drivers set that for the older kind only, or not at all.
            WqeOpcode::ENHANCED_MPSW => self.multi_packet_send(sq, wqe, burst),
            WqeOpcode::UMR if sq.umr => self.umr(sq.pd, wqe).map_err(Stop::from),
            other => wqe_error(CqeSyndrome::LOCAL_QP_OP_ERR, format!("opcode {other} on an Ethernet SQ")),
        }
    }

    /// SEND and LSO: control segment, Ethernet segment with its inline header, data segments.
    fn ethernet_send(&self, sq: &Sq, wqe: &[u8], burst: &mut Burst, lso: bool) -> Result<(), Stop> {
        use mlx5_wqe_eth_seg as eth;
        let seg = wqe.get(mlx5_wqe_ctrl_seg::SIZE..).unwrap_or(&[]);
        if seg.len() < eth::SIZE {
            return wqe_error(CqeSyndrome::LOCAL_QP_OP_ERR, "no Ethernet segment");
        }
        let insert = eth::insert_vlan.is_set(seg);
        let inline = if insert { 0 } else { eth::sz.get(seg) as usize };
        // The inline header starts in the segment's last two bytes and goes on in whole units of 16.
        let header_end = eth::start.offset + inline;
        let data_at = header_end.max(eth::SIZE).next_multiple_of(SEND_WQE_DS);
        let Some(header) = seg.get(eth::start.offset..header_end) else {
            return wqe_error(CqeSyndrome::LOCAL_QP_OP_ERR, "the inline header is longer than the WQE");
        };
        let data = seg.get(data_at..).unwrap_or(&[]);
        if !lso {
            burst.bytes.extend_from_slice(header);
            self.gather_all(sq, data, burst.end(), &mut burst.bytes)?;
            return burst.finish_frame(seg, insert);
        }
        let mut message = std::mem::take(&mut burst.message);
        message.clear();
        message.extend_from_slice(header);
        let result = self
            .gather_all(sq, data, 0, &mut message)
            .and_then(|()| burst.push_segments(seg, &message, inline, insert));
        burst.message = message;
        result
    }

    /// Appends all that `segments` point at or hold to the message that begins at byte `start` of `bytes`.
    fn gather_all(&self, sq: &Sq, mut segments: &[u8], start: usize, bytes: &mut Vec<u8>) -> Result<(), Stop> {
        while segments.len() >= mlx5_wqe_data_seg::SIZE {
            let used = self.gather(sq, segments, start + MAX_MESSAGE, bytes)?;
            segments = segments.get(used..).unwrap_or(&[]);
        }
        Ok(())
    }

    /// ENHANCED_MPSW: control segment, Ethernet segment, and then every data segment is a packet of its own, which the
    /// Ethernet segment's checksum flags are for.
    fn multi_packet_send(&self, sq: &Sq, wqe: &[u8], burst: &mut Burst) -> Result<(), Stop> {
        use mlx5_wqe_eth_seg as eth;
        let seg = wqe.get(mlx5_wqe_ctrl_seg::SIZE..).unwrap_or(&[]);
        if seg.len() < eth::SIZE {
            return wqe_error(CqeSyndrome::LOCAL_QP_OP_ERR, "no Ethernet segment");
        }
        let insert = eth::insert_vlan.is_set(seg);
        if !insert && eth::sz.get(seg) != 0 {
            return wqe_error(CqeSyndrome::LOCAL_QP_OP_ERR, "a multi-packet WQE with an inline header");
        }
        let mut segments = &seg[eth::SIZE..];
        while segments.len() >= mlx5_wqe_data_seg::SIZE {
            let used = self.gather(sq, segments, burst.end() + MAX_PACKET, &mut burst.bytes)?;
            burst.finish_frame(seg, insert)?;
            segments = segments.get(used..).unwrap_or(&[]);
        }
        Ok(())
    }

    /// Appends what the first of `segments` points at or holds, up to byte `limit` of `message`. Says how long the segment
    /// is.
    fn gather(&self, sq: &Sq, segments: &[u8], limit: usize, message: &mut Vec<u8>) -> Result<usize, Stop> {
        if mlx5_wqe_data_seg::inline_seg.is_set(segments) {
            let len = mlx5_wqe_inline_seg::inline_byte_count.get(segments) as usize;
            let start = mlx5_wqe_inline_seg::SIZE;
            let Some(data) = segments.get(start..start + len) else {
                return wqe_error(CqeSyndrome::LOCAL_QP_OP_ERR, "inline data is longer than the WQE");
            };
            message.extend_from_slice(data);
            return Ok((start + len).next_multiple_of(SEND_WQE_DS));
        }
        let len = mlx5_wqe_data_seg::byte_count.get(segments);
        if message.len() as u64 + len > limit as u64 {
            return wqe_error(CqeSyndrome::LOCAL_LENGTH_ERR, format!("a message of more than {MAX_MESSAGE} bytes"));
        }
        let (key, addr) = (mlx5_wqe_data_seg::lkey.get32(segments), mlx5_wqe_data_seg::addr.get(segments));
        self.gather_one(sq, key, addr, len, message)?;
        Ok(mlx5_wqe_data_seg::SIZE)
    }

    fn gather_one(&self, sq: &Sq, key: u32, addr: u64, len: u64, message: &mut Vec<u8>) -> Result<(), Stop> {
        let mut failed = None;
        let translated = self.translate(key, sq.pd, Access::LocalRead, addr, len, |piece| {
            let start = message.len();
            message.resize(start + piece.len as usize, 0);
            if failed.is_none() {
                failed = self.space.read(piece.attrs, piece.addr, &mut message[start..]).err();
            }
        });
        match (translated, failed) {
            (Err(error), _) => wqe_error(
                CqeSyndrome::LOCAL_PROT_ERR,
                match error {
                    KeyError::NoKey => format!("lkey {key:#x} does not exist"),
                    KeyError::Denied => format!("lkey {key:#x} is of another PD or does not allow reading"),
                    KeyError::Range => format!("{len} bytes at {addr:#x} are outside lkey {key:#x}"),
                },
            ),
            (Ok(()), Some(error)) => Err(error.into()),
            (Ok(()), None) => Ok(()),
        }
    }

    /// Completes the WQE at the head with WR_FLUSH_ERR. Says whether there was one.
    fn flush_wqe(&self, sqn: u32, sq: &Sq, moving: &mut SqMoving, posted: u16, now: u64) -> Result<bool, DmaError> {
        let pending = posted.wrapping_sub(moving.head);
        if pending == 0 {
            return Ok(false);
        }
        let mut wqe = [0u8; SEND_WQE_BB];
        match sq.buffer.read(&self.space, Attrs::PLAIN, u64::from(moving.head) * SEND_WQE_BB as u64, &mut wqe) {
            Err(fetch @ DmaError::Fetch { .. }) => return Err(fetch),
            Err(_) => return Ok(false),
            Ok(()) => {}
        }
        self.complete_with_error(sqn, sq, moving, &wqe, CqeSyndrome::WR_FLUSH_ERR, now);
        moving.head = moving.head.wrapping_add(failed_blocks(&wqe).min(pending));
        Ok(true)
    }

    /// An error CQE for the WQE at the head; the queue goes to ERR. What follows is flushed if the queue asked for it.
    fn fail_sq(&self, sqn: u32, sq: &Sq, moving: &mut SqMoving, wqe: &[u8], error: &WqeError, now: u64) {
        limited!(
            self.log,
            warn,
            "{}: SQ {sqn:#x}, WQE {:#x}: {}: {}",
            self.name,
            moving.head,
            error.syndrome,
            error.why
        );
        moving.state = WqState::Err;
        moving.fault.next();
        self.complete_with_error(sqn, sq, moving, wqe, error.syndrome, now);
        moving.head = moving.head.wrapping_add(failed_blocks(wqe));
    }

    /// The queue can't go on, nor say so by a completion.
    fn kill_sq(&self, sqn: u32, moving: &mut SqMoving) {
        if moving.state != WqState::Err {
            moving.state = WqState::Err;
            self.post_wq_catastrophe(sqn, true);
        }
    }

    fn complete_with_error(
        &self,
        sqn: u32,
        sq: &Sq,
        moving: &mut SqMoving,
        wqe: &[u8],
        syndrome: CqeSyndrome,
        now: u64,
    ) {
        // An error has its place behind what came before.
        self.complete_sent(sqn, sq, moving, now);
        let mut cqe = [0u8; mlx5_err_cqe::SIZE];
        mlx5_err_cqe::opcode.set(&mut cqe, u64::from(CqeOpcode::REQ_ERR.0));
        mlx5_err_cqe::syndrome.set(&mut cqe, u64::from(syndrome.0));
        mlx5_err_cqe::vendor_err_synd.set(&mut cqe, vendor_syndrome(syndrome));
        mlx5_err_cqe::s_wqe_opcode.set(&mut cqe, mlx5_wqe_ctrl_seg::opcode.get(wqe));
        mlx5_err_cqe::qpn.set(&mut cqe, u64::from(sqn));
        mlx5_err_cqe::wqe_counter.set(&mut cqe, u64::from(moving.head));
        // It is in ERR already: a CQ that does not take this was reported itself.
        let _ = self.complete(sq.cqn, &mut cqe, now);
    }
}

/// Basic blocks of a WQE that is `ds` units of 16 bytes long.
fn blocks_of(ds: u64) -> u16 {
    (ds as usize * SEND_WQE_DS).div_ceil(SEND_WQE_BB) as u16
}

/// Basic blocks of a WQE that failed: one without a length takes one.
fn failed_blocks(wqe: &[u8]) -> u16 {
    blocks_of(mlx5_wqe_ctrl_seg::ds.get(wqe)).max(1)
}

impl Burst {
    /// What was gathered since the last frame becomes one: VLAN insertion, checksums.
    fn finish_frame(&mut self, seg: &[u8], insert: bool) -> Result<(), Stop> {
        use mlx5_wqe_eth_seg as eth;
        let start = self.end();
        let len = self.bytes.len() - start;
        if len < ethernet::LEN {
            return wqe_error(CqeSyndrome::LOCAL_LENGTH_ERR, format!("a frame of {len} bytes"));
        }
        if insert {
            let tpid = if eth::insert_svlan.is_set(seg) { ethertype::SVLAN } else { ethertype::CVLAN };
            let tag = VlanTag { tpid, tci: eth::vlan_tci.get(seg) as u16 };
            let at = start + ethernet::ADDRESSES;
            self.bytes.splice(at..at, tag.to_bytes());
        }
        self.end_frame(eth::l3_csum.is_set(seg), eth::l4_csum.is_set(seg));
        Ok(())
    }

    /// The frames of a message that is to be segmented.
    fn push_segments(&mut self, seg: &[u8], message: &[u8], inline: usize, insert: bool) -> Result<(), Stop> {
        use mlx5_wqe_eth_seg as eth;
        if insert || inline > message.len() {
            return wqe_error(CqeSyndrome::LOCAL_QP_OP_ERR, "LSO needs its header inlined");
        }
        let (l3, l4) = (eth::l3_csum.is_set(seg), eth::l4_csum.is_set(seg));
        let (header, payload) = message.split_at(inline);
        let cut = segment(header, payload, eth::mss.get(seg) as usize, |frame| {
            self.bytes.extend_from_slice(frame);
            self.end_frame(l3, l4);
        });
        match cut {
            Ok(()) => Ok(()),
            Err(_) => wqe_error(CqeSyndrome::LOCAL_QP_OP_ERR, "LSO of something that is neither TCP nor UDP"),
        }
    }

    /// The frame ends here; its checksums are filled in as asked.
    fn end_frame(&mut self, l3: bool, l4: bool) {
        let start = self.end();
        self.ends.push(self.bytes.len());
        if l3 || l4 {
            let frame = &mut self.bytes[start..];
            if let Some(headers) = Headers::parse(frame) {
                checksum::fill(frame, &headers, l3, l4);
            }
        }
    }
}
