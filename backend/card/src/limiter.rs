//! Messages that a guest can cause are limited in number.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Lets the first few messages through, then one at each power of two: no clock needed, nothing lost without a trace.
#[derive(Debug, Default)]
pub struct Limiter(AtomicU64);

impl Limiter {
    /// Counts one message; its number, if it is to be printed.
    pub fn pass(&self) -> Option<u64> {
        let n = self.0.fetch_add(1, Relaxed) + 1;
        (n <= 32 || n.is_power_of_two()).then_some(n)
    }

    /// How many messages there were.
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// `limited!(limiter, level, "…")`: a log line that a guest can't turn into a flood.
#[macro_export]
macro_rules! limited {
    ($limiter:expr, $level:ident, $($arg:tt)+) => {
        if let Some(n) = $limiter.pass() {
            if n > 32 { log::$level!("{} (message {n} of its kind)", format_args!($($arg)+)) }
            else { log::$level!($($arg)+) }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_trickle() {
        let limiter = Limiter::default();
        let passed = (0..1_000_000).filter(|_| limiter.pass().is_some()).count();
        assert!((32..60).contains(&passed), "{passed}");
        assert_eq!(limiter.count(), 1_000_000);
    }
}
