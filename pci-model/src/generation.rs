//! Which life of a function a piece of work belongs to.

use std::sync::atomic::{AtomicU64, Ordering};

/// The life of a function between two resets; work that was started in one must not go on in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Generation(u64);

/// A function's current [`Generation`]: advanced by each reset, noted by each piece of work that may be parked, and
/// compared before that work is resumed.
#[derive(Debug, Default)]
pub struct GenerationCounter(AtomicU64);

impl GenerationCounter {
    /// A counter in its first generation.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The generation now.
    #[must_use]
    pub fn current(&self) -> Generation {
        Generation(self.0.load(Ordering::Acquire))
    }

    /// Starts the next generation and returns it: everything of earlier ones is stale.
    pub fn advance(&self) -> Generation {
        Generation(self.0.fetch_add(1, Ordering::AcqRel).wrapping_add(1))
    }

    /// Whether `generation` is still the present one.
    #[must_use]
    pub fn is_current(&self, generation: Generation) -> bool {
        self.current() == generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_makes_earlier_work_stale() {
        let counter = GenerationCounter::new();
        let parked = counter.current();
        assert!(counter.is_current(parked));
        let next = counter.advance();
        assert!(next > parked && !counter.is_current(parked) && counter.is_current(next));
    }
}
