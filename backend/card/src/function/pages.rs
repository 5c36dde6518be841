//! Firmware pages: QUERY_PAGES, MANAGE_PAGES, and requests by event.
//!
//! The firmware asks for pages before the capabilities are read (boot), before INIT_HCA (init), and by a PAGE_REQUEST event
//! once an EQ listens to it. It gives back what the driver asks for after TEARDOWN_HCA.

use std::collections::BTreeSet;

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::event::Event;
use mlx5emu_prm::layouts::{
    be64, manage_pages_in, manage_pages_out, mlx5_eqe_page_req, query_pages_in, query_pages_out,
};
use mlx5emu_prm::opcode::Status;

use super::HcaState;
use crate::card::{Card, FunctionIndex};
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param, refuse};
use crate::limited;

/// Pages that a function may give in all: more than any driver is asked for.
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

/// The pages of one function.
#[derive(Debug, Default)]
pub struct Pages {
    held: BTreeSet<u64>,
    /// The request by event was sent since INIT_HCA.
    pub requested_by_event: bool,
}

/// What a function gave and got back since the card started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PageTotals {
    /// Pages given.
    pub given: u64,
    /// Pages returned.
    pub returned: u64,
    /// Pages that the firmware lost in a reset, or when the driver disabled the HCA without taking them back: the driver
    /// frees them by itself. Given is returned and forgotten and held.
    pub forgotten: u64,
    /// Requests by event that the driver answered with "can't give".
    pub cannot_give: u64,
}

impl Pages {
    /// Pages that the firmware holds.
    pub fn held(&self) -> u32 {
        self.held.len() as u32
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    fn own_pages(&self, function_id: u32, embedded_cpu: bool) -> Result<(), Stop> {
        if function_id != 0 || embedded_cpu {
            return bad_param(Syndrome::WrongFunction, format!("pages of function {function_id}: not this function"));
        }
        Ok(())
    }

    pub(crate) fn query_pages(&mut self, call: &mut Call) -> Done {
        use query_pages_in as cmd;
        self.own_pages(call.get(cmd::function_id), cmd::embedded_cpu_function.is_set(call.input))?;
        let counts = self.personality.pages;
        let target = match call.op_mod() {
            query::BOOT => counts.boot,
            query::INIT => counts.boot + counts.init,
            query::REGULAR => counts.boot + counts.init + counts.event,
            other => return refuse(Status::BAD_PARAM, Syndrome::UnknownOpMod, format!("op_mod {other}")),
        };
        let held = self.functions[call.f].state.pages.held();
        call.reply(query_pages_out::num_pages, target.saturating_sub(held));
        Ok(())
    }

    pub(crate) fn manage_pages(&mut self, call: &mut Call) -> Done {
        use manage_pages_in as cmd;
        self.own_pages(call.get(cmd::function_id), cmd::embedded_cpu_function.is_set(call.input))?;
        match call.op_mod() {
            manage::GIVE => self.give_pages(call),
            manage::TAKE => self.take_pages(call),
            manage::CANT_GIVE => {
                let function = &mut self.functions[call.f];
                function.page_totals.cannot_give += 1;
                limited!(function.log, warn, "{}: the driver can't give the pages asked for", function.name);
                Ok(())
            }
            other => refuse(Status::BAD_PARAM, Syndrome::UnknownOpMod, format!("op_mod {other}")),
        }
    }

    fn give_pages(&mut self, call: &mut Call) -> Done {
        let count = call.get(manage_pages_in::input_num_entries) as usize;
        let list = manage_pages_in::pas.of(call.input).as_chunks::<{ be64::SIZE }>().0;
        if list.len() < count {
            let why = format!("{count} pages announced, {} given", list.len());
            return bad_param(Syndrome::BadField, why);
        }
        let function = &mut self.functions[call.f];
        let pages = &mut function.state.pages;
        if pages.held.len() + count > MAX_PAGES {
            return refuse(Status::EXCEED_LIM, Syndrome::TooManyPages, format!("more than {MAX_PAGES} pages"));
        }
        // All or nothing: a list with one bad page is refused whole.
        let mut fresh = BTreeSet::new();
        for raw in &list[..count] {
            let page = u64::from_be_bytes(*raw);
            if page == 0 || page % PAGE != 0 || pages.held.contains(&page) || !fresh.insert(page) {
                return bad_param(Syndrome::BadPage, format!("page {page:#x} is misaligned, zero or given twice"));
            }
        }
        pages.held.append(&mut fresh);
        function.page_totals.given += count as u64;
        Ok(())
    }

    fn take_pages(&mut self, call: &mut Call) -> Done {
        let room = manage_pages_out::pas.of(call.output).len() / be64::SIZE;
        let asked = (call.get(manage_pages_in::input_num_entries) as usize).min(room);
        let counts = self.personality.pages;
        let function = &mut self.functions[call.f];
        // While the HCA runs, the firmware keeps what it works with.
        let keep = match function.state.hca {
            HcaState::Initialized => (counts.boot + counts.init + counts.event) as usize,
            _ => 0,
        };
        let pages = &mut function.state.pages;
        let count = asked.min(pages.held.len().saturating_sub(keep));
        for n in 0..count {
            // Highest first: a firmware gives back in an order of its own.
            let Some(page) = pages.held.pop_last() else { break };
            manage_pages_out::pas.at_mut(call.output, n)[..be64::SIZE].copy_from_slice(&page.to_be_bytes());
        }
        function.page_totals.returned += count as u64;
        call.reply(manage_pages_out::output_num_entries, count as u64);
        Ok(())
    }

    /// Asks for the regular pages, once after INIT_HCA, when an EQ listens.
    pub(crate) fn request_event_pages(&mut self, f: FunctionIndex) {
        let counts = self.personality.pages;
        let pages = &mut self.functions[f].state.pages;
        let missing = (counts.boot + counts.init + counts.event).saturating_sub(pages.held());
        if pages.requested_by_event || missing == 0 {
            return;
        }
        pages.requested_by_event = true;
        let mut data = [0u8; mlx5_eqe_page_req::SIZE];
        mlx5_eqe_page_req::num_pages.set(&mut data, u64::from(missing));
        self.post_event(f, Event::PAGE_REQUEST, 0, &data);
    }
}
