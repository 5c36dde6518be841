//! The executor of the product: a few workers, a home for each function, parked when idle.
//!
//! A worker takes its functions in turn. In one turn a function gets its resumed command, its next command, its timers
//! and one burst of its queues; then the next function has its turn, so that two that flood each other share the worker.
//! While the worker sleeps, the thread that reads the function's socket, or the wire's, takes a turn itself.
//! Whatever waits for a client (memory that is reached by message, the flush of what was written there) is done by the
//! function's messenger, while the worker goes on with other functions.

mod help;
mod messenger;
mod slot;
mod turn;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;

use mlx5emu_card::{Card, Front, FunctionIndex, ResetKind};
use parking_lot::{Mutex, RwLock};

pub use slot::{Load, Sharing, Stopped};
pub use worker::WorkerLoad;

use crate::clock::Clock;
use crate::space::Space;
use crate::step::Gate;
use slot::Slot;
use worker::Worker;

/// Workers at most, whatever the number of cores.
const MAX_WORKERS: usize = 4;

struct Shared<M> {
    gate: Gate<M>,
    clock: Clock,
    slots: Vec<Slot>,
    workers: Vec<Worker>,
    stop: AtomicBool,
}

/// A running card. Dropping it stops the workers.
pub struct Threads<M: Space> {
    shared: Arc<Shared<M>>,
    joins: Mutex<Vec<JoinHandle<()>>>,
}

/// The number of workers for this machine: as many as cores, four at most.
pub fn worker_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS)
}

impl<M: Space> Threads<M> {
    /// Runs `card` on `workers` workers (at least one, not more than there are functions).
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(card: Card<M>, clock: Clock, workers: usize) -> io::Result<Self> {
        let functions = card.function_count();
        let workers = workers.clamp(1, functions.max(1));
        let slots = (0..functions).filter_map(|f| {
            let outside = card.space(f)?.outside();
            let mut slot = Slot::new(card.function_name(f), card.front(f)?, outside, f % workers);
            slot.uplink = card.port_uplink(f).cloned();
            Some(slot)
        });
        let shared = Arc::new(Shared {
            slots: slots.collect(),
            workers: (0..workers).map(|_| Worker::default()).collect(),
            gate: RwLock::new(card),
            clock,
            stop: AtomicBool::new(false),
        });
        let threads = Self { shared: Arc::clone(&shared), joins: Mutex::default() };
        for n in 0..workers {
            threads.joins.lock().push(worker::start(&shared, n)?);
        }
        Ok(threads)
    }

    /// The gate.
    pub fn gate(&self) -> &Gate<M> {
        &self.shared.gate
    }

    /// The card's clock.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// The register file of function `f`.
    pub fn front(&self, f: FunctionIndex) -> Option<Arc<Front>> {
        self.shared.slots.get(f).map(|slot| Arc::clone(&slot.front))
    }

    /// Changes the card under the exclusive gate, then has `f` looked at.
    pub fn change<R>(&self, f: FunctionIndex, change: impl FnOnce(&mut Card<M>) -> R) -> R {
        let result = change(&mut self.shared.gate.write());
        self.wake(f);
        result
    }

    /// Tells the home worker of `f` that there is something to do.
    pub fn wake(&self, f: FunctionIndex) {
        self.shared.wake(f);
    }

    /// Doorbells of `f` were written, or frames came over the wire that it brings in, and nothing more has arrived behind
    /// them. Called by the thread that has read them, which is no worker: while the home worker sleeps, they are served
    /// before this returns, at most one burst.
    pub fn rung(&self, f: FunctionIndex) {
        self.shared.help(f);
    }

    /// Resets `f`: `change` is called in the same exclusive hold, after the card's own part. When this returns, nothing
    /// of the function is in flight.
    pub fn reset<R>(&self, f: FunctionIndex, kind: ResetKind, change: impl FnOnce(&mut Card<M>) -> R) -> Option<R> {
        let slot = self.shared.slots.get(f)?;
        let mut card = self.shared.gate.write();
        let garbage = card.reset(f, kind, self.shared.clock.now());
        let result = change(&mut card);
        slot.revive();
        drop(card);
        slot.discard(garbage);
        self.wake(f);
        Some(result)
    }

    /// Runs `job`, which may wait for the client, on the thread of `f` that does.
    ///
    /// # Errors
    /// The thread could not be started, or too many jobs wait for it.
    pub fn submit(&self, f: FunctionIndex, job: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        let slot = self.shared.slots.get(f).ok_or(io::ErrorKind::NotFound)?;
        slot.messenger.submit(job)
    }

    /// Another range of memory is mapped for `f`: the next command is preceded by a look at whether it is shared.
    pub fn memory_changed(&self, f: FunctionIndex) {
        if let Some(slot) = self.shared.slots.get(f) {
            slot.memory_changed();
        }
    }

    /// Whether the client of `f` shares its memory, as far as is known.
    pub fn sharing(&self, f: FunctionIndex) -> Sharing {
        self.shared.slots.get(f).map_or(Sharing::Unchecked, Slot::sharing)
    }

    /// Why `f` does nothing, if so.
    pub fn stopped(&self, f: FunctionIndex) -> Stopped {
        self.shared.slots.get(f).map_or(Stopped::No, Slot::stopped)
    }

    /// What `f` has cost.
    pub fn load(&self, f: FunctionIndex) -> Option<&Load> {
        self.shared.slots.get(f).map(|slot| &slot.load)
    }

    /// What each worker has done.
    pub fn workers(&self) -> impl Iterator<Item = &WorkerLoad> {
        self.shared.workers.iter().map(Worker::load)
    }

    /// The worker that serves `f`.
    pub fn home(&self, f: FunctionIndex) -> Option<usize> {
        self.shared.slots.get(f).map(|slot| slot.home)
    }

    /// Ends the workers and waits for them. Calling it again does nothing.
    pub fn stop(&self) {
        self.shared.stop.store(true, SeqCst);
        for slot in &self.shared.slots {
            slot.messenger.stop();
        }
        for worker in &self.shared.workers {
            worker.wake();
        }
        for join in std::mem::take(&mut *self.joins.lock()) {
            if join.join().is_err() {
                log::error!("a worker ended with a panic");
            }
        }
    }

    /// Makes the next turn of `f` panic.
    #[cfg(test)]
    pub(crate) fn trap(&self, f: FunctionIndex) {
        self.set_trap(f);
        self.wake(f);
    }

    /// The same, whoever takes that turn.
    #[cfg(test)]
    pub(crate) fn set_trap(&self, f: FunctionIndex) {
        self.shared.slots[f].trap.store(true, SeqCst);
    }
}

impl<M: Space> Drop for Threads<M> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<M> Shared<M> {
    fn wake(&self, f: FunctionIndex) {
        let Some(slot) = self.slots.get(f) else { return };
        slot.set_ready();
        if let Some(worker) = self.workers.get(slot.home) {
            worker.wake();
        }
    }
}
