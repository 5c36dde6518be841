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

/// Frames that are handed over at once.
const TOGETHER: usize = 64;
/// While so many bytes wait to be sent, the port that sends is held off: what it would send stays in the guest's memory, as
/// it does when a line is slower than its host. A burst still fits into the queue.
const NO_ROOM: usize = 256 << 10;
/// With so few bytes left, the port goes on.
const ROOM_AGAIN: usize = 128 << 10;

/// Who is told of a wire's events, by the wire's thread.
pub trait Notify {
    /// Frames wait to be taken.
    fn arrived(&self);
    /// The other end came, or went.
    fn link(&self, up: bool);
    /// There is room again, after [`Line::has_room`] has said that there was none.
    fn room(&self);
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
    /// Bytes that the socket has taken.
    taken: u64,
    /// Somebody was told that there is no room, and is to be told when there is.
    awaited: bool,
    /// The other end has taken nothing for too long: until it does again, nobody waits for it.
    given_up: bool,
}

impl Out {
    /// Whether somebody must be told of room. Says so once.
    fn take_awaited(&mut self) -> bool {
        let room = self.given_up || self.socket.is_none() || self.queue.waiting().len() <= ROOM_AGAIN;
        room && std::mem::take(&mut self.awaited)
    }
}

/// What the wire's thread must know of the sending side.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutState {
    /// Something waits for the socket.
    pub(crate) unsent: bool,
    /// The socket failed.
    pub(crate) failed: bool,
    /// Bytes that the socket has taken.
    pub(crate) taken: u64,
}

/// What came of sending.
struct Sent {
    /// Nothing waits any more.
    all: bool,
    /// There is room that was waited for.
    room: bool,
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

    /// Whether as many frames as a burst has can be sent without loss. If not, [`Notify::room`] or [`Line::flush`] tells when
    /// they can. An end that takes nothing for long is not waited for: what is sent to it is dropped.
    pub fn has_room(&self) -> bool {
        let mut out = self.out.lock();
        let room = out.given_up || out.socket.is_none() || out.queue.waiting().len() < NO_ROOM;
        out.awaited |= !room;
        room
    }

    /// Gives the socket what it takes without waiting. The rest is the wire's thread's. True: there is room again, after
    /// [`Line::has_room`] has said that there was none.
    pub fn flush(&self) -> bool {
        if !self.unsent.swap(false, Acquire) {
            return false;
        }
        let sent = self.send_waiting();
        if !sent.all {
            self.kick();
        }
        sent.room
    }

    /// Hands over the frames that came, oldest first, several at once: a bounded number. Not from two threads at a time.
    pub fn receive(&self, deliver: &mut dyn FnMut(&[&[u8]])) {
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
        let mut frames = batch.frames();
        loop {
            let mut together = [&[][..]; TOGETHER];
            // In this order no frame is taken out for which there is no place.
            let count = together.iter_mut().zip(&mut frames).map(|(place, frame)| *place = frame).count();
            if count == 0 {
                break;
            }
            deliver(&together[..count]);
        }
        drop(frames);
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
        self.renew(Some(socket), notify);
        self.counters.connections.fetch_add(1, Relaxed);
        self.up.store(true, Release);
        log::info!("{}: the other end is there", self.name);
        notify.link(true);
    }

    /// A new sending side; whoever waited for the old one goes on.
    fn renew(&self, socket: Option<Box<dyn Transmit>>, notify: &dyn Notify) {
        let old = std::mem::replace(&mut *self.out.lock(), Out { socket, ..Out::default() });
        if old.awaited {
            notify.room();
        }
    }

    /// The other end is gone; so is what waited for it.
    pub(crate) fn close(&self, notify: &dyn Notify) {
        self.renew(None, notify);
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

    /// Sends what waits, as far as it goes.
    fn send_waiting(&self) -> Sent {
        let mut out = self.out.lock();
        let Out { queue, socket, failed, .. } = &mut *out;
        let Some(socket) = socket else { return Sent { all: true, room: out.take_awaited() } };
        let before = queue.waiting().len();
        let result = socket.transmit(queue);
        let left = queue.waiting().len();
        if let Err(error) = result {
            log::debug!("{}: {error}", self.name);
            *failed = true;
        }
        if left < before {
            out.taken = out.taken.wrapping_add((before - left) as u64);
            out.given_up = false;
        }
        Sent { all: left == 0, room: out.take_awaited() }
    }

    /// Sends what waits, as far as it goes; for the wire's thread.
    pub(crate) fn transmit(&self, notify: &dyn Notify) {
        if self.send_waiting().room {
            notify.room();
        }
    }

    /// The other end takes nothing: nobody waits for it any longer.
    pub(crate) fn give_up(&self, notify: &dyn Notify) {
        let room = {
            let mut out = self.out.lock();
            out.given_up = true;
            out.take_awaited()
        };
        if room {
            log::debug!("{}: the other end takes nothing: frames to it are dropped", self.name);
            notify.room();
        }
    }

    /// How the sending side is.
    pub(crate) fn out_state(&self) -> OutState {
        let out = self.out.lock();
        OutState { unsent: !out.queue.waiting().is_empty(), failed: out.failed, taken: out.taken }
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
