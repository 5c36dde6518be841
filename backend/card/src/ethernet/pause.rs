//! Pause (IEEE 802.3, annex 31B): a port whose receive queues have no buffers holds its partner off instead of dropping.
//!
//! Frames that come meanwhile wait in the port that they came to, in order, bounded in bytes and in time. Inside the card
//! the partner looks whether any wait; over a wire to the outside, pause frames say so. A port that is held off serves no
//! send queue; what it has already taken still arrives.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use mlx5emu_pci_model::{DmaError, DmaSpace};
use mlx5emu_steering::packet::ethernet;
use parking_lot::Mutex;

use super::receive::{Fate, Fates, Late};
use crate::capture::Direction::{Inbound, Outbound};
use crate::capture::{DropReason, Point};
use crate::card::{Card, FunctionIndex, NeedsFetch};

/// Bytes that wait at most: what all workers may have begun to send when the partner is held off, and as much again.
const MAX_WAITING_BYTES: usize = 4 << 20;
/// What a waiting frame costs beside its bytes.
const FRAME_COST: usize = 128;
/// How long a frame waits at most, ns: a receiver that does not post buffers must not stop its partner for ever.
const MAX_WAIT: u64 = 1_000_000_000;
/// How often the port looks for buffers when nothing else makes it look, ns: posting them rings no doorbell.
const RETRY: u64 = 200_000;
/// How often a port that is held off looks whether it still is, when nobody says so, ns.
const RECHECK: u64 = 1_000_000;
/// Frames that are delivered in one go.
const MAX_RETRIED: usize = 512;

/// The destination of MAC control frames, and their Ethernet type.
const CONTROL_ADDRESS: [u8; 6] = [0x01, 0x80, 0xc2, 0x00, 0x00, 0x01];
const CONTROL_TYPE: [u8; 2] = [0x88, 0x08];
/// The opcode of PAUSE, and the longest time that it can name, in quanta of 512 bit times.
const PAUSE: [u8; 2] = [0x00, 0x01];
const MAX_QUANTA: u16 = 0xffff;
/// Bit times of a quantum.
const QUANTUM: u64 = 512;
/// The shortest frame, without FCS.
const MIN_FRAME: usize = 60;

/// What a port does about pause, and what it counts.
#[derive(Default)]
pub struct Pause {
    /// It may hold its partner off (`pptx` of PFCC).
    pub tx: bool,
    /// It lets itself be held off (`pprx` of PFCC).
    pub rx: bool,
    waiting: Mutex<Waiting>,
    /// Frames that wait, to be looked at without the lock.
    count: AtomicUsize,
    retry_at: AtomicU64,
    /// Until when the other end of a wire to the outside holds this port off.
    until: AtomicU64,
    /// The port was held off when it was to send, and looks again then.
    off: AtomicBool,
    recheck_at: AtomicU64,
    /// What it counts.
    pub counters: PauseCounters,
}

/// What a port counts of pause.
#[derive(Debug, Default)]
pub struct PauseCounters {
    /// Pause frames sent.
    pub sent: AtomicU64,
    /// Pause frames received.
    pub received: AtomicU64,
    /// For how long this port held its partner off, ns.
    pub sent_ns: AtomicU64,
    /// For how long this port was held off, ns.
    pub received_ns: AtomicU64,
    /// How often it was held off.
    pub transitions: AtomicU64,
    /// MAC control frames of another opcode.
    pub unsupported: AtomicU64,
    /// Frames that waited too long, or did not fit.
    pub dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<(u64, Held)>,
    cost: usize,
    /// Since when the partner is held off.
    since: u64,
    /// When the partner was told last.
    told: u64,
}

/// What waits.
enum Held {
    /// A frame that flow tables have not seen.
    Frame(Box<[u8]>),
    /// A frame that is on its way to a receive queue.
    Late(FunctionIndex, Box<Late>),
}

impl Held {
    fn cost(&self) -> usize {
        FRAME_COST
            + match self {
                Self::Frame(frame) => frame.len(),
                Self::Late(_, late) => late.frame.len(),
            }
    }
}

impl Waiting {
    fn push(&mut self, now: u64, held: Held) {
        self.cost += held.cost();
        self.frames.push_back((now, held));
    }

    fn pop(&mut self) {
        if let Some((_, held)) = self.frames.pop_front() {
            self.cost = self.cost.saturating_sub(held.cost());
        }
    }

    /// Puts what became of the first frame in its place.
    fn replace_first(&mut self, came: u64, by: Vec<(FunctionIndex, Late)>) {
        self.pop();
        for (f, late) in by.into_iter().rev() {
            let held = Held::Late(f, Box::new(late));
            self.cost += held.cost();
            self.frames.push_front((came, held));
        }
    }
}

impl Pause {
    /// Whether frames wait for buffers here.
    pub(crate) fn holds(&self) -> bool {
        self.count.load(Acquire) > 0
    }

    /// When frames that wait are to be looked at, if any do.
    pub(crate) fn retry_deadline(&self) -> Option<u64> {
        self.holds().then(|| self.retry_at.load(Acquire))
    }

    /// When it is to be looked at whether the port is still held off, if it was when it was to send.
    pub(crate) fn recheck_deadline(&self) -> Option<u64> {
        self.off.load(Acquire).then(|| self.recheck_at.load(Acquire))
    }

    /// Frames and bytes that wait.
    pub(crate) fn held(&self) -> (usize, usize) {
        let waiting = self.waiting.lock();
        (waiting.frames.len(), waiting.cost)
    }

    /// Nothing waits any more (gate exclusive): the link is down.
    pub(crate) fn forget(&mut self) {
        let waiting = self.waiting.get_mut();
        self.counters.dropped.fetch_add(waiting.frames.len() as u64, Relaxed);
        *waiting = Waiting::default();
        *self.count.get_mut() = 0;
        *self.until.get_mut() = 0;
        *self.off.get_mut() = false;
    }

    /// What was on its way to `f` is gone (gate exclusive): that is reset.
    pub(crate) fn forget_function(&mut self, f: FunctionIndex) {
        let waiting = self.waiting.get_mut();
        waiting.frames.retain(|(_, held)| !matches!(held, Held::Late(to, _) if *to == f));
        waiting.cost = waiting.frames.iter().map(|(_, held)| held.cost()).sum();
        *self.count.get_mut() = waiting.frames.len();
    }
}

/// Whether a frame is for the MAC and not for whoever is behind it.
pub(super) fn is_mac_control(frame: &[u8]) -> bool {
    frame.get(ethernet::ADDRESSES..ethernet::LEN) == Some(&CONTROL_TYPE)
}

/// A pause frame.
fn pause_frame(source: [u8; 6], quanta: u16) -> [u8; MIN_FRAME] {
    let mut frame = [0; MIN_FRAME];
    let parts = [&CONTROL_ADDRESS[..], &source, &CONTROL_TYPE, &PAUSE, &quanta.to_be_bytes()].concat();
    frame[..parts.len()].copy_from_slice(&parts);
    frame
}

impl<M: DmaSpace + 'static> Card<M> {
    /// Whether `port` may hold off whoever is at the other end, instead of dropping.
    fn may_hold(&self, port: usize) -> bool {
        let Some(p) = self.ports.get(port).filter(|p| p.pause.tx && p.link) else { return false };
        match p.peer {
            Some(peer) => self.ports.get(peer).is_some_and(|peer| peer.pause.rx),
            // Whether that heeds pause frames does not show.
            None => p.uplink.is_some(),
        }
    }

    /// Frames have come to `port` and are not too long: they are received, or wait behind those that came before.
    pub(super) fn receive_or_hold(&self, port: usize, frames: &[&[u8]], now: u64, wake: &mut Vec<FunctionIndex>) {
        let Some(p) = self.ports.get(port) else { return };
        if p.pause.holds() || self.may_hold(port) {
            // Each may be the one behind which the others have to wait.
            for frame in frames {
                let dropped = self.receive_or_hold_one(port, frame, now, wake);
                self.taps.see(Point::Port(port), Inbound, frame, now, || dropped);
            }
            return;
        }
        let mut fates = Fates::new();
        self.let_in(port, frames, now, None, wake, &mut fates);
        for (frame, fate) in frames.iter().zip(&fates) {
            self.taps.see(Point::Port(port), Inbound, frame, now, || fate.reason());
        }
    }

    /// Says why the frame is dropped, if it is.
    fn receive_or_hold_one(
        &self,
        port: usize,
        frame: &[u8],
        now: u64,
        wake: &mut Vec<FunctionIndex>,
    ) -> Option<DropReason> {
        let p = self.ports.get(port)?;
        if p.pause.holds() {
            // Memory that must be fetched first is the business of whoever serves the function that it belongs to.
            let _ = self.retry_held(port, now, wake);
            if p.pause.holds() {
                return self.put_on_hold(port, [Held::Frame(frame.into())], now);
            }
        }
        let mut late = Vec::new();
        let patient = self.may_hold(port);
        let dropped = self.receive_now(port, frame, now, patient.then_some(&mut late), wake);
        match late.is_empty() {
            true => dropped,
            false => self.put_on_hold(port, late.into_iter().map(|(f, late)| Held::Late(f, Box::new(late))), now),
        }
    }

    /// Gives a frame to the functions of `port`. Dropped is what no function takes; what one puts aside, it may still drop
    /// later. With `late`, what finds no buffers goes there.
    fn receive_now(
        &self,
        port: usize,
        frame: &[u8],
        now: u64,
        late: Option<&mut Vec<(FunctionIndex, Late)>>,
        wake: &mut Vec<FunctionIndex>,
    ) -> Option<DropReason> {
        let mut fates = Fates::new();
        self.let_in(port, &[frame], now, late, wake, &mut fates);
        fates.first().and_then(|fate| fate.reason())
    }

    fn put_on_hold(&self, port: usize, frames: impl IntoIterator<Item = Held>, now: u64) -> Option<DropReason> {
        let p = &self.ports.get(port)?.pause;
        let mut waiting = p.waiting.lock();
        let first = waiting.frames.is_empty();
        let mut dropped = None;
        for held in frames {
            if waiting.cost + held.cost() > MAX_WAITING_BYTES {
                p.counters.dropped.fetch_add(1, Relaxed);
                dropped = Some(DropReason::PauseOverflow);
            } else {
                waiting.push(now, held);
            }
        }
        p.count.store(waiting.frames.len(), Release);
        if first && !waiting.frames.is_empty() {
            (waiting.since, waiting.told) = (now, now);
            p.retry_at.store(now + RETRY, Release);
            drop(waiting);
            self.tell(port, MAX_QUANTA, now);
        }
        dropped
    }

    /// Tells the other end that it is to hold off, or (0 quanta) that it need not any more.
    fn tell(&self, port: usize, quanta: u16, now: u64) {
        let Some(p) = self.ports.get(port) else { return };
        p.pause.counters.sent.fetch_add(1, Relaxed);
        let frame = pause_frame(p.mac, quanta);
        self.taps.see(Point::Port(port), Outbound, &frame, now, || None);
        if let Some(uplink) = &p.uplink {
            uplink.send(&frame);
        }
        if let Some(peer) = p.peer.and_then(|peer| Some((peer, self.ports.get(peer)?))) {
            peer.1.pause.counters.received.fetch_add(1, Relaxed);
            self.taps.see(Point::Port(peer.0), Inbound, &frame, now, || None);
        }
    }

    /// Delivers what waits at `port`, as far as there are buffers now. `Err`: memory must be fetched first.
    pub(crate) fn retry_held(&self, port: usize, now: u64, wake: &mut Vec<FunctionIndex>) -> Result<(), NeedsFetch> {
        let Some(p) = self.ports.get(port).filter(|p| p.pause.holds()) else { return Ok(()) };
        let mut waiting = p.pause.waiting.lock();
        let may_hold = self.may_hold(port);
        let mut done = Ok(());
        p.pause.retry_at.store(now + RETRY, Release);
        for n in 0.. {
            if n == MAX_RETRIED {
                p.pause.retry_at.store(now, Release);
                break;
            }
            match self.retry_first(port, &mut waiting, now, may_hold, wake) {
                Ok(true) => {}
                Ok(false) => break,
                Err(needs) => {
                    done = Err(needs);
                    break;
                }
            }
        }
        p.pause.count.store(waiting.frames.len(), Release);
        let told = waiting.told;
        if waiting.frames.is_empty() {
            let since = std::mem::take(&mut waiting.since);
            drop(waiting);
            self.let_go_on(port, now.saturating_sub(since), now, wake);
        } else if p.uplink.is_some() && now >= told + RETRY {
            waiting.told = now;
            drop(waiting);
            self.tell(port, MAX_QUANTA, now);
        }
        done
    }

    /// Delivers the first of what waits; false if that still finds no buffers, or there is nothing.
    fn retry_first(
        &self,
        port: usize,
        waiting: &mut Waiting,
        now: u64,
        may_hold: bool,
        wake: &mut Vec<FunctionIndex>,
    ) -> Result<bool, NeedsFetch> {
        let Some((came, held)) = waiting.frames.front() else { return Ok(false) };
        let (came, patient) = (*came, may_hold && now < came.saturating_add(MAX_WAIT));
        match held {
            Held::Frame(frame) => {
                let mut late = Vec::new();
                let dropped = self.receive_now(port, frame, now, patient.then_some(&mut late), wake);
                self.count_dropped(port, dropped.is_some());
                let done = late.is_empty();
                waiting.replace_first(came, late);
                Ok(done)
            }
            Held::Late(f, late) => {
                let fate = match self.functions.get(*f) {
                    Some(function) => function.receive_late(late, now, patient),
                    None => Ok(Fate::Taken),
                };
                if self.functions.get(*f).is_some_and(|function| function.take_failure()) {
                    wake.push(*f);
                }
                match fate {
                    Ok(Fate::Late) => return Ok(false),
                    Ok(fate) => self.count_dropped(port, matches!(fate, Fate::Dropped(_))),
                    Err(DmaError::Fetch { addr, len }) => return Err(NeedsFetch { function: *f, addr, len }),
                    Err(_) => {}
                }
                waiting.pop();
                Ok(true)
            }
        }
    }

    fn count_dropped(&self, port: usize, dropped: bool) {
        if let Some(p) = self.ports.get(port) {
            p.pause.counters.dropped.fetch_add(u64::from(dropped), Relaxed);
        }
    }

    /// Nothing waits at `port` any more, after `took` ns: the other end goes on.
    fn let_go_on(&self, port: usize, took: u64, now: u64, wake: &mut Vec<FunctionIndex>) {
        self.tell(port, 0, now);
        let Some(p) = self.ports.get(port) else { return };
        p.pause.counters.sent_ns.fetch_add(took, Relaxed);
        if let Some((n, peer)) = p.peer.and_then(|n| Some((n, self.ports.get(n)?))) {
            if peer.pause.rx {
                peer.pause.counters.received_ns.fetch_add(took, Relaxed);
                peer.pause.counters.transitions.fetch_add(1, Relaxed);
            }
            wake.extend(self.functions_on(n));
        }
    }

    /// A MAC control frame has come.
    pub(super) fn control_frame_came(&self, port: usize, frame: &[u8], now: u64, wake: &mut Vec<FunctionIndex>) {
        let Some(p) = self.ports.get(port) else { return };
        let words: Vec<u16> =
            frame.get(ethernet::LEN..).unwrap_or(&[]).as_chunks().0.iter().map(|w| u16::from_be_bytes(*w)).collect();
        let [opcode, quanta, ..] = words[..] else { return };
        if opcode.to_be_bytes() != PAUSE {
            p.pause.counters.unsupported.fetch_add(1, Relaxed);
            return;
        }
        p.pause.counters.received.fetch_add(1, Relaxed);
        if !p.pause.rx {
            return;
        }
        let mbps = self.link_speed(port).max(1);
        let time = u64::from(quanta) * QUANTUM * 1000 / u64::from(mbps);
        let before = p.pause.until.swap(now + time, AcqRel);
        p.pause.counters.transitions.fetch_add(u64::from(quanta > 0 && before <= now), Relaxed);
        // Time that was counted ahead and did not come to pass is taken back.
        p.pause.counters.received_ns.fetch_add(time, Relaxed);
        p.pause.counters.received_ns.fetch_sub(before.saturating_sub(now), Relaxed);
        wake.extend(self.functions_on(port));
    }

    /// Whether `f`'s port is held off; if so, it looks again later.
    pub(crate) fn is_paused(&self, f: FunctionIndex, now: u64) -> bool {
        let Some(p) = self.functions.get(f).and_then(|f| self.ports.get(f.port)) else { return false };
        if !p.pause.rx && !p.pause.off.load(Relaxed) {
            return false;
        }
        let until = p.pause.until.load(Acquire);
        let inside =
            p.peer.and_then(|peer| self.ports.get(peer)).is_some_and(|peer| peer.pause.tx && peer.pause.holds());
        let off = p.pause.rx && p.link && (inside || now < until);
        if off {
            let at = if inside { now + RECHECK } else { until };
            p.pause.recheck_at.store(at, Release);
        }
        p.pause.off.store(off, Release);
        off
    }

    /// Whether `f`'s port was held off when it was last to send.
    pub fn was_paused(&self, f: FunctionIndex) -> bool {
        self.functions.get(f).and_then(|f| self.ports.get(f.port)).is_some_and(|p| p.pause.off.load(Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_frame_is_one() {
        let frame = pause_frame([2, 0, 0, 0, 0, 1], 0x1234);
        assert!(is_mac_control(&frame));
        assert_eq!(frame[14..18], [0, 1, 0x12, 0x34]);
        assert_eq!(frame[..6], [1, 0x80, 0xc2, 0, 0, 1]);
    }

    #[test]
    fn what_waits_is_counted_in_bytes() {
        let mut waiting = Waiting::default();
        waiting.push(1, Held::Frame(vec![0; 100].into()));
        waiting.push(2, Held::Frame(vec![0; 10].into()));
        assert_eq!(waiting.cost, 110 + 2 * FRAME_COST);
        waiting.pop();
        waiting.replace_first(2, Vec::new());
        assert_eq!((waiting.cost, waiting.frames.len()), (0, 0));
    }
}
