//! The PCI Express capability, version 2, of an Endpoint (PCI Express Base 6.0, section 7.5.3).

use super::{Capability, EXPRESS_ID};
use crate::config::Register;

/// Offsets and bits that the configuration space acts on.
pub(crate) mod regs {
    /// Length of the version 2 structure.
    pub(crate) const LENGTH: u16 = 0x3c;
    /// Device Capabilities (section 7.5.3.3): Max_Payload_Size Supported, Function Level Reset Capability.
    pub(crate) const DEVCAP: u16 = 0x04;
    pub(crate) const DEVCAP_MPS: u32 = 0x7;
    pub(crate) const DEVCAP_FLR: u32 = 1 << 28;
    /// Device Control (section 7.5.3.4).
    pub(crate) const DEVCTL: u16 = 0x08;
    /// Correctable, Non-Fatal, Fatal Error Reporting Enable, Unsupported Request Reporting Enable.
    pub(crate) const DEVCTL_CERE: u16 = 1 << 0;
    pub(crate) const DEVCTL_NFERE: u16 = 1 << 1;
    pub(crate) const DEVCTL_FERE: u16 = 1 << 2;
    pub(crate) const DEVCTL_URRE: u16 = 1 << 3;
    /// Enable Relaxed Ordering.
    pub(crate) const DEVCTL_RELAXED: u16 = 1 << 4;
    /// Max_Payload_Size.
    pub(crate) const DEVCTL_MPS_SHIFT: u16 = 5;
    pub(crate) const DEVCTL_MPS: u16 = 7 << DEVCTL_MPS_SHIFT;
    /// Extended Tag Field Enable.
    pub(crate) const DEVCTL_EXT_TAG: u16 = 1 << 8;
    /// Enable No Snoop.
    pub(crate) const DEVCTL_NO_SNOOP: u16 = 1 << 11;
    /// Max_Read_Request_Size.
    pub(crate) const DEVCTL_MRRS_SHIFT: u16 = 12;
    pub(crate) const DEVCTL_MRRS: u16 = 7 << DEVCTL_MRRS_SHIFT;
    /// Initiate Function Level Reset: reads 0 always.
    pub(crate) const DEVCTL_FLR: u16 = 1 << 15;
    /// Device Status (section 7.5.3.5).
    pub(crate) const DEVSTA: u16 = 0x0a;
    /// Correctable, Non-Fatal, Fatal Error Detected, Unsupported Request Detected.
    pub(crate) const DEVSTA_CED: u16 = 1 << 0;
    pub(crate) const DEVSTA_NFED: u16 = 1 << 1;
    pub(crate) const DEVSTA_FED: u16 = 1 << 2;
    pub(crate) const DEVSTA_URD: u16 = 1 << 3;
    /// Transactions Pending.
    pub(crate) const DEVSTA_PENDING: u16 = 1 << 5;
    /// Device Control 2 (section 7.5.3.16).
    pub(crate) const DEVCTL2: u16 = 0x28;
    /// AtomicOp Requester Enable.
    pub(crate) const DEVCTL2_ATOMIC: u16 = 1 << 6;
}
use regs::*;

/// PCI Express Capabilities register (7.5.3.2): Capability Version 2; Device/Port Type 0000b, Endpoint.
const PCIE_CAPS: u16 = 0x02;
/// In Device Capabilities: Extended Tag Field Supported.
const DEVCAP_EXT_TAG: u32 = 1 << 5;
/// Role-Based Error Reporting: always 1.
const DEVCAP_RBER: u32 = 1 << 15;
/// Link Capabilities (7.5.3.6). ASPM Optionality Compliance is always 1; ASPM Support is 00b.
const LNKCAP: u16 = 0x0c;
const LNKCAP_ASPM_OPTIONALITY: u32 = 1 << 22;
/// Link Control (7.5.3.7): ASPM Control, RCB, Common Clock Configuration, Extended Synch.
const LNKCTL: u16 = 0x10;
const LNKCTL_WRITABLE: u32 = 0x3 | 1 << 3 | 1 << 6 | 1 << 7;
/// Link Status (7.5.3.8): Slot Clock Configuration.
const LNKSTA: u16 = 0x12;
const LNKSTA_SLOT_CLOCK: u16 = 1 << 12;
/// Device Capabilities 2 (7.5.3.15): Completion Timeout Ranges A to D, Completion Timeout Disable.
const DEVCAP2: u16 = 0x24;
const DEVCAP2_TIMEOUTS: u32 = 0x1f;
/// Device Control 2: Completion Timeout Value and Disable, AtomicOp Requester Enable, IDO Request and Completion Enable.
const DEVCTL2_WRITABLE: u32 = 0x1f | DEVCTL2_ATOMIC as u32 | 1 << 8 | 1 << 9;
/// Link Capabilities 2 (7.5.3.18): Supported Link Speeds Vector from bit 1.
const LNKCAP2: u16 = 0x2c;
/// Link Control 2 (7.5.3.19): Target Link Speed.
const LNKCTL2: u16 = 0x30;
const LNKCTL2_TARGET: u32 = 0xf;
/// Link Status 2 (7.5.3.20): Equalization 8.0 GT/s Complete, Phases 1 to 3 Successful.
const LNKSTA2: u16 = 0x32;
const LNKSTA2_EQUALIZED: u16 = 0xf << 1;

/// Link speeds (PCI Express Base 6.0, section 7.5.3.6, Max Link Speed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LinkSpeed {
    /// 2.5 GT/s.
    Gts2_5 = 1,
    /// 5.0 GT/s.
    Gts5 = 2,
    /// 8.0 GT/s.
    Gts8 = 3,
    /// 16.0 GT/s.
    Gts16 = 4,
    /// 32.0 GT/s.
    Gts32 = 5,
}

/// Encodings of payload and read-request sizes (sections 7.5.3.3 and 7.5.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum PayloadSize {
    /// 128 bytes.
    B128 = 0,
    /// 256 bytes.
    B256 = 1,
    /// 512 bytes.
    B512 = 2,
    /// 1024 bytes.
    B1024 = 3,
    /// 2048 bytes.
    B2048 = 4,
    /// 4096 bytes.
    B4096 = 5,
}

impl PayloadSize {
    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        128 << self as u32
    }
}

/// An Endpoint's PCI Express capability. The link is reported, not modelled: it is always up at its full speed and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Express {
    speed: LinkSpeed,
    width: u8,
    payload: PayloadSize,
    flr: bool,
}

impl Express {
    /// An Endpoint on a link of this speed and `width` lanes (1, 2, 4, 8, 12, 16 or 32), with Function Level Reset and
    /// payloads of up to 512 bytes.
    #[must_use]
    pub const fn endpoint(speed: LinkSpeed, width: u8) -> Self {
        Self { speed, width, payload: PayloadSize::B512, flr: true }
    }

    /// Sets Max_Payload_Size Supported.
    #[must_use]
    pub const fn max_payload(mut self, size: PayloadSize) -> Self {
        self.payload = size;
        self
    }

    /// Sets Function Level Reset Capability.
    #[must_use]
    pub const fn flr(mut self, on: bool) -> Self {
        self.flr = on;
        self
    }
}

impl From<Express> for Capability {
    fn from(express: Express) -> Self {
        let speed = express.speed as u8;
        let link = u16::from(speed) | u16::from(express.width & 0x3f) << 4;
        let devcap = express.payload as u32 | DEVCAP_EXT_TAG | DEVCAP_RBER | if express.flr { DEVCAP_FLR } else { 0 };
        let devctl_writable = DEVCTL_CERE
            | DEVCTL_NFERE
            | DEVCTL_FERE
            | DEVCTL_URRE
            | DEVCTL_RELAXED
            | DEVCTL_MPS
            | DEVCTL_EXT_TAG
            | DEVCTL_NO_SNOOP
            | DEVCTL_MRRS;
        // Defaults: relaxed ordering and no snoop on, payload 128 bytes, read requests 512 bytes (010b).
        let devctl = DEVCTL_RELAXED | DEVCTL_NO_SNOOP | 2 << DEVCTL_MRRS_SHIFT;
        let devsta_w1c = DEVSTA_CED | DEVSTA_NFED | DEVSTA_FED | DEVSTA_URD;
        let speeds = ((1u32 << speed) - 1) << 1;
        let equalized = if express.speed >= LinkSpeed::Gts8 { LNKSTA2_EQUALIZED } else { 0 };
        Capability::new(
            EXPRESS_ID,
            LENGTH,
            vec![
                Register::u16(PCIE_CAPS, 0x0002),
                Register::u32(DEVCAP, devcap),
                // Max_Payload_Size is a property of the path: an FLR leaves it alone (6.6.2).
                Register::u16(DEVCTL, devctl).writable(devctl_writable.into()).kept_by_flr(DEVCTL_MPS.into()),
                Register::u16(DEVSTA, 0).w1c(devsta_w1c.into()),
                Register::u32(LNKCAP, u32::from(link) | LNKCAP_ASPM_OPTIONALITY),
                // So does it leave the link's own settings (6.6.2).
                Register::u16(LNKCTL, 0).writable(LNKCTL_WRITABLE).kept_by_flr(LNKCTL_WRITABLE),
                Register::u16(LNKSTA, link | LNKSTA_SLOT_CLOCK),
                Register::u32(DEVCAP2, DEVCAP2_TIMEOUTS),
                Register::u16(DEVCTL2, 0).writable(DEVCTL2_WRITABLE),
                Register::u32(LNKCAP2, speeds),
                Register::u16(LNKCTL2, speed.into()).writable(LNKCTL2_TARGET).sticky(LNKCTL2_TARGET),
                Register::u16(LNKSTA2, equalized),
            ],
        )
    }
}
