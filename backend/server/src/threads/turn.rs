//! One turn of one function.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_card::{FunctionIndex, Uplink, limited};
use mlx5emu_prm::layouts::mlx5_cmd_layout;

use super::Shared;
use super::messenger::Job;
use super::slot::{Sharing, Slot, Stopped};
use crate::health;
use crate::space::{Agreement, Space};
use crate::step::{self, Fetch, Step};

/// Fetches after which a function that completes nothing in between is given up: more than the longest mailbox chain.
const MAX_FETCHES_IN_A_ROW: u64 = 16384;

impl<M: Space> Shared<M> {
    /// Does for `f` what there is to do now. A panic ends the function, not the worker.
    pub(super) fn turn(self: &Arc<Self>, f: FunctionIndex, slot: &Slot, now: u64) {
        drop(slot.take_garbage());
        if slot.stopped() != Stopped::No {
            return;
        }
        slot.load.turns.fetch_add(1, Relaxed);
        self.guarded(f, slot, || self.steps(f, slot, now));
    }

    /// Steps of `f`: a panic ends the function.
    pub(super) fn guarded(&self, f: FunctionIndex, slot: &Slot, steps: impl FnOnce()) {
        let generation = slot.generation();
        let steps = || {
            #[cfg(test)]
            spring(slot);
            steps();
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(steps)) {
            slot.load.panics.fetch_add(1, Relaxed);
            log::error!(
                "{}: a bug in the emulated firmware: {}. The function is dead until it is reset, the others go on",
                slot.name,
                text_of(&*panic)
            );
            self.fail(f, generation, Stopped::Bug, health::FW_INTERNAL_ERR);
        }
    }

    fn steps(self: &Arc<Self>, f: FunctionIndex, slot: &Slot, now: u64) {
        if slot.sharing() == Sharing::Unchecked && self.begin_comparison(f, slot) {
            return;
        }
        if self.commands(f, slot) {
            self.serve_queues(f, slot, now);
        }
    }

    /// Timers and one burst of the queues.
    pub(super) fn serve_queues(self: &Arc<Self>, f: FunctionIndex, slot: &Slot, now: u64) {
        step::timers(&self.gate, f, now);
        if !self.burst(f, slot, now) {
            return;
        }
        slot.outside.settle();
        slot.fetches_in_a_row.store(0, Relaxed);
        if slot.outside.pending() {
            slot.load.flushes.fetch_add(1, Relaxed);
            let outside = Arc::clone(&slot.outside);
            self.wait_for(f, slot, f, Box::new(move || outside.flush()));
        }
    }

    /// One resumed command and one by doorbell. False: memory must be fetched first.
    fn commands(self: &Arc<Self>, f: FunctionIndex, slot: &Slot) -> bool {
        let mut current = slot.current.lock();
        for take in [step::resume, step::fetch] {
            match step::command(&self.gate, f, &mut current, || self.clock.now(), take) {
                Step::Idle => {}
                Step::Done => {
                    slot.load.commands.fetch_add(u64::from(current.is_free()), Relaxed);
                    slot.set_ready();
                    // The next command in the same slot must not be read from what was fetched for this one.
                    slot.outside.settle();
                }
                Step::Fetch(fetch) => {
                    self.fetch(f, slot, fetch);
                    return false;
                }
            }
        }
        true
    }

    /// One burst of the queues. False: memory must be fetched first.
    fn burst(self: &Arc<Self>, f: FunctionIndex, slot: &Slot, now: u64) -> bool {
        let card = self.gate.read();
        let served = card.serve(f, now);
        // Doorbells start timers here, and a frame that arrives at another function starts one there.
        slot.set_deadline(card.next_deadline(f));
        let later = |(g, other): &(usize, &Slot)| *g != f && card.next_deadline(*g).is_some_and(|at| other.misses(at));
        self.slots.iter().enumerate().filter(later).for_each(|(g, _)| self.wake(g));
        drop(card);
        if let Some(uplink) = &slot.uplink
            && uplink.flush()
        {
            self.wake_on(uplink);
        }
        match served {
            Ok(served) => {
                slot.load.bursts.fetch_add(1, Relaxed);
                if served.more {
                    slot.set_ready();
                }
                served.wake.into_iter().for_each(|other| self.wake(other));
                true
            }
            Err(needs) => {
                let fetch = Fetch { function: needs.function, addr: needs.addr, len: needs.len };
                self.fetch(f, slot, fetch);
                false
            }
        }
    }

    /// The wire takes frames again: whoever waits for that goes on.
    fn wake_on(&self, uplink: &Arc<dyn Uplink>) {
        let waits = |slot: &Slot| slot.uplink.as_ref().is_some_and(|other| Arc::ptr_eq(other, uplink));
        self.slots.iter().enumerate().filter(|(_, slot)| waits(slot)).for_each(|(f, _)| self.wake(f));
    }

    /// Has memory fetched by the messenger of the function that it belongs to; `f` rests until then.
    fn fetch(self: &Arc<Self>, f: FunctionIndex, slot: &Slot, fetch: Fetch) {
        slot.load.fetches.fetch_add(1, Relaxed);
        if slot.fetches_in_a_row.fetch_add(1, Relaxed) >= MAX_FETCHES_IN_A_ROW {
            self.starve(f, slot.generation(), "one step fetched too much memory by message");
            return;
        }
        let Some(owner) = self.slots.get(fetch.function) else { return };
        let outside = Arc::clone(&owner.outside);
        let (shared, generation) = (Arc::clone(self), slot.generation());
        let stage = move || {
            if let Err(why) = outside.stage(fetch.addr, fetch.len) {
                shared.starve(f, generation, &why);
            }
        };
        self.wait_for(f, slot, fetch.function, Box::new(stage));
    }

    /// Memory that a step cannot go on without does not come: the function dies, as a card does when its host does not
    /// complete a read.
    fn starve(&self, f: FunctionIndex, generation: u64, why: &str) {
        if self.fail(f, generation, Stopped::Starved, health::ICM_FETCH_PCI_ERR) {
            log::error!("{}: {why}: the function is dead until it is reset", self.slots[f].name);
        }
    }

    /// Runs `job` on the messenger of function `of`; `f` rests until it is done.
    fn wait_for(self: &Arc<Self>, f: FunctionIndex, slot: &Slot, of: FunctionIndex, job: Job) {
        let Some(owner) = self.slots.get(of) else { return };
        slot.set_waiting(true);
        let rest = Rest { shared: Arc::clone(self), f };
        let job = Box::new(move || {
            job();
            drop(rest);
        });
        if let Err(error) = owner.messenger.submit(job) {
            log::error!("{}: no thread to wait for the client: {error}", owner.name);
        }
    }

    /// Begins to find out whether the client shares its memory, if a command has come to compare by. True: `f` rests
    /// until that is known.
    fn begin_comparison(self: &Arc<Self>, f: FunctionIndex, slot: &Slot) -> bool {
        let Some(command) = slot.front.first_slot() else { return false };
        let addr = slot.front.cmdq_address() + u64::from(command) * mlx5_cmd_layout::SIZE as u64;
        let (memory, generation) = (slot.memory(), slot.generation());
        let mut entry = [0; mlx5_cmd_layout::SIZE];
        if !self.mapped(f, addr, &mut entry) {
            // Reached by message, or not at all: there is nothing to compare.
            return false;
        }
        let (shared, outside) = (Arc::clone(self), Arc::clone(&slot.outside));
        let compare = move || {
            let mut peek = |buf: &mut [u8]| shared.mapped(f, addr, buf);
            let agreement = outside.compare(addr, mlx5_cmd_layout::SIZE, &mut peek);
            shared.take_comparison(f, memory, generation, agreement);
        };
        self.wait_for(f, slot, f, Box::new(compare));
        true
    }

    fn mapped(&self, f: FunctionIndex, addr: u64, buf: &mut [u8]) -> bool {
        self.gate.read().space(f).is_some_and(|space| space.mapped(addr, buf))
    }

    fn take_comparison(&self, f: FunctionIndex, memory: u64, generation: u64, agreement: Agreement) {
        let Some(slot) = self.slots.get(f) else { return };
        let sharing = match agreement {
            Agreement::Shared => Sharing::Shared,
            Agreement::Private => Sharing::Private,
            Agreement::Unknown => Sharing::Unknown,
        };
        if !slot.set_sharing(memory, sharing) {
            return;
        }
        match sharing {
            Sharing::Private => {
                log::error!(
                    "{}: QEMU does not share the guest's memory, so no command can be executed: start it with \
                     -object memory-backend-memfd,id=m0,size=SIZE,share=on -machine memory-backend=m0",
                    slot.name
                );
                self.fail(f, generation, Stopped::NotShared, health::ICM_FETCH_PCI_ERR);
            }
            Sharing::Unknown => {
                limited!(
                    slot.log,
                    warn,
                    "{}: the client does not tell whether it shares the guest's memory",
                    slot.name
                );
            }
            Sharing::Shared | Sharing::Unchecked => {}
        }
    }

    /// Ends `f` until its next reset. False: it was reset since `generation`, so what happened does not concern it.
    fn fail(&self, f: FunctionIndex, generation: u64, why: Stopped, synd: u8) -> bool {
        let card = self.gate.read();
        let Some(slot) = self.slots.get(f).filter(|slot| slot.generation() == generation) else { return false };
        slot.stop(why);
        card.fail_function(f, synd);
        true
    }
}

/// Ends a function's rest when it is dropped: whatever became of the job, the function goes on.
struct Rest<M> {
    shared: Arc<Shared<M>>,
    f: FunctionIndex,
}

impl<M> Drop for Rest<M> {
    fn drop(&mut self) {
        if let Some(slot) = self.shared.slots.get(self.f) {
            slot.set_waiting(false);
        }
        self.shared.wake(self.f);
    }
}

/// What a panic says.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// A panic on demand.
#[cfg(test)]
fn spring(slot: &Slot) {
    if slot.trap.swap(false, std::sync::atomic::Ordering::SeqCst) {
        panic!("a trap was set");
    }
}
