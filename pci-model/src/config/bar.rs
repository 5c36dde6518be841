//! Base Address Registers (PCI Express Base 6.0, section 7.5.1.2.1).

use super::{BuildError, Register};

/// Number of BARs in a Type 0 header.
pub const BAR_COUNT: usize = 6;
/// Offset of the first BAR (section 7.5.1.2).
pub(crate) const BAR0: u16 = 0x10;
/// Memory Type, bits 2:1 = 10b: anywhere in 64-bit memory space.
const TYPE_64: u32 = 0x4;
/// Prefetchable, bit 3.
const PREFETCHABLE: u32 = 0x8;
/// Bits 3:0 are read-only attributes.
pub(crate) const ATTRIBUTES: u64 = 0xf;
/// The smallest memory range that a BAR may ask for, in bytes.
const MIN_SIZE: u64 = 128;

/// A memory range that the function answers, as it is asked for in one BAR or (64-bit) in two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    pub(crate) size: u64,
    pub(crate) wide: bool,
    pub(crate) prefetchable: bool,
}

impl Bar {
    /// A range of `size` bytes (a power of two, 128 to 2^31) below 4 GiB.
    #[must_use]
    pub const fn memory32(size: u64) -> Self {
        Self { size, wide: false, prefetchable: false }
    }

    /// A range of `size` bytes (a power of two, 128 to 2^63) anywhere; it takes this BAR and the next.
    #[must_use]
    pub const fn memory64(size: u64) -> Self {
        Self { size, wide: true, prefetchable: false }
    }

    /// Declares the range prefetchable: reads have no side effect.
    #[must_use]
    pub const fn prefetchable(mut self) -> Self {
        self.prefetchable = true;
        self
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    pub(crate) const fn is_wide(&self) -> bool {
        self.wide
    }

    pub(crate) fn check(&self, index: usize) -> Result<(), BuildError> {
        let last = if self.wide { 1 << 63 } else { 1 << 31 };
        if index >= BAR_COUNT || (self.wide && index + 1 >= BAR_COUNT) {
            return Err(BuildError::BarIndex { index });
        }
        if !self.size.is_power_of_two() || self.size < MIN_SIZE || self.size > last {
            return Err(BuildError::BarSize { index, size: self.size });
        }
        Ok(())
    }

    /// The registers of this BAR in the header, at `index`.
    pub(crate) fn registers(&self, index: usize) -> Vec<Register> {
        self.registers_at(BAR0 + 4 * index as u16)
    }

    /// The registers of this BAR from offset `at`: software can only change the address bits above the size.
    pub(crate) fn registers_at(&self, at: u16) -> Vec<Register> {
        let mask = !(self.size - 1) & !ATTRIBUTES;
        let attributes = if self.wide { TYPE_64 } else { 0 } | if self.prefetchable { PREFETCHABLE } else { 0 };
        let mut registers = vec![Register::u32(at, attributes).writable(mask as u32)];
        if self.wide {
            registers.push(Register::u32(at + 4, 0).writable((mask >> 32) as u32));
        }
        registers
    }

    /// The address in the registers' value, if it is one that can be decoded: neither 0 (not programmed) nor a range
    /// that ends at or beyond the end of the space (sizing in progress).
    pub(crate) fn decode(&self, value: u64) -> Option<u64> {
        let address = value & !(self.size - 1) & !ATTRIBUTES;
        let top = if self.wide { u64::MAX } else { u64::from(u32::MAX) };
        let last = address.checked_add(self.size - 1)?;
        (address != 0 && last < top).then_some(address)
    }
}
