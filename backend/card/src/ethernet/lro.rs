//! Large receive offload: consecutive TCP segments of a flow become one packet with one completion.
//!
//! A receive queue holds a few packets that grow. One is delivered when a segment with PSH comes, when the next segment
//! does not continue it (out of order, other flags or options, longer than the first), when it is full, or when its time
//! is over. Only striding queues do this: the driver asks for it nowhere else.

use mlx5emu_pci_model::{DmaError, DmaSpace};
use mlx5emu_prm::layouts::{mlx5_cqe64, tirc};
use mlx5emu_steering::hash::HashResult;
use mlx5emu_steering::packet::checksum::{self, Sum};
use mlx5emu_steering::packet::tcp::{self, Tcp};
use mlx5emu_steering::packet::{Headers, Net, Transport};

use super::Queue;
use super::deliver::{Arrival, RxError};
use super::rq::{Rq, RqMoving};
use super::sq::WqState;
use super::striding::{MAX_PACKET, Strides};
use crate::function::Function;
use crate::queues::cq::Cqe;

/// Periods in microseconds that a packet may wait: `lro_timer_supported_periods`.
pub const TIMER_PERIODS: [u32; 4] = [8, 16, 32, 1024];
/// Bits of `packet_merge_mask` (`MLX5_TIRC_PACKET_MERGE_MASK_*`).
const IPV4_LRO: u64 = 1;
const IPV6_LRO: u64 = 2;
/// Packets that grow at the same time in one receive queue.
const MAX_SESSIONS: usize = 8;
/// The number of segments has 8 bits.
const MAX_SEGMENTS: u8 = 255;
/// The only TCP options that segments are merged with: two NOPs and a timestamp.
const TIMESTAMP_HEAD: [u8; 4] = [1, 1, 8, 10];
/// A TCP header with them, in dwords.
const TIMESTAMP_DWORDS: u8 = 8;
/// Where the acknowledgement number, the window and the timestamp are in a TCP header.
const ACK: std::ops::Range<usize> = 8..12;
const WINDOW: std::ops::Range<usize> = 14..16;
const TIMESTAMP: std::ops::Range<usize> = 24..32;
/// The byte of the TCP header with the flags.
const FLAGS: usize = 13;

/// What a TIR wants merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LroRule {
    v4: bool,
    v6: bool,
    /// Nanoseconds that a packet may wait.
    timeout: u64,
    /// Bytes of a merged packet behind the network header.
    max_payload: usize,
}

impl LroRule {
    /// What a TIR's context says; `Err` with the bits that are not offered.
    pub fn parse(context: &[u8]) -> Result<Option<Self>, u64> {
        let mask = tirc::packet_merge_mask.get(context);
        match mask & !(IPV4_LRO | IPV6_LRO) {
            0 => {}
            other => return Err(other),
        }
        Ok((mask != 0).then(|| Self {
            v4: mask & IPV4_LRO != 0,
            v6: mask & IPV6_LRO != 0,
            timeout: tirc::lro_timeout_period_usecs.get(context) * 1000,
            max_payload: (tirc::lro_max_ip_payload_size.get(context) as usize) << 8,
        }))
    }
}

/// What the completion of a merged packet says more.
#[derive(Debug, Clone, Copy)]
pub struct Merged {
    segments: u8,
    min_ttl: u8,
    push: bool,
    ack: u32,
    window: u16,
    /// The sum of the TCP payload.
    sum: u16,
}

impl Merged {
    /// Writes it.
    pub fn fill(&self, cqe: &mut Cqe) {
        for (field, value) in [
            (mlx5_cqe64::lro_num_seg, u64::from(self.segments)),
            (mlx5_cqe64::min_ttl, u64::from(self.min_ttl)),
            (mlx5_cqe64::tcppsh, u64::from(self.push)),
            (mlx5_cqe64::ack_seq_num, u64::from(self.ack)),
            (mlx5_cqe64::tcp_win, u64::from(self.window)),
            (mlx5_cqe64::check_sum, u64::from(self.sum)),
            (mlx5_cqe64::l3_ok, 1),
            (mlx5_cqe64::l4_ok, 1),
        ] {
            field.set(cqe, value);
        }
    }
}

/// A packet that grows.
#[derive(Debug)]
pub struct Session {
    /// The first segment with the payload of those that followed.
    frame: Vec<u8>,
    /// The first segment's.
    headers: Headers,
    hash: HashResult,
    flow_tag: u32,
    metadata: u32,
    /// Sequence number that continues it.
    next_seq: u32,
    /// Payload of the first segment.
    mss: usize,
    min_ttl: u8,
    segments: u8,
    push: bool,
    /// When it is delivered at the latest.
    deadline: u64,
}

/// The TCP header, if the frame is a segment that may be merged in `rq`.
fn candidate(rq: &Rq, rule: LroRule, arrival: &Arrival) -> Option<Tcp> {
    let (frame, h) = (arrival.frame, arrival.headers);
    let Transport::Tcp(segment) = h.transport else { return None };
    let plain = match h.net {
        Net::Ipv4(ip) => rule.v4 && ip.ihl == 5 && !h.fragment,
        Net::Ipv6(_) => rule.v6 && h.l4_offset - h.l3_offset == 40 && !h.fragment,
        _ => false,
    };
    let (stripped, _) = arrival.after_strip(rq);
    let options = frame.get(h.l4_offset + tcp::LEN..h.payload_offset)?;
    let known = options.is_empty() || (segment.data_offset == TIMESTAMP_DWORDS && options.starts_with(&TIMESTAMP_HEAD));
    let fits = plain
        && known
        && segment.flags & !tcp::PSH == tcp::ACK
        && h.payload_len() > 0
        && h.ip_end == frame.len()
        && h.vlans().len() == usize::from(stripped);
    if !fits {
        return None;
    }
    let sums = checksum::verify(frame, h);
    (sums.l3_ok && sums.l4_ok).then_some(segment)
}

fn ttl(net: &Net) -> u8 {
    match net {
        Net::Ipv4(ip) => ip.ttl,
        Net::Ipv6(ip) => ip.hop_limit,
        _ => 0,
    }
}

/// The bytes of an IP header that say whose packet it is, and those that must not differ within a merged packet.
fn ends_and_rest(frame: &[u8], h: &Headers) -> Option<([u8; 40], [u8; 4])> {
    let ip = frame.get(h.l3_offset..h.l4_offset)?;
    let ports = frame.get(h.l4_offset..h.l4_offset + 4)?;
    let (mut ends, mut rest) = ([0u8; 40], [0u8; 4]);
    let addresses = match h.net {
        Net::Ipv4(_) => {
            // Type of service and flags.
            (rest[0], rest[1]) = (*ip.get(1)?, *ip.get(6)? & 0xe0);
            ip.get(12..20)?
        }
        Net::Ipv6(_) => {
            // Version, traffic class, flow label.
            rest.copy_from_slice(ip.get(..4)?);
            ip.get(8..40)?
        }
        _ => return None,
    };
    ends[..4].copy_from_slice(ports);
    ends[4..4 + addresses.len()].copy_from_slice(addresses);
    // The last byte tells the protocols apart.
    ends[39] = u8::from(matches!(h.net, Net::Ipv6(_)));
    Some((ends, rest))
}

impl Session {
    fn new(arrival: &Arrival, rule: LroRule, segment: Tcp, now: u64) -> Self {
        let payload = arrival.headers.payload_len();
        Self {
            frame: arrival.frame.to_vec(),
            headers: *arrival.headers,
            hash: arrival.hash,
            flow_tag: arrival.flow_tag,
            metadata: arrival.metadata,
            next_seq: segment.seq.wrapping_add(payload as u32),
            mss: payload,
            min_ttl: ttl(&arrival.headers.net),
            segments: 1,
            push: false,
            deadline: now + rule.timeout,
        }
    }

    fn is_flow_of(&self, arrival: &Arrival) -> bool {
        let (mine, its) = (ends_and_rest(&self.frame, &self.headers), ends_and_rest(arrival.frame, arrival.headers));
        matches!((mine, its), (Some((a, _)), Some((b, _))) if a == b)
    }

    /// Whether a segment of the same flow continues it.
    fn continues(&self, arrival: &Arrival, segment: &Tcp, rule: LroRule, room: usize) -> bool {
        let (h, payload) = (arrival.headers, arrival.headers.payload_len());
        let rest = |frame, headers| ends_and_rest(frame, headers).map(|(_, rest)| rest);
        let link = |frame: &[u8], h: &Headers| frame.get(..h.l3_offset).map(<[u8]>::to_vec);
        segment.seq == self.next_seq
            && payload <= self.mss
            && self.segments < MAX_SEGMENTS
            && self.frame.len() + payload <= room.min(MAX_PACKET)
            && self.frame.len() + payload - self.headers.l4_offset <= rule.max_payload
            && h.payload_offset - h.l4_offset == self.headers.payload_offset - self.headers.l4_offset
            && rest(&self.frame, &self.headers) == rest(arrival.frame, h)
            && link(&self.frame, &self.headers) == link(arrival.frame, h)
            && (self.hash, self.flow_tag, self.metadata) == (arrival.hash, arrival.flow_tag, arrival.metadata)
    }

    fn append(&mut self, arrival: &Arrival, segment: &Tcp) {
        let (h, from) = (arrival.headers, &arrival.frame[arrival.headers.l4_offset..]);
        let mut renewed = vec![ACK, WINDOW];
        if segment.data_offset == TIMESTAMP_DWORDS {
            renewed.push(TIMESTAMP);
        }
        let to = &mut self.frame[self.headers.l4_offset..];
        renewed.into_iter().for_each(|bytes| to[bytes.clone()].copy_from_slice(&from[bytes]));
        self.frame.extend_from_slice(&arrival.frame[h.payload_offset..h.ip_end]);
        self.next_seq = segment.seq.wrapping_add(h.payload_len() as u32);
        self.min_ttl = self.min_ttl.min(ttl(&h.net));
        self.segments += 1;
        self.push |= segment.flags & tcp::PSH != 0;
    }

    /// The header made true for the whole: lengths, PSH, checksums.
    fn seal(&mut self) -> Option<(Headers, Option<Merged>)> {
        if self.segments == 1 {
            return Some((self.headers, None));
        }
        let (l3, l4) = (self.headers.l3_offset, self.headers.l4_offset);
        let (at, len) = match self.headers.net {
            Net::Ipv4(_) => (l3 + 2, self.frame.len() - l3),
            _ => (l3 + 4, self.frame.len() - l4),
        };
        self.frame[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
        self.frame[l4 + FLAGS] |= if self.push { tcp::PSH as u8 } else { 0 };
        let headers = Headers::parse(&self.frame)?;
        checksum::fill(&mut self.frame, &headers, true, true);
        let Transport::Tcp(header) = headers.transport else { return None };
        let merged = Merged {
            segments: self.segments,
            min_ttl: self.min_ttl,
            push: self.push,
            ack: header.ack,
            window: header.window,
            sum: Sum::new().bytes(&self.frame[headers.payload_offset..]).value(),
        };
        Some((headers, Some(merged)))
    }
}

impl<M: DmaSpace + 'static> Function<M> {
    /// Delivers a packet to a striding queue, or lets one grow by it.
    pub(super) fn merge_or_fill(
        &self,
        rqn: u32,
        rq: &Rq,
        strides: Strides,
        moving: &mut RqMoving,
        arrival: &Arrival,
        now: u64,
    ) -> Result<(), RxError> {
        if arrival.lro.is_none() && moving.sessions.is_empty() {
            return self.fill_strides(rq, strides, moving, arrival, now);
        }
        let segment = arrival.lro.and_then(|rule| Some((rule, candidate(rq, rule, arrival)?)));
        if let Some(n) = moving.sessions.iter().position(|session| session.is_flow_of(arrival)) {
            if let Some((rule, segment)) = &segment
                && moving.sessions[n].continues(arrival, segment, *rule, strides.bytes())
            {
                moving.sessions[n].append(arrival, segment);
                if moving.sessions[n].push {
                    // The segment is taken; what the packet waits for is the timer's business.
                    moving.sessions[n].deadline = now;
                    match self.deliver_session(rq, strides, moving, n, now) {
                        Err(RxError::Dma(DmaError::Fetch { .. })) => self.start_merge_timer(rqn, moving),
                        done => return done,
                    }
                }
                return Ok(());
            }
            self.deliver_session(rq, strides, moving, n, now)?;
        }
        match segment {
            Some((rule, segment)) if segment.flags & tcp::PSH == 0 && rule.timeout > 0 => {
                if moving.sessions.len() >= MAX_SESSIONS {
                    self.deliver_session(rq, strides, moving, 0, now)?;
                }
                moving.sessions.push(Session::new(arrival, rule, segment, now));
                self.start_merge_timer(rqn, moving);
                Ok(())
            }
            _ => self.fill_strides(rq, strides, moving, arrival, now),
        }
    }

    fn start_merge_timer(&self, rqn: u32, moving: &mut RqMoving) {
        let Some(first) = moving.sessions.iter().map(|session| session.deadline).min() else { return };
        let mut timers = self.state.ethernet.merge_timers.lock();
        if moving.merge_timer != first {
            timers.remove(&(moving.merge_timer, rqn));
            moving.merge_timer = first;
            timers.insert((first, rqn));
        }
    }

    /// Delivers a packet that has grown. It stays if guest memory must be fetched first.
    fn deliver_session(
        &self,
        rq: &Rq,
        strides: Strides,
        moving: &mut RqMoving,
        n: usize,
        now: u64,
    ) -> Result<(), RxError> {
        let mut session = moving.sessions.remove(n);
        let Some((headers, merged)) = session.seal() else { return Ok(()) };
        let arrival = Arrival {
            frame: &session.frame,
            headers: &headers,
            hash: session.hash,
            flow_tag: session.flow_tag,
            metadata: session.metadata,
            lro: None,
            merged,
        };
        let done = self.fill_strides(rq, strides, moving, &arrival, now);
        if matches!(done, Err(RxError::Dma(DmaError::Fetch { .. }))) {
            moving.sessions.insert(n, session);
        }
        done
    }

    /// Delivers the packets whose time is over.
    pub(crate) fn run_merge_timers(&self, now: u64) {
        loop {
            let first = self.state.ethernet.merge_timers.lock().first().copied();
            match first {
                Some((at, rqn)) if at <= now => {
                    self.state.ethernet.merge_timers.lock().remove(&(at, rqn));
                    if self.deliver_due(rqn, now).is_err() {
                        self.state.ethernet.overdue.lock().push(rqn);
                    }
                }
                _ => return,
            }
        }
    }

    /// Delivers what timers could not, for want of guest memory.
    pub(crate) fn run_overdue(&self, now: u64) -> Result<(), DmaError> {
        loop {
            let Some(rqn) = self.state.ethernet.overdue.lock().last().copied() else { return Ok(()) };
            self.deliver_due(rqn, now)?;
            self.state.ethernet.overdue.lock().retain(|n| *n != rqn);
        }
    }

    /// `Err(Fetch)` only.
    fn deliver_due(&self, rqn: u32, now: u64) -> Result<(), DmaError> {
        let Some(Queue::Receive(rq)) = self.state.ethernet.queues.find(rqn) else { return Ok(()) };
        let Some(strides) = rq.strides else { return Ok(()) };
        let mut moving = rq.moving.lock();
        moving.merge_timer = 0;
        while let Some(n) = moving.sessions.iter().position(|session| session.deadline <= now) {
            if moving.state != WqState::Rdy {
                // What the queue has not received when it fails is lost.
                moving.sessions.clear();
                return Ok(());
            }
            let done = self.deliver_session(rq, strides, &mut moving, n, now);
            self.settle(rqn, rq, &mut moving, done, now)?;
        }
        self.start_merge_timer(rqn, &mut moving);
        Ok(())
    }
}
