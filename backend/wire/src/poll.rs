//! What a wire's thread waits for.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::line::{Line, Notify, OutState};

/// How long the other end may take nothing before nobody waits for it. A driver takes a queue that stands still for
/// broken after seconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long to wait for an end that takes nothing.
pub(crate) struct Patience {
    taken: u64,
    since: Instant,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { taken: 0, since: Instant::now() }
    }

    /// The time that is left; `None` while nothing waits. When it is over, the line is told, and it begins anew.
    pub(crate) fn left(&mut self, line: &Line, out: OutState, notify: &dyn Notify) -> Option<Duration> {
        if !out.unsent || out.taken != self.taken {
            *self = Self { taken: out.taken, ..Self::new() };
        }
        let mut left = PATIENCE.saturating_sub(self.since.elapsed());
        if left.is_zero() {
            line.give_up(notify);
            *self = Self { taken: out.taken, ..Self::new() };
            left = PATIENCE;
        }
        out.unsent.then_some(left)
    }
}

/// What woke it.
pub(crate) struct Woken {
    /// The wire is to end.
    pub(crate) stop: bool,
    /// What the socket is ready for.
    pub(crate) socket: PollFlags,
}

/// Waits for the stop, the card, the socket (for what is asked of it) or the time.
pub(crate) fn wait(
    stop: BorrowedFd<'_>,
    line: &Line,
    socket: Option<(BorrowedFd<'_>, PollFlags)>,
    time: Option<Duration>,
) -> Woken {
    let mut fds = vec![PollFd::from_borrowed_fd(stop, PollFlags::IN), PollFd::new(line.kicked(), PollFlags::IN)];
    fds.extend(socket.map(|(fd, events)| PollFd::from_borrowed_fd(fd, events)));
    let time = time.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
    // A signal is as good as a wake-up for nothing.
    if poll(&mut fds, time.as_ref()).is_err() {
        return Woken { stop: false, socket: PollFlags::empty() };
    }
    if !fds[1].revents().is_empty() {
        line.take_kick();
    }
    Woken { stop: !fds[0].revents().is_empty(), socket: fds.get(2).map_or(PollFlags::empty(), PollFd::revents) }
}
