//! Log lines that a client can provoke, but not flood.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lines that may come at once.
const BURST: u32 = 5;
/// After a burst, one line in this time.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct State {
    tokens: u32,
    refilled: Instant,
    suppressed: u64,
}

/// A token bucket: five lines at once, then one a second.
#[derive(Debug)]
pub(crate) struct RateLimit(Mutex<State>);

impl RateLimit {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { tokens: BURST, refilled: Instant::now(), suppressed: 0 }))
    }

    /// Whether a line may be written now; if so, how many were left out before it.
    pub(crate) fn allow(&self) -> Option<u64> {
        let mut s = self.0.lock();
        let earned = u32::try_from(s.refilled.elapsed().as_millis() / INTERVAL.as_millis()).unwrap_or(BURST);
        if earned > 0 {
            s.tokens = s.tokens.saturating_add(earned).min(BURST);
            s.refilled = Instant::now();
        }
        if s.tokens == 0 {
            s.suppressed += 1;
            return None;
        }
        s.tokens -= 1;
        Some(std::mem::take(&mut s.suppressed))
    }

    /// Writes a warning, unless there were too many.
    pub(crate) fn warn(&self, line: std::fmt::Arguments<'_>) {
        match self.allow() {
            Some(0) => log::warn!(target: "mlx5emu_vfio_user", "{line}"),
            Some(n) => log::warn!(target: "mlx5emu_vfio_user", "{line} ({n} similar lines left out)"),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_after_the_burst() {
        let limit = RateLimit::new();
        let passed = (0..1000).filter(|_| limit.allow().is_some()).count();
        assert!((BURST as usize..100).contains(&passed), "{passed} of 1000 lines passed");
    }
}
