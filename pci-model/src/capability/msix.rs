//! The MSI-X capability (PCI Express Base 6.0, section 7.7.2).

use super::{Capability, MSIX_ID};
use crate::config::Register;
use crate::msix::MsixLayout;

pub(crate) mod regs {
    /// Length of the structure.
    pub(crate) const LENGTH: u16 = 12;
    /// Message Control (section 7.7.2.2).
    pub(crate) const CONTROL: u16 = 0x02;
    /// Function Mask.
    pub(crate) const CONTROL_MASK: u16 = 1 << 14;
    /// MSI-X Enable.
    pub(crate) const CONTROL_ENABLE: u16 = 1 << 15;
}
use regs::*;

/// Table Offset/Table BIR, PBA Offset/PBA BIR (7.7.2.3, 7.7.2.4): BIR in bits 2:0, offset above.
const TABLE: u16 = 0x04;
const PBA: u16 = 0x08;

/// The MSI-X capability; what it describes is in a [`MsixLayout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msix(pub MsixLayout);

impl From<Msix> for Capability {
    fn from(Msix(layout): Msix) -> Self {
        // Table Size is encoded as N - 1; the builder refuses a layout without vectors or with more than 2048.
        let size = layout.vectors.saturating_sub(1) & 0x7ff;
        let place = |bar: u8, offset: u32| (offset & !7) | u32::from(bar & 7);
        let registers = vec![
            Register::u16(CONTROL, size).writable((CONTROL_MASK | CONTROL_ENABLE).into()),
            Register::u32(TABLE, place(layout.table_bar, layout.table_offset)),
            Register::u32(PBA, place(layout.pba_bar, layout.pba_offset)),
        ];
        Capability { msix: Some(layout), ..Capability::new(MSIX_ID, LENGTH, registers) }
    }
}
