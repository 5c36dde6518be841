//! One function, as the workers see it.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};

use mlx5emu_card::limiter::Limiter;
use mlx5emu_card::{Front, Garbage, Uplink};
use parking_lot::Mutex;

use super::messenger::Messenger;
use crate::space::Outside;
use crate::step::Current;

/// Resets whose remains may wait for the home worker; those of more are dropped by whoever resets.
const MAX_GARBAGE: usize = 4;
/// No deadline.
const NEVER: u64 = u64::MAX;

/// Bits of [`Sharing`].
const SHARING: u64 = 3;

/// Whether the client shares the memory that it gave (`share=on`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Sharing {
    /// Not looked at yet: no command came since the client connected or changed its memory.
    Unchecked = 0,
    /// It does.
    Shared = 1,
    /// It does not: the function refuses to work.
    Private = 2,
    /// The client did not answer.
    Unknown = 3,
}

impl Sharing {
    /// The name that inspection shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Shared => "shared",
            Self::Private => "private",
            Self::Unknown => "unknown",
        }
    }

    const fn of(memory: u64) -> Self {
        match memory & SHARING {
            1 => Self::Shared,
            2 => Self::Private,
            3 => Self::Unknown,
            _ => Self::Unchecked,
        }
    }
}

/// Why a function does nothing until it is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stopped {
    /// It works.
    No = 0,
    /// A step panicked.
    Bug = 1,
    /// Its client does not share the guest's memory.
    NotShared = 2,
    /// A step wanted more and more memory by message and never came to an end.
    Starved = 3,
}

impl Stopped {
    /// The name that inspection shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Bug => "bug",
            Self::NotShared => "memory-not-shared",
            Self::Starved => "starved",
        }
    }

    const fn of(raw: u8) -> Self {
        match raw {
            1 => Self::Bug,
            2 => Self::NotShared,
            3 => Self::Starved,
            _ => Self::No,
        }
    }
}

/// What a function has cost so far.
#[derive(Default)]
pub struct Load {
    /// Turns that a worker gave it.
    pub turns: AtomicU64,
    /// Turns that its I/O thread took while the worker slept.
    pub helped: AtomicU64,
    /// Commands executed.
    pub commands: AtomicU64,
    /// Bursts served.
    pub bursts: AtomicU64,
    /// Times that memory was fetched by message.
    pub fetches: AtomicU64,
    /// Times that writes or interrupts were sent by message.
    pub flushes: AtomicU64,
    /// Panics caught.
    pub panics: AtomicU64,
}

/// One function of the card.
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) front: Arc<Front>,
    pub(super) outside: Arc<dyn Outside>,
    /// The wire to the outside of its port.
    pub(super) uplink: Option<Arc<dyn Uplink>>,
    pub(super) messenger: Messenger,
    /// The worker that serves it, always the same one.
    pub(super) home: usize,
    /// Held by whoever gives it a turn.
    pub(super) turn: Mutex<()>,
    /// Something may be there to do.
    ready: AtomicBool,
    /// A messenger works for it; it is left alone until that is done.
    waiting: AtomicBool,
    /// Why it does nothing (low eight bits), and above them the life in which that is so.
    stopped: AtomicU64,
    /// What is known of the memory (low two bits), and above it the number of times that the memory changed: a comparison
    /// with an earlier one is not taken for this one's.
    memory: AtomicU64,
    deadline: AtomicU64,
    /// Fetches since something was last completed.
    pub(super) fetches_in_a_row: AtomicU64,
    pub(super) current: Mutex<Current>,
    garbage: Mutex<Vec<Garbage>>,
    pub(super) load: Load,
    pub(super) log: Limiter,
    #[cfg(test)]
    pub(super) trap: AtomicBool,
}

impl Slot {
    pub(super) fn new(name: &str, front: Arc<Front>, outside: Arc<dyn Outside>, home: usize) -> Self {
        Self {
            name: name.to_string(),
            front,
            outside,
            uplink: None,
            messenger: Messenger::new(name),
            home,
            turn: Mutex::default(),
            ready: AtomicBool::new(true),
            waiting: AtomicBool::new(false),
            stopped: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            deadline: AtomicU64::new(NEVER),
            fetches_in_a_row: AtomicU64::new(0),
            current: Mutex::default(),
            garbage: Mutex::default(),
            load: Load::default(),
            log: Limiter::default(),
            #[cfg(test)]
            trap: AtomicBool::new(false),
        }
    }

    pub(super) fn set_ready(&self) {
        self.ready.store(true, SeqCst);
    }

    /// Whether a worker has something to do here at `now`.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let due = self.ready.load(SeqCst) || self.deadline.load(Acquire) <= now;
        due && !self.waiting.load(SeqCst)
    }

    /// Takes the function for a turn. Whatever is marked from here on makes it ready again.
    pub(super) fn take(&self) {
        self.ready.store(false, SeqCst);
        self.deadline.store(NEVER, Release);
    }

    /// When it wants to be looked at again though nobody says so.
    pub(super) fn deadline(&self) -> Option<u64> {
        let at = self.deadline.load(Acquire);
        (at != NEVER && !self.waiting.load(SeqCst)).then_some(at)
    }

    /// Whether it would look at a deadline at `at` too late, or not at all, unless it is told.
    pub(super) fn misses(&self, at: u64) -> bool {
        let sleeps = !self.waiting.load(SeqCst) && self.stopped() == Stopped::No;
        sleeps && self.deadline.load(Acquire) > at
    }

    pub(super) fn set_deadline(&self, at: Option<u64>) {
        self.deadline.store(at.unwrap_or(NEVER), Release);
    }

    pub(super) fn set_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, SeqCst);
    }

    /// Why it does nothing in this life.
    pub(super) fn stopped(&self) -> Stopped {
        let stopped = self.stopped.load(Acquire);
        if stopped >> 8 == self.generation() { Stopped::of(stopped as u8) } else { Stopped::No }
    }

    /// It does nothing more in this life, which stands still while this is called.
    pub(super) fn stop(&self, why: Stopped) {
        self.stopped.store(self.generation() << 8 | why as u64, Release);
    }

    pub(super) fn sharing(&self) -> Sharing {
        Sharing::of(self.memory.load(Acquire))
    }

    /// Which memory it is; see [`Slot::set_sharing`].
    pub(super) fn memory(&self) -> u64 {
        self.memory.load(Acquire) & !SHARING
    }

    /// Takes note of a comparison that was begun with `memory`. False: it has changed since, the outcome means nothing.
    pub(super) fn set_sharing(&self, memory: u64, sharing: Sharing) -> bool {
        let unchecked = memory | Sharing::Unchecked as u64;
        self.memory.compare_exchange(unchecked, memory | sharing as u64, AcqRel, Acquire).is_ok()
    }

    /// The memory is another one from now on, to be looked at anew.
    pub(super) fn memory_changed(&self) {
        let next = |memory: u64| Some((memory & !SHARING).wrapping_add(SHARING + 1));
        // The closure always gives a value.
        let _ = self.memory.fetch_update(AcqRel, Acquire, next);
    }

    /// Which life of the function it is. It stands still while the gate is held.
    pub(super) fn generation(&self) -> u64 {
        self.front.life()
    }

    /// After a reset, in the same exclusive hold: what was known of the last life is forgotten.
    pub(super) fn revive(&self) {
        self.memory_changed();
        self.fetches_in_a_row.store(0, Relaxed);
    }

    /// Leaves the remains of a reset to the home worker.
    pub(super) fn discard(&self, garbage: Garbage) {
        let mut heap = self.garbage.lock();
        if heap.len() < MAX_GARBAGE {
            heap.push(garbage);
        } else {
            drop(heap);
            drop(garbage);
        }
    }

    pub(super) fn take_garbage(&self) -> Vec<Garbage> {
        std::mem::take(&mut *self.garbage.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Space;

    #[test]
    fn a_comparison_with_an_earlier_memory_means_nothing() {
        let space = mlx5emu_pci_model::testing::TestSpace::new(0);
        let slot = Slot::new("pf0", Arc::new(Front::new((1, 2, 3))), space.outside(), 0);
        let first = slot.memory();
        slot.memory_changed();
        assert!(!slot.set_sharing(first, Sharing::Private));
        assert_eq!(slot.sharing(), Sharing::Unchecked);
        assert!(slot.set_sharing(slot.memory(), Sharing::Shared));
        assert_eq!(slot.sharing(), Sharing::Shared);
        assert!(!slot.set_sharing(slot.memory(), Sharing::Private), "one comparison a memory");
        slot.memory_changed();
        assert_eq!(slot.sharing(), Sharing::Unchecked);
    }
}
