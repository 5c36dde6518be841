//! The wire format: header, commands, flags and the layouts of the bodies, little-endian as QEMU sends them.
//!
//! Source of the numbers: the vfio-user specification (QEMU's `docs/interop/vfio-user.rst`) and `linux/vfio.h` for what
//! vfio-user takes over from it.

/// Bytes of a message header.
pub const HEADER_SIZE: usize = 16;
/// Largest amount of data in one region access or DMA message that we offer and accept (`max_data_xfer_size`), bytes.
pub const MAX_DATA_XFER: usize = 1 << 20;
/// Largest message that is kept in memory; longer ones are drained and refused. Data, header and body fields.
pub const MAX_MESSAGE: usize = MAX_DATA_XFER + 4096;
/// File descriptors in one message that we offer (`max_msg_fds`; QEMU's upper limit).
pub const MAX_MSG_FDS: usize = 16;
/// QEMU's buffer for our VERSION reply is as long as its own request; a longer reply makes it give up.
pub const MAX_VERSION_REPLY: usize = 214;
/// Data of one server-to-client DMA message, bytes. QEMU sends its reply with one non-blocking send and takes a partial
/// one for complete; what fits one socket buffer is never sent in part.
pub const MAX_DMA_MESSAGE: usize = 32 * 1024;

/// VERSION: the first message of a connection.
pub const VERSION: u16 = 1;
/// DMA_MAP: a range of the function's address space, with a descriptor where it can be mapped.
pub const DMA_MAP: u16 = 2;
/// DMA_UNMAP: takes ranges away.
pub const DMA_UNMAP: u16 = 3;
/// DEVICE_GET_INFO (`struct vfio_device_info`).
pub const DEVICE_GET_INFO: u16 = 4;
/// DEVICE_GET_REGION_INFO (`struct vfio_region_info`).
pub const DEVICE_GET_REGION_INFO: u16 = 5;
/// DEVICE_GET_IRQ_INFO (`struct vfio_irq_info`).
pub const DEVICE_GET_IRQ_INFO: u16 = 7;
/// DEVICE_SET_IRQS (`struct vfio_irq_set`).
pub const DEVICE_SET_IRQS: u16 = 8;
/// REGION_READ.
pub const REGION_READ: u16 = 9;
/// REGION_WRITE.
pub const REGION_WRITE: u16 = 10;
/// DMA_READ, server to client.
pub const DMA_READ: u16 = 11;
/// DMA_WRITE, server to client.
pub const DMA_WRITE: u16 = 12;
/// DEVICE_RESET.
pub const DEVICE_RESET: u16 = 13;

/// Header flags: message type, low four bits.
pub const TYPE_MASK: u32 = 0xf;
/// Message type: a command.
pub const TYPE_COMMAND: u32 = 0;
/// Message type: a reply.
pub const TYPE_REPLY: u32 = 1;
/// Header flag: the sender wants no reply.
pub const NO_REPLY: u32 = 1 << 4;
/// Header flag: the command failed, the header's last field is an errno.
pub const ERROR: u32 = 1 << 5;

/// DMA_MAP flag: the function may read the range.
pub const DMA_MAP_READ: u32 = 1 << 0;
/// DMA_MAP flag: the function may write the range.
pub const DMA_MAP_WRITE: u32 = 1 << 1;
/// DMA_UNMAP flag: everything; address and size are 0.
pub const DMA_UNMAP_ALL: u32 = 1 << 2;

/// DEVICE_GET_INFO flag: DEVICE_RESET is supported (`VFIO_DEVICE_FLAGS_RESET`).
pub const DEVICE_FLAGS_RESET: u32 = 1 << 0;
/// DEVICE_GET_INFO flag: a PCI device (`VFIO_DEVICE_FLAGS_PCI`).
pub const DEVICE_FLAGS_PCI: u32 = 1 << 1;

/// Regions of a PCI device (`VFIO_PCI_NUM_REGIONS`): BAR 0 to 5, ROM, config space, VGA.
pub const NUM_REGIONS: usize = 9;
/// Index of the configuration space region (`VFIO_PCI_CONFIG_REGION_INDEX`).
pub const CONFIG_REGION: u32 = 7;
/// Region flag: readable.
pub const REGION_FLAG_READ: u32 = 1 << 0;
/// Region flag: writable.
pub const REGION_FLAG_WRITE: u32 = 1 << 1;

/// Interrupt indices of a PCI device (`VFIO_PCI_NUM_IRQS`): INTx, MSI, MSI-X, ERR, REQ.
pub const NUM_IRQS: u32 = 5;
/// Interrupt index of INTx.
pub const IRQ_INTX: u32 = 0;
/// Interrupt index of MSI.
pub const IRQ_MSI: u32 = 1;
/// Interrupt index of MSI-X.
pub const IRQ_MSIX: u32 = 2;
/// Interrupt information flag: signalled by eventfd (`VFIO_IRQ_INFO_EVENTFD`).
pub const IRQ_INFO_EVENTFD: u32 = 1 << 0;
/// SET_IRQS: no data.
pub const IRQ_SET_DATA_NONE: u32 = 1 << 0;
/// SET_IRQS: a byte per interrupt.
pub const IRQ_SET_DATA_BOOL: u32 = 1 << 1;
/// SET_IRQS: a descriptor per interrupt.
pub const IRQ_SET_DATA_EVENTFD: u32 = 1 << 2;
/// SET_IRQS: the action is about the interrupt's trigger.
pub const IRQ_SET_ACTION_TRIGGER: u32 = 1 << 5;

/// Bytes of a DMA_MAP body.
pub const DMA_MAP_BODY: usize = 32;
/// Bytes of a DMA_UNMAP body (`struct vfio_iommu_type1_dma_unmap` without its bitmap).
pub const DMA_UNMAP_BODY: usize = 24;
/// Bytes of `struct vfio_device_info` as QEMU knows it.
pub const DEVICE_INFO_BODY: usize = 16;
/// Bytes of `struct vfio_region_info`.
pub const REGION_INFO_BODY: usize = 32;
/// Bytes of `struct vfio_irq_info`.
pub const IRQ_INFO_BODY: usize = 16;
/// Bytes of `struct vfio_irq_set` without data.
pub const IRQ_SET_BODY: usize = 20;
/// Bytes of a REGION_READ or REGION_WRITE body without data: offset, region, count.
pub const REGION_ACCESS_BODY: usize = 16;
/// Bytes of a DMA_READ or DMA_WRITE body without data: address, count, and (see [`crate::DmaLayout`]) padding.
pub const DMA_ACCESS_BODY: usize = 16;

/// A message header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Chosen by the sender of the command, echoed in the reply.
    pub id: u16,
    /// One of the commands of this module, or unknown.
    pub command: u16,
    /// Bytes of the message, header included.
    pub size: u32,
    /// Type and flags.
    pub flags: u32,
    /// With [`ERROR`]: an errno.
    pub error: u32,
}

impl Header {
    /// Parses a header.
    pub fn parse(b: &[u8; HEADER_SIZE]) -> Self {
        Self { id: u16_at(b, 0), command: u16_at(b, 2), size: u32_at(b, 4), flags: u32_at(b, 8), error: u32_at(b, 12) }
    }

    /// The header's bytes.
    pub fn emit(&self) -> [u8; HEADER_SIZE] {
        let mut b = [0; HEADER_SIZE];
        b[0..2].copy_from_slice(&self.id.to_le_bytes());
        b[2..4].copy_from_slice(&self.command.to_le_bytes());
        b[4..8].copy_from_slice(&self.size.to_le_bytes());
        b[8..12].copy_from_slice(&self.flags.to_le_bytes());
        b[12..16].copy_from_slice(&self.error.to_le_bytes());
        b
    }

    /// True for a reply.
    pub fn is_reply(&self) -> bool {
        self.flags & TYPE_MASK == TYPE_REPLY
    }

    /// True if the sender wants no reply.
    pub fn no_reply(&self) -> bool {
        self.flags & NO_REPLY != 0
    }

    /// The errno of a failed reply (never 0: a peer that says "error 0" means an error all the same).
    pub fn errno(&self) -> Option<i32> {
        (self.flags & ERROR != 0).then(|| i32::try_from(self.error).ok().filter(|e| *e != 0).unwrap_or(libc::EIO))
    }
}

/// The little-endian 16-bit word at `at`; 0 where the slice is too short (callers check the length first).
pub fn u16_at(b: &[u8], at: usize) -> u16 {
    b.get(at..at + 2).and_then(|s| s.try_into().ok()).map_or(0, u16::from_le_bytes)
}

/// The little-endian 32-bit word at `at`; 0 where the slice is too short (callers check the length first).
pub fn u32_at(b: &[u8], at: usize) -> u32 {
    b.get(at..at + 4).and_then(|s| s.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The little-endian 64-bit word at `at`; 0 where the slice is too short (callers check the length first).
pub fn u64_at(b: &[u8], at: usize) -> u64 {
    b.get(at..at + 8).and_then(|s| s.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Begins a message in `out`: a header, whose size [`finish`] fills in.
pub fn begin(out: &mut Vec<u8>, id: u16, command: u16, flags: u32, error: u32) {
    out.clear();
    out.extend_from_slice(&Header { id, command, size: 0, flags, error }.emit());
}

/// Ends the message that [`begin`] began.
pub fn finish(out: &mut [u8]) {
    // No message of ours comes near 4 GiB; a longer one would be cut short by the peer's own size check.
    let size = u32::try_from(out.len()).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(4..8) {
        field.copy_from_slice(&size.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_round_trip() {
        let h = Header { id: 0x1234, command: REGION_READ, size: 4128, flags: TYPE_REPLY | ERROR, error: 22 };
        assert_eq!(Header::parse(&h.emit()), h);
        assert!(h.is_reply());
        assert_eq!(h.errno(), Some(22));
    }

    #[test]
    fn an_error_without_errno_is_still_an_error() {
        let h = Header { flags: TYPE_REPLY | ERROR, ..Header::default() };
        assert_eq!(h.errno(), Some(libc::EIO));
        assert_eq!(Header { flags: TYPE_REPLY, error: 5, ..h }.errno(), None);
    }

    #[test]
    fn words_outside_the_slice_read_as_zero() {
        assert_eq!((u16_at(&[1], 0), u32_at(&[1, 2, 3], 0), u64_at(&[9; 8], 1)), (0, 0, 0));
    }
}
