//! A turn that a function's I/O thread, or the thread of its wire, takes when its worker sleeps.
//!
//! To wake a worker costs as much as to serve a doorbell, or to deliver a frame. So the thread that has read it from a socket
//! does that, after it has handled all that had arrived: one burst of queues, no command, nothing that waits. Whatever is
//! left then is the worker's. A function has one turn at a time, whoever takes it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_card::FunctionIndex;

use super::Shared;
use super::slot::{Slot, Stopped};
use crate::space::Space;

impl<M: Space> Shared<M> {
    /// Doorbells of `f` were written, or frames came: they are served here if its worker sleeps and there is nothing else to do for `f`, else
    /// by the worker.
    pub(super) fn help(self: &Arc<Self>, f: FunctionIndex) {
        let Some(slot) = self.slots.get(f) else { return };
        let Some(worker) = self.workers.get(slot.home) else { return };
        slot.set_ready();
        if !worker.is_asleep() || !has_queues_only(slot) {
            worker.wake();
            return;
        }
        {
            let Some(_turn) = slot.turn.try_lock() else {
                worker.wake();
                return;
            };
            let now = self.clock.now();
            if slot.is_due(now) {
                slot.take();
                slot.load.helped.fetch_add(1, Relaxed);
                self.guarded(f, slot, || self.serve_queues(f, slot, now));
            }
        }
        let missed = slot.deadline().is_some_and(|at| worker.oversleeps(at));
        if missed || slot.is_due(self.clock.now()) {
            worker.wake();
        }
    }
}

/// Whether `slot` wants nothing but its queues served.
fn has_queues_only(slot: &Slot) -> bool {
    slot.stopped() == Stopped::No && slot.front.first_slot().is_none()
}
