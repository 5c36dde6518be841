//! Small extended capabilities that tell what a function is.

use super::{ARI_ID, DSN_ID, ExtendedCapability};
use crate::config::Register;

/// Device Serial Number (PCI Express Base 6.0, section 7.9.3): an EUI-64, the same in all functions of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceSerialNumber(pub u64);

impl From<DeviceSerialNumber> for ExtendedCapability {
    fn from(DeviceSerialNumber(serial): DeviceSerialNumber) -> Self {
        // Serial Number Register (7.9.3.2): lower dword first
        let registers = vec![Register::u32(4, serial as u32), Register::u32(8, (serial >> 32) as u32)];
        ExtendedCapability::new(DSN_ID, 1, 12, registers)
    }
}

/// Alternative Routing-ID Interpretation (PCI Express Base 6.0, section 7.8.8), without function groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ari {
    /// Next Function Number: the next higher numbered function of the device, 0 when there is none.
    pub next_function: u8,
}

impl From<Ari> for ExtendedCapability {
    fn from(ari: Ari) -> Self {
        // ARI Capability Register (7.8.8.2): Next Function Number 15:8. ARI Control (7.8.8.3) reads 0.
        ExtendedCapability::new(ARI_ID, 1, 8, vec![Register::u16(4, u16::from(ari.next_function) << 8)])
    }
}
