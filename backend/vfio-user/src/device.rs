//! What one PCI function offers to its socket.

use crate::irqs::Irqs;
use crate::memory::function::Mapping;
use crate::proto;
use crate::requests::Client;

/// One region: a BAR, the ROM, configuration space or VGA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegionInfo {
    /// Size in bytes; 0 says that the region does not exist.
    pub size: u64,
    /// The client may read it.
    pub read: bool,
    /// The client may write it.
    pub write: bool,
}

impl RegionInfo {
    /// A readable and writable region of `size` bytes.
    pub const fn read_write(size: u64) -> Self {
        Self { size, read: true, write: true }
    }
}

/// What does not change while a function is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// A short name for log lines (`pf0`, `pf0vf3`).
    pub name: String,
    /// BAR 0 to 5, ROM, configuration space (index 7; 4096 bytes for PCI Express), VGA.
    pub regions: [RegionInfo; proto::NUM_REGIONS],
}

/// Why a DMA_MAP is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The range overlaps one that is mapped already (EEXIST, as VFIO).
    #[error("the range overlaps one that is mapped already")]
    Overlap,
    /// Too many ranges (ENOSPC). The limit is 65535, QEMU's own default.
    #[error("too many ranges are mapped")]
    TooMany,
}

/// One PCI function, as its socket sees it.
///
/// All methods are called on the socket's own thread, one at a time, and must not wait for a message to the client
/// (see the crate's front page). A panic in one of them disconnects the client and is logged.
pub trait Device: Send + Sync {
    /// Name, regions. Asked once, before the first client is accepted.
    fn info(&self) -> DeviceInfo;

    /// The MSI-X vectors: SET_IRQS is applied to them directly.
    fn irqs(&self) -> &Irqs;

    /// Reads `buf.len()` bytes (1 up to the whole region) at `offset`. The access lies within a readable region.
    fn region_read(&self, region: u32, offset: u64, buf: &mut [u8]);

    /// Writes `data` (1 byte up to the whole region) at `offset`. The access lies within a writable region.
    fn region_write(&self, region: u32, offset: u64, data: &[u8]);

    /// All that has arrived so far was handled: what posted writes asked for can be done for all of them at once. Called
    /// after one or more calls of the others, before the thread looks for more; the client is not gone.
    fn caught_up(&self) {}

    /// Inserts a range into the function's memory, under the exclusive gate. Whatever takes time (mmap) is done.
    fn dma_map(&self, mapping: Mapping) -> Result<(), MapError>;

    /// Takes the addresses from `first` to `last` (inclusive) away, under the exclusive gate: when it returns, nothing
    /// in flight uses them. Returns the number of bytes that were mapped.
    fn dma_unmap(&self, first: u64, last: u64) -> u64;

    /// DEVICE_RESET: when it returns, the function refuses DMA and all registers have their reset values.
    fn reset(&self);

    /// A client has connected and agreed on the version.
    fn connected(&self, client: Client);

    /// That client is gone. All its ranges are to be unmapped; called before another one is accepted.
    fn disconnected(&self);
}
