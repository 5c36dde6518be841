//! Single Root I/O Virtualization (PCI Express Base 6.0, section 9.3.3).

use super::{ExtendedCapability, SRIOV_ID};
use crate::config::{BAR_COUNT, Bar, Register};

pub(crate) mod regs {
    /// Length of the structure.
    pub(crate) const LENGTH: u16 = 0x40;
    /// SR-IOV Control (section 9.3.3.3): VF Enable, VF Memory Space Enable, ARI Capable Hierarchy.
    pub(crate) const CONTROL: u16 = 0x08;
    pub(crate) const CONTROL_VFE: u16 = 1 << 0;
    pub(crate) const CONTROL_MSE: u16 = 1 << 3;
    pub(crate) const CONTROL_ARI: u16 = 1 << 4;
    /// TotalVFs and NumVFs (sections 9.3.3.6 and 9.3.3.7).
    pub(crate) const TOTAL: u16 = 0x0e;
    pub(crate) const NUM: u16 = 0x10;
    /// System Page Size (section 9.3.3.13): bit n stands for 2^(n+12) bytes.
    pub(crate) const SYSTEM_PAGE: u16 = 0x20;
    /// VF BAR0 (section 9.3.3.14).
    pub(crate) const BAR0: u16 = 0x24;
}
use regs::*;

/// InitialVFs (9.3.3.5): without VF migration it equals TotalVFs.
const INITIAL: u16 = 0x0c;
/// Function Dependency Link (9.3.3.8): one byte.
const DEPENDENCY: u16 = 0x12;
/// First VF Offset and VF Stride (9.3.3.9, 9.3.3.10).
const FIRST_OFFSET: u16 = 0x14;
const STRIDE: u16 = 0x16;
/// VF Device ID (9.3.3.11).
const DEVICE: u16 = 0x1a;
/// Supported Page Sizes (9.3.3.12).
const SUPPORTED_PAGES: u16 = 0x1c;
/// 4 KiB, 8 KiB, 64 KiB, 256 KiB, 1 MiB and 4 MiB: those that every PF must support.
pub(crate) const PAGES: u32 = 0x553;
/// System Page Size after reset: 4 KiB.
const PAGE_4K: u32 = 1;

/// The SR-IOV capability of a PF, without VF migration.
///
/// The VFs' BARs are one after another: that of VF n (counted from 0) starts n times its aperture behind the address in
/// the VF BAR register, where the aperture is the BAR's size or the System Page Size, whichever is larger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sriov {
    total: u16,
    first_offset: u16,
    stride: u16,
    device: u16,
    dependency: u8,
    ari_hierarchy: bool,
    pub(crate) bars: [Option<Bar>; BAR_COUNT],
}

impl Sriov {
    /// `total` VFs (TotalVFs) with Device ID `device`; the first has the PF's Routing ID plus `first_offset`, each
    /// further one `stride` more.
    #[must_use]
    pub const fn new(total: u16, first_offset: u16, stride: u16, device: u16) -> Self {
        Self { total, first_offset, stride, device, dependency: 0, ari_hierarchy: false, bars: [None; BAR_COUNT] }
    }

    /// Function Dependency Link: the function's own number when it depends on no other.
    #[must_use]
    pub const fn dependency(mut self, function: u8) -> Self {
        self.dependency = function;
        self
    }

    /// Makes ARI Capable Hierarchy writable: only in the lowest-numbered PF of a device, read-only zero in the others.
    #[must_use]
    pub const fn ari_hierarchy(mut self) -> Self {
        self.ari_hierarchy = true;
        self
    }

    /// Gives each VF a BAR at `index`; a 64-bit one also takes `index + 1`. The builder refuses an index beyond 5, a
    /// size below 4 KiB and BARs that overlap.
    #[must_use]
    pub fn bar(mut self, index: usize, bar: Bar) -> Self {
        if let Some(slot) = self.bars.get_mut(index) {
            *slot = Some(bar);
        }
        self
    }
}

impl From<Sriov> for ExtendedCapability {
    fn from(sriov: Sriov) -> Self {
        let ari = if sriov.ari_hierarchy { CONTROL_ARI } else { 0 };
        let mut registers = vec![
            Register::u16(CONTROL, 0).writable((CONTROL_VFE | CONTROL_MSE | ari).into()),
            Register::u16(INITIAL, sriov.total),
            Register::u16(TOTAL, sriov.total),
            Register::u16(NUM, 0).writable(0xffff),
            Register::u8(DEPENDENCY, sriov.dependency),
            Register::u16(FIRST_OFFSET, sriov.first_offset),
            Register::u16(STRIDE, sriov.stride),
            Register::u16(DEVICE, sriov.device),
            Register::u32(SUPPORTED_PAGES, PAGES),
            Register::u32(SYSTEM_PAGE, PAGE_4K).writable(PAGES),
        ];
        for (index, bar) in sriov.bars.iter().enumerate() {
            registers.extend(bar.iter().flat_map(|bar| bar.registers_at(BAR0 + 4 * index as u16)));
        }
        ExtendedCapability { sriov: Some(sriov), ..ExtendedCapability::new(SRIOV_ID, 1, LENGTH, registers) }
    }
}

/// What SR-IOV Control and NumVFs say now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VirtualFunctions {
    /// How many VFs exist: NumVFs (TotalVFs at most) while VF Enable is set, else 0.
    pub enabled: u16,
    /// VF Memory Space Enable: their BARs answer.
    pub memory: bool,
}
