//! What a function's driver gave: one book for each function that the pages are for.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use crate::card::FunctionIndex;

/// Whom pages are for, as the firmware keys it: neither mode of naming (`icm_mng_function_id_mode`) changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A function of the card.
    Function(FunctionIndex),
    /// An id that is no function's, for which an injected event asked.
    Unknown(u16),
}

/// What was given and got back for an owner since the card started. Given is returned and forgotten and held.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PageTotals {
    /// Pages given.
    pub given: u64,
    /// Pages returned.
    pub returned: u64,
    /// Pages that the firmware lost in a reset, or when the driver disabled the HCA without taking them back: the driver
    /// frees them by itself.
    pub forgotten: u64,
    /// Requests by event that the driver answered with "can't give".
    pub cannot_give: u64,
}

/// The pages of one owner.
#[derive(Debug, Default)]
pub struct Book {
    /// By their place in the order of return.
    held: BTreeMap<u64, u64>,
    /// Asked for by event, and neither given nor refused.
    pub asked: u32,
    /// Offered by event, and not yet taken.
    pub recalled: u32,
    /// Beyond the firmware's own need, by injected events: more, or (negative) fewer.
    pub extra: i64,
    /// Asked for because of the owner's objects.
    pub grown: u32,
    /// The driver could not give for more objects: it is not asked again until they are fewer.
    pub gave_up: bool,
    /// A VF's: the PF could not give what was asked for last.
    pub refused: bool,
    /// A VF's: until when its INIT_HCA waits for pages.
    pub waits_until: Option<u64>,
}

impl Book {
    /// Pages that the firmware holds.
    pub fn held(&self) -> u32 {
        self.held.len() as u32
    }

    /// `needed` pages, and those that injected events asked for beyond.
    pub(super) fn with_extra(&self, needed: u32) -> u32 {
        (i64::from(needed) + self.extra.max(0)).clamp(0, i64::from(u32::MAX)) as u32
    }

    /// One of the pages, for whoever wants to look at it: the next that goes back.
    pub fn some_page(&self) -> Option<u64> {
        self.held.first_key_value().map(|(_, page)| *page)
    }

    /// Forgets what was on its way: nobody listens any more.
    pub(super) fn quiet(&mut self) {
        (self.asked, self.recalled, self.refused, self.waits_until) = (0, 0, false, None);
    }

    /// The owner has no object any more.
    pub(super) fn shrink(&mut self) {
        (self.grown, self.gave_up) = (0, false);
    }
}

/// Everything that one function's driver gave.
#[derive(Debug)]
pub struct Pages {
    books: BTreeMap<Owner, Book>,
    /// Which page goes back first hangs on this.
    order: u64,
    /// The event pages were asked for since INIT_HCA.
    pub requested_by_event: bool,
    /// Pages that hold no canary: it is not written yet or cannot be, or it was found broken and told of.
    pub(super) unmarked: Mutex<BTreeSet<u64>>,
}

impl Pages {
    /// Nothing given yet; the order in which pages go back is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { books: BTreeMap::new(), order: seed, requested_by_event: false, unmarked: Mutex::default() }
    }

    /// The book of `owner`, if there is one.
    pub fn book(&self, owner: Owner) -> Option<&Book> {
        self.books.get(&owner)
    }

    /// The book of `owner`, to write in.
    pub fn book_mut(&mut self, owner: Owner) -> &mut Book {
        self.books.entry(owner).or_default()
    }

    /// Every book.
    pub fn iter(&self) -> impl Iterator<Item = (Owner, &Book)> {
        self.books.iter().map(|(owner, book)| (*owner, book))
    }

    /// Every book, to write in.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Owner, &mut Book)> {
        self.books.iter_mut().map(|(owner, book)| (*owner, book))
    }

    /// Pages that the firmware holds for `owner`.
    pub fn held(&self, owner: Owner) -> u32 {
        self.book(owner).map_or(0, Book::held)
    }

    /// Pages that the firmware holds, for whomever.
    pub fn held_by_all(&self) -> u32 {
        self.books.values().map(Book::held).sum()
    }

    /// Whether `page` was given and not returned, for whomever.
    pub fn has(&self, page: u64) -> bool {
        let place = self.place(page);
        self.books.values().any(|book| book.held.contains_key(&place))
    }

    /// Takes pages over, none of which is held. With `canaries`, theirs are still to be written.
    pub fn add(&mut self, owner: Owner, pages: &BTreeSet<u64>, canaries: bool) {
        let order = self.order;
        if canaries {
            self.unmarked.get_mut().extend(pages);
        }
        self.book_mut(owner).held.extend(pages.iter().map(|page| (place(order, *page), *page)));
    }

    /// Gives up to `count` pages of `owner` up.
    pub fn remove(&mut self, owner: Owner, count: usize) -> Vec<u64> {
        let Some(book) = self.books.get_mut(&owner) else { return Vec::new() };
        std::iter::from_fn(|| book.held.pop_first()).map(|(_, page)| page).take(count).collect()
    }

    /// Up to `most` pages that the firmware holds for `owner`, or for everyone.
    pub fn listed(&self, owner: Option<Owner>, most: usize) -> Vec<u64> {
        let books = self.books.iter().filter(|(of, _)| owner.is_none_or(|wanted| wanted == **of));
        books.flat_map(|(_, book)| book.held.values().copied()).take(most).collect()
    }

    fn place(&self, page: u64) -> u64 {
        place(self.order, page)
    }
}

/// SplitMix64's finalizer: no two inputs have the same output.
pub(super) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The place of a page in an order that no driver can rely on. Two pages have two places.
fn place(order: u64, page: u64) -> u64 {
    mix(page ^ mix(order))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_back_in_an_order_of_their_own_and_once() {
        let given: BTreeSet<u64> = (1..100).map(|n| n * 4096).collect();
        let orders: BTreeSet<Vec<u64>> = (0..4)
            .map(|seed| {
                let mut pages = Pages::new(seed);
                pages.add(Owner::Unknown(7), &given, true);
                assert!(given.iter().all(|page| pages.has(*page)) && !pages.has(4095));
                let first = pages.remove(Owner::Unknown(7), 40);
                assert_eq!((first.len(), pages.held_by_all()), (40, 59));
                assert!(first.iter().all(|page| !pages.has(*page)));
                let all: Vec<u64> = first.into_iter().chain(pages.remove(Owner::Unknown(7), 1000)).collect();
                assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), given);
                assert_eq!(pages.held(Owner::Unknown(7)), 0);
                all
            })
            .collect();
        assert_eq!(orders.len(), 4);
    }
}
