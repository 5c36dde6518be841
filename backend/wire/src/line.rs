//! A wire to the outside as both its users see it: the card, which sends and takes frames and never waits, and the
//! wire's thread, which waits for the socket.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::queue::{Incoming, Outgoing};

/// What a wire has carried.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames taken to be sent.
    pub sent: AtomicU64,
    /// Frames that came from the socket.
    pub received: AtomicU64,
    /// Frames that the other end did not take in time, or that no other end was there for.
    pub dropped: AtomicU64,
    /// Times that the other end came.
    pub connections: AtomicU64,
    /// Times that the other end sent what is no frame.
    pub violations: AtomicU64,
}

/// Who is told of a wire's events, by the wire's thread.
pub trait Notify {
    /// Frames wait to be taken.
    fn arrived(&self);
    /// The other end came, or went.
    fn link(&self, up: bool);
}

/// The sending side of a socket: writes as much of the queue as goes without waiting.
pub(crate) trait Transmit: Send {
    /// What does not go without waiting stays in the queue.
    fn transmit(&mut self, queue: &mut Outgoing) -> io::Result<()>;
}

#[derive(Default)]
struct Out {
    queue: Outgoing,
    socket: Option<Box<dyn Transmit>>,
    failed: bool,
}

#[derive(Default)]
struct In {
    queue: Incoming,
    /// The wire's thread found no room and waits until there is.
    paused: bool,
}

/// A wire to the outside.
pub struct Line {
    name: String,
    out: Mutex<Out>,
    /// Something waits in `out`: spares the lock when not.
    unsent: AtomicBool,
    incoming: Mutex<In>,
    /// What is being delivered, and the memory for what comes next.
    delivering: Mutex<Incoming>,
    /// Wakes the wire's thread.
    kick: OwnedFd,
    up: AtomicBool,
    /// What it has carried.
    pub counters: Counters,
}

impl Line {
    pub(crate) fn new(name: String) -> io::Result<Self> {
        Ok(Self {
            name,
            out: Mutex::default(),
            unsent: AtomicBool::new(false),
            incoming: Mutex::default(),
            delivering: Mutex::default(),
            kick: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            up: AtomicBool::new(false),
            counters: Counters::default(),
        })
    }

    /// What it is, as the card file writes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the other end is there.
    pub fn is_up(&self) -> bool {
        self.up.load(Acquire)
    }

    /// Takes a frame to send; [`Line::flush`] sends it. Without room or another end it is dropped and counted.
    pub fn send(&self, frame: &[u8]) {
        let mut out = self.out.lock();
        if out.socket.is_some() && out.queue.push(frame) {
            self.counters.sent.fetch_add(1, Relaxed);
            self.unsent.store(true, Release);
        } else {
            self.counters.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Gives the socket what it takes without waiting. The rest is the wire's thread's.
    pub fn flush(&self) {
        if self.unsent.swap(false, Acquire) && !self.transmit() {
            self.kick();
        }
    }

    /// Hands over the frames that came, oldest first: a bounded number. Not from two threads at a time.
    pub fn receive(&self, deliver: &mut dyn FnMut(&[u8])) {
        let mut batch = self.delivering.lock();
        let resume = {
            let mut incoming = self.incoming.lock();
            if incoming.queue.is_empty() {
                return;
            }
            std::mem::swap(&mut incoming.queue, &mut batch);
            std::mem::take(&mut incoming.paused)
        };
        if resume {
            self.kick();
        }
        batch.frames().for_each(deliver);
        batch.clear();
    }

    /// Frames that wait to be taken.
    pub fn waiting(&self) -> usize {
        self.incoming.lock().queue.len()
    }

    fn kick(&self) {
        // A full counter wakes as well.
        let _ = rustix::io::write(&self.kick, &1u64.to_ne_bytes());
    }

    // What follows is for the wire's thread.

    /// What to poll beside the socket.
    pub(crate) fn kicked(&self) -> &OwnedFd {
        &self.kick
    }

    pub(crate) fn take_kick(&self) {
        let _ = rustix::io::read(&self.kick, &mut [0u8; 8]);
    }

    /// The other end is there.
    pub(crate) fn open(&self, socket: Box<dyn Transmit>, notify: &dyn Notify) {
        *self.out.lock() = Out { socket: Some(socket), ..Out::default() };
        self.counters.connections.fetch_add(1, Relaxed);
        self.up.store(true, Release);
        log::info!("{}: the other end is there", self.name);
        notify.link(true);
    }

    /// The other end is gone; so is what waited for it.
    pub(crate) fn close(&self, notify: &dyn Notify) {
        *self.out.lock() = Out::default();
        self.unsent.store(false, Release);
        {
            let mut incoming = self.incoming.lock();
            incoming.queue.clear();
            incoming.paused = false;
        }
        self.up.store(false, Release);
        log::info!("{}: the other end is gone", self.name);
        notify.link(false);
    }

    /// Sends what waits. False: something still waits, or the socket failed.
    pub(crate) fn transmit(&self) -> bool {
        let mut out = self.out.lock();
        let Out { queue, socket, failed } = &mut *out;
        let Some(socket) = socket else { return true };
        match socket.transmit(queue) {
            Ok(()) => queue.waiting().is_empty(),
            Err(error) => {
                log::debug!("{}: {error}", self.name);
                *failed = true;
                false
            }
        }
    }

    /// Whether something waits for the socket, and whether the socket failed.
    pub(crate) fn out_state(&self) -> (bool, bool) {
        let out = self.out.lock();
        (!out.queue.waiting().is_empty(), out.failed)
    }

    /// A frame came. False: there is no room; the thread is woken when there is.
    pub(crate) fn push(&self, frame: &[u8]) -> bool {
        let mut incoming = self.incoming.lock();
        if incoming.queue.push(frame) {
            self.counters.received.fetch_add(1, Relaxed);
            return true;
        }
        incoming.paused = true;
        false
    }

    /// Whether the thread waits for room.
    pub(crate) fn is_paused(&self) -> bool {
        self.incoming.lock().paused
    }

    /// The other end sent what is no frame.
    pub(crate) fn violation(&self, what: &str) {
        if self.counters.violations.fetch_add(1, Relaxed) == 0 {
            log::warn!("{}: the other end sent {what}; more of the kind is only counted", self.name);
        }
    }
}

/// Whether an operation only has to wait.
pub(crate) fn would_block(error: Errno) -> bool {
    matches!(error, Errno::AGAIN | Errno::INTR | Errno::NOBUFS)
}
