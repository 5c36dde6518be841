//! Numbered objects. They never move, so that neither growing nor freeing takes longer the more there are.

/// Objects of one chunk.
const CHUNK: usize = 256;

/// Objects by number; freed numbers are given out again, the last freed first.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get(&self, n: u32) -> Option<&T> {
        self.chunks.get(n as usize / CHUNK)?.get(n as usize % CHUNK)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, n: u32) -> Option<&mut T> {
        self.chunks.get_mut(n as usize / CHUNK)?.get_mut(n as usize % CHUNK)?.as_mut()
    }

    /// Stores an object and returns its number. The caller's quota keeps numbers far below 2^32.
    pub(super) fn insert(&mut self, object: T) -> u32 {
        self.len += 1;
        if let Some(n) = self.free.pop()
            && let Some(slot) = self.chunks.get_mut(n as usize / CHUNK).and_then(|c| c.get_mut(n as usize % CHUNK))
        {
            *slot = Some(object);
            return n;
        }
        if self.chunks.last().is_none_or(|c| c.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let base = (self.chunks.len() - 1) * CHUNK;
        match self.chunks.last_mut() {
            Some(chunk) => {
                chunk.push(Some(object));
                (base + chunk.len() - 1) as u32
            }
            None => 0,
        }
    }

    pub(super) fn remove(&mut self, n: u32) -> Option<T> {
        let object = self.chunks.get_mut(n as usize / CHUNK)?.get_mut(n as usize % CHUNK)?.take()?;
        self.len -= 1;
        self.free.push(n);
        Some(object)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> + '_ {
        self.chunks
            .iter()
            .enumerate()
            .flat_map(|(c, chunk)| chunk.iter().enumerate().map(move |(n, slot)| ((c * CHUNK + n) as u32, slot)))
            .filter_map(|(n, slot)| slot.as_ref().map(|object| (n, object)))
    }
}
