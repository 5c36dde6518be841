//! The sending half of a connection: outbox, server-to-client requests, the handle for the device.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg};

use crate::proto::{self, Header};

/// How long a server-to-client request may take.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that may wait for a client that does not read.
const MAX_OUTBOX: usize = 4 << 20;
/// Requests without an answer yet, given-up ones included: they keep their id until the late answer comes.
const MAX_PENDING: usize = 64;
/// Writes on their way at a time. Their replies are small; reads go one by one.
const WRITE_WINDOW: usize = 16;

/// Why a message to the client did not do what it was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Called on the thread that would have to receive the answer.
    #[error("a message to the client cannot be waited for on its socket's own thread")]
    OnIoThread,
    /// The client is gone.
    #[error("the client is gone")]
    Disconnected,
    /// No answer within two seconds.
    #[error("the client did not answer within 2 s")]
    TimedOut,
    /// Too many requests have no answer yet.
    #[error("the client has too many requests to answer")]
    Busy,
    /// The client answered with an error: nothing is there, or bus mastering is off in its view.
    #[error("the client refused the access (errno {errno})")]
    Refused {
        /// The errno of the reply.
        errno: i32,
    },
    /// The answer is not what was asked for.
    #[error("the client's answer has the wrong size")]
    Malformed,
}

/// Where the data of DMA_READ and DMA_WRITE begin. The specification has a 64-bit count before them, and QEMU 11.1
/// follows it. Earlier QEMUs have a 32-bit count (`VFIOUserDMARW` in `hw/vfio-user/protocol.h`), so that their data
/// begin four bytes earlier and the message ends in four bytes of padding: its length is the same.
///
/// A connection begins with the specification's layout. The reply to a DMA_READ shows the client's: its bytes 28 to 31
/// are the (zero) upper half of a 64-bit count, or data; its last four bytes are data, or zeroes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum DmaLayout {
    /// 64-bit count, data at byte 32 of the message.
    Count64 = 0,
    /// 32-bit count, data at byte 28 of the message.
    Count32 = 1,
}

enum Answer {
    Waiting,
    Data(Vec<u8>),
    Error(i32),
}

struct Pending {
    command: u16,
    answer: Answer,
    abandoned: bool,
}

#[derive(Default)]
struct Requests {
    next_id: u16,
    pending: HashMap<u16, Pending>,
}

#[derive(Default)]
struct Outbox {
    waiting: VecDeque<Vec<u8>>,
    /// Bytes of the first waiting message that are sent already.
    sent: usize,
    bytes: usize,
}

/// What both halves of a connection share.
pub(crate) struct Link {
    name: String,
    stream: UnixStream,
    outbox: Mutex<Outbox>,
    /// Tells the I/O thread that the outbox waits for the socket.
    wake: OwnedFd,
    requests: Mutex<Requests>,
    answered: Condvar,
    /// One DMA_READ at a time, so that the replies never fill the client's socket buffer.
    read_turn: Mutex<()>,
    io_thread: ThreadId,
    closed: AtomicBool,
    max_dma: usize,
    layout: AtomicU8,
}

impl Link {
    /// To be created on the I/O thread. `max_dma` is the client's largest data part of a message.
    pub(crate) fn new(name: &str, stream: UnixStream, max_dma: usize) -> std::io::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            stream,
            outbox: Mutex::default(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            requests: Mutex::default(),
            answered: Condvar::new(),
            read_turn: Mutex::new(()),
            io_thread: std::thread::current().id(),
            closed: AtomicBool::new(false),
            max_dma: max_dma.min(proto::MAX_DMA_MESSAGE),
            layout: AtomicU8::new(DmaLayout::Count64 as u8),
        })
    }

    pub(crate) fn wake_fd(&self) -> &OwnedFd {
        &self.wake
    }

    pub(crate) fn drain_wake(&self) {
        // Only the I/O thread reads it; an error means that there is nothing to read.
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.outbox.lock().waiting.is_empty()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends the connection: the I/O thread sees the end of the stream, all requests fail.
    pub(crate) fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // An error says that the peer was faster.
        let _ = rustix::net::shutdown(&self.stream, Shutdown::Both);
        // Taking the lock makes sure that whoever checked `closed` before is waiting by now.
        drop(self.requests.lock());
        self.answered.notify_all();
    }

    /// Sends one message: at once if the socket takes it, else the rest waits. Never blocks.
    pub(crate) fn send(&self, message: &[u8]) {
        if self.is_closed() {
            return;
        }
        let mut outbox = self.outbox.lock();
        let mut sent = 0;
        if outbox.waiting.is_empty() {
            match self.send_now(message) {
                Ok(n) if n == message.len() => return,
                Ok(n) => sent = n,
                Err(()) => {
                    drop(outbox);
                    return self.close();
                }
            }
            outbox.sent = sent;
        }
        if outbox.bytes + message.len() > MAX_OUTBOX {
            drop(outbox);
            log::error!("{}: the client does not read its socket ({MAX_OUTBOX} bytes wait): disconnected", self.name);
            return self.close();
        }
        outbox.bytes += message.len() - sent;
        outbox.waiting.push_back(message.to_vec());
        drop(outbox);
        if std::thread::current().id() != self.io_thread {
            // A full counter has woken the thread already.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }

    /// The socket can take more: sends what waits.
    pub(crate) fn flush(&self) {
        let mut outbox = self.outbox.lock();
        while let Some(first) = outbox.waiting.front() {
            let (len, from) = (first.len(), outbox.sent);
            match self.send_now(&first[from..]) {
                Ok(0) => return,
                Ok(n) => {
                    outbox.bytes -= n;
                    outbox.sent += n;
                    if outbox.sent == len {
                        outbox.waiting.pop_front();
                        outbox.sent = 0;
                    }
                }
                Err(()) => {
                    drop(outbox);
                    return self.close();
                }
            }
        }
    }

    fn send_now(&self, bytes: &[u8]) -> Result<usize, ()> {
        loop {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let mut control = SendAncillaryBuffer::default();
            match sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, flags) {
                Ok(n) => return Ok(n),
                Err(Errno::AGAIN) => return Ok(0),
                Err(Errno::INTR) => {}
                Err(_) => return Err(()),
            }
        }
    }

    /// The I/O thread received a reply. False if nobody asked for it.
    pub(crate) fn answer(&self, header: &Header, body: &[u8]) -> bool {
        let mut requests = self.requests.lock();
        let Some(p) = requests.pending.get_mut(&header.id) else { return false };
        if p.command != header.command || !matches!(p.answer, Answer::Waiting) {
            return false;
        }
        if p.abandoned {
            requests.pending.remove(&header.id);
            return true;
        }
        p.answer = match header.errno() {
            Some(errno) => Answer::Error(errno),
            None if body.len() <= proto::MAX_DMA_MESSAGE + proto::DMA_ACCESS_BODY => Answer::Data(body.to_vec()),
            None => Answer::Data(Vec::new()),
        };
        drop(requests);
        self.answered.notify_all();
        true
    }

    fn request(&self, command: u16, addr: u64, count: usize, data: &[u8]) -> Result<u16, MessageError> {
        if std::thread::current().id() == self.io_thread {
            return Err(MessageError::OnIoThread);
        }
        let id = {
            let mut r = self.requests.lock();
            if self.is_closed() {
                return Err(MessageError::Disconnected);
            }
            if r.pending.len() >= MAX_PENDING {
                return Err(MessageError::Busy);
            }
            while r.pending.contains_key(&r.next_id) {
                r.next_id = r.next_id.wrapping_add(1);
            }
            let id = r.next_id;
            r.next_id = id.wrapping_add(1);
            r.pending.insert(id, Pending { command, answer: Answer::Waiting, abandoned: false });
            id
        };
        let mut m = Vec::with_capacity(proto::HEADER_SIZE + proto::DMA_ACCESS_BODY + data.len());
        proto::begin(&mut m, id, command, proto::TYPE_COMMAND, 0);
        m.extend_from_slice(&addr.to_le_bytes());
        m.extend_from_slice(&(count as u64).to_le_bytes());
        match self.layout() {
            DmaLayout::Count64 => m.extend_from_slice(data),
            DmaLayout::Count32 if data.is_empty() => {}
            DmaLayout::Count32 => {
                m.truncate(proto::HEADER_SIZE + 12);
                m.extend_from_slice(data);
                m.extend_from_slice(&[0; 4]);
            }
        }
        proto::finish(&mut m);
        self.send(&m);
        Ok(id)
    }

    /// Waits for the answer to request `id`, and gives its id back in any case.
    fn wait(&self, id: u16) -> Result<Vec<u8>, MessageError> {
        let deadline = Instant::now() + REPLY_TIMEOUT;
        let mut requests = self.requests.lock();
        loop {
            let timed_out = {
                let Some(p) = requests.pending.get_mut(&id) else { return Err(MessageError::Malformed) };
                match std::mem::replace(&mut p.answer, Answer::Waiting) {
                    Answer::Waiting => {}
                    done => {
                        requests.pending.remove(&id);
                        return match done {
                            Answer::Error(errno) => Err(MessageError::Refused { errno }),
                            Answer::Data(body) => Ok(body),
                            Answer::Waiting => Err(MessageError::Malformed),
                        };
                    }
                }
                if self.is_closed() {
                    requests.pending.remove(&id);
                    return Err(MessageError::Disconnected);
                }
                self.answered.wait_until(&mut requests, deadline).timed_out()
            };
            if timed_out && requests.pending.get(&id).is_some_and(|p| matches!(p.answer, Answer::Waiting)) {
                self.abandon(&mut requests, id);
                return Err(MessageError::TimedOut);
            }
        }
    }

    fn abandon(&self, requests: &mut Requests, id: u16) {
        if let Some(p) = requests.pending.get_mut(&id) {
            p.abandoned = true;
        }
    }

    fn layout(&self) -> DmaLayout {
        match self.layout.load(Ordering::Relaxed) {
            0 => DmaLayout::Count64,
            _ => DmaLayout::Count32,
        }
    }

    /// Takes the data out of a DMA_READ reply's body (address, count, data and padding in the client's order).
    fn read_data(&self, body: &[u8], buf: &mut [u8]) -> Result<(), MessageError> {
        if body.len() != proto::DMA_ACCESS_BODY + buf.len() {
            return Err(MessageError::Malformed);
        }
        let (begin, end) = (&body[12..16], &body[body.len() - 4..]);
        let layout = if begin != [0; 4] {
            DmaLayout::Count32
        } else if buf.len() >= 4 && end != [0; 4] {
            DmaLayout::Count64
        } else {
            self.layout()
        };
        self.layout.store(layout as u8, Ordering::Relaxed);
        let at = if layout == DmaLayout::Count32 { 12 } else { 16 };
        buf.copy_from_slice(&body[at..at + buf.len()]);
        Ok(())
    }
}

/// The client at the other end of a function's socket: reads and writes its memory by message, from any thread except
/// the socket's own. Cheap to clone; outlives the connection (then everything is [`MessageError::Disconnected`]).
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Link>);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({}, {})", self.0.name, if self.0.is_closed() { "gone" } else { "connected" })
    }
}

impl Client {
    /// Reads `buf.len()` bytes at `addr` of the function's address space, in messages of at most 32 KiB, one by one.
    /// Waits up to 2 s for each. Never to be called while a region access of the same client is unanswered.
    ///
    /// # Errors
    /// [`MessageError`]; `buf` may hold the part before the failing message.
    pub fn dma_read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MessageError> {
        let link = &self.0;
        for (i, part) in buf.chunks_mut(link.max_dma).enumerate() {
            let at = addr.wrapping_add((i * link.max_dma) as u64);
            if std::thread::current().id() == link.io_thread {
                return Err(MessageError::OnIoThread);
            }
            let _turn = link.read_turn.try_lock_for(REPLY_TIMEOUT).ok_or(MessageError::Busy)?;
            let id = link.request(proto::DMA_READ, at, part.len(), &[])?;
            let body = link.wait(id)?;
            link.read_data(&body, part)?;
        }
        Ok(())
    }

    /// Writes `data` at `addr` of the function's address space, in messages of at most 32 KiB, and waits until the
    /// client has acknowledged them, up to 2 s for each.
    ///
    /// # Errors
    /// [`MessageError`]; the part before the failing message may have been written.
    pub fn dma_write(&self, addr: u64, data: &[u8]) -> Result<(), MessageError> {
        let mut refused = None;
        self.dma_write_all(std::iter::once((addr, data)), |_, errno| refused = refused.or(Some(errno)))?;
        refused.map_or(Ok(()), |errno| Err(MessageError::Refused { errno }))
    }

    /// Writes several pieces in order, several messages on their way at a time, and waits for all of them.
    /// `refused` hears of those that the client refused; other failures end it.
    pub(crate) fn dma_write_all<'a>(
        &self,
        pieces: impl Iterator<Item = (u64, &'a [u8])>,
        mut refused: impl FnMut(u64, i32),
    ) -> Result<(), MessageError> {
        let mut on_their_way = VecDeque::with_capacity(WRITE_WINDOW);
        let mut result = Ok(());
        let mut settle = |(addr, id): (u64, u16)| match self.0.wait(id) {
            Err(MessageError::Refused { errno }) => {
                refused(addr, errno);
                Ok(())
            }
            other => other.map(|_| ()),
        };
        let max = self.0.max_dma;
        let messages = pieces.flat_map(|(addr, data)| {
            data.chunks(max).enumerate().map(move |(i, c)| (addr.wrapping_add((i * max) as u64), c))
        });
        for (addr, data) in messages {
            if on_their_way.len() == WRITE_WINDOW {
                result = on_their_way.pop_front().map_or(Ok(()), &mut settle);
            }
            if result.is_err() {
                break;
            }
            match self.0.request(proto::DMA_WRITE, addr, data.len(), data) {
                Ok(id) => on_their_way.push_back((addr, id)),
                Err(e) => result = Err(e),
            }
        }
        // Those on their way are waited for (or given up) even after a failure, so that their ids are accounted for.
        // Once the client has not answered in time, the others get no further patience.
        for pending in on_their_way {
            if result.is_ok() {
                result = settle(pending);
            } else {
                let mut requests = self.0.requests.lock();
                let answered = requests.pending.get(&pending.1).is_some_and(|p| !matches!(p.answer, Answer::Waiting));
                if answered {
                    requests.pending.remove(&pending.1);
                } else {
                    self.0.abandon(&mut requests, pending.1);
                }
            }
        }
        result
    }

    /// Whether the connection still stands.
    pub fn is_connected(&self) -> bool {
        !self.0.is_closed()
    }

    /// The layout of DMA messages that the client was found to use.
    pub fn dma_layout(&self) -> DmaLayout {
        self.0.layout()
    }

    /// Ends the connection. The device's `disconnected` follows on the socket's thread.
    pub fn disconnect(&self) {
        self.0.close();
    }
}
