//! Memory that only the client can reach: bytes fetched for a burst, writes that wait for its end.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mlx5emu_pci_model::DmaError;
use parking_lot::{Mutex, MutexGuard};

use crate::irqs::Irqs;
use crate::proto::MAX_DMA_MESSAGE;
use crate::ratelimit::RateLimit;
use crate::requests::{Client, MessageError};

/// Longest part of one access that is fetched at once, bytes. Longer accesses are fetched part by part.
pub(crate) const MAX_PART: usize = 1 << 20;
/// Most bytes that are staged at a time in one function.
const MAX_STAGED: usize = 8 << 20;
/// Most bytes of writes that wait in one function.
const MAX_QUEUED: usize = 4 << 20;
/// Most writes that wait in one function.
const MAX_QUEUED_WRITES: usize = 4096;
/// How long a task waits for its turn when others of the same function talk to the client.
const TURN: Duration = Duration::from_secs(10);

/// Why bytes could not be staged or writes not be delivered. The tasks concerned fail; trying again is pointless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// The client did not do its part.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// No client is connected.
    #[error("no client is connected")]
    NoClient,
    /// The function was reset or lost its client meanwhile.
    #[error("the function was reset meanwhile")]
    Reset,
    /// More than 8 MiB would be staged at a time.
    #[error("too many bytes are to be fetched by message at a time")]
    TooMuch,
    /// Others of the same function talk to the client for too long.
    #[error("the function's other tasks talk to the client for too long")]
    Busy,
}

/// What [`Messages::check_shared`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// The client sees the same bytes as we do.
    Shared,
    /// The client sees other bytes than we do: its memory is private (`share=on` is missing).
    Private,
    /// Both see zeroes only: that says nothing.
    Unknown,
}

#[derive(Debug)]
struct Staged {
    session: u64,
    addr: u64,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Write {
    addr: u64,
    bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Overlay {
    client: Option<Client>,
    /// Counts resets and disconnects: what began before one must not end after it.
    generation: u64,
    staged: Vec<Staged>,
    staged_bytes: usize,
    /// Ranges that the client refused to read: session, address, length.
    holes: Vec<(u64, u64, u64)>,
    queue: VecDeque<Write>,
    queued_bytes: usize,
    /// Writes taken from the queue are on their way.
    in_flight: bool,
    /// Interrupts that wait for the writes before them.
    msis: BTreeSet<u16>,
}

/// The part of a function's memory that works by message. Handed out by
/// [`FunctionMemory::messages`](crate::FunctionMemory::messages) and used **outside** the gate:
///
/// ```text
/// let mut session = messages.session();
/// loop {
///     match gate.read().run_burst() {                    // holds the gate, never waits
///         Err(DmaError::Fetch { addr, len }) => session.stage(addr, len)?,   // gate released; may wait 2 s a message
///         done => break,
///     }
/// }
/// session.finish()?;                                     // writes go out, then the interrupts behind them
/// ```
///
/// A burst that only wrote may call [`Messages::flush`] instead, when [`Messages::needs_flush`] says so.
#[derive(Debug)]
pub struct Messages {
    irqs: Arc<Irqs>,
    /// Something waits in the queue or behind it. Lets the RAM path raise interrupts without a lock.
    dirty: AtomicBool,
    overlay: Mutex<Overlay>,
    /// One conversation at a time, so that what is staged is never older than an acknowledged write.
    turn: Mutex<()>,
    sessions: AtomicU64,
    lost_writes: RateLimit,
}

/// The addresses a burst fetched; see [`Messages`]. Dropping it forgets them.
#[derive(Debug)]
pub struct Session {
    messages: Arc<Messages>,
    id: u64,
}

impl Messages {
    pub(crate) fn new(irqs: Arc<Irqs>) -> Self {
        Self {
            irqs,
            dirty: AtomicBool::new(false),
            overlay: Mutex::default(),
            turn: Mutex::new(()),
            sessions: AtomicU64::new(0),
            lost_writes: RateLimit::new(),
        }
    }

    /// Begins a session: what one burst fetches until it is through.
    pub fn session(self: &Arc<Self>) -> Session {
        Session { messages: Arc::clone(self), id: self.sessions.fetch_add(1, Ordering::Relaxed) }
    }

    /// Whether writes or interrupts wait for [`Self::flush`].
    pub fn needs_flush(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    /// Sends the waiting writes in order, waits until the client has acknowledged them, then raises the interrupts
    /// that wait behind them. To be called outside the gate. A write that the client refuses is lost, as a posted
    /// write to nowhere is, and logged.
    ///
    /// # Errors
    /// [`StageError`] if the client is gone, does not answer, or the function was reset: then the rest is dropped.
    pub fn flush(&self) -> Result<(), StageError> {
        if !self.needs_flush() {
            return Ok(());
        }
        let turn = self.turn()?;
        self.flush_in_turn(&turn)
    }

    /// Compares what the client reads at `addr` with what we see there. `peek` reads the mapped memory, under the
    /// gate ([`FunctionMemory::peek`](crate::FunctionMemory::peek)); it is called before and after the client's
    /// answer, so that a guest that writes meanwhile is not mistaken for private memory.
    ///
    /// # Errors
    /// [`StageError`] if the client does not answer, or `peek` fails.
    pub fn check_shared(
        &self,
        addr: u64,
        len: usize,
        mut peek: impl FnMut(&mut [u8]) -> Result<(), DmaError>,
    ) -> Result<Sharing, StageError> {
        let len = len.min(MAX_DMA_MESSAGE);
        let client = self.client()?;
        let (mut before, mut theirs, mut after) = (vec![0; len], vec![0; len], vec![0; len]);
        peek(&mut before).map_err(|_| StageError::Reset)?;
        client.dma_read(addr, &mut theirs)?;
        peek(&mut after).map_err(|_| StageError::Reset)?;
        let same = (0..len).all(|i| theirs[i] == before[i] || theirs[i] == after[i] || before[i] != after[i]);
        Ok(match same {
            false => Sharing::Private,
            true if theirs.iter().any(|b| *b != 0) => Sharing::Shared,
            true => Sharing::Unknown,
        })
    }

    /// The client at the other end.
    ///
    /// # Errors
    /// [`StageError::NoClient`] if there is none.
    pub fn client(&self) -> Result<Client, StageError> {
        self.overlay.lock().client.clone().ok_or(StageError::NoClient)
    }

    pub(crate) fn attach(&self, client: Client) {
        let mut o = self.overlay.lock();
        o.clear();
        o.client = Some(client);
        self.dirty.store(o.in_flight, Ordering::Release);
    }

    pub(crate) fn detach(&self) {
        let mut o = self.overlay.lock();
        o.clear();
        o.client = None;
        self.dirty.store(o.in_flight, Ordering::Release);
    }

    /// A reset: nothing that was staged, waits or is deferred survives.
    pub(crate) fn clear(&self) {
        let mut o = self.overlay.lock();
        o.clear();
        self.dirty.store(o.in_flight, Ordering::Release);
    }

    /// The map changed: what was a hole may be one no longer.
    pub(crate) fn forget_holes(&self) {
        self.overlay.lock().holes.clear();
    }

    /// Inside the gate: reads staged bytes, or says what to fetch.
    pub(crate) fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), DmaError> {
        let o = self.overlay.lock();
        if o.client.is_none() {
            return Err(DmaError::Unmapped { addr });
        }
        // The newest first: two sessions may have staged the same bytes at different times.
        for s in o.staged.iter().rev() {
            if let Some(bytes) = s.part(addr, buf.len()) {
                buf.copy_from_slice(bytes);
                return Ok(());
            }
        }
        let last = addr.saturating_add(buf.len() as u64 - 1);
        if o.holes.iter().any(|(_, at, len)| *at <= last && addr.saturating_sub(*at) < *len) {
            return Err(DmaError::Unmapped { addr });
        }
        Err(DmaError::Fetch { addr, len: u32::try_from(buf.len()).unwrap_or(u32::MAX) })
    }

    /// Inside the gate: queues a write. A full queue is emptied by staging nothing (`len` 0).
    pub(crate) fn write(&self, addr: u64, data: &[u8]) -> Result<(), DmaError> {
        let mut o = self.overlay.lock();
        if o.client.is_none() {
            return Err(DmaError::Unmapped { addr });
        }
        if o.queue.len() >= MAX_QUEUED_WRITES || o.queued_bytes + data.len() > MAX_QUEUED {
            return Err(DmaError::Fetch { addr, len: 0 });
        }
        let write = Write { addr, bytes: data.to_vec() };
        o.staged.iter_mut().for_each(|s| s.patch(&write));
        o.queued_bytes += data.len();
        o.queue.push_back(write);
        self.dirty.store(true, Ordering::Release);
        Ok(())
    }

    /// Inside the gate: raises an interrupt, or leaves it behind the writes before it.
    pub(crate) fn msi(&self, vector: u16) {
        if self.dirty.load(Ordering::Acquire) {
            let mut o = self.overlay.lock();
            if o.in_flight || !o.queue.is_empty() || !o.msis.is_empty() {
                o.msis.insert(vector);
                return;
            }
        }
        self.irqs.trigger(vector);
    }

    fn turn(&self) -> Result<MutexGuard<'_, ()>, StageError> {
        self.turn.try_lock_for(TURN).ok_or(StageError::Busy)
    }

    fn flush_in_turn(&self, _turn: &MutexGuard<'_, ()>) -> Result<(), StageError> {
        loop {
            let (client, generation, writes, msis) = {
                let mut o = self.overlay.lock();
                o.in_flight = !o.queue.is_empty();
                if o.queue.is_empty() && o.msis.is_empty() {
                    self.dirty.store(false, Ordering::Release);
                    return Ok(());
                }
                o.queued_bytes = 0;
                (o.client.clone(), o.generation, std::mem::take(&mut o.queue), std::mem::take(&mut o.msis))
            };
            let sent = self.send(client, generation, &writes);
            let mut o = self.overlay.lock();
            o.in_flight = false;
            let error = if o.generation != generation { Err(StageError::Reset) } else { sent };
            if let Err(e) = error {
                if o.generation == generation {
                    o.clear();
                }
                let left = !o.queue.is_empty() || !o.msis.is_empty();
                self.dirty.store(left, Ordering::Release);
                return Err(e);
            }
            // Fired under the overlay's lock: a reset that comes now waits, and the interrupt was before it.
            msis.iter().for_each(|v| self.irqs.trigger(*v));
        }
    }

    fn send(&self, client: Option<Client>, generation: u64, writes: &VecDeque<Write>) -> Result<(), StageError> {
        if writes.is_empty() {
            return Ok(());
        }
        let client = client.ok_or(StageError::NoClient)?;
        let pieces = writes.iter().map(|w| (w.addr, w.bytes.as_slice()));
        let current = || self.overlay.lock().generation == generation;
        client.dma_write_all(pieces.take_while(|_| current()), |addr, errno| {
            self.lost_writes.warn(format_args!("the client refused a write to {addr:#x} (errno {errno}): it is lost"));
        })?;
        Ok(())
    }

    fn stage(&self, session: u64, addr: u64, len: u32) -> Result<(), StageError> {
        let turn = self.turn()?;
        self.flush_in_turn(&turn)?;
        let len = len as usize;
        if len == 0 {
            return Ok(());
        }
        let (client, generation) = {
            let o = self.overlay.lock();
            if len > MAX_PART || o.staged_bytes + len > MAX_STAGED {
                return Err(StageError::TooMuch);
            }
            (o.client.clone().ok_or(StageError::NoClient)?, o.generation)
        };
        let mut bytes = vec![0; len];
        let fetched = client.dma_read(addr, &mut bytes);
        let mut o = self.overlay.lock();
        if o.generation != generation {
            return Err(StageError::Reset);
        }
        match fetched {
            Ok(()) => {
                let mut staged = Staged { session, addr, bytes };
                // Writes that were queued while the client read: it has not seen them, the next reader must.
                o.queue.iter().for_each(|w| staged.patch(w));
                o.staged_bytes += len;
                o.staged.push(staged);
                Ok(())
            }
            // What the client does not give is not there: the access fails where it was asked for.
            Err(MessageError::Refused { .. } | MessageError::TimedOut) => {
                o.holes.push((session, addr, len as u64));
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }

    fn forget(&self, session: u64) {
        let mut o = self.overlay.lock();
        o.holes.retain(|(s, _, _)| *s != session);
        o.staged.retain(|s| s.session != session);
        o.staged_bytes = o.staged.iter().map(|s| s.bytes.len()).sum();
    }
}

impl Session {
    /// Fetches `len` bytes at `addr` for the next attempt of the burst: the answer to
    /// [`DmaError::Fetch`]. Waiting writes go out first. An address that the client refuses to read is remembered,
    /// and the next attempt gets [`DmaError::Unmapped`].
    ///
    /// # Errors
    /// [`StageError`]: the burst fails, there is no point in trying again.
    pub fn stage(&mut self, addr: u64, len: u32) -> Result<(), StageError> {
        self.messages.stage(self.id, addr, len)
    }

    /// Ends the session: forgets what it fetched and sends what waits, as [`Messages::flush`].
    ///
    /// # Errors
    /// As [`Messages::flush`].
    pub fn finish(self) -> Result<(), StageError> {
        self.messages.flush()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.messages.forget(self.id);
    }
}

impl Overlay {
    fn clear(&mut self) {
        self.generation += 1;
        self.staged.clear();
        self.staged_bytes = 0;
        self.holes.clear();
        self.queue.clear();
        self.queued_bytes = 0;
        self.msis.clear();
    }
}

impl Staged {
    /// The `len` bytes at `addr`, if all of them are here.
    fn part(&self, addr: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(addr.checked_sub(self.addr)?).ok()?;
        self.bytes.get(start..start.checked_add(len)?)
    }

    /// Applies a write to the bytes that it hits.
    fn patch(&mut self, write: &Write) {
        let first = self.addr.max(write.addr);
        let end = (self.addr.saturating_add(self.bytes.len() as u64))
            .min(write.addr.saturating_add(write.bytes.len() as u64));
        if first < end {
            let n = (end - first) as usize;
            let (to, from) = ((first - self.addr) as usize, (first - write.addr) as usize);
            self.bytes[to..to + n].copy_from_slice(&write.bytes[from..from + n]);
        }
    }
}
