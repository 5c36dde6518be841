//! Page events on demand (`ctl inject pages`).

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::capability::{CapMode, CapType};
use mlx5emu_prm::event::Event;
use mlx5emu_prm::layouts::{cmd_hca_cap, mlx5_eqe_page_req};
use mlx5emu_prm::states::VhcaState;

use super::Owner;
use crate::card::{Card, FunctionIndex};

/// Ids that are no function's and have a book, for one giver.
const MAX_UNKNOWN: usize = 64;

/// Whose pages an injected event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageTarget {
    /// A function's: the event goes to the PF that gives for it.
    Function(FunctionIndex),
    /// Those of an id, as the mode of the PF has it: it may be nobody's.
    Id(FunctionIndex, u16),
}

/// What an injected event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageChange {
    /// More pages, or (negative) fewer.
    Ask(i32),
    /// All of them are the driver's again, without a command.
    ReleaseAll,
}

impl<M: DmaSpace + 'static> Card<M> {
    fn giver_and_owner(&self, target: PageTarget) -> (FunctionIndex, Owner) {
        match target {
            PageTarget::Function(f) => (self.manager_of(f), Owner::Function(f)),
            PageTarget::Id(giver, id) => {
                let f = self.function_of_id(giver, self.page_id_mode(giver), id, false);
                (giver, f.map_or(Owner::Unknown(id), Owner::Function))
            }
        }
    }

    /// Checks the canaries of `target` before they are given up, some with each call (gate shared), from `*from` on.
    /// False: there are no more.
    pub fn check_before_release(&self, target: PageTarget, from: &mut usize) -> bool {
        let (giver, owner) = self.giver_and_owner(target);
        let more = self.check_some(giver, owner, *from);
        *from += super::canary::BURST;
        more
    }

    /// Sends a page request event and books it. What is asked for is wanted beyond the firmware's own need until it is
    /// offered back or the function is disabled.
    ///
    /// # Errors
    /// One sentence: nobody would hear of it.
    pub fn inject_pages(&mut self, target: PageTarget, change: PageChange) -> Result<(), String> {
        let (giver, owner) = self.giver_and_owner(target);
        if let Owner::Function(f) = owner
            && self.vhca_state(f) == VhcaState::INVALID
        {
            return Err(format!("{} is not allocated", self.function_name(f)));
        }
        let Some(function) = self.functions.get_mut(giver) else { return Err("there is no such function".into()) };
        if !function.has_listener(Event::PAGE_REQUEST) {
            return Err(format!("the driver of {} does not listen to page requests", function.name));
        }
        let switched_on = function.state.caps.area(CapType::GENERAL, CapMode::CUR);
        if change == PageChange::ReleaseAll
            && switched_on.is_none_or(|caps| cmd_hca_cap::release_all_pages.get(caps) == 0)
        {
            return Err(format!("the driver of {} has not switched release_all_pages on", function.name));
        }
        let pages = &mut function.state.pages;
        let known = pages.iter().filter(|(owner, _)| matches!(owner, Owner::Unknown(_))).count();
        if matches!(owner, Owner::Unknown(_)) && pages.book(owner).is_none() && known >= MAX_UNKNOWN {
            return Err(format!("{MAX_UNKNOWN} ids that are no function's have pages already"));
        }
        match change {
            PageChange::Ask(count) => {
                let book = pages.book_mut(owner);
                book.extra = book.extra.saturating_add(count.into());
                let on_its_way = if count > 0 { &mut book.asked } else { &mut book.recalled };
                *on_its_way = on_its_way.saturating_add(count.unsigned_abs());
                self.post_page_request(giver, owner, count.into());
            }
            PageChange::ReleaseAll => self.release_all(giver, owner),
        }
        Ok(())
    }

    /// Gives all pages of `owner` up by one event, which the driver answers with no command.
    fn release_all(&mut self, giver: FunctionIndex, owner: Owner) {
        let pages = &mut self.functions[giver].state.pages;
        let released = pages.remove(owner, usize::MAX);
        for page in &released {
            pages.unmarked.get_mut().remove(page);
        }
        let book = pages.book_mut(owner);
        book.quiet();
        book.shrink();
        book.extra = 0;
        self.totals_mut(giver, owner).returned += released.len() as u64;
        let mut data = self.page_event(giver, owner);
        mlx5_eqe_page_req::release_all_pages.set(&mut data, 1);
        self.post_event(giver, Event::PAGE_REQUEST, 0, &data);
    }
}
