//! What a PCI Express function does on the link: memory requests with their attributes, and messages to interrupt.
//!
//! A device model is generic over [`DmaSpace`]: one function's view of the address space behind its link. The
//! implementation that talks to a real VM lives elsewhere (`backend/vfio-user`); [`crate::testing`] has one for tests.

use std::fmt;

/// Processing hint (PCI Express Base 6.0, section 2.2.7.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum ProcessingHint {
    /// Bi-directional data structure (00b).
    #[default]
    Bidirectional = 0,
    /// Requester (01b).
    Requester = 1,
    /// Target (10b).
    Target = 2,
    /// Target with priority (11b).
    TargetPriority = 3,
}

/// TLP processing hint and steering tag of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tph {
    /// The processing hint.
    pub ph: ProcessingHint,
    /// The steering tag; 8 bits unless the Extended TPH Requester is enabled.
    pub st: u16,
}

/// The attributes that go with every memory request. Built once per mkey or queue, then copied with each transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attrs {
    /// Traffic class, 0 to 7.
    pub tc: u8,
    /// Relaxed ordering.
    pub relaxed_ordering: bool,
    /// No snoop.
    pub no_snoop: bool,
    /// TPH, when the request carries it.
    pub tph: Option<Tph>,
}

impl Attrs {
    /// Traffic class 0, strongly ordered, snooped, no TPH.
    pub const PLAIN: Self = Self { tc: 0, relaxed_ordering: false, no_snoop: false, tph: None };
}

/// Why a memory request did not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmaError {
    /// The function's Bus Master Enable is 0, or the function is being reset: the request never left the function.
    Disabled,
    /// Nothing answers at this address (Unsupported Request / master abort).
    Unmapped {
        /// First address that nothing answers.
        addr: u64,
    },
    /// The address is readable but the request was a write (or the other way round).
    Denied {
        /// First offending address.
        addr: u64,
    },
    /// A naturally aligned operation was asked at a misaligned address.
    Misaligned {
        /// The address.
        addr: u64,
    },
    /// Only the client (QEMU) can reach this address, by message. The caller must give up what it was doing without
    /// having committed anything, let its executor fetch `len` bytes at `addr` outside the gate, and start again.
    Fetch {
        /// First address to fetch.
        addr: u64,
        /// Number of bytes.
        len: u32,
    },
}

impl fmt::Display for DmaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => write!(f, "bus mastering is off"),
            Self::Unmapped { addr } => write!(f, "nothing is mapped at {addr:#x}"),
            Self::Denied { addr } => write!(f, "access at {addr:#x} is not permitted"),
            Self::Misaligned { addr } => write!(f, "misaligned access at {addr:#x}"),
            Self::Fetch { addr, len } => write!(f, "{len} bytes at {addr:#x} are reachable by message only"),
        }
    }
}

impl std::error::Error for DmaError {}

/// One function's address space. All methods take `&self`: the space is shared by every queue of the function, and
/// what is behind it is memory that a guest changes at any time.
///
/// A transfer either happens in full or (on an error) may have been done up to the failing address, as on a link.
pub trait DmaSpace: Send + Sync {
    /// Memory read of `buf.len()` bytes.
    fn read(&self, attrs: Attrs, addr: u64, buf: &mut [u8]) -> Result<(), DmaError>;
    /// Memory write (posted).
    fn write(&self, attrs: Attrs, addr: u64, buf: &[u8]) -> Result<(), DmaError>;
    /// Reads a naturally aligned big-endian dword; later reads are not reordered before it (load acquire).
    fn load_be32(&self, attrs: Attrs, addr: u64) -> Result<u32, DmaError>;
    /// Memory write (posted) whose last byte is seen after all others of it and after earlier writes (store release): an
    /// entry whose last byte says whose it is.
    fn write_release(&self, attrs: Attrs, addr: u64, buf: &[u8]) -> Result<(), DmaError>;
    /// FetchAdd AtomicOp on a naturally aligned 8-byte little-endian operand; returns the old value.
    fn fetch_add_u64(&self, attrs: Attrs, addr: u64, add: u64) -> Result<u64, DmaError>;
    /// CAS AtomicOp on a naturally aligned 8-byte little-endian operand; returns the old value.
    fn compare_swap_u64(&self, attrs: Attrs, addr: u64, compare: u64, swap: u64) -> Result<u64, DmaError>;
    /// Copies `len` bytes from `src` here to `dst` in `to` (which may be the same space) without an extra buffer
    /// where the implementation can.
    fn copy(
        &self,
        src_attrs: Attrs,
        src: u64,
        to: &Self,
        dst_attrs: Attrs,
        dst: u64,
        len: usize,
    ) -> Result<(), DmaError>
    where
        Self: Sized,
    {
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
    /// Sends the message of MSI-X vector `vector` (dropped, as on hardware, when the vector has no target or bus
    /// mastering is off). All earlier writes are visible first.
    fn msi(&self, vector: u16);
}
