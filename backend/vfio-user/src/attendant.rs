//! What has to be looked after while a connection's thread waits for its next message: the stop, whoever else knocks, and
//! replies that the client was too slow to take.
//!
//! A thread of its own, so that the thread that reads the socket does nothing but read it: with one more system call, each
//! access would take longer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::Shutdown;

use crate::link::Link;

/// What an attendant watches besides the client.
pub(crate) struct Watch<'a> {
    pub(crate) stop: BorrowedFd<'a>,
    pub(crate) listener: BorrowedFd<'a>,
    /// Called when the listener has a connection to offer while this one stands.
    pub(crate) refuse_other: &'a (dyn Fn() + Sync),
}

/// Looks after one connection. It ends the connection by shutting the socket down, and ends itself when it is shut down.
pub(crate) struct Attendant<'a> {
    stream: &'a UnixStream,
    watch: &'a Watch<'a>,
    /// Tells it that replies wait for the socket.
    wake: Arc<OwnedFd>,
    /// Exists from VERSION on.
    link: OnceLock<Arc<Link>>,
    stopped: AtomicBool,
}

impl<'a> Attendant<'a> {
    pub(crate) fn new(stream: &'a UnixStream, watch: &'a Watch<'a>) -> Result<Self, Errno> {
        Ok(Self {
            stream,
            watch,
            wake: Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?),
            link: OnceLock::new(),
            stopped: AtomicBool::new(false),
        })
    }

    /// What wakes it.
    pub(crate) fn wake(&self) -> &Arc<OwnedFd> {
        &self.wake
    }

    /// Replies may wait from now on.
    pub(crate) fn look_after(&self, link: Arc<Link>) {
        // There is one VERSION in a connection.
        let _ = self.link.set(link);
    }

    /// Whether the connection was ended because everything is to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Until the socket is shut down, or cannot be watched, which ends the connection.
    pub(crate) fn run(&self, name: &str) {
        // However this ends, a panic included: whoever reads the socket must not wait for ever.
        let _end = Dismissal(self);
        let mut leaving = false;
        loop {
            let ready = match self.wait(leaving) {
                Ok(ready) => ready,
                Err(e) => {
                    log::error!("{name}: disconnecting the client: its socket cannot be watched: {e}");
                    return;
                }
            };
            if ready.stop {
                self.stopped.store(true, Ordering::Release);
                return;
            }
            if ready.over {
                return;
            }
            leaving |= ready.leaving;
            if ready.woken {
                // Nobody else reads it; an error means that there is nothing to read.
                let _ = rustix::io::read(&*self.wake, &mut [0u8; 8]);
            }
            if ready.writable
                && let Some(link) = self.link.get()
            {
                link.flush();
            }
            // Whoever knocks after this client has left is its successor, not a second client: whether it has is looked at
            // once more after the knock was heard.
            if ready.other && !leaving && !self.is_left() {
                (self.watch.refuse_other)();
            }
        }
    }

    fn wait(&self, leaving: bool) -> Result<Ready, Errno> {
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::RDHUP, !leaving);
        interest.set(PollFlags::OUT, self.link.get().is_some_and(|link| link.has_waiting()));
        let mut fds = [
            PollFd::new(self.stream, interest),
            PollFd::from_borrowed_fd(self.watch.stop, PollFlags::IN),
            PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.watch.listener, PollFlags::IN),
        ];
        // Its successor is for whoever waits for this connection's end.
        let watched = if leaving { 3 } else { 4 };
        match poll(&mut fds[..watched], None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(e) => return Err(e),
        }
        let client = fds[0].revents();
        Ok(Ready {
            over: client.intersects(PollFlags::HUP | PollFlags::ERR),
            leaving: client.intersects(PollFlags::RDHUP),
            writable: client.intersects(PollFlags::OUT),
            stop: !fds[1].revents().is_empty(),
            woken: !fds[2].revents().is_empty(),
            other: !fds[3].revents().is_empty(),
        })
    }

    /// Whether the client sends nothing more.
    fn is_left(&self) -> bool {
        let mut fds = [PollFd::new(self.stream, PollFlags::RDHUP)];
        poll(&mut fds, Some(&Timespec::default())).is_ok() && !fds[0].revents().is_empty()
    }
}

#[derive(Debug, Default)]
struct Ready {
    /// Nothing goes over the socket any more.
    over: bool,
    /// The client sends nothing more; what it has sent may still be there.
    leaving: bool,
    writable: bool,
    stop: bool,
    woken: bool,
    other: bool,
}

/// Ends the connection, if it stands, and with it [`Attendant::run`], when it goes.
pub(crate) struct Dismissal<'a>(pub(crate) &'a Attendant<'a>);

impl Drop for Dismissal<'_> {
    fn drop(&mut self) {
        // An error says that the peer was faster.
        let _ = rustix::net::shutdown(self.0.stream, Shutdown::Both);
    }
}
