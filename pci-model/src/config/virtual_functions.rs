//! SR-IOV in the space: how many VFs there are, where their BARs lie, and what software may write meanwhile.

use super::{BAR_COUNT, Bar, ConfigSpace, bar};
use crate::capability::{SRIOV_PAGES, VirtualFunctions, sriov_regs};

/// The registers that keep their value, by what they held before a write.
#[derive(Clone, Copy)]
pub(super) struct Before {
    enabled: bool,
    num: u16,
    page: u32,
}

impl ConfigSpace {
    /// The VFs that exist, and whether their BARs answer; none without an SR-IOV capability.
    #[must_use]
    pub fn virtual_functions(&self) -> VirtualFunctions {
        let Some((at, _)) = self.sriov else { return VirtualFunctions::default() };
        let control = self.get16(at + sriov_regs::CONTROL);
        let num = self.get16(at + sriov_regs::NUM).min(self.get16(at + sriov_regs::TOTAL));
        VirtualFunctions {
            enabled: if control & sriov_regs::CONTROL_VFE != 0 { num } else { 0 },
            memory: control & sriov_regs::CONTROL_MSE != 0,
        }
    }

    /// The bytes between the BARs `index` of two VFs: the BAR's size or the System Page Size, whichever is larger.
    #[must_use]
    pub fn vf_bar_aperture(&self, index: usize) -> Option<u64> {
        let (at, _) = self.sriov?;
        let page = u64::from(self.get32(at + sriov_regs::SYSTEM_PAGE)) << 12;
        self.vf_bar(index).map(|(bar, _, _)| bar.size().max(page))
    }

    /// The address that the BAR at `index` of VF `vf` (counted from 0) answers now. `None` when there is no such VF or
    /// BAR, VF Memory Space Enable is off, or the value is no address.
    #[must_use]
    pub fn vf_bar_address(&self, vf: u16, index: usize) -> Option<u64> {
        let now = self.virtual_functions();
        if !now.memory || vf >= now.enabled {
            return None;
        }
        let (bar, _, value) = self.vf_bar(index)?;
        let aperture = self.vf_bar_aperture(index)?;
        let address = bar.decode(value)?.checked_add(u64::from(vf) * aperture)?;
        let top = if bar.is_wide() { u64::MAX } else { u32::MAX.into() };
        address.checked_add(aperture - 1).filter(|&last| last < top).and(Some(address))
    }

    /// What places the VFs' BARs at `index`: the address register's value and the aperture.
    pub(super) fn vf_bar_state(&self, index: usize) -> Option<(u64, u64)> {
        Some((self.vf_bar(index)?.2, self.vf_bar_aperture(index)?))
    }

    /// The VF BAR at `index`: its declaration, the offset of its register, and the register's value, both halves.
    fn vf_bar(&self, index: usize) -> Option<(Bar, u16, u64)> {
        let (at, bars) = self.sriov.as_ref()?;
        let bar = bars.get(index).copied().flatten()?;
        let register = at + sriov_regs::BAR0 + 4 * index as u16;
        let high = if bar.is_wide() { u64::from(self.get32(register + 4)) << 32 } else { 0 };
        Some((bar, register, high | u64::from(self.get32(register))))
    }

    pub(super) fn before_virtual_functions(&self) -> Option<Before> {
        let (at, _) = self.sriov?;
        Some(Before {
            enabled: self.get16(at + sriov_regs::CONTROL) & sriov_regs::CONTROL_VFE != 0,
            num: self.get16(at + sriov_regs::NUM),
            page: self.get32(at + sriov_regs::SYSTEM_PAGE),
        })
    }

    /// What a write may not change: NumVFs and the System Page Size while VFs exist (sections 9.3.3.7 and 9.3.3.13 leave
    /// it undefined; here they stay), a page size that is not just one of those supported, and the bits of VF BARs below
    /// their aperture.
    pub(super) fn keep_virtual_functions(&mut self, before: Option<Before>) {
        let (Some((at, _)), Some(before)) = (self.sriov, before) else { return };
        if before.enabled {
            self.put16(at + sriov_regs::NUM, before.num);
        }
        let page = self.get32(at + sriov_regs::SYSTEM_PAGE);
        if before.enabled || !page.is_power_of_two() || page & SRIOV_PAGES == 0 {
            self.put32(at + sriov_regs::SYSTEM_PAGE, before.page);
        }
        for index in 0..BAR_COUNT {
            let Some(((bar, register, value), aperture)) = self.vf_bar(index).zip(self.vf_bar_aperture(index)) else {
                continue;
            };
            let aligned = value & (!(aperture - 1) | bar::ATTRIBUTES);
            self.put32(register, aligned as u32);
            if bar.is_wide() {
                self.put32(register + 4, (aligned >> 32) as u32);
            }
        }
    }
}
