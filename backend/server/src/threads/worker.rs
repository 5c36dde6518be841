//! One worker: its functions in turn, sleep when there is nothing to do.

use std::io;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle, Thread};

use super::Shared;
use crate::space::Space;

/// What a worker has done.
#[derive(Default)]
pub struct WorkerLoad {
    /// Times that it went round its functions with something to do.
    pub rounds: AtomicU64,
    /// Times that it went to sleep.
    pub sleeps: AtomicU64,
    /// Nanoseconds that it was awake.
    pub busy_ns: AtomicU64,
}

/// A worker, as others see it.
#[derive(Default)]
pub(super) struct Worker {
    thread: OnceLock<Thread>,
    /// It sleeps, or is about to and will look once more.
    asleep: AtomicBool,
    /// When it wakes up by itself; nothing is known ([`NEVER`]) while it is about to fall asleep.
    until: AtomicU64,
    load: WorkerLoad,
}

/// Later than everything.
const NEVER: u64 = u64::MAX;

impl Worker {
    pub(super) fn load(&self) -> &WorkerLoad {
        &self.load
    }

    /// Whether it sleeps, or is about to.
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep.load(SeqCst)
    }

    /// Whether it would wake up too late for a deadline that was set while it slept.
    pub(super) fn oversleeps(&self, at: u64) -> bool {
        at < self.until.load(SeqCst)
    }

    /// Wakes it, if it sleeps. Whoever calls has made a function ready before: either the worker sees that when it looks
    /// for the last time before it sleeps, or this sees that it sleeps.
    pub(super) fn wake(&self) {
        if self.asleep.swap(false, SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

/// Starts worker `n`.
pub(super) fn start<M: Space>(shared: &Arc<Shared<M>>, n: usize) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    Builder::new().name(format!("worker{n}")).spawn(move || {
        // The cell is set once: the worker is started once.
        let _ = shared.workers[n].thread.set(std::thread::current());
        run(&shared, n);
    })
}

fn run<M: Space>(shared: &Arc<Shared<M>>, n: usize) {
    let worker = &shared.workers[n];
    let mut awake_since = shared.clock.now();
    while !shared.stop.load(SeqCst) {
        if round(shared, n) {
            worker.load.rounds.fetch_add(1, Relaxed);
            continue;
        }
        let slept_from = shared.clock.now();
        worker.load.busy_ns.fetch_add(slept_from - awake_since, Relaxed);
        sleep(shared, n);
        awake_since = shared.clock.now();
    }
}

/// A turn for each function that has something to do. False: none had.
fn round<M: Space>(shared: &Arc<Shared<M>>, n: usize) -> bool {
    let mut any = false;
    for (f, slot) in shared.slots.iter().enumerate().filter(|(_, slot)| slot.home == n) {
        let now = shared.clock.now();
        if slot.is_due(now) {
            // The I/O thread may just be at it: for one burst.
            let _turn = slot.turn.lock();
            slot.take();
            shared.turn(f, slot, now);
            any = true;
        }
    }
    any
}

fn sleep<M: Space>(shared: &Shared<M>, n: usize) {
    let worker = &shared.workers[n];
    worker.until.store(NEVER, SeqCst);
    worker.asleep.store(true, SeqCst);
    let now = shared.clock.now();
    let mut mine = shared.slots.iter().filter(|slot| slot.home == n);
    if shared.stop.load(SeqCst) || mine.clone().any(|slot| slot.is_due(now)) {
        worker.asleep.store(false, SeqCst);
        return;
    }
    worker.load.sleeps.fetch_add(1, Relaxed);
    match mine.by_ref().filter_map(|slot| slot.deadline()).min() {
        Some(at) => {
            // Whoever sets an earlier deadline from here on sees this and wakes it; before, anyone who set one did.
            worker.until.store(at, SeqCst);
            std::thread::park_timeout(shared.clock.until(at));
        }
        None => std::thread::park(),
    }
    worker.asleep.store(false, SeqCst);
}
