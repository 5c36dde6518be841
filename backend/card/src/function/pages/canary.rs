//! Canaries: a pattern in each page that the firmware was given, checked before the page goes back and at TEARDOWN_HCA.
//!
//! Whoever writes to a page between, because the driver freed or used it too early, is found out. Patterns are written
//! and checked with the gate shared, a few pages at a time, before the command that gives or takes is answered. A page
//! that is reached by message only holds none.

use std::collections::VecDeque;

use mlx5emu_pci_model::{Attrs, DmaError, DmaSpace};
use parking_lot::Mutex;

use super::books::mix;
use super::{Owner, PAGE};
use crate::card::{Card, FunctionIndex};
use crate::commands::queue::Reply;
use crate::function::Function;
use crate::limited;

/// Pages that are written or checked in one hold of the gate: 256 KiB.
pub(super) const BURST: usize = 64;
/// Pages that are checked at TEARDOWN_HCA at most; all are checked when they go back.
const AT_TEARDOWN: usize = 1 << 14;
/// Broken canaries that are kept for `ctl inspect`.
const KEPT: usize = 8;
/// Bytes of a broken canary that are shown.
const SHOWN: usize = 16;
/// Words of a page.
const WORDS: usize = (PAGE / 8) as usize;

/// Canaries that a command leaves to write or to check.
#[derive(Debug)]
pub struct CanaryWork {
    pages: Vec<u64>,
    next: usize,
    write: bool,
}

impl CanaryWork {
    pub(super) fn write(pages: Vec<u64>) -> Option<Self> {
        Some(Self { pages, next: 0, write: true })
    }

    pub(super) fn check(pages: Vec<u64>) -> Option<Self> {
        Some(Self { pages, next: 0, write: false })
    }
}

/// A canary that was written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// The page's address.
    pub page: u64,
    /// First offset in the page that was written to.
    pub offset: usize,
    /// What was there, from the offset on.
    pub found: Vec<u8>,
}

/// What became of a function's canaries since the card started.
#[derive(Debug, Default)]
pub struct CanaryLog {
    /// Canaries written.
    pub written: u64,
    /// Canaries found whole.
    pub whole: u64,
    /// Canaries found broken.
    pub broken: u64,
    /// Pages without one, because they are reached by message only.
    pub by_message: u64,
    /// Pages that could not be reached to write or to check.
    pub unreachable: u64,
    /// The broken ones that were found last.
    pub last: VecDeque<Break>,
}

/// Canaries, as a function keeps them over its resets.
pub type Canaries = Mutex<CanaryLog>;

/// What is written into `page`.
fn pattern(seed: u64, page: u64) -> [u8; PAGE as usize] {
    let base = mix(page ^ mix(!seed));
    let mut bytes = [0; PAGE as usize];
    for (n, word) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate().take(WORDS) {
        *word = base.wrapping_add((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes();
    }
    bytes
}

impl<M: DmaSpace + 'static> Function<M> {
    /// Writes the canary of `page`.
    fn write_canary(&self, seed: u64, page: u64) {
        // A read tells whether the page is in this process: a write by message would be no error, but slow.
        let reached = self.space.read(Attrs::PLAIN, page, &mut [0; 8]);
        let written = reached.and_then(|()| self.space.write(Attrs::PLAIN, page, &pattern(seed, page)));
        match written {
            Ok(()) => {
                self.state.pages.unmarked.lock().remove(&page);
                self.canaries.lock().written += 1;
            }
            Err(error) => self.no_canary(page, error),
        }
    }

    /// Checks the canary of `page`, which goes back if `last`.
    fn check_canary(&self, seed: u64, page: u64, last: bool) {
        {
            let mut unmarked = self.state.pages.unmarked.lock();
            if if last { unmarked.remove(&page) } else { unmarked.contains(&page) } {
                return;
            }
        }
        let mut found = [0; PAGE as usize];
        if let Err(error) = self.space.read(Attrs::PLAIN, page, &mut found) {
            self.no_canary(page, error);
            return;
        }
        let expected = pattern(seed, page);
        let Some(offset) = found.iter().zip(&expected).position(|(found, expected)| found != expected) else {
            self.canaries.lock().whole += 1;
            return;
        };
        let shown = &found[offset..found.len().min(offset + SHOWN)];
        limited!(
            self.log,
            error,
            "{}: canary broken: something wrote to page {page:#x}, which the firmware holds, at offset {offset:#x}: \
             {shown:02x?} in place of {:02x?}",
            self.name,
            &expected[offset..offset + shown.len()]
        );
        let mut log = self.canaries.lock();
        log.broken += 1;
        log.last.push_back(Break { page, offset, found: shown.to_vec() });
        if log.last.len() > KEPT {
            log.last.pop_front();
        }
        drop(log);
        if !last {
            // It is told of once.
            self.state.pages.unmarked.lock().insert(page);
        }
    }

    fn no_canary(&self, page: u64, error: DmaError) {
        if matches!(error, DmaError::Fetch { .. }) {
            self.canaries.lock().by_message += 1;
            return;
        }
        self.canaries.lock().unreachable += 1;
        limited!(self.log, warn, "{}: page {page:#x} of the firmware cannot be reached: {error}", self.name);
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    /// What TEARDOWN_HCA checks: what `giver` gave, for whomever.
    pub(crate) fn check_at_teardown(&self, giver: FunctionIndex) -> Option<CanaryWork> {
        CanaryWork::check(self.functions[giver].state.pages.listed(None, AT_TEARDOWN))
    }

    /// Broken canaries were taken note of: their count begins anew.
    pub fn forget_broken_canaries(&mut self, f: FunctionIndex) {
        if let Some(function) = self.functions.get_mut(f) {
            let log = function.canaries.get_mut();
            log.broken = 0;
            log.last.clear();
        }
    }

    /// Writes or checks some of the canaries that belong to `reply` (gate shared). True: there are more.
    pub fn mind_canaries(&self, reply: &mut Reply) -> bool {
        let Some(work) = &mut reply.command.canaries else { return false };
        let manner = &self.personality.page_manner;
        let Some(function) = self.functions.get(reply.command.function) else { return false };
        if !manner.canaries || function.front.life() != reply.command.generation {
            return false;
        }
        let some = work.pages.iter().skip(work.next).take(BURST);
        for page in some {
            if work.write {
                function.write_canary(self.personality.seed, *page);
            } else {
                function.check_canary(self.personality.seed, *page, !function.state.pages.has(*page));
            }
        }
        work.next += BURST;
        work.next < work.pages.len()
    }

    /// Checks the canaries of what `giver` gave for `owner` (gate shared), `BURST` from the `from`-th on. False: there are
    /// no more.
    pub(super) fn check_some(&self, giver: FunctionIndex, owner: Owner, from: usize) -> bool {
        let Some(function) = self.functions.get(giver).filter(|_| self.personality.page_manner.canaries) else {
            return false;
        };
        let pages = function.state.pages.listed(Some(owner), from.saturating_add(BURST));
        for page in pages.iter().skip(from) {
            function.check_canary(self.personality.seed, *page, false);
        }
        pages.len() == from + BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_a_pattern_of_its_own_without_a_repetition() {
        let words = |bytes: &[u8]| bytes.as_chunks::<8>().0.iter().copied().collect::<std::collections::BTreeSet<_>>();
        let (a, b) = (words(&pattern(1, 0x1000)), words(&pattern(1, 0x2000)));
        assert_eq!((a.len(), b.len()), (WORDS, WORDS));
        assert!(a.is_disjoint(&b));
        assert!(a.is_disjoint(&words(&pattern(2, 0x1000))));
    }
}
