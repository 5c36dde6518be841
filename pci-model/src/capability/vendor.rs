//! Vendor-defined capabilities.

use super::{Capability, ExtendedCapability, VENDOR_ID, VSEC_ID};
use crate::config::Register;

/// Capability length byte (PCI Express Base 6.0, section 7.9.4).
const LENGTH: u16 = 0x02;
/// Vendor-Specific Header (section 7.9.5.2): VSEC ID 15:0, revision 19:16, length 31:20.
const VSEC_HEADER: u16 = 0x04;
/// First byte that the vendor defines.
const VSEC_BODY: u16 = 0x08;

/// The vendor-specific capability of the PCI-compatible space (PCI Express Base 6.0, section 7.9.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VendorSpecific {
    len: u8,
}

impl VendorSpecific {
    /// One of `len` bytes (a multiple of 4 from 4 on) that reads 0 behind its length byte and ignores writes: there, but
    /// without a function. A driver that looks for registers in it finds that none of them does anything.
    #[must_use]
    pub const fn inert(len: u8) -> Self {
        Self { len }
    }
}

impl From<VendorSpecific> for Capability {
    fn from(vendor: VendorSpecific) -> Self {
        Capability::new(VENDOR_ID, vendor.len.into(), vec![Register::u8(LENGTH, vendor.len)])
    }
}

/// A Vendor-Specific Extended Capability (PCI Express Base 6.0, section 7.9.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vsec {
    id: u16,
    revision: u8,
    body: Vec<u32>,
}

impl Vsec {
    /// One with this VSEC ID and revision (4 bits), and `body` as read-only dwords behind its header.
    #[must_use]
    pub fn new(id: u16, revision: u8, body: Vec<u32>) -> Self {
        Self { id, revision, body }
    }
}

impl From<Vsec> for ExtendedCapability {
    fn from(vsec: Vsec) -> Self {
        // A body that is too long for its part of the space is the builder's to refuse: it cannot be placed.
        let dwords = u16::try_from(vsec.body.len()).unwrap_or(u16::MAX).min(0x400);
        let len = VSEC_BODY + 4 * dwords;
        let header = u32::from(vsec.id) | u32::from(vsec.revision & 0xf) << 16 | u32::from(len & 0xfff) << 20;
        let mut registers = vec![Register::u32(VSEC_HEADER, header)];
        registers.extend((0..dwords).zip(&vsec.body).map(|(i, &dword)| Register::u32(VSEC_BODY + 4 * i, dword)));
        ExtendedCapability::new(VSEC_ID, 1, len, registers)
    }
}
