//! Split headers and merged payloads (SHAMPO): what `ethtool -K DEV rx-gro-hw on` asks striding queues for.
//!
//! The headers of a TCP or UDP packet go to an entry of their own in a buffer of entries, its payload to the WQE. A segment
//! that continues the packet before it says so (`match`), and its payload follows without a gap: the driver makes one
//! packet of all that match, so nothing waits here. A WQE is cut into reservations, and a reservation takes a limited
//! number of packets: that is how the driver knows how many entries and completions there can be.

use std::ops::Range;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{mlx5_cqe64 as cqe64, rqc, wq};
use mlx5emu_steering::hash::HashResult;
use mlx5emu_steering::packet::tcp;
use mlx5emu_steering::packet::{Headers, Net, Transport, checksum, ethernet};
use smallvec::SmallVec;

use super::deliver::{Arrival, Pieces, RxError};
use super::rq::{Rq, RqMoving};
use super::striding::{MAX_PACKET, Strides, finish_wqe};
use crate::error::{Stop, Syndrome, bad_param};
use crate::function::Function;
use crate::memory::mkey::Access;

/// log2 of the longest headers that an entry takes: `shampo_log_max_headers_entry_size`. What
/// `log_headers_entry_size` counts from (`MLX5E_SHAMPO_WQ_BASE_HEAD_ENTRY_SIZE_SHIFT`), and as far as a completion can tell
/// how long they are.
pub const LOG_ENTRY_SIZE: std::ops::RangeInclusive<u32> = 6..=8;
/// The longest headers that a completion can tell: `header_size` has eight bits (`struct mlx5_cqe64`, `shampo`).
const MAX_HEADERS: usize = 255;
/// log2 of the bytes of a reservation; what `log_reservation_size` counts from, and its three bits.
pub const LOG_RESERVATION: std::ops::RangeInclusive<u32> = 12..=18;
/// `shampo_match_criteria_type` that are offered: none, extended.
const MATCH_NONE: u64 = 0;
const MATCH_EXTENDED: u64 = 1;
/// `shampo_no_match_alignment_granularity`: a packet that does not match starts in a stride of its own.
const ALIGN_STRIDE: u64 = 1;
/// The byte of the TCP header with the flags, its sequence number and its checksum.
const FLAGS: usize = 13;
const SEQUENCE: Range<usize> = 4..8;
const CHECKSUM: Range<usize> = 16..18;

/// How a queue splits and merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shampo {
    /// Memory key of the headers' buffer.
    key: u32,
    log_entry: u32,
    log_entries: u32,
    /// Bytes of a reservation, and the packets that it takes.
    reservation: usize,
    packets: u32,
    /// Nanoseconds after which a packet does not continue the one before it.
    timeout: u64,
    merges: bool,
}

/// What moves in such a queue.
#[derive(Debug, Default)]
pub struct ShampoMoving {
    /// The next entry of the headers' buffer.
    header: u32,
    /// Bytes of the WQE that are used.
    offset: usize,
    /// Packets in the reservation.
    packets: u32,
    last: Option<Last>,
}

/// Headers as they are, up to the payload.
type Head = SmallVec<[u8; 128]>;

/// The packet that the next one may continue.
#[derive(Debug)]
struct Last {
    /// Its headers without what differs from segment to segment.
    head: Head,
    next_seq: u32,
    /// Payload of the first segment.
    mss: usize,
    ip_id: u16,
    /// By how much the IP id grows: not known until there are two.
    id_step: Option<u16>,
    at: u64,
    hash: HashResult,
    flow_tag: u32,
    metadata: u32,
}

impl Shampo {
    /// What a receive queue's context asks for; `None` for a queue that does not split.
    pub fn parse(context: &[u8], strides: Option<Strides>) -> Result<Option<Self>, Stop> {
        let queue = rqc::wq.of(context);
        if !wq::shampo_enable.is_set(queue) {
            return Ok(None);
        }
        let Some(strides) = strides else {
            return bad_param(Syndrome::BadCapability, "SHAMPO is offered for striding queues only");
        };
        let log_entry = LOG_ENTRY_SIZE.start() + wq::log_headers_entry_size.get32(queue);
        let log_reservation = LOG_RESERVATION.start() + wq::log_reservation_size.get32(queue);
        let reservation = 1usize << log_reservation;
        if !LOG_RESERVATION.contains(&log_reservation)
            || reservation > strides.bytes()
            || !reservation.is_multiple_of(strides.stride())
        {
            let bytes = strides.bytes();
            return bad_param(Syndrome::BadGeometry, format!("reservations of {reservation} bytes in WQEs of {bytes}"));
        }
        let criteria = rqc::shampo_match_criteria_type.get(context);
        if wq::shampo_mode.get(queue) != 0
            || !matches!(criteria, MATCH_NONE | MATCH_EXTENDED)
            || rqc::shampo_no_match_alignment_granularity.get(context) != ALIGN_STRIDE
        {
            return bad_param(Syndrome::BadCapability, "this mode, alignment or match of SHAMPO is not offered");
        }
        Ok(Some(Self {
            key: wq::headers_mkey.get32(queue),
            log_entry,
            log_entries: wq::log_headers_buffer_entry_num.get32(queue),
            reservation,
            packets: 1 << wq::log_max_num_of_packets_per_reservation.get32(queue),
            timeout: rqc::reservation_timeout.get(context) * 1000,
            merges: criteria == MATCH_EXTENDED,
        }))
    }
}

/// How many bytes of a packet are headers that are split off: none of what is neither TCP nor UDP.
fn headers_len(shampo: &Shampo, h: &Headers, stripped: bool) -> usize {
    let known = matches!(h.transport, Transport::Tcp(_) | Transport::Udp(_)) && !h.fragment;
    let len = h.payload_offset - if stripped { ethernet::VLAN_LEN } else { 0 };
    if known && len <= (1 << shampo.log_entry).min(MAX_HEADERS) { len } else { 0 }
}

/// The headers without lengths, sequence number, IP id, checksums, PSH and FIN, if the packet is a segment that others can
/// continue or that can continue another; with its IP id.
fn mergeable(arrival: &Arrival, stripped: bool) -> Option<(Head, u16)> {
    let (frame, h) = (arrival.frame, arrival.headers);
    let Transport::Tcp(segment) = h.transport else { return None };
    let plain = segment.flags & !(tcp::PSH | tcp::FIN) == tcp::ACK
        && h.payload_len() > 0
        && h.ip_end == frame.len()
        && !h.fragment
        && h.vlans().len() == usize::from(stripped);
    let mut head = Head::from_slice(frame.get(..h.payload_offset).filter(|_| plain)?);
    let sums = checksum::verify(frame, h);
    if !sums.l3_ok || !sums.l4_ok {
        return None;
    }
    let ip = head.get_mut(h.l3_offset..h.l4_offset)?;
    let (id, varies) = match h.net {
        // Length, id, checksum.
        Net::Ipv4(v4) if v4.ihl == 5 => (u16::from_be_bytes([ip[4], ip[5]]), &[2, 3, 4, 5, 10, 11][..]),
        Net::Ipv6(_) if ip.len() == 40 => (0, &[4, 5][..]),
        _ => return None,
    };
    varies.iter().for_each(|byte| ip[*byte] = 0);
    let segment = head.get_mut(h.l4_offset..)?;
    [SEQUENCE, CHECKSUM].into_iter().for_each(|bytes| segment[bytes].fill(0));
    segment[FLAGS] &= !((tcp::PSH | tcp::FIN) as u8);
    Some((head, id))
}

impl ShampoMoving {
    /// As after a reset.
    pub(super) fn rewind(&mut self) {
        *self = Self::default();
    }

    /// Whether the packet continues the one before it.
    fn continues(&self, shampo: &Shampo, arrival: &Arrival, head: &(Head, u16), now: u64) -> bool {
        let (Some(last), Transport::Tcp(segment)) = (&self.last, arrival.headers.transport) else { return false };
        let v4 = matches!(arrival.headers.net, Net::Ipv4(_));
        let step = head.1.wrapping_sub(last.ip_id);
        shampo.merges
            && now.saturating_sub(last.at) <= shampo.timeout
            && segment.seq == last.next_seq
            && arrival.headers.payload_len() <= last.mss
            && last.head == head.0
            && (!v4 || last.id_step.map_or(step <= 1, |known| known == step))
            && (last.hash, last.flow_tag, last.metadata) == (arrival.hash, arrival.flow_tag, arrival.metadata)
    }

    /// Remembers the packet, and says whether nothing can continue it.
    fn remember(&mut self, arrival: &Arrival, head: Option<(Head, u16)>, matches: bool, now: u64) -> bool {
        let last = self.last.take();
        let (Some((head, ip_id)), Transport::Tcp(segment)) = (head, arrival.headers.transport) else { return true };
        let payload = arrival.headers.payload_len();
        let before = last.filter(|_| matches);
        let mss = before.as_ref().map_or(payload, |last| last.mss);
        if segment.flags & (tcp::PSH | tcp::FIN) != 0 || payload < mss {
            return true;
        }
        self.last = Some(Last {
            head,
            next_seq: segment.seq.wrapping_add(payload as u32),
            mss,
            ip_id,
            id_step: before.map(|last| ip_id.wrapping_sub(last.ip_id)),
            at: now,
            hash: arrival.hash,
            flow_tag: arrival.flow_tag,
            metadata: arrival.metadata,
        });
        false
    }
}

impl<M: DmaSpace + 'static> Function<M> {
    /// Puts a packet's headers into an entry and its payload into the WQE. A call that is repeated after it failed for
    /// guest memory goes on where it was.
    pub(super) fn fill_shampo(
        &self,
        rq: &Rq,
        (strides, shampo): (Strides, &Shampo),
        moving: &mut RqMoving,
        arrival: &Arrival,
        now: u64,
    ) -> Result<(), RxError> {
        let (stripped, len) = arrival.after_strip(rq);
        let head_len = headers_len(shampo, arrival.headers, stripped);
        let data_len = len - head_len;
        if len > MAX_PACKET || data_len > shampo.reservation {
            return Err(RxError::TooLong);
        }
        let head = mergeable(arrival, stripped).filter(|_| head_len > 0);
        let mut matches = head.as_ref().is_some_and(|head| moving.shampo.continues(shampo, arrival, head, now));
        let start = loop {
            if moving.begun.is_none() {
                moving.begun = Some(self.begin_wqe(rq, strides, moving)?);
                (moving.shampo.offset, moving.shampo.packets, matches) = (0, 0, false);
            }
            let used = moving.shampo.offset;
            let start = if matches { used } else { used.next_multiple_of(strides.stride()) };
            let end = (used + 1).next_multiple_of(shampo.reservation);
            if moving.shampo.packets < shampo.packets && start + data_len <= end {
                break start;
            }
            self.give_up_reservation(rq, strides, moving, end, now)?;
            matches = false;
        };
        let mut pieces = Pieces::new();
        let entry = moving.shampo.header & ((1 << shampo.log_entries) - 1);
        let at = u64::from(entry) << shampo.log_entry;
        self.translate(shampo.key, rq.pd, Access::LocalWrite, at, head_len as u64, |piece| pieces.push(piece))
            .map_err(|_| RxError::Key(shampo.key))?;
        if let Some(wqe) = &moving.begun {
            self.scatter_list(rq, wqe.segments(), start as u64, data_len, &mut pieces)?;
        }
        self.scatter(&pieces, arrival.frame, stripped)?;
        let flush = moving.shampo.remember(arrival, head, matches, now);
        let mut cqe = self.receive_cqe(arrival, stripped, len, now);
        for (field, value) in [
            (cqe64::shampo_match, u64::from(matches)),
            (cqe64::shampo_flush, u64::from(flush)),
            (cqe64::shampo_header_size, head_len as u64),
            (cqe64::shampo_header_entry_index, u64::from(entry)),
            (cqe64::shampo_data_offset, start as u64),
            (cqe64::wqe_counter, (start / strides.stride()) as u64),
            (cqe64::wqe_id, u64::from(moving.index)),
        ] {
            field.set(&mut cqe, value);
        }
        moving.shampo.header = moving.shampo.header.wrapping_add(u32::from(head_len > 0));
        moving.shampo.packets += 1;
        let taken = use_up(strides, moving, start + data_len);
        cqe64::consumed_strides.set(&mut cqe, u64::from(taken));
        if moving.shampo.offset.is_multiple_of(shampo.reservation) {
            moving.shampo.packets = 0;
        }
        self.complete_receive(rq, &mut cqe, now)
    }

    /// A filler completion for the strides that are left of the reservation that ends at `end`.
    fn give_up_reservation(
        &self,
        rq: &Rq,
        strides: Strides,
        moving: &mut RqMoving,
        end: usize,
        now: u64,
    ) -> Result<(), RxError> {
        let from = moving.begun.as_ref().map_or(0, |wqe| wqe.used());
        let index = moving.index;
        (moving.shampo.packets, moving.shampo.last) = (0, None);
        let left = use_up(strides, moving, end);
        if left > 0 { self.complete_filler(rq, index, from, left, now) } else { Ok(()) }
    }
}

/// The WQE is used up to byte `offset`: says how many strides that took, and goes on to the next WQE if it is full.
fn use_up(strides: Strides, moving: &mut RqMoving, offset: usize) -> u32 {
    let used = offset.div_ceil(strides.stride()) as u32;
    moving.shampo.offset = offset;
    let Some(wqe) = &mut moving.begun else { return 0 };
    let taken = used - wqe.used();
    wqe.set_used(used);
    if used == strides.count() {
        moving.shampo.last = None;
        finish_wqe(moving);
    }
    taken
}
