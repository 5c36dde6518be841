//! A network function as a card declares one, and accesses in the sizes that a guest uses.

use mlx5emu_pci_model::capability::{
    Aer, Ari, DeviceSerialNumber, Express, LinkSpeed, Msix, PowerManagement, VendorSpecific, Vsec,
};
use mlx5emu_pci_model::config::{Bar, ConfigBuilder, ConfigSpace, Effects, Identity};
use mlx5emu_pci_model::msix::MsixLayout;

pub(crate) const BAR0_SIZE: u64 = 32 << 20;
pub(crate) const COMMAND: u64 = 0x04;
pub(crate) const STATUS: u64 = 0x06;
pub(crate) const BAR0: u64 = 0x10;

pub(crate) fn identity() -> Identity {
    Identity {
        vendor: 0x15b3,
        device: 0x101d,
        revision: 0,
        class_code: 0x02_0000,
        subsystem_vendor: 0x15b3,
        subsystem: 0x0043,
    }
}

pub(crate) fn layout() -> MsixLayout {
    MsixLayout { vectors: 64, table_bar: 0, table_offset: 0x2000, pba_bar: 0, pba_offset: 0x3000 }
}

pub(crate) fn builder() -> ConfigBuilder {
    ConfigBuilder::new(identity())
        .multifunction(true)
        .bar(0, Bar::memory64(BAR0_SIZE).prefetchable())
        .capability_at(0x60, Express::endpoint(LinkSpeed::Gts16, 16))
        .capability(Msix(layout()))
        .capability(VendorSpecific::inert(0x18))
        .capability(PowerManagement)
        .extended(Aer)
        .extended_at(0x150, Ari { next_function: 1 })
        .extended_at(0x1c0, DeviceSerialNumber(0x0011_22ff_fe33_4455))
        .extended(Vsec::new(0x1234, 1, vec![0xdead_beef]))
}

pub(crate) fn function() -> ConfigSpace {
    builder().build().expect("the declaration is sound")
}

pub(crate) fn r8(space: &ConfigSpace, at: u64) -> u8 {
    let mut buf = [0; 1];
    space.read(at, &mut buf);
    buf[0]
}

pub(crate) fn r16(space: &ConfigSpace, at: u64) -> u16 {
    let mut buf = [0; 2];
    space.read(at, &mut buf);
    u16::from_le_bytes(buf)
}

pub(crate) fn r32(space: &ConfigSpace, at: u64) -> u32 {
    let mut buf = [0; 4];
    space.read(at, &mut buf);
    u32::from_le_bytes(buf)
}

pub(crate) fn w16(space: &mut ConfigSpace, at: u64, value: u16) -> Effects {
    space.write(at, &value.to_le_bytes())
}

pub(crate) fn w32(space: &mut ConfigSpace, at: u64, value: u32) -> Effects {
    space.write(at, &value.to_le_bytes())
}

/// Offset of a capability, found the way that software does.
pub(crate) fn cap(space: &ConfigSpace, id: u8) -> u64 {
    let mut at = r8(space, 0x34);
    for _ in 0..48 {
        if at == 0 {
            break;
        }
        if r8(space, at.into()) == id {
            return at.into();
        }
        at = r8(space, u64::from(at) + 1);
    }
    panic!("no capability {id:#x}");
}

/// Offset of an extended capability, found the way that software does.
pub(crate) fn ext(space: &ConfigSpace, id: u16) -> u64 {
    let mut at = 0x100;
    for _ in 0..480 {
        let header = r32(space, at);
        if header & 0xffff == u32::from(id) {
            return at;
        }
        at = u64::from(header >> 20);
        if at == 0 {
            break;
        }
    }
    panic!("no extended capability {id:#x}");
}
