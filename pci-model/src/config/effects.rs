//! What a configuration write asks of the function around the registers.

use crate::capability::VirtualFunctions;

/// The device power states that a function here supports (PCI Express Base 6.0, section 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PowerState {
    /// Fully on.
    #[default]
    D0,
    /// Off, but configuration space answers; no memory request is made or answered.
    D3hot,
}

/// Message Control of the MSI-X capability (PCI Express Base 6.0, section 7.7.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MsixControl {
    /// MSI-X Enable.
    pub enabled: bool,
    /// Function Mask: all vectors are masked.
    pub function_mask: bool,
}

/// A set of BARs, by index 0 to 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BarSet(pub(crate) u8);

impl BarSet {
    /// Whether the BAR at `index` is in the set.
    #[must_use]
    pub const fn contains(self, index: usize) -> bool {
        index < 6 && self.0 & (1 << index) != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The indices in the set, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..6).filter(move |&index| self.contains(index))
    }
}

/// What the caller of a configuration write or a reset must act on. Only changes are reported: writing a register the
/// value that it has yields nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct Effects {
    /// The function may now (`true`) or no longer (`false`) make memory requests and send MSIs: Bus Master Enable and
    /// D0 together.
    pub bus_master: Option<bool>,
    /// The function now or no longer answers memory requests: Memory Space Enable and D0 together.
    pub memory_decode: Option<bool>,
    /// Initiate Function Level Reset was written with 1. The caller resets the function, then calls
    /// [`reset`](super::ConfigSpace::reset) with [`ResetKind::Flr`](super::ResetKind::Flr).
    pub flr: bool,
    /// The function entered this power state.
    pub power_state: Option<PowerState>,
    /// MSI-X Enable or Function Mask changed, to this.
    pub msix: Option<MsixControl>,
    /// BARs whose answer from [`bar_address`](super::ConfigSpace::bar_address) changed, by being moved, switched on or
    /// switched off.
    pub bars: BarSet,
    /// Device Control changed in a way that shapes requests: payload and read-request limits, relaxed ordering, no
    /// snoop, or (in Device Control 2) the AtomicOp requester enable.
    pub requests: bool,
    /// The VFs that exist, or whether their BARs answer, changed to this.
    pub virtual_functions: Option<VirtualFunctions>,
    /// VF BARs whose address or aperture changed, whether they answer or not.
    pub vf_bars: BarSet,
}

impl Effects {
    /// Whether there is nothing to act on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
