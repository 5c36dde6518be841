//! From a declaration to a configuration space.

use std::fmt;

use super::{BAR_COUNT, Bar, ConfigSpace, Register, SIZE, header};
use crate::capability::{self, Capability, ExtendedCapability};
use crate::msix::MsixLayout;

/// First offset of a capability in the PCI-compatible space: the header ends there (PCI Express Base 6.0, 7.5.1).
const FIRST_CAPABILITY: u16 = 0x40;
/// First extended capability: exactly here (section 7.6.1); also the end of the PCI-compatible space.
const FIRST_EXTENDED: u16 = 0x100;

/// Who the function says it is (PCI Express Base 6.0, section 7.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID.
    pub revision: u8,
    /// Class Code, 24 bits: base class, sub-class, programming interface; 0x020000 is an Ethernet controller.
    pub class_code: u32,
    /// Subsystem Vendor ID.
    pub subsystem_vendor: u16,
    /// Subsystem ID.
    pub subsystem: u16,
}

/// Why a declaration is not a configuration space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildError {
    /// There is no such BAR, or no room for the upper half of a 64-bit one.
    BarIndex {
        /// Its index.
        index: usize,
    },
    /// The size is not a power of two of at least 128 bytes that the BAR's width can address.
    BarSize {
        /// Its index.
        index: usize,
        /// The size asked for, in bytes.
        size: u64,
    },
    /// The BAR is declared twice, or is the upper half of a 64-bit one.
    BarTaken {
        /// Its index.
        index: usize,
    },
    /// The capability is misaligned, overlaps another, or does not lie in its part of the space.
    Placement {
        /// Capability ID.
        id: u16,
        /// Its offset.
        offset: u16,
    },
    /// A register of the capability is wider than 32 bits, or lies outside of it or on its header.
    RegisterOutside {
        /// Capability ID.
        id: u16,
    },
    /// The capability is shorter than the specification's structure with this ID.
    TooShort {
        /// Capability ID.
        id: u16,
        /// The length that it needs, in bytes.
        least: u16,
    },
    /// The capability with this ID can exist only once.
    Duplicate {
        /// Capability ID.
        id: u16,
    },
    /// There are extended capabilities, but none is at 0x100, where the list starts.
    NoFirstExtended,
    /// A VF BAR is smaller than 4 KiB, does not fit its place, or is the upper half of a 64-bit one.
    VfBar {
        /// Its index.
        index: usize,
    },
    /// The MSI-X vectors are not 1 to 2048, or table or PBA overlap or do not lie in a BAR.
    Msix,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BarIndex { index } => write!(f, "BAR {index} does not exist or has no room for a 64-bit address"),
            Self::BarSize { index, size } => {
                write!(f, "BAR {index}: {size:#x} bytes is not a power of two that this BAR can ask for")
            }
            Self::BarTaken { index } => write!(f, "BAR {index} is declared twice"),
            Self::Placement { id, offset } => write!(f, "capability {id:#x} does not fit at {offset:#x}"),
            Self::RegisterOutside { id } => write!(f, "capability {id:#x} has a register outside of itself"),
            Self::TooShort { id, least } => write!(f, "capability {id:#x} is shorter than its {least} bytes"),
            Self::Duplicate { id } => write!(f, "capability {id:#x} is declared twice"),
            Self::NoFirstExtended => write!(f, "the first extended capability must be at 0x100"),
            Self::VfBar { index } => write!(f, "VF BAR {index} does not fit there, or is smaller than 4 KiB"),
            Self::Msix => write!(f, "MSI-X needs 1 to 2048 vectors, with table and PBA apart inside a BAR"),
        }
    }
}

impl std::error::Error for BuildError {}

/// Declares a function's configuration space. Capabilities are chained in the order of their declaration.
#[derive(Debug, Clone)]
pub struct ConfigBuilder {
    identity: Identity,
    multifunction: bool,
    keep_bars: bool,
    bars: Vec<(usize, Bar)>,
    capabilities: Vec<(Option<u16>, Capability)>,
    extended: Vec<(Option<u16>, ExtendedCapability)>,
}

/// Where a capability came to lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) id: u16,
    pub(crate) offset: u16,
    pub(crate) len: u16,
}

impl ConfigBuilder {
    /// A function with this identity, no BAR and no capability.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            multifunction: false,
            keep_bars: false,
            bars: Vec::new(),
            capabilities: Vec::new(),
            extended: Vec::new(),
        }
    }

    /// Sets the Multi-Function Device bit: software must look for functions beside this one.
    #[must_use]
    pub fn multifunction(mut self, on: bool) -> Self {
        self.multifunction = on;
        self
    }

    /// Keeps the BARs through a Function Level Reset, for a function behind a client that shadows them, as QEMU does.
    ///
    /// The specification resets BARs. But QEMU does not see an FLR, goes on decoding its own copy, and answers reads of
    /// BARs from it; a guest that restores them after the FLR finds the right value and does not write. Without this
    /// the model would lose the addresses for good.
    #[must_use]
    pub fn keep_bars_on_flr(mut self, on: bool) -> Self {
        self.keep_bars = on;
        self
    }

    /// Adds a BAR; a 64-bit one also takes `index + 1`.
    #[must_use]
    pub fn bar(mut self, index: usize, bar: Bar) -> Self {
        self.bars.push((index, bar));
        self
    }

    /// Adds a capability behind those before it.
    #[must_use]
    pub fn capability(mut self, capability: impl Into<Capability>) -> Self {
        self.capabilities.push((None, capability.into()));
        self
    }

    /// Adds a capability at `offset` (0x40 to 0xfc, a multiple of 4).
    #[must_use]
    pub fn capability_at(mut self, offset: u16, capability: impl Into<Capability>) -> Self {
        self.capabilities.push((Some(offset), capability.into()));
        self
    }

    /// Adds an extended capability behind those before it, on a multiple of 16; the first lies at 0x100.
    #[must_use]
    pub fn extended(mut self, capability: impl Into<ExtendedCapability>) -> Self {
        self.extended.push((None, capability.into()));
        self
    }

    /// Adds an extended capability at `offset` (0x100 to 0xffc, a multiple of 4).
    #[must_use]
    pub fn extended_at(mut self, offset: u16, capability: impl Into<ExtendedCapability>) -> Self {
        self.extended.push((Some(offset), capability.into()));
        self
    }

    /// The configuration space, as after power-on.
    ///
    /// # Errors
    /// A [`BuildError`] that names what does not fit.
    pub fn build(self) -> Result<ConfigSpace, BuildError> {
        let mut registers = header::registers(&self.identity, self.multifunction);
        let bars = self.place_bars(&mut registers)?;
        let standard = self.place_capabilities(&mut registers)?;
        let extended = self.place_extended(&mut registers)?;
        let mut msix = None;
        for (_, capability) in &self.capabilities {
            if let Some(layout) = capability.msix {
                check_msix(&layout, &bars)?;
                msix = Some(layout);
            }
        }
        let sriov = self.extended.iter().find_map(|(_, capability)| capability.sriov.as_ref());
        if let Some(sriov) = sriov {
            check_vf_bars(&sriov.bars)?;
        }
        Ok(ConfigSpace::new(registers, bars, msix, &standard, &extended, sriov.map(|sriov| sriov.bars)))
    }

    fn place_bars(&self, registers: &mut Vec<Register>) -> Result<[Option<Bar>; BAR_COUNT], BuildError> {
        let mut bars = [None; BAR_COUNT];
        let mut taken = [false; BAR_COUNT];
        for &(index, bar) in &self.bars {
            bar.check(index)?;
            for slot in &mut taken[index..=index + usize::from(bar.wide)] {
                if std::mem::replace(slot, true) {
                    return Err(BuildError::BarTaken { index });
                }
            }
            bars[index] = Some(bar);
            let keep = if self.keep_bars { u32::MAX } else { 0 };
            registers.extend(bar.registers(index).into_iter().map(|register| register.kept_by_flr(keep)));
        }
        Ok(bars)
    }

    fn place_capabilities(&self, registers: &mut Vec<Register>) -> Result<Vec<Placed>, BuildError> {
        let mut placed: Vec<Placed> = Vec::new();
        for (at, capability) in &self.capabilities {
            let id = u16::from(capability.id);
            if placed.iter().any(|other| other.id == id) && !capability.repeatable() {
                return Err(BuildError::Duplicate { id });
            }
            let next = placed.iter().map(|p| p.offset + p.len).max().unwrap_or(FIRST_CAPABILITY);
            let offset = at.unwrap_or(next.next_multiple_of(4));
            let spot = Placed { id, offset, len: capability.len.max(4) };
            check_spot(&spot, FIRST_CAPABILITY, FIRST_EXTENDED, &placed)?;
            check_length(id, capability.len, capability.least())?;
            check_registers(id, 2, capability.len, &capability.registers)?;
            registers.push(Register::u8(offset, capability.id));
            registers.extend(capability.registers.iter().map(|register| register.moved(offset)));
            placed.push(spot);
        }
        // Capabilities Pointer, then each capability's next byte; the last one's reads 0.
        let pointers = std::iter::once(header::CAP_POINTER).chain(placed.iter().map(|p| p.offset + 1));
        registers.extend(pointers.zip(&placed).map(|(at, p)| Register::u8(at, p.offset as u8)));
        Ok(placed)
    }

    fn place_extended(&self, registers: &mut Vec<Register>) -> Result<Vec<Placed>, BuildError> {
        let mut placed: Vec<Placed> = Vec::new();
        for (at, capability) in &self.extended {
            let id = capability.id;
            if placed.iter().any(|other| other.id == id) && id != capability::VSEC_ID {
                return Err(BuildError::Duplicate { id });
            }
            let next = placed.iter().map(|p| p.offset + p.len).max().unwrap_or(FIRST_EXTENDED);
            let offset = at.unwrap_or(next.next_multiple_of(16));
            let spot = Placed { id, offset, len: capability.len.max(8) };
            check_spot(&spot, FIRST_EXTENDED, SIZE as u16, &placed)?;
            check_length(id, capability.len, capability.least())?;
            check_registers(id, 4, capability.len, &capability.registers)?;
            registers.extend(capability.registers.iter().map(|register| register.moved(offset)));
            placed.push(spot);
        }
        if !placed.is_empty() && !placed.iter().any(|p| p.offset == FIRST_EXTENDED) {
            return Err(BuildError::NoFirstExtended);
        }
        // The list starts at 0x100 whatever was declared first, so it is chained by address.
        let mut chain: Vec<(Placed, u8)> =
            placed.iter().zip(&self.extended).map(|(p, (_, capability))| (*p, capability.version)).collect();
        chain.sort_by_key(|(p, _)| p.offset);
        for (i, (p, version)) in chain.iter().enumerate() {
            let next = chain.get(i + 1).map_or(0, |(next, _)| u32::from(next.offset));
            // Extended capability header (7.6.3): ID 15:0, version 19:16, next 31:20
            let header = u32::from(p.id) | u32::from(version & 0xf) << 16 | next << 20;
            registers.push(Register::u32(p.offset, header));
        }
        Ok(placed)
    }
}

fn check_spot(spot: &Placed, from: u16, to: u16, others: &[Placed]) -> Result<(), BuildError> {
    let end = usize::from(spot.offset) + usize::from(spot.len);
    let inside = spot.offset >= from && spot.offset.is_multiple_of(4) && end <= usize::from(to);
    let apart = others.iter().all(|other| {
        end <= usize::from(other.offset) || usize::from(other.offset) + usize::from(other.len) <= spot.offset.into()
    });
    if inside && apart { Ok(()) } else { Err(BuildError::Placement { id: spot.id, offset: spot.offset }) }
}

fn check_length(id: u16, len: u16, least: u16) -> Result<(), BuildError> {
    if len >= least { Ok(()) } else { Err(BuildError::TooShort { id, least }) }
}

fn check_registers(id: u16, header: u16, len: u16, registers: &[Register]) -> Result<(), BuildError> {
    let inside = |register: &Register| register.offset >= header && register.end() <= usize::from(len);
    if registers.iter().all(inside) { Ok(()) } else { Err(BuildError::RegisterOutside { id }) }
}

/// The smallest VF BAR: a system page (PCI Express Base 6.0, section 9.3.3.14).
const MIN_VF_BAR: u64 = 4096;

fn check_vf_bars(bars: &[Option<Bar>; BAR_COUNT]) -> Result<(), BuildError> {
    let mut upper_half = false;
    for (index, bar) in bars.iter().enumerate() {
        if bar.is_some_and(|bar| upper_half || bar.size() < MIN_VF_BAR || bar.check(index).is_err()) {
            return Err(BuildError::VfBar { index });
        }
        upper_half = bar.is_some_and(|bar| bar.is_wide());
    }
    Ok(())
}

fn check_msix(layout: &MsixLayout, bars: &[Option<Bar>; BAR_COUNT]) -> Result<(), BuildError> {
    let fits = |bar: u8, offset: u32, len: u64| {
        let bar = bars.get(usize::from(bar)).copied().flatten();
        offset.is_multiple_of(8) && bar.is_some_and(|bar| u64::from(offset) + len <= bar.size)
    };
    let table = (u64::from(layout.table_offset), layout.table_len());
    let pba = (u64::from(layout.pba_offset), layout.pba_len());
    let apart = layout.table_bar != layout.pba_bar || table.0 + table.1 <= pba.0 || pba.0 + pba.1 <= table.0;
    let ok = (1..=2048).contains(&layout.vectors)
        && fits(layout.table_bar, layout.table_offset, table.1)
        && fits(layout.pba_bar, layout.pba_offset, pba.1)
        && apart;
    if ok { Ok(()) } else { Err(BuildError::Msix) }
}
