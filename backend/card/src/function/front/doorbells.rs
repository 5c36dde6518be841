//! Doorbells that were written and not yet looked at: a bit a queue to serve, a last-value cell a CQ or EQ.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::*};

/// A set of queue numbers to serve: three levels of 64-bit words, so that the next one is found in three steps.
pub struct PendingSet {
    top: AtomicU64,
    mid: Box<[AtomicU64]>,
    low: Box<[AtomicU64]>,
}

impl PendingSet {
    pub(super) fn new() -> Self {
        let words = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect::<Box<[_]>>();
        Self { top: AtomicU64::new(0), mid: words(64), low: words(4096) }
    }

    /// Marks `n`; numbers out of range are ignored. Says whether it was not marked before.
    pub fn mark(&self, n: u32) -> bool {
        let Some(low) = self.low.get((n / 64) as usize) else { return false };
        let fresh = low.fetch_or(1 << (n % 64), AcqRel) & (1 << (n % 64)) == 0;
        self.mid[(n / 4096) as usize].fetch_or(1 << (n / 64 % 64), AcqRel);
        self.top.fetch_or(1 << (n / 4096), AcqRel);
        fresh
    }

    /// Takes `n` out, if it is marked.
    pub fn unmark(&self, n: u32) {
        if let Some(low) = self.low.get((n / 64) as usize) {
            low.fetch_and(!(1 << (n % 64)), AcqRel);
        }
    }

    /// Takes every marked number out, lowest first, up to `limit`.
    pub fn take(&self, limit: usize, out: &mut Vec<u32>) {
        let mut top = self.top.swap(0, AcqRel);
        while top != 0 {
            let t = top.trailing_zeros();
            let mut mid = self.mid[t as usize].swap(0, AcqRel);
            while mid != 0 {
                let m = mid.trailing_zeros();
                let index = t * 64 + m;
                let mut low = self.low[index as usize].swap(0, AcqRel);
                while low != 0 && out.len() < limit {
                    out.push(index * 64 + low.trailing_zeros());
                    low &= low - 1;
                }
                if low != 0 {
                    // The limit was reached: put the rest back, with everything above it.
                    self.low[index as usize].fetch_or(low, AcqRel);
                    self.mid[t as usize].fetch_or(mid, AcqRel);
                    self.top.fetch_or(top, AcqRel);
                    return;
                }
                mid &= mid - 1;
            }
            top &= top - 1;
        }
    }

    /// Whether nothing is marked.
    pub fn is_empty(&self) -> bool {
        self.top.load(Acquire) == 0
    }

    pub(super) fn clear(&self) {
        let mut gone = Vec::new();
        self.take(usize::MAX, &mut gone);
    }
}

/// One doorbell written and not yet looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doorbell {
    /// The UAR page that it came through.
    pub uar: u32,
    /// Arm (EQ), or the command bits of the first dword (CQ: bit 24 is "solicited only").
    pub arm: bool,
    /// CQ only: an event is asked for solicited completions only.
    pub solicited: bool,
    /// Consumer index, 24 bits.
    pub ci: u32,
}

const VALID: u64 = 1 << 63;
const ARM: u64 = 1 << 62;
const SOLICITED: u64 = 1 << 61;

impl Doorbell {
    fn pack(self) -> u64 {
        VALID
            | if self.arm { ARM } else { 0 }
            | if self.solicited { SOLICITED } else { 0 }
            | u64::from(self.uar) << 32
            | u64::from(self.ci & 0xff_ffff)
    }

    fn unpack(raw: u64) -> Option<Self> {
        (raw & VALID != 0).then_some(Self {
            uar: (raw >> 32) as u32 & 0xff_ffff,
            arm: raw & ARM != 0,
            solicited: raw & SOLICITED != 0,
            ci: raw as u32 & 0xff_ffff,
        })
    }
}

type Chunk = Box<[AtomicU64; 512]>;

/// Last-value cells, one a queue number, allocated in chunks when a number is first used.
pub struct Cells {
    chunks: Box<[OnceLock<Chunk>]>,
    /// Numbers whose cell was written and not yet taken.
    pub pending: PendingSet,
}

impl Cells {
    pub(super) fn new(numbers: u32) -> Self {
        Self { chunks: (0..numbers.div_ceil(512)).map(|_| OnceLock::new()).collect(), pending: PendingSet::new() }
    }

    fn cell(&self, n: u32) -> Option<&AtomicU64> {
        let chunk = self.chunks.get((n / 512) as usize)?.get()?;
        chunk.get((n % 512) as usize)
    }

    /// Makes room for number `n`: called when the queue is created, so that doorbells for numbers that never existed
    /// allocate nothing.
    pub fn provide(&self, n: u32) {
        if let Some(chunk) = self.chunks.get((n / 512) as usize) {
            let chunk = chunk.get_or_init(|| Box::new([const { AtomicU64::new(0) }; 512]));
            if let Some(cell) = chunk.get((n % 512) as usize) {
                cell.store(0, Release);
            }
        }
    }

    pub(super) fn ring(&self, n: u32, bell: Doorbell) -> bool {
        let Some(cell) = self.cell(n) else { return false };
        // An arm request outlives a later update of the consumer index alone.
        let mut old = cell.load(Acquire);
        loop {
            let new = bell.pack() | (old & ARM);
            match cell.compare_exchange_weak(old, new, AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => old = now,
            }
        }
        self.pending.mark(n)
    }

    /// Forgets every doorbell.
    pub(super) fn clear(&self) {
        self.pending.clear();
        for chunk in self.chunks.iter().filter_map(OnceLock::get) {
            chunk.iter().for_each(|cell| cell.store(0, Release));
        }
    }

    /// Takes the doorbell of `n` out, if one was written.
    pub fn take(&self, n: u32) -> Option<Doorbell> {
        let cell = self.cell(n)?;
        if cell.load(Relaxed) == 0 {
            return None;
        }
        Doorbell::unpack(cell.swap(0, AcqRel))
    }
}

#[cfg(test)]
mod tests {
    use super::super::QUEUE_NUMBERS;
    use super::*;

    #[test]
    fn pending_set_gives_back_what_was_marked_in_order_and_in_parts() {
        let set = PendingSet::new();
        for n in [5, 70, 4096, QUEUE_NUMBERS - 1, 63, 64] {
            assert!(set.mark(n));
        }
        assert!(!set.mark(5));
        assert!(!set.mark(QUEUE_NUMBERS));
        let mut out = Vec::new();
        set.take(3, &mut out);
        assert_eq!(out, [5, 63, 64]);
        assert!(!set.is_empty());
        set.take(10, &mut out);
        assert_eq!(out, [5, 63, 64, 70, 4096, QUEUE_NUMBERS - 1]);
        assert!(set.is_empty());
    }
}
