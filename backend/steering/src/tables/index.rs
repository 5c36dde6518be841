//! A hash index from masked keys to entries, and the keyed hash that it uses.
//!
//! The hash is SipHash-1-3 (Aumasson, Bernstein) over the masked dwords, with a key from outside: this crate has no
//! randomness, and a guest that could predict collisions could make every packet walk a long chain. The table holds eight
//! bytes a place, so that a probe is one cache line; growing is spread over insertions, so that no command has to
//! move a million entries while the card's gate is held.

/// The key of the hash, chosen by whoever builds the card (at random, or from the seed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HashKey(pub [u64; 2]);

impl HashKey {
    /// SipHash-1-3 of `dwords`.
    pub(super) fn hash(self, dwords: impl Iterator<Item = u32>) -> u64 {
        let [k0, k1] = self.0;
        let mut v = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        let mut absorb = |word: u64| {
            v[3] ^= word;
            sip_round(&mut v);
            v[0] ^= word;
        };
        let mut half: Option<u32> = None;
        let mut bytes = 0u64;
        for dword in dwords {
            bytes += 4;
            match half.take() {
                None => half = Some(dword),
                Some(low) => absorb(u64::from(low) | u64::from(dword) << 32),
            }
        }
        absorb((bytes & 0xff) << 56 | half.map_or(0, u64::from));
        v[2] ^= 0xff;
        for _ in 0..3 {
            sip_round(&mut v);
        }
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

#[inline]
fn sip_round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

/// Places of the smallest table.
const MIN_PLACES: usize = 8;
/// Places of the old table that one insertion or removal moves. A table of n places grows with 3n/4 entries to 2n places,
/// which have room for 3n/4 more; moving takes n/8 operations, so that it has long ended before the next growth.
const MOVES: usize = 8;

/// A place: the hash in the upper half, the number plus one in the lower; 0 is an empty place, so that a new table is
/// memory that the kernel gives zeroed, page by page.
type Place = u64;
const EMPTY: Place = 0;
/// A removed place of the old table: probes go on over it, and it is not moved.
const REMOVED: Place = u32::MAX as u64;

const fn place(hash: u32, number: u32) -> Place {
    (hash as u64) << 32 | (number as u64 + 1)
}

const fn place_hash(place: Place) -> u32 {
    (place >> 32) as u32
}

/// One open-addressed table with linear probing, a power of two of places.
#[derive(Debug, Default)]
struct Places {
    places: Vec<Place>,
    used: usize,
}

impl Places {
    fn mask(&self) -> usize {
        self.places.len().wrapping_sub(1)
    }

    /// The place of the number with this hash for which `eq` says yes. Few places have the right hash and the wrong number.
    fn find(&self, hash: u32, mut eq: impl FnMut(u32) -> bool) -> Option<(usize, u32)> {
        let mut at = hash as usize & self.mask();
        for _ in 0..self.places.len() {
            let place = *self.places.get(at)?;
            if place == EMPTY {
                return None;
            }
            if place_hash(place) == hash && place != REMOVED {
                let number = (place as u32).wrapping_sub(1);
                if eq(number) {
                    return Some((at, number));
                }
            }
            at = (at + 1) & self.mask();
        }
        None
    }

    /// There is always an empty place: the index grows before a table is full.
    fn insert(&mut self, new: Place) {
        let mask = self.mask();
        let mut at = place_hash(new) as usize & mask;
        for _ in 0..self.places.len() {
            if let Some(place) = self.places.get_mut(at)
                && *place == EMPTY
            {
                *place = new;
                self.used += 1;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Empties a place and closes the gap, so that probes need not go over removed places.
    fn remove(&mut self, at: usize) {
        let mask = self.mask();
        let mut gap = at;
        let mut next = (at + 1) & mask;
        while let Some(place) = self.places.get(next).copied().filter(|p| *p != EMPTY) {
            let home = place_hash(place) as usize & mask;
            // It may move back to the gap if its home is not behind the gap (distances are cyclic).
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(gap) & mask {
                if let Some(slot) = self.places.get_mut(gap) {
                    *slot = place;
                }
                gap = next;
            }
            next = (next + 1) & mask;
        }
        if let Some(slot) = self.places.get_mut(gap) {
            *slot = EMPTY;
        }
        self.used -= 1;
    }
}

/// A set of numbers (below 2^32 - 2), found by a hash and an equality that the caller knows.
#[derive(Debug, Default)]
pub(super) struct Index {
    table: Places,
    /// The table before the last growth, while its places are still being moved. What was moved stays in it, too; what is
    /// removed is marked.
    old: Places,
    /// Places of `old` that have been moved.
    moved: usize,
}

impl Index {
    /// The number with this hash for which `eq` says yes.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut eq: impl FnMut(u32) -> bool) -> Option<u32> {
        let hash = hash as u32;
        let found = self.table.find(hash, &mut eq);
        let found = if found.is_none() && !self.old.places.is_empty() { self.old.find(hash, eq) } else { found };
        found.map(|(_, number)| number)
    }

    /// Reads the place where a search begins. What it returns means nothing.
    #[inline]
    pub(super) fn read_place(&self, hash: u64) -> u64 {
        self.table.places.get(hash as u32 as usize & self.table.mask()).copied().unwrap_or_default()
    }

    /// Adds a number, which must not be in the set.
    pub(super) fn insert(&mut self, hash: u64, number: u32) {
        self.step();
        if (self.table.used + 1) * 4 > self.table.places.len() * 3 {
            while !self.old.places.is_empty() {
                self.step();
            }
            let places = (self.table.places.len() * 2).max(MIN_PLACES);
            let grown = Places { places: vec![EMPTY; places], used: 0 };
            self.old = std::mem::replace(&mut self.table, grown);
            self.moved = 0;
        }
        self.table.insert(place(hash as u32, number));
    }

    /// Takes a number out of the set.
    pub(super) fn remove(&mut self, hash: u64, number: u32) {
        if let Some((at, _)) = self.table.find(hash as u32, |n| n == number) {
            self.table.remove(at);
        }
        if let Some((at, _)) = self.old.find(hash as u32, |n| n == number)
            && let Some(place) = self.old.places.get_mut(at)
        {
            *place = REMOVED;
        }
        self.step();
        if self.table.used == 0 && self.old.places.is_empty() {
            *self = Self::default();
        }
    }

    /// Moves some places of the old table.
    fn step(&mut self) {
        if self.old.places.is_empty() {
            return;
        }
        let end = (self.moved + MOVES).min(self.old.places.len());
        for place in self.old.places.get(self.moved..end).unwrap_or(&[]) {
            if *place != EMPTY && *place != REMOVED {
                self.table.insert(*place);
            }
        }
        self.moved = end;
        if end == self.old.places.len() {
            self.old = Places::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::hash::{DefaultHasher, Hasher};

    use proptest::prelude::*;

    use super::*;

    /// With a zero key, the standard library's default hasher is SipHash-1-3, too.
    #[test]
    fn the_hash_is_siphash_1_3() {
        for len in 0..20u32 {
            let dwords: Vec<u32> = (0..len).map(|n| n.wrapping_mul(0x0101_6b35)).collect();
            let mut reference = DefaultHasher::new();
            for dword in &dwords {
                reference.write(&dword.to_le_bytes());
            }
            assert_eq!(HashKey([0, 0]).hash(dwords.iter().copied()), reference.finish());
        }
        assert_ne!(HashKey([0, 1]).hash([7].into_iter()), HashKey([1, 0]).hash([7].into_iter()));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert { number: u32, hash: u32 },
        Remove { pick: usize },
        Burst { hash: u32, count: u32 },
        Clear,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Few hashes, so that probes are long, collide and wrap around; bursts, so that tables grow while others move.
        let hash = prop_oneof![0u32..4, (u32::MAX - 3)..=u32::MAX, any::<u32>()];
        let step = prop_oneof![
            6 => (0u32..1000, hash.clone()).prop_map(|(number, hash)| Step::Insert { number, hash }),
            6 => any::<usize>().prop_map(|pick| Step::Remove { pick }),
            2 => (hash, 1u32..40).prop_map(|(hash, count)| Step::Burst { hash, count }),
            1 => Just(Step::Clear),
        ];
        proptest::collection::vec(step, 0..120)
    }

    #[derive(Default)]
    struct Model {
        index: Index,
        numbers: BTreeMap<u32, u32>,
    }

    impl Model {
        fn insert(&mut self, number: u32, hash: u32) {
            if let std::collections::btree_map::Entry::Vacant(slot) = self.numbers.entry(number) {
                slot.insert(hash);
                self.index.insert(u64::from(hash), number);
            }
        }

        fn remove(&mut self, number: u32) {
            let hash = self.numbers.remove(&number).unwrap();
            self.index.remove(u64::from(hash), number);
        }

        fn check(&self) -> Result<(), TestCaseError> {
            for number in 0..1100 {
                for hash in self.numbers.get(&number).copied().into_iter().chain([0, 1, u32::MAX]) {
                    let found = self.index.find(u64::from(hash), |n| n == number);
                    let expected = (self.numbers.get(&number) == Some(&hash)).then_some(number);
                    prop_assert_eq!(found, expected);
                }
            }
            Ok(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn the_index_holds_what_was_put_in_and_not_taken_out(steps in steps()) {
            let mut model = Model::default();
            for step in steps {
                match step {
                    Step::Insert { number, hash } => model.insert(number, hash),
                    Step::Burst { hash, count } => {
                        (0..count).for_each(|n| model.insert(1000 + n, hash.wrapping_add(n / 3)));
                    }
                    Step::Remove { pick } if !model.numbers.is_empty() => {
                        let number = *model.numbers.keys().nth(pick % model.numbers.len()).unwrap();
                        model.remove(number);
                    }
                    Step::Remove { .. } => {}
                    Step::Clear => {
                        for number in model.numbers.keys().copied().collect::<Vec<_>>() {
                            model.remove(number);
                        }
                    }
                }
                model.check()?;
            }
        }
    }
}
