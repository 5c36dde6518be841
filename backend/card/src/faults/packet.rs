//! Rules for frames: those that are lost, late or come twice, on the wire of a port or at a vport.

use std::sync::atomic::{AtomicBool, Ordering::*};

use mlx5emu_config::fault::FaultKind;
use mlx5emu_pci_model::DmaSpace;
use mlx5emu_steering::packet::ethernet;
use parking_lot::Mutex;

use super::{Faults, What};
use crate::capture::{Direction, DropReason, Point};
use crate::card::{Card, FunctionIndex};
use crate::ethernet::loopback::{Origin, Sender};

/// Frames of a card that are late, at most; further ones are lost.
const MAX_DELAYED: usize = 1024;

/// What a rule looks for in a frame.
#[derive(Debug, Default)]
pub(crate) struct PacketMatch {
    /// It leaves the card's user, else it comes to it.
    pub(super) out: Option<bool>,
    pub(super) ethertype: Option<u16>,
    pub(super) min_len: usize,
}

/// What a rule does with a frame.
#[derive(Debug, Default)]
pub(crate) struct PacketAct {
    pub(super) lost: bool,
    pub(super) twice: bool,
    pub(super) delay: Option<u64>,
}

/// Where a frame is, and where it goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// A port sends it.
    ToWire(usize),
    /// It comes to a port.
    FromWire(usize),
    /// A function sends it.
    FromVport(FunctionIndex, Sender),
    /// It comes to a function.
    ToVport(FunctionIndex, Origin),
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruled {
    /// It goes on, so many times.
    Goes(u8),
    /// It is lost.
    Lost,
    /// It goes on later.
    Later,
}

#[derive(Debug)]
struct Delayed {
    due: u64,
    way: Way,
    frame: Box<[u8]>,
    times: u8,
    /// Who sends it on its way, and in which life.
    by: FunctionIndex,
    generation: u64,
}

/// Frames that are late.
#[derive(Debug, Default)]
pub(crate) struct DelayedFrames {
    any: AtomicBool,
    list: Mutex<Vec<Delayed>>,
}

impl DelayedFrames {
    fn deadline(&self, f: FunctionIndex) -> Option<u64> {
        if !self.any.load(Acquire) {
            return None;
        }
        self.list.lock().iter().filter(|delayed| delayed.by == f).map(|delayed| delayed.due).min()
    }

    /// Says whether there was room.
    fn push(&self, delayed: Delayed) -> bool {
        let mut list = self.list.lock();
        let room = list.len() < MAX_DELAYED;
        if room {
            list.push(delayed);
            self.any.store(true, Release);
        }
        room
    }

    /// Those of `f` that are due, in order.
    fn take(&self, f: FunctionIndex, now: u64) -> Vec<Delayed> {
        if !self.any.load(Acquire) {
            return Vec::new();
        }
        let mut list = self.list.lock();
        let all = std::mem::take(&mut *list);
        let (mut due, stay): (Vec<_>, Vec<_>) = all.into_iter().partition(|d| d.by == f && d.due <= now);
        *list = stay;
        self.any.store(!list.is_empty(), Release);
        due.sort_by_key(|delayed| delayed.due);
        due
    }
}

impl PacketMatch {
    fn fits(&self, out: bool, frame: &[u8]) -> bool {
        let ethertype = || frame.get(ethernet::ADDRESSES..ethernet::LEN).map(|t| u16::from_be_bytes([t[0], t[1]]));
        self.out.is_none_or(|wanted| wanted == out)
            && frame.len() >= self.min_len
            && (self.ethertype.is_none() || self.ethertype == ethertype())
    }
}

impl Faults {
    /// The number under which port `port` counts.
    pub(super) fn place_of_port(&self, port: usize) -> usize {
        self.functions.len() + port
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    /// Whether rules are to be asked about frames.
    #[inline]
    pub(crate) fn rules_on_frames(&self) -> bool {
        self.faults.armed(FaultKind::Packet)
    }

    /// What rules leave of frames that are on their way; `None` without rules.
    #[inline]
    pub(crate) fn by_rules<'a>(&self, way: Way, frames: &[&'a [u8]], now: u64) -> Option<Vec<&'a [u8]>> {
        self.rules_on_frames().then(|| self.what_rules_leave(way, frames, now))
    }

    #[cold]
    fn what_rules_leave<'a>(&self, way: Way, frames: &[&'a [u8]], now: u64) -> Vec<&'a [u8]> {
        let times = |frame: &[u8]| match self.rule_on_frame(way, frame, now) {
            Ruled::Goes(times) => usize::from(times),
            Ruled::Lost | Ruled::Later => 0,
        };
        frames.iter().flat_map(|frame| std::iter::repeat_n(*frame, times(frame))).collect()
    }

    /// What rules make of a frame that is on its way.
    pub(crate) fn rule_on_frame(&self, way: Way, frame: &[u8], now: u64) -> Ruled {
        let (place, point, out) = match way {
            Way::ToWire(port) => (self.faults.place_of_port(port), Point::Port(port), true),
            Way::FromWire(port) => (self.faults.place_of_port(port), Point::Port(port), false),
            Way::FromVport(f, _) => (f, Point::Vport(f), true),
            Way::ToVport(f, _) => (f, Point::Vport(f), false),
        };
        let fits = |what: &What| if let What::Packet(wanted, _) = what { wanted.fits(out, frame) } else { false };
        let rule = self.faults.ask(FaultKind::Packet, place, fits);
        let Some(What::Packet(_, act)) = rule.as_ref().map(|rule| &rule.what) else { return Ruled::Goes(1) };
        let times = if act.twice { 2 } else { 1 };
        let ruled = match act.delay {
            _ if act.lost => Ruled::Lost,
            None => Ruled::Goes(times),
            Some(delay) => self.delay(way, frame, times, now.saturating_add(delay)),
        };
        if ruled == Ruled::Lost {
            let direction = if out { Direction::Outbound } else { Direction::Inbound };
            self.taps.see(point, direction, frame, now, || Some(DropReason::Fault));
        }
        ruled
    }

    fn delay(&self, way: Way, frame: &[u8], times: u8, due: u64) -> Ruled {
        let by = match way {
            Way::ToWire(port) | Way::FromWire(port) => self.porter(port),
            Way::FromVport(f, _) | Way::ToVport(f, _) => Some(f),
        };
        let Some(by) = by else { return Ruled::Lost };
        let delayed = Delayed { due, way, frame: frame.into(), times, by, generation: self.generation(by) };
        if self.delayed.push(delayed) { Ruled::Later } else { Ruled::Lost }
    }

    /// When [`Card::run_delayed_frames`] has something to do for `f`.
    pub(crate) fn delay_deadline(&self, f: FunctionIndex) -> Option<u64> {
        self.delayed.deadline(f)
    }

    /// Frames of `f` and of its port that were late go on.
    pub(crate) fn run_delayed_frames(&self, f: FunctionIndex, now: u64, wake: &mut Vec<FunctionIndex>) {
        for late in self.delayed.take(f, now) {
            // What was on its way when the function was reset is gone with it.
            if late.generation != self.generation(f) {
                continue;
            }
            for _ in 0..late.times {
                self.go_on(late.way, &late.frame, now, wake);
            }
        }
    }
}
