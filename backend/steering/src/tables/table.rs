//! The objects: flow tables, flow groups, flow entries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use super::counter::CounterRef;
use super::index::HashKey;
use super::matcher::{Mask, MaskedKey, Matcher};
use super::modify_header::ModifyHeader;
use super::slab::Slab;
use super::types::{Actions, Destinations, FlowContext, GroupId, ModifyHeaderId, TableId, TableSpec};
use crate::key::{MatchCriteria, MatchParam};
use crate::packet::VlanTag;

/// A count that packets raise under a shared reference.
#[derive(Debug, Default)]
pub(super) struct Hits(AtomicU64);

impl Hits {
    pub(super) fn raise(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The hashes of a packet's key, one for each matcher of a table.
pub(super) type Hashes = SmallVec<[u64; 4]>;

/// A lookup in steps.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    hashes: Hashes,
    /// Numbers of entries.
    likely: SmallVec<[u32; 4]>,
}

impl Lookup {
    pub(super) fn hashes(&self) -> &Hashes {
        &self.hashes
    }

    /// Reads both lines of the entries that [`Table::find_likely`] found. What it returns means nothing.
    #[inline]
    pub(super) fn read_entries(&self, all: &Slab<Entry>) -> u64 {
        let entries = self.likely.iter().filter_map(|n| all.get(*n));
        entries.fold(0, |read, entry| read ^ u64::from(entry.flow_index) ^ entry.hits.get())
    }
}

/// A flow table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) spec: TableSpec,
    /// Groups by their first index.
    pub(super) groups: BTreeMap<u32, GroupId>,
    /// Numbers of the entries by their index.
    pub(super) entries: BTreeMap<u32, u32>,
    /// One for every different mask, by the first index of their groups.
    pub(super) matchers: Vec<Matcher>,
    /// The bits of the key that any of them looks at.
    pub(super) looks_at: Mask,
    /// Destinations and misses that name this table.
    pub(super) users: usize,
    pub(super) packets: Hits,
    pub(super) misses: Hits,
}

/// A flow group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) table: TableId,
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) criteria: MatchCriteria,
    pub(super) mask: Mask,
}

/// A flow entry: two cache lines, so that among a million of them a packet misses the cache as rarely as can be. The first
/// line is what finding it and forwarding need; the second, with the count that packets write, is the rest.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Entry {
    pub(super) key: MaskedKey,
    pub(super) destinations: Destinations,
    pub(super) flow_index: u32,
    pub(super) flow_tag: u32,

    pub(super) actions: Actions,
    pub(super) group: GroupId,
    pub(super) hits: Hits,
    pub(super) counters: Box<[CounterRef]>,
    pub(super) modify_header: Option<(ModifyHeaderId, Arc<ModifyHeader>)>,
    pub(super) push_vlan: VlanTag,
    pub(super) push_vlan_2: VlanTag,
}

const _: () = assert!(size_of::<Option<Entry>>() == 128, "an entry must fit in two cache lines");

impl Entry {
    /// The entry as commands carry it, its value masked.
    pub(super) fn context(&self, group: &Group) -> FlowContext {
        FlowContext {
            group: self.group,
            flow_tag: self.flow_tag,
            action: self.actions,
            value: group.mask.expand_key(&self.key),
            destinations: self.destinations.clone(),
            counters: self.counters.iter().map(|c| c.id).collect(),
            modify_header: self.modify_header.as_ref().map_or(ModifyHeaderId(0), |(id, _)| *id),
            push_vlan: self.push_vlan,
            push_vlan_2: self.push_vlan_2,
        }
    }
}

impl Table {
    pub(super) fn new(spec: TableSpec) -> Self {
        Self {
            spec,
            groups: BTreeMap::new(),
            entries: BTreeMap::new(),
            matchers: Vec::new(),
            looks_at: Mask::default(),
            users: 0,
            packets: Hits::default(),
            misses: Hits::default(),
        }
    }

    /// Number of indexes.
    pub(super) fn size(&self) -> u32 {
        1u32.checked_shl(u32::from(self.spec.log_size)).unwrap_or(u32::MAX)
    }

    /// The entry of the lowest index that `packet` matches, and its number. `hashes` are those of [`Table::begin_lookup`],
    /// or none.
    #[inline]
    pub(super) fn lookup<'a>(
        &self,
        hash: HashKey,
        all: &'a Slab<Entry>,
        packet: &MatchParam,
        hashes: &Hashes,
    ) -> Option<(u32, &'a Entry)> {
        let mut best: Option<(u32, &Entry)> = None;
        for (n, matcher) in self.matchers.iter().enumerate() {
            if best.is_some_and(|(_, b)| b.flow_index < matcher.first_start()) {
                break;
            }
            if matcher.is_empty() {
                continue;
            }
            let h = hashes.get(n).copied().unwrap_or_else(|| matcher.hash(hash, packet));
            if let Some((number, found)) = matcher.find(h, all, packet)
                && best.is_none_or(|(_, b)| found.flow_index < b.flow_index)
            {
                best = Some((number, found));
            }
        }
        best
    }

    /// Begins a lookup that is done in several steps.
    pub(super) fn begin_lookup(&self, hash: HashKey, packet: &MatchParam, lookup: &mut Lookup) {
        lookup.hashes.clear();
        lookup.hashes.extend(self.matchers.iter().map(|matcher| matcher.hash(hash, packet)));
    }

    /// Reads where the lookup begins in each index. What it returns means nothing.
    #[inline]
    pub(super) fn read_places(&self, lookup: &Lookup) -> u64 {
        self.matchers.iter().zip(&lookup.hashes).fold(0, |read, (matcher, h)| read ^ matcher.read_place(*h))
    }

    /// Finds the entries that the lookup looks at first, without looking at them.
    pub(super) fn find_likely(&self, lookup: &mut Lookup) {
        lookup.likely.clear();
        let found = self.matchers.iter().zip(&lookup.hashes).filter_map(|(matcher, h)| matcher.likely(*h));
        lookup.likely.extend(found);
    }

    pub(super) fn matcher_of(&mut self, mask: &Mask) -> Option<&mut Matcher> {
        self.matchers.iter_mut().find(|m| m.mask == *mask)
    }

    /// Groups came or went.
    pub(super) fn arrange_matchers(&mut self) {
        self.matchers.sort_by_key(Matcher::first_start);
        self.looks_at = self.matchers.iter().fold(Mask::default(), |all, matcher| all.or(&matcher.mask));
    }
}
