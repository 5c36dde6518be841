//! MSI-X vectors and the eventfds that carry them to the client.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Why a descriptor or a range of vectors is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IrqError {
    /// A vector outside the function's table.
    #[error("vectors {start}..{end} are not all below {count}")]
    Range {
        /// First vector.
        start: u32,
        /// One past the last.
        end: u64,
        /// Vectors of the function.
        count: u32,
    },
    /// The descriptor is not an eventfd.
    #[error("the descriptor for a vector is not an eventfd")]
    NotEventfd,
}

#[derive(Debug, Default)]
struct Slot {
    eventfd: Option<OwnedFd>,
    /// Raised while no eventfd was there; one bit, as in the Pending Bit Array.
    pending: bool,
}

/// The MSI-X vectors of one function. Masking is the client's: QEMU emulates the vector table and keeps a masked
/// vector pending itself. A vector that has no eventfd yet keeps one pending bit, fired when the eventfd arrives.
///
/// Raising an interrupt never waits: the eventfds are switched to non-blocking, and a counter at its limit has been
/// signalled already. (The switch is shared with the client. One that turns it off again and fills the counter to its
/// limit of 2^64 - 2 could hold up the thread that signals it, until somebody reads the counter.)
#[derive(Debug)]
pub struct Irqs {
    slots: Box<[Mutex<Slot>]>,
}

impl Irqs {
    /// `vectors` MSI-X vectors (0 to 2048), none of them wired.
    pub fn new(vectors: u16) -> Self {
        Self { slots: (0..vectors.min(2048)).map(|_| Mutex::default()).collect() }
    }

    /// The number of vectors.
    pub fn count(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Raises `vector`. A vector outside the table is ignored, as a message to nowhere is on hardware.
    pub fn trigger(&self, vector: u16) {
        let Some(slot) = self.slots.get(usize::from(vector)) else { return };
        // The write happens under the vector's lock, so that a replacement cannot slip between choosing the eventfd
        // and signalling it; it does not block.
        let mut slot = slot.lock();
        match &slot.eventfd {
            Some(fd) => signal(fd.as_fd()),
            None => slot.pending = true,
        }
    }

    /// True if `vector` was raised and has had no eventfd since.
    pub fn is_pending(&self, vector: u16) -> bool {
        self.slots.get(usize::from(vector)).is_some_and(|s| s.lock().pending)
    }

    /// Wires the vectors from `start` on to `fds`; `None` takes a vector's eventfd away. All or nothing: every
    /// descriptor is checked before the first vector changes.
    pub fn wire(&self, start: u32, fds: Vec<Option<OwnedFd>>) -> Result<(), IrqError> {
        let slots = self.range(start, fds.len())?;
        for fd in fds.iter().flatten() {
            prepare(fd)?;
        }
        for (slot, fd) in slots.iter().zip(fds) {
            let mut slot = slot.lock();
            slot.eventfd = fd;
            if slot.pending && slot.eventfd.is_some() {
                slot.pending = false;
                slot.eventfd.iter().for_each(|fd| signal(fd.as_fd()));
            }
        }
        Ok(())
    }

    /// MSI-X is switched off: forgets all eventfds and pending bits.
    pub fn disable(&self) {
        for slot in &self.slots {
            *slot.lock() = Slot::default();
        }
    }

    /// Forgets all pending bits, keeps the eventfds (a function level reset).
    pub fn clear_pending(&self) {
        for slot in &self.slots {
            slot.lock().pending = false;
        }
    }

    /// Checks that `start` and the `count` vectors from it on exist.
    pub(crate) fn check(&self, start: u32, count: u32) -> Result<(), IrqError> {
        self.range(start, count as usize).map(|_| ())
    }

    fn range(&self, start: u32, count: usize) -> Result<&[Mutex<Slot>], IrqError> {
        let end = u64::from(start) + count as u64;
        let error = IrqError::Range { start, end, count: self.count() };
        let last = usize::try_from(end).map_err(|_| error)?;
        self.slots.get(start as usize..last).ok_or(error)
    }
}

/// Adds 1 to the eventfd's counter. EAGAIN says that the counter is at its limit: the client has been told already.
fn signal(fd: BorrowedFd<'_>) {
    loop {
        match rustix::io::write(fd, &1u64.to_ne_bytes()) {
            Err(Errno::INTR) => {}
            _ => return,
        }
    }
}

/// Makes sure that `fd` is an eventfd and does not block.
fn prepare(fd: &OwnedFd) -> Result<(), IrqError> {
    // All anonymous inodes share one inode number; only the link's text tells an eventfd from the others.
    let link = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new());
    if link.map_err(|_| IrqError::NotEventfd)?.as_bytes() != b"anon_inode:[eventfd]" {
        return Err(IrqError::NotEventfd);
    }
    let flags = rustix::fs::fcntl_getfl(fd).map_err(|_| IrqError::NotEventfd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK).map_err(|_| IrqError::NotEventfd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    fn new_eventfd() -> (OwnedFd, OwnedFd) {
        let fd = eventfd(0, EventfdFlags::empty()).unwrap();
        let dup = fd.try_clone().unwrap();
        (fd, dup)
    }

    fn count(fd: &OwnedFd) -> u64 {
        let mut b = [0; 8];
        rustix::io::read(fd, &mut b).map_or(0, |_| u64::from_ne_bytes(b))
    }

    #[test]
    fn an_interrupt_before_its_eventfd_is_kept_once() {
        let irqs = Irqs::new(4);
        irqs.trigger(2);
        irqs.trigger(2);
        assert!(irqs.is_pending(2));
        let (ours, theirs) = new_eventfd();
        irqs.wire(2, vec![Some(theirs)]).unwrap();
        assert!(!irqs.is_pending(2));
        assert_eq!(count(&ours), 1);
        irqs.trigger(2);
        assert_eq!(count(&ours), 1);
    }

    #[test]
    fn a_full_counter_does_not_block() {
        let irqs = Irqs::new(1);
        let (ours, theirs) = new_eventfd();
        irqs.wire(0, vec![Some(theirs)]).unwrap();
        rustix::io::write(&ours, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        irqs.trigger(0);
        assert_eq!(count(&ours), u64::MAX - 1);
    }

    #[test]
    fn other_descriptors_and_ranges_are_refused_whole() {
        let irqs = Irqs::new(2);
        let (ours, theirs) = new_eventfd();
        let pipe = rustix::pipe::pipe().unwrap().1;
        assert_eq!(irqs.wire(0, vec![Some(theirs), Some(pipe)]), Err(IrqError::NotEventfd));
        irqs.trigger(0);
        assert_eq!(count(&ours.try_clone().unwrap()).min(1), 0, "nothing may be wired by a refused request");
        let (_, theirs) = new_eventfd();
        assert!(matches!(irqs.wire(1, vec![None, Some(theirs)]), Err(IrqError::Range { .. })));
        assert!(matches!(irqs.check(u32::MAX, u32::MAX), Err(IrqError::Range { .. })));
        irqs.trigger(7);
    }

    #[test]
    fn disable_forgets_eventfds_and_pending_bits() {
        let irqs = Irqs::new(2);
        irqs.trigger(1);
        irqs.disable();
        assert!(!irqs.is_pending(1));
    }
}
