//! The PCI Power Management capability (PCI Express Base 6.0, section 7.5.2).

use super::{Capability, POWER_ID};
use crate::config::Register;

pub(crate) mod regs {
    /// Length: PMCSR, then two bytes of zeros where bridges and Data once were.
    pub(crate) const LENGTH: u16 = 8;
    /// Power Management Control/Status (section 7.5.2.2).
    pub(crate) const PMCSR: u16 = 0x04;
    /// PowerState, bits 1:0.
    pub(crate) const PMCSR_STATE: u16 = 0x3;
    /// PowerState of D3hot.
    pub(crate) const PMCSR_D3HOT: u16 = 0x3;
}
use regs::*;

/// Power Management Capabilities (7.5.2.1): Version 011b.
const PMC: u16 = 0x02;
const PMC_VERSION_3: u16 = 0x3;
/// No_Soft_Reset: D3hot to D0 keeps all state.
const PMCSR_NO_SOFT_RESET: u16 = 1 << 3;

/// D0 and D3hot, without PME; going to D3hot and back keeps the function's state (No_Soft_Reset).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PowerManagement;

impl From<PowerManagement> for Capability {
    fn from(PowerManagement: PowerManagement) -> Self {
        Capability::new(
            POWER_ID,
            LENGTH,
            vec![
                Register::u16(PMC, PMC_VERSION_3),
                Register::u16(PMCSR, PMCSR_NO_SOFT_RESET).writable(PMCSR_STATE.into()),
            ],
        )
    }
}
