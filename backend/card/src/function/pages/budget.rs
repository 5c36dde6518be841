//! How many pages the firmware needs, and the events by which it asks for more and offers what it does not need.
//!
//! Beside its fixed counts a function needs memory for its objects ([`State::icm_bytes`]). The pages that it asks for by
//! event after INIT_HCA (a VF: at INIT_HCA) hold the first of them. For more it asks in steps of `STEP` pages; when two
//! steps are not needed any more it offers all but one of them, so that one object more or less makes no event. It never
//! waits for such pages: objects are made without them. A card whose counts are all 0 has memory of its own and never asks.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::event::Event;
use mlx5emu_prm::layouts::mlx5_eqe_page_req;
use mlx5emu_prm::opcode::Status;

use super::{Owner, PAGE};
use crate::card::{Card, FunctionIndex, PageCounts};
use crate::error::{Done, Stop, Syndrome, Wait, refuse};
use crate::function::{HcaState, State};

/// Pages that are asked for or offered at once because of objects.
const STEP: u32 = 16;
/// Nanoseconds that INIT_HCA of a VF waits for its PF's driver: less than a driver waits for a command (60 s).
const PATIENCE: u64 = 20_000_000_000;

/// Bytes of the firmware's memory that an object of each kind takes: its context and what hangs on it. The figures are this
/// firmware's own, of the size that contexts have.
mod bytes {
    pub(super) const UAR: u64 = 64;
    pub(super) const EQ: u64 = 1024;
    pub(super) const CQ: u64 = 512;
    pub(super) const PD: u64 = 64;
    pub(super) const TRANSPORT_DOMAIN: u64 = 64;
    pub(super) const MKEY: u64 = 256;
    pub(super) const XRCD: u64 = 64;
    pub(super) const QUEUE: u64 = 1024;
    pub(super) const TIS: u64 = 256;
    pub(super) const TIR: u64 = 512;
    pub(super) const RQT: u64 = 1024;
    pub(super) const QUEUE_COUNTERS: u64 = 256;
    pub(super) const FLOW_TABLE: u64 = 1024;
    pub(super) const FLOW_GROUP: u64 = 512;
    pub(super) const FLOW_ENTRY: u64 = 512;
    pub(super) const FLOW_COUNTER: u64 = 64;
}

impl State {
    /// Bytes of the firmware's memory that the function's objects take.
    pub fn icm_bytes(&self) -> u64 {
        let (q, m, e) = (&self.queues, &self.memory, &self.ethernet);
        let steering = e.steering.counts();
        let taken = [
            (bytes::UAR, q.uars.len()),
            (bytes::EQ, q.eqs.len()),
            (bytes::CQ, q.cqs.len()),
            (bytes::PD, m.pds.len()),
            (bytes::TRANSPORT_DOMAIN, m.domains.len()),
            (bytes::MKEY, m.mkeys.len()),
            (bytes::XRCD, self.rdma.xrcds.len()),
            (bytes::QUEUE, e.queues.len()),
            (bytes::TIS, e.tis.len()),
            (bytes::TIR, e.tirs.len()),
            (bytes::RQT, e.rqts.len()),
            (bytes::QUEUE_COUNTERS, e.counters.len()),
            (bytes::FLOW_TABLE, steering.tables as u32),
            (bytes::FLOW_GROUP, steering.groups as u32),
            (bytes::FLOW_ENTRY, steering.entries as u32),
            (bytes::FLOW_COUNTER, steering.counters as u32),
        ];
        taken.into_iter().map(|(each, count)| each * u64::from(count)).sum()
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    /// The fixed counts of `f`, as far as its own driver gives them: that of a VF gives none.
    pub(super) fn own_counts(&self, f: FunctionIndex) -> PageCounts {
        if self.functions[f].is_pf() { self.personality.pages } else { PageCounts { boot: 0, init: 0, event: 0 } }
    }

    /// Pages that the firmware works with now, of those that `giver` gives for `owner`: none before INIT_HCA of `giver` and
    /// after its TEARDOWN_HCA, which ends the VFs too.
    pub(super) fn page_target(&self, giver: FunctionIndex, owner: Owner) -> u32 {
        if self.functions[giver].state.hca != HcaState::Initialized {
            return 0;
        }
        let fixed = match owner {
            Owner::Function(f) if f == giver => {
                let counts = self.own_counts(f);
                counts.boot + counts.init + counts.event
            }
            Owner::Function(f) => self.vf_counts(f),
            Owner::Unknown(_) => 0,
        };
        let Some(book) = self.functions[giver].state.pages.book(owner) else { return fixed };
        let target = i64::from(fixed) + i64::from(book.grown) + book.extra;
        target.clamp(0, i64::from(u32::MAX)) as u32
    }

    /// The fixed counts of a VF or SF.
    fn vf_counts(&self, f: FunctionIndex) -> u32 {
        let counts = self.personality.vf_pages;
        if self.functions[f].setup.is_adjacent() {
            // They come from its own PF.
            return 0;
        }
        match self.admin(f) {
            Some(admin) if admin.enabled || admin.vhca.leaving => match self.functions[f].state.hca {
                HcaState::Initialized => counts.enable + counts.init,
                HcaState::Enabled | HcaState::Disabled => counts.enable,
            },
            _ => 0,
        }
    }

    /// Pages that the objects of `f` need beyond those that it has for them anyway.
    fn needed_for_objects(&self, f: FunctionIndex) -> u32 {
        let function = &self.functions[f];
        let (pages, vf_pages) = (self.personality.pages, self.personality.vf_pages);
        let (all, for_objects) = if function.is_pf() {
            (pages.boot + pages.init + pages.event, pages.event)
        } else {
            (vf_pages.enable + vf_pages.init, vf_pages.init)
        };
        if all == 0 {
            return 0;
        }
        let needed = function.state.icm_bytes().div_ceil(PAGE);
        needed.saturating_sub(u64::from(for_objects)).min(u64::from(u32::MAX / 2)) as u32
    }

    /// A command of `f` was done: its objects may be more, or fewer.
    pub(crate) fn follow_budget(&mut self, f: FunctionIndex) {
        if self.functions[f].state.hca != HcaState::Initialized {
            return;
        }
        let (giver, owner, needed) = (self.manager_of(f), Owner::Function(f), self.needed_for_objects(f));
        let pages = &self.functions[giver].state.pages;
        let grown = pages.book(owner).map_or(0, |book| book.grown);
        let gave_up = pages.book(owner).is_some_and(|book| book.gave_up);
        let to = match needed {
            _ if needed > grown && !gave_up => needed.next_multiple_of(STEP),
            _ if needed + 2 * STEP <= grown => needed.next_multiple_of(STEP) + STEP,
            _ if needed <= grown && gave_up => grown,
            _ => return,
        };
        if !self.functions[giver].has_listener(Event::PAGE_REQUEST) {
            return;
        }
        let book = self.functions[giver].state.pages.book_mut(owner);
        (book.grown, book.gave_up) = (to, false);
        if to > grown {
            let target = self.page_target(giver, owner);
            self.ask(giver, owner, target);
        } else {
            self.recall(giver, owner);
        }
    }

    /// An EQ listens: asks for the event pages, and for what VFs lack, once after INIT_HCA; offers what is too much.
    pub(crate) fn begin_page_events(&mut self, f: FunctionIndex) {
        let first = !std::mem::replace(&mut self.functions[f].state.pages.requested_by_event, true);
        self.functions[f].state.pages.book_mut(Owner::Function(f));
        let owners: Vec<Owner> = self.functions[f].state.pages.iter().map(|(owner, _)| owner).collect();
        for owner in owners {
            if first {
                let target = self.page_target(f, owner);
                self.ask(f, owner, target);
            }
            self.recall(f, owner);
        }
    }

    /// Asks the driver of `giver` for what `owner` lacks to have `target` pages, beyond what it was asked for already.
    fn ask(&mut self, giver: FunctionIndex, owner: Owner, target: u32) {
        let book = self.functions[giver].state.pages.book_mut(owner);
        let missing = target.saturating_sub(book.held().saturating_add(book.asked));
        if missing > 0 {
            book.asked += missing;
            self.post_page_request(giver, owner, missing.into());
        }
    }

    /// Offers the driver of `giver` what `owner` has too much, beyond what was offered already.
    fn recall(&mut self, giver: FunctionIndex, owner: Owner) {
        let target = self.page_target(giver, owner);
        if !self.functions[giver].has_listener(Event::PAGE_REQUEST) {
            return;
        }
        let book = self.functions[giver].state.pages.book_mut(owner);
        let surplus = book.held().saturating_sub(target).saturating_sub(book.recalled);
        if surplus > 0 {
            book.recalled += surplus;
            self.post_page_request(giver, owner, -i64::from(surplus));
        }
    }

    /// A page request event about `owner`, which says no more yet.
    pub(super) fn page_event(&self, giver: FunctionIndex, owner: Owner) -> [u8; mlx5_eqe_page_req::SIZE] {
        let mut data = [0u8; mlx5_eqe_page_req::SIZE];
        mlx5_eqe_page_req::func_id.set(&mut data, u64::from(self.page_id(giver, owner)));
        let embedded_cpu = self.is_embedded_id(giver, self.page_id_mode(giver), owner);
        mlx5_eqe_page_req::embedded_cpu_function.set(&mut data, u64::from(embedded_cpu));
        data
    }

    /// The event: `pages` more (or, negative, fewer) for `owner`.
    pub(super) fn post_page_request(&self, giver: FunctionIndex, owner: Owner, pages: i64) {
        let pages = pages.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        let mut data = self.page_event(giver, owner);
        mlx5_eqe_page_req::num_pages.set(&mut data, u64::from(pages.cast_unsigned()));
        self.post_event(giver, Event::PAGE_REQUEST, 0, &data);
    }

    /// The driver of `giver` can't give what it was asked for.
    pub(super) fn do_without(&mut self, giver: FunctionIndex, owner: Owner) {
        let target = self.page_target(giver, owner);
        let waits =
            matches!(owner, Owner::Function(f) if f != giver && self.functions[f].state.hca != HcaState::Initialized);
        let book = self.functions[giver].state.pages.book_mut(owner);
        book.asked = 0;
        let missing = target.saturating_sub(book.held());
        let for_objects = missing.min(book.grown);
        book.grown -= for_objects;
        book.gave_up |= for_objects > 0;
        book.extra -= i64::from(missing - for_objects).min(book.extra.max(0));
        book.refused = waits;
        self.resume_for_pages(giver, owner);
    }

    /// Whether INIT_HCA of `f` has the pages that it needs. A VF's PF is asked for what is missing, and the command waits.
    pub(crate) fn check_pages(&mut self, f: FunctionIndex, now: u64) -> Done {
        let (manager, owner) = (self.manager_of(f), Owner::Function(f));
        if manager == f {
            let (held, counts) = (self.functions[f].state.pages.held(owner), self.personality.pages);
            let needed = counts.boot + counts.init;
            if held >= needed {
                return Ok(());
            }
            let why = format!("{held} pages given, {needed} are needed");
            return refuse(Status::NO_RESOURCES, Syndrome::PagesMissing, why);
        }
        let counts = self.personality.vf_pages;
        let needed = counts.enable + counts.init;
        let listens = self.functions[manager].has_listener(Event::PAGE_REQUEST);
        let book = self.functions[manager].state.pages.book_mut(owner);
        let needed = book.with_extra(needed);
        let enough = book.held() >= needed;
        let since = book.waits_until.take();
        let why = match since {
            _ if enough => return Ok(()),
            _ if std::mem::take(&mut book.refused) => "the PF's driver gives no pages",
            Some(at) if at <= now => "the PF's driver does not answer the request for pages",
            _ if !listens => "the PF's driver does not listen to page requests",
            since => {
                let until = since.unwrap_or(now + PATIENCE);
                book.waits_until = Some(until);
                self.ask(manager, owner, needed);
                return Err(Stop::Wait(Wait::Pages(until)));
            }
        };
        // What is still on its way may not come.
        book.asked = 0;
        refuse(Status::NO_RESOURCES, Syndrome::PagesMissing, why)
    }

    /// The PF enabled `f`.
    pub(crate) fn request_vf_pages(&mut self, f: FunctionIndex) {
        let manager = self.manager_of(f);
        // If nobody listens, the pages are asked for when the VF's driver comes.
        if self.functions[manager].has_listener(Event::PAGE_REQUEST) {
            let (owner, needed) = (Owner::Function(f), self.personality.vf_pages.enable);
            let needed = self.functions[manager].state.pages.book_mut(owner).with_extra(needed);
            self.ask(manager, owner, needed);
        }
    }

    /// A VF needs less than it did: the PF may have the rest back.
    pub(crate) fn settle_vf_pages(&mut self, f: FunctionIndex) {
        let (manager, owner) = (self.manager_of(f), Owner::Function(f));
        let enabled = self.is_enabled(f);
        let book = self.functions[manager].state.pages.book_mut(owner);
        (book.asked, book.refused, book.waits_until) = (0, false, None);
        book.shrink();
        if !enabled {
            book.extra = 0;
        }
        self.recall(manager, owner);
    }

    /// TEARDOWN_HCA of a PF: nobody listens any more, and everything may be taken.
    pub(crate) fn end_page_events(&mut self, f: FunctionIndex) {
        let pages = &mut self.functions[f].state.pages;
        pages.requested_by_event = false;
        for (owner, book) in pages.iter_mut() {
            book.quiet();
            if !matches!(owner, Owner::Function(vf) if vf != f) {
                book.shrink();
                book.extra = 0;
            }
        }
    }

    /// A command of `owner` that waits for pages runs again.
    pub(super) fn resume_for_pages(&mut self, giver: FunctionIndex, owner: Owner) {
        let Owner::Function(f) = owner else { return };
        if f == giver {
            return;
        }
        let state = &mut self.functions[f].state;
        let (go, stay): (Vec<_>, Vec<_>) =
            state.parked.drain(..).partition(|parked| matches!(parked.wait, Wait::Pages(_)));
        state.parked = stay;
        state.resumed.extend(go.into_iter().map(|parked| parked.command));
    }
}
