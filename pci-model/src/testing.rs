//! A function's address space in memory, for tests and for executors that run a card without a VM.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::dma::{Attrs, DmaError, DmaSpace};

/// What a logged transfer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferKind {
    /// [`DmaSpace::read`], or the source of a copy.
    Read,
    /// [`DmaSpace::write`], or the destination of a copy.
    Write,
    /// [`DmaSpace::load_be32`].
    Load,
    /// [`DmaSpace::write_release`].
    Store,
    /// [`DmaSpace::fetch_add_u64`].
    FetchAdd,
    /// [`DmaSpace::compare_swap_u64`].
    CompareSwap,
    /// [`DmaSpace::msi`]; the address is the vector.
    Msi,
}

/// One entry of the log: only what took place, in the order in which it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// What it was.
    pub kind: TransferKind,
    /// First address, or the vector of an MSI.
    pub addr: u64,
    /// Bytes; 0 for an MSI.
    pub len: usize,
    /// Attributes of the request; [`Attrs::PLAIN`] for an MSI.
    pub attrs: Attrs,
}

/// Bytes in `[base, base + len)`, a Bus Master Enable, and a record of what happened. A clone is another handle to the
/// same space.
///
/// Each operation holds one lock over the memory, so that all of them are atomic with respect to each other, and the
/// log shows their true order. Ranges can be set up that answer [`DmaError::Fetch`] or [`DmaError::Denied`].
#[derive(Debug, Clone)]
pub struct TestSpace {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    base: u64,
    memory: RwLock<Memory>,
    bus_master: AtomicBool,
    /// Messages sent, by vector; those that were dropped do not count.
    msis: Box<[AtomicU64]>,
    msis_total: AtomicU64,
    logging: AtomicBool,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Memory {
    bytes: Vec<u8>,
    /// Ranges that only the client can reach.
    remote: Vec<Range<u64>>,
    /// Ranges that can only be read.
    read_only: Vec<Range<u64>>,
}

#[derive(Debug, Default)]
struct Log {
    transfers: Vec<Transfer>,
    limit: usize,
    lost: u64,
}

impl TestSpace {
    /// The number of vectors that [`msi_count`](Self::msi_count) tells apart: as many as MSI-X can have.
    pub const VECTORS: usize = 2048;

    /// A space of `len` zero bytes from address 0 on, with bus mastering on.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self::with_base(0, len)
    }

    /// A space of `len` zero bytes from address `base` on, with bus mastering on. It is cut off at the end of the
    /// 64-bit address space.
    #[must_use]
    pub fn with_base(base: u64, len: usize) -> Self {
        let len = usize::try_from(u64::MAX - base).map_or(len, |room| len.min(room));
        let memory = Memory { bytes: vec![0; len], ..Memory::default() };
        Self {
            shared: Arc::new(Shared {
                base,
                memory: RwLock::new(memory),
                bus_master: AtomicBool::new(true),
                msis: (0..Self::VECTORS).map(|_| AtomicU64::new(0)).collect(),
                msis_total: AtomicU64::new(0),
                logging: AtomicBool::new(false),
                log: Mutex::default(),
            }),
        }
    }

    /// First address.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.shared.base
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory().bytes.len()
    }

    /// Whether the space has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Switches Bus Master Enable: off, every operation answers [`DmaError::Disabled`] and MSIs are dropped. None that
    /// was allowed before is still under way on return.
    pub fn set_bus_master(&self, on: bool) {
        let _memory = self.memory_mut();
        self.shared.bus_master.store(on, Ordering::Release);
    }

    /// Makes a range answer [`DmaError::Fetch`] until [`fetch`](Self::fetch) brings it in.
    pub fn set_remote(&self, range: Range<u64>) {
        self.memory_mut().remote.push(range);
    }

    /// Does what an executor does on [`DmaError::Fetch`]: from now on the `len` bytes at `addr` are reachable.
    pub fn fetch(&self, addr: u64, len: u32) {
        let end = addr.saturating_add(len.into());
        let mut memory = self.memory_mut();
        let rest = memory.remote.iter().flat_map(|r| [r.start..r.end.min(addr), r.start.max(end)..r.end]);
        memory.remote = rest.filter(|r| !r.is_empty()).collect();
    }

    /// Makes a range answer writes and AtomicOps with [`DmaError::Denied`].
    pub fn set_read_only(&self, range: Range<u64>) {
        self.memory_mut().read_only.push(range);
    }

    /// Fills `buf` from `addr` on as the guest's processor would: whatever the bus master switch and the ranges say, and
    /// unlogged. Returns `false`, with `buf` untouched, when the bytes are not all in the space.
    pub fn peek(&self, addr: u64, buf: &mut [u8]) -> bool {
        let memory = self.memory();
        let found = self.span(&memory, addr, buf.len()).ok();
        if let Some(span) = &found {
            buf.copy_from_slice(&memory.bytes[span.clone()]);
        }
        found.is_some()
    }

    /// Writes `data` at `addr` as the guest's processor would; see [`peek`](Self::peek).
    pub fn poke(&self, addr: u64, data: &[u8]) -> bool {
        let mut memory = self.memory_mut();
        let found = self.span(&memory, addr, data.len()).ok();
        if let Some(span) = &found {
            memory.bytes[span.clone()].copy_from_slice(data);
        }
        found.is_some()
    }

    /// Messages sent for `vector`; 0 for one that does not exist.
    #[must_use]
    pub fn msi_count(&self, vector: u16) -> u64 {
        self.shared.msis.get(usize::from(vector)).map_or(0, |count| count.load(Ordering::Acquire))
    }

    /// Messages sent for all vectors.
    #[must_use]
    pub fn msi_total(&self) -> u64 {
        self.shared.msis_total.load(Ordering::Acquire)
    }

    /// Starts the log anew; it keeps the first `limit` transfers and counts the others.
    pub fn start_log(&self, limit: usize) {
        *self.log() = Log { limit, ..Log::default() };
        self.shared.logging.store(true, Ordering::Release);
    }

    /// Ends the log and returns its transfers.
    #[must_use]
    pub fn stop_log(&self) -> Vec<Transfer> {
        self.shared.logging.store(false, Ordering::Release);
        std::mem::take(&mut self.log().transfers)
    }

    /// The transfers so far; the log goes on, empty.
    #[must_use]
    pub fn take_log(&self) -> Vec<Transfer> {
        std::mem::take(&mut self.log().transfers)
    }

    /// Transfers that no longer fitted in the log.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.log().lost
    }

    fn memory(&self) -> RwLockReadGuard<'_, Memory> {
        self.shared.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory_mut(&self) -> RwLockWriteGuard<'_, Memory> {
        self.shared.memory.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a transfer; called while the memory is locked, so that the order is the true one.
    fn note(&self, kind: TransferKind, attrs: Attrs, addr: u64, len: usize) {
        if !self.shared.logging.load(Ordering::Acquire) {
            return;
        }
        let mut log = self.log();
        if log.transfers.len() < log.limit {
            log.transfers.push(Transfer { kind, addr, len, attrs });
        } else {
            log.lost += 1;
        }
    }

    /// The indices of `len` bytes at `addr`, or the first address that is not in the space.
    fn span(&self, memory: &Memory, addr: u64, len: usize) -> Result<Range<usize>, DmaError> {
        let size = memory.bytes.len();
        let start = addr.checked_sub(self.shared.base).and_then(|start| usize::try_from(start).ok());
        let Some(start) = start.filter(|&start| start < size || len == 0 && start == size) else {
            return Err(DmaError::Unmapped { addr });
        };
        if len > size - start {
            return Err(DmaError::Unmapped { addr: self.shared.base + size as u64 });
        }
        Ok(start..start + len)
    }

    /// The indices of a request's bytes, if the function may make it.
    fn request(&self, memory: &Memory, addr: u64, len: usize, writes: bool) -> Result<Range<usize>, DmaError> {
        if !self.shared.bus_master.load(Ordering::Acquire) {
            return Err(DmaError::Disabled);
        }
        if len == 0 {
            return Ok(0..0);
        }
        let span = self.span(memory, addr, len)?;
        let end = addr + len as u64;
        if writes && let Some(range) = overlap(&memory.read_only, addr..end) {
            return Err(DmaError::Denied { addr: range.start });
        }
        if let Some(range) = overlap(&memory.remote, addr..end) {
            let len = u32::try_from(range.end - range.start).unwrap_or(u32::MAX);
            return Err(DmaError::Fetch { addr: range.start, len });
        }
        Ok(span)
    }

    fn put(&self, kind: TransferKind, attrs: Attrs, addr: u64, buf: &[u8]) -> Result<(), DmaError> {
        let mut memory = self.memory_mut();
        let span = self.request(&memory, addr, buf.len(), true)?;
        self.note(kind, attrs, addr, buf.len());
        memory.bytes[span].copy_from_slice(buf);
        Ok(())
    }

    /// An AtomicOp: replaces the operand by what `update` makes of it, and returns the old value.
    fn atomic(
        &self,
        kind: TransferKind,
        attrs: Attrs,
        addr: u64,
        update: impl FnOnce(u64) -> u64,
    ) -> Result<u64, DmaError> {
        if !addr.is_multiple_of(8) {
            return Err(DmaError::Misaligned { addr });
        }
        let mut memory = self.memory_mut();
        let span = self.request(&memory, addr, 8, true)?;
        self.note(kind, attrs, addr, 8);
        let mut operand = [0; 8];
        operand.copy_from_slice(&memory.bytes[span.clone()]);
        let old = u64::from_le_bytes(operand);
        memory.bytes[span].copy_from_slice(&update(old).to_le_bytes());
        Ok(old)
    }

    /// A copy inside the space, done under one lock.
    fn copy_within(&self, src_attrs: Attrs, src: u64, dst_attrs: Attrs, dst: u64, len: usize) -> Result<(), DmaError> {
        let mut memory = self.memory_mut();
        let from = self.request(&memory, src, len, false)?;
        let to = self.request(&memory, dst, len, true)?;
        self.note(TransferKind::Read, src_attrs, src, len);
        self.note(TransferKind::Write, dst_attrs, dst, len);
        memory.bytes.copy_within(from, to.start);
        Ok(())
    }
}

/// The first part of `wanted` that one of `ranges` covers, if any.
fn overlap(ranges: &[Range<u64>], wanted: Range<u64>) -> Option<Range<u64>> {
    let parts = ranges.iter().map(|r| r.start.max(wanted.start)..r.end.min(wanted.end));
    parts.filter(|part| !part.is_empty()).min_by_key(|part| part.start)
}

impl DmaSpace for TestSpace {
    fn read(&self, attrs: Attrs, addr: u64, buf: &mut [u8]) -> Result<(), DmaError> {
        let memory = self.memory();
        let span = self.request(&memory, addr, buf.len(), false)?;
        self.note(TransferKind::Read, attrs, addr, buf.len());
        buf.copy_from_slice(&memory.bytes[span]);
        Ok(())
    }

    fn write(&self, attrs: Attrs, addr: u64, buf: &[u8]) -> Result<(), DmaError> {
        self.put(TransferKind::Write, attrs, addr, buf)
    }

    fn load_be32(&self, attrs: Attrs, addr: u64) -> Result<u32, DmaError> {
        if !addr.is_multiple_of(4) {
            return Err(DmaError::Misaligned { addr });
        }
        let memory = self.memory();
        let span = self.request(&memory, addr, 4, false)?;
        self.note(TransferKind::Load, attrs, addr, 4);
        let mut dword = [0; 4];
        dword.copy_from_slice(&memory.bytes[span]);
        Ok(u32::from_be_bytes(dword))
    }

    fn write_release(&self, attrs: Attrs, addr: u64, buf: &[u8]) -> Result<(), DmaError> {
        self.put(TransferKind::Store, attrs, addr, buf)
    }

    fn fetch_add_u64(&self, attrs: Attrs, addr: u64, add: u64) -> Result<u64, DmaError> {
        self.atomic(TransferKind::FetchAdd, attrs, addr, |old| old.wrapping_add(add))
    }

    fn compare_swap_u64(&self, attrs: Attrs, addr: u64, compare: u64, swap: u64) -> Result<u64, DmaError> {
        self.atomic(TransferKind::CompareSwap, attrs, addr, |old| if old == compare { swap } else { old })
    }

    fn copy(
        &self,
        src_attrs: Attrs,
        src: u64,
        to: &Self,
        dst_attrs: Attrs,
        dst: u64,
        len: usize,
    ) -> Result<(), DmaError> {
        if Arc::ptr_eq(&self.shared, &to.shared) {
            return self.copy_within(src_attrs, src, dst_attrs, dst, len);
        }
        // Two locks at once could meet another copy the other way round, so the bytes go through a buffer.
        let mut chunk = [0u8; 4096];
        let mut done = 0usize;
        while done < len {
            let n = (len - done).min(chunk.len());
            self.read(src_attrs, src.wrapping_add(done as u64), &mut chunk[..n])?;
            to.write(dst_attrs, dst.wrapping_add(done as u64), &chunk[..n])?;
            done += n;
        }
        Ok(())
    }

    fn msi(&self, vector: u16) {
        let Some(count) = self.shared.msis.get(usize::from(vector)) else { return };
        let _memory = self.memory_mut();
        if self.shared.bus_master.load(Ordering::Acquire) {
            self.note(TransferKind::Msi, Attrs::PLAIN, vector.into(), 0);
            count.fetch_add(1, Ordering::AcqRel);
            self.shared.msis_total.fetch_add(1, Ordering::AcqRel);
        }
    }
}
