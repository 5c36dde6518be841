//! The Type 0 header (PCI Express Base 6.0, sections 7.5.1.1 and 7.5.1.2).

use super::{Identity, Register};

/// Command (section 7.5.1.1.3).
pub(crate) const COMMAND: u16 = 0x04;
/// Memory Space Enable.
pub(crate) const COMMAND_MEMORY: u16 = 1 << 1;
/// Bus Master Enable.
pub(crate) const COMMAND_BUS_MASTER: u16 = 1 << 2;
/// Parity Error Response.
const COMMAND_PARITY: u16 = 1 << 6;
/// SERR# Enable.
pub(crate) const COMMAND_SERR: u16 = 1 << 8;
/// Interrupt Disable.
const COMMAND_INTX_DISABLE: u16 = 1 << 10;
/// Status (section 7.5.1.1.4).
pub(crate) const STATUS: u16 = 0x06;
/// Capabilities List: always 1 in PCI Express.
const STATUS_CAP_LIST: u16 = 1 << 4;
/// Signaled System Error.
pub(crate) const STATUS_SERR: u16 = 1 << 14;
/// Master Data Parity Error, Signaled and Received Target Abort, Received Master Abort, Signaled System Error,
/// Detected Parity Error.
const STATUS_ERRORS: u16 = 0xf900;
/// Capabilities Pointer (section 7.5.1.1.11).
pub(crate) const CAP_POINTER: u16 = 0x34;
/// Multi-Function Device, bit 7 of Header Type (section 7.5.1.1.9).
const HEADER_MULTIFUNCTION: u8 = 0x80;

/// The registers of the header, without BARs and Capabilities Pointer. Expansion ROM, Cardbus CIS, Interrupt Pin and
/// Min_Gnt/Max_Lat are not implemented and read 0.
pub(crate) fn registers(id: &Identity, multifunction: bool) -> Vec<Register> {
    let command = COMMAND_MEMORY | COMMAND_BUS_MASTER | COMMAND_PARITY | COMMAND_SERR | COMMAND_INTX_DISABLE;
    let class = (id.class_code & 0xff_ffff) << 8 | u32::from(id.revision);
    vec![
        // Vendor ID, Device ID (7.5.1.1.1, 7.5.1.1.2)
        Register::u16(0x00, id.vendor),
        Register::u16(0x02, id.device),
        Register::u16(COMMAND, 0).writable(command.into()),
        Register::u16(STATUS, STATUS_CAP_LIST).w1c(STATUS_ERRORS.into()),
        // Revision ID, Class Code (7.5.1.1.5, 7.5.1.1.6)
        Register::u32(0x08, class),
        // Cache Line Size (7.5.1.1.7): writable for legacy software, without effect
        Register::u8(0x0c, 0).writable(0xff),
        Register::u8(0x0e, if multifunction { HEADER_MULTIFUNCTION } else { 0 }),
        // Subsystem Vendor ID, Subsystem ID (7.5.1.2.3)
        Register::u16(0x2c, id.subsystem_vendor),
        Register::u16(0x2e, id.subsystem),
        // Interrupt Line (7.5.1.1.12): software's own scratch byte
        Register::u8(0x3c, 0).writable(0xff),
    ]
}
