//! Taps: copies of the frames that pass a port or a vport, with the reason for those that the card drops.
//!
//! Without a tap the data path pays one relaxed load a frame. A tap is bounded: whoever takes its frames too slowly loses
//! some, and they are counted.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_steering::tables::{Outcome, TableId};
use parking_lot::{Mutex, RwLock};

use crate::card::{Card, FunctionIndex};

/// Taps of a card at a time.
pub const MAX_TAPS: usize = 16;
/// Bytes that wait in a tap, at most.
pub const MAX_WAITING_BYTES: usize = 8 << 20;
/// What a waiting frame costs beside its bytes, so that many short ones are bounded too.
const FRAME_COST: usize = 64;

/// Where a tap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A port: what goes over its wire.
    Port(usize),
    /// A function's vport: what it sends and receives, by the wire or inside the card.
    Vport(FunctionIndex),
}

/// Which way a frame goes, seen from the card's user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It is received.
    Inbound,
    /// It is sent.
    Outbound,
}

/// Why the card drops a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// It was sent while the link was down.
    LinkDown,
    /// It is longer than the port's MTU.
    TooLong,
    /// The function is not initialised.
    NotInitialized,
    /// It has no Ethernet header.
    Malformed,
    /// A flow table entry drops it.
    Rule(Option<TableId>),
    /// No flow table entry wants it: an address or a VLAN that the driver does not listen to.
    NoRule(Option<TableId>),
    /// It visits too many flow tables, or is copied too often.
    TooManyTables,
    /// It is the function's own, and no TIR takes such frames.
    Loopback,
    /// A fault rule loses it.
    Fault,
    /// A flow table entry names a TIR or receive queue that there is not.
    NoQueue,
    /// The receive queue is not in RDY.
    RqNotReady(u32),
    /// No receive WQE is posted: `out_of_buffer`.
    OutOfBuffer(u32),
    /// It is longer than the receive WQE's buffers.
    RqTooShort(u32),
    /// The receive queue failed with it.
    RqError(u32),
    /// Too many frames wait for guest memory that only messages reach.
    Backlog,
    /// Too many frames wait for receive WQEs while the partner is held off.
    PauseOverflow,
    /// It waited too long for a receive WQE while the partner was held off.
    PauseTooLong(u32),
}

impl DropReason {
    /// The reason why the flow tables gave no destination.
    pub(crate) fn of_tables(outcome: &Outcome) -> Self {
        match outcome {
            Outcome { over_budget: true, .. } => Self::TooManyTables,
            Outcome { dropped: 1.., ended_in, .. } => Self::Rule(*ended_in),
            Outcome { ended_in, .. } => Self::NoRule(*ended_in),
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = |f: &mut fmt::Formatter<'_>, what: &str, table: &Option<TableId>| match table {
            Some(table) => write!(f, "{what} (flow table {:#x})", table.0),
            None => f.write_str(what),
        };
        match self {
            Self::LinkDown => f.write_str("the link is down"),
            Self::TooLong => f.write_str("longer than the port's MTU"),
            Self::NotInitialized => f.write_str("the function is not initialised"),
            Self::Malformed => f.write_str("no Ethernet header"),
            Self::Rule(in_table) => table(f, "a steering rule drops it", in_table),
            Self::NoRule(in_table) => table(f, "no steering rule takes it", in_table),
            Self::TooManyTables => f.write_str("too many flow tables or copies"),
            Self::Loopback => f.write_str("the function's own, and no TIR takes such frames"),
            Self::Fault => f.write_str("a fault rule loses it"),
            Self::NoQueue => f.write_str("the steering rule's TIR or receive queue does not exist"),
            Self::RqNotReady(rqn) => write!(f, "RQ {rqn:#x} is not ready"),
            Self::OutOfBuffer(rqn) => write!(f, "RQ {rqn:#x} has no WQE (out_of_buffer)"),
            Self::RqTooShort(rqn) => write!(f, "longer than the WQE of RQ {rqn:#x}"),
            Self::RqError(rqn) => write!(f, "RQ {rqn:#x} failed"),
            Self::Backlog => f.write_str("too many frames wait for guest memory"),
            Self::PauseOverflow => f.write_str("too many frames wait for receive WQEs, though the partner is paused"),
            Self::PauseTooLong(rqn) => write!(f, "RQ {rqn:#x} had no WQE for too long, though the partner is paused"),
        }
    }
}

/// One frame that passed a tap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The card's clock, ns.
    pub time: u64,
    /// Which way it went.
    pub direction: Direction,
    /// Its length in bytes, without FCS.
    pub len: usize,
    /// Its first bytes, as many as the tap keeps.
    pub data: Box<[u8]>,
    /// Why it was dropped, if it was.
    pub reason: Option<DropReason>,
    /// Frames lost in the tap right before this one.
    pub lost: u64,
}

/// Frames of a tap that nobody has taken yet, and what it has counted.
#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Captured>,
    cost: usize,
    /// Frames still wanted.
    left: u64,
    seen: u64,
    lost: u64,
    lost_lately: u64,
}

/// What [`Tap::take`] gives.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Frames, oldest first.
    pub frames: Vec<Captured>,
    /// Frames that passed so far, lost ones included.
    pub seen: u64,
    /// Frames so far that did not fit.
    pub lost: u64,
    /// More frames wait, or may come.
    pub more: bool,
}

/// A tap at one point of the card.
pub struct Tap {
    point: Point,
    snaplen: usize,
    /// Only so many wait: a further one takes the place of the oldest.
    last: Option<usize>,
    waiting: Mutex<Waiting>,
}

impl Tap {
    fn see(&self, direction: Direction, frame: &[u8], time: u64, reason: Option<DropReason>) {
        let kept = &frame[..frame.len().min(self.snaplen)];
        let mut waiting = self.waiting.lock();
        if waiting.left == 0 {
            return;
        }
        waiting.seen += 1;
        while let Some(last) = self.last
            && let Some(oldest) = waiting.frames.front()
            && (waiting.frames.len() >= last || waiting.cost + kept.len() + FRAME_COST > MAX_WAITING_BYTES)
        {
            waiting.cost = waiting.cost.saturating_sub(oldest.data.len() + FRAME_COST);
            waiting.frames.pop_front();
        }
        if waiting.cost + kept.len() + FRAME_COST > MAX_WAITING_BYTES {
            waiting.lost += 1;
            waiting.lost_lately += 1;
            return;
        }
        waiting.left -= 1;
        waiting.cost += kept.len() + FRAME_COST;
        let lost = std::mem::take(&mut waiting.lost_lately);
        waiting.frames.push_back(Captured { time, direction, len: frame.len(), data: kept.into(), reason, lost });
    }

    /// Takes up to `bytes` bytes of frames, at least one frame if any waits.
    pub fn take(&self, bytes: usize) -> Taken {
        let mut waiting = self.waiting.lock();
        let mut frames = Vec::new();
        let mut taken = 0;
        while let Some(frame) = waiting.frames.front() {
            if taken > 0 && taken + frame.data.len() > bytes {
                break;
            }
            taken += frame.data.len() + FRAME_COST;
            frames.extend(waiting.frames.pop_front());
        }
        waiting.cost = waiting.cost.saturating_sub(frames.iter().map(|f| f.data.len() + FRAME_COST).sum());
        let more = waiting.left > 0 || !waiting.frames.is_empty();
        Taken { frames, seen: waiting.seen, lost: waiting.lost, more }
    }

    /// Frames that come from now on do not count and are not kept.
    pub fn close(&self) {
        self.waiting.lock().left = 0;
    }
}

/// The taps of a card.
#[derive(Default)]
pub(crate) struct Taps {
    any: AtomicBool,
    list: RwLock<Vec<Arc<Tap>>>,
}

impl Taps {
    /// A frame passes `point`.
    #[inline]
    pub(crate) fn see(
        &self,
        point: Point,
        direction: Direction,
        frame: &[u8],
        now: u64,
        reason: impl FnOnce() -> Option<DropReason>,
    ) {
        if self.any.load(Relaxed) {
            self.copy(point, direction, frame, now, reason());
        }
    }

    #[cold]
    fn copy(&self, point: Point, direction: Direction, frame: &[u8], now: u64, reason: Option<DropReason>) {
        for tap in self.list.read().iter().filter(|tap| tap.point == point) {
            tap.see(direction, frame, now, reason);
        }
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    /// Taps `point` (gate shared): the first `snaplen` bytes of each frame are kept, of `count` frames if that is given;
    /// of those that nobody has taken, only the `last` ones (0 counts as 1). `None` if there are [`MAX_TAPS`] already.
    pub fn tap(&self, point: Point, snaplen: usize, count: Option<u64>, last: Option<usize>) -> Option<Arc<Tap>> {
        let waiting = Waiting { left: count.unwrap_or(u64::MAX), ..Waiting::default() };
        let tap = Arc::new(Tap { point, snaplen, last, waiting: Mutex::new(waiting) });
        let mut list = self.taps.list.write();
        if list.len() >= MAX_TAPS {
            return None;
        }
        list.push(Arc::clone(&tap));
        self.taps.any.store(true, Relaxed);
        Some(tap)
    }

    /// Takes a tap away (gate shared).
    pub fn untap(&self, tap: &Arc<Tap>) {
        let mut list = self.taps.list.write();
        list.retain(|other| !Arc::ptr_eq(other, tap));
        self.taps.any.store(!list.is_empty(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tap(snaplen: usize, left: u64) -> Tap {
        let waiting = Waiting { left, ..Waiting::default() };
        Tap { point: Point::Port(0), snaplen, last: None, waiting: Mutex::new(waiting) }
    }

    #[test]
    fn the_last_frames_push_the_others_out_whatever_their_size() {
        let tap = Tap { last: Some(3), ..tap(usize::MAX, u64::MAX) };
        for n in 0..10 {
            tap.see(Direction::Inbound, &[n; 9], u64::from(n), None);
        }
        let taken = tap.take(1 << 20);
        assert_eq!(taken.frames.iter().map(|frame| frame.time).collect::<Vec<_>>(), [7, 8, 9]);
        assert_eq!((taken.seen, taken.lost, taken.frames[0].lost), (10, 0, 0));
        let huge = vec![0; MAX_WAITING_BYTES / 2];
        for time in 0..3 {
            tap.see(Direction::Inbound, &huge, time, None);
        }
        let taken = tap.take(usize::MAX);
        assert_eq!(taken.frames.iter().map(|frame| frame.time).collect::<Vec<_>>(), [2]);
        assert_eq!((taken.seen, tap.waiting.lock().cost), (13, 0));
    }

    #[test]
    fn frames_are_cut_and_counted() {
        let tap = tap(4, 2);
        for n in 0..3 {
            tap.see(Direction::Inbound, &[n; 6], u64::from(n), Some(DropReason::TooLong));
        }
        let taken = tap.take(1 << 20);
        assert_eq!((taken.frames.len(), taken.seen, taken.lost, taken.more), (2, 2, 0, false));
        assert_eq!((taken.frames[1].len, &*taken.frames[1].data, taken.frames[1].time), (6, &[1; 4][..], 1));
    }

    #[test]
    fn what_nobody_takes_is_lost_and_that_is_told() {
        let tap = tap(usize::MAX, u64::MAX);
        let frame = vec![7; 9000];
        for _ in 0..2000 {
            tap.see(Direction::Outbound, &frame, 0, None);
        }
        let fit = (MAX_WAITING_BYTES / (frame.len() + FRAME_COST)) as u64;
        let first = tap.take(1);
        assert_eq!((first.frames.len(), first.seen, first.lost), (1, 2000, 2000 - fit));
        tap.see(Direction::Outbound, &frame, 0, None);
        let mut all = Vec::new();
        loop {
            let taken = tap.take(100_000);
            if taken.frames.is_empty() {
                break;
            }
            assert!(taken.frames.len() <= 11);
            all.extend(taken.frames);
        }
        assert_eq!(all.len() as u64, fit);
        assert_eq!(all.iter().map(|f| f.lost).sum::<u64>(), 2000 - fit);
        tap.close();
        tap.see(Direction::Outbound, &frame, 0, None);
        assert!(!tap.take(1).more);
    }

    #[test]
    fn short_frames_cost_too() {
        let tap = tap(usize::MAX, u64::MAX);
        for _ in 0..1_000_000 {
            tap.see(Direction::Inbound, &[], 0, None);
        }
        assert!(tap.waiting.lock().frames.len() <= MAX_WAITING_BYTES / FRAME_COST);
    }
}
