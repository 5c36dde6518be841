//! A map from address ranges to values, split and trimmed as ranges are taken away.

use std::collections::BTreeMap;

/// A value whose meaning moves with the start of its range.
pub trait Advance: Clone {
    /// The value for the part of the range that begins `by` bytes later.
    fn advance(&self, by: u64) -> Self;
}

/// Disjoint ranges of 64-bit addresses, each with a value. Ranges are given by their first and last address, so that
/// one may end at the top of the address space.
#[derive(Debug, Clone)]
pub struct IntervalMap<T> {
    ranges: BTreeMap<u64, (u64, T)>,
}

impl<T> Default for IntervalMap<T> {
    fn default() -> Self {
        Self { ranges: BTreeMap::new() }
    }
}

impl<T: Advance> IntervalMap<T> {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of ranges.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// True if nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Adds a range. `Err` gives the value back if the range is empty (`last < first`) or overlaps another.
    pub fn insert(&mut self, first: u64, last: u64, value: T) -> Result<(), T> {
        if last < first || self.overlaps(first, last) {
            return Err(value);
        }
        self.ranges.insert(first, (last, value));
        Ok(())
    }

    /// Whether any address from `first` to `last` is mapped.
    pub fn overlaps(&self, first: u64, last: u64) -> bool {
        self.ranges.range(..=last).next_back().is_some_and(|(_, (l, _))| *l >= first)
    }

    /// Takes all addresses from `first` to `last` away: ranges inside go, ranges across an end are trimmed, a range
    /// around both ends is split. Returns how many bytes were mapped (saturating).
    pub fn remove(&mut self, first: u64, last: u64) -> u64 {
        let mut removed = 0u64;
        if last < first {
            return removed;
        }
        while let Some((&f, &(l, _))) = self.ranges.range(..=last).next_back() {
            if l < first {
                break;
            }
            let Some((_, value)) = self.ranges.remove(&f) else { break };
            if l > last {
                self.ranges.insert(last + 1, (l, value.advance(last + 1 - f)));
            }
            if f < first {
                self.ranges.insert(f, (first - 1, value));
            }
            removed = removed.saturating_add((l.min(last) - f.max(first)).saturating_add(1));
        }
        removed
    }

    /// The range that holds `addr`: its first and last address, and its value.
    #[inline]
    pub fn get(&self, addr: u64) -> Option<(u64, u64, &T)> {
        let (first, (last, value)) = self.ranges.range(..=addr).next_back()?;
        (*last >= addr).then_some((*first, *last, value))
    }

    /// The first mapped address above `addr` that begins a range.
    pub fn next_start(&self, addr: u64) -> Option<u64> {
        self.ranges.range(addr..).map(|(first, _)| *first).find(|first| *first > addr)
    }

    /// All ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64, &T)> {
        self.ranges.iter().map(|(first, (last, value))| (*first, *last, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The value remembers the address that it was inserted at, so that a wrong `advance` shows.
    #[derive(Debug, Clone, PartialEq)]
    struct At {
        tag: u32,
        offset: u64,
    }

    impl Advance for At {
        fn advance(&self, by: u64) -> Self {
            Self { tag: self.tag, offset: self.offset + by }
        }
    }

    #[derive(Debug, Clone)]
    enum Op {
        Insert(u64, u64),
        Remove(u64, u64),
    }

    const SPACE: u64 = 96;

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let range = (0..SPACE, 0..SPACE);
        let op = prop_oneof![
            range.clone().prop_map(|(a, b)| Op::Insert(a.min(b), a.max(b).min(a.min(b) + 20))),
            range.prop_map(|(a, b)| Op::Remove(a.min(b), a.max(b)))
        ];
        proptest::collection::vec(op, 1..80)
    }

    proptest! {
        #[test]
        fn the_map_agrees_with_a_table_of_every_address(ops in ops()) {
            let mut map = IntervalMap::new();
            let mut model: Vec<Option<At>> = vec![None; SPACE as usize];
            for (tag, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Insert(a, b) => {
                        let free = model[a as usize..=b as usize].iter().all(Option::is_none);
                        let value = At { tag: tag as u32, offset: 1000 };
                        prop_assert_eq!(map.insert(a, b, value).is_ok(), free);
                        if free {
                            for x in a..=b {
                                model[x as usize] = Some(At { tag: tag as u32, offset: 1000 + x - a });
                            }
                        }
                    }
                    Op::Remove(a, b) => {
                        let had = model[a as usize..=b as usize].iter_mut().filter_map(Option::take).count();
                        prop_assert_eq!(map.remove(a, b), had as u64);
                    }
                }
                for (x, expected) in model.iter().enumerate() {
                    let x = x as u64;
                    let got = map.get(x).map(|(first, last, v)| {
                        assert!(first <= x && x <= last);
                        v.advance(x - first)
                    });
                    prop_assert_eq!(got.as_ref(), expected.as_ref());
                    let next = map.iter().map(|(f, _, _)| f).find(|f| *f > x);
                    prop_assert_eq!(map.next_start(x), next);
                }
            }
        }
    }

    #[test]
    fn the_whole_address_space_can_be_mapped_and_removed() {
        let mut map = IntervalMap::new();
        assert!(map.insert(0, u64::MAX, At { tag: 0, offset: 0 }).is_ok());
        assert!(map.insert(5, 5, At { tag: 1, offset: 0 }).is_err());
        assert_eq!(map.remove(0x1000, 0x1fff), 0x1000);
        assert_eq!(map.len(), 2);
        assert_eq!(map.get(u64::MAX).map(|(f, l, v)| (f, l, v.offset)), Some((0x2000, u64::MAX, 0x2000)));
        assert_eq!(map.remove(0, u64::MAX), u64::MAX - 0x1000 + 1);
        assert!(map.is_empty());
        assert!(map.insert(5, 4, At { tag: 0, offset: 0 }).is_err());
    }
}
