//! Numbered objects. They never move, so that neither growing nor freeing takes longer the more there are.

/// Objects of the first chunk; each further one has room for as many as all before it and as many again as the first, so
/// that the list of chunks is a cache line or two, however many objects there are.
const FIRST: usize = 64;

/// The chunk of object `n`, and its place there: chunk c begins with object `FIRST * (2^c - 1)`.
#[inline]
const fn place(n: u32) -> (usize, usize) {
    let at = n as usize + FIRST;
    let chunk = (at / FIRST).ilog2() as usize;
    (chunk, at - (FIRST << chunk))
}

/// Objects by number; freed numbers are given out again, the last freed first.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    /// Numbers that were ever given out: all below.
    used: u32,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), used: 0, len: 0 }
    }
}

impl<T> Slab<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get(&self, n: u32) -> Option<&T> {
        let (chunk, at) = place(n);
        self.chunks.get(chunk)?.get(at)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, n: u32) -> Option<&mut T> {
        self.slot(n)?.as_mut()
    }

    fn slot(&mut self, n: u32) -> Option<&mut Option<T>> {
        let (chunk, at) = place(n);
        self.chunks.get_mut(chunk)?.get_mut(at)
    }

    /// Stores an object and returns its number. The caller's quota keeps numbers far below 2^32.
    pub(super) fn insert(&mut self, object: T) -> u32 {
        self.len += 1;
        if let Some(n) = self.free.pop()
            && let Some(slot) = self.slot(n)
        {
            *slot = Some(object);
            return n;
        }
        let n = self.used;
        self.used += 1;
        let (chunk, _) = place(n);
        if chunk == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(FIRST << chunk));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(Some(object));
        }
        n
    }

    pub(super) fn remove(&mut self, n: u32) -> Option<T> {
        let object = self.slot(n)?.take()?;
        self.len -= 1;
        self.free.push(n);
        Some(object)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> + '_ {
        (0..).zip(self.chunks.iter().flatten()).filter_map(|(n, slot)| Some((n, slot.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_one_after_the_other() {
        let mut next = (0, 0);
        for n in 0..100_000 {
            let found = place(n);
            if found != next {
                assert_eq!((found, next.1), ((next.0 + 1, 0), FIRST << next.0), "{n}");
            }
            next = (found.0, found.1 + 1);
        }
    }

    #[test]
    fn what_is_stored_is_found_by_its_number_until_it_is_removed() {
        let mut slab = Slab::default();
        let numbers: Vec<u32> = (0..1000).map(|n| slab.insert(n * 3)).collect();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
        for n in (0..1000).filter(|n| n % 2 == 1) {
            assert_eq!(slab.remove(n), Some(n * 3));
            assert_eq!(slab.remove(n), None);
            assert_eq!(slab.get(n), None);
        }
        assert!(slab.iter().map(|(n, object)| (n, *object)).eq((0..1000).step_by(2).map(|n| (n, n * 3))));
        assert_eq!(slab.insert(7), 999, "the last freed first");
        assert_eq!(slab.len(), 501);
        assert_eq!(slab.get_mut(998).copied(), Some(2994));
        assert_eq!((slab.get(999), slab.get(1000)), (Some(&7), None));
    }
}
