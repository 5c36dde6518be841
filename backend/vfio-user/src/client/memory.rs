//! What the client owns: guest RAM, address space, eventfds.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, SealFlags};
use vm_memory::VolatileSlice;

use super::ClientError;
use crate::memory::backing::{Backing, SharedMap};

/// Guest RAM: a memfd, sealed against shrinking as QEMU's are.
#[derive(Debug)]
pub struct Ram {
    fd: OwnedFd,
    map: Arc<SharedMap>,
}

impl Ram {
    pub(super) fn new(size: u64) -> Result<Self, ClientError> {
        let fd = rustix::fs::memfd_create("guest-ram", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, size)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK)?;
        let backing = Backing::open(&fd, 0, size, true).map_err(std::io::Error::other)?;
        let backing = backing.ok_or_else(|| std::io::Error::other("the memfd could not be sealed"))?;
        Ok(Self { fd, map: backing.map })
    }

    /// The memfd.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Size in bytes.
    pub fn len(&self) -> u64 {
        self.map.len() as u64
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// `len` bytes at `offset`, for accesses of any kind.
    ///
    /// # Panics
    /// If they do not lie within the RAM: a mistake of the test.
    #[allow(clippy::expect_used)] // for tests and benches only, where a wrong offset is best found at once
    pub fn slice(&self, offset: u64, len: usize) -> VolatileSlice<'_> {
        self.map.slice(offset, len).expect("an access within the guest's RAM")
    }

    /// Copies bytes out of the RAM.
    ///
    /// # Panics
    /// As [`Self::slice`].
    pub fn read(&self, offset: u64, buf: &mut [u8]) {
        self.slice(offset, buf.len()).copy_to(buf);
    }

    /// Copies bytes into the RAM.
    ///
    /// # Panics
    /// As [`Self::slice`].
    pub fn write(&self, offset: u64, data: &[u8]) {
        self.slice(offset, data.len()).copy_from(data);
    }
}

/// A DMA access to the client's address space.
pub(super) enum Place<'a> {
    Read(&'a mut [u8]),
    Write(&'a [u8]),
}

impl Place<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Read(b) => b.len(),
            Self::Write(b) => b.len(),
        }
    }
}

/// One piece of the client's address space.
#[derive(Debug)]
pub(super) enum Area {
    /// RAM from this offset on.
    Shared { first: u64, size: u64, offset: u64 },
    /// Bytes that the server has no descriptor of.
    Private { first: u64, bytes: Vec<u8> },
}

impl Area {
    /// Does the access if all of it lies here.
    pub(super) fn access(&mut self, ram: &Ram, addr: u64, access: &mut Place<'_>) -> Option<()> {
        let (first, size) = match self {
            Self::Shared { first, size, .. } => (*first, *size),
            Self::Private { first, bytes } => (*first, bytes.len() as u64),
        };
        let at = addr.checked_sub(first)?;
        if at.checked_add(access.len() as u64)? > size {
            return None;
        }
        match (self, access) {
            (Self::Shared { offset, .. }, Place::Read(buf)) => ram.read(*offset + at, buf),
            (Self::Shared { offset, .. }, Place::Write(data)) => ram.write(*offset + at, data),
            (Self::Private { bytes, .. }, Place::Read(buf)) => {
                buf.copy_from_slice(&bytes[at as usize..at as usize + buf.len()]);
            }
            (Self::Private { bytes, .. }, Place::Write(data)) => {
                bytes[at as usize..at as usize + data.len()].copy_from_slice(data);
            }
        }
        Some(())
    }
}

/// An eventfd of the client, for one vector.
#[derive(Debug)]
pub struct Interrupt(OwnedFd);

impl Interrupt {
    /// A new eventfd.
    ///
    /// # Errors
    /// Those of eventfd(2).
    pub fn new() -> Result<Self, ClientError> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// How often it was signalled since the last call; does not wait.
    pub fn take(&self) -> u64 {
        let mut count = [0; 8];
        rustix::io::read(&self.0, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
    }

    /// Waits until it is signalled, `timeout` at most; how often it was since the last call.
    pub fn wait(&self, timeout: Duration) -> u64 {
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        // Whatever ended the wait, what counts is what is in the counter.
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout));
        self.take()
    }
}

impl AsFd for Interrupt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
