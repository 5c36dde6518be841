//! Flow counters: packets and bytes, alone or in bulks of consecutive numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::Error;
use super::types::CounterId;

/// A counter's value (`traffic_counter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CounterValue {
    /// Packets.
    pub packets: u64,
    /// Bytes, without FCS.
    pub octets: u64,
}

/// A counter. Packets are counted under a shared reference; the two numbers are each exact, not a snapshot together.
#[derive(Debug, Default)]
pub(super) struct Counter {
    packets: AtomicU64,
    octets: AtomicU64,
}

impl Counter {
    pub(super) fn count(&self, packets: u64, octets: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.octets.fetch_add(octets, Ordering::Relaxed);
    }

    fn read(&self, clear: bool) -> CounterValue {
        let take = |n: &AtomicU64| if clear { n.swap(0, Ordering::Relaxed) } else { n.load(Ordering::Relaxed) };
        CounterValue { packets: take(&self.packets), octets: take(&self.octets) }
    }
}

/// A counter that an entry holds. It keeps the counter's memory alive, and counts as a user of it.
#[derive(Debug, Clone)]
pub(super) struct CounterRef {
    pub(super) id: CounterId,
    bulk: Arc<[Counter]>,
    at: usize,
}

impl CounterRef {
    pub(super) fn count(&self, packets: u64, octets: u64) {
        if let Some(counter) = self.bulk.get(self.at) {
            counter.count(packets, octets);
        }
    }
}

/// All counters, by the first number of each bulk (one counter is a bulk of one).
#[derive(Debug, Default)]
pub(super) struct Counters {
    bulks: BTreeMap<u32, Arc<[Counter]>>,
    allocated: usize,
    next: u32,
}

impl Counters {
    /// Allocates `count` counters with consecutive numbers, all zero, and returns the first.
    pub(super) fn alloc(&mut self, count: usize, max: usize) -> Result<CounterId, Error> {
        let quota = Error::Quota { what: "flow counters", max };
        if count == 0 || self.allocated + count > max {
            return Err(quota);
        }
        let base = self.free_range(count as u32).ok_or(quota)?;
        self.bulks.insert(base, (0..count).map(|_| Counter::default()).collect());
        self.allocated += count;
        self.next = base.wrapping_add(count as u32);
        Ok(CounterId(base))
    }

    /// The first free range of `count` numbers at or after the last one given out, so that numbers are reused late.
    fn free_range(&self, count: u32) -> Option<u32> {
        let mut from = self.next.max(1);
        for _ in 0..=self.bulks.len() + 1 {
            let Some(end) = from.checked_add(count) else {
                from = 1;
                continue;
            };
            match self.bulks.range(..end).next_back() {
                Some((base, bulk)) if u64::from(*base) + bulk.len() as u64 > u64::from(from) => {
                    from = base.checked_add(bulk.len() as u32).unwrap_or(1);
                }
                _ => return Some(from),
            }
        }
        None
    }

    /// Frees the counter, or the bulk, that was allocated with this number.
    pub(super) fn dealloc(&mut self, id: CounterId) -> Result<(), Error> {
        let bulk = self.bulks.get(&id.0).ok_or(Error::NoCounter(id))?;
        let users = Arc::strong_count(bulk) - 1;
        if users > 0 {
            return Err(Error::InUse { what: "the flow counter", users, by: "flow entries" });
        }
        self.allocated -= bulk.len();
        self.bulks.remove(&id.0);
        Ok(())
    }

    fn find(&self, id: CounterId) -> Result<(&Arc<[Counter]>, usize), Error> {
        let (base, bulk) = self.bulks.range(..=id.0).next_back().ok_or(Error::NoCounter(id))?;
        let at = (id.0 - base) as usize;
        if at < bulk.len() { Ok((bulk, at)) } else { Err(Error::NoCounter(id)) }
    }

    pub(super) fn reference(&self, id: CounterId) -> Result<CounterRef, Error> {
        let (bulk, at) = self.find(id)?;
        Ok(CounterRef { id, bulk: bulk.clone(), at })
    }

    pub(super) fn query(&self, id: CounterId, clear: bool) -> Result<CounterValue, Error> {
        let (bulk, at) = self.find(id)?;
        Ok(bulk.get(at).map(|c| c.read(clear)).unwrap_or_default())
    }

    pub(super) fn allocated(&self) -> usize {
        self.allocated
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = (CounterId, usize)> + '_ {
        self.bulks.iter().map(|(base, bulk)| (CounterId(*base), bulk.len()))
    }
}
