//! The capabilities of a function. Each file is one capability: its parameters as a struct, its registers as data.

mod aer;
mod express;
mod identification;
mod msix;
mod power;
mod sriov;
mod vendor;

pub use aer::{Aer, CorrectableError, ErrorMessage, UncorrectableError};
pub use express::{Express, LinkSpeed, PayloadSize};
pub use identification::{Ari, DeviceSerialNumber};
pub use msix::Msix;
pub use power::PowerManagement;
pub use sriov::{Sriov, VirtualFunctions};
pub use vendor::{VendorSpecific, Vsec};

pub(crate) use aer::regs as aer_regs;
pub(crate) use express::regs as express_regs;
pub(crate) use msix::regs as msix_regs;
pub(crate) use power::regs as power_regs;
pub(crate) use sriov::{PAGES as SRIOV_PAGES, regs as sriov_regs};

use crate::config::Register;
use crate::msix::MsixLayout;

/// Capability IDs (PCI Code and ID Assignment Specification, chapter 2).
pub(crate) const POWER_ID: u8 = 0x01;
pub(crate) const VPD_ID: u8 = 0x03;
pub(crate) const VENDOR_ID: u8 = 0x09;
pub(crate) const EXPRESS_ID: u8 = 0x10;
pub(crate) const MSIX_ID: u8 = 0x11;
/// Extended capability IDs (the same, chapter 3).
pub(crate) const AER_ID: u16 = 0x0001;
pub(crate) const DSN_ID: u16 = 0x0003;
pub(crate) const VSEC_ID: u16 = 0x000b;
pub(crate) const ARI_ID: u16 = 0x000e;
pub(crate) const SRIOV_ID: u16 = 0x0010;

/// A capability of the PCI-compatible space, ready to be placed: its ID, its length and its registers, with offsets from
/// its start (the first two bytes, ID and next pointer, are the builder's).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    pub(crate) id: u8,
    pub(crate) len: u16,
    pub(crate) registers: Vec<Register>,
    pub(crate) msix: Option<MsixLayout>,
}

impl Capability {
    /// A capability with this ID, `len` bytes long, made of `registers`; what they leave out reads 0.
    #[must_use]
    pub fn new(id: u8, len: u16, registers: Vec<Register>) -> Self {
        Self { id, len, registers, msix: None }
    }

    /// The length that the configuration space counts on when it finds this ID.
    pub(crate) const fn least(&self) -> u16 {
        match self.id {
            POWER_ID => power_regs::LENGTH,
            EXPRESS_ID => express_regs::LENGTH,
            MSIX_ID => msix_regs::LENGTH,
            VPD_ID => crate::vpd::LEN,
            _ => 0,
        }
    }

    /// Whether a function may have several (PCI Express Base 6.0, section 7.9.4: vendor-specific ones only).
    pub(crate) fn repeatable(&self) -> bool {
        self.id == VENDOR_ID
    }
}

/// An extended capability, ready to be placed: the first four bytes (ID, version, next) are the builder's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedCapability {
    pub(crate) id: u16,
    pub(crate) version: u8,
    pub(crate) len: u16,
    pub(crate) registers: Vec<Register>,
    pub(crate) sriov: Option<Sriov>,
}

impl ExtendedCapability {
    /// An extended capability with this ID and version, `len` bytes long (at least 8 are taken), made of `registers`.
    #[must_use]
    pub fn new(id: u16, version: u8, len: u16, registers: Vec<Register>) -> Self {
        Self { id, version, len, registers, sriov: None }
    }

    /// The length that the configuration space counts on when it finds this ID.
    pub(crate) const fn least(&self) -> u16 {
        match self.id {
            AER_ID => aer_regs::LENGTH,
            SRIOV_ID => sriov_regs::LENGTH,
            _ => 0,
        }
    }
}
