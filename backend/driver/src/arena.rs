//! Addresses for DMA memory: first fit, lowest first, so that the same run gets the same addresses.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// An allocator of ranges in `[base, base + len)`.
#[derive(Debug, Clone)]
pub struct Arena {
    /// Free ranges: start to length.
    free: BTreeMap<u64, u64>,
    /// Allocated ranges: start to length.
    used: BTreeMap<u64, u64>,
    in_use: u64,
}

impl Arena {
    /// An arena of `len` bytes from `base` on. Address 0 is never given out.
    pub fn new(base: u64, len: u64) -> Self {
        let (base, len) = if base == 0 { (4096, len.saturating_sub(4096)) } else { (base, len) };
        Self { free: BTreeMap::from([(base, len)]), used: BTreeMap::new(), in_use: 0 }
    }

    /// Allocates `len` bytes (at least one), aligned to `align`.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn alloc(&mut self, len: usize, align: usize) -> Result<u64> {
        let want = (len as u64).max(1);
        let align = (align as u64).max(1);
        let found = self.free.iter().find_map(|(start, size)| {
            let at = start.checked_next_multiple_of(align)?;
            (at + want <= start + size).then_some((*start, *size, at))
        });
        let Some((start, size, at)) = found else { return Err(Error::NoMemory(len)) };
        self.free.remove(&start);
        if at > start {
            self.free.insert(start, at - start);
        }
        if at + want < start + size {
            self.free.insert(at + want, start + size - at - want);
        }
        self.used.insert(at, want);
        self.in_use += want;
        Ok(at)
    }

    /// Gives a range back. Says how long it was; `None` when there is no such range.
    pub fn free(&mut self, at: u64) -> Option<u64> {
        let len = self.used.remove(&at)?;
        self.in_use -= len;
        let (mut start, mut size) = (at, len);
        if let Some((before, before_len)) = self.free.range(..at).next_back().map(|(s, l)| (*s, *l))
            && before + before_len == at
        {
            self.free.remove(&before);
            (start, size) = (before, before_len + size);
        }
        if let Some(after) = self.free.remove(&(at + len)) {
            size += after;
        }
        self.free.insert(start, size);
        Some(len)
    }

    /// Bytes allocated now.
    pub fn in_use(&self) -> usize {
        self.in_use as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_aligned_disjoint_and_merge_again() {
        let mut arena = Arena::new(0, 1 << 20);
        let a = arena.alloc(100, 1).unwrap();
        let b = arena.alloc(4096, 4096).unwrap();
        let c = arena.alloc(50, 1).unwrap();
        assert_eq!((a, b, c), (4096, 8192, 4196));
        assert_eq!(arena.in_use(), 4246);
        for at in [b, a, c] {
            assert!(arena.free(at).is_some());
        }
        assert_eq!(arena.free(a), None);
        assert_eq!((arena.in_use(), arena.free.len()), (0, 1));
        assert_eq!(arena.alloc(1 << 20, 1), Err(Error::NoMemory(1 << 20)));
    }
}
