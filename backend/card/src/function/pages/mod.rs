//! Firmware pages: QUERY_PAGES, MANAGE_PAGES, and requests by event.
//!
//! The firmware asks for pages before the capabilities are read (boot), before INIT_HCA (init), and by a PAGE_REQUEST event
//! once an EQ listens to it. Later it asks for more when the function makes objects, and offers pages when they go
//! ([`budget`]). It gives back what the driver asks for after TEARDOWN_HCA.
//!
//! A VF's pages come from its PF's driver, always by event: some when the PF enables it, more when its own driver
//! initializes it, which waits for them. They are the PF's to have back as soon as the VF does not need them.
//!
//! The books are kept by function ([`books`]); by which id the driver names one hangs on the mode that it chose ([`ids`]).
//! Each page holds a canary as long as the firmware has it ([`canary`]).

pub mod books;
pub mod budget;
pub mod canary;
pub mod ids;
pub mod inject;
mod inspect;

use std::collections::BTreeSet;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{be64, manage_pages_in, manage_pages_out, query_pages_in, query_pages_out};
use mlx5emu_prm::opcode::Status;

pub use books::{Book, Owner, PageTotals, Pages};
pub use canary::{Canaries, CanaryWork};
use ids::IdMode;

use crate::card::{Card, FunctionIndex};
use crate::commands::queue::Call;
use crate::error::{Done, Syndrome, bad_param, refuse};
use crate::limited;

/// Pages that a function may give in all, for each that it gives for: more than any driver is asked for.
const MAX_PAGES: usize = 1 << 20;
/// A firmware page is 4 KiB, whatever the host's page size.
const PAGE: u64 = 4096;

/// op_mod of QUERY_PAGES (`MLX5_BOOT_PAGES` …).
mod query {
    pub(super) const BOOT: u16 = 1;
    pub(super) const INIT: u16 = 2;
    pub(super) const REGULAR: u16 = 3;
}

/// op_mod of MANAGE_PAGES (`MLX5_PAGES_CANT_GIVE` …).
mod manage {
    pub(super) const CANT_GIVE: u16 = 0;
    pub(super) const GIVE: u16 = 1;
    pub(super) const TAKE: u16 = 2;
}

/// How the firmware manages its pages, beside their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageManner {
    /// By which ids functions may be named.
    pub ids: PageIds,
    /// Pages that one MANAGE_PAGES gives back at most.
    pub take_at_most: u32,
    /// A pattern in each page that is given, checked before it goes back.
    pub canaries: bool,
    /// A mistake: the id that QUERY_PAGES answers with when it is asked for boot pages. It is taken by MANAGE_PAGES (give) for
    /// the function itself until INIT_HCA, as a firmware would that makes such a mistake, and by no other command.
    pub boot_id: Option<u16>,
    /// The same for init pages.
    pub init_id: Option<u16>,
    /// A mistake: MANAGE_PAGES gives one page back twice if there is room in its list.
    pub take_twice: bool,
}

/// What a card offers as `icm_mng_function_id_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PageIds {
    /// Function ids only.
    FunctionId,
    /// VHCA ids, if the driver sets the capability.
    #[default]
    VhcaId,
    /// A mistake: VHCA ids are offered as the maximum, but setting the capability changes nothing.
    VhcaIdIgnored,
}

impl Default for PageManner {
    fn default() -> Self {
        Self {
            ids: PageIds::default(),
            take_at_most: u32::MAX,
            canaries: true,

            boot_id: None,
            init_id: None,
            take_twice: false,
        }
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    /// Pages that the firmware holds for `f`, whoever gave them.
    pub fn pages_held(&self, f: FunctionIndex) -> u32 {
        let of = |giver: FunctionIndex| self.functions.get(giver).map_or(0, |g| g.state.pages.held(Owner::Function(f)));
        let manager = self.manager_of(f);
        if manager == f { of(f) } else { of(f) + of(manager) }
    }

    /// What was given and got back for `owner`, to change it. Ids that are no function's are counted with their giver.
    fn totals_mut(&mut self, giver: FunctionIndex, owner: Owner) -> &mut PageTotals {
        match owner {
            Owner::Function(f) => &mut self.functions[f].page_totals,
            Owner::Unknown(id) => self.functions[giver].unknown_totals.entry(id).or_default(),
        }
    }

    /// The state of `giver` is gone: what its driver gave is the driver's to free.
    pub(crate) fn forget_pages(&mut self, giver: FunctionIndex, pages: &Pages) {
        for (owner, book) in pages.iter() {
            self.totals_mut(giver, owner).forgotten += u64::from(book.held());
        }
    }

    pub(crate) fn query_pages(&mut self, call: &mut Call) -> Done {
        use query_pages_in as cmd;
        let (boot, slip) = (call.op_mod() == query::BOOT, self.personality.page_manner);
        let mode = if boot { IdMode::FunctionId } else { self.page_id_mode(call.f) };
        let id = call.get(cmd::function_id);
        let owner = self.named_owner(call.f, mode, id, cmd::embedded_cpu_function.is_set(call.input))?;
        let counts = self.own_counts(call.f);
        let (target, slip) = match call.op_mod() {
            query::BOOT => (counts.boot, slip.boot_id),
            query::INIT => (counts.boot + counts.init, slip.init_id),
            query::REGULAR => (counts.boot + counts.init + counts.event, None),
            other => return refuse(Status::BAD_PARAM, Syndrome::UnknownOpMod, format!("op_mod {other}")),
        };
        let own = owner == Owner::Function(call.f);
        let target = if own { target } else { self.page_target(call.f, owner) };
        let missing = target.saturating_sub(self.functions[call.f].state.pages.held(owner));
        call.reply(query_pages_out::function_id, slip.filter(|_| own).map_or(id, u32::from));
        call.reply(query_pages_out::embedded_cpu_function, u32::from(self.is_embedded_id(call.f, mode, owner)));
        call.reply(query_pages_out::num_pages, missing);
        Ok(())
    }

    pub(crate) fn manage_pages(&mut self, call: &mut Call) -> Done {
        use manage_pages_in as cmd;
        let (id, embedded_cpu) = (call.get(cmd::function_id), cmd::embedded_cpu_function.is_set(call.input));
        let own = embedded_cpu == self.is_embedded_id(call.f, self.page_id_mode(call.f), Owner::Function(call.f));
        let owner = if call.op_mod() == manage::GIVE && own && self.is_slip(call.f, id) {
            Owner::Function(call.f)
        } else {
            self.named_owner(call.f, self.page_id_mode(call.f), id, embedded_cpu)?
        };
        match call.op_mod() {
            manage::GIVE => self.give_pages(call, owner),
            manage::TAKE => self.take_pages(call, owner),
            manage::CANT_GIVE => {
                self.totals_mut(call.f, owner).cannot_give += 1;
                let function = &self.functions[call.f];
                limited!(function.log, warn, "{}: the driver can't give the pages asked for", function.name);
                self.do_without(call.f, owner);
                Ok(())
            }
            other => refuse(Status::BAD_PARAM, Syndrome::UnknownOpMod, format!("op_mod {other}")),
        }
    }

    fn give_pages(&mut self, call: &mut Call, owner: Owner) -> Done {
        let count = call.get(manage_pages_in::input_num_entries) as usize;
        let list = manage_pages_in::pas.of(call.input).as_chunks::<{ be64::SIZE }>().0;
        if list.len() < count {
            let why = format!("{count} pages announced, {} given", list.len());
            return bad_param(Syndrome::BadField, why);
        }
        let canaries = self.personality.page_manner.canaries;
        let pages = &mut self.functions[call.f].state.pages;
        if pages.held(owner) as usize + count > MAX_PAGES {
            return refuse(Status::EXCEED_LIM, Syndrome::TooManyPages, format!("more than {MAX_PAGES} pages"));
        }
        // All or nothing: a list with one bad page is refused whole.
        let mut fresh = BTreeSet::new();
        for raw in &list[..count] {
            let page = u64::from_be_bytes(*raw);
            if page == 0 || page % PAGE != 0 || pages.has(page) || !fresh.insert(page) {
                return bad_param(Syndrome::BadPage, format!("page {page:#x} is misaligned, zero or given twice"));
            }
        }
        pages.add(owner, &fresh, canaries);
        let book = pages.book_mut(owner);
        book.asked = book.asked.saturating_sub(count as u32);
        self.totals_mut(call.f, owner).given += count as u64;
        call.canaries = CanaryWork::write(fresh.into_iter().collect());
        self.resume_for_pages(call.f, owner);
        Ok(())
    }

    fn take_pages(&mut self, call: &mut Call, owner: Owner) -> Done {
        let room = manage_pages_out::pas.of(call.output).len() / be64::SIZE;
        let asked = (call.get(manage_pages_in::input_num_entries) as usize).min(room);
        // While it works with them, the firmware keeps what it needs.
        let keep = self.page_target(call.f, owner);
        let (most, twice) =
            (self.personality.page_manner.take_at_most as usize, self.personality.page_manner.take_twice);
        let pages = &mut self.functions[call.f].state.pages;
        let free = pages.held(owner).saturating_sub(keep);
        let taken = pages.remove(owner, asked.min(free as usize).min(most));
        let again = taken.first().filter(|_| twice && taken.len() < asked);
        for (n, page) in taken.iter().chain(again).enumerate() {
            manage_pages_out::pas.at_mut(call.output, n)[..be64::SIZE].copy_from_slice(&page.to_be_bytes());
        }
        let count = taken.len();
        let book = pages.book_mut(owner);
        book.recalled = book.recalled.saturating_sub(count as u32).min(free - count as u32);
        let rest = book.recalled;
        self.totals_mut(call.f, owner).returned += count as u64;
        call.reply(manage_pages_out::output_num_entries, (count + usize::from(again.is_some())) as u64);
        call.canaries = CanaryWork::check(taken);
        if count > 0 && count == most && rest > 0 {
            // The driver takes once for each event.
            self.post_page_request(call.f, owner, -i64::from(rest));
        }
        Ok(())
    }
}
