//! One function's address space.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use mlx5emu_pci_model::{Attrs, DmaError, DmaSpace};
use vm_memory::{Bytes, VolatileMemory, VolatileSlice};

use super::backing::Backing;
use super::interval::{Advance, IntervalMap};
use super::messages::{MAX_PART, Messages};
use crate::device::MapError;
use crate::irqs::Irqs;
use crate::requests::Client;

// AtomicOps are defined on little-endian operands and done with the processor's own.
const _: () = assert!(cfg!(target_endian = "little"), "guest memory is accessed in place, as a little-endian host");

/// Most ranges that a function keeps: QEMU's own `max_dma_maps`.
const MAX_RANGES: usize = 65535;

/// What the function may do with a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Perm {
    /// Reads are permitted.
    pub read: bool,
    /// Writes are permitted.
    pub write: bool,
}

/// One DMA_MAP: a range of the function's addresses and where its bytes are.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// First address.
    pub first: u64,
    /// Last address (inclusive).
    pub last: u64,
    /// What the function may do with it.
    pub perm: Perm,
    /// The mapped file; `None` if the client reaches the range by message only.
    pub backing: Option<Backing>,
}

#[derive(Debug, Clone)]
struct Range {
    perm: Perm,
    backing: Option<Backing>,
}

impl Range {
    /// Where it is, from `first` to `last`, if it is in this process and what it maps is as long.
    fn place(&self, first: u64, last: u64) -> Option<Place> {
        let backing = self.backing.as_ref()?;
        let offset = usize::try_from(backing.offset).ok()?;
        let end = backing.offset.checked_add(last.checked_sub(first)?)?;
        let inside = end < backing.map.len() as u64;
        inside.then(|| Place { first, last, host: backing.map.host_address(offset), perm: self.perm })
    }
}

impl Advance for Range {
    fn advance(&self, by: u64) -> Self {
        let mut part = self.clone();
        if let Some(b) = &mut part.backing {
            b.offset += by;
        }
        part
    }
}

/// A range, and where in this process its first byte is.
#[derive(Debug, Clone, Copy)]
struct Place {
    first: u64,
    last: u64,
    host: usize,
    perm: Perm,
}

impl Place {
    /// No address is in it.
    const NOWHERE: Place = Place { first: 1, last: 0, host: 0, perm: Perm { read: false, write: false } };

    #[inline]
    fn holds(&self, addr: u64) -> bool {
        addr >= self.first && addr <= self.last
    }

    fn is_longer_than(&self, other: &Place) -> bool {
        let length = |p: &Place| if p.last < p.first { 0 } else { u128::from(p.last - p.first) + 1 };
        length(self) > length(other)
    }
}

/// The range that a thread used last, valid for exactly one state of one memory.
#[derive(Clone, Copy)]
struct LastHit {
    epoch: u64,
    place: Place,
}

thread_local! {
    static LAST_HIT: Cell<LastHit> = const { Cell::new(LastHit { epoch: 0, place: Place::NOWHERE }) };
}

/// The longest range is looked for among so many at most: a guest whose memory is mapped whole has fewer.
const MOST_TO_SEARCH: usize = 64;

/// Numbers every state of every memory in the process; 0 is none.
fn next_epoch() -> u64 {
    static EPOCH: AtomicU64 = AtomicU64::new(1);
    EPOCH.fetch_add(1, Ordering::Relaxed)
}

/// What holds an address.
enum Found {
    /// This range, which is in this process.
    Here(Place),
    /// Something that takes a message, for so many bytes.
    Message(usize),
}

/// How the first byte of an access is reached.
enum Reach<'a> {
    /// In this process: as many bytes as asked for and contiguous.
    Ram(VolatileSlice<'a>),
    /// By message, this many bytes.
    Message(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// One function's view of the address space behind its link.
///
/// It is meant to lie inside the gate (a reader-writer lock) of the card: whatever changes it takes `&mut self` and is
/// over in microseconds; DMA takes `&self`. Nothing here waits or sends a message: see [`Messages`] for the memory
/// that only the client can reach.
#[derive(Debug)]
pub struct FunctionMemory {
    ranges: IntervalMap<Range>,
    /// The longest range that is in this process, or none: nearly every access is to it. Always one of `ranges`.
    longest: Place,
    epoch: u64,
    bus_master: bool,
    refused: bool,
    irqs: Arc<Irqs>,
    messages: Arc<Messages>,
}

impl FunctionMemory {
    /// An empty address space with bus mastering off.
    pub fn new(irqs: Arc<Irqs>) -> Self {
        let messages = Arc::new(Messages::new(Arc::clone(&irqs)));
        Self {
            ranges: IntervalMap::new(),
            longest: Place::NOWHERE,
            epoch: next_epoch(),
            bus_master: false,
            refused: false,
            irqs,
            messages,
        }
    }

    /// The part of the memory that works by message, to be used outside the gate.
    pub fn messages(&self) -> Arc<Messages> {
        Arc::clone(&self.messages)
    }

    /// The function's interrupts.
    pub fn irqs(&self) -> &Arc<Irqs> {
        &self.irqs
    }

    /// A client is there: memory that is not mapped is reached through it.
    pub fn attach(&mut self, client: Client) {
        self.messages.attach(client);
    }

    /// The client is gone: all ranges, staged bytes, waiting writes and eventfds go, bus mastering is off.
    pub fn detach(&mut self) {
        self.messages.detach();
        self.ranges = IntervalMap::new();
        self.longest = Place::NOWHERE;
        self.irqs.disable();
        self.bus_master = false;
        self.epoch = next_epoch();
    }

    /// Adds a range.
    ///
    /// # Errors
    /// [`MapError`] if it overlaps another or there are too many; then nothing has changed.
    pub fn map(&mut self, mapping: Mapping) -> Result<(), MapError> {
        if self.ranges.len() >= MAX_RANGES {
            return Err(MapError::TooMany);
        }
        let Mapping { first, last, mut perm, backing } = mapping;
        // What is mapped for reading is never written through, whatever the caller says.
        perm.write &= backing.as_ref().is_none_or(|b| b.map.writable());
        self.ranges.insert(first, last, Range { perm, backing }).map_err(|_| MapError::Overlap)?;
        let place = self.ranges.get(first).and_then(|(first, last, range)| range.place(first, last));
        if let Some(place) = place.filter(|place| place.is_longer_than(&self.longest)) {
            self.longest = place;
        }
        self.changed();
        Ok(())
    }

    /// Takes the addresses from `first` to `last` (inclusive) away. Returns how many bytes were mapped.
    pub fn unmap(&mut self, first: u64, last: u64) -> u64 {
        let bytes = self.ranges.remove(first, last);
        if first <= self.longest.last && last >= self.longest.first {
            self.longest = self.find_longest();
        }
        self.changed();
        bytes
    }

    /// The number of ranges.
    pub fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// Follows the Bus Master Enable bit. Off: every access is [`DmaError::Disabled`], interrupts are dropped.
    pub fn set_bus_master(&mut self, on: bool) {
        self.bus_master = on;
    }

    /// Refuses (or again permits) DMA whatever the Bus Master bit says: a reset. Refusing drops staged bytes, waiting
    /// writes and deferred interrupts.
    pub fn refuse_dma(&mut self, refuse: bool) {
        self.refused = refuse;
        if refuse {
            self.messages.clear();
        }
    }

    /// Whether the function may use its link now.
    pub fn enabled(&self) -> bool {
        self.bus_master && !self.refused
    }

    /// Reads mapped memory whatever the Bus Master bit says and without ever falling back to messages: what
    /// [`Messages::check_shared`] compares with.
    ///
    /// # Errors
    /// [`DmaError::Unmapped`] where the range is not mapped in this process.
    pub fn peek(&self, addr: u64, buf: &mut [u8]) -> Result<(), DmaError> {
        let mut done = 0;
        while done < buf.len() {
            let at = end_checked(addr, done, buf.len())?;
            match self.reach(at, buf.len() - done, Access::Read)? {
                Reach::Ram(slice) => done += slice.copy_to(&mut buf[done..]),
                Reach::Message(_) => return Err(DmaError::Unmapped { addr: at }),
            }
        }
        Ok(())
    }

    /// The longest range that is in this process; none if there are too many to look through.
    fn find_longest(&self) -> Place {
        let mut longest = Place::NOWHERE;
        if self.ranges.len() <= MOST_TO_SEARCH {
            for (first, last, range) in self.ranges.iter() {
                longest = range.place(first, last).filter(|place| place.is_longer_than(&longest)).unwrap_or(longest);
            }
        }
        longest
    }

    fn changed(&mut self) {
        self.epoch = next_epoch();
        self.messages.forget_holes();
    }

    /// Turns the first part of an access into a slice of guest RAM, or says how long the part is that is reached by
    /// message. The one place where an address becomes a pointer.
    #[inline]
    fn reach(&self, addr: u64, len: usize, access: Access) -> Result<Reach<'_>, DmaError> {
        let place = if self.longest.holds(addr) {
            self.longest
        } else {
            match self.look_up(addr, len, access)? {
                Found::Here(place) => place,
                Found::Message(n) => return Ok(Reach::Message(n)),
            }
        };
        permitted(place.perm, access, addr)?;
        let n = within(addr, place.last, len);
        // SAFETY: `host` is the address of the first byte of a range that `Range::place` found to lie within its mapping,
        // and `addr + n - 1 <= last`. The range is in `self.ranges`: the longest one always is, and of another the
        // epoch says that it still is. They hold the mapping alive and cannot change while `self`
        // is borrowed. The file cannot shrink (F_SEAL_SHRINK). Writes come here only with `perm.write`, which `map`
        // keeps for writable mappings alone.
        Ok(Reach::Ram(unsafe { VolatileSlice::new((place.host + (addr - place.first) as usize) as *mut u8, n) }))
    }

    /// The range that holds `addr`, which is not the longest one; or how many of `len` bytes are reached by message.
    fn look_up(&self, addr: u64, len: usize, access: Access) -> Result<Found, DmaError> {
        let hit = LAST_HIT.get();
        if hit.epoch == self.epoch && hit.place.holds(addr) {
            return Ok(Found::Here(hit.place));
        }
        let Some((first, last, range)) = self.ranges.get(addr) else {
            return Ok(Found::Message(self.hole(addr, len).min(MAX_PART)));
        };
        if range.backing.is_none() {
            permitted(range.perm, access, addr)?;
            return Ok(Found::Message(within(addr, last, len).min(MAX_PART)));
        }
        let place = range.place(first, last).ok_or(DmaError::Unmapped { addr })?;
        LAST_HIT.set(LastHit { epoch: self.epoch, place });
        Ok(Found::Here(place))
    }

    /// How much of `len` bytes at the unmapped `addr` lies before the next range.
    #[cold]
    fn hole(&self, addr: u64, len: usize) -> usize {
        self.ranges.next_start(addr).map_or(len, |next| within(addr, next - 1, len))
    }

    #[inline]
    fn check_enabled(&self) -> Result<(), DmaError> {
        if self.enabled() { Ok(()) } else { Err(DmaError::Disabled) }
    }

    /// A naturally aligned operand of `size` bytes in guest RAM; `None` if it is reached by message.
    #[inline]
    fn operand(&self, addr: u64, size: usize, access: Access) -> Result<Option<VolatileSlice<'_>>, DmaError> {
        self.check_enabled()?;
        if !addr.is_multiple_of(size as u64) {
            return Err(DmaError::Misaligned { addr });
        }
        match self.reach(addr, size, access)? {
            Reach::Ram(slice) if slice.len() == size => Ok(Some(slice)),
            // A range whose end is not aligned: no RAM that hardware could have.
            Reach::Ram(_) => Err(DmaError::Misaligned { addr }),
            Reach::Message(_) => Ok(None),
        }
    }

    fn atomic_u64(&self, addr: u64) -> Result<VolatileSlice<'_>, DmaError> {
        // An AtomicOp by message would not be atomic. A completer without AtomicOp support answers Unsupported
        // Request (PCIe Base 6.0, 6.15).
        self.operand(addr, 8, Access::Write)?.ok_or(DmaError::Unmapped { addr })
    }

    fn copy_part(&self, src: u64, to: &Self, dst: u64, len: usize) -> Result<usize, DmaError> {
        let from = self.reach(src, len, Access::Read)?;
        let into = to.reach(dst, len, Access::Write)?;
        if let (Reach::Ram(from), Reach::Ram(into)) = (&from, &into) {
            let n = from.len().min(into.len());
            let part = into.subslice(0, n).map_err(|_| DmaError::Unmapped { addr: dst })?;
            from.copy_to_volatile_slice(part);
            return Ok(n);
        }
        let mut chunk = [0u8; 4096];
        let n = len.min(chunk.len());
        self.read(Attrs::PLAIN, src, &mut chunk[..n])?;
        to.write(Attrs::PLAIN, dst, &chunk[..n])?;
        Ok(n)
    }
}

/// `len`, or less if the range ends at `last` before.
#[inline]
fn within(addr: u64, last: u64, len: usize) -> usize {
    let room = last - addr;
    if room < len as u64 { room as usize + 1 } else { len }.min(len)
}

#[inline]
fn permitted(perm: Perm, access: Access, addr: u64) -> Result<(), DmaError> {
    let ok = if access == Access::Read { perm.read } else { perm.write };
    if ok { Ok(()) } else { Err(DmaError::Denied { addr }) }
}

/// `addr + done`, if the whole access of `len` bytes stays below the top of the address space.
#[inline]
fn end_checked(addr: u64, done: usize, len: usize) -> Result<u64, DmaError> {
    if addr.checked_add(len as u64).is_none() {
        return Err(DmaError::Unmapped { addr });
    }
    Ok(addr + done as u64)
}

impl DmaSpace for FunctionMemory {
    #[inline]
    fn read(&self, _attrs: Attrs, addr: u64, buf: &mut [u8]) -> Result<(), DmaError> {
        self.check_enabled()?;
        let mut done = 0;
        while done < buf.len() {
            let at = end_checked(addr, done, buf.len())?;
            match self.reach(at, buf.len() - done, Access::Read)? {
                Reach::Ram(slice) => done += slice.copy_to(&mut buf[done..]),
                Reach::Message(n) => {
                    self.messages.read(at, &mut buf[done..done + n])?;
                    done += n;
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn write(&self, _attrs: Attrs, addr: u64, buf: &[u8]) -> Result<(), DmaError> {
        self.check_enabled()?;
        let mut done = 0;
        while done < buf.len() {
            let at = end_checked(addr, done, buf.len())?;
            match self.reach(at, buf.len() - done, Access::Write)? {
                Reach::Ram(slice) => {
                    let n = slice.len();
                    slice.copy_from(&buf[done..done + n]);
                    done += n;
                }
                Reach::Message(n) => {
                    self.messages.write(at, &buf[done..done + n])?;
                    done += n;
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn load_be32(&self, _attrs: Attrs, addr: u64) -> Result<u32, DmaError> {
        match self.operand(addr, 4, Access::Read)? {
            Some(ram) => {
                let raw = ram.load::<u32>(0, Ordering::Acquire).map_err(|_| DmaError::Misaligned { addr })?;
                Ok(u32::from_be(raw))
            }
            None => {
                let mut raw = [0; 4];
                self.messages.read(addr, &mut raw)?;
                Ok(u32::from_be_bytes(raw))
            }
        }
    }

    #[inline]
    fn write_release(&self, attrs: Attrs, addr: u64, buf: &[u8]) -> Result<(), DmaError> {
        self.check_enabled()?;
        let Some((last, others)) = buf.split_last() else { return Ok(()) };
        end_checked(addr, 0, buf.len())?;
        match self.reach(addr, buf.len(), Access::Write)? {
            Reach::Ram(ram) if ram.len() == buf.len() => {
                ram.copy_from(others);
                ram.store(*last, others.len(), Ordering::Release).map_err(|_| DmaError::Unmapped { addr })
            }
            _ if others.is_empty() => self.messages.write(addr, buf),
            _ => {
                self.write(attrs, addr, others)?;
                self.write_release(attrs, addr + others.len() as u64, std::slice::from_ref(last))
            }
        }
    }

    fn fetch_add_u64(&self, _attrs: Attrs, addr: u64, add: u64) -> Result<u64, DmaError> {
        let ram = self.atomic_u64(addr)?;
        let word = ram.get_atomic_ref::<AtomicU64>(0).map_err(|_| DmaError::Misaligned { addr })?;
        Ok(word.fetch_add(add, Ordering::SeqCst))
    }

    fn compare_swap_u64(&self, _attrs: Attrs, addr: u64, compare: u64, swap: u64) -> Result<u64, DmaError> {
        let ram = self.atomic_u64(addr)?;
        let word = ram.get_atomic_ref::<AtomicU64>(0).map_err(|_| DmaError::Misaligned { addr })?;
        Ok(word.compare_exchange(compare, swap, Ordering::SeqCst, Ordering::SeqCst).unwrap_or_else(|old| old))
    }

    fn copy(
        &self,
        _src_attrs: Attrs,
        src: u64,
        to: &Self,
        _dst_attrs: Attrs,
        dst: u64,
        len: usize,
    ) -> Result<(), DmaError> {
        self.check_enabled()?;
        to.check_enabled()?;
        let mut done = 0;
        while done < len {
            let (from, into) = (end_checked(src, done, len)?, end_checked(dst, done, len)?);
            done += self.copy_part(from, to, into, len - done)?;
        }
        Ok(())
    }

    fn msi(&self, vector: u16) {
        if !self.enabled() {
            return;
        }
        fence(Ordering::SeqCst);
        self.messages.msi(vector);
    }
}

// The atomics above are the real ones on guest memory: a lock hidden behind them would not be seen by the guest.
const _: () = assert!(size_of::<AtomicU64>() == 8 && size_of::<AtomicU32>() == 4);

#[cfg(test)]
#[path = "function_tests.rs"]
mod tests;
