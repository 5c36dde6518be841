//! Finding the entry of a table that a packet matches.
//!
//! A table's groups that have the same mask share one [`Matcher`]: a hash index from the masked dwords of the key to the
//! entry of the lowest index that has them. A lookup is one probe per *different* mask, and stops as soon as no further
//! group can have a lower index than what was found.

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use super::error::Error;
use super::index::{HashKey, Index};
use super::slab::Slab;
use super::table::Entry;
use crate::key::{MatchParam, SUPPORTED};

/// The dwords of a mask that are not zero: (number, mask).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Mask(SmallVec<[(u8, u32); 4]>);

/// The masked dwords of a value, in the order of the mask.
pub(super) type MaskedKey = SmallVec<[u32; 4]>;

impl Mask {
    /// Compresses a mask.
    ///
    /// # Errors
    /// It covers a bit that no packet's key ever has: such a rule would silently match wrong packets.
    pub(super) fn new(mask: &MatchParam) -> Result<Self, Error> {
        let mut out = Self::default();
        for (n, (bits, supported)) in mask.0.iter().zip(&SUPPORTED.0).enumerate().filter(|(_, (bits, _))| **bits != 0) {
            if bits & !supported != 0 {
                return Err(Error::UnsupportedMatch { dword: n as u16, bits: bits & !supported });
            }
            out.0.push((n as u8, *bits));
        }
        Ok(out)
    }

    /// The mask as commands carry it.
    pub(super) fn expand(&self) -> MatchParam {
        self.expand_key(&self.0.iter().map(|(_, bits)| *bits).collect())
    }

    /// A masked value as commands carry it.
    pub(super) fn expand_key(&self, key: &MaskedKey) -> MatchParam {
        let mut out = MatchParam::ZERO;
        for ((n, _), value) in self.0.iter().zip(key) {
            if let Some(dword) = out.0.get_mut(usize::from(*n)) {
                *dword = *value;
            }
        }
        out
    }

    /// Every bit of both.
    pub(super) fn or(&self, other: &Self) -> Self {
        let mut all = self.0.iter().copied().collect::<BTreeMap<_, _>>();
        for (n, bits) in &other.0 {
            *all.entry(*n).or_default() |= bits;
        }
        Self(all.into_iter().collect())
    }

    /// Whether two keys have the same bits here.
    #[inline]
    pub(super) fn agree(&self, a: &MatchParam, b: &MatchParam) -> bool {
        self.dwords(a).eq(self.dwords(b))
    }

    pub(super) fn key_of(&self, value: &MatchParam) -> MaskedKey {
        self.dwords(value).collect()
    }

    #[inline]
    fn dwords<'a>(&'a self, value: &'a MatchParam) -> impl Iterator<Item = u32> + 'a {
        self.0.iter().map(|(n, bits)| value.0.get(usize::from(*n)).map_or(0, |dword| dword & bits))
    }
}

/// The groups of a table that have the same mask.
#[derive(Debug)]
pub(super) struct Matcher {
    pub(super) mask: Mask,
    /// First indexes of the groups.
    starts: BTreeSet<u32>,
    /// The lowest of them: no entry of this matcher has a lower index.
    first_start: u32,
    /// The entry of the lowest index for every value.
    index: Index,
    entries: usize,
    /// The indexes of further entries with the value of another one: they wait until it goes.
    shadowed: BTreeMap<MaskedKey, BTreeSet<u32>>,
}

impl Matcher {
    pub(super) fn new(mask: Mask, start: u32) -> Self {
        let starts = BTreeSet::from([start]);
        Self { mask, starts, first_start: start, index: Index::default(), entries: 0, shadowed: BTreeMap::new() }
    }

    pub(super) fn add_group(&mut self, start: u32) {
        self.starts.insert(start);
        self.first_start = self.first_start.min(start);
    }

    /// Returns whether no group is left.
    pub(super) fn remove_group(&mut self, start: u32) -> bool {
        self.starts.remove(&start);
        self.first_start = self.starts.first().copied().unwrap_or(u32::MAX);
        self.starts.is_empty()
    }

    pub(super) fn first_start(&self) -> u32 {
        self.first_start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The hash of what the mask leaves of a packet's key.
    #[inline]
    pub(super) fn hash(&self, hash: HashKey, packet: &MatchParam) -> u64 {
        hash.hash(self.mask.dwords(packet))
    }

    /// The entry of the lowest index that `packet`, whose hash is `h`, matches, and its number.
    #[inline]
    pub(super) fn find<'a>(&self, h: u64, entries: &'a Slab<Entry>, packet: &MatchParam) -> Option<(u32, &'a Entry)> {
        let mut found = None;
        self.index.find(h, |n| {
            found = entries.get(n).filter(|e| self.mask.dwords(packet).eq(e.key.iter().copied())).map(|e| (n, e));
            found.is_some()
        });
        found
    }

    /// Reads where a lookup begins. What it returns means nothing.
    #[inline]
    pub(super) fn read_place(&self, h: u64) -> u64 {
        self.index.read_place(h)
    }

    /// The number of the entry that a lookup looks at first.
    #[inline]
    pub(super) fn likely(&self, h: u64) -> Option<u32> {
        self.index.find(h, |_| true)
    }

    fn find_key(&self, hash: u64, entries: &Slab<Entry>, key: &MaskedKey) -> Option<u32> {
        self.index.find(hash, |n| entries.get(n).is_some_and(|e| e.key == *key))
    }

    /// Adds entry `number`, which is in `entries` already.
    pub(super) fn insert(&mut self, hash: HashKey, entries: &Slab<Entry>, number: u32) {
        let Some(entry) = entries.get(number) else { return };
        let h = hash.hash(entry.key.iter().copied());
        let mut shadow = None;
        match self.find_key(h, entries, &entry.key).and_then(|n| entries.get(n).map(|e| (n, e.flow_index))) {
            Some((_, other)) if other < entry.flow_index => shadow = Some(entry.flow_index),
            Some((other_number, other)) => {
                self.index.remove(h, other_number);
                self.index.insert(h, number);
                shadow = Some(other);
            }
            None => self.index.insert(h, number),
        }
        if let Some(index) = shadow {
            self.shadowed.entry(entry.key.clone()).or_default().insert(index);
        }
        self.entries += 1;
    }

    /// Takes out entry `number`, which is in `entries` still. `number_at` gives the number of the entry at an index.
    pub(super) fn remove(
        &mut self,
        hash: HashKey,
        entries: &Slab<Entry>,
        number: u32,
        number_at: impl Fn(u32) -> Option<u32>,
    ) {
        let Some(entry) = entries.get(number) else { return };
        let h = hash.hash(entry.key.iter().copied());
        self.entries -= 1;
        if self.find_key(h, entries, &entry.key) == Some(number) {
            self.index.remove(h, number);
            let next = self.shadowed.get_mut(&entry.key).and_then(BTreeSet::pop_first);
            if let Some(next) = next.and_then(number_at) {
                self.index.insert(h, next);
            }
        } else if let Some(waiting) = self.shadowed.get_mut(&entry.key) {
            waiting.remove(&entry.flow_index);
        }
        if self.shadowed.get(&entry.key).is_some_and(BTreeSet::is_empty) {
            self.shadowed.remove(&entry.key);
        }
    }
}
