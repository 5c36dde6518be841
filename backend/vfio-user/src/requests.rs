//! Server-to-client requests: DMA by message, and the handle that the device does it with.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::link::Link;
use crate::proto::{self, Header};

/// How long a request may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
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
struct Table {
    next_id: u16,
    pending: HashMap<u16, Pending>,
}

/// The requests of one connection.
pub(crate) struct Requests {
    table: Mutex<Table>,
    answered: Condvar,
    /// One DMA_READ at a time, so that the replies never fill the client's socket buffer.
    read_turn: Mutex<()>,
    /// Data of one message, bytes.
    max_dma: usize,
    layout: AtomicU8,
}

impl Requests {
    /// `max_dma` is the client's largest data part of a message.
    pub(crate) fn new(max_dma: usize) -> Self {
        Self {
            table: Mutex::default(),
            answered: Condvar::new(),
            read_turn: Mutex::new(()),
            max_dma: max_dma.min(proto::MAX_DMA_MESSAGE),
            layout: AtomicU8::new(DmaLayout::Count64 as u8),
        }
    }

    /// The connection has ended: all who wait look at it.
    pub(crate) fn wake_all(&self) {
        // Taking the lock makes sure that whoever saw the connection open before is waiting by now.
        drop(self.table.lock());
        self.answered.notify_all();
    }

    /// The I/O thread received a reply. False if nobody asked for it.
    pub(crate) fn answer(&self, header: &Header, body: &[u8]) -> bool {
        let mut requests = self.table.lock();
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

    fn request(&self, link: &Link, command: u16, addr: u64, count: usize, data: &[u8]) -> Result<u16, MessageError> {
        if link.on_io_thread() {
            return Err(MessageError::OnIoThread);
        }
        let id = {
            let mut r = self.table.lock();
            if link.is_closed() {
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
        link.send(&m);
        Ok(id)
    }

    /// Waits for the answer to request `id`, and gives its id back in any case.
    fn wait(&self, link: &Link, id: u16) -> Result<Vec<u8>, MessageError> {
        let deadline = Instant::now() + REPLY_TIMEOUT;
        let mut requests = self.table.lock();
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
                if link.is_closed() {
                    requests.pending.remove(&id);
                    return Err(MessageError::Disconnected);
                }
                self.answered.wait_until(&mut requests, deadline).timed_out()
            };
            if timed_out && requests.pending.get(&id).is_some_and(|p| matches!(p.answer, Answer::Waiting)) {
                requests.abandon(id);
                return Err(MessageError::TimedOut);
            }
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

impl Table {
    /// Nobody waits for `id` any more; it stays taken until the late answer comes.
    fn abandon(&mut self, id: u16) {
        if let Some(p) = self.pending.get_mut(&id) {
            p.abandoned = true;
        }
    }
}

/// The client at the other end of a function's socket: reads and writes its memory by message, from any thread except
/// the socket's own. Cheap to clone; outlives the connection (then everything is [`MessageError::Disconnected`]).
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Link>);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({}, {})", self.0.name(), if self.0.is_closed() { "gone" } else { "connected" })
    }
}

impl Client {
    /// Reads `buf.len()` bytes at `addr` of the function's address space, in messages of at most 32 KiB, one by one.
    /// Waits up to 2 s for each. Never to be called while a region access of the same client is unanswered.
    ///
    /// # Errors
    /// [`MessageError`]; `buf` may hold the part before the failing message.
    pub fn dma_read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MessageError> {
        let (link, requests) = (&self.0, &self.0.requests);
        for (i, part) in buf.chunks_mut(requests.max_dma).enumerate() {
            let at = addr.wrapping_add((i * requests.max_dma) as u64);
            if link.on_io_thread() {
                return Err(MessageError::OnIoThread);
            }
            let _turn = requests.read_turn.try_lock_for(REPLY_TIMEOUT).ok_or(MessageError::Busy)?;
            let id = requests.request(link, proto::DMA_READ, at, part.len(), &[])?;
            let body = requests.wait(link, id)?;
            requests.read_data(&body, part)?;
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
        let (link, requests) = (&self.0, &self.0.requests);
        let mut on_their_way = VecDeque::with_capacity(WRITE_WINDOW);
        let mut result = Ok(());
        let mut settle = |(addr, id): (u64, u16)| match requests.wait(link, id) {
            Err(MessageError::Refused { errno }) => {
                refused(addr, errno);
                Ok(())
            }
            other => other.map(|_| ()),
        };
        let max = requests.max_dma;
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
            match requests.request(link, proto::DMA_WRITE, addr, data.len(), data) {
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
                let mut table = requests.table.lock();
                let answered = table.pending.get(&pending.1).is_some_and(|p| !matches!(p.answer, Answer::Waiting));
                if answered {
                    table.pending.remove(&pending.1);
                } else {
                    table.abandon(pending.1);
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
        self.0.requests.layout()
    }

    /// Ends the connection. The device's `disconnected` follows on the socket's thread.
    pub fn disconnect(&self) {
        self.0.close();
    }
}
