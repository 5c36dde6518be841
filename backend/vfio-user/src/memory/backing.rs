//! Descriptors of guest memory and their mappings into this process.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use rustix::fs::{OFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use vm_memory::VolatileSlice;

/// Largest file that is mapped, bytes: more than guests have.
const MAX_FILE: u64 = 1 << 42;
/// Most bytes that are mapped in the whole process: sparse files cost a hostile client nothing, but our address space
/// (47 bits) must not run out.
const MAX_TOTAL: usize = 1 << 46;

/// Why a descriptor cannot be used as guest memory at all.
#[derive(Debug, thiserror::Error)]
pub enum BackingError {
    /// The offset and size of the range do not lie within the file.
    #[error("offset {offset:#x} and size {size:#x} exceed the file's {file:#x} bytes")]
    Range {
        /// Offset of the range in the file.
        offset: u64,
        /// Size of the range.
        size: u64,
        /// Size of the file.
        file: u64,
    },
    /// The client asks for write access with a descriptor that is open for reading only.
    #[error("write access is asked for with a read-only descriptor")]
    ReadOnly,
    /// The system refuses.
    #[error("the descriptor cannot be mapped: {0}")]
    System(#[from] rustix::io::Errno),
}

/// One file, mapped whole. Shared by all functions of the process that were given a descriptor of the same file with
/// the same access, and unmapped when the last of them lets go.
#[derive(Debug)]
pub struct SharedMap {
    base: usize,
    len: NonZeroUsize,
    writable: bool,
}

impl SharedMap {
    /// Maps the first `len` bytes of `fd`. Private: whoever calls has checked the seals.
    fn map(fd: &OwnedFd, len: NonZeroUsize, writable: bool) -> Result<Self, BackingError> {
        let prot = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing of this process.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len.get(), prot, MapFlags::SHARED, fd.as_fd(), 0)? };
        Ok(Self { base: base as usize, len, writable })
    }

    /// The bytes from `offset` on. `None` if the mapping does not have them, or may not be written: a slice always
    /// can be.
    pub fn slice(&self, offset: u64, len: usize) -> Option<VolatileSlice<'_>> {
        let start = usize::try_from(offset).ok()?;
        if !self.writable || start.checked_add(len)? > self.len.get() {
            return None;
        }
        // SAFETY: the range was just checked against the mapping, which is writable and lives as long as `self` and
        // thus as long as the slice; the file cannot shrink below it (F_SEAL_SHRINK). What others do to the bytes
        // meanwhile is what VolatileSlice is for.
        Some(unsafe { VolatileSlice::new((self.base + start) as *mut u8, len) })
    }

    /// The address in this process of the byte at `offset` (below [`Self::len`]).
    pub(crate) fn host_address(&self, offset: usize) -> usize {
        self.base + offset
    }

    /// Size of the mapping in bytes.
    pub fn len(&self) -> usize {
        self.len.get()
    }

    /// Never true: an empty file is not mapped.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whether the mapping may be written.
    pub fn writable(&self) -> bool {
        self.writable
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        // SAFETY: base and len are those of the mapping made in `map`; every slice borrowed from `self`, so none is
        // left.
        let unmapped = unsafe { rustix::mm::munmap(self.base as *mut _, self.len.get()) };
        if let Err(e) = unmapped {
            log::error!("munmap of guest memory: {e}");
        }
    }
}

/// Where the bytes of a DMA_MAP range are.
#[derive(Debug, Clone)]
pub struct Backing {
    /// The mapped file.
    pub map: Arc<SharedMap>,
    /// Offset of the range in it.
    pub offset: u64,
}

#[derive(Debug, PartialEq, Eq, Hash, Clone, Copy)]
struct Key {
    dev: u64,
    ino: u64,
    writable: bool,
}

type Registry = Mutex<HashMap<Key, Weak<SharedMap>>>;

fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(Registry::default)
}

/// How many files are mapped now in the whole process (for inspection and tests).
#[cfg(test)]
pub(crate) fn mapped_files() -> usize {
    registry().lock().values().filter(|w| w.strong_count() > 0).count()
}

impl Backing {
    /// Maps `size` bytes at `offset` of `fd`, or finds the mapping that exists. The descriptor is not needed
    /// afterwards.
    ///
    /// `Ok(None)`: the file may shrink under us (it is not sealed with F_SEAL_SHRINK), so touching it could kill the
    /// process; such memory is to be reached by message.
    pub fn open(fd: &OwnedFd, offset: u64, size: u64, write: bool) -> Result<Option<Self>, BackingError> {
        match rustix::fs::fcntl_get_seals(fd) {
            Ok(seals) if seals.contains(SealFlags::SHRINK) => {}
            _ => return Ok(None),
        }
        let stat = rustix::fs::fstat(fd)?;
        let file = u64::try_from(stat.st_size).unwrap_or(0).min(MAX_FILE);
        if offset.checked_add(size).is_none_or(|end| end > file) || size == 0 {
            return Err(BackingError::Range { offset, size, file });
        }
        let writable = rustix::fs::fcntl_getfl(fd)?.contains(OFlags::RDWR);
        if write && !writable {
            return Err(BackingError::ReadOnly);
        }
        let len = usize::try_from(file).ok().and_then(NonZeroUsize::new);
        let len = len.ok_or(BackingError::Range { offset, size, file })?;
        let key = Key { dev: stat.st_dev, ino: stat.st_ino, writable };
        let mut registry = registry().lock();
        registry.retain(|_, map| map.strong_count() > 0);
        // A file may have grown since it was mapped; then a longer mapping takes the place of the shorter one for
        // those who come now.
        if let Some(map) = registry.get(&key).and_then(Weak::upgrade).filter(|m| m.len >= len) {
            return Ok(Some(Self { map, offset }));
        }
        let total: usize = registry.values().filter_map(Weak::upgrade).map(|m| m.len()).sum();
        if total.saturating_add(len.get()) > MAX_TOTAL {
            return Err(rustix::io::Errno::NOMEM.into());
        }
        let map = Arc::new(SharedMap::map(fd, len, writable)?);
        registry.insert(key, Arc::downgrade(&map));
        Ok(Some(Self { map, offset }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::MemfdFlags;

    fn memfd(size: u64, seals: SealFlags) -> OwnedFd {
        let fd = rustix::fs::memfd_create("test-ram", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&fd, size).unwrap();
        rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
        fd
    }

    #[test]
    fn one_file_is_mapped_once_for_each_access() {
        let fd = memfd(0x4000, SealFlags::SHRINK);
        let read_only = rustix::fs::open(
            format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd)),
            OFlags::RDONLY | OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        let a = Backing::open(&fd, 0, 0x1000, true).unwrap().unwrap();
        let b = Backing::open(&fd.try_clone().unwrap(), 0x2000, 0x2000, true).unwrap().unwrap();
        assert!(Arc::ptr_eq(&a.map, &b.map));
        let c = Backing::open(&read_only, 0, 0x1000, false).unwrap().unwrap();
        assert!(!Arc::ptr_eq(&a.map, &c.map), "a read-only client must not inherit write access");
        assert!(!c.map.writable());
        assert!(matches!(Backing::open(&read_only, 0, 0x1000, true), Err(BackingError::ReadOnly)));
        let weak = Arc::downgrade(&a.map);
        drop((a, b));
        assert!(weak.upgrade().is_none(), "the mapping must go with its last user");
    }

    #[test]
    fn a_file_that_may_shrink_is_not_mapped() {
        assert!(Backing::open(&memfd(0x1000, SealFlags::empty()), 0, 0x1000, true).unwrap().is_none());
        let pipe = rustix::pipe::pipe().unwrap().0;
        assert!(Backing::open(&pipe, 0, 0x1000, false).unwrap().is_none());
    }

    #[test]
    fn a_range_beyond_the_file_is_refused() {
        let fd = memfd(0x2000, SealFlags::SHRINK);
        for (offset, size) in [(0, 0x2001), (0x2000, 1), (u64::MAX, 2), (0, 0)] {
            assert!(matches!(Backing::open(&fd, offset, size, true), Err(BackingError::Range { .. })));
        }
    }

    #[test]
    fn a_huge_sparse_file_does_not_take_the_address_space() {
        let fd = memfd(1 << 45, SealFlags::SHRINK);
        let whole = Backing::open(&fd, 0, 1 << 45, true);
        assert!(matches!(whole, Err(BackingError::Range { file: MAX_FILE, .. })));
    }

    #[test]
    fn a_read_only_mapping_gives_no_slice() {
        let fd = memfd(0x1000, SealFlags::SHRINK);
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        let read_only = rustix::fs::open(path, OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
        let backing = Backing::open(&read_only, 0, 0x1000, false).unwrap().unwrap();
        assert!(backing.map.slice(0, 1).is_none());
    }

    #[test]
    fn a_file_that_grew_is_mapped_anew() {
        let fd = memfd(0x1000, SealFlags::SHRINK);
        let small = Backing::open(&fd, 0, 0x1000, true).unwrap().unwrap();
        rustix::fs::ftruncate(&fd, 0x3000).unwrap();
        let large = Backing::open(&fd, 0x2000, 0x1000, true).unwrap().unwrap();
        assert_eq!((small.map.len(), large.map.len()), (0x1000, 0x3000));
        assert!(mapped_files() >= 1);
        assert!(small.map.slice(0x1000, 1).is_none());
        assert!(large.map.slice(0x2fff, 1).is_some());
    }
}
