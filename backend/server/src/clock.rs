//! The card's clock: nanoseconds since the card was made.

use std::time::{Duration, Instant};

/// A monotonic clock that starts at 1, so that 0 can stand for "at once".
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the start (584 years fit).
    pub fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX - 1) + 1
    }

    /// How long it is until `deadline`; zero if that has passed.
    pub fn until(&self, deadline: u64) -> Duration {
        Duration::from_nanos(deadline.saturating_sub(self.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_begins_at_one_and_a_past_deadline_is_now() {
        let clock = Clock::start();
        assert!(clock.now() >= 1);
        assert_eq!(clock.until(0), Duration::ZERO);
        assert!(clock.until(u64::MAX) > Duration::from_secs(3600));
    }
}
