//! Where the MSI-X table and pending bits lie, and what they read as.
//!
//! QEMU emulates table and masks itself and hands over one eventfd for each vector; only reads of the Pending Bit Array
//! reach the device, and a vector is never pending there, because a message that is sent while masked waits in QEMU.

/// Bytes of a table entry (PCI Express Base 6.0, section 7.7.2).
const ENTRY: u64 = 16;
/// Vector Control, in an entry; Mask Bit is bit 0, and 1 after reset (section 7.7.2.9).
const VECTOR_CONTROL: u64 = 12;

/// Number of vectors, and the place of their table and pending bits (PCI Express Base 6.0, section 7.7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsixLayout {
    /// Vectors, 1 to 2048.
    pub vectors: u16,
    /// BAR that holds the table (BIR).
    pub table_bar: u8,
    /// Offset of the table in its BAR, in bytes, a multiple of 8.
    pub table_offset: u32,
    /// BAR that holds the Pending Bit Array (BIR).
    pub pba_bar: u8,
    /// Offset of the Pending Bit Array in its BAR, in bytes, a multiple of 8.
    pub pba_offset: u32,
}

impl MsixLayout {
    /// Length of the table in bytes.
    #[must_use]
    pub const fn table_len(&self) -> u64 {
        self.vectors as u64 * ENTRY
    }

    /// Length of the Pending Bit Array in bytes: a bit for each vector, in whole quadwords.
    #[must_use]
    pub const fn pba_len(&self) -> u64 {
        (self.vectors as u64).div_ceil(64) * 8
    }

    /// What the byte at `offset` of BAR `bar` reads as if it belongs to the table (as after reset: masked) or to the
    /// Pending Bit Array (nothing pending), else `None`.
    #[must_use]
    pub fn read_byte(&self, bar: usize, offset: u64) -> Option<u8> {
        let within = |in_bar: u8, start: u32, len: u64| {
            let at = offset.checked_sub(start.into())?;
            (usize::from(in_bar) == bar && at < len).then_some(at)
        };
        if let Some(at) = within(self.table_bar, self.table_offset, self.table_len()) {
            return Some(u8::from(at % ENTRY == VECTOR_CONTROL));
        }
        within(self.pba_bar, self.pba_offset, self.pba_len()).map(|_| 0)
    }

    /// Overwrites those bytes of a read of BAR `bar` at `offset` that belong to the table or the Pending Bit Array.
    /// Returns whether there were any.
    pub fn overlay(&self, bar: usize, offset: u64, buf: &mut [u8]) -> bool {
        let mut any = false;
        for (i, byte) in buf.iter_mut().enumerate() {
            if let Some(value) = offset.checked_add(i as u64).and_then(|at| self.read_byte(bar, at)) {
                *byte = value;
                any = true;
            }
        }
        any
    }

    /// Whether a write of `len` bytes to BAR `bar` at `offset` touches the table or the Pending Bit Array (and is thus
    /// not for the device's own registers).
    #[must_use]
    pub fn touches(&self, bar: usize, offset: u64, len: u64) -> bool {
        let overlaps = |in_bar: u8, start: u32, size: u64| {
            let start = u64::from(start);
            usize::from(in_bar) == bar && len > 0 && offset < start + size && offset.saturating_add(len) > start
        };
        overlaps(self.table_bar, self.table_offset, self.table_len())
            || overlaps(self.pba_bar, self.pba_offset, self.pba_len())
    }
}
